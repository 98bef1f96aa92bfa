//! One fault at one call to the repository, for each call of each operation: whatever happens, no state is stuck,
//! the quota counts what is there, and the next run succeeds. And the same for a job whose process dies at the call.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::world::{POSIX, World, change};
use crate::catalog::Catalog;
use crate::chunked::{ChunkedBackup, ChunkedConfig};
use crate::error::{ErrorKind, Result};
use crate::job::JobContext;
use crate::record::{BackupRecord, BackupStatus};
use crate::service::{CreateRequest, NamedRepository, RestoreTarget, ScanRequest};
use crate::testing::{
    Call, Fault, FaultPlan, FaultRepository, MemoryDevice, MemoryRepository, When,
};
use crate::timestamp::Timestamp;
use crate::volume::{VolumeRecord, VolumeStatus};

const LENGTH: u64 = 100_003;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Full,
    Incremental,
    RestoreOver,
    RestoreNew,
    Delete,
    Verify,
    Scan,
}

const OPS: [Op; 7] = [
    Op::Full,
    Op::Incremental,
    Op::RestoreOver,
    Op::RestoreNew,
    Op::Delete,
    Op::Verify,
    Op::Scan,
];

const FAULTS: [Fault; 7] = [
    Fault::Fail(ErrorKind::Unavailable),
    Fault::Fail(ErrorKind::NoSpace),
    Fault::LoseAnswer(ErrorKind::Timeout),
    Fault::Break { after: 20 },
    Fault::Truncate { after: 20 },
    Fault::Extend { by: 1 },
    Fault::Corrupt { at: 9, mask: 0x40 },
];

/// A volume with a full backup and an incremental, another volume to restore onto, and a repository that fails.
struct Scene {
    world: World,
    faulty: Arc<FaultRepository>,
    volume: VolumeRecord,
    target: VolumeRecord,
    full: BackupRecord,
    incremental: BackupRecord,
    contents: [MemoryDevice; 2],
}

fn named(repository: &Arc<FaultRepository>) -> NamedRepository {
    let config = ChunkedConfig::zlib()
        .unwrap()
        .with_chunk_size(64 << 10)
        .with_block_size(4 << 10);
    let repository = Arc::<FaultRepository>::clone(repository);
    NamedRepository {
        name: "default".into(),
        backup: Arc::new(ChunkedBackup::new(repository, config).unwrap()),
        service: POSIX.into(),
        container: None,
        account: None,
    }
}

impl Scene {
    /// `cx`: shared by all scenes, so that not each of them starts threads.
    async fn new(cx: &JobContext) -> Self {
        let memory = MemoryRepository::new();
        let faulty = Arc::new(FaultRepository::new(
            Arc::new(memory.clone()),
            FaultPlan::new(),
        ));
        let world = World::within(&[named(&faulty)], memory, cx.clone()).await;
        let volume = world.volume("data", LENGTH).await;
        let target = world.volume("target", LENGTH).await;
        let full = world.full(&volume).await;
        let first = world.device(&volume).copy();
        change(&world.device(&volume));
        let incremental = world.incremental(&volume).await;
        let second = world.device(&volume).copy();
        world.device(&volume).poke(30_000, b"changed since");
        Self {
            world,
            faulty,
            volume,
            target,
            full,
            incremental,
            contents: [first, second],
        }
    }

    async fn run(&self, op: Op) -> Result<()> {
        let w = &self.world;
        let id = self.volume.id.to_string();
        match op {
            Op::Full => drop(w.back_up(CreateRequest::of(id)).await?),
            Op::Incremental => drop(w.back_up(CreateRequest::of(id).incremental(true)).await?),
            Op::RestoreOver => {
                let onto = RestoreTarget::Volume(self.target.id.to_string());
                let volume = w.restore(&self.incremental, onto).await?;
                self.assert_restored(&volume);
            }
            Op::RestoreNew => {
                let new = RestoreTarget::New { name: None };
                let volume = w.restore(&self.incremental, new).await?;
                self.assert_restored(&volume);
            }
            Op::Delete => {
                let id = self.incremental.id.to_string();
                w.service
                    .delete_backup(&w.caller, &id, false, &w.cx)
                    .await?;
            }
            Op::Verify => {
                let id = self.incremental.id.to_string();
                w.service.verify_backup(&w.caller, &id, &w.cx).await?;
            }
            Op::Scan => {
                let request = ScanRequest {
                    import: true,
                    ..ScanRequest::default()
                };
                w.service.scan(&w.caller, &request, &w.cx).await?;
            }
        }
        Ok(())
    }

