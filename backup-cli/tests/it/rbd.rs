//! Volumes on Ceph, by the binary, on a real cluster: named by `ASHLAR_TEST_CEPH_CONF`, else the tests do nothing.

mod difference;
mod kill;
mod lost_catalogue;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backup_core::{Buf, ByteRange};
use backup_drivers::rbd::{Cluster, ClusterConfig, Image, Pool};
use serde_json::Value;

use crate::ashlar::{Home, noise};

const MIB: usize = 1 << 20;

/// A home whose volumes are images of the test cluster's pool, with a repository `pool` in another one.
struct Ceph {
    home: Home,
    pool: Pool,
    backups: Pool,
    conf: String,
    runtime: tokio::runtime::Runtime,
}

impl Ceph {
    fn new() -> Option<Self> {
        let Ok(conf) = std::env::var("ASHLAR_TEST_CEPH_CONF") else {
            eprintln!("skipped: ASHLAR_TEST_CEPH_CONF names no cluster");
            return None;
        };
        let home = Home::new();
        let repository = format!("[repository.pool]\ntype = \"ceph\"\nconf = \"{conf}\"\n");
        configure(&home, &conf, &repository);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let (pool, backups) = runtime.block_on(async {
            let cluster = Cluster::connect(&ClusterConfig::new(&conf, "cinder"))
                .await
                .unwrap();
            let pool = cluster.pool("volumes").await.unwrap();
            (pool, cluster.pool("backups").await.unwrap())
        });
        Some(Self {
            home,
            pool,
            backups,
            conf,
            runtime,
        })
    }

    /// The image behind a volume.
    fn image(&self, volume: &str) -> Image {
        let shown = self.home.json(&["volume", "show", volume]);
        let path = shown["path"].as_str().unwrap().to_owned();
        let name = path.strip_prefix("volumes/").unwrap();
        self.runtime.block_on(self.pool.open_image(name)).unwrap()
    }

    fn write(&self, volume: &str, at: usize, data: Vec<u8>) {
        let image = self.image(volume);
        self.runtime.block_on(async {
            image.write(at as u64, data.into()).await.unwrap();
            image.close().await.unwrap();
        });
    }

    fn content(&self, volume: &str, length: usize) -> Vec<u8> {
        let image = self.image(volume);
        self.runtime.block_on(async {
            let (buf, read) = image.read(0, Buf::zeroed(length)).await;
            read.unwrap();
            image.close().await.unwrap();
            buf.to_vec()
        })
    }

    /// By the image's name: a command of ours would settle what a dead one left.
    fn snapshots(&self, image: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let image = self.pool.open_read_only(image, None).await.unwrap();
            let listed = image.snapshots().await.unwrap();
            image.close().await.unwrap();
            listed.into_iter().map(|s| s.name).collect()
        })
    }

    /// An adopted image of `length` bytes, named as Cinder names it.
    fn adopt(&self, name: &str, length: usize) -> String {
        let id = backup_core::VolumeId::generate();
        let image = format!("volume-{id}");
        let options = backup_drivers::rbd::CreateOptions::default();
        self.runtime
            .block_on(self.pool.create(&image, length as u64, &options))
            .unwrap();
        let made = self
            .home
            .json(&["volume", "create", "--image", &image, name]);
        assert_eq!(made["id"], id.to_string(), "Cinder's ID is kept");
        assert_eq!(made["size_bytes"], length);
        image
    }
}

fn configure(home: &Home, conf: &str, more: &str) {
    fs::create_dir_all(home.path()).unwrap();
    fs::write(
        home.path().join("ashlar.toml"),
        format!("[volumes]\nprovider = \"rbd\"\npool = \"volumes\"\nconf = \"{conf}\"\n{more}"),
    )
    .unwrap();
}

