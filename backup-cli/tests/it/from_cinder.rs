//! A cinder.conf becomes a configuration of ours that loads, and nothing is lost without a word.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::ashlar::{Home, Ran};

/// Converts `conf` into a new file.
fn converted(home: &Home, conf: &str) -> (Ran, String) {
    let file = home.dir.path().join("cinder.conf");
    fs::write(&file, conf).unwrap();
    let output = home.dir.path().join("made.toml");
    let ran = home.run(&[
        "config",
        "from-cinder",
        "--output",
        output.to_str().unwrap(),
        file.to_str().unwrap(),
    ]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.out, "");
    assert_eq!(mode(&output), 0o600);
    let text = fs::read_to_string(&output).unwrap();
    (ran, text)
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The row of the repository that was made, as the program reads it.
fn repository(home: &Home) -> Value {
    let made = home.dir.path().join("made.toml");
    let listed = home.json(&["--config", made.to_str().unwrap(), "repository", "list"]);
    let rows = listed.as_array().unwrap().iter();
    let mut ours = rows.filter(|row| row["name"] == "cinder");
    let row = ours.next().unwrap().clone();
    assert_eq!(row["default"], true);
    row
}

#[test]
fn a_posix_backend_restores_after_nothing_but_the_conversion() {
    let home = Home::new();
    let case = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../backup-core/tests/data/cinder/zlib"
    );
    let conf = format!(
        "[DEFAULT]\n# a comment\nstate_path = {case}\nbackup_driver = cinder.backup.drivers.posix.PosixBackupDriver\n\
         backup_posix_path = $state_path/repo\nbackup_compression_algorithm: zstd\nbackup_file_size = 1999994880\n\
         backup_sha_block_size_bytes = 32768\nstorage_availability_zone = az9\nbackup_workers = 4\n\
         [lvm]\nbackup_compression_algorithm = bz2\n"
    );
    let (ran, text) = converted(&home, &conf);
    assert!(text.contains("compression = \"zstd\""), "{text}");
    assert!(text.contains("availability_zone = \"az9\""), "{text}");
    assert!(text.contains("hash_block_size = 32768"), "{text}");
    for left in ["backup_file_size = 1999994880", "backup_workers = 4"] {
        assert!(
            ran.err.contains(&format!("not carried over: {left}: ")),
            "{ran:?}"
        );
    }
    assert_eq!(repository(&home)["place"], format!("{case}/repo"));
    let made = home.dir.path().join("made.toml");
    let made = ["--config", made.to_str().unwrap()];
    let found = home.json(&[&made[..], &["volume", "backup", "scan", "--import"]].concat());
    let manifest: Value =
        serde_json::from_slice(&fs::read(format!("{case}/manifest.json")).unwrap()).unwrap();
    let backups = manifest["backups"].as_array().unwrap();
    assert_eq!(found.as_array().unwrap().len(), backups.len());
    let id = backups[0]["id"].as_str().unwrap();
    home.good(&[&made[..], &["volume", "backup", "verify", id]].concat());
}

