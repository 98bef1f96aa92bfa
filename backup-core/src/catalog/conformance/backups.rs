//! The states of backups.

use super::fixtures::{complete, delete, finish, job, new_backup, outcome, time, volume};
use crate::backup::Properties;
use crate::catalog::{
    BackupChange, BackupEnd, BackupFilter, Catalog, JobKind, RestoreEnd, RestoreStart, VolumeChange,
};
use crate::error::ErrorKind;
use crate::format::volume::RestoredMetadata;
use crate::id::{BackupId, VolumeId};
use crate::record::{BackupStatus, GIB};
use crate::volume::{VolumeRecord, VolumeStatus};

fn start(backup: BackupId, volume: VolumeId) -> RestoreStart {
    RestoreStart {
        backup,
        volume,
        made: None,
        length: GIB + 1,
        job: job(JobKind::RestoreBackup)
            .on_backup(backup)
            .on_volume(volume),
    }
}

async fn set(catalog: &dyn Catalog, volume: &VolumeRecord, status: VolumeStatus) {
    let change = VolumeChange {
        status: Some(status),
        ..VolumeChange::default()
    };
    catalog
        .update_volume(volume.id, &change, time(2))
        .await
        .unwrap();
}

async fn status(catalog: &dyn Catalog, volume: &VolumeRecord) -> VolumeStatus {
    catalog.volume(volume.id).await.unwrap().status
}

pub(super) async fn a_backup_goes_through_its_states(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let new = new_backup(&v, None, 1);
    let id = new.record.id;
    catalog.begin_backup(&new).await.unwrap();
    assert_eq!(catalog.backup(id).await.unwrap(), new.record);
    assert_eq!(status(catalog, &v).await, VolumeStatus::BackingUp);
    let jobs = catalog.jobs().await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].id, jobs[0].backup), (new.job.id, Some(id)));
    assert_eq!(jobs[0].attach, new.job.attach, "the plans are stored");
    let plan = jobs[0].plan.as_ref().unwrap();
    assert_eq!(Some(&plan.location), new.record.location.as_ref());

    let e = catalog.begin_backup(&new).await.unwrap_err();
    assert!(e.is(ErrorKind::AlreadyExists), "{e}");
    let e = catalog.begin_backup(&new_backup(&v, None, 2)).await;
    assert!(e.unwrap_err().is(ErrorKind::Conflict), "one at a time");

    let mut done = new.record.clone();
    done.status = BackupStatus::Available;
    done.object_count = 7;
    done.stored_bytes = Some(1010);
    done.updated_at = Some(time(50));
    assert_eq!(finish(catalog, &new).await, done);
    assert_eq!(catalog.backup(id).await.unwrap(), done);
    assert_eq!(status(catalog, &v).await, VolumeStatus::Available);
    assert!(catalog.jobs().await.unwrap().is_empty());
    assert_eq!(catalog.find_backup(None, "backup 1").await.unwrap(), done);

    delete(catalog, id).await.unwrap();
    let e = catalog.backup(id).await.unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "{e}");
    let all = BackupFilter::default();
    assert!(catalog.backups(&all).await.unwrap().is_empty());
    assert!(catalog.find_backup(None, &id.to_string()).await.is_err());
}

pub(super) async fn only_some_states_can_be_backed_up(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    for (state, force, allowed) in [
        (VolumeStatus::Available, false, true),
        (VolumeStatus::InUse, false, false),
        (VolumeStatus::InUse, true, true),
        (VolumeStatus::Error, true, false),
        (VolumeStatus::ErrorRestoring, true, false),
    ] {
        set(catalog, &v, state).await;
        let mut new = new_backup(&v, None, 1);
        new.force = force;
        let begun = catalog.begin_backup(&new).await;
        assert_eq!(begun.is_ok(), allowed, "{state} {force}");
        match begun {
            Ok(_) => drop(finish(catalog, &new).await),
            Err(e) => assert!(e.is(ErrorKind::Conflict) && e.hint_text().is_some(), "{e}"),
        }
        assert_eq!(status(catalog, &v).await, state, "as it was");
    }
}

