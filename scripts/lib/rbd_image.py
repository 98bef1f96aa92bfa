"""RBD images of the test cluster, by Ceph's own tool `rbd` (ceph-common): made, written, looked at."""
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess

KIB, MIB, GIB = 2 ** 10, 2 ** 20, 2 ** 30
BLOCK = 32 * KIB
ZERO = bytes(4 * KIB)


class Cluster:
    """The cluster that scripts/servers/ceph/with-servers starts, as the user with the least rights."""

    def __init__(self):
        self.conf = os.environ.get('ASHLAR_TEST_CEPH_CONF')
        if not self.conf:
            raise SystemExit('run it by scripts/servers/ceph/with-servers')
        if not shutil.which('rbd'):
            raise SystemExit('missing: apt-get install ceph-common   (Debian, Ubuntu; as root)')

    def argv(self, *args):
        return ['rbd', '--conf', self.conf, '--id', 'cinder', *args]

    def rbd(self, *args, data=None):
        p = subprocess.run(self.argv(*args), input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if p.returncode:
            raise SystemExit('rbd %s: %s' % (' '.join(args), p.stderr.decode(errors='replace')))
        return p.stdout

    def create(self, image, size):
        self.rbd('create', '--size', '%dB' % size, image)

    def write(self, image, size, pieces):
        """Writes (offset, bytes) pieces as one difference, which is much faster than one by one."""
        p = subprocess.Popen(self.argv('import-diff', '--no-progress', '-', image), stdin=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        p.stdin.write(b'rbd diff v1\ns' + struct.pack('<Q', size))
        for offset, data in pieces:
            p.stdin.write(b'w' + struct.pack('<QQ', offset, len(data)) + data)
        p.stdin.write(b'e')
        p.stdin.close()
        error = p.stderr.read()
        if p.wait():
            raise SystemExit('rbd import-diff %s: %s' % (image, error.decode(errors='replace')))

    def blocks(self, image):
        """What an image holds: its size, and a digest of each 4 KiB that is not zero, by its offset."""
        p = subprocess.Popen(self.argv('export-diff', '--no-progress', image, '-'), stdout=subprocess.PIPE)
        held, out = {}, p.stdout
        if out.read(12) != b'rbd diff v1\n':
            raise SystemExit('rbd export-diff %s told nothing' % image)
        while True:
            tag = out.read(1)
            if tag == b'e':
                break
            if not tag:
                raise SystemExit('rbd export-diff %s ended before its end' % image)
            if tag in (b'f', b't'):
                out.read(struct.unpack('<I', out.read(4))[0])
            elif tag == b's':
                held['size'], = struct.unpack('<Q', out.read(8))
            else:
                offset, length = struct.unpack('<QQ', out.read(16))
                data = out.read(length) if tag == b'w' else b''
                # Records begin and end where writes did: cut at the volume's own multiples.
                at = 0
                while at < len(data):
                    n = min(4 * KIB - (offset + at) % (4 * KIB), len(data) - at)
                    piece = data[at:at + n]
                    if piece != ZERO[:n]:
                        held[offset + at] = hashlib.blake2b(piece, digest_size=16).digest()
                    at += n
        if p.wait():
            raise SystemExit('rbd export-diff %s failed' % image)
        return held

    def snapshots(self, image):
        return [s['name'] for s in json.loads(self.rbd('snap', 'ls', '--format', 'json', image))]

    def remove(self, image):
        for name in self.snapshots(image):
            self.rbd('snap', 'rm', '--no-progress', '%s@%s' % (image, name))
        self.rbd('rm', '--no-progress', image)


def run_of(start, length, seed, piece=4 * MIB):
    """Pieces of random bytes, one behind the other."""
    dice = random.Random(seed)
    for at in range(start, start + length, piece):
        yield at, dice.randbytes(min(piece, start + length - at))


def scattered(start, end, count, seed, length=BLOCK):
    """So many pieces of random bytes at multiples of their length, no two at one place, in order."""
    dice = random.Random(seed)
    for number in sorted(dice.sample(range(start // length, end // length), count)):
        yield number * length, dice.randbytes(length)
