"""A volume's image file in a benchmark: what changes in it, and whether a copy is right."""
import hashlib

BLOCK = 32768
STEP = 8 * 2 ** 20


def sha256(path):
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest()


def changed_blocks(before, after):
    """[(offset, bytes)] of the blocks of `after` that differ."""
    found = []
    with open(before, 'rb') as a, open(after, 'rb') as b:
        at = 0
        while True:
            x, y = a.read(BLOCK), b.read(BLOCK)
            if not y:
                return found
            if x != y:
                found.append((at, y))
            at += len(y)


def write_blocks(path, blocks):
    with open(path, 'r+b') as f:
        for at, data in blocks:
            f.seek(at)
            f.write(data)


def warm(path):
    """Brings the file into the page cache."""
    with open(path, 'rb', buffering=0) as f:
        while f.read(STEP):
            pass