pub(super) async fn a_failed_backup_gives_its_volume_back(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    set(catalog, &v, VolumeStatus::InUse).await;
    let mut new = new_backup(&v, None, 1);
    new.force = true;
    let id = new.record.id;
    catalog.begin_backup(&new).await.unwrap();
    let end = BackupEnd::Failed("disk full".into());
    let failed = catalog
        .finish_backup(id, new.job.id, &end, false, time(3))
        .await
        .unwrap();
    assert_eq!(failed.status, BackupStatus::Error);
    assert_eq!(failed.fail_reason.as_deref(), Some("disk full"));
    assert_eq!(status(catalog, &v).await, VolumeStatus::InUse);
    assert_eq!(
        catalog.jobs().await.unwrap().len(),
        1,
        "something is still attached"
    );
    catalog.forget_job(new.job.id).await.unwrap();
    catalog.forget_job(new.job.id).await.unwrap();
    assert!(catalog.jobs().await.unwrap().is_empty());

    // A delete that fails leaves an error, and can be tried again.
    let job = job(JobKind::DeleteBackup).on_backup(id);
    catalog
        .begin_delete(id, &job, false, time(4))
        .await
        .unwrap();
    catalog
        .finish_delete(id, job.id, Some("no route"), time(5))
        .await
        .unwrap();
    let record = catalog.backup(id).await.unwrap();
    assert_eq!(record.status, BackupStatus::Error);
    assert_eq!(record.fail_reason.as_deref(), Some("no route"));
    delete(catalog, id).await.unwrap();
}

pub(super) async fn a_job_that_lost_its_place_changes_nothing(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let new = new_backup(&v, None, 1);
    let id = new.record.id;
    catalog.begin_backup(&new).await.unwrap();
    let stranger = job(JobKind::CreateBackup).id;
    let end = BackupEnd::Complete(outcome(v.length));
    let e = catalog
        .finish_backup(id, stranger, &end, true, time(2))
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e}");
    let other = job(JobKind::DeleteBackup).on_backup(id);
    let e = catalog.begin_delete(id, &other, false, time(3)).await;
    assert!(e.unwrap_err().is(ErrorKind::Conflict), "it is creating");
    catalog
        .begin_delete(id, &other, true, time(3))
        .await
        .unwrap();
    assert_eq!(status(catalog, &v).await, VolumeStatus::Available);
    let e = catalog
        .finish_backup(id, new.job.id, &end, true, time(4))
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e}");
    let record = catalog.backup(id).await.unwrap();
    assert_eq!(record.status, BackupStatus::Deleting);
    catalog
        .finish_delete(id, other.id, None, time(5))
        .await
        .unwrap();
}

pub(super) async fn a_restore_goes_through_its_states(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let target = volume(catalog, "target").await;
    let backup = complete(catalog, &v, None, 1).await;
    let begun = start(backup.id, target.id);
    let (b, t) = catalog.begin_restore(&begun).await.unwrap();
    assert_eq!(b.status, BackupStatus::Restoring);
    assert_eq!(b.restore_volume_id, Some(target.id));
    assert_eq!(t.status, VolumeStatus::RestoringBackup);
    let again = catalog.begin_restore(&start(backup.id, v.id)).await;
    assert!(again.unwrap_err().is(ErrorKind::Conflict));

    let mut metadata = RestoredMetadata::default();
    metadata.name = Some("as it was".into());
    metadata.properties = Some(Properties::from([("x".into(), "y".into())]));
    let end = RestoreEnd::Complete(Box::new(metadata));
    let (b, t) = catalog
        .finish_restore(backup.id, begun.job.id, &end, true, time(5))
        .await
        .unwrap();
    let t = t.unwrap();
    assert_eq!(b.status, BackupStatus::Available);
    assert_eq!(t.status, VolumeStatus::Available);
    assert_eq!(t.name.as_deref(), Some("as it was"));
    assert_eq!(
        t.properties.get("src_backup_id"),
        Some(&backup.id.to_string())
    );
    assert_eq!(t.properties.get("x").map(String::as_str), Some("y"));
    assert_eq!(catalog.volume(t.id).await.unwrap(), t);
    assert!(catalog.jobs().await.unwrap().is_empty());

    for (end, left) in [
        (RestoreEnd::Failed("e".into()), VolumeStatus::ErrorRestoring),
        (RestoreEnd::Cancelled("c".into()), VolumeStatus::Error),
    ] {
        set(catalog, &target, VolumeStatus::Available).await;
        let begun = start(backup.id, target.id);
        catalog.begin_restore(&begun).await.unwrap();
        let (b, t) = catalog
            .finish_restore(backup.id, begun.job.id, &end, true, time(6))
            .await
            .unwrap();
        assert_eq!(b.status, BackupStatus::Available);
        assert_eq!(t.unwrap().status, left);
        let e = catalog.begin_restore(&start(backup.id, target.id)).await;
        assert!(e.unwrap_err().is(ErrorKind::Conflict), "it is {left}");
    }
    let mut large = start(backup.id, v.id);
    large.length = v.length + 1;
    let e = catalog.begin_restore(&large).await.unwrap_err();
    assert!(e.is(ErrorKind::InvalidInput), "too small: {e}");
    catalog.restorable(backup.id).await.unwrap();
}

