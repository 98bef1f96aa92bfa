//! The service over a store of images, where all backups of a chain share a location.

use std::sync::Arc;

use super::world::{World, change};
use crate::error::ErrorKind;
use crate::format::ceph::{self, BaseImage};
use crate::id::{ContainerName, ObjectKey};
use crate::image::{ImageKey, ImageRepository};
use crate::imaged::{ImageBackup, ImagedConfig};
use crate::record::BackupStatus;
use crate::service::{
    CreateRequest, ExportedRecord, FoundState, NamedRepository, OrphanRequest, RestoreTarget,
    ScanRequest,
};
use crate::testing::{MemoryImages, MemoryRepository};

pub(super) fn images() -> MemoryImages {
    MemoryImages::new(ContainerName::new("backups").unwrap())
}

fn named(images: &MemoryImages) -> NamedRepository {
    NamedRepository {
        name: "ceph".into(),
        backup: Arc::new(ImageBackup::new(Arc::new(images.clone()), ImagedConfig::new()).unwrap()),
        service: ceph::SERVICE.into(),
        container: None,
        account: None,
    }
}

pub(super) async fn world(images: &MemoryImages) -> World {
    World::over(&[named(images)], MemoryRepository::new()).await
}

#[tokio::test]
async fn a_chain_is_made_restored_and_deleted_link_by_link() {
    let images = images();
    let w = world(&images).await;
    let v = w.volume("data", 200_000).await;
    let full = w.full(&v).await;
    let before = w.device(&v).copy();
    change(&w.device(&v));
    let inc = w.incremental(&v).await;
    assert_eq!(inc.parent_id, Some(full.id));
    assert_eq!(inc.location, full.location, "one image for the chain");
    assert_eq!(inc.object_count, 0);
    w.check(&full, &before).await;
    w.check(&inc, &w.device(&v)).await;

    let delete = async |id: crate::id::BackupId| {
        let id = id.to_string();
        w.service.delete_backup(&w.caller, &id, false, &w.cx).await
    };
    assert!(delete(full.id).await.unwrap_err().is(ErrorKind::Conflict));
    delete(inc.id).await.unwrap();
    w.check(&full, &before).await;
    delete(full.id).await.unwrap();
    assert_eq!(images.inventory(), Vec::<String>::new());
    w.assert_quiet().await;
}

#[tokio::test]
async fn a_cancelled_incremental_takes_nothing_of_its_chain() {
    let images = images();
    let w = world(&images).await;
    let v = w.volume("data", 200_000).await;
    let full = w.full(&v).await;
    let before = w.device(&v).copy();
    let there = images.inventory();
    change(&w.device(&v));
    let request = CreateRequest::of("data").incremental(true);
    let cancelled = w
        .service
        .create_backup(&w.caller, request, &w.cancelled_soon())
        .await;
    assert!(cancelled.unwrap_err().is(ErrorKind::Cancelled));
    assert_eq!(images.inventory(), there);
    let failed = w.backups().await[0].clone();
    assert_eq!(failed.status, BackupStatus::Error);
    let id = failed.id.to_string();
    w.service
        .delete_backup(&w.caller, &id, false, &w.cx)
        .await
        .unwrap();
    assert_eq!(images.inventory(), there);
    w.check(&full, &before).await;
    let inc = w.incremental(&v).await;
    w.check(&inc, &w.device(&v)).await;
}

