#!/usr/bin/env python3
"""Golden repositories, written by real Cinder 29 through the oracle.

  mkfixtures.py OUT [CASE ...]     ->  OUT/<case>/{repo,records,manifest.json}

Each case has one or more chains of backups. manifest.json tells for each backup: id, parent, record file, the options
used, size and SHA-256 of the image that it must restore to. The images are not kept: they are made again from the
seeds below. IDs and times differ in each run.
"""
import hashlib
import json
import os
import shutil
import sys
import tempfile

import images
from images import KIB as K
from images import MIB as M
from images import edit, image
from oracle_client import Oracle

BASE = [('text', 0, 900 * K), ('rand', 900 * K, 500 * K), ('text', 2600 * K, 700 * K), ('rand', 3400 * K, 200 * K),
        ('text', 3900 * K, 1)]
INC1 = [('rand', 0, 10),                                # first block
        ('text', 480 * K, 96 * K),                      # a run over a chunk border
        ('rand', 700 * K, 1), ('rand', 764 * K, 1),     # two lone blocks
        ('zero', 1024 * K, 256 * K),                    # data becomes zero
        ('text', 1600 * K, 64 * K),                     # zero becomes data
        ('rand', 4096 * K - 5, 5)]                      # last bytes
INC2 = [('text', 0, 32 * K), ('zero', 2560 * K, 1536 * K)]   # more than 1 MiB becomes zero

SMALL = {'chunk_size': 512 * K, 'sha_block_size': 32 * K}


def vid(n):
    return '%08d-aaaa-4bbb-8ccc-%012d' % (n, n)


class Case:
    def __init__(self, oracle, out, name, driver='posix'):
        self.oracle, self.dir = oracle, os.path.join(out, name)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir + '/records')
        self.tmp = tempfile.mkdtemp()
        self.common = {'driver': driver, 'repo': self.dir + '/repo'}
        self.manifest = {'case': name, 'driver': driver, 'backups': []}

    def chain(self, backup_id):
        """The backup and its ancestors, newest first."""
        by = {b['id']: b for b in self.manifest['backups']}
        layers = []
        while backup_id:
            layers.append(by[backup_id])
            backup_id = layers[-1]['parent_id']
        return layers

    def records(self, backup_id):
        return [os.path.join(self.dir, b['record']) for b in self.chain(backup_id)]

    def backup(self, label, data, volume_id, parent=None, opts=None, note=None):
        source = self.tmp + '/img'
        with open(source, 'wb') as f:
            f.write(data)
        record = 'records/%s.yaml' % label
        made = self.oracle.run('backup', **self.common, volume_file=source, volume_id=volume_id, parent=parent,
                               record=self.records(parent), record_out=os.path.join(self.dir, record), name=label,
                               **(SMALL if opts is None else opts))
        entry = {'label': label, 'id': made['backup_id'], 'parent_id': parent, 'volume_id': volume_id,
                 'container': made['container'], 'prefix': made['service_metadata'],
                 'object_count': made['object_count'], 'image_size': len(data),
                 'image_sha256': hashlib.sha256(data).hexdigest(), 'record': record,
                 'options': SMALL if opts is None else opts}
        if note:
            entry['note'] = note
        self.manifest['backups'].append(entry)
        return made['backup_id']

    def done(self):
        """Restores every backup by Cinder itself, notes where that differs, writes the manifest."""
        self.manifest['cinder'] = self.oracle.version()
        equal = 0
        for b in self.manifest['backups']:
            size = max(x['image_size'] for x in self.chain(b['id']))
            for mode in ({'new': True}, {'prefill': '0xA5'}):
                out = self.tmp + '/out'
                self.oracle.run('restore', **self.common, record=self.records(b['id']), out=out, size=size, **mode)
                with open(out, 'rb') as f:
                    same = hashlib.sha256(f.read(b['image_size'])).hexdigest() == b['image_sha256']
                os.remove(out)
                equal += same
                if not same:
                    b.setdefault('cinder_restore_differs', []).append(sorted(mode)[0])
        with open(self.dir + '/manifest.json', 'w') as f:
            json.dump(self.manifest, f, indent=1, sort_keys=True)
            f.write('\n')
        shutil.rmtree(self.tmp)
        n = len(self.manifest['backups'])
        print('%-12s %d backups, Cinder restores equal: %d of %d' % (self.manifest['case'], n, equal, 2 * n),
              flush=True)


def chain(c, n, size, *opts):
    """A full backup and two incrementals, each with its options."""
    opts = opts * 3 if len(opts) == 1 else opts
    a = image(size, n, BASE)
    full = c.backup('full', a, vid(n), opts=opts[0])
    b = edit(a, n + 10, INC1)
    inc1 = c.backup('inc1', b, vid(n), full, opts[1])
    c.backup('inc2', edit(b, n + 20, INC2), vid(n), inc1, opts[2])


