//! A full filesystem, a folder without rights.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use backup_core::{ContainerName, ErrorKind, PutMode, Repository};
use bytes::Bytes;

use super::{key, names, open};

/// A mounted filesystem of its own, unmounted at the end.
struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    /// A tmpfs with these options, or `None` where this user cannot mount.
    fn tmpfs(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|done| done.status.success());
        if !mounted {
            println!("skipped: this user cannot mount a tmpfs");
        }
        mounted.then_some(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Waits for whoever has a file open for writing: a thread that has answered may still be closing its own.
    fn remount(&self, options: &str) {
        let remounted = || {
            let done = Command::new("mount")
                .args(["-o", &format!("remount,{options}")])
                .arg(self.path())
                .status();
            done.is_ok_and(|status| status.success())
        };
        let until = Instant::now() + Duration::from_secs(10);
        while !remounted() {
            assert!(Instant::now() < until, "it stays busy");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a thread of the runtime may still be closing a file.
        let _left = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_filesystem_is_told_and_leaves_no_part_of_an_object() {
    let Some(mounted) = Mounted::tmpfs("size=4m") else {
        return;
    };
    let repository = open(&mounted.path());
    let container = ContainerName::new("c").unwrap();
    repository.ensure_container(&container).await.unwrap();
    let large = Bytes::from(vec![1; 3 << 20]);
    repository
        .put(&key(&container, "fits"), large.clone(), PutMode::Overwrite)
        .await
        .unwrap();

    for mode in [PutMode::CreateOnly, PutMode::Overwrite] {
        let put = repository
            .put(&key(&container, "too much"), large.clone(), mode)
            .await;
        let error = put.unwrap_err();
        assert!(error.is(ErrorKind::NoSpace), "{error}");
        assert!(error.hint_text().is_some());
    }
    let copied = repository
        .copy(&key(&container, "fits"), &key(&container, "copy"))
        .await;
    assert!(copied.unwrap_err().is(ErrorKind::NoSpace));
    let mut upload = repository
        .begin(&key(&container, "upload"), None)
        .await
        .unwrap();
    assert!(
        upload
            .part(large.clone())
            .await
            .unwrap_err()
            .is(ErrorKind::NoSpace)
    );
    assert!(
        upload.part("more".into()).await.is_err(),
        "no part goes on behind a hole"
    );
    assert!(upload.complete().await.is_err());
    repository.barrier(&container).await.unwrap();
    assert_eq!(names(&repository, &container).await, ["fits"]);
    let files = std::fs::read_dir(mounted.path().join("c")).unwrap().count();
    assert_eq!(files, 1, "temporary files stay behind");
}

#[tokio::test]
async fn a_read_only_filesystem_is_told_as_a_missing_right() {
    let Some(mounted) = Mounted::tmpfs("size=4m") else {
        return;
    };
    let repository = open(&mounted.path());
    let container = ContainerName::new("c").unwrap();
    repository.ensure_container(&container).await.unwrap();
    let there = key(&container, "there");
    repository
        .put(&there, "1".into(), PutMode::CreateOnly)
        .await
        .unwrap();
    mounted.remount("ro");

    let put = repository
        .put(&key(&container, "new"), "1".into(), PutMode::CreateOnly)
        .await;
    let begun = repository
        .begin(&key(&container, "new"), None)
        .await
        .map(|_| ());
    let deleted = repository.delete(&[there]).await.remove(0);
    let made = repository
        .ensure_container(&ContainerName::new("d").unwrap())
        .await;
    for result in [put, begun, deleted, made] {
        let error = result.unwrap_err();
        assert!(error.is(ErrorKind::PermissionDenied), "{error}");
    }
    assert_eq!(names(&repository, &container).await, ["there"]);
}
