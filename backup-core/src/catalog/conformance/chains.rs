//! Parents, children and lists.

use super::fixtures::{complete, delete, finish, new_backup, time, volume};
use crate::catalog::{BackupEnd, BackupFilter, Catalog, ParentQuery};
use crate::error::ErrorKind;
use crate::id::BackupId;
use crate::record::{BackupRecord, BackupStatus};

fn ids(records: &[BackupRecord]) -> Vec<BackupId> {
    records.iter().map(|r| r.id).collect()
}

pub(super) async fn a_backup_with_children_cannot_be_deleted(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let full = complete(catalog, &v, None, 1).await;
    let inc = complete(catalog, &v, Some(full.id), 2).await;
    let failed = new_backup(&v, Some(full.id), 3);
    catalog.begin_backup(&failed).await.unwrap();
    let end = BackupEnd::Failed("e".into());
    catalog
        .finish_backup(failed.record.id, failed.job.id, &end, true, time(4))
        .await
        .unwrap();

    let parent = catalog.backup(full.id).await.unwrap();
    assert_eq!(parent.num_dependent_backups, 2, "whatever their states");
    let children = catalog.children(full.id).await.unwrap();
    assert_eq!(ids(&children), [inc.id, failed.record.id]);
    let e = delete(catalog, full.id).await.unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e}");
    for child in children {
        assert!(e.to_string().contains(&child.id.to_string()), "{e}");
    }
    delete(catalog, failed.record.id).await.unwrap();
    assert!(delete(catalog, full.id).await.is_err());
    delete(catalog, inc.id).await.unwrap();
    let parent = catalog.backup(full.id).await.unwrap();
    assert_eq!(parent.num_dependent_backups, 0);
    delete(catalog, full.id).await.unwrap();

    let orphan = new_backup(&v, Some(full.id), 5);
    let e = catalog.begin_backup(&orphan).await.unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "its parent is gone: {e}");
}

pub(super) async fn a_chain_is_complete_or_an_error_names_what_is_missing(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let full = complete(catalog, &v, None, 1).await;
    let one = complete(catalog, &v, Some(full.id), 2).await;
    let other = complete(catalog, &v, Some(full.id), 3).await;
    let two = complete(catalog, &v, Some(one.id), 4).await;
    let chain = catalog.chain(two.id).await.unwrap();
    assert_eq!(ids(&chain), [full.id, one.id, two.id]);
    assert_eq!(
        ids(&catalog.restorable(other.id).await.unwrap()),
        [full.id, other.id]
    );

    // Records may be imported in any order.
    let absent = BackupId::generate();
    let mut child = new_backup(&v, Some(absent), 5).record;
    catalog.import_backup(&child, time(5)).await.unwrap();
    let e = catalog.restorable(child.id).await.unwrap_err();
    assert!(
        e.is(ErrorKind::NotFound) && e.to_string().contains(&absent.to_string()),
        "{e}"
    );
    child.id = absent;
    child.parent_id = None;
    let parent = catalog.import_backup(&child, time(5)).await.unwrap();
    assert_eq!(parent.num_dependent_backups, 1);

    let mut a = new_backup(&v, None, 6).record;
    let mut b = new_backup(&v, Some(a.id), 6).record;
    b.name = None;
    a.parent_id = Some(b.id);
    for record in [&a, &b] {
        catalog.import_backup(record, time(6)).await.unwrap();
    }
    let e = catalog.chain(a.id).await.unwrap_err();
    assert!(e.is(ErrorKind::Corrupt), "a circle: {e}");
}

pub(super) async fn the_parent_is_the_newest_data_that_fits(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let other = volume(catalog, "other").await;
    let query = ParentQuery {
        project: v.project_id.clone(),
        volume: v.id,
        repository: Some("default".into()),
        before: None,
    };
    assert_eq!(catalog.newest_parent(&query).await.unwrap(), None);
    complete(catalog, &other, None, 9).await;
    let old = complete(catalog, &v, None, 2).await;
    let new = complete(catalog, &v, Some(old.id), 4).await;
    // Made later, of older data.
    let mut snapshot = new_backup(&v, None, 8);
    snapshot.record.data_timestamp = time(3);
    catalog.begin_backup(&snapshot).await.unwrap();
    finish(catalog, &snapshot).await;
    let running = new_backup(&v, None, 10);
    catalog.begin_backup(&running).await.unwrap();

    let of = async |query: &ParentQuery| catalog.newest_parent(query).await.unwrap().map(|b| b.id);
    assert_eq!(of(&query).await, Some(new.id));
    let before = |at| ParentQuery {
        before: Some(time(at)),
        ..query.clone()
    };
    assert_eq!(of(&before(4)).await, Some(snapshot.record.id));
    assert_eq!(of(&before(2)).await, None);
    let elsewhere = ParentQuery {
        repository: Some("s3".into()),
        ..query.clone()
    };
    assert_eq!(of(&elsewhere).await, None);
    let any = ParentQuery {
        repository: None,
        ..query.clone()
    };
    assert_eq!(of(&any).await, Some(new.id));
    let stranger = ParentQuery {
        project: "stranger".into(),
        ..query
    };
    assert_eq!(of(&stranger).await, None);
}

pub(super) async fn lists_are_filtered_and_newest_first(catalog: &dyn Catalog) {
    let v = volume(catalog, "v").await;
    let w = volume(catalog, "w").await;
    let one = complete(catalog, &v, None, 1).await;
    let three = complete(catalog, &w, None, 3).await;
    let two = new_backup(&v, Some(one.id), 2);
    catalog.begin_backup(&two).await.unwrap();
    let list = async |filter: BackupFilter| ids(&catalog.backups(&filter).await.unwrap());
    let all = list(BackupFilter::default()).await;
    assert_eq!(all, [three.id, two.record.id, one.id]);
    assert_eq!(list(BackupFilter::of_project("project")).await, all);
    assert!(list(BackupFilter::of_project("else")).await.is_empty());
    let filter = BackupFilter {
        volume: Some(v.id),
        status: Some(BackupStatus::Available),
        ..BackupFilter::default()
    };
    assert_eq!(list(filter).await, [one.id]);
    let filter = BackupFilter {
        name: Some("backup 2".into()),
        ..BackupFilter::default()
    };
    assert_eq!(list(filter).await, [two.record.id]);
    let listed = catalog.backups(&BackupFilter::default()).await.unwrap();
    assert_eq!(listed[2].num_dependent_backups, 1);
    for record in listed {
        assert_eq!(catalog.backup(record.id).await.unwrap(), record);
    }
}