def codec(name, n):
    return lambda c: chain(c, n, 4 * M, {**SMALL, 'compression': name})


def unaligned(c):
    size = 2500123          # neither the chunk nor the block divides it
    a = image(size, 50, BASE)
    full = c.backup('full', a, vid(50))
    b = edit(a, 51, [('rand', size - 1, 1)])
    inc = c.backup('inc1', b, vid(50), full, note='only the last, short block')
    c.backup('inc2', b, vid(50), inc, note='nothing changed: no object')


def sparse(c):
    opts = {'chunk_size': 4 * M, 'compression': 'zlib'}
    a = image(48 * M, 60, [('text', 5 * M, 100 * K), ('rand', 17 * M + 3, 9), ('text', 31 * M, 64 * K)])
    full = c.backup('full', a, vid(60), opts=opts)
    c.backup('inc1', edit(a, 61, [('zero', 5 * M, 100 * K), ('text', 40 * M, 40 * K)]), vid(60), full, opts)


def allzero(c):
    c.backup('full', bytes(3 * M), vid(65))


def metadata(c):
    opts = {**SMALL, 'volume_name': 'Wurzel-Datenträger ☃ "q"\\', 'volume_description': 'line one\nline two',
            'volume_metadata': ['app=db', 'empty=', 'schlüssel=wert/ä'],
            'glance_metadata': ['image_id=0f0f0f0f-1111-4222-8333-444444444444', 'image_name=rhel-9.4',
                                'disk_format=qcow2', 'container_format=bare', 'min_disk=10', 'min_ram=0',
                                'size=2147483648', 'hw_disk_bus=virtio'],
            'encryption_key_id': 'eeeeeeee-0000-4000-8000-000000000001',
            'backup_encryption_key_id': 'eeeeeeee-0000-4000-8000-000000000002',
            'description': 'nightly „full“', 'metadata': ['tier=gold', 'keep=7']}
    a = image(576 * K, 70, BASE)
    full = c.backup('full', a, vid(70), opts=opts)
    c.backup('inc1', edit(a, 71, INC1[:3]), vid(70), full, opts)


def container(c):
    opts = {**SMALL, 'container': 'shared/dir'}
    a = image(576 * K, 80, BASE)
    full = c.backup('full', a, vid(80), opts=opts)
    c.backup('inc1', edit(a, 81, INC1[:3]), vid(80), full, opts)
    c.backup('other', image(576 * K, 82, BASE), vid(82), None, opts, 'another volume in the same container')


def aliases(c):
    for i, word in enumerate(('gzip', 'bzip2', 'off', 'no', 'ZLIB')):
        c.backup(word, image(192 * K, 90, BASE), vid(90 + i), opts={'chunk_size': 128 * K, 'compression': word})


def mixed(c):
    chain(c, 100, 4 * M, {**SMALL, 'compression': 'zlib'}, {**SMALL, 'compression': 'zstd', 'chunk_size': 1 * M},
          {**SMALL, 'compression': 'none', 'chunk_size': 64 * K})


def block4k(c):
    opts = {'chunk_size': 256 * K, 'sha_block_size': 4 * K}
    a = image(1 * M + 512, 120, BASE)
    full = c.backup('full', a, vid(120), opts=opts)
    c.backup('inc1', edit(a, 121, INC1[:4]), vid(120), full, opts)


def branch(c):
    a = image(1 * M, 130, BASE)
    full = c.backup('full', a, vid(130))
    c.backup('inc_a', edit(a, 131, INC1[:2]), vid(130), full)
    c.backup('inc_b', edit(a, 132, INC1[2:4]), vid(130), full, note='second child of the same parent')


def shrunk(c):
    a = image(1 * M, 140, BASE)
    full = c.backup('full', a, vid(140))
    c.backup('inc1', edit(a[:700001], 141, INC1[:2]), vid(140), full,
             note='the volume shrank: Cinder needs a target as large as the full backup')


CASES = {
    'zlib': codec('zlib', 10), 'none': codec('none', 20), 'bz2': codec('bz2', 30), 'zstd': codec('zstd', 40),
    'unaligned': unaligned, 'sparse': sparse, 'allzero': allzero, 'metadata': metadata, 'container': container,
    'aliases': aliases, 'mixed': mixed, 'nfs': lambda c: chain(c, 110, 2 * M, SMALL), 'block4k': block4k,
    'branch': branch, 'shrunk': shrunk,
}


def main():
    out = os.path.abspath(sys.argv[1])
    os.makedirs(out, exist_ok=True)
    with Oracle(29) as oracle:
        for name in sys.argv[2:] or CASES:
            case = Case(oracle, out, name, 'nfs' if name == 'nfs' else 'posix')
            CASES[name](case)
            case.done()


if __name__ == '__main__':
    main()
