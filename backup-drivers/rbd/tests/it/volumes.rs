//! Images as volumes: made, adopted, attached, detached, removed.

use std::sync::Arc;
use std::time::Duration;

use backup_core::volume::{SnapshotRef, VolumeRef};
use backup_core::{
    AttachSource, BackupId, BlockDevice, Buf, DeviceAttacher, ErrorKind, SnapshotId, VolumeId,
    VolumeProvider,
};
use backup_rbd::RbdVolumes;
use bytes::Bytes;

use crate::ceph::{Ceph, conf, noise, volumes_config};

const MIB: u64 = 1 << 20;

fn volumes() -> Option<RbdVolumes> {
    Some(RbdVolumes::new(volumes_config(&conf()?)).unwrap())
}

async fn made(volumes: &RbdVolumes, length: u64) -> VolumeRef {
    let id = VolumeId::generate();
    let location = volumes.create_volume(id, length).await.unwrap();
    assert_eq!(location, format!("volumes/volume-{id}"));
    VolumeRef {
        id,
        provider_location: Some(location),
    }
}

async fn snapshots(volumes: &RbdVolumes, volume: &VolumeRef) -> Vec<String> {
    let pool = volumes.pool().await.unwrap();
    let name = format!("volume-{}", volume.id);
    let image = pool.open_read_only(&name, None).await.unwrap();
    let listed = image.snapshots().await.unwrap();
    listed.into_iter().map(|s| s.name).collect()
}

async fn write(volumes: &RbdVolumes, volume: &VolumeRef, at: u64, data: Vec<u8>) {
    let pool = volumes.pool().await.unwrap();
    let name = format!("volume-{}", volume.id);
    let image = pool.open_image(&name).await.unwrap();
    image.write(at, Bytes::from(data)).await.unwrap();
    image.close().await.unwrap();
}

async fn read(device: &Arc<dyn BlockDevice>, at: u64, length: usize) -> Vec<u8> {
    let (buf, read) = device.read(at, Buf::zeroed(length)).await;
    read.unwrap();
    buf.to_vec()
}

/// A process that is killed while it makes a volume leaves a name without an image.
#[tokio::test]
async fn a_half_made_volume_is_removed_with_its_name() {
    let Some(volumes) = volumes() else {
        return;
    };
    let volume = made(&volumes, MIB).await;
    let (pool, name) = (
        volumes.pool().await.unwrap(),
        format!("volume-{}", volume.id),
    );
    let image = pool.open_read_only(&name, None).await.unwrap();
    let header = format!("rbd_header.{}", image.info().id);
    image.close().await.unwrap();
    pool.remove_object(&header).await.unwrap();
    let opened = pool.open_read_only(&name, None).await;
    assert!(opened.unwrap_err().is(ErrorKind::NotFound));
    assert_eq!(pool.images(&name).await.unwrap(), [&name[..]]);
    volumes.delete_volume(&volume).await.unwrap();
    assert_eq!(pool.images(&name).await.unwrap(), [""; 0]);
    // And once more, of what is not there.
    volumes.delete_volume(&volume).await.unwrap();
}

#[tokio::test]
async fn a_volume_is_made_sized_snapshotted_and_removed() {
    let Some(volumes) = volumes() else {
        return;
    };
    let volume = made(&volumes, 10_000_001).await;
    assert_eq!(volumes.length(&volume).await.unwrap(), 10_000_001);
    let id = SnapshotId::generate();
    let location = volumes.create_snapshot(&volume, id, true).await.unwrap();
    assert!(location.ends_with(&format!("@snapshot-{id}")), "{location}");
    // Made again after a crash: the same.
    volumes.create_snapshot(&volume, id, true).await.unwrap();
    let snapshot = SnapshotRef {
        id,
        volume: volume.clone(),
        provider_location: Some(location),
    };
    let kept = volumes.delete_volume(&volume).await.unwrap_err();
    assert!(kept.is(ErrorKind::Conflict), "{kept}");
    for _ in 0..2 {
        volumes.delete_snapshot(&snapshot).await.unwrap();
    }
    for _ in 0..2 {
        volumes.delete_volume(&volume).await.unwrap();
    }
    volumes.delete_snapshot(&snapshot).await.unwrap();
    assert!(
        volumes
            .length(&volume)
            .await
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
}

#[tokio::test]
async fn an_adopted_image_of_cinders_keeps_its_id_and_is_never_removed() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let volumes = volumes().unwrap();
    let image = ceph.image(MIB).await;
    let id = VolumeId::generate();
    let (location, length) = volumes.adopt(id, image.name()).await.unwrap();
    assert_eq!((location.as_str(), length), (image.target().as_str(), MIB));
    assert_eq!(volumes.id_in(image.name()), None);
    assert_eq!(volumes.id_in(&format!("volumes/volume-{id}")), Some(id));
    let volume = VolumeRef {
        id,
        provider_location: Some(location),
    };
    let refused = volumes.delete_volume(&volume).await.unwrap_err();
    assert!(refused.is(ErrorKind::InvalidInput), "{refused}");
    assert!(volumes.adopt(id, "nothing").await.is_err());
    assert!(volumes.adopt(id, "nowhere/nothing").await.is_err());
}

