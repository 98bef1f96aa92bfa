//! By the kernel's client against the kernel's server, in a guest that may be hurt: scripts/nfs-kernel runs these there.
//!
//! `ASHLAR_TEST_NFS_KERNEL` names the export that they may fill, `127.0.0.1:/srv/nfs`. Beside it are `/srv/ro`, the same
//! for reading only; `/srv/small`, a disk of 24 MiB; `/srv/quota`, where every user may have 4 MiB; and `/srv/none`, a
//! folder that is not exported.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use backup_core::testing::{ConformanceOptions, conformance};
use backup_core::{ContainerName, ErrorKind, ObjectKey, PutMode, Repository};
use backup_nfs::{NfsConfig, open};
use bytes::Bytes;
use futures::TryStreamExt;

const VERSIONS: [&str; 2] = ["4.2", "3"];

/// The export `/srv/NAME` of the server, if there is one.
fn share(name: &str) -> Option<String> {
    let Ok(main) = std::env::var("ASHLAR_TEST_NFS_KERNEL") else {
        println!("skipped: ASHLAR_TEST_NFS_KERNEL names no export; scripts/nfs-kernel does");
        return None;
    };
    let (server, _) = main.split_once(':').unwrap();
    Some(format!("{server}:/srv/{name}"))
}

/// A share with mount points of this version of the protocol.
fn config(share: &str, version: &str) -> NfsConfig {
    NfsConfig::new(share)
        .with_mount_options(format!("vers={version},softerr,timeo=100,retrans=5,nolock"))
        .with_mount_point_base(format!("/run/mounts-of-{version}"))
}

/// A new folder of the export, by the server's disk.
fn folder(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = format!("test-{}-{next}", std::process::id());
    fs::create_dir(Path::new("/srv").join(name).join(&folder)).unwrap();
    folder
}

async fn container(repository: &dyn Repository, name: &str) -> ContainerName {
    let container = ContainerName::new(name).unwrap();
    repository.ensure_container(&container).await.unwrap();
    container
}

fn key(container: &ContainerName, name: &str) -> ObjectKey {
    ObjectKey::new(container, name).unwrap()
}

