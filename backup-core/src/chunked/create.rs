//! Create: one loop that starts whatever can be started and then waits for whatever ends first.
//!
//! Units of the volume go read → hash and compare → (in order) number → MD5 → compress → put. Hashing finishes out of
//! order; objects are numbered in the order of their offsets, as Cinder does, so the units are put in order after it;
//! from there on everything may finish in any order again, and only the metadata's entries are put in order at last.
//!
//! MD5 runs over several objects side by side in vector lanes, so objects wait for each other there while the CPUs
//! have other work, and only then.
//!
//! Nothing here waits for a thing that waits for it: a unit takes all of the memory that it may need before it is
//! read, and holds it until its objects are stored.

mod commit;
mod order;
mod schedule;
mod stages;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::task::JoinSet;

use self::stages::{Compared, Comparison, Input, Pending, Stored, Taken};
use super::ChunkedBackup;
use super::hash_index::HashIndex;
use super::layer_index::LayerIndex;
use super::spool::Spool;
use super::writer::{Appearance, ObjectWriter};
use crate::attach::Attachment;
use crate::backup::{BackupPlan, Layer, Outcome};
use crate::buffer::Buf;
use crate::device::ChangePoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::hash_list::{self, HashListHead};
use crate::format::metadata::ObjectEntry;
use crate::job::{CancelToken, JobContext, Phase, Progress};
use crate::pipeline::{AuditSample, Unit, UnitKind, UnitPlanner};
use crate::range::ByteRange;

/// Whole chunks that are being read or wait for a CPU thread: enough to keep a disk busy. More would only be read to lie
/// in memory, and push what is being worked on out of the CPU's caches.
const READS: u64 = 4;

/// Reads in flight at once where they are short, as where a change source tells single blocks: each is mostly waiting.
const SHORT_READS: usize = 32;

/// After a unit that was not in memory, so many are read without looking for them there first.
const COLD_RUN: u32 = 16;

/// Units that may wait for an earlier one, and entries for an earlier object. Those of holes hold no memory of the
/// budget, so their number is bounded here.
const BACKLOG: usize = 2048;

pub(super) async fn create(
    engine: &ChunkedBackup,
    plan: &BackupPlan,
    parent: Option<&Layer>,
    source: &Attachment,
    cx: &JobContext,
) -> Result<Outcome> {
    let mut trusted = true;
    loop {
        let (result, numbered, caught) =
            match Creation::begin(engine, plan, parent, source, trusted, cx).await {
                Ok(mut creation) => {
                    let result = creation.run().await;
                    if result.is_err()
                        && let Err(e) = creation.hash_list.abort().await
                    {
                        cx.observer()
                            .warning(&format!("an unfinished upload could not be removed: {e}"));
                    }
                    (result, creation.objects, creation.caught)
                }
                Err(e) => (Err(e), 0, None),
            };
        if result.is_err() {
            // A job that was cancelled must still be able to clean up.
            let cleaning = cx.clone().with_cancel(CancelToken::new());
            let cleaned =
                super::delete::clean_up(&engine.repository, &plan.location, numbered, &cleaning)
                    .await;
            match (cleaned, caught) {
                (Ok(()), Some(caught)) if trusted => {
                    // A source that is gone reads as zeroes: that is not the change tracking's fault.
                    source.device.still_there().await?;
                    // Once more, and everything is read.
                    cx.observer().warning(&caught.text(&source.device.describe()));
                    trusted = false;
                    continue;
                }
                (Ok(()), _) => {}
                (Err(e), _) => cx.observer().warning(&format!(
                    "objects of the failed backup could not be removed and stay until it is deleted: {e}"
                )),
            }
        }
        return result;
    }
}

/// A block that the change source called unchanged, and that is another one.
#[derive(Debug, Clone, Copy)]
struct Caught(ByteRange);