    fn assert_restored(&self, volume: &VolumeRecord) {
        let restored = self.world.device(volume);
        assert_eq!(
            restored.first_difference(&self.contents[1]),
            None,
            "wrong bytes and no error"
        );
    }

    /// No job, no state on the way, and the quota counts the backups that there are.
    async fn assert_settled(&self, op: Op, label: &str) {
        let w = &self.world;
        w.assert_quiet().await;
        let backups = w.backups().await;
        for backup in &backups {
            let settled = matches!(backup.status, BackupStatus::Available | BackupStatus::Error);
            assert!(settled, "{label}: {backup:?}");
            // An available one may tell why its last restore failed.
            let told = backup.fail_reason.is_some() || backup.status == BackupStatus::Available;
            assert!(told, "{label}: {backup:?}");
        }
        let usage = w.service.usage(&w.caller, None).await.unwrap();
        assert_eq!(usage.backups, backups.len() as u64, "{label}");
        let gigabytes: u64 = backups.iter().map(|b| b.size_gib).sum();
        assert_eq!(usage.gigabytes, gigabytes, "{label}");
        assert_eq!(
            w.status(&self.volume).await,
            VolumeStatus::Available,
            "{label}: the volume that is backed up"
        );
        let target = w.status(&self.target).await;
        let restored = [VolumeStatus::Available, VolumeStatus::ErrorRestoring];
        assert!(restored.contains(&target), "{label}: {target}");
        if op != Op::RestoreOver {
            assert_eq!(target, VolumeStatus::Available, "{label}");
        }
    }

    /// Failed backups can be deleted, the next run succeeds, and the older backups restore.
    async fn assert_goes_on(&self, op: Op, label: &str) {
        let w = &self.world;
        for backup in w.backups().await {
            if backup.status == BackupStatus::Error {
                let id = backup.id.to_string();
                w.service
                    .delete_backup(&w.caller, &id, false, &w.cx)
                    .await
                    .unwrap_or_else(|e| panic!("{label}: {e:?}"));
                let left = w.repository.objects();
                assert!(left.iter().all(|(name, _)| !name.contains(&id)), "{label}");
            }
        }
        if w.status(&self.target).await == VolumeStatus::ErrorRestoring {
            w.set_volume(&self.target, VolumeStatus::Available).await;
        }
        let there = w.catalog.backup(self.incremental.id).await.is_ok();
        if op != Op::Delete || there {
            self.run(op)
                .await
                .unwrap_or_else(|e| panic!("{label}: the next run fails: {e:?}"));
        }
        self.assert_settled(Op::Full, label).await;
        w.check(&self.full, &self.contents[0]).await;
        if w.catalog.backup(self.incremental.id).await.is_ok() {
            w.check(&self.incremental, &self.contents[1]).await;
        }
    }
}

fn at(call: Call, nth: u64, fault: Fault) -> FaultPlan {
    FaultPlan::new().rule(When::call(call).nth(nth), fault)
}

/// How often `op` makes each kind of call.
async fn count(op: Op, cx: &JobContext) -> Vec<(Call, u64)> {
    let scene = Scene::new(cx).await;
    scene.faulty.set_plan(FaultPlan::new());
    scene.run(op).await.unwrap();
    Call::ALL
        .into_iter()
        .map(|call| (call, scene.faulty.calls_of(call)))
        .collect()
}