#[test]
fn an_rbd_volume_is_backed_up_changed_backed_up_again_and_both_states_come_back() {
    let Some(c) = Ceph::new() else {
        return;
    };
    let length = 40 * MIB + 777;
    let image_name = c.adopt("v", length);
    c.write("v", MIB, noise(9 * MIB, 1));
    let first = c.content("v", length);
    c.home
        .good(&["volume", "backup", "create", "--name", "full", "v"]);
    c.write("v", 30 * MIB + 5, noise(40_000, 2));
    let image = c.image("v");
    c.runtime
        .block_on(image.write_zeroes(ByteRange::new(2 << 20, 5 << 20).unwrap()))
        .unwrap();
    drop(image);
    let second = c.content("v", length);
    let create = ["volume", "backup", "create", "--incremental", "--force"];
    // In use, or not: a point in time in any case.
    c.home.good(&["volume", "set", "--state", "in-use", "v"]);
    let made = c
        .home
        .json(&[&create[..], &["--name", "inc", "v"]].concat());
    assert_eq!(made["is_incremental"], true);
    let made = c
        .home
        .json(&[&create[..], &["--name", "none", "v"]].concat());
    assert_eq!(made["object_count"], 0, "nothing changed, nothing stored");
    assert_eq!(c.snapshots(&image_name).len(), 2, "max_snapshots");

    for (backup, expected) in [("full", &first), ("inc", &second), ("none", &second)] {
        c.home.good(&["volume", "backup", "verify", backup]);
        c.home
            .good(&["volume", "backup", "restore", "--name", backup, backup]);
        assert!(
            c.content(backup, length) == *expected,
            "{backup} to a new volume"
        );
    }
    // Onto one that holds something else.
    c.home.good(&["volume", "backup", "restore", "full", "inc"]);
    assert!(c.content("inc", length) == first, "onto a given volume");
    for volume in ["full", "inc", "none"] {
        c.home.good(&["volume", "delete", volume]);
    }
}

#[test]
fn volumes_and_snapshots_are_made_backed_up_and_deleted_on_ceph() {
    let Some(c) = Ceph::new() else {
        return;
    };
    c.home.good(&["volume", "create", "--size", "1", "v"]);
    c.write("v", 100 * MIB, noise(MIB, 1));
    c.home
        .good(&["volume", "snapshot", "create", "--volume", "v", "s"]);
    c.write("v", 100 * MIB, noise(MIB, 2));
    c.home.good(&[
        "volume",
        "backup",
        "create",
        "--snapshot",
        "s",
        "--name",
        "b",
        "v",
    ]);
    c.home
        .good(&["volume", "backup", "restore", "--name", "r", "b"]);
    assert!(c.content("r", 1 << 30)[100 * MIB..101 * MIB] == noise(MIB, 1)[..]);
    c.home.good(&["volume", "snapshot", "delete", "s"]);
    for volume in ["v", "r"] {
        let image = c.image(volume).name().to_owned();
        c.home.good(&["volume", "delete", volume]);
        let left = c.runtime.block_on(c.pool.images(&image)).unwrap();
        assert_eq!(left, [""; 0]);
    }
}

