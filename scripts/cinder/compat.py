#!/usr/bin/env python3
"""Does Cinder restore what Ashlar wrote, and Ashlar what Cinder wrote, and both a chain that they took turns in?

  ASHLAR=path/to/ashlar compat.py [--only TEXT] [--keep]

Cinder's own, unmodified drivers of two releases run in the environments that setup.sh makes (29 and 22). Ashlar writes
chains that have every property that matters; both releases restore every link into a new and into a dirty target, and
the bytes are compared with the image. One known defect is expected, exactly: Cinder 22 leaves old data in a new
volume where an incremental has a zero piece. What it must then give is computed here, and compared.

A line for each case, and `N passed, N failed` at the end; the exit status is 1 when one failed.
"""
import argparse
import json
import os
import queue
import shutil
import sys
import tempfile
import threading
import time

import images
from ashlar_client import Ashlar, AshlarError, decoded
from images import KIB as K
from images import MIB as M
from oracle_client import Oracle, OracleError

RELEASES = (29, 22)
CODECS = ('none', 'zlib', 'bzip2', 'zstd')
LENGTHS = {'aligned': 6 * M, 'unaligned': 6 * M - 54321}
CHUNK = 512 * K
BLOCK = 32 * K
DIRTY = 0xA5
SECTOR = 512


# ---- the images of a chain

def every_property(size, seed):
    """(label, image) of a chain's links."""
    full = images.image(size, seed, [                   # starts with a hole of more than 1 MiB
        ('text', 1100 * K, 900 * K), ('rand', 2000 * K, 600 * K), ('text', 2600 * K, 500 * K),
        ('text', 4300 * K, 1400 * K), ('rand', 5700 * K, size)])
    yield 'full', full
    inc1 = images.edit(full, seed + 10, [
        ('rand', 0, 10),                                # the first bytes
        ('text', 300 * K, 70 * K),                      # zero becomes data
        ('rand', 3 * CHUNK - 40 * K, 80 * K),           # over a chunk border
        ('rand', 57 * BLOCK, BLOCK), ('zero', 58 * BLOCK, BLOCK),   # data beside a block that becomes zero
        ('zero', 64 * BLOCK, BLOCK),                    # a lone block becomes zero
        ('zero', 2400 * K, 100 * K),                    # so do three blocks and parts of others
        ('rand', size - 5, 5)])                         # the last bytes
    yield 'becomes zero, over a border', inc1
    inc2 = images.edit(inc1, seed + 20,
                       [('rand', b * BLOCK + 7 * b, 1) for b in range(35, 80, 3)] +      # many small changes
                       [('zero', 4300 * K, 1200 * K)])  # more than 1 MiB becomes zero
    yield 'many small changes, long zero', inc2
    yield 'no change', inc2


def all_zero(size, seed):
    yield 'full', bytes(size)
    yield 'no change', bytes(size)
    data = images.edit(bytes(size), seed, [('rand', 40 * BLOCK, 3)])
    yield 'one block of data', data
    yield 'zero again', bytes(size)