/// Lines of the kernel's table with this in them.
fn mounts(part: &str) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_share_keeps_every_promise_of_a_repository() {
    let Some(share) = share("nfs") else { return };
    for version in VERSIONS {
        let folder = folder("nfs");
        let repository = open(&config(&share, version).with_path(&folder)).unwrap();
        let options = ConformanceOptions::default()
            .with_many(300)
            .with_cleared_leftovers();
        let passed = conformance(repository, options)
            .await
            .unwrap_or_else(|e| panic!("NFS {version}: {e}"));
        assert!(passed.len() > 30, "{passed:#?}");
        println!("NFS {version}: {} promises", passed.len());
        // What was deleted while it was read goes with its last reader, whom nobody waits for.
        let folder = Path::new("/srv/nfs").join(folder);
        let end = Instant::now() + Duration::from_mins(2);
        while !files(&folder).is_empty() {
            assert!(
                Instant::now() < end,
                "NFS {version}: left behind: {:?}, open: {:?}",
                files(&folder),
                open_files()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What this process has open.
fn open_files() -> Vec<PathBuf> {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_mounted_once_by_whoever_comes_first_and_stays() {
    let Some(share) = share("nfs") else { return };
    let base = tempfile::tempdir_in("/run").unwrap();
    let base_name = base.path().display().to_string();
    let config = config(&share, "4.2").with_mount_point_base(base.path());
    let name = folder("nfs");
    let config = config.with_path(&name);
    let all: Vec<_> = (0..8).map(|_| open(&config).unwrap()).collect();
    assert_eq!(mounts(&base_name), 0, "opening mounts nothing");
    let calls = all.iter().map(|r| container(r.as_ref(), "c"));
    futures::future::join_all(calls).await;
    assert_eq!(mounts(&base_name), 1);

    // While it is in use nobody can take it away by accident.
    let point = fs::read_dir(base.path()).unwrap().next().unwrap().unwrap();
    let unmount = || Command::new("umount").arg(point.path()).output().unwrap();
    assert!(!unmount().status.success());
    drop(all);
    assert_eq!(mounts(&base_name), 1, "it stays");
    let unmounted = unmount();
    assert!(unmounted.status.success(), "{unmounted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_else_at_the_mount_point_is_refused() {
    let Some(share) = share("nfs") else { return };
    let base = tempfile::tempdir_in("/run").unwrap();
    let config = config(&share, "4.2").with_mount_point_base(base.path());
    let repository = open(&config).unwrap();
    // Its name is Cinder's: the MD5 of the share's.
    let sum = Command::new("sh")
        .args(["-c", "printf %s \"$0\" | md5sum", &share])
        .output()
        .unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let point = base.path().join(sum.split(' ').next().unwrap());
    fs::create_dir(&point).unwrap();
    let mount = |arguments: &[&str]| {
        let done = Command::new("mount").args(arguments).arg(&point).status();
        assert!(done.unwrap().success());
    };
    mount(&["-t", "tmpfs", "tmpfs"]);
    let refused = repository.barrier(&ContainerName::new("c").unwrap()).await;
    let refused = refused.unwrap_err();
    assert!(refused.is(ErrorKind::Conflict), "{refused}");
    assert!(refused.to_string().contains("tmpfs"), "{refused}");
    Command::new("umount").arg(&point).status().unwrap();

    // Somebody else mounted it: it is taken as it is.
    mount(&["-t", "nfs", "-o", "vers=3,nolock,soft", &share]);
    let c = folder("nfs");
    container(repository.as_ref(), &c).await;
    assert_eq!(mounts(&point.display().to_string()), 1);
    drop(repository);
    Command::new("umount").arg(&point).status().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_exported_is_told_with_the_servers_words() {
    let Some(share) = share("none") else { return };
    for version in VERSIONS {
        let repository = open(&config(&share, version)).unwrap();
        let c = ContainerName::new("c").unwrap();
        let refused = repository.ensure_container(&c).await.unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains(&share) && text.contains("mount.nfs"),
            "{text}"
        );
        assert!(refused.hint_text().is_some(), "{text}");
        assert!(!refused.is_retryable(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_belongs_to_the_group_of_the_shares_root() {
    let Some(share) = share("nfs") else { return };
    for version in VERSIONS {
        let name = folder("nfs");
        let root = Path::new("/srv/nfs").join(&name);
        chown(&root, None, Some(4242)).unwrap();
        let repository = open(&config(&share, version).with_path(&name)).unwrap();
        let c = container(repository.as_ref(), "ab/cd/abcd").await;
        let object = key(&c, "object");
        let put = repository.put(&object, "1".into(), PutMode::CreateOnly);
        put.await.unwrap();
        let upload = repository.begin(&key(&c, "upload"), None).await.unwrap();
        upload.complete().await.unwrap();
        for (path, mode) in [
            ("ab", 0o775),
            ("ab/cd", 0o775),
            ("ab/cd/abcd", 0o770),
            ("ab/cd/abcd/object", 0o660),
            ("ab/cd/abcd/upload", 0o660),
        ] {
            let found = fs::metadata(root.join(path)).unwrap();
            assert_eq!(found.gid(), 4242, "{path} by NFS {version}");
            assert_eq!(found.mode() & 0o7777, mode, "{path} by NFS {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_for_reading_only_is_read_and_told_as_a_missing_right() {
    let Some(share) = share("ro") else { return };
    let main = self::share("nfs").unwrap();
    for version in VERSIONS {
        let name = folder("nfs");
        let writer = open(&config(&main, version).with_path(&name)).unwrap();
        let c = container(writer.as_ref(), "c").await;
        let there = key(&c, "there");
        let put = writer.put(&there, "1".into(), PutMode::CreateOnly);
        put.await.unwrap();

        let reader = open(&config(&share, version).with_path(&name)).unwrap();
        let got = reader.get(&there, None).await.unwrap();
        let bytes: Vec<Bytes> = got.body.try_collect().await.unwrap();
        assert_eq!(bytes.concat(), b"1");
        let new = key(&c, "new");
        let put = reader.put(&new, "1".into(), PutMode::CreateOnly);
        let refused = put.await.unwrap_err();
        assert!(refused.is(ErrorKind::PermissionDenied), "{refused}");
        assert!(refused.to_string().contains(&share), "{refused}");
    }
}

/// Puts objects of `length` bytes until one is refused, then looks whether the barrier tells it too. What is asked for:
/// the reason arrives, by the put or by the barrier, and there is room again once they are deleted.
async fn fill(repository: &dyn Repository, length: usize, expected: ErrorKind) {
    let c = container(repository, "c").await;
    let data = Bytes::from(vec![7; length]);
    let keys: Vec<_> = (0..(40 << 20) / length)
        .map(|i| key(&c, &format!("object-{i}")))
        .collect();
    let mut refused = None;
    for key in &keys {
        let put = repository.put(key, data.clone(), PutMode::CreateOnly);
        if let Err(e) = put.await {
            refused = Some(e);
            break;
        }
    }
    let refused = match refused {
        Some(refused) => refused,
        None => repository.barrier(&c).await.unwrap_err(),
    };
    assert!(refused.is(expected), "{length}: {refused:?}");
    assert!(refused.to_string().contains("/srv/"), "{refused}");
    for result in repository.delete(&keys).await {
        result.unwrap();
    }
    let fits = key(&c, "fits");
    let put = repository.put(
        &fits,
        data.slice(..length.min(100_000)),
        PutMode::CreateOnly,
    );
    put.await.unwrap();
    repository.barrier(&c).await.unwrap();
    repository.delete(&[fits]).await.remove(0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_and_a_quota_of_the_server_are_told_as_what_they_are() {
    for (export, expected) in [
        ("small", ErrorKind::NoSpace),
        ("quota", ErrorKind::QuotaExceeded),
    ] {
        let Some(share) = share(export) else { return };
        for version in VERSIONS {
            let repository = open(&config(&share, version)).unwrap();
            // Past the client's cache, and through it.
            for length in [1 << 20, 200_000] {
                fill(repository.as_ref(), length, expected).await;
            }
        }
    }
}