#[test]
fn a_backup_that_is_killed_leaves_a_snapshot_that_the_next_command_removes() {
    let Some(c) = Ceph::new() else {
        return;
    };
    let image = c.adopt("v", 64 * MIB);
    c.write("v", 0, noise(60 * MIB, 1));
    let mut child = c
        .home
        .command(&[
            "-o",
            "backup.compression=bzip2",
            "volume",
            "backup",
            "create",
            "v",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while c.snapshots(&image).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(c.snapshots(&image).len(), 1);
    let listed = c.home.json(&["volume", "backup", "list"]);
    assert_eq!(listed[0]["status"], "error");
    assert_eq!(c.snapshots(&image), [""; 0]);
    c.home.good(&["volume", "backup", "create", "v"]);
    assert_eq!(
        c.snapshots(&image).len(),
        1,
        "of a complete backup it stays"
    );
}

#[test]
fn a_cluster_that_is_not_there_is_told_and_the_command_ends() {
    let home = Home::new();
    let conf = home.dir.path().join("ceph.conf");
    fs::write(
        &conf,
        "[global]\nmon_host = 127.0.0.1:9\nauth_client_required = none\n",
    )
    .unwrap();
    configure(&home, conf.to_str().unwrap(), "connect_timeout = 2\n");
    assert_eq!(
        home.json(&["volume", "list"]),
        Value::Array(vec![]),
        "what needs no cluster asks none"
    );
    let told = home.bad(&["volume", "create", "--image", "x", "v"]);
    assert!(told.contains("no monitor answered within 2 s"), "{told}");
    assert!(told.contains("mon_host"), "{told}");
    let told = home.bad(&["volume", "create", "--file", "/etc/hostname", "v"]);
    assert!(told.contains("--image"), "{told}");
}

/// Writes to an image by `rbd bench` until it is killed, with the exclusive lock in its hands.
fn die_with_the_lock(c: &Ceph, pool: &Pool, image: &str) {
    let name = format!("{}/{image}", pool.name());
    let bench = [
        "bench",
        "--io-type",
        "write",
        "--io-size",
        "4K",
        "--io-total",
        "100G",
    ];
    let mut child = Command::new("rbd")
        .args(["--conf", &c.conf, "--id", "cinder"])
        .args(bench)
        .args(["--io-pattern", "rand", &name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let owned = || {
        c.runtime.block_on(async {
            let image = pool.open_image(image).await.unwrap();
            let owner = image.lock_owner().await.unwrap();
            image.close().await.unwrap();
            owner.is_some()
        })
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while !owned() {
        assert!(child.try_wait().unwrap().is_none(), "rbd bench has ended");
        assert!(Instant::now() < deadline, "nobody took the lock");
    }
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(owned(), "the dead client still counts as the owner");
}

#[test]
fn a_client_that_died_with_the_exclusive_lock_stops_neither_a_restore_nor_an_incremental() {
    let Some(c) = Ceph::new() else {
        return;
    };
    let length = 8 * MIB;
    let image = c.adopt("v", length);
    c.write("v", MIB, noise(3 * MIB, 1));
    let first = c.content("v", length);
    let with = ["-o", "backup.repository=pool", "volume", "backup"];
    let good = |words: &[&str]| c.home.good(&[&with[..], words].concat());
    good(&["create", "--name", "one", "v"]);

    die_with_the_lock(&c, &c.pool, &image);
    good(&["restore", "one", "v"]);
    assert!(c.content("v", length) == first, "what it wrote is gone");

    // In the pool of backups, and into the base image: what is no snapshot there does not count.
    let bases = c.runtime.block_on(c.backups.images(&image)).unwrap();
    assert_eq!(bases.len(), 1);
    die_with_the_lock(&c, &c.backups, &bases[0]);
    c.write("v", 6 * MIB + 5, noise(70_000, 2));
    let second = c.content("v", length);
    good(&["create", "--incremental", "--name", "two", "v"]);
    for (backup, expected) in [("one", &first), ("two", &second)] {
        good(&["restore", "--name", backup, backup]);
        assert!(c.content(backup, length) == *expected, "{backup}");
        c.home.good(&["volume", "delete", backup]);
    }
    good(&["delete", "two"]);
    good(&["delete", "one"]);
    assert_eq!(
        c.runtime.block_on(c.backups.images(&image)).unwrap(),
        [""; 0]
    );
}

#[test]
fn a_cluster_of_backups_that_is_not_there_is_told_and_the_volume_stays_as_it_was() {
    let home = Home::new();
    let conf = home.dir.path().join("ceph.conf");
    fs::write(
        &conf,
        "[global]\nmon_host = 127.0.0.1:9\nauth_client_required = none\n",
    )
    .unwrap();
    fs::create_dir_all(home.path()).unwrap();
    fs::write(
        home.path().join("ashlar.toml"),
        format!(
            "[backup]\nrepository = \"pool\"\n[repository.pool]\ntype = \"ceph\"\nconf = \"{}\"\n\
             connect_timeout = 2\n",
            conf.display()
        ),
    )
    .unwrap();
    home.volume("v", MIB);
    let told = home.bad(&["volume", "backup", "create", "v"]);
    assert!(told.contains("no monitor answered within 2 s"), "{told}");
    assert!(told.contains("mon_host"), "{told}");
    assert_eq!(home.json(&["volume", "show", "v"])["status"], "available");
    let listed = home.json(&["volume", "backup", "list"]);
    assert_eq!(listed[0]["status"], "error");
    let ran = home.run(&["repository", "check", "pool"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.out.contains("no monitor answered within 2 s"),
        "{ran:?}"
    );
    assert!(ran.err.contains("mon_host"), "what to do: {ran:?}");
}

#[test]
fn a_pool_of_backups_is_checked_step_by_step_and_nothing_is_left() {
    let Some(c) = Ceph::new() else {
        return;
    };
    let steps = c.home.json(&["repository", "check", "pool"]);
    let steps = steps.as_array().unwrap();
    assert_eq!(steps.len(), 11, "{steps:?}");
    for step in steps {
        let fine = step["result"] == "good" || step["step"] == "speed";
        assert!(fine, "{step}");
    }
    let left = c.runtime.block_on(c.backups.images("ashlar-check-"));
    assert_eq!(left.unwrap(), [""; 0]);
    // Exactly what was changed, not whole objects.
    let told = steps.iter().find(|s| s["step"] == "tell what changed");
    assert_eq!(
        told.unwrap()["details"],
        "65536 bytes of 65536 that changed"
    );
}
