//! The exported folder is the same repository for whoever reaches it in another way: on the server's disk, or mounted.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use backup_core::{ErrorKind, Leftover, PutMode, Repository};
use futures::TryStreamExt;

use crate::servers::{
    VERSIONS, container, files, ganesha, in_folder, key, list, noise, open, put, read,
};

async fn leftovers(repository: &dyn Repository) -> Vec<Leftover> {
    let told = repository.leftovers(None).await.unwrap();
    told.try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_wrote_the_other_reads_lists_replaces_and_deletes() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        let (nfs, posix) = (open(&config), in_folder(&folder));
        let of = container("ab/cd/abcd");
        for (writer, reader, name) in [(&nfs, &posix, "by_nfs"), (&posix, &nfs, "by_posix")] {
            writer.ensure_container(&of).await.unwrap();
            let whole = key(&of, &format!("{name}-00001"));
            let data = noise(3_000_000, 1);
            writer
                .put(&whole, data.clone(), PutMode::CreateOnly)
                .await
                .unwrap();
            let parts = key(&of, &format!("{name}/in parts_metadata"));
            let mut upload = writer.begin(&parts, None).await.unwrap();
            let part = noise(9_000_000, 2);
            upload.part(part.clone()).await.unwrap();
            upload.part(part.clone()).await.unwrap();
            upload.complete().await.unwrap();
            writer.barrier(&of).await.unwrap();

            assert!(
                read(&**reader, &whole).await.unwrap() == data,
                "{version} {name}"
            );
            let got = read(&**reader, &parts).await.unwrap();
            assert!(got == [&part[..], &part[..]].concat(), "{version} {name}");
            assert_eq!(list(&**writer, &of).await, list(&**reader, &of).await);

            let exists = reader
                .put(&whole, noise(10, 3), PutMode::CreateOnly)
                .await
                .unwrap_err();
            assert!(exists.is(ErrorKind::AlreadyExists), "{version}: {exists}");
            put(&**reader, &whole, noise(10, 3)).await;
            assert_eq!(read(&**writer, &whole).await.unwrap(), noise(10, 3));
            for result in reader.delete(&[whole, parts]).await {
                result.unwrap();
            }
            assert_eq!(list(&**writer, &of).await, []);
        }
        assert_eq!(files(&folder), [""; 0], "{version}: nothing is left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_has_the_roots_group_and_the_modes_that_cinders_processes_need() {
    const GROUP: u32 = 4242;
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        chown(&folder, None, Some(GROUP)).unwrap();
        let nfs = open(&config);
        let of = container("ab/cd/abcd");
        nfs.ensure_container(&of).await.unwrap();
        put(&*nfs, &key(&of, "put"), noise(10, 1)).await;
        nfs.put(&key(&of, "created"), noise(10, 1), PutMode::CreateOnly)
            .await
            .unwrap();
        let mut upload = nfs.begin(&key(&of, "uploaded"), None).await.unwrap();
        upload.part(noise(10, 1)).await.unwrap();
        upload.complete().await.unwrap();
        for (path, mode) in [
            ("ab", 0o775),
            ("ab/cd", 0o775),
            ("ab/cd/abcd", 0o770),
            ("ab/cd/abcd/put", 0o660),
            ("ab/cd/abcd/created", 0o660),
            ("ab/cd/abcd/uploaded", 0o660),
        ] {
            let made = fs::symlink_metadata(folder.join(path)).unwrap();
            assert_eq!(made.permissions().mode() & 0o7777, mode, "{version} {path}");
            assert_eq!(made.gid(), GROUP, "{version} {path}");
            assert!(made.is_dir() || made.nlink() == 1, "{version} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_killed_processes_left_is_told_by_either_client_and_goes_with_the_object() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        let (nfs, posix) = (open(&config), in_folder(&folder));
        let of = container("c");
        for (writer, other) in [(&nfs, &posix), (&posix, &nfs)] {
            writer.ensure_container(&of).await.unwrap();
            for name in ["one", "two", "backup-1", "backup_1"] {
                let mut killed = writer.begin(&key(&of, name), None).await.unwrap();
                killed.part(noise(9_000_000, 1)).await.unwrap();
                // A killed process runs no destructor.
                std::mem::forget(killed);
            }
            assert_eq!(list(&**other, &of).await, [], "{version}");
            let told = leftovers(&**other).await;
            assert_eq!(told.len(), 4, "{version}: {told:?}");
            assert!(told.iter().all(|l| l.size.is_some_and(|n| n >= 8 << 20)));
            let gone = other.delete(&[key(&of, "one")]).await;
            gone.into_iter().collect::<Result<(), _>>().unwrap();
            // Of names that nobody knows it goes by what they begin with.
            other.clear_leftovers(&of, "backup-").await.unwrap();
            assert_eq!(leftovers(&**other).await.len(), 2, "{version}");
            other.clear_leftovers(&of, "backup").await.unwrap();
            let left = leftovers(&**other).await;
            assert_eq!(left.len(), 1, "{version}: {left:?}");
            other.remove_leftover(&left[0]).await.unwrap();
            other.remove_leftover(&left[0]).await.unwrap();
            assert_eq!(files(&folder), [""; 0], "{version}");
        }
        put(&*nfs, &key(&of, "object"), noise(10, 1)).await;
        let object = Leftover::new("temporary file", key(&of, "object"), "object");
        let refused = nfs.remove_leftover(&object).await.unwrap_err();
        assert!(refused.is(ErrorKind::InvalidInput), "{refused}");
        assert_eq!(files(&folder), ["c/object"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_planted_leads_nowhere() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let nfs = open(&config);
        let of = container("c");
        nfs.ensure_container(&of).await.unwrap();
        symlink(outside.path(), folder.join("linked")).unwrap();
        symlink(outside.path(), folder.join("c/below")).unwrap();
        symlink(outside.path().join("secret"), folder.join("c/object")).unwrap();
        let through = container("linked");
        let below = key(&of, "below/secret");
        for refused in [
            nfs.ensure_container(&through).await.unwrap_err(),
            nfs.put(&key(&through, "x"), noise(9, 1), PutMode::Overwrite)
                .await
                .unwrap_err(),
            nfs.put(&below, noise(9, 1), PutMode::Overwrite)
                .await
                .unwrap_err(),
            nfs.get(&key(&of, "object"), None).await.unwrap_err(),
            nfs.get(&below, None).await.unwrap_err(),
            nfs.clear_leftovers(&through, "secret").await.unwrap_err(),
            nfs.delete(std::slice::from_ref(&below))
                .await
                .pop()
                .unwrap()
                .unwrap_err(),
        ] {
            assert!(refused.is(ErrorKind::Corrupt), "{version}: {refused}");
        }
        assert_eq!(list(&*nfs, &of).await, [], "{version}");
        put(&*nfs, &key(&of, "object"), noise(9, 1)).await;
        let secret = fs::read_to_string(outside.path().join("secret")).unwrap();
        assert_eq!(secret, "secret", "{version}: written through a link");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_is_told_and_what_no_name_spells_is_passed_over() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        let nfs = open(&config);
        let of = container("c");
        nfs.ensure_container(&of).await.unwrap();
        fs::create_dir(folder.join("c/folder")).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        fs::write(
            folder
                .join("c")
                .join(std::ffi::OsStr::from_bytes(b"\xff\xfe")),
            "x",
        )
        .unwrap();
        fs::write(folder.join("c/\u{fffd}"), "x").unwrap();
        for refused in [
            nfs.put(&key(&of, "folder"), noise(9, 1), PutMode::Overwrite)
                .await,
            nfs.ensure_container(&container("file")).await,
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.is(ErrorKind::Conflict), "{version}: {refused}");
        }
        // A folder is no object: it is not deleted either.
        nfs.delete(&[key(&of, "folder")])
            .await
            .pop()
            .unwrap()
            .unwrap();
        assert!(folder.join("c/folder").is_dir(), "{version}");
        let names: Vec<_> = list(&*nfs, &of).await.into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["\u{fffd}"], "{version}");
        let containers: Vec<_> = nfs.containers().await.unwrap().try_collect().await.unwrap();
        assert_eq!(containers, std::slice::from_ref(&of), "{version}");
        let gone = container("gone");
        let missing = nfs
            .put(&key(&gone, "x"), noise(9, 1), PutMode::Overwrite)
            .await;
        assert!(missing.unwrap_err().is(ErrorKind::NotFound), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_that_others_remove_and_make_anew_are_found_again() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        // Another client of the server: what is done on its disk alone, it does not see at once itself.
        let url = format!(
            "nfs://127.0.0.1/export/{}?version={version}&nfsport={}&mountport={}&noresvport=true",
            config.path.clone().unwrap().display(),
            server.port,
            server.mount_port
        );
        let other = nfs_rs::parse_url_and_mount(&url).await.unwrap();
        let nfs = open(&config);
        let of = container("a/b");
        for round in 0..3 {
            nfs.ensure_container(&of).await.unwrap();
            let object = key(&of, "x");
            put(&*nfs, &object, noise(99, round)).await;
            assert_eq!(read(&*nfs, &object).await.unwrap(), noise(99, round));
            other.remove_path("a/b/x").await.unwrap();
            other.rmdir_path("a/b").await.unwrap();
            other.rmdir_path("a").await.unwrap();
            let gone = read(&*nfs, &object).await.unwrap_err();
            assert!(gone.is(ErrorKind::NotFound), "{version}: {gone}");
            let gone = nfs.put(&object, noise(9, 1), PutMode::Overwrite).await;
            assert!(gone.unwrap_err().is(ErrorKind::NotFound), "{version}");
            nfs.delete(std::slice::from_ref(&object))
                .await
                .pop()
                .unwrap()
                .unwrap();
            other.mkdir_path("a", 0o755).await.unwrap();
            other.mkdir_path("a/b", 0o755).await.unwrap();
            put(&*nfs, &object, noise(9, 9)).await;
            assert_eq!(files(&folder), ["a/b/x"], "{version}");
        }
        other.umount().await.unwrap();
    }
}
