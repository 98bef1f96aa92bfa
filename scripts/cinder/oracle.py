#!/usr/bin/env python3
"""Oracle: OpenStack Cinder's own, unmodified backup drivers on a command line.

Nothing of the backup format is implemented here. The driver classes, the Backup and BackupImport objects, the record
codec, the record import and export and the finish and delete steps of the backup manager are all Cinder's; these
scripts only build the rows of a database, hand the driver an open file in place of an attached device and print what
came out.

  oracle.py backup  --driver posix --repo DIR --state DIR --volume-file IMG ...
  oracle.py restore --driver posix --repo DIR --record R [--record P ...] --out IMG
  oracle.py import | export | delete | delete-volume | list | verify | decode | startup | version
  oracle.py batch JOBS.json       many of them in one process (see oracle_batch.py)

Results go to stdout as one JSON document; logs go to stderr. Runs in an environment that setup.sh made.
"""
import argparse
import json
import os
import sys
import warnings

import oracle_batch
import oracle_commands
import oracle_process
from oracle_process import DRIVERS, PROJECT, USER

# Cinder's dependencies warn about one another's age; stderr is for what went wrong.
warnings.simplefilter('ignore')


def process_options(s):
    s.add_argument('--state', help='folder of the SQLite database (a fresh temporary one if left out)')
    s.add_argument('--debug', action='store_true')


def driver_options(s):
    s.add_argument('--set', action='append', default=[], metavar='OPT=VALUE', help='any cinder.conf option')
    s.add_argument('--driver', choices=sorted(DRIVERS), default='posix')
    s.add_argument('--repo', help='posix, nfs: the repository folder')
    s.add_argument('--compression', default='zlib')
    s.add_argument('--chunk-size', type=int)
    s.add_argument('--sha-block-size', type=int)
    s.add_argument('--az', default='nova')
    s.add_argument('--endpoint', help='s3, swift: URL (swift: ends in AUTH_)')
    s.add_argument('--access-key', default='oracle')
    s.add_argument('--secret-key', default='oraclesecret')
    s.add_argument('--bucket', help='default bucket, container or pool')
    s.add_argument('--ceph-conf', default='/etc/ceph/ceph.conf')
    s.add_argument('--ceph-user', default='admin')
    s.add_argument('--rbd-pool', default='volumes')
    s.add_argument('--user', default=USER)
    s.add_argument('--project', default=PROJECT)
    s.add_argument('--auth-token', default='oracle', help='swift: token of the (pre-authenticated) user')
    s.add_argument('--record', action='append', default=[],
                   help='record file to import first (YAML as openstackclient prints, or JSON)')


def backup_options(b):
    b.add_argument('--volume-file', help='image to read as the volume (not for an RBD source)')
    b.add_argument('--rbd-source', action='store_true',
                   help='ceph: the source is the RBD image volume-<volume-id> in --rbd-pool')
    b.add_argument('--volume-id', required=True)
    b.add_argument('--volume-size', type=int, help='GiB; default: the file rounded up')
    b.add_argument('--parent', help='backup id (must be in --state or among the --record)')
    b.add_argument('--incremental', action='store_true', help="let Cinder's API code choose the parent")
    b.add_argument('--backup-id', help='force the id of the backup')
    b.add_argument('--name')
    b.add_argument('--description')
    b.add_argument('--metadata', action='append', default=[], metavar='K=V', help='backup metadata')
    b.add_argument('--container')
    b.add_argument('--snapshot-id')
    b.add_argument('--volume-name')
    b.add_argument('--volume-description')
    b.add_argument('--volume-metadata', action='append', default=[], metavar='K=V')
    b.add_argument('--glance-metadata', action='append', default=[], metavar='K=V', help='makes the volume bootable')
    b.add_argument('--encryption-key-id', help="the volume's key id")
    b.add_argument('--backup-encryption-key-id', help="the backup's copy")
    b.add_argument('--record-out', help='write the exported record (YAML)')
    b.add_argument('--cancel-after', type=int, metavar='N', help='set the backup to deleting after N chunk reads')


def restore_options(r):
    r.add_argument('--backup-id', help='the backup to restore; default: the first --record')
    r.add_argument('--out', help='file to restore into')
    r.add_argument('--rbd-target', action='store_true')
    r.add_argument('--volume-id', default='99999999-9999-4999-8999-999999999999')
    r.add_argument('--size', type=int, help='bytes of the target; default: the end of the last object of the chain')
    mode = r.add_mutually_exclusive_group()
    mode.add_argument('--new', dest='new', action='store_true', default=None,
                      help='volume_is_new=True (default where --out is absent)')
    mode.add_argument('--existing', dest='new', action='store_false', help='volume_is_new=False')
    r.add_argument('--prefill', type=lambda x: int(x, 0), metavar='BYTE',
                   help='fill the target with BYTE first (implies --existing)')
    r.add_argument('--no-sha256', action='store_true', help='do not read the target back (for timing)')
    r.add_argument('--target-name', help='name of the target volume')
    r.add_argument('--target-type', metavar='ID', help='volume type of the target (made when missing): that of an '
                   'encrypted source must be the same')
    r.add_argument('--cancel-after', type=int, metavar='N', help='set the backup to available after N writes')


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest='command', required=True)

    def command(name, options=None, **kw):
        s = sub.add_parser(name, **kw)
        process_options(s)
        driver_options(s)
        if options:
            options(s)
        return s

    command('backup', backup_options)
    command('restore', restore_options)
    command('import')
    command('export').add_argument('--backup-id', required=True)
    sub.choices['export'].add_argument('--record-out')
    command('delete').add_argument('--backup-id', required=True)
    sub.choices['delete'].add_argument('--force', action='store_true')
    command('delete-volume', help="delete the RBD volume by Cinder's volume driver").add_argument('--volume-id',
                                                                                                  required=True)
    command('verify', help="check a backup's objects' MD5").add_argument('--backup-id', required=True)
    command('list')
    command('startup', help='do all that comes before a driver is called, and no more')
    batch = sub.add_parser('batch', help='run a JSON list of jobs in one process')
    process_options(batch)
    batch.add_argument('jobs', help='file with a JSON list of jobs; - reads one job a line and answers a line each')
    batch.add_argument('--results', help='file for the JSON list of results (default: stdout)')
    sub.add_parser('decode', help='decode a record file').add_argument('record')
    sub.add_parser('version')
    return p


def run(args):
    """One command in a process of its own."""
    command = getattr(oracle_commands, 'cmd_' + args.command.replace('-', '_'))
    if args.command in ('version', 'decode'):
        return command(args)
    oracle_process.start(args.state, args.debug)
    oracle_process.configure(args)
    return command(args)


def main():
    args = parser().parse_args()
    status = 0
    try:
        if args.command == 'batch':
            status = oracle_batch.main(args, parser())
        else:
            print(json.dumps(run(args), indent=2, default=str))
    except Exception as e:
        if getattr(args, 'debug', False):
            raise
        print(json.dumps({'error': type(e).__name__, 'message': str(e)}, indent=2),
              file=sys.stderr if args.command == 'batch' else sys.stdout)
        status = 1
    sys.stdout.flush()
    # Cinder leaves threads behind that a normal exit would wait for.
    os._exit(status)


if __name__ == '__main__':
    main()
