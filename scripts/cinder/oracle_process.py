"""A process in which Cinder's backup code runs: modules, configuration, database."""
import contextlib
import importlib
import os
import shutil
import sqlite3
import sys
import tempfile

DRIVERS = {
    'posix': 'cinder.backup.drivers.posix.PosixBackupDriver',
    'nfs': 'cinder.backup.drivers.nfs.NFSBackupDriver',
    's3': 'cinder.backup.drivers.s3.S3BackupDriver',
    'swift': 'cinder.backup.drivers.swift.SwiftBackupDriver',
    'ceph': 'cinder.backup.drivers.ceph.CephBackupDriver',
    'gcs': 'cinder.backup.drivers.gcs.GoogleBackupDriver',
}
# Options of each chunked driver: bytes of an object, bytes of a hashed block.
SIZES = {
    'posix': ('backup_file_size', 'backup_sha_block_size_bytes'),
    'nfs': ('backup_file_size', 'backup_sha_block_size_bytes'),
    's3': ('backup_s3_object_size', 'backup_s3_block_size'),
    'swift': ('backup_swift_object_size', 'backup_swift_block_size'),
    'gcs': ('backup_gcs_object_size', 'backup_gcs_block_size'),
}
PROJECT = '11111111111111111111111111111111'
USER = '22222222222222222222222222222222'


class Process:
    """What is set up once; `overrides` is what the current job has set in Cinder's configuration."""

    state = None
    database = None
    pristine = None
    overrides = []
    nfs_repo = None


def start(state, debug=False):
    """Loads Cinder and makes its database, once for the process."""
    os.environ.setdefault('OS_CINDER_DISABLE_EVENTLET_PATCHING', 'true')
    try:        # releases of 2025 on: native threads; before: eventlet
        from cinder import monkey_patch
        monkey_patch.patch(backend='threading')
        import oslo_service.backend as service_backend
        with contextlib.suppress(Exception):
            service_backend.init_backend(service_backend.BackendType.THREADING)
    except ImportError:
        import eventlet
        eventlet.monkey_patch()
    import logging
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if debug else logging.ERROR)
    from cinder import objects
    from cinder import rpc
    from cinder import version
    from cinder.common import config  # noqa: F401  registers global options
    from cinder.db import api as dbapi  # noqa: F401
    from oslo_concurrency import lockutils
    from oslo_config import cfg
    objects.register_all()
    CONF = cfg.CONF
    state = os.path.abspath(state or tempfile.mkdtemp(prefix='oracle-state-'))
    os.makedirs(state, exist_ok=True)
    Process.state = state
    conf = os.path.join(state, 'cinder.conf')
    with open(conf, 'w') as f:
        f.write('[DEFAULT]\ntransport_url = fake:/\n')
    CONF([], project='cinder', version=version.version_string(), default_config_files=[conf])
    lockutils.set_defaults(os.path.join(state, 'lock'))
    from cinder.backup import api, chunkeddriver, manager  # noqa: F401  registers the backup options
    db = os.path.join(state, 'cinder.sqlite')
    CONF.set_override('connection', 'sqlite:///' + db, 'database')
    CONF.set_override('state_path', state)
    CONF.set_override('host', 'oracle')
    CONF.set_override('backend_url', 'file://' + state, 'coordination')
    Process.database = db
    Process.pristine = pristine_database(db, version.version_string())
    if not os.path.exists(db):
        shutil.copyfile(Process.pristine, db)
        connection = sqlite3.connect(db)
        connection.execute('PRAGMA journal_mode=WAL')     # old releases read while they write
        connection.close()
    rpc.init(CONF)


def pristine_database(db, release):
    """Cinder's own migrations; the empty result is kept beside the environment, by release."""
    cached = os.path.join(os.environ.get('ORACLE_CACHE') or sys.prefix, 'schema-%s.sqlite' % release)
    if os.path.exists(cached):
        return cached
    from cinder.db import api as dbapi
    from cinder.db import migration
    existed = os.path.exists(db)
    migration.db_sync()
    with contextlib.suppress(Exception):
        dbapi.dispose_engine()
    if existed:
        return db
    made = cached + '.tmp%d' % os.getpid()
    shutil.copyfile(db, made)
    os.replace(made, cached)
    os.remove(db)
    return cached