#[test]
fn an_s3_backend_keeps_its_secrets_in_files_of_their_own() {
    let home = Home::new();
    let key = "0123456789abcdef0123456789abcdef";
    let conf = format!(
        "[DEFAULT]\nbackup_driver = cinder.backup.drivers.s3.S3BackupDriver\n\
         backup_s3_endpoint_url = http://127.0.0.1:9\nbackup_s3_store_bucket = mine\n\
         backup_s3_store_access_key = AK\nbackup_s3_store_secret_key = \"hush one\"\n\
         backup_s3_verify_ssl = False\nbackup_s3_timeout = 60.5\nbackup_s3_max_pool_connections = 12\n\
         backup_s3_retry_max_attempts = 5\nbackup_s3_object_size = 8388608\nbackup_s3_sse_customer_key = {key}\n\
         backup_create_containers = no\nbackup_swift_key = hush two\n"
    );
    let (ran, text) = converted(&home, &conf);
    for line in [
        "bucket = \"mine\"",
        "access_key = \"AK\"",
        "insecure = true",
        "timeout = 61",
        "requests = 12",
        "retries = 5",
        "create_containers = false",
        "chunk_size = 8388608",
        "sse = \"customer\"",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    for secret in ["hush", key] {
        assert!(
            !text.contains(secret) && !ran.err.contains(secret),
            "{text}{ran:?}"
        );
    }
    let secret = home.dir.path().join("made.cinder.secret_key");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hush one\n");
    assert_eq!(mode(&secret), 0o600);
    let customer =
        fs::read_to_string(home.dir.path().join("made.cinder.sse_customer_key")).unwrap();
    assert_eq!(
        customer.trim(),
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    );
    let place = repository(&home)["place"].as_str().unwrap().to_owned();
    assert!(
        place.contains("127.0.0.1:9") && place.contains("mine"),
        "{place}"
    );

    // Nothing is overwritten, and a second try leaves what is there.
    let conf = home.dir.path().join("cinder.conf");
    let again = home.bad(&[
        "config",
        "from-cinder",
        "--output",
        home.dir.path().join("made.toml").to_str().unwrap(),
        conf.to_str().unwrap(),
    ]);
    assert!(again.contains("not overwritten"), "{again}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hush one\n");
    // On standard output there is no secret either.
    let shown = home.good(&["config", "from-cinder", conf.to_str().unwrap()]);
    assert!(shown.contains("# secret_key_file"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_swift_backend_becomes_one_of_ours() {
    let home = Home::new();
    let conf = "[DEFAULT]\nbackup_driver = cinder.backup.drivers.swift.SwiftBackupDriver\n\
                backup_swift_auth = single_user\nbackup_swift_auth_url = http://127.0.0.1:9/v3\n\
                backup_swift_auth_version = 3\nbackup_swift_user = me\nbackup_swift_key = hush\n\
                backup_swift_project = p\nbackup_swift_user_domain = Default\nbackup_swift_project_domain = Default\n\
                backup_swift_container = boxes\nbackup_swift_retry_backoff = 2\nbackup_swift_auth_insecure = 1\n\
                swift_catalog_info = object-store:swift:internalURL\n";
    let (ran, text) = converted(&home, conf);
    for line in [
        "type = \"swift\"",
        "auth = \"single_user\"",
        "auth_version = 3",
        "username = \"me\"",
        "project_name = \"p\"",
        "container = \"boxes\"",
        "interface = \"internal\"",
        "insecure = true",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    assert!(
        ran.err.contains("backup_swift_retry_backoff = 2"),
        "{ran:?}"
    );
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(repository(&home)["type"], "swift");
}

#[test]
fn cinders_default_is_the_users_own_account_in_swift() {
    let home = Home::new();
    let (ran, text) = converted(
        &home,
        "[DEFAULT]\nbackup_swift_url = http://127.0.0.1:9/v1/AUTH_\n",
    );
    assert!(text.contains("auth = \"per_user\""), "{text}");
    assert!(
        text.contains("storage_url = \"http://127.0.0.1:9/v1/AUTH_\""),
        "{text}"
    );
    assert!(ran.err.contains("to do: per_user"), "{ran:?}");
    assert_eq!(repository(&home)["type"], "swift");
}

#[test]
fn an_nfs_backend_is_the_same_share_at_the_mount_point_of_cinders() {
    let home = Home::new();
    let conf = "[DEFAULT]\nbackup_driver = cinder.backup.drivers.nfs.NFSBackupDriver\n\
                backup_share = 192.168.1.1:/var/export/cinder-backup\nbackup_mount_options = vers=4.1,\n  noatime\nbackup_mount_attempts = 5\n";
    let (ran, text) = converted(&home, conf);
    let made = repository(&home);
    assert_eq!(made["type"], "nfs");
    assert_eq!(made["place"], "192.168.1.1:/var/export/cinder-backup");
    for line in [
        "mount_point_base = \"/var/lib/cinder/backup_mount\"",
        "mount_options = \"vers=4.1,noatime\"",
        "mount_attempts = 5",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!ran.err.contains("not carried over"), "{ran:?}");
}

#[test]
fn a_driver_that_is_not_here_is_told_with_all_its_options() {
    let home = Home::new();
    let conf = "[DEFAULT]\nbackup_driver = cinder.backup.drivers.gcs.GoogleBackupDriver\n\
                backup_gcs_bucket = b\nbackup_what_is_this = 1\n";
    let (ran, text) = converted(&home, conf);
    assert!(!text.contains("[repository"), "{text}");
    for told in [
        "not carried over: backup_gcs_bucket = b: ",
        "backup_what_is_this = 1: no option",
        "gcs.GoogleBackupDriver",
    ] {
        assert!(ran.err.contains(told), "{ran:?}");
    }
    let made = home.dir.path().join("made.toml");
    home.good(&["--config", made.to_str().unwrap(), "repository", "list"]);
}

#[test]
fn a_ceph_backend_becomes_a_repository_in_the_same_pool() {
    let home = Home::new();
    let conf = "[DEFAULT]\nbackup_driver = cinder.backup.drivers.ceph.CephBackupDriver\n\
                backup_ceph_pool = backups\nbackup_ceph_user = cinder\n";
    let (ran, text) = converted(&home, conf);
    for line in ["type = \"ceph\"", "pool = \"backups\"", "user = \"cinder\""] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!ran.err.contains("not carried over"), "{ran:?}");
    // A build without Ceph says so.
    let built = cfg!(feature = "rbd");
    assert_eq!(ran.err.contains("the feature rbd"), !built, "{ran:?}");
}

#[test]
fn the_first_rbd_backend_becomes_the_place_of_the_volumes_and_the_others_are_told() {
    let home = Home::new();
    let conf = "[DEFAULT]\nenabled_backends = lvm, fast ,slow\nprefix = vol\nbackup_ceph_max_snapshots = 5\n\
                backup_driver = cinder.backup.drivers.ceph.CephBackupDriver\n\
                [lvm]\nvolume_driver = cinder.volume.drivers.lvm.LVMVolumeDriver\n\
                [fast]\nvolume_driver = cinder.volume.drivers.rbd.RBDDriver\nrbd_pool = ${prefix}umes\n\
                rbd_cluster_name = site\nrados_connect_timeout = 7\nrbd_secret_uuid = hush\n\
                [slow]\nvolume_driver = cinder.volume.drivers.rbd.RBDDriver\nrbd_pool = archive\nrbd_user = other\n\
                [unused]\nvolume_driver = cinder.volume.drivers.rbd.RBDDriver\nrbd_pool = no\n";
    let (ran, text) = converted(&home, conf);
    let volumes: toml::Table = text.parse().unwrap();
    let expected: toml::Table = "provider = \"rbd\"\npool = \"volumes\"\nuser = \"admin\"\n\
                                 conf = \"/etc/ceph/site.conf\"\nconnect_timeout = 7\nmax_snapshots = 5\n"
        .parse()
        .unwrap();
    assert_eq!(volumes["volumes"], toml::Value::Table(expected), "{text}");
    for told in ["[lvm] volume_driver", "archive/IMAGE"] {
        assert!(ran.err.contains(told), "{told}: {ran:?}");
    }
    assert!(
        !ran.err.contains("unused") && !ran.err.contains("hush"),
        "{ran:?}"
    );
    // It loads; what needs no cluster asks none.
    let made = home.dir.path().join("made.toml");
    let made = made.to_str().unwrap();
    if cfg!(feature = "rbd") {
        let listed = home.json(&[
            "--config",
            made,
            "-o",
            "backup.repository=default",
            "volume",
            "list",
        ]);
        assert_eq!(listed, Value::Array(vec![]));
    }
}

#[test]
fn what_all_backends_share_counts_and_a_reference_to_nothing_is_told_instead_of_guessed() {
    let home = Home::new();
    let conf = "[DEFAULT]\nenabled_backends = broken,good\n\
                backup_driver = cinder.backup.drivers.ceph.CephBackupDriver\n\
                [backend_defaults]\nvolume_driver = cinder.volume.drivers.rbd.RBDDriver\nrbd_user = shared\n\
                rbd_ceph_conf = /etc/ceph/shared.conf\n\
                [broken]\nrbd_pool = $oops\n\
                [good]\nrbd_pool = volumes\nrbd_user = own\n";
    let (ran, text) = converted(&home, conf);
    let made: toml::Table = text.parse().unwrap();
    let volumes = &made["volumes"];
    assert_eq!(volumes["pool"].as_str(), Some("volumes"), "{text}");
    assert_eq!(volumes["user"].as_str(), Some("own"), "{text}");
    assert_eq!(volumes["conf"].as_str(), Some("/etc/ceph/shared.conf"));
    assert!(
        ran.err.contains("[broken] rbd_pool refers to $oops"),
        "{ran:?}"
    );
}

#[test]
fn a_file_that_is_no_cinder_conf_is_told_with_its_line() {
    let home = Home::new();
    let file = home.dir.path().join("cinder.conf");
    fs::write(&file, "[DEFAULT]\nnonsense\n").unwrap();
    let said = home.bad(&["config", "from-cinder", file.to_str().unwrap()]);
    assert!(said.contains("line 2"), "{said}");
    let missing = home.bad(&["config", "from-cinder", "/nowhere/cinder.conf"]);
    assert!(missing.contains("/nowhere/cinder.conf"), "{missing}");
}
