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

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::ChunkedBackup;
use super::hash_index::HashIndex;
use super::layer_index::LayerIndex;
use super::spool::Spool;
use super::writer::{Appearance, ObjectWriter};
use crate::attach::Attachment;
use crate::backup::{BackupPlan, Layer, Outcome};
use crate::buffer::Buf;
use crate::compress::Algorithm;
use crate::diff::{BlockHash, BlockState, JoinRules, Piece, PieceKind, pieces};
use crate::error::{Error, ErrorKind, Result};
use crate::format::hash_list::{self, HashListHead};
use crate::format::metadata::{self, AshlarKey, Metadata, ObjectEntry};
use crate::id::ObjectKey;
use crate::job::{JobContext, MemoryPermit, Phase, Progress};
use crate::pipeline::{Unit, UnitKind, UnitPlanner};
use crate::range::ByteRange;
use crate::repository::{PutMode, Repository};

/// Reads in flight at once: enough to keep a disk busy, and to have chunks at hand for the CPUs.
const READS: usize = 4;

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
    let result = match Creation::begin(engine, plan, parent, source, cx).await {
        Ok(mut creation) => {
            let result = creation.run().await;
            if result.is_err()
                && let Err(e) = creation.hash_list.abort().await
            {
                cx.observer()
                    .warning(&format!("an unfinished upload could not be removed: {e}"));
            }
            result
        }
        Err(e) => Err(e),
    };
    if result.is_err() {
        // A job that was cancelled must still be able to clean up.
        let cleaning = cx.clone().with_cancel(crate::job::CancelToken::new());
        if let Err(e) = super::delete::delete(&engine.repository, &plan.location, &cleaning).await {
            cx.observer().warning(&format!(
                "objects of the failed backup could not be removed and stay until it is deleted: {e}"
            ));
        }
    }
    result
}

/// A unit's bytes with the memory that they are accounted under; both go when the last slice does.
struct Accounted {
    buffer: Buf,
    _permit: MemoryPermit,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// A unit that was read.
struct ReadUnit {
    unit: u64,
    range: ByteRange,
    bytes: Bytes,
    output: MemoryPermit, // for the compressed form
}

/// A unit that is hashed and compared.
struct Compared {
    range: ByteRange,
    hashes: Hashes,
    pieces: Vec<Piece>,
    bytes: Option<(Bytes, MemoryPermit)>,
}

enum Hashes {
    Each(Vec<BlockHash>),
    Zeroes,
}

/// An object with a number, on its way to the repository.
struct Pending {
    number: u64,
    range: ByteRange,
    content: Content,
}

enum Content {
    Zeroes,
    Data {
        bytes: Bytes,
        output: Option<MemoryPermit>,
        md5: [u8; 16],
    },
}

/// An object ready to be stored.
struct Stored {
    range: ByteRange,
    entry: ObjectEntry,
    bytes: Bytes,
    _permit: Option<MemoryPermit>,
}

enum Done {
    Read(Result<ReadUnit>),
    Compared(u64, Result<Compared>),
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
    change_point: Option<crate::device::ChangePoint>,
    length: u64,

    tasks: JoinSet<Done>,
    reading: usize,
    computing: usize,
    putting: usize,

    next_unit: Option<(u64, Unit)>, // planned, waiting for memory
    units_planned: u64,
    units_ended: bool,
    to_compare: VecDeque<ReadUnit>,
    compared: BTreeMap<u64, Compared>,
    next_compared: u64,

