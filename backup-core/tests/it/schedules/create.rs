//! A whole backup under every order in which its reads, CPU tasks and puts can end, and with a cancel at every moment
//! of it: the same bytes come out, in order, or nothing; nothing hangs, and all memory comes back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backup_core::compress::compressor;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Attachment, Backup, BackupPlan, BackupRequest, BlockDevice, Chain, ChunkedBackup,
    ChunkedConfig, ErrorKind, JobContext, Layer, Outcome, RestoreOptions, Result, Timestamp,
    VolumeId,
};
use bytes::Bytes;

use super::gates::{GatedDevice, GatedRepository, Gates};
use super::{Choices, every_schedule};
use crate::history::{noise, text};

const CHUNK: u64 = 8 << 10;

type Job = Pin<Box<dyn Future<Output = Result<Outcome>>>>;

fn config() -> ChunkedConfig {
    ChunkedConfig::new(compressor(Algorithm::Zstd, None).unwrap())
        .with_chunk_size(CHUNK)
        .with_block_size(4 << 10)
}

/// One backup of a volume of some chunks; every chunk is read and becomes an object.
struct Subject {
    content: MemoryDevice,
    plan: BackupPlan,
    expected: Vec<(String, Bytes)>,
}

impl Subject {
    fn new(chunks: u64, seed: u64) -> Self {
        let length = usize::try_from(chunks * CHUNK - 100).unwrap();
        let mut bytes = text(seed, length);
        // Every other chunk does not shrink.
        for (i, chunk) in bytes.chunks_mut(8 << 10).enumerate().skip(1).step_by(2) {
            chunk.copy_from_slice(&noise(seed + i as u64, chunk.len()));
        }
        let content = MemoryDevice::from_bytes(&bytes).without_holes();
        let request = BackupRequest::new(VolumeId::generate(), Timestamp::now());
        let memory = MemoryRepository::new();
        let engine = ChunkedBackup::new(Arc::new(memory.clone()), config()).unwrap();
        let plan = engine.plan(&request).unwrap();
        let subject = Self {
            content,
            plan,
            expected: Vec::new(),
        };
        let expected = subject.stored_by_real_threads(&engine, &memory);
        Self {
            expected,
            ..subject
        }
    }

    /// What the backup stores when nobody meddles; it restores to what the volume holds.
    fn stored_by_real_threads(
        &self,
        engine: &ChunkedBackup,
        memory: &MemoryRepository,
    ) -> Vec<(String, Bytes)> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let cx = JobContext::new(64 << 20).unwrap();
            let source = Attachment::new(Arc::new(self.content.clone()) as Arc<dyn BlockDevice>);
            engine.create(&self.plan, None, &source, &cx).await.unwrap();
            let target = MemoryDevice::new(self.content.geometry().length);
            let device = Arc::new(target.clone()) as Arc<dyn BlockDevice>;
            let chain = Chain::new(vec![Layer {
                id: self.plan.id,
                location: self.plan.location.clone(),
            }])
            .unwrap();
            engine
                .restore(&chain, &device, &RestoreOptions::default(), &cx)
                .await
                .unwrap();
            assert_eq!(target.first_difference(&self.content), None);
        });
        stored(memory)
    }
}

fn stored(memory: &MemoryRepository) -> Vec<(String, Bytes)> {
    memory
        .objects()
        .into_iter()
        .map(|(name, _)| {
            let bytes = memory.object(&name).unwrap();
            (name, bytes)
        })
        .collect()
}

/// How a run goes.
struct Setting {
    /// Chunks that the memory budget holds at once, of all jobs.
    chunks_in_memory: u64,
    threads: usize,
    open_puts: bool,
    /// Whether one job may be cancelled at any moment.
    cancel: bool,
}

