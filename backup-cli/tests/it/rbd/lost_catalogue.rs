//! What a killed backup left where the catalogue went with it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backup_core::BackupId;

use super::kill::remove;
use super::{Ceph, MIB};
use crate::ashlar::noise;

/// What no catalogue knows any more: the home went with the process. In a namespace of its own, since others make backups
/// in the pool at the same time.
#[test]
fn what_a_killed_backup_left_in_a_pool_is_found_and_removed_without_its_catalogue() {
    let Some(c) = Ceph::new() else {
        return;
    };
    let namespace = format!("backups/kill-{}", std::process::id());
    let made = Command::new("rbd")
        .args([
            "--conf",
            &c.conf,
            "--id",
            "admin",
            "namespace",
            "create",
            &namespace,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let cluster = c.pool.cluster();
    let inside = c.runtime.block_on(cluster.pool(&namespace)).unwrap();
    let image = c.adopt("v", 64 * MIB);
    c.write("v", 0, noise(48 * MIB, 1));
    let there = format!("repository.pool.pool={namespace}");
    let with = ["-o", "backup.repository=pool", "-o", &there];
    let create = [&with[..], &["volume", "backup", "create", "v"]].concat();

    let names = || c.runtime.block_on(inside.images("")).unwrap();
    let mut cut = false;
    for _ in 0..10 {
        let mut child = c
            .home
            .command(&create)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while names().is_empty() {
            assert!(Instant::now() < deadline, "no base image was made");
        }
        child.kill().unwrap();
        cut = child.wait().unwrap().signal() == Some(9);
        if cut {
            break;
        }
        // It was quicker.
        let backups = c.home.json(&["volume", "backup", "list"]);
        let id = backups[0]["id"].as_str().unwrap();
        c.home
            .good(&[&with[..], &["volume", "backup", "delete", id]].concat());
    }
    assert!(cut, "ten backups were done before they could be killed");
    let base = names().pop().unwrap();
    assert!(base.starts_with(&image), "{base}");
    for file in [
        "catalogue.sqlite",
        "catalogue.sqlite-wal",
        "catalogue.sqlite-shm",
    ] {
        let _missing = std::fs::remove_file(c.home.path().join(file));
    }

    let find = [
        &with[..],
        &["repository", "orphans", "--older-than", "0s", "pool"],
    ]
    .concat();
    let found = c.home.json(&find);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found[0]["result"], "found");
    assert_eq!(names(), [base.as_str()], "nothing is removed unasked");
    let removed = c.home.json(&[&find[..], &["--delete"]].concat());
    assert_eq!(removed[0]["result"], "removed", "{removed}");
    assert_eq!(names(), [""; 0]);
    // On the volume the snapshot is left, which the new catalogue knows nothing of either.
    let left = c.snapshots(&image);
    assert_eq!(left.len(), 1);
    c.home
        .good(&["volume", "create", "--image", &image, "again"]);
    c.home
        .good(&["volume", "backup", "create", "--name", "new", "again"]);
    let cinders = format!("backup.{}.snap.1795397046.532938", BackupId::generate());
    c.runtime.block_on(async {
        let image = c.pool.open_image(&image).await.unwrap();
        image.create_snapshot(&cinders).await.unwrap();
        image.close().await.unwrap();
    });
    let find = ["volume", "snapshot", "orphans"];
    assert_eq!(
        c.home.json(&find),
        serde_json::json!([]),
        "none is a day old"
    );
    let find = [&find[..], &["--older-than", "0s", "--volume", "again"]].concat();
    let found = c.home.json(&find);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found[0]["name"], left[0].as_str());
    assert_eq!(c.snapshots(&image).len(), 3, "nothing is removed unasked");
    let removed = c.home.json(&[&find[..], &["--delete"]].concat());
    assert_eq!(removed[0]["result"], "removed", "{removed}");
    let kept = c.snapshots(&image);
    assert_eq!(kept.len(), 2, "the new backup's and Cinder's: {kept:?}");
    assert!(kept.contains(&cinders) && !kept.contains(&left[0]));
    remove(&c, &image);
}