#[tokio::test]
async fn a_backup_reads_the_point_in_time_that_its_plan_named_before_and_undo_leaves_nothing() {
    let Some(volumes) = volumes() else {
        return;
    };
    let volume = made(&volumes, 8 * MIB).await;
    write(&volumes, &volume, 0, noise(1, 4096)).await;
    for source in [
        AttachSource::Volume(volume.clone()),
        AttachSource::VolumeInUse(volume.clone()),
    ] {
        let plan = volumes.plan(&source, BackupId::generate()).await.unwrap();
        let name = plan.temporary_snapshot.clone().unwrap();
        assert!(name.starts_with(&format!("backup.{}.snap.", plan.backup)));
        assert_eq!(snapshots(&volumes, &volume).await, [""; 0], "planned only");
        volumes.undo(&plan).await.unwrap();
        let attached = volumes.execute(&plan).await.unwrap();
        assert_eq!(snapshots(&volumes, &volume).await, [name.as_str()]);
        write(&volumes, &volume, 0, noise(2, 4096)).await;
        assert!(read(&attached.device, 0, 4096).await == noise(1, 4096));
        assert!(attached.device.geometry().read_only);
        assert!(attached.changes.is_some());
        // Once more, as after a crash: what was made is taken.
        volumes.execute(&plan).await.unwrap();
        for _ in 0..2 {
            volumes.undo(&plan).await.unwrap();
        }
        assert_eq!(snapshots(&volumes, &volume).await, [""; 0]);
        write(&volumes, &volume, 0, noise(1, 4096)).await;
    }
    volumes.delete_volume(&volume).await.unwrap();
}

#[tokio::test]
async fn of_complete_backups_the_newest_snapshots_stay_and_cinders_are_left_alone() {
    let Some(volumes) = volumes() else {
        return;
    };
    let volume = made(&volumes, MIB).await;
    let pool = volumes.pool().await.unwrap();
    let image = pool
        .open_image(&format!("volume-{}", volume.id))
        .await
        .unwrap();
    let cinders = format!("backup.{}.snap.1795397046.532938", BackupId::generate());
    image.create_snapshot(&cinders).await.unwrap();
    let mut names = vec![cinders];
    for _ in 0..4 {
        let source = AttachSource::Volume(volume.clone());
        let plan = volumes.plan(&source, BackupId::generate()).await.unwrap();
        volumes.execute(&plan).await.unwrap();
        for _ in 0..2 {
            volumes.keep(&plan).await.unwrap();
        }
        names.push(plan.temporary_snapshot.unwrap());
    }
    names.drain(1..3);
    assert_eq!(snapshots(&volumes, &volume).await, names);
    drop(image);
    // A plan that was changed in the database does not make us remove another's.
    let mut forged = volumes
        .plan(&AttachSource::Volume(volume.clone()), BackupId::generate())
        .await
        .unwrap();
    forged.temporary_snapshot = Some(names[0].clone());
    assert!(volumes.undo(&forged).await.is_err());
    assert_eq!(snapshots(&volumes, &volume).await, names);
    volumes.delete_volume(&volume).await.unwrap();
}

#[tokio::test]
async fn a_target_is_locked_knows_whether_it_is_empty_and_is_refused_while_it_is_open() {
    let Some(volumes) = volumes() else {
        return;
    };
    let volume = made(&volumes, 8 * MIB).await;
    let source = AttachSource::Target(volume.clone());
    let plan = volumes.plan(&source, BackupId::generate()).await.unwrap();
    {
        let target = volumes.execute(&plan).await.unwrap();
        let geometry = target.device.geometry();
        assert!(geometry.known_zero && !geometry.read_only);
        target
            .device
            .write(4 * MIB, Bytes::from(noise(1, 512)))
            .await
            .unwrap();
        target.device.flush().await.unwrap();
        let pool = volumes.pool().await.unwrap();
        let image = pool.open_image(&format!("volume-{}", volume.id)).await;
        let image = image.unwrap();
        assert!(image.lock_owner().await.unwrap().is_some());
        image.close().await.unwrap();
        let hasty = RbdVolumes::new(volumes_config(&conf().unwrap()))
            .unwrap()
            .with_patience(Duration::from_millis(10));
        let refused = hasty.execute(&plan).await.unwrap_err();
        assert!(refused.is(ErrorKind::Conflict), "{refused}");
        assert!(
            refused.to_string().contains("127.0.0.1"),
            "who it is: {refused}"
        );
    }
    volumes.undo(&plan).await.unwrap();
    // Waits for the end of the first, which closes by itself.
    let target = volumes.execute(&plan).await.unwrap();
    assert!(!target.device.geometry().known_zero);
    assert!(read(&target.device, 4 * MIB, 512).await == noise(1, 512));
}