impl Caught {
    fn text(self, device: &str) -> String {
        format!(
            "THE CHANGE TRACKING OF {device} IS WRONG: bytes {} changed and were told as unchanged. It is not believed: \
             the whole volume is read. Earlier incrementals of this volume may lack changes: verify cannot see that, \
             make a full backup, and report this to whoever runs the storage",
            self.0
        )
    }
}

enum Done {
    Read(ByteRange, Result<(Taken, Buf)>),
    Compared(u64, Result<Comparison>),
    Summed(Result<Vec<Pending>>),
    Compressed(Result<(u64, Stored)>),
    Put(Result<ByteRange>),
}

struct Creation<'a> {
    engine: &'a ChunkedBackup,
    plan: &'a BackupPlan,
    cx: &'a JobContext,
    source: &'a Attachment,
    units: UnitPlanner,
    parent: Option<(Layer, Arc<HashIndex>)>,
    change_point: Option<ChangePoint>,
    length: u64,

    tasks: JoinSet<Done>,
    reading: usize,
    reading_bytes: u64,
    computing: usize,
    putting: usize,

    next_unit: Option<(u64, Unit)>, // planned, waiting for memory
    units_planned: u64,
    units_ended: bool,
    cold: u32, // so many units more are read without looking for them in memory
    to_compare: VecDeque<(Taken, Input)>,
    compared: BTreeMap<u64, Compared>,
    next_compared: u64,

    zeroes: Option<ByteRange>, // a run that may go on
    objects: u64,              // numbered so far
    to_sum: VecDeque<Pending>,
    to_compress: VecDeque<Pending>,
    to_put: VecDeque<Stored>,

    caught: Option<Caught>,

    hash_list: ObjectWriter,
    hash_head: HashListHead,
    any_hash: bool,
    entries: BTreeMap<u64, ObjectEntry>, // by number, waiting for an earlier one
    entries_written: u64,
    spool: Spool,
    outcome: Outcome,
    progress: Progress,
}

impl<'a> Creation<'a> {
    async fn begin(
        engine: &'a ChunkedBackup,
        plan: &'a BackupPlan,
        parent: Option<&Layer>,
        source: &'a Attachment,
        trusted: bool, // what the change source says of the parent
        cx: &'a JobContext,
    ) -> Result<Self> {
        let config = &engine.config;
        let length = source.device.geometry().length;
        if length == 0 {
            return Err(
                Error::invalid("back up", "the volume has no bytes").on(source.device.describe())
            );
        }
        if config.chunk_memory() > cx.memory().total() {
            return Err(Error::invalid(
                "back up",
                format!(
                    "a chunk needs {} bytes and the memory budget is {}",
                    config.chunk_memory(),
                    cx.memory().total()
                ),
            )
            .hint("raise the setting `memory` or use a smaller chunk_size"));
        }
        let (parent, since) = match parent {
            Some(layer) => {
                let (index, since) = load_parent(engine, layer, cx).await?;
                (Some((layer.clone(), Arc::new(index))), since)
            }
            None => (None, None),
        };
        engine
            .repository
            .ensure_container(&plan.location.container)
            .await?;
        let change_point = match &source.changes {
            Some(changes) => Some(changes.mark(plan.id).await?),
            None => None,
        };
        let mut hash_list = ObjectWriter::new(
            Arc::clone(&engine.repository),
            plan.location.hash_list(),
            Appearance::Plain,
        );
        let hash_head = HashListHead {
            backup_id: plan.id,
            backup_name: plan.name.clone(),
            backup_description: plan.description.clone(),
            created_at: Some(plan.created_at),
            volume_id: plan.volume_id,
            block_size: config.block_size,
        };
        hash_list::write_head(hash_list.buffer(), &hash_head);
        Ok(Self {
            engine,
            plan,
            cx,
            source,
            units: UnitPlanner::new(
                source.clone(),
                since.filter(|_| trusted),
                AuditSample {
                    per_million: config.audit_per_million,
                    seed: plan.id.low_bits(),
                },
                config.chunk_size,
                config.block_size,
                config.join.zero_run,
            ),
            parent,
            change_point,
            length,
            tasks: JoinSet::new(),
            reading: 0,
            reading_bytes: 0,
            computing: 0,
            putting: 0,
            next_unit: None,
            units_planned: 0,
            units_ended: false,
            cold: 0,
            to_compare: VecDeque::new(),
            compared: BTreeMap::new(),
            next_compared: 0,
            zeroes: None,
            objects: 0,
            to_sum: VecDeque::new(),
            to_compress: VecDeque::new(),
            to_put: VecDeque::new(),
            caught: None,
            hash_list,
            hash_head,
            any_hash: false,
            entries: BTreeMap::new(),
            entries_written: 0,
            spool: Spool::new(),
            outcome: Outcome::new(length),
            progress: Progress::start(Phase::BackUp, length),
        })
    }

