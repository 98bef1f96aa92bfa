use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use backup_core::{ContainerName, ErrorKind, PutMode, Repository};
use futures::TryStreamExt;

use super::{fresh, key, names, open};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The umask belongs to the whole process, so this test runs its second half in a process of its own.
#[test]
fn modes_are_those_of_cinder_whatever_the_umask() {
    const CHILD: &str = "ASHLAR_TEST_UMASK_FOLDER";
    let Ok(root) = std::env::var(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        let status = Command::new("sh")
            .args(["-c", "umask 077 && exec \"$0\" --exact files::modes_are_those_of_cinder_whatever_the_umask"])
            .arg(own)
            .env(CHILD, folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    let root = Path::new(&root);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let repository = open(root);
        let container = ContainerName::new("ab/cd/abcd").unwrap();
        repository.ensure_container(&container).await.unwrap();
        let put = key(&container, "put");
        for _ in 0..2 {
            repository
                .put(&put, "1".into(), PutMode::Overwrite)
                .await
                .unwrap();
            assert_eq!(mode(&root.join("ab/cd/abcd/put")), 0o660);
        }
        let upload = repository
            .begin(&key(&container, "upload"), None)
            .await
            .unwrap();
        upload.complete().await.unwrap();
        repository
            .copy(&put, &key(&container, "copy"))
            .await
            .unwrap();
    });
    for (path, expected) in [
        ("ab", 0o700),
        ("ab/cd", 0o700),
        ("ab/cd/abcd", 0o770),
        ("ab/cd/abcd/upload", 0o660),
        ("ab/cd/abcd/copy", 0o660),
    ] {
        assert_eq!(mode(&root.join(path)), expected, "{path}");
    }
}

#[tokio::test]
async fn the_mode_of_a_folder_that_exists_is_left_alone() {
    let (folder, repository, container) = fresh().await;
    let path = folder.path().join("c");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o705)).unwrap();
    repository.ensure_container(&container).await.unwrap();
    assert_eq!(mode(&path), 0o705);
}

#[tokio::test]
async fn what_a_killed_upload_left_is_hidden_and_goes_with_its_object() {
    let (folder, repository, container) = fresh().await;
    let metadata = key(&container, "volume_1_metadata");
    let other = key(&container, "volume_2_metadata");
    for key in [&metadata, &other] {
        let mut upload = repository.begin(key, None).await.unwrap();
        upload.part("half".into()).await.unwrap();
        std::mem::forget(upload); // as a kill does
    }
    let files = || std::fs::read_dir(folder.path().join("c")).unwrap().count();
    assert_eq!(files(), 2);
    assert!(names(&repository, &container).await.is_empty());
    let held: Vec<_> = repository
        .containers()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(held.is_empty(), "a temporary file is no object");

    for result in repository.delete(std::slice::from_ref(&metadata)).await {
        result.unwrap();
    }
    assert_eq!(files(), 1, "only the temporary file of that object goes");
}

#[tokio::test]
async fn temporary_names_cannot_be_objects() {
    let (_folder, repository, container) = fresh().await;
    let name = format!(".ashlar-{}-{}.tmp", "0".repeat(32), "0".repeat(16));
    let put = repository
        .put(&key(&container, &name), "x".into(), PutMode::Overwrite)
        .await;
    assert!(put.unwrap_err().is(ErrorKind::InvalidInput));
}

#[tokio::test]
async fn what_is_no_file_is_neither_read_nor_listed_and_nothing_hangs() {
    let (folder, repository, container) = fresh().await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let c = folder.path().join("c");
    std::os::unix::fs::symlink(&secret, c.join("link")).unwrap();
    std::os::unix::fs::symlink(folder.path(), c.join("out")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(c.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(c.join("socket")).unwrap();
    for name in ["link", "pipe", "socket"] {
        let got = repository.get(&key(&container, name), None).await;
        assert!(got.unwrap_err().is(ErrorKind::Corrupt), "{name}");
        let put = repository
            .put(&key(&container, name), "x".into(), PutMode::CreateOnly)
            .await;
        assert!(put.unwrap_err().is(ErrorKind::AlreadyExists), "{name}");
    }
    assert!(names(&repository, &container).await.is_empty());

    // To replace a link replaces the link, never what it points to.
    repository
        .put(&key(&container, "link"), "new".into(), PutMode::Overwrite)
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(std::fs::read_to_string(c.join("link")).unwrap(), "new");
}

#[tokio::test]
async fn containers_are_the_folders_that_hold_a_file_themselves() {
    let (folder, repository, _) = fresh().await;
    for name in ["ab/cd/x", "ab/cd/y", "deep/er", "empty/one"] {
        let container = ContainerName::new(name).unwrap();
        repository.ensure_container(&container).await.unwrap();
        if !name.starts_with("empty") {
            let key = key(&container, "object");
            repository
                .put(&key, "1".into(), PutMode::CreateOnly)
                .await
                .unwrap();
        }
    }
    std::fs::write(folder.path().join("in the root"), "no container's").unwrap();
    let mut held: Vec<String> = repository
        .containers()
        .await
        .unwrap()
        .map_ok(String::from)
        .try_collect()
        .await
        .unwrap();
    held.sort();
    assert_eq!(held, ["ab/cd/x", "ab/cd/y", "deep/er"]);
}

#[tokio::test]
async fn a_prefix_that_climbs_lists_nothing() {
    let (folder, repository, container) = fresh().await;
    std::fs::write(folder.path().join("outside"), "x").unwrap();
    for prefix in ["../", "../out", "/", "/etc/", "./", "a/../../"] {
        let listed = repository.list(&container, prefix, None).await.unwrap();
        let listed: Vec<_> = listed.try_collect().await.unwrap();
        assert!(listed.is_empty(), "{prefix:?} lists {listed:?}");
    }
}

#[tokio::test]
async fn a_missing_root_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = backup_posix::PosixConfig::new(folder.path().join("missing"));
    let error = backup_posix::PosixRepository::open(&config).unwrap_err();
    assert!(
        error.is(ErrorKind::NotFound) && error.hint_text().is_some(),
        "{error}"
    );
}