def other_lengths(size, seed):
    """A volume that grew, which Cinder itself refuses to back up incrementally, and then shrank."""
    _, full = next(every_property(size, seed))
    yield 'full', full
    grown = images.edit(full + bytes(3 * M // 2 + 77), seed + 1, [('text', size - 5, 700000), ('rand', 9, 1)])
    yield 'grown', grown
    yield 'shrunk', grown[:size // 2 + 333]


class Link:
    """One backup of a chain as both sides need it: record, objects, and the image that it must restore to."""

    def __init__(self, repository, label, image, record_file, fields, writer):
        self.label, self.image, self.record, self.writer = label, image, record_file, writer
        self.id, self.block = fields['id'], BLOCK
        with open(os.path.join(repository, fields['container'], fields['service_metadata'] + '_metadata')) as f:
            entries = json.load(f)['objects']
        self.objects = [(o['offset'], o['length']) for entry in entries for o in entry.values()]


class Chain:
    def __init__(self, name, repository):
        self.name, self.repository, self.links = name, repository, []

    def records(self, at):
        """Record files of a link and of its ancestors, newest first."""
        return [link.record for link in reversed(self.links[:at + 1])]

    def restored_by_22_into_new(self, at):
        """What Cinder 22 makes of the chain in a volume of zeroes: all-zero pieces of 1 MiB are skipped in each layer."""
        target = bytearray(self.target_size(at))
        for link in self.links[:at + 1]:
            for offset, length in link.objects:
                for start in range(offset, offset + length, M):
                    piece = link.image[start:min(start + M, offset + length)]
                    if piece.count(0) != len(piece):
                        target[start:start + len(piece)] = piece
        return bytes(target[:len(self.links[at].image)])

    def target_size(self, at):
        """Cinder writes every layer whole, so the target of a chain whose volume shrank is as long as its largest."""
        return max(len(link.image) for link in self.links[:at + 1])


# ---- the report

class Report:
    def __init__(self):
        self.lock, self.passed, self.failed = threading.Lock(), 0, 0

    def case(self, name, problem, note=''):
        with self.lock:
            if problem:
                self.failed += 1
                print('FAIL  %s: %s' % (name, problem), flush=True)
            else:
                self.passed += 1
                print('ok    %s%s' % (name, ' (%s)' % note if note else ''), flush=True)


def difference(got, want):
    """None, or where and how much two images differ."""
    if got == want:
        return None
    if len(got) != len(want):
        return '%d bytes instead of %d' % (len(got), len(want))
    at = [i for i in range(0, len(want), SECTOR) if got[i:i + SECTOR] != want[i:i + SECTOR]]
    return '%d sectors differ, the first at byte %d, the last at %d' % (len(at), at[0], at[-1])


def sectors_with_old_data(got, image):
    """How many sectors differ, and whether all of those are zero in the image."""
    at = [i for i in range(0, len(image), SECTOR) if got[i:i + SECTOR] != image[i:i + SECTOR]]
    return len(at), all(not any(image[i:i + SECTOR]) for i in at)


# ---- writing

class Suite:
    def __init__(self, work, only):
        self.work, self.only, self.report, self.chains = work, only, Report(), []
        self.serial = 0

    def path(self, suffix):
        self.serial += 1
        return os.path.join(self.work, '%04d.%s' % (self.serial, suffix))

    def wanted(self, name):
        return not self.only or self.only in name

    def attempt(self, name, step):
        """Runs a step that writes; what it raises is a failed case."""
        if not self.wanted(name):
            return
        try:
            self.chains.append(step(name))
            self.report.case(name + ': written', None)
        except (AshlarError, OracleError, OSError, ValueError, KeyError, TypeError) as e:
            self.report.case(name + ': written', '%s: %s' % (type(e).__name__, e))

    def ashlar_link(self, ashlar, chain, volume, volume_file, label, image, options, dense=False):
        write_image(volume_file, image, dense)
        backup = ashlar.backup(volume, label, incremental=bool(chain.links), options=options)
        record = self.path('record.json')
        fields = ashlar.export_record(backup, record)
        parent = chain.links[-1].id if chain.links else None
        if fields['parent_id'] != parent:
            raise ValueError('%s stands on %s instead of %s' % (label, fields['parent_id'], parent))
        chain.links.append(Link(ashlar.repository, label, image, record, fields, 'ashlar'))
        if label == 'no change' and chain.links[-1].objects:
            raise ValueError('a backup of no change has %d objects' % len(chain.links[-1].objects))

    def cinder_link(self, oracle, ashlar, chain, volume, volume_file, label, image, codec):
        write_image(volume_file, image)
        record = self.path('record.yaml')
        made = oracle.run('backup', driver='posix', repo=ashlar.repository, volume_file=volume_file, volume_id=volume,
                          name=label, compression=codec, chunk_size=CHUNK, record_out=record,
                          parent=chain.links[-1].id if chain.links else None,
                          record=chain.records(len(chain.links) - 1))
        chain.links.append(Link(ashlar.repository, label, image, record, decoded(made), 'Cinder %s' % oracle.release))
        ashlar.import_record(made)

    def written_by_ashlar(self, name, codec, pictures, chunk=CHUNK, dense=False):
        ashlar = Ashlar(os.path.join(self.work, name.replace(' ', '-')))
        chain, volume_file = Chain(name, ashlar.repository), self.path('volume')
        options = {'backup.compression': codec}
        if chunk:
            options['backup.chunk_size'] = chunk
        volume = None
        for label, image in pictures:
            if volume is None:
                write_image(volume_file, image, dense)
                volume = ashlar.adopt(volume_file, 'source')
            self.ashlar_link(ashlar, chain, volume, volume_file, label, image, options, dense)
        os.remove(volume_file)
        return chain

    def written_in_turns(self, name, oracle, writers, codec, pictures):
        ashlar = Ashlar(os.path.join(self.work, name.replace(' ', '-')))
        chain, volume_file = Chain(name, ashlar.repository), self.path('volume')
        options = {'backup.compression': codec, 'backup.chunk_size': CHUNK}
        volume = None
        for writer, (label, image) in zip(writers, pictures):
            if volume is None:
                write_image(volume_file, image)
                volume = ashlar.adopt(volume_file, 'source')
            # Records carry whole seconds, and the newest backup becomes the parent.
            time.sleep(1.1)
            if writer == 'ashlar':
                self.ashlar_link(ashlar, chain, volume, volume_file, label, image, options)
            else:
                self.cinder_link(oracle, ashlar, chain, volume, volume_file, label, image, codec)
        os.remove(volume_file)
        for at, link in enumerate(chain.links):
            self.restored_by_ashlar(ashlar, chain, at)
        return chain

    # ---- restoring

    def restored_by_ashlar(self, ashlar, chain, at):
        link = chain.links[at]
        name = '%s: link %d (%s, by %s)' % (chain.name, at, link.label, link.writer)
        dirty = self.path('dirty')
        write_image(dirty, bytes([DIRTY]) * len(link.image))
        for target in ('new', 'dirty'):
            case = '%s restored by ashlar, %s target' % (name, target)
            try:
                if target == 'new':
                    path = ashlar.restore_new(link.id, 'restored-%d' % at)
                else:
                    path = dirty
                    ashlar.run('volume', 'backup', 'restore', link.id, ashlar.adopt(dirty, 'dirty-%d' % at))
                self.report.case(case, difference(read(path), link.image))
            except (AshlarError, OSError, KeyError, TypeError) as e:
                self.report.case(case, str(e))
        try:
            ashlar.run('volume', 'backup', 'verify', link.id)
            self.report.case(name + ' verified by ashlar', None)
        except AshlarError as e:
            self.report.case(name + ' verified by ashlar', str(e))

    def restore_all_by_cinder(self, oracle):
        for chain in self.chains:
            for at, link in enumerate(chain.links):
                if oracle.release == '29' and link.writer == 'ashlar':
                    self.verified_by_cinder(oracle, chain, at)
                for target in ('new', 'dirty'):
                    self.restored_by_cinder(oracle, chain, at, target)

    def verified_by_cinder(self, oracle, chain, at):
        link = chain.links[at]
        case = '%s: link %d (%s): MD5 and length of each object' % (chain.name, at, link.label)
        try:
            seen = oracle.run('verify', driver='posix', repo=chain.repository, record=chain.records(at),
                              backup_id=link.id)
            problem = 'wrong: %s' % ', '.join(seen['bad']) if seen['bad'] else None
            if seen['sha256s'] != -(-len(link.image) // link.block):
                problem = '%d block hashes' % seen['sha256s']
            self.report.case(case, problem)
        except OracleError as e:
            self.report.case(case, str(e))

    def restored_by_cinder(self, oracle, chain, at, target):
        link = chain.links[at]
        case = '%s: link %d (%s, by %s) restored by Cinder %s, %s target' % (
            chain.name, at, link.label, link.writer, oracle.release, target)
        out = os.path.join(self.work, 'restored-by-%s' % oracle.release)
        mode = {'new': True} if target == 'new' else {'prefill': DIRTY}
        try:
            oracle.run('restore', driver='posix', repo=chain.repository, record=chain.records(at), out=out,
                       size=chain.target_size(at), no_sha256=True, **mode)
            got = read(out)[:len(link.image)]
        except (OracleError, OSError) as e:
            self.report.case(case, str(e))
            return
        finally:
            if os.path.exists(out):
                os.remove(out)
        if oracle.release == '22' and target == 'new':
            old, all_zero_there = sectors_with_old_data(got, link.image)
            problem = difference(got, chain.restored_by_22_into_new(at))
            if not problem and not all_zero_there:
                problem = 'differs from the image where that is not zero'
            self.report.case(case, problem, 'its known defect: old data in %d sectors that became zero' % old if old
                             else '')
        else:
            self.report.case(case, difference(got, link.image))


def write_image(path, image, dense=False):
    if dense:
        with open(path, 'wb') as f:
            f.write(image)
    else:
        images.write(path, image)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


# ---- the suite

def write_chains(suite, oracles):
    seed = 1000
    for codec in CODECS:
        for word, size in LENGTHS.items():
            seed += 100
            pictures = every_property(size, seed)
            # Zeroes are holes in the one, stored zeroes in the other.
            suite.attempt('%s %s' % (codec, word), lambda name, c=codec, p=pictures, d=word == 'unaligned':
                          suite.written_by_ashlar(name, c, p, dense=d))
    for codec in ('none', 'zlib'):
        pictures = all_zero(3 * M, 500)
        suite.attempt('%s all zero' % codec, lambda name, c=codec, p=pictures:
                      suite.written_by_ashlar(name, c, p, chunk=None))
    for codec in ('zlib', 'zstd'):
        seed += 100
        pictures = list(other_lengths(LENGTHS['unaligned'], seed))
        suite.attempt('%s grown and shrunk' % codec, lambda name, c=codec, p=pictures:
                      suite.written_by_ashlar(name, c, p))
    turns = (
        ('cinder first', 29, ('cinder', 'ashlar', 'cinder', 'ashlar'), 'zlib', 'aligned'),
        ('cinder first', 22, ('cinder', 'ashlar', 'cinder', 'ashlar'), 'zstd', 'unaligned'),
        ('ashlar first', 29, ('ashlar', 'cinder', 'ashlar', 'cinder'), 'zstd', 'unaligned'),
        ('ashlar first', 22, ('ashlar', 'cinder', 'ashlar', 'cinder'), 'zlib', 'aligned'),
    )
    for order, release, writers, codec, word in turns:
        seed += 100
        pictures = every_property(LENGTHS[word], seed)
        suite.attempt('in turns with %d, %s, %s %s' % (release, order, codec, word),
                      lambda name, o=oracles[release], w=writers, c=codec, p=pictures:
                      suite.written_in_turns(name, o, w, c, p))


def restore_chains(suite, oracles):
    """Both releases side by side, a chain after the other."""
    raised = queue.Queue()

    def work(oracle):
        try:
            suite.restore_all_by_cinder(oracle)
        except BaseException as e:
            raised.put(e)

    threads = [threading.Thread(target=work, args=(o,)) for o in oracles.values()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if not raised.empty():
        raise raised.get()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', metavar='TEXT', help='only the chains with this in their name')
    p.add_argument('--keep', action='store_true', help='keep the working folder')
    args = p.parse_args()
    oracles = {release: Oracle(release) for release in RELEASES}
    work = tempfile.mkdtemp(prefix='ashlar-compat-')
    suite = Suite(work, args.only)
    started = time.monotonic()
    try:
        write_chains(suite, oracles)
        restore_chains(suite, oracles)
    finally:
        for oracle in oracles.values():
            oracle.close()
        if args.keep:
            print('kept: %s' % work)
        else:
            shutil.rmtree(work, ignore_errors=True)
    print('%.0f s' % (time.monotonic() - started))
    print('%d passed, %d failed' % (suite.report.passed, suite.report.failed))
    return 1 if suite.report.failed or not suite.report.passed else 0


if __name__ == '__main__':
    sys.exit(main())