    async fn run(&mut self) -> Result<Outcome> {
        self.cx.observer().progress(&self.progress);
        let moved = self.transfer().await;
        if let Err(e) = moved {
            // What is in flight ends by itself; nothing new begins.
            self.to_compare.clear();
            self.compared.clear();
            self.to_sum.clear();
            self.to_compress.clear();
            self.to_put.clear();
            while self.tasks.join_next().await.is_some() {}
            return Err(e);
        }
        self.commit().await
    }

    /// Moves the volume's bytes; returns when all objects are stored, or at the first error with tasks in flight.
    async fn transfer(&mut self) -> Result<()> {
        loop {
            self.cx.cancel().check("back up")?;
            self.admit().await?;
            self.schedule();
            if self.tasks.is_empty() {
                if self.units_ended && self.next_unit.is_none() {
                    return Ok(());
                }
                // Only memory can be missing, and others hold it: wait for it in turn.
                self.wait_for_memory().await?;
                continue;
            }
            let cancel = self.cx.cancel();
            let done = tokio::select! {
                done = self.tasks.join_next() => done,
                () = cancel.cancelled() => continue,
            };
            match done {
                Some(Ok(done)) => self.take(done).await?,
                Some(Err(e)) => return Err(Error::internal("back up", e.to_string())),
                None => {}
            }
        }
    }

    /// Starts reading units while memory and the bounds allow.
    async fn admit(&mut self) -> Result<()> {
        loop {
            let enough = self.engine.config.chunk_size.saturating_mul(READS);
            let waiting: u64 = self.to_compare.iter().map(|(t, _)| t.range.len()).sum();
            if self.reading + self.to_compare.len() >= SHORT_READS
                || self.reading_bytes.saturating_add(waiting) >= enough
                || self.compared.len() >= BACKLOG
                || self.entries.len() >= BACKLOG
                || self.to_compress.len() >= BACKLOG
            {
                return Ok(());
            }
            let (number, unit) = match self.next_unit.take() {
                Some(next) => next,
                None if self.units_ended => return Ok(()),
                None => {
                    let next = self.units.next().await?;
                    if let Some(lost) = self.units.take_lost() {
                        self.cx.observer().warning(&format!(
                            "what changed since the parent cannot be told, so the volume is read: {lost}"
                        ));
                    }
                    let Some(unit) = next else {
                        self.units_ended = true;
                        self.drain_compared().await?;
                        return Ok(());
                    };
                    self.units_planned += 1;
                    (self.units_planned - 1, unit)
                }
            };
            if matches!(unit.kind, UnitKind::Read | UnitKind::Audit) {
                let Some(permit) = self.cx.memory().try_acquire(unit.range.len() * 2)? else {
                    self.next_unit = Some((number, unit));
                    return Ok(());
                };
                self.take_on(number, unit, permit);
            } else {
                let compared = self.compare_unread(unit)?;
                self.compared.insert(number, compared);
                self.drain_compared().await?;
            }
        }
    }