/// As when somebody removes the snapshot that is read: no read fails, and what comes is zeroes.
#[tokio::test]
async fn a_source_that_vanishes_while_it_is_read_makes_no_backup() {
    let images = images();
    for (w, on_images) in [(world(&images).await, true), (World::new().await, false)] {
        let v = w.volume("data", 12 << 20).await;
        let full = w.full(&v).await;
        let before = w.device(&v).copy();
        let there = (images.inventory(), w.repository.objects());
        for incremental in [false, true] {
            let device = w.device(&v).without_holes();
            change(&device);
            device.vanish(1);
            let request = CreateRequest::of("data").incremental(incremental);
            let e = w.back_up(request).await.unwrap_err();
            assert!(
                e.is(ErrorKind::Conflict),
                "{on_images} {incremental}: {e:?}"
            );
            assert!(e.to_string().contains("vanished"), "{e}");
            let now = (images.inventory(), w.repository.objects());
            assert_eq!(now, there, "{on_images} {incremental}");
            device.vanish(u64::MAX);
        }
        w.check(&full, &before).await;
        let inc = w.incremental(&v).await;
        w.check(&inc, &w.device(&v)).await;
        w.assert_quiet().await;
    }
}

#[tokio::test]
async fn a_lost_catalogue_comes_back_from_the_images() {
    let images = images();
    let old = world(&images).await;
    let v = old.volume("data", 200_000).await;
    old.full(&v).await;
    change(&old.device(&v));
    let inc = old.incremental(&v).await;
    let new = world(&images).await;
    let report = new
        .service
        .scan(&new.caller, &ScanRequest::new().import(true), &new.cx)
        .await
        .unwrap();
    assert_eq!(report.found.len(), 2);
    assert!(
        report
            .found
            .iter()
            .all(|f| matches!(f.state, FoundState::Imported))
    );
    new.check(&inc, &old.device(&v)).await;
    let orphans = new
        .service
        .orphans(&new.caller, &OrphanRequest::new(), &new.cx)
        .await
        .unwrap();
    assert!(orphans.found.is_empty(), "{orphans:?}");
}

/// A record of Cinder's ceph driver that does not say where the backup lies.
#[tokio::test]
async fn a_record_without_service_metadata_is_found_by_its_names() {
    let images = images();
    let w = world(&images).await;
    let v = w.volume("data", 100_000).await;
    let content: Vec<u8> = (0..100_000u32).map(|i| (i % 241) as u8 + 1).collect();
    for old_style in [false, true] {
        let id = crate::id::BackupId::generate();
        let base = if old_style {
            BaseImage::old_style(v.id)
        } else {
            BaseImage::new(v.id, id)
        };
        let pool = ContainerName::new("backups").unwrap();
        let key = ImageKey::new(&pool, base.to_string()).unwrap();
        let image = images.create(&key, 100_000).await.unwrap();
        image.write(0, content.clone().into()).await.unwrap();
        let record = ObjectKey::new(&pool, ceph::record_name(id)).unwrap();
        images.put_record(&record, "{}".into()).await.unwrap();
        let json = serde_json::json!({
            "id": id.to_string(), "volume_id": v.id.to_string(), "size": 1, "container": "backups",
            "service_metadata": null, "display_name": "of old", "display_description": null,
            "object_count": 0, "parent_id": null,
        });
        let url =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, json.to_string());
        let exported = ExportedRecord {
            backup_service: ceph::SERVICE.into(),
            backup_url: url,
        };
        let imported = w
            .service
            .import_record(&w.caller, &exported, &w.cx)
            .await
            .unwrap();
        let location = imported.location.clone().unwrap();
        assert_eq!(ceph::base_of(&location.prefix).unwrap(), key.name());
        let target = RestoreTarget::New { name: None };
        let restored = w.restore(&imported, target).await.unwrap();
        assert!(w.device(&restored).peek(0, 100_000) == content);
    }
    // One that is nowhere is told.
    let json = serde_json::json!({
        "id": crate::id::BackupId::generate().to_string(), "volume_id": v.id.to_string(), "size": 1,
        "container": "other", "service_metadata": null, "display_name": null,
        "display_description": null, "object_count": 0,
    });
    let url = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, json.to_string());
    let exported = ExportedRecord {
        backup_service: ceph::SERVICE.into(),
        backup_url: url,
    };
    let e = w
        .service
        .import_record(&w.caller, &exported, &w.cx)
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::InvalidInput), "{e:?}");
}
