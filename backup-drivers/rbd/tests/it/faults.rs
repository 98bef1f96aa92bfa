//! An osd that dies and comes back, and one that stays away. On a cluster of their own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use backup_core::testing::MemoryRepository;
use backup_core::volume::VolumeRef;
use backup_core::{
    AttachSource, Backup, BackupRequest, Buf, Chain, ChunkedBackup, ChunkedConfig, DeviceAttacher,
    ErrorKind, ImageBackup, ImagedConfig, JobContext, Layer, Observer, Progress, RestoreOptions,
    Timestamp, VolumeId, VolumeProvider,
};
use backup_rbd::{CephRepository, Cluster, CreateOptions, RbdVolumes, wait_until_closed};
use bytes::Bytes;

use crate::ceph::{config, noise, volumes_config};
use crate::repository::engine;
use crate::subject::Subject;

const MIB: u64 = 1 << 20;

/// A cluster for one test.
struct Own {
    script: String,
    folder: tempfile::TempDir,
}

impl Own {
    fn start() -> Option<Self> {
        let Ok(script) = std::env::var("ASHLAR_TEST_CEPH_SCRIPT") else {
            println!("skipped: ASHLAR_TEST_CEPH_SCRIPT is not set");
            return None;
        };
        // Ports that are free when they are chosen may be taken, by a test beside this one, when they are bound.
        for _ in 0..5 {
            let own = Self {
                script: script.clone(),
                folder: tempfile::tempdir().unwrap(),
            };
            let done = own.output("start", None);
            if done.status.success() {
                return Some(own);
            }
            let told = String::from_utf8_lossy(&done.stderr);
            assert!(told.contains(" is taken"), "start: {done:?}");
        }
        panic!("a cluster's ports were taken five times");
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join("ceph")
    }

    fn conf(&self) -> String {
        self.folder().join("ceph.conf").display().to_string()
    }

    fn output(&self, command: &str, daemon: Option<&str>) -> Output {
        Command::new(&self.script)
            .arg(command)
            .arg(self.folder())
            .args(daemon)
            .env("CEPH_RGW", "0")
            .output()
            .unwrap()
    }

    fn run(&self, command: &str, daemon: Option<&str>) {
        let done = self.output(command, daemon);
        assert!(done.status.success(), "{command}: {done:?}");
    }

