#!/usr/bin/env python3
"""Do Cinder's nfs driver and both of Ashlar's NFS clients share one export, and each other's backups on it?

  ASHLAR=path/to/ashlar share.py SHARE BASE OPTIONS

Ashlar mounts SHARE (server:/export) below BASE; Cinder 29's own nfs driver then works in the same mount point, which is
looked up with os-brick's own code, and Ashlar's client without a mount beside it. All take turns in one chain, and each
restores every link of it. Needs root, the server, and the environment that setup.sh makes. OPTIONS are such as both of
Ashlar's clients take (vers=4.1). A line for each case, and `N passed, N failed` at the end.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import images
from ashlar_client import Ashlar, AshlarError, decoded
from images import KIB as K
from images import MIB as M
from oracle_client import Oracle, OracleError

RELEASE = 29
SIZE = 2 * M + 12345
CHUNK = 256 * K
DIRTY = 0xA5
POINT = '''
import sys
from os_brick.remotefs import remotefs
client = remotefs.RemoteFsClient('nfs', 'sudo', nfs_mount_point_base=sys.argv[2])
print(client.get_mount_point(sys.argv[1]))
'''


# Ashlar's clients, and what makes it take each.
CLIENTS = {'ashlar': {}, 'ashlar without a mount': {'repository.nas.client': 'userspace'}}


class Turns:
    def __init__(self, work, share, base, options):
        self.work, self.passed, self.failed, self.links = work, 0, 0, []
        self.ashlar = Ashlar(os.path.join(work, 'home'))
        os.makedirs(self.ashlar.home)
        with open(os.path.join(self.ashlar.home, 'ashlar.toml'), 'w') as f:
            f.write('[backup]\nrepository = "nas"\nchunk_size = %d\n[repository.nas]\ntype = "nfs"\nshare = "%s"\n'
                    'mount_point_base = "%s"\nmount_options = "%s"\n' % (CHUNK, share, base, options))

    def case(self, name, problem):
        self.passed, self.failed = self.passed + (not problem), self.failed + bool(problem)
        print('%s  %s%s' % ('FAIL' if problem else 'ok  ', name, ': %s' % problem if problem else ''), flush=True)

    def path(self, name):
        return os.path.join(self.work, name)

    def records(self, at):
        return [record for _, record, _ in reversed(self.links[:at + 1])]

    def write(self, oracle, point, writer, image):
        """One backup by one of the two."""
        at = len(self.links)
        volume_file, record = self.path('volume'), self.path('record-%d' % at)
        images.write(volume_file, image)
        if not at:
            self.volume = self.ashlar.adopt(volume_file, 'source')
        # Records carry whole seconds, and the newest backup becomes the parent.
        time.sleep(1.1)
        if writer in CLIENTS:
            backup = self.ashlar.backup(self.volume, 'b%d' % at, incremental=bool(at), options=CLIENTS[writer])
            fields = self.ashlar.export_record(backup, record)
        else:
            made = oracle.run('backup', driver='nfs', repo=point, volume_file=volume_file, volume_id=self.volume,
                              name='b%d' % at, chunk_size=CHUNK, record_out=record,
                              parent=self.links[-1][0] if at else None, record=self.records(at - 1))
            fields = decoded(made)
            self.ashlar.import_record(made)
        parent = self.links[-1][0] if at else None
        self.case('backup %d by %s' % (at, writer),
                  None if fields['parent_id'] == parent else 'its parent is %s' % fields['parent_id'])
        self.links.append((fields['id'], record, image))

    def restore(self, oracle, point, at):
        backup, _, image = self.links[at]
        for n, (client, options) in enumerate(CLIENTS.items()):
            try:
                restored = self.ashlar.restore_new(backup, 'r%d-%d' % (at, n), options=options)
                problem = None if read(restored) == image else 'other bytes'
                self.ashlar.run('volume', 'backup', 'verify', backup, options=options)
            except AshlarError as e:
                problem = str(e)
            self.case('backup %d restored and verified by %s' % (at, client), problem)
        out = self.path('out')
        try:
            oracle.run('restore', driver='nfs', repo=point, record=self.records(at), out=out, size=len(image),
                       no_sha256=True, prefill=DIRTY)
            problem = None if read(out)[:len(image)] == image else 'other bytes'
        except OracleError as e:
            problem = str(e)
        self.case('backup %d restored by Cinder %d' % (at, RELEASE), problem)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    share, base, options = sys.argv[1:]
    work = tempfile.mkdtemp(prefix='ashlar-share-')
    turns = Turns(work, share, base, options)
    full = images.image(SIZE, 7, [('text', 100 * K, 900 * K), ('rand', 1100 * K, 500 * K)])
    pictures = [full]
    for n in range(3):
        pictures.append(images.edit(pictures[-1], 20 + n, [
            ('rand', (n + 1) * CHUNK - 20 * K, 40 * K), ('zero', 1200 * K + n * 64 * K, 70 * K), ('rand', SIZE - 5, 5)]))
    try:
        with Oracle(RELEASE) as oracle:
            point = subprocess.run([oracle.python, '-W', 'ignore', '-c', POINT, share, base], check=True, text=True,
                                   stdout=subprocess.PIPE).stdout.strip()
            for writer, image in zip(('ashlar', 'cinder', 'ashlar without a mount', 'cinder'), pictures):
                turns.write(oracle, point, writer, image)
                if len(turns.links) == 1:
                    turns.case('mounted where os-brick looks for it', None if os.path.ismount(point) else point)
            for at in range(len(turns.links)):
                turns.restore(oracle, point, at)
            for at, (backup, _, _) in reversed(list(enumerate(turns.links))):
                turns.ashlar.run('volume', 'backup', 'delete', backup, options=list(CLIENTS.values())[at % 2])
            left = [name for _, _, names in os.walk(point) for name in names if name.startswith('volume_%s' % turns.volume)]
            turns.case('all deleted by ashlar', 'left: %s' % left if left else None)
    except (AshlarError, OracleError, OSError, ValueError, KeyError, TypeError, subprocess.CalledProcessError) as e:
        turns.case('turns', '%s: %s' % (type(e).__name__, e))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print('%d passed, %d failed' % (turns.passed, turns.failed))
    return 1 if turns.failed or not turns.passed else 0


if __name__ == '__main__':
    sys.exit(main())
