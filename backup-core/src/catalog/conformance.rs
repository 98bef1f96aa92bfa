//! One test body that every catalogue must pass. Feature `testing`.
//!
//! It panics at the first promise that does not hold.
#![allow(
    clippy::unwrap_used,
    clippy::field_reassign_with_default,
    clippy::missing_panics_doc,
    reason = "a test body: a panic is its answer"
)]

mod backups;
mod chains;
mod fixtures;
mod volumes;

use super::{Catalog, Quota};
use crate::error::ErrorKind;

pub use fixtures::{new_backup, outcome, time, volume};

/// Runs the whole suite. `empty` makes a new, empty catalogue each time it is called.
///
/// # Panics
/// At the first promise that does not hold.
pub async fn conformance<C: Catalog, F: Future<Output = C>>(empty: impl Fn() -> F) {
    an_identity_is_made_once(&empty().await).await;
    settings_are_kept(&empty().await).await;
    volumes::states_of_volumes_and_snapshots(&empty().await).await;
    volumes::a_volume_comes_back_as_it_was_stored(&empty().await).await;
    volumes::names_that_are_ambiguous_list_their_candidates(&empty().await).await;
    backups::a_backup_goes_through_its_states(&empty().await).await;
    backups::only_some_states_can_be_backed_up(&empty().await).await;
    backups::a_failed_backup_gives_its_volume_back(&empty().await).await;
    backups::a_job_that_lost_its_place_changes_nothing(&empty().await).await;
    backups::a_restore_goes_through_its_states(&empty().await).await;
    backups::an_imported_record_comes_back_as_it_was(&empty().await).await;
    backups::an_operator_sets_a_state_and_frees_the_volume(&empty().await).await;
    chains::a_backup_with_children_cannot_be_deleted(&empty().await).await;
    chains::a_chain_is_complete_or_an_error_names_what_is_missing(&empty().await).await;
    chains::the_parent_is_the_newest_data_that_fits(&empty().await).await;
    chains::lists_are_filtered_and_newest_first(&empty().await).await;
    quotas_are_charged(&empty().await).await;
}

async fn an_identity_is_made_once(catalog: &dyn Catalog) {
    let identity = catalog.identity().await.unwrap();
    assert_eq!(identity.project_id.len(), 32);
    assert_ne!(identity.project_id, identity.user_id);
    assert_eq!(catalog.identity().await.unwrap(), identity);
}

async fn settings_are_kept(catalog: &dyn Catalog) {
    assert_eq!(catalog.setting("k").await.unwrap(), None);
    catalog.set_setting("k", Some("v")).await.unwrap();
    catalog.set_setting("k", Some("w")).await.unwrap();
    assert_eq!(catalog.setting("k").await.unwrap().as_deref(), Some("w"));
    catalog.set_setting("k", None).await.unwrap();
    assert_eq!(catalog.setting("k").await.unwrap(), None);
}

async fn quotas_are_charged(catalog: &dyn Catalog) {
    assert_eq!(catalog.quota("p").await.unwrap(), Quota::UNLIMITED);
    let v = volume(catalog, "v").await;
    let limits = Quota {
        backups: Some(2),
        gigabytes: Some(3),
    };
    catalog.set_quota(&v.project_id, &limits).await.unwrap();
    assert_eq!(catalog.quota(&v.project_id).await.unwrap(), limits);

    // A volume of 2 GiB: the second one is a GiB too much.
    let first = fixtures::complete(catalog, &v, None, 1).await;
    let used = catalog.usage(&v.project_id).await.unwrap();
    assert_eq!((used.backups, used.gigabytes), (1, 2));
    let mut second = new_backup(&v, None, 2);
    let e = catalog.begin_backup(&second).await.unwrap_err();
    assert!(e.is(ErrorKind::QuotaExceeded), "{e}");
    let record = &mut second.record;
    let e = catalog.import_backup(record, time(3)).await.unwrap_err();
    assert!(e.is(ErrorKind::QuotaExceeded), "{e}");
    record.size_gib = 1;
    catalog.begin_backup(&second).await.unwrap();
    fixtures::finish(catalog, &second).await;
    // The number is reached, until one is deleted.
    let mut third = new_backup(&v, None, 4);
    third.record.size_gib = 0;
    let e = catalog.begin_backup(&third).await.unwrap_err();
    assert!(e.is(ErrorKind::QuotaExceeded), "{e}");
    fixtures::delete(catalog, first.id).await.unwrap();
    catalog.begin_backup(&third).await.unwrap();

    let limits = Quota::CINDER;
    catalog.set_quota("other", &limits).await.unwrap();
    assert_eq!(catalog.quota("other").await.unwrap(), limits);
    let default = serde_json::to_string(&limits).unwrap();
    catalog
        .set_setting("default_quota", Some(&default))
        .await
        .unwrap();
    assert_eq!(catalog.quota("third").await.unwrap(), limits);
}