def reset():
    """Every table as a fresh installation has it."""
    connection = sqlite3.connect(Process.database, timeout=30)
    connection.execute('ATTACH ? AS fresh', (Process.pristine,))
    tables = [row[0] for row in connection.execute("SELECT name FROM fresh.sqlite_master WHERE type = 'table'")]
    for t in tables:
        if t.startswith('sqlite_'):
            continue
        count = 'SELECT count(*) FROM %s."%s"'
        if connection.execute(count % ('main', t)).fetchone() == connection.execute(count % ('fresh', t)).fetchone() \
                and t not in ('quota_usages', 'reservations'):
            continue
        connection.execute('DELETE FROM main."%s"' % t)
        connection.execute('INSERT INTO main."%s" SELECT * FROM fresh."%s"' % (t, t))
    connection.commit()
    connection.close()


def configure(args):
    """Cinder's options for one job; those of the job before are taken back."""
    from oslo_config import cfg
    CONF = cfg.CONF
    for name, group in Process.overrides:
        CONF.clear_override(name, group)
    Process.overrides = []

    def override(name, value, group=None):
        CONF.set_override(name, value, group)
        Process.overrides.append((name, group))

    importlib.import_module(DRIVERS[args.driver].rsplit('.', 1)[0])
    override('backup_driver', DRIVERS[args.driver])
    override('backup_compression_algorithm', args.compression)
    override('storage_availability_zone', args.az)
    if args.driver in SIZES:
        chunk, block = SIZES[args.driver]
        if args.chunk_size:
            override(chunk, args.chunk_size)
        if args.sha_block_size:
            override(block, args.sha_block_size)
    configure_driver(args, override)
    for item in args.set:
        name, value = item.split('=', 1)
        group = None
        if '/' in name:
            group, name = name.split('/', 1)
        opt = (CONF._groups[group]._opts if group else CONF._opts)[name]['opt']
        override(name, opt.type(value), group)


def configure_driver(args, override):
    if args.driver in ('posix', 'nfs'):
        if not args.repo:
            raise ValueError('--driver %s needs --repo' % args.driver)
        os.makedirs(args.repo, exist_ok=True)
    if args.driver == 'posix':
        override('backup_posix_path', os.path.abspath(args.repo))
    elif args.driver == 'nfs':
        override('backup_share', 'oracle:/export')
        bypass_mount(os.path.abspath(args.repo))
    elif args.driver == 's3':
        override('backup_s3_endpoint_url', args.endpoint)
        override('backup_s3_store_access_key', args.access_key)
        override('backup_s3_store_secret_key', args.secret_key)
        if args.bucket:
            override('backup_s3_store_bucket', args.bucket)
    elif args.driver == 'swift':
        override('backup_swift_url', args.endpoint)
        if args.bucket:
            override('backup_swift_container', args.bucket)
    elif args.driver == 'ceph':
        override('backup_ceph_conf', args.ceph_conf)
        override('backup_ceph_user', args.ceph_user)
        if args.chunk_size:
            override('backup_ceph_chunk_size', args.chunk_size)
        if args.bucket:
            override('backup_ceph_pool', args.bucket)


def bypass_mount(repo):
    """Only os-brick's mount is stubbed; the rest of the NFS driver runs."""
    from os_brick.remotefs import remotefs
    from cinder import coordination
    first = Process.nfs_repo is None
    Process.nfs_repo = repo
    os.chmod(repo, os.stat(repo).st_mode | 0o020)
    if first:
        remotefs.RemoteFsClient.mount = lambda self, share, flags=None: None
        remotefs.RemoteFsClient.get_mount_point = lambda self, share: Process.nfs_repo
        coordination.COORDINATOR.start()