    async fn wait_for_memory(&mut self) -> Result<()> {
        if let Some((number, unit)) = self.next_unit.take() {
            let cancel = self.cx.cancel();
            let permit = tokio::select! {
                permit = self.cx.memory().acquire(unit.range.len() * 2) => permit?,
                () = cancel.cancelled() => return Err(Error::cancelled("back up")),
            };
            self.take_on(number, unit, permit);
        }
        Ok(())
    }

    /// Takes a task's result on to the next stage.
    async fn take(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Read(range, read) => {
                self.reading -= 1;
                self.reading_bytes = self.reading_bytes.saturating_sub(range.len());
                let (taken, buffer) = read?;
                self.to_compare.push_back((taken, Input::Read(buffer)));
            }
            Done::Compared(number, comparison) => {
                self.computing -= 1;
                let compared = match comparison? {
                    Comparison::Done(compared) => compared,
                    Comparison::Cold(taken) => {
                        self.go_cold(taken);
                        return Ok(());
                    }
                };
                if compared.audit {
                    self.outcome.audited_bytes += compared.range.len();
                } else {
                    self.outcome.read_bytes += compared.range.len();
                }
                self.progress.transferred = self.outcome.read_bytes + self.outcome.audited_bytes;
                if compared.audit && !compared.pieces.is_empty() {
                    self.caught = Some(Caught(compared.range));
                    return Err(Error::new(ErrorKind::Corrupt, "audit the change tracking")
                        .on(compared.range)
                        .because("this range changed and was told as unchanged"));
                }
                self.compared.insert(number, compared);
                self.drain_compared().await?;
            }
            Done::Summed(batch) => {
                self.computing -= 1;
                self.to_compress.extend(batch?);
            }
            Done::Compressed(stored) => {
                self.computing -= 1;
                let (number, stored) = stored?;
                self.outcome.stored_bytes += stored.bytes.len() as u64;
                self.entries.insert(number, stored.entry.clone());
                self.write_entries()?;
                self.to_put.push_back(stored);
            }
            Done::Put(range) => {
                self.putting = self.putting.saturating_sub(1);
                self.progress.objects += 1;
                self.advance(range?.len());
            }
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64) {
        // Joined runs count unchanged blocks twice.
        self.progress.done = (self.progress.done + bytes).min(self.length);
        self.cx.observer().progress(&self.progress);
    }
}

/// Reads what an incremental needs of its parent.
async fn load_parent(
    engine: &ChunkedBackup,
    parent: &Layer,
    cx: &JobContext,
) -> Result<(HashIndex, Option<ChangePoint>)> {
    const HINT: &str = "make a full backup";
    let (metadata, hashes) = tokio::join!(
        LayerIndex::load_metadata(&engine.repository, parent, cx),
        HashIndex::read(&engine.repository, parent, cx),
    );
    let (sha256, since) = metadata
        .map_err(|e| e.hint(HINT))?
        .ashlar
        .map_or((None, None), |a| (a.hash_list_sha256, a.change_point));
    let index = hashes
        .and_then(|hashes| hashes.check(sha256))
        .map_err(|e| {
            if e.is(ErrorKind::NotFound) {
                Error::new(ErrorKind::Conflict, "back up incrementally")
                    .on(parent.location.hash_list())
                    .because("the parent's hash list is missing")
                    .hint(HINT)
            } else {
                e.hint(HINT)
            }
        })?;
    if index.block_size() != engine.config.block_size {
        return Err(Error::new(ErrorKind::Conflict, "back up incrementally")
            .on(parent.id)
            .because(format!(
                "the parent was made with blocks of {} bytes, and hash_block_size is {}",
                index.block_size(),
                engine.config.block_size
            ))
            .hint("make a full backup, or set hash_block_size back"));
    }
    Ok((index, since))
}