pub(super) async fn an_imported_record_comes_back_as_it_was(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let child = complete(catalog, &v, None, 1).await;
    let mut record = new_backup(&v, None, 2).record;
    record.status = BackupStatus::Error;
    record.volume_length = None;
    record.num_dependent_backups = 9;
    let mut expected = record.clone();
    expected.status = BackupStatus::Available;
    expected.updated_at = Some(time(7));
    expected.num_dependent_backups = 0;
    let imported = catalog.import_backup(&record, time(7)).await.unwrap();
    assert_eq!(imported, expected);
    assert_eq!(catalog.backup(record.id).await.unwrap(), expected);
    for known in [&record, &child] {
        let e = catalog.import_backup(known, time(8)).await.unwrap_err();
        assert!(e.is(ErrorKind::AlreadyExists), "{e}");
    }
    delete(catalog, record.id).await.unwrap();
    let revived = catalog.import_backup(&record, time(7)).await.unwrap();
    assert_eq!(revived, expected);
}

pub(super) async fn an_operator_sets_a_state_and_frees_the_volume(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let new = new_backup(&v, None, 1);
    let id = new.record.id;
    catalog.begin_backup(&new).await.unwrap();
    let to = |status| BackupChange {
        name: Some("renamed".into()),
        set_properties: Properties::from([("c".into(), "d".into())]),
        unset_properties: vec!["a".into()],
        status: Some(status),
        account: Some("http://swift/v1/AUTH_new".into()),
        ..BackupChange::default()
    };
    for bad in [BackupStatus::Creating, BackupStatus::Deleted] {
        let e = catalog.update_backup(id, &to(bad), time(3)).await;
        assert!(e.unwrap_err().is(ErrorKind::InvalidInput));
    }
    let set = catalog
        .update_backup(id, &to(BackupStatus::Error), time(3))
        .await
        .unwrap();
    assert_eq!(set.name.as_deref(), Some("renamed"));
    assert_eq!(set.description, new.record.description);
    assert_eq!(set.properties, Properties::from([("c".into(), "d".into())]));
    assert_eq!(set.account.as_deref(), Some("http://swift/v1/AUTH_new"));
    assert_eq!(set.status, BackupStatus::Error);
    assert_eq!(status(catalog, &v).await, VolumeStatus::Available);
    let set = catalog
        .update_backup(id, &to(BackupStatus::Available), time(4))
        .await
        .unwrap();
    assert_eq!(
        (set.status, set.fail_reason),
        (BackupStatus::Available, None)
    );
    let named = BackupChange {
        name: Some("named".into()),
        ..BackupChange::default()
    };
    let set = catalog.update_backup(id, &named, time(5)).await.unwrap();
    assert_eq!(set.account.as_deref(), Some("http://swift/v1/AUTH_new"));
}