/// Backs all `subjects` up at once, everything in the order that `choices` say.
fn run(subjects: &[Subject], setting: &Setting, choices: &mut Choices) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut gates = Gates::default();
        if setting.open_puts {
            gates = gates.with_open_puts();
        }
        let cx = JobContext::new(setting.chunks_in_memory * 2 * CHUNK)
            .unwrap()
            .with_cpu(gates.cpu(setting.threads));
        let memories: Vec<_> = subjects.iter().map(|_| MemoryRepository::new()).collect();
        let contexts: Vec<_> = subjects
            .iter()
            .map(|_| cx.clone().with_cancel(backup_core::CancelToken::new()))
            .collect();
        let jobs: Vec<Job> = subjects
            .iter()
            .zip(&memories)
            .zip(&contexts)
            .map(|((subject, memory), cx)| {
                let repository = GatedRepository(memory.clone(), gates.clone());
                let device = GatedDevice(subject.content.clone(), gates.clone());
                let (plan, cx) = (subject.plan.clone(), cx.clone());
                Box::pin(async move {
                    let engine = ChunkedBackup::new(Arc::new(repository), config()).unwrap();
                    let source = Attachment::new(Arc::new(device) as Arc<dyn BlockDevice>);
                    engine.create(&plan, None, &source, &cx).await
                }) as Job
            })
            .collect();
        let mut all = Box::pin(futures::future::join_all(jobs));
        let mut cancelled = None;
        let results = loop {
            // Time stands still while anything can go on: this ends when all wait for the test.
            tokio::select! {
                biased;
                results = &mut all => break results,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            let waiting = gates.waiting();
            assert!(waiting > 0, "nothing can go on, and the backup is not done");
            if cancelled.is_some() {
                // What is in flight ends in the order in which it came.
                gates.open(0);
                continue;
            }
            let more = if setting.cancel { subjects.len() } else { 0 };
            match choices.choose(waiting + more) {
                choice if choice < waiting => gates.open(choice),
                choice => {
                    contexts[choice - waiting].cancel().cancel();
                    cancelled = Some(choice - waiting);
                }
            }
        };
        assert_eq!(gates.waiting(), 0, "nothing is left behind");
        assert_eq!(
            cx.memory().free(),
            cx.memory().total(),
            "all memory came back"
        );
        for (i, result) in results.into_iter().enumerate() {
            match result {
                Ok(_) => assert!(stored(&memories[i]) == subjects[i].expected, "other bytes"),
                Err(e) => {
                    assert!(e.is(ErrorKind::Cancelled) && cancelled == Some(i), "{e}");
                    assert!(memories[i].objects().is_empty());
                }
            }
        }
    });
}

fn explore(subjects: &[Subject], setting: &Setting, at_least: u64) {
    let runs = every_schedule(|choices| run(subjects, setting, choices));
    eprintln!("{runs} schedules");
    assert!(runs >= at_least, "{runs}");
}

#[test]
fn two_chunks_come_out_the_same_in_every_order_and_a_cancel_leaves_nothing() {
    let setting = Setting {
        chunks_in_memory: 2,
        threads: 2,
        open_puts: false,
        cancel: true,
    };
    explore(&[Subject::new(2, 1)], &setting, 500);
}

#[test]
fn three_chunks_come_out_the_same_in_every_order_of_reads_and_cpu_tasks() {
    let setting = Setting {
        chunks_in_memory: 3,
        threads: 1,
        open_puts: true,
        cancel: false,
    };
    explore(&[Subject::new(3, 2)], &setting, 500);
}

#[test]
fn three_chunks_in_the_memory_of_one_wait_for_each_other_and_never_for_ever() {
    let setting = Setting {
        chunks_in_memory: 1,
        threads: 2,
        open_puts: false,
        cancel: true,
    };
    explore(&[Subject::new(3, 3)], &setting, 10);
}

#[test]
fn two_backups_share_the_memory_of_one_chunk_in_every_order_and_a_cancel_frees_it() {
    let setting = Setting {
        chunks_in_memory: 1,
        threads: 2,
        open_puts: false,
        cancel: true,
    };
    explore(&[Subject::new(2, 4), Subject::new(2, 5)], &setting, 10);
}

#[test]
fn two_backups_share_the_memory_of_two_chunks_in_every_order() {
    let setting = Setting {
        chunks_in_memory: 2,
        threads: 2,
        open_puts: true,
        cancel: false,
    };
    explore(&[Subject::new(1, 6), Subject::new(2, 7)], &setting, 100);
}
