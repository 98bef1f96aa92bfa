"""The rows and records that Cinder's backup code works on."""
import json

from oracle_process import PROJECT, USER


def context(args):
    from cinder import context as cinder_context
    return cinder_context.RequestContext(
        user_id=getattr(args, 'user', USER), project_id=getattr(args, 'project', PROJECT), is_admin=True,
        auth_token=getattr(args, 'auth_token', 'oracle'), overwrite=False)


def manager(args):
    from cinder.backup import manager as backup_manager
    made = backup_manager.BackupManager(host='oracle', service_name='backup')
    made.is_initialized = True
    return made


def key_values(items):
    return dict(i.split('=', 1) for i in items)


def make_volume(ctxt, volume_id, gib, status, **extra):
    from cinder import exception
    from cinder.db import api as db
    extra = {k: v for k, v in extra.items() if v is not None}
    try:
        db.volume_get(ctxt, volume_id)
        db.volume_update(ctxt, volume_id, {'status': status, 'previous_status': 'available', 'size': gib, **extra})
        return
    except exception.VolumeNotFound:
        pass
    from cinder.volume import volume_types
    volume_type = volume_types.get_default_volume_type(ctxt)
    db.volume_create(ctxt, {
        'id': volume_id, 'size': gib, 'status': status, 'previous_status': 'available', 'attach_status': 'detached',
        'user_id': ctxt.user_id, 'project_id': ctxt.project_id, 'host': 'oracle@lvm#pool',
        'availability_zone': 'nova', 'volume_type_id': volume_type['id'] if volume_type else None,
        'use_quota': True, **extra})


def volume_type(ctxt, type_id):
    """A volume type of that id, made when it is missing."""
    from cinder import exception
    from cinder.db import api as db
    if type_id:
        try:
            db.volume_type_get(ctxt, type_id)
        except exception.VolumeTypeNotFound:
            db.volume_type_create(ctxt, {'id': type_id, 'name': type_id})
    return type_id


def read_record(path):
    """YAML of openstackclient, or JSON -> (backup_service, backup_url)."""
    with open(path) as f:
        text = f.read()
    try:
        d = json.loads(text)
    except ValueError:
        import yaml
        d = yaml.safe_load(text)
    if isinstance(d, list):      # cliff's rows of Field and Value
        d = {r['Field']: r['Value'] for r in d}
    if 'backup-record' in d:     # the API's body
        d = d['backup-record']
    return d['backup_service'], d['backup_url']


def write_record(path, record):
    """As `openstack volume backup record export -f yaml` prints it."""
    import yaml
    with open(path, 'w') as f:
        yaml.safe_dump({k: record[k] for k in ('backup_service', 'backup_url')}, f, default_flow_style=False,
                       allow_unicode=True, width=10 ** 9)


def import_records(ctxt, mgr, paths):
    """Cinder's own API and manager code of `backup record import`."""
    from cinder import objects
    from cinder.backup import api as backup_api
    api = backup_api.API()
    ids = []
    for p in paths:
        service, url = read_record(p)
        backup = api._get_import_backup(ctxt, url)
        mgr.import_record(ctxt, backup, service, url, [])
        ids.append(backup.id)
    for i in ids:
        objects.Backup.get_by_id(ctxt, i)
    return ids


class Hooked:
    """A file that calls `hook` before each read and write."""

    def __init__(self, f, hook):
        self.__dict__.update(_f=f, _hook=hook)

    def read(self, *a):
        self._hook()
        return self._f.read(*a)

    def write(self, *a):
        self._hook()
        return self._f.write(*a)

    def __getattr__(self, name):
        return getattr(self._f, name)


def rbd_file(args, image_name, read_only=False):
    """The file object that os-brick's RBD connector hands to the driver."""
    import rados
    import rbd
    from os_brick.initiator import linuxrbd
    client = rados.Rados(rados_id=args.ceph_user, conffile=args.ceph_conf)
    client.connect()
    ioctx = client.open_ioctx(args.rbd_pool)
    image = rbd.Image(ioctx, image_name, read_only=read_only)
    return linuxrbd.RBDVolumeIOWrapper(
        linuxrbd.RBDImageMetadata(image, args.rbd_pool, args.ceph_user, args.ceph_conf))
