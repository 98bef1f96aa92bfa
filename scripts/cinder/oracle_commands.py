"""The oracle's commands: each takes parsed arguments and gives what is printed as JSON."""
import base64
import hashlib
import inspect
import json
import os
import resource
import time

from oracle_process import Process
from oracle_rows import (Hooked, context, import_records, key_values, make_volume, manager, rbd_file, read_record,
                         volume_type, write_record)

GIB = 1024 ** 3


def usage(wall, cpu, nbytes):
    wall = time.monotonic() - wall
    return {'seconds': round(wall, 3), 'cpu_seconds': round(time.process_time() - cpu, 3),
            'mb_per_s': round(nbytes / 1e6 / wall, 1) if wall else None,
            'max_rss_mib': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


def sha256(path):
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        for b in iter(lambda: f.read(1 << 20), b''):
            h.update(b)
    return h.hexdigest()


# ---- backup

def cmd_backup(args):
    from cinder import objects
    from cinder.db import api as db
    ctxt, mgr = context(args), manager(args)
    import_records(ctxt, mgr, args.record)
    if args.volume_file:
        nbytes = os.path.getsize(args.volume_file)
        gib = args.volume_size or max(1, -(-nbytes // GIB))
    else:
        gib = args.volume_size or 1
        nbytes = gib * GIB
    volume = source_volume(args, ctxt, gib)
    backup = backup_row(args, ctxt, mgr, gib, volume)
    driver = mgr.service(ctxt)
    reads = [0]

    def hook():
        reads[0] += 1
        if args.cancel_after is not None and reads[0] > args.cancel_after:
            db.backup_update(ctxt, backup.id, {'status': 'deleting'})

    wall, cpu = time.monotonic(), time.process_time()
    try:
        if args.rbd_source:
            f = rbd_file(args, volume.name)
            try:
                updates = driver.backup(backup, f)
            finally:
                f.close()
        else:
            with open(args.volume_file, 'rb') as f:
                updates = driver.backup(backup, Hooked(f, hook) if args.cancel_after is not None else f)
    except Exception as e:
        from cinder.volume import volume_utils
        volume_utils.update_backup_error(backup, str(e))
        raise
    use = usage(wall, cpu, nbytes)
    with backup.as_read_deleted():
        backup.refresh()
    finish_backup(mgr, ctxt, backup, volume, updates)
    out = {'backup_id': backup.id, 'status': backup.status, 'container': backup.container,
           'parent_id': backup.parent_id, 'service_metadata': backup.service_metadata,
           'object_count': backup.object_count, 'bytes': nbytes, **use}
    if backup.status == 'available':
        record = mgr.export_record(ctxt, objects.Backup.get_by_id(ctxt, backup.id))
        out.update(record)
        if args.record_out:
            write_record(args.record_out, record)
    out['state'] = Process.state
    return out


def source_volume(args, ctxt, gib):
    from cinder import objects
    from cinder.db import api as db
    make_volume(ctxt, args.volume_id, gib, 'available' if args.incremental else 'backing-up',
                display_name=args.volume_name, display_description=args.volume_description,
                encryption_key_id=args.encryption_key_id, bootable=True if args.glance_metadata else None)
    if args.volume_metadata:
        db.volume_metadata_update(ctxt, args.volume_id, key_values(args.volume_metadata), False)
    if args.glance_metadata:
        db.volume_glance_metadata_delete_by_volume(ctxt, args.volume_id)
        for k, v in key_values(args.glance_metadata).items():
            db.volume_glance_metadata_create(ctxt, args.volume_id, k, v)
    return objects.Volume.get_by_id(ctxt, args.volume_id)


def backup_row(args, ctxt, mgr, gib, volume):
    from cinder import objects
    if args.incremental:
        from cinder.backup import api as backup_api
        backup = backup_api.API().create(ctxt, args.name, args.description, args.volume_id, args.container,
                                         incremental=True, metadata=key_values(args.metadata))
        volume.refresh()
    else:
        parent = objects.Backup.get_by_id(ctxt, args.parent) if args.parent else None
        values = dict(user_id=ctxt.user_id, project_id=ctxt.project_id, display_name=args.name,
                      display_description=args.description, volume_id=args.volume_id, status='creating',
                      container=args.container, parent_id=args.parent, size=gib, host='oracle',
                      snapshot_id=args.snapshot_id, data_timestamp=None, parent=parent, availability_zone=None,
                      metadata=key_values(args.metadata))
        if args.backup_id:
            backup = objects.BackupImport(context=ctxt, id=args.backup_id, **values)
        else:
            backup = objects.Backup(context=ctxt, **values)
        backup.create()
        backup = objects.Backup.get_by_id(ctxt, backup.id)
        backup.data_timestamp = backup.created_at
        backup.save()
    backup.host = 'oracle'
    backup.availability_zone = backup.availability_zone or mgr.az
    backup.service = mgr.driver_name
    if args.backup_encryption_key_id:
        backup.encryption_key_id = args.backup_encryption_key_id
    backup.save()
    return backup


def finish_backup(mgr, ctxt, backup, volume, updates):
    from cinder import objects
    if hasattr(mgr, '_finish_backup'):
        mgr._finish_backup(ctxt, backup, volume, updates)
    elif backup.status not in ('deleting', 'deleted'):
        # Before 19.0 these lines stand in the middle of create_backup.
        backup.status = 'available'
        backup.size = volume['size']
        if updates:
            backup.update(updates)
        backup.save()
        if backup.parent_id:
            parent = objects.Backup.get_by_id(ctxt, backup.parent_id)
            parent.num_dependent_backups += 1
            parent.save()


# ---- restore

def cmd_restore(args):
    from cinder import exception
    from cinder import objects
    from cinder.db import api as db
    ctxt, mgr = context(args), manager(args)
    imported = import_records(ctxt, mgr, args.record)
    backup_id = args.backup_id or imported[0]
    backup = objects.Backup.get_by_id(ctxt, backup_id)
    driver = mgr.service(ctxt)
    new = args.new
    if args.prefill is not None:
        new = False
    if new is None:
        new = bool(args.rbd_target) or not os.path.exists(args.out)
    size = args.size or end_of_chain(args, ctxt, driver, backup)
    make_volume(ctxt, args.volume_id, max(backup.size, -(-size // GIB)), 'restoring-backup',
                display_name=args.target_name, volume_type_id=volume_type(ctxt, args.target_type))
    volume = objects.Volume.get_by_id(ctxt, args.volume_id)
    key_before = volume.encryption_key_id
    backup.status = 'restoring'
    backup.restore_volume_id = volume.id
    backup.save()
    writes = [0]

    def hook():
        writes[0] += 1
        if args.cancel_after is not None and writes[0] > args.cancel_after:
            db.backup_update(ctxt, backup.id, {'status': 'available'})

    f = rbd_file(args, volume.name) if args.rbd_target else open_target(args, size)
    result = 'restored'
    wall, cpu = time.monotonic(), time.process_time()
    try:
        call_restore(driver, backup, volume.id, Hooked(f, hook) if args.cancel_after is not None else f, new)
    except exception.BackupRestoreCancel:
        result = 'canceled'
    finally:
        f.close()
    use = usage(wall, cpu, size)
    backup.refresh()
    backup.status = 'available'
    backup.save()
    return {'backup_id': backup_id, 'result': result, 'volume_is_new': new, 'size': size, **use,
            'volume': described_volume(ctxt, args.volume_id, key_before),
            'sha256': sha256(args.out) if args.out and not args.no_sha256 else None, 'state': Process.state}


def end_of_chain(args, ctxt, driver, backup):
    """The end of the last object of all layers: the size of a target that takes them all."""
    from cinder import objects
    if args.driver == 'ceph':
        return backup.size * GIB
    end = 0
    while True:
        for entry in driver._read_metadata(backup)['objects']:
            for d in entry.values():
                end = max(end, d['offset'] + d.get('length', 0))
        if not backup.parent_id:
            return end
        backup = objects.Backup.get_by_id(ctxt, backup.parent_id)


def open_target(args, size):
    f = open(args.out, 'r+b' if os.path.exists(args.out) else 'w+b')
    if args.prefill is not None:
        left = size
        while left:
            k = min(left, 1 << 20)
            f.write(bytes([args.prefill]) * k)
            left -= k
        f.seek(0)
    elif os.path.getsize(args.out) < size:
        f.truncate(size)
    return f


def call_restore(driver, backup, volume_id, f, new):
    if 'volume_is_new' in inspect.signature(driver.restore).parameters:
        driver.restore(backup, volume_id, f, new)
    else:       # 21.x and older
        driver.restore(backup, volume_id, f)


def described_volume(ctxt, volume_id, key_before):
    from cinder import exception
    from cinder import objects
    from cinder.db import api as db
    volume = objects.Volume.get_by_id(ctxt, volume_id)
    try:
        glance = {e.key: e.value for e in db.volume_glance_metadata_get(ctxt, volume.id)}
    except exception.GlanceMetadataNotFound:
        glance = None
    return {'display_name': volume.display_name, 'display_description': volume.display_description,
            'encryption_key_id': volume.encryption_key_id, 'encryption_key_before': key_before,
            'bootable': volume.bootable, 'metadata': db.volume_metadata_get(ctxt, volume.id),
            'glance_metadata': glance}


# ---- records, deletion, looking

def cmd_import(args):
    return {'imported': import_records(context(args), manager(args), args.record), 'state': Process.state}


def cmd_export(args):
    from cinder import objects
    ctxt, mgr = context(args), manager(args)
    record = mgr.export_record(ctxt, objects.Backup.get_by_id(ctxt, args.backup_id))
    if args.record_out:
        write_record(args.record_out, record)
    return record


def cmd_delete(args):
    from cinder import exception
    from cinder import objects
    ctxt, mgr = context(args), manager(args)
    import_records(ctxt, mgr, args.record)
    backup = objects.Backup.get_by_id(ctxt, args.backup_id)
    # The rules of Cinder's API (cinder/backup/api.py, delete).
    if not args.force and backup.status not in ('available', 'error'):
        raise exception.InvalidBackup('Backup status must be available or error')
    if len(objects.BackupList.get_all_by_project(ctxt, ctxt.project_id, {'parent_id': backup.id})):
        raise exception.InvalidBackup('Incremental backups exist for this backup.')
    backup.status = 'deleting'
    backup.save()
    mgr.delete_backup(ctxt, backup)
    return {'deleted': args.backup_id}


def cmd_delete_volume(args):
    """Cinder's own volume driver for RBD removes the image of a volume."""
    from oslo_config import cfg
    from cinder import objects
    from cinder.volume import configuration
    from cinder.volume.drivers import rbd
    ctxt = context(args)
    make_volume(ctxt, args.volume_id, 1, 'deleting')
    volume = objects.Volume.get_by_id(ctxt, args.volume_id)
    group = 'oracle_rbd'
    conf = configuration.Configuration(rbd.RBD_OPTS, config_group=group)
    for name, value in (('rbd_ceph_conf', args.ceph_conf), ('rbd_user', args.ceph_user), ('rbd_pool', args.rbd_pool)):
        cfg.CONF.set_override(name, value, group)
    driver = rbd.RBDDriver(configuration=conf)
    driver.do_setup(ctxt)
    driver.check_for_setup_error()
    driver.delete_volume(volume)
    return {'deleted': volume.name}


def cmd_list(args):
    from cinder import objects
    rows = []
    for b in objects.BackupList.get_all(context(args), sort_keys=['created_at'], sort_dirs=['asc']):
        row = {k: getattr(b, k) for k in (
            'id', 'status', 'fail_reason', 'volume_id', 'parent_id', 'size', 'container', 'service',
            'service_metadata', 'object_count', 'display_name', 'display_description', 'num_dependent_backups',
            'is_incremental', 'has_dependent_backups', 'encryption_key_id', 'snapshot_id')}
        rows.append({**row, 'created_at': str(b.created_at), 'data_timestamp': str(b.data_timestamp),
                     'metadata': dict(b.metadata or {})})
    return rows


def cmd_verify(args):
    """MD5 and length of every object as recorded (Cinder itself never checks them)."""
    from cinder import objects
    ctxt, mgr = context(args), manager(args)
    import_records(ctxt, mgr, args.record)
    backup = objects.Backup.get_by_id(ctxt, args.backup_id)
    driver = mgr.service(ctxt)
    bad, count, stored = [], 0, 0
    for entry in driver._read_metadata(backup)['objects']:
        (name, recorded), = entry.items()
        with driver._get_object_reader(backup.container, name) as r:
            body = r.read()
        stored += len(body)
        codec = driver._get_compressor(recorded['compression'])
        data = codec.decompress(body) if codec else body
        count += 1
        if hashlib.md5(data).hexdigest() != recorded['md5'] or len(data) != recorded['length']:
            bad.append(name)
    hashes = driver._read_sha256file(backup)
    return {'objects': count, 'stored_bytes': stored, 'bad': bad, 'sha256s': len(hashes['sha256s']),
            'sha_block': hashes['chunk_size']}


def cmd_startup(args):
    """All that a backup does before its rows are made: what a benchmark takes off."""
    mgr = manager(args)
    mgr.service(context(args))
    return {'state': Process.state}


def cmd_decode(args):
    service, url = read_record(args.record)
    return {'backup_service': service, 'record': json.loads(base64.b64decode(url))}


def cmd_version(args):
    from importlib import metadata
    return {p: metadata.version(p) for p in ('cinder', 'os-brick', 'zstd', 'boto3', 'python-swiftclient')}