    /// Away for `time`, then back, on a thread.
    fn lose_osd(self: &Arc<Self>, time: Duration) -> std::thread::JoinHandle<()> {
        self.run("kill", Some("osd"));
        let own = Arc::clone(self);
        std::thread::spawn(move || {
            std::thread::sleep(time);
            own.run("run", Some("osd"));
        })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ended = Command::new(&self.script)
            .arg("destroy")
            .arg(self.folder())
            .output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_osd_that_dies_and_comes_back_costs_a_backup_and_a_restore_time_and_nothing_else() {
    let Some(own) = Own::start() else {
        return;
    };
    let own = Arc::new(own);
    let volumes = RbdVolumes::new(volumes_config(&own.conf())).unwrap();
    let id = VolumeId::generate();
    let location = volumes.create_volume(id, 96 * MIB).await.unwrap();
    let volume = VolumeRef {
        id,
        provider_location: Some(location.clone()),
    };
    let pool = volumes.pool().await.unwrap();
    let image = pool.open_image(&format!("volume-{id}")).await.unwrap();
    let content = noise(1, 96 << 20);
    image.write(0, Bytes::from(content.clone())).await.unwrap();
    image.close().await.unwrap();

    let repository = Arc::new(MemoryRepository::new());
    let engine = ChunkedBackup::new(repository, ChunkedConfig::zlib().unwrap()).unwrap();
    let cx = JobContext::new(128 << 20).unwrap();
    let plan = engine
        .plan(&BackupRequest::new(id, Timestamp::now()))
        .unwrap();
    let source = AttachSource::Volume(volume.clone());
    let attach = volumes.plan(&source, plan.id).await.unwrap();
    let attachment = volumes.execute(&attach).await.unwrap();
    let back = own.lose_osd(Duration::from_secs(2));
    let outcome = engine.create(&plan, None, &attachment, &cx).await.unwrap();
    assert_eq!(outcome.volume_length, 96 * MIB);
    back.join().unwrap();
    drop(attachment);
    volumes.keep(&attach).await.unwrap();

    let target = AttachSource::Target(volume.clone());
    let attach = volumes.plan(&target, plan.id).await.unwrap();
    let attachment = volumes.execute(&attach).await.unwrap();
    attachment
        .device
        .write(5 * MIB, Bytes::from(noise(2, 1 << 20)))
        .await
        .unwrap();
    let back = own.lose_osd(Duration::from_secs(2));
    let chain = Chain::new(vec![Layer {
        id: plan.id,
        location: plan.location,
    }])
    .unwrap();
    engine
        .restore(&chain, &attachment.device, &RestoreOptions::default(), &cx)
        .await
        .unwrap();
    back.join().unwrap();
    let (restored, read) = attachment.device.read(0, Buf::zeroed(96 << 20)).await;
    read.unwrap();
    assert!(restored[..] == content[..]);
}

/// Tells, once, that a job has moved so many bytes.
#[derive(Debug)]
struct Moved {
    bytes: u64,
    tell: Mutex<Option<mpsc::Sender<()>>>,
}

impl Observer for Moved {
    fn progress(&self, progress: &Progress) {
        if progress.transferred >= self.bytes
            && let Some(tell) = self.tell.lock().unwrap().take()
        {
            tell.send(()).unwrap();
        }
    }
}

impl Own {
    /// Kills the osd once the job that `Moved` observes has moved `bytes`, and starts it again after `away`, where one is
    /// given. The thread tells whether it came to that.
    fn lose_osd_midway(
        self: &Arc<Self>,
        bytes: u64,
        away: Option<Duration>,
    ) -> (Arc<Moved>, std::thread::JoinHandle<bool>) {
        let (tell, told) = mpsc::channel();
        let own = Arc::clone(self);
        let lost = std::thread::spawn(move || {
            if told.recv().is_err() {
                return false;
            }
            own.run("kill", Some("osd"));
            if let Some(away) = away {
                std::thread::sleep(away);
                own.run("run", Some("osd"));
            }
            true
        });
        let moved = Arc::new(Moved {
            bytes,
            tell: Mutex::new(Some(tell)),
        });
        (moved, lost)
    }
}

/// With a repository in the same cluster: source, base image and target wait at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_osd_that_dies_in_the_middle_costs_a_pool_of_backups_time_or_a_job_and_nothing_else() {
    let Some(own) = Own::start() else {
        return;
    };
    let own = Arc::new(own);
    let engine = Arc::new(engine(&own.conf(), 0));
    let mut s = Subject::new(volumes_config(&own.conf()), engine, 64 * MIB).await;
    let mut content = noise(1, 64 << 20);
    let image = s.image().await;
    image.write(0, Bytes::from(content.clone())).await.unwrap();

    // A full backup, and an incremental of half of it, while it is away for a while.
    let quiet = s.cx.clone();
    let (moved, lost) = own.lose_osd_midway(16 * MIB, Some(Duration::from_secs(2)));
    s.cx = quiet.for_job(moved);
    s.back_up().await;
    assert!(lost.join().unwrap(), "it was lost in the middle");
    content[16 << 20..48 << 20].copy_from_slice(&noise(2, 32 << 20));
    let changed = content[16 << 20..48 << 20].to_vec();
    image.write(16 * MIB, Bytes::from(changed)).await.unwrap();
    let (moved, lost) = own.lose_osd_midway(8 * MIB, Some(Duration::from_secs(2)));
    s.cx = quiet.for_job(moved);
    s.back_up().await;
    assert!(lost.join().unwrap(), "it was lost in the middle");

    // A restore onto the volume, which holds something else.
    image
        .write(0, Bytes::from(noise(3, 64 << 20)))
        .await
        .unwrap();
    image.close().await.unwrap();
    let target = AttachSource::Target(s.volume.clone());
    let attach = s.volumes.plan(&target, s.layers[1].id).await.unwrap();
    let attachment = s.volumes.execute(&attach).await.unwrap();
    let (moved, lost) = own.lose_osd_midway(16 * MIB, Some(Duration::from_secs(2)));
    let chain = Chain::new(s.layers.clone()).unwrap();
    s.engine
        .restore(
            &chain,
            &attachment.device,
            &RestoreOptions::default(),
            &quiet.for_job(moved),
        )
        .await
        .unwrap();
    assert!(lost.join().unwrap(), "it was lost in the middle");
    let (restored, read) = attachment.device.read(0, Buf::zeroed(64 << 20)).await;
    read.unwrap();
    assert!(restored[..] == content[..]);
    drop(attachment);
    s.cx = quiet.clone();

    // It stays away: the job fails by its deadline. Once it is back nothing of it counts, and the next one is right.
    let mut config = crate::repository::config(&own.conf());
    config.timeout = 3;
    let hasty = CephRepository::new(&config).unwrap();
    let hasty = ImageBackup::new(Arc::new(hasty), ImagedConfig::new()).unwrap();
    let image = s.image().await;
    content[..32 << 20].copy_from_slice(&noise(4, 32 << 20));
    image
        .write(0, Bytes::from(content[..32 << 20].to_vec()))
        .await
        .unwrap();
    image.close().await.unwrap();
    let mut request = BackupRequest::new(s.volume.id, Timestamp::now());
    request.parent = s.layers.last().cloned();
    let plan = s.engine.plan(&request).unwrap();
    let source = AttachSource::Volume(s.volume.clone());
    let attach = s.volumes.plan(&source, plan.id).await.unwrap();
    let attachment = s.volumes.execute(&attach).await.unwrap();
    let (moved, lost) = own.lose_osd_midway(8 * MIB, None);
    let failed = hasty
        .create(&plan, s.layers.last(), &attachment, &quiet.for_job(moved))
        .await
        .unwrap_err();
    assert!(failed.is(ErrorKind::Timeout), "{failed:?}");
    assert!(lost.join().unwrap(), "it was lost in the middle");
    own.run("run", Some("osd"));
    drop((attachment, hasty));
    // What was given up still lands, and only then does its client let go of the base image.
    s.volumes.undo(&attach).await.unwrap();
    let done = s.engine.committed(&plan.layer(), &quiet).await.unwrap();
    assert_eq!(done, None);
    s.engine.delete(&plan.layer(), &quiet).await.unwrap();
    s.back_up().await;
    assert!(s.restored(2).await == content);
    assert!(s.restored(0).await == noise(1, 64 << 20));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_osd_that_stays_away_is_told_by_the_deadline_and_a_write_may_still_land() {
    let Some(own) = Own::start() else {
        return;
    };
    let own = Arc::new(own);
    let mut config = config(&own.conf());
    config.timeout = Duration::from_secs(3);
    let cluster = Cluster::connect(&config).await.unwrap();
    let pool = cluster.pool("volumes").await.unwrap();
    pool.create("image", 8 * MIB, &CreateOptions::default())
        .await
        .unwrap();
    let image = pool.open_image("image").await.unwrap();
    image.write(0, Bytes::from(noise(1, 4096))).await.unwrap();
    let reader = pool.open_read_only("image", None).await.unwrap();
    own.run("kill", Some("osd"));
    let (buf, read) = reader.read(0, Buf::zeroed(4096)).await;
    let e = read.unwrap_err();
    assert!(e.is(ErrorKind::Timeout), "{e:?}");
    assert_eq!(buf.len(), 4096, "a buffer comes back, another one");
    let e = image
        .write(0, Bytes::from(noise(2, 4096)))
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::Timeout), "{e:?}");
    assert!(e.to_string().contains("may still land"), "{e}");
    let e = image
        .write(4096, Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::Io), "the handle is spoilt: {e:?}");
    let e = image.create_snapshot("s").await.unwrap_err();
    assert!(e.is(ErrorKind::Timeout), "{e:?}");
    let e = pool.open_image("image").await.unwrap_err();
    assert!(e.is(ErrorKind::Timeout), "{e:?}");

    own.run("run", Some("osd"));
    drop((image, reader, pool, cluster));
    // What was given up goes on and ends, and then everything closes.
    let closed = tokio::task::spawn_blocking(|| wait_until_closed(Duration::from_mins(1)));
    assert!(closed.await.unwrap());
    let mut config = config.clone();
    config.timeout = Duration::from_secs(30);
    let cluster = Cluster::connect(&config).await.unwrap();
    let pool = cluster.pool("volumes").await.unwrap();
    let image = pool.open_read_only("image", None).await.unwrap();
    let (buf, read) = image.read(0, Buf::zeroed(4096)).await;
    read.unwrap();
    assert!(
        buf[..] == noise(2, 4096)[..],
        "the write landed when it could"
    );
}