#[tokio::test]
async fn a_fault_at_any_call_leaves_no_state_stuck_and_the_quota_right() {
    let cx = JobContext::new(64 << 20).unwrap();
    let mut cases = 0;
    for op in OPS {
        for (call, calls) in count(op, &cx).await {
            for fault in FAULTS.into_iter().filter(|f| f.fits(call)) {
                for nth in 0..calls {
                    let label = format!("{op:?}, {fault:?} at {call:?} {nth}");
                    let scene = Scene::new(&cx).await;
                    scene.faulty.set_plan(at(call, nth, fault));
                    let before = scene.world.backups().await.len();
                    let limit = Duration::from_mins(1);
                    let done = tokio::time::timeout(limit, scene.run(op))
                        .await
                        .unwrap_or_else(|_| panic!("{label}: it hangs"));
                    assert_eq!(scene.faulty.faults(), 1, "{label}");
                    scene.faulty.set_plan(FaultPlan::new());
                    scene.assert_settled(op, &label).await;
                    let backups = scene.world.backups().await;
                    let failed: Vec<_> = backups
                        .iter()
                        .filter(|b| b.status == BackupStatus::Error)
                        .collect();
                    match op {
                        Op::Full | Op::Incremental => {
                            assert_eq!(backups.len(), before + 1, "{label}");
                            assert_eq!(failed.is_empty(), done.is_ok(), "{label}");
                        }
                        Op::Delete => {
                            let gone = usize::from(done.is_ok());
                            assert_eq!(backups.len(), before - gone, "{label}");
                            assert_eq!(failed.is_empty(), done.is_ok(), "{label}");
                        }
                        _ => assert_eq!((backups.len(), failed.len()), (before, 0), "{label}"),
                    }
                    if op == Op::RestoreOver {
                        let status = scene.world.status(&scene.target).await;
                        assert_eq!(status == VolumeStatus::Available, done.is_ok(), "{label}");
                    }
                    // Bytes that were stored wrong in silence are verify's to find, not the next run's.
                    let stored_wrong = done.is_ok() && matches!(call, Call::Put | Call::Part);
                    if !stored_wrong {
                        scene.assert_goes_on(op, &label).await;
                    }
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 150, "{cases} cases");
}

/// Runs `job` until the call that is to be slow was reached, then drops it: as a kill would.
async fn killed_at_the_fault(scene: &Scene, op: Op) -> bool {
    let mut job = Box::pin(scene.run(op));
    loop {
        let polled = std::future::poll_fn(|cx| Poll::Ready(job.as_mut().poll(cx))).await;
        if polled.is_ready() {
            return false;
        }
        if scene.faulty.faults() > 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
}

#[tokio::test]
async fn a_job_killed_at_any_call_is_settled_by_a_recovery() {
    let cx = JobContext::new(64 << 20).unwrap();
    let mut cases = 0;
    for op in OPS {
        for (call, calls) in count(op, &cx).await {
            for nth in 0..calls {
                for fault in [
                    Fault::Delay(Duration::from_hours(1)),
                    Fault::DelayAnswer(Duration::from_hours(1)),
                ] {
                    let label = format!("{op:?} killed at {call:?} {nth}, {fault:?}");
                    let scene = Scene::new(&cx).await;
                    scene.faulty.set_plan(at(call, nth, fault));
                    let begun = Timestamp::now();
                    let killed = tokio::time::timeout(
                        Duration::from_mins(1),
                        killed_at_the_fault(&scene, op),
                    )
                    .await
                    .unwrap_or_else(|_| panic!("{label}: it hangs"));
                    assert!(killed, "{label}: it ended after {begun:?}");
                    scene.faulty.set_plan(FaultPlan::new());
                    let w = &scene.world;
                    let recovered = w.service.recover(&w.cx).await.unwrap();
                    assert_eq!(recovered.running, 0, "{label}");
                    for settled in &recovered.settled {
                        assert_eq!(settled.error, None, "{label}");
                    }
                    scene.assert_settled(op, &label).await;
                    let kept = w.catalog.backup(scene.incremental.id).await;
                    match op {
                        Op::Full | Op::Incremental => {
                            let killed: Vec<_> = w
                                .backups()
                                .await
                                .into_iter()
                                .filter(|b| b.status == BackupStatus::Error)
                                .collect();
                            // Before its record is made there is nothing to settle.
                            assert!(killed.len() <= 1, "{label}");
                            for backup in killed {
                                let id = backup.id.to_string();
                                let left = w.repository.objects();
                                assert!(
                                    left.iter().all(|(name, _)| !name.contains(&id)),
                                    "{label}: {left:?}"
                                );
                            }
                        }
                        Op::Delete => assert!(kept.is_err(), "{label}: it is not deleted"),
                        _ => assert_eq!(kept.unwrap().status, BackupStatus::Available),
                    }
                    scene.assert_goes_on(op, &label).await;
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 50, "{cases} cases");
}
