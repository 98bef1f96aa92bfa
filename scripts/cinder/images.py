"""Deterministic images of volumes, and edits of them, in memory.

A description is a list of (kind, offset, length) with kind 'rand', 'text' or 'zero'; what lies past the end is cut off,
what nothing describes is zero (or, in an edit, stays as it was).
"""
import genimg

KIB, MIB = 1024, 1024 ** 2


def image(size, seed, spec):
    return edit(bytes(size), seed, spec)


def edit(before, seed, spec):
    new = bytearray(before)
    rand, text = genimg.Rand(seed), genimg.Text(seed + 1)
    for kind, off, n in spec:
        n = min(n, len(new) - off)
        if n > 0:
            new[off:off + n] = rand.bytes(n) if kind == 'rand' else text.bytes(n) if kind == 'text' else bytes(n)
    return bytes(new)


def write(path, data):
    """The image as a file, its runs of zeroes as holes."""
    step = 64 * KIB
    with open(path, 'wb') as f:
        f.truncate(len(data))
        for off in range(0, len(data), step):
            piece = data[off:off + step]
            if piece.count(0) != len(piece):
                f.seek(off)
                f.write(piece)