    zeroes: Option<ByteRange>, // a run that may go on
    objects: u64,              // numbered so far
    to_sum: VecDeque<Pending>,
    to_compress: VecDeque<Pending>,
    to_put: VecDeque<Stored>,

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
                since,
                config.chunk_size,
                config.block_size,
                config.join.zero_run,
            ),
            parent,
            change_point,
            length,
            tasks: JoinSet::new(),
            reading: 0,
            computing: 0,
            putting: 0,
            next_unit: None,
            units_planned: 0,
            units_ended: false,
            to_compare: VecDeque::new(),
            compared: BTreeMap::new(),
            next_compared: 0,
            zeroes: None,
            objects: 0,
            to_sum: VecDeque::new(),
            to_compress: VecDeque::new(),
            to_put: VecDeque::new(),
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
            if self.reading >= READS
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
                    let Some(unit) = self.units.next().await? else {
                        self.units_ended = true;
                        self.drain_compared().await?;
                        return Ok(());
                    };
                    self.units_planned += 1;
                    (self.units_planned - 1, unit)
                }
            };
            if unit.kind == UnitKind::Read {
                let Some(permit) = self.cx.memory().try_acquire(unit.range.len() * 2)? else {
                    self.next_unit = Some((number, unit));
                    return Ok(());
                };
                self.start_read(number, unit.range, permit);
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
            self.start_read(number, unit.range, permit);
        }
        Ok(())
    }

    fn start_read(&mut self, unit: u64, range: ByteRange, mut permit: MemoryPermit) {
        let device = Arc::clone(&self.source.device);
        let buffers = self.cx.buffers().clone();
        self.reading += 1;
        self.tasks.spawn(async move {
            let read = async {
                let length = usize::try_from(range.len())
                    .map_err(|_| Error::internal("read volume", "unit too long for memory"))?;
                let (buffer, result) = device.read(range.start(), buffers.take(length)).await;
                result?;
                let input = permit
                    .split(range.len())
                    .ok_or_else(|| Error::internal("read volume", "memory was not acquired"))?;
                Ok(ReadUnit {
                    unit,
                    range,
                    bytes: Bytes::from_owner(Accounted {
                        buffer,
                        _permit: input,
                    }),
                    output: permit,
                })
            };
            Done::Read(read.await)
        });
    }

    /// The parent's hashes for `range`.
    fn parent_hashes(&self, range: ByteRange) -> Result<Option<Vec<BlockHash>>> {
        let block = self.engine.config.block_size;
        self.parent
            .as_ref()
            .map(|(_, index)| index.hashes(range.start() / block, range.len().div_ceil(block)))
            .transpose()
    }

    /// Compares a unit that need not be read.
    fn compare_unread(&self, unit: Unit) -> Result<Compared> {
        let block = self.engine.config.block_size;
        let range = unit.range;
        let parent = self.parent_hashes(range)?;
        if unit.kind == UnitKind::Unchanged {
            let hashes = parent
                .filter(|p| p.len() as u64 == range.len().div_ceil(block))
                .ok_or_else(|| {
                    Error::internal(
                        "compare",
                        format!("bytes {range} are told as unchanged and the parent has no hashes of them"),
                    )
                })?;
            return Ok(Compared {
                range,
                hashes: Hashes::Each(hashes),
                pieces: Vec::new(),
                bytes: None,
            });
        }
        let pieces = match parent {
            None => vec![Piece {
                range,
                kind: PieceKind::Zero,
            }],
            Some(parent) => {
                let states = zero_states(&self.engine.hasher, range, block, &parent);
                pieces(range, block, &states, self.engine.config.join)
            }
        };
        Ok(Compared {
            range,
            hashes: Hashes::Zeroes,
            pieces,
            bytes: None,
        })
    }

    /// Starts CPU work and puts, the later stages first, since they give memory back.
    fn schedule(&mut self) {
        while self.putting
            < self
                .cx
                .requests()
                .min(self.engine.repository.limits().requests)
        {
            let Some(stored) = self.to_put.pop_front() else {
                break;
            };
            self.start_put(stored);
        }
        let threads = self.cx.cpu().threads();
        let lanes = md5_lanes::lanes().min(8);
        // One task more than threads, so that none waits for this loop.
        while self.computing <= threads && self.to_put.len() < BACKLOG {
            if let Some(pending) = self.to_compress.pop_front() {
                self.start_compress(pending);
            } else if self.to_sum.len() >= lanes
                || (self.to_compare.is_empty() && self.may_sum_few())
            {
                let count = self.to_sum.len().min(2 * lanes);
                let batch: Vec<_> = self.to_sum.drain(..count).collect();
                self.start_sum(batch);
            } else if let Some(read) = self.to_compare.pop_front() {
                self.start_compare(read);
            } else {
                break;
            }
        }
    }

    /// Whether a batch of few objects is better than waiting for more: a CPU would be idle.
    fn may_sum_few(&self) -> bool {
        !self.to_sum.is_empty() && self.computing < self.cx.cpu().threads()
    }

    fn start_compare(&mut self, read: ReadUnit) {
        let hasher = self.engine.hasher.clone();
        let cancel = self.cx.cancel().clone();
        let join = self.engine.config.join;
        let parent = self.parent_hashes(read.range);
        let number = read.unit;
        self.compute(move || {
            Done::Compared(
                number,
                parent.and_then(|p| compare(&hasher, read, p.as_deref(), join, &cancel)),
            )
        });
    }

    fn start_sum(&mut self, batch: Vec<Pending>) {
        let cancel = self.cx.cancel().clone();
        self.compute(move || Done::Summed(sum(batch, &cancel)));
    }

    fn start_compress(&mut self, pending: Pending) {
        let config = Arc::clone(&self.engine.config);
        let zeroes = Arc::clone(&self.engine.zeroes);
        let cx = self.cx.clone();
        let name = self.plan.location.prefix.data_object(pending.number);
        self.compute(move || {
            let number = pending.number;
            let stored = match pending.content {
                Content::Zeroes => store_zeroes(&zeroes, name, pending.range),
                Content::Data { bytes, output, md5 } => compress(
                    &*config.compressor,
                    name,
                    pending.range,
                    &bytes,
                    output,
                    md5,
                    &cx,
                ),
            };
            Done::Compressed(stored.map(|stored| (number, stored)))
        });
    }

    fn compute(&mut self, work: impl FnOnce() -> Done + Send + 'static) {
        self.computing += 1;
        let result = self.cx.cpu().run(work);
        self.tasks
            .spawn(async move { result.await.unwrap_or_else(|e| Done::Put(Err(e))) });
    }

    fn start_put(&mut self, stored: Stored) {
        self.putting += 1;
        let repository = Arc::clone(&self.engine.repository);
        let key = ObjectKey::new(&self.plan.location.container, stored.entry.name.clone());
        self.tasks.spawn(async move {
            let put = async {
                store(&*repository, &key?, stored.bytes.clone()).await?;
                Ok(stored.range)
            };
            Done::Put(put.await)
        });
    }

    /// Takes a task's result on to the next stage.
    async fn take(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Read(read) => {
                self.reading -= 1;
                let read = read?;
                self.outcome.read_bytes += read.range.len();
                self.progress.transferred = self.outcome.read_bytes;
                self.to_compare.push_back(read);
            }
            Done::Compared(number, compared) => {
                self.computing -= 1;
                self.compared.insert(number, compared?);
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

    /// Takes units in the order of the volume: writes their hashes, numbers their objects.
    async fn drain_compared(&mut self) -> Result<()> {
        while let Some(compared) = self.compared.remove(&self.next_compared) {
            self.next_compared += 1;
            self.write_hashes(&compared).await?;
            let covered: u64 = compared.pieces.iter().map(|p| p.range.len()).sum();
            self.outcome.covered_bytes += covered;
            self.advance(compared.range.len() - covered);
            let mut bytes = compared.bytes;
            for piece in compared.pieces {
                match (piece.kind, &mut bytes) {
                    (PieceKind::Zero, _) => self.add_zeroes(piece.range),
                    (PieceKind::Data, Some((unit, output))) => {
                        self.end_zeroes();
                        let from = usize::try_from(piece.range.start() - compared.range.start());
                        let length = usize::try_from(piece.range.len());
                        let (Ok(from), Ok(length)) = (from, length) else {
                            return Err(Error::internal("cut piece", "too long for memory"));
                        };
                        self.objects += 1;
                        self.to_sum.push_back(Pending {
                            number: self.objects,
                            range: piece.range,
                            content: Content::Data {
                                bytes: unit.slice(from..from + length),
                                output: output.split(piece.range.len()),
                                md5: [0; 16],
                            },
                        });
                    }
                    (PieceKind::Data, None) => {
                        return Err(Error::internal(
                            "cut piece",
                            "data of a unit that was not read",
                        ));
                    }
                }
            }
        }
        if self.units_ended && self.next_compared == self.units_planned {
            self.end_zeroes();
        }
        Ok(())
    }

    async fn write_hashes(&mut self, compared: &Compared) -> Result<()> {
        match &compared.hashes {
            Hashes::Each(hashes) => {
                hash_list::write_hashes(self.hash_list.buffer(), !self.any_hash, hashes);
                self.any_hash = true;
                self.hash_list.flush_parts().await
            }
            Hashes::Zeroes => {
                let hasher = &self.engine.hasher;
                let whole = hasher.zeroes(hasher.block_size());
                for part in compared.range.pieces(self.engine.config.block_size) {
                    let hash = match usize::try_from(part.len()) {
                        Ok(n) if n != hasher.block_size() => hasher.zeroes(n),
                        _ => whole,
                    };
                    hash_list::write_hash(self.hash_list.buffer(), !self.any_hash, &hash);
                    self.any_hash = true;
                    self.hash_list.flush_parts().await?;
                }
                Ok(())
            }
        }
    }

    /// Goes on with a run of zeroes, or begins one; a run that is long enough becomes an object.
    fn add_zeroes(&mut self, range: ByteRange) {
        let joined = match self.zeroes {
            Some(run) if run.end() == range.start() => ByteRange::new(run.start(), range.end()),
            _ => None,
        };
        if joined.is_none() {
            self.end_zeroes();
        }
        let mut run = joined.unwrap_or(range);
        while run.len() >= self.engine.config.zero_object {
            let (head, tail) = run.split_at(run.start() + self.engine.config.zero_object);
            self.push_zeroes(head);
            run = tail;
        }
        self.zeroes = (!run.is_empty()).then_some(run);
    }

    fn end_zeroes(&mut self) {
        if let Some(run) = self.zeroes.take() {
            self.push_zeroes(run);
        }
    }

    fn push_zeroes(&mut self, range: ByteRange) {
        self.objects += 1;
        self.to_compress.push_back(Pending {
            number: self.objects,
            range,
            content: Content::Zeroes,
        });
    }

    fn write_entries(&mut self) -> Result<()> {
        let mut text = Vec::new();
        while let Some(entry) = self.entries.remove(&(self.entries_written + 1)) {
            metadata::write_entry(&mut text, self.entries_written == 0, &entry);
            self.entries_written += 1;
        }
        self.spool.append(&text)
    }

    /// Completes the hash list, makes everything durable, then writes the metadata: the commit point.
    async fn commit(&mut self) -> Result<Outcome> {
        if self.entries_written != self.objects || self.next_compared != self.units_planned {
            return Err(Error::internal("back up", "not all objects were stored"));
        }
        let repository = &self.engine.repository;
        hash_list::write_tail(self.hash_list.buffer(), &self.hash_head, self.any_hash);
        let sha256 = self.hash_list.complete().await?;
        self.progress.phase = Phase::Sync;
        self.cx.observer().progress(&self.progress);
        repository.barrier(&self.plan.location.container).await?;
        // The last moment at which a cancel leaves nothing behind.
        self.cx.cancel().check("back up")?;

        self.outcome.object_count = self.objects;
        self.outcome.change_point.clone_from(&self.change_point);
        let metadata = self.metadata(sha256);
        let mut writer = ObjectWriter::new(
            Arc::clone(repository),
            self.plan.location.metadata(),
            Appearance::Atomic,
        );
        let written = async {
            metadata::write_head(writer.buffer(), &metadata);
            let mut at = 0;
            while at < self.spool.len() {
                let n = (self.spool.len() - at).min(1 << 20);
                let mut part = vec![0; usize::try_from(n).unwrap_or(0)];
                self.spool.read(at, &mut part)?;
                writer.buffer().extend_from_slice(&part);
                writer.flush_parts().await?;
                at += n;
            }
            metadata::write_tail(writer.buffer(), &metadata, self.objects > 0);
            writer.complete().await
        }
        .await;
        if let Err(e) = written {
            if let Err(abort) = writer.abort().await {
                self.cx.observer().warning(&format!(
                    "an unfinished upload could not be removed: {abort}"
                ));
            }
            return Err(e);
        }
        self.outcome.index_bytes = self.hash_list.sent() + writer.sent();
        self.progress.done = self.length;
        self.cx.observer().progress(&self.progress);
        Ok(self.outcome.clone())
    }

    fn metadata(&self, hash_list_sha256: [u8; 32]) -> Metadata {
        let plan = self.plan;
        let mut ashlar = AshlarKey::new();
        ashlar.volume_length = Some(self.length);
        ashlar.block_size = Some(self.engine.config.block_size);
        ashlar.snapshot_id = plan.snapshot_id;
        ashlar.data_timestamp = Some(plan.data_timestamp);
        ashlar.project_id = Some(plan.project_id.clone());
        ashlar.user_id = Some(plan.user_id.clone());
        ashlar.encryption_key_id.clone_from(&plan.encryption_key_id);
        ashlar.container = Some(plan.location.container.clone());
        ashlar.prefix = Some(plan.location.prefix.clone());
        ashlar.change_point.clone_from(&self.change_point);
        ashlar.hash_list_sha256 = Some(hash_list_sha256);
        ashlar.object_count = Some(self.objects);
        ashlar.stored_bytes = Some(self.outcome.stored_bytes);
        ashlar.properties = plan.properties.clone();
        Metadata {
            backup_id: plan.id,
            volume_id: plan.volume_id,
            backup_name: plan.name.clone(),
            backup_description: plan.description.clone(),
            created_at: Some(plan.created_at),
            parent_id: self.parent.as_ref().map(|(layer, _)| layer.id),
            volume_meta: plan.volume_metadata.clone(),
            ashlar: Some(ashlar),
        }
    }
}

/// Reads what an incremental needs of its parent.
async fn load_parent(
    engine: &ChunkedBackup,
    parent: &Layer,
    cx: &JobContext,
) -> Result<(HashIndex, Option<crate::device::ChangePoint>)> {
    const HINT: &str = "make a full backup";
    let metadata = LayerIndex::load_metadata(&engine.repository, parent, cx)
        .await
        .map_err(|e| e.hint(HINT))?;
    let (sha256, since) = metadata
        .ashlar
        .map_or((None, None), |a| (a.hash_list_sha256, a.change_point));
    let index = HashIndex::load(&engine.repository, parent, sha256, cx)
        .await
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

/// States of the blocks of a range of zeroes.
fn zero_states(
    hasher: &crate::diff::BlockHasher,
    range: ByteRange,
    block: u64,
    parent: &[BlockHash],
) -> Vec<BlockState> {
    let whole = hasher.zeroes(hasher.block_size());
    range
        .pieces(block)
        .enumerate()
        .map(|(i, part)| {
            let hash = match usize::try_from(part.len()) {
                Ok(n) if n != hasher.block_size() => hasher.zeroes(n),
                _ => whole,
            };
            if parent.get(i) == Some(&hash) {
                BlockState::Same
            } else {
                BlockState::Zero
            }
        })
        .collect()
}

/// CPU stage: hashes a unit's blocks and compares them with the parent's.
fn compare(
    hasher: &crate::diff::BlockHasher,
    read: ReadUnit,
    parent: Option<&[BlockHash]>,
    join: JoinRules,
    cancel: &crate::job::CancelToken,
) -> Result<Compared> {
    let blocks = hasher.blocks(&read.bytes, cancel)?;
    let states: Vec<_> = blocks
        .iter()
        .enumerate()
        .map(|(i, (hash, zero))| match parent.and_then(|p| p.get(i)) {
            Some(old) if old == hash => BlockState::Same,
            _ if *zero => BlockState::Zero,
            _ => BlockState::Data,
        })
        .collect();
    let pieces = pieces(read.range, hasher.block_size() as u64, &states, join);
    let keep = pieces.iter().any(|p| p.kind == PieceKind::Data);
    Ok(Compared {
        range: read.range,
        hashes: Hashes::Each(blocks.into_iter().map(|(hash, _)| hash).collect()),
        pieces,
        bytes: keep.then_some((read.bytes, read.output)),
    })
}

/// CPU stage: MD5 of several objects side by side.
fn sum(mut batch: Vec<Pending>, cancel: &crate::job::CancelToken) -> Result<Vec<Pending>> {
    let messages: Vec<&[u8]> = batch
        .iter()
        .map(|p| match &p.content {
            Content::Data { bytes, .. } => &bytes[..],
            Content::Zeroes => &[],
        })
        .collect();
    let digests = md5_lanes::md5_many_while(&messages, &|| !cancel.is_cancelled())
        .ok_or_else(|| Error::cancelled("back up"))?;
    for (pending, digest) in batch.iter_mut().zip(digests) {
        if let Content::Data { md5, .. } = &mut pending.content {
            *md5 = digest;
        }
    }
    Ok(batch)
}

fn entry(
    name: String,
    range: ByteRange,
    md5: [u8; 16],
    compression: Algorithm,
    stored: usize,
) -> ObjectEntry {
    ObjectEntry {
        name,
        offset: range.start(),
        length: range.len(),
        md5: Some(md5),
        compression,
        stored_length: Some(stored as u64),
        zero: false,
    }
}

/// CPU stage: an object of zeroes.
fn store_zeroes(
    zeroes: &crate::pipeline::ZeroStreams,
    name: String,
    range: ByteRange,
) -> Result<Stored> {
    let object = zeroes.object(range.len())?;
    // A few zeroes are shorter than a stream that says so.
    let (algorithm, stored) = if (object.stored.len() as u64) < range.len() {
        (Algorithm::Zlib, object.stored)
    } else {
        let length = usize::try_from(range.len()).unwrap_or(0);
        (Algorithm::None, Bytes::from(vec![0; length]))
    };
    let mut entry = entry(name, range, object.md5, algorithm, stored.len());
    entry.zero = true;
    Ok(Stored {
        range,
        entry,
        bytes: stored,
        _permit: None,
    })
}

/// CPU stage: compresses an object; one that does not shrink is stored as it is.
fn compress(
    compressor: &dyn crate::compress::Compressor,
    name: String,
    range: ByteRange,
    bytes: &Bytes,
    mut output: Option<MemoryPermit>,
    md5: [u8; 16],
    cx: &JobContext,
) -> Result<Stored> {
    let shrunk = if compressor.algorithm() == Algorithm::None {
        None
    } else {
        let mut out = cx.buffers().take(bytes.len().saturating_sub(1));
        // Copied out, so that the large buffer goes back to the pool at once.
        compressor
            .compress(bytes, &mut out, cx.cancel())?
            .map(|n| Bytes::copy_from_slice(&out[..n]))
    };
    let (algorithm, stored) = match shrunk {
        Some(stored) => (compressor.algorithm(), stored),
        None => (Algorithm::None, bytes.clone()),
    };
    if let Some(permit) = &mut output {
        // Stored as it is, the object holds its input's memory.
        permit.shrink_to(if algorithm == Algorithm::None {
            0
        } else {
            stored.len() as u64
        });
    }
    Ok(Stored {
        range,
        entry: entry(name, range, md5, algorithm, stored.len()),
        bytes: stored,
        _permit: output,
    })
}

/// Stores an object by a put, or in parts where it is too large for one.
async fn store(repository: &dyn Repository, key: &ObjectKey, bytes: Bytes) -> Result<()> {
    const PART: usize = 16 << 20;
    if bytes.len() as u64 <= repository.limits().max_put {
        return repository.put(key, bytes, PutMode::Overwrite).await;
    }
    let mut upload = repository.begin(key, Some(bytes.len() as u64)).await?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let part = rest.split_to(rest.len().min(PART));
        if let Err(e) = upload.part(part).await {
            // The first error tells more; a leftover is cleared by the repository's own clean-up.
            let _ = upload.abort().await;
            return Err(e);
        }
    }
    upload.complete().await
}
