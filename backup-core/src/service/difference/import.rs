//! A volume made of difference files.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use super::super::show::require_admin;
use super::super::volume::MadeVolume;
use super::super::{BackupService, Caller};
use super::writes::Writes;
use super::{PIECE, aside};
use crate::attach::AttachSource;
use crate::error::{Error, Result};
use crate::format::rbd_diff::{DiffHead, DiffReader, DiffRecord};
use crate::id::BackupId;
use crate::job::{JobContext, Phase, Progress};
use crate::range::ByteRange;
use crate::volume::VolumeRecord;

const IMPORT: &str = "import differences";

/// Steps, and bytes of data in them, that are read from a file at once.
const STEPS: usize = 1024;
const BATCH: u64 = 8 << 20;

/// A difference file to be imported.
pub struct DiffInput {
    /// What it is called in messages.
    pub name: String,
    /// Its bytes.
    pub content: DiffContent,
    /// What its SHA-256 must be, where that is known.
    pub sha256: Option<[u8; 32]>,
}

/// The bytes of a difference file.
pub enum DiffContent {
    /// They come once, as from a pipe. It stays open from the beginning on.
    Stream(Open),
    /// This opens it at its beginning. It is called twice, so that not all files of a long chain are open at once: first
    /// for what the file is between, then to apply it.
    File(Box<dyn FnMut() -> io::Result<Open> + Send>),
}

/// An open file.
type Open = Box<dyn Read + Send>;

impl fmt::Debug for DiffInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiffInput")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl BackupService {
    /// Makes a volume of difference files, oldest first: the first one stands on nothing, each other one on the one before
    /// it. Where a file has a checksum, it is compared; after an error, or a cancel, there is no volume.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where the files do not follow each other;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for one that was cut or whose checksum is another. For an administrator only.
    pub async fn import_differences(
        &self,
        caller: &Caller,
        name: String,
        files: Vec<DiffInput>,
        cx: &JobContext,
    ) -> Result<VolumeRecord> {
        require_admin(caller, IMPORT)?;
        let files = aside(move || {
            let files = files.into_iter().map(Known::look);
            files.collect::<Result<Vec<_>>>()
        })
        .await?;
        let length = follow_each_other(&files)?;
        let made = self
            .make_for_restore(caller, name, length, cx.now())
            .await?;
        match self.fill(&made, files, length, cx).await {
            Ok(()) => self
                .catalog
                .finish_create_volume(made.record.id, made.job, &made.end(), cx.now())
                .await?
                .ok_or_else(|| Error::internal(IMPORT, "a volume made and gone")),
            Err(e) => {
                let id = made.record.id;
                if let Err(left) = self.unmake_volume(made, cx.now()).await {
                    cx.observer()
                        .warning(&format!("new volume {id} could not be removed: {left}"));
                }
                Err(e)
            }
        }
    }

    async fn fill(
        &self,
        made: &MadeVolume,
        files: Vec<Known>,
        length: u64,
        cx: &JobContext,
    ) -> Result<()> {
        let source = AttachSource::Target(made.record.reference());
        let attach = self.volumes.plan(&source, BackupId::generate()).await?;
        let filled = async {
            let attachment = self.volumes.execute(&attach).await?;
            let mut writes = Writes::onto(Arc::clone(&attachment.device));
            let mut applied = Ok(0);
            for file in files {
                if let Ok(before) = applied {
                    applied = apply(file, &mut writes, before, length, cx).await;
                }
            }
            // Whatever came of it: nothing may be under way when the device goes.
            let written = writes.end().await;
            applied.and(written)?;
            attachment.device.flush().await
        }
        .await;
        let undone = self.volumes.undo(&attach).await;
        filled.and(undone)
    }
}

/// A file whose head was looked at.
struct Known {
    name: String,
    head: DiffHead,
    sha256: Option<[u8; 32]>,
    content: KnownContent,
}

enum KnownContent {
    Begun(DiffReader<Open>),
    File(Box<dyn FnMut() -> io::Result<Open> + Send>),
}

impl Known {
    /// Blocks.
    fn look(input: DiffInput) -> Result<Self> {
        let (name, sha256) = (input.name, input.sha256);
        let (head, content) = match input.content {
            DiffContent::Stream(bytes) => {
                let reader = DiffReader::new(bytes).map_err(|e| e.on(&name))?;
                (reader.head().clone(), KnownContent::Begun(reader))
            }
            DiffContent::File(mut open) => {
                let head = begin(&name, &mut open)?.head().clone();
                (head, KnownContent::File(open))
            }
        };
        Ok(Self {
            name,
            head,
            sha256,
            content,
        })
    }
}

fn begin(name: &str, open: &mut dyn FnMut() -> io::Result<Open>) -> Result<DiffReader<Open>> {
    let content = open().map_err(|e| Error::io(IMPORT, name, e))?;
    DiffReader::new(content).map_err(|e| e.on(name))
}

/// A file that is being read.
struct Feed {
    name: String,
    sha256: Option<[u8; 32]>,
    reader: DiffReader<Open>,
    /// Of a record whose data is being read: where the next bytes belong.
    data: ByteRange,
}

/// What a file says next.
enum Step {
    Data(u64, Bytes),
    Zero(ByteRange),
    End,
}

impl Feed {
    /// Opens it again where it is not open. Blocks.
    fn begin(file: Known) -> Result<Self> {
        let reader = match file.content {
            KnownContent::Begun(reader) => reader,
            KnownContent::File(mut open) => begin(&file.name, &mut open)?,
        };
        if *reader.head() != file.head {
            return Err(Error::corrupt(
                IMPORT,
                &file.name,
                "it is another file than a moment ago",
            ));
        }
        Ok(Self {
            name: file.name,
            sha256: file.sha256,
            reader,
            data: ByteRange::up_to(0),
        })
    }

    /// Some steps: so many that a hand-over to another thread is worth it, so few that they are no burden to memory.
    /// Blocks.
    fn steps(&mut self) -> Result<Vec<Step>> {
        let (mut steps, mut bytes) = (Vec::new(), 0);
        while steps.len() < STEPS && bytes < BATCH {
            let step = self.step()?;
            let is_end = matches!(step, Step::End);
            if let Step::Data(_, data) = &step {
                bytes += data.len() as u64;
            }
            steps.push(step);
            if is_end {
                break;
            }
        }
        Ok(steps)
    }

    /// Blocks.
    fn step(&mut self) -> Result<Step> {
        if self.data.is_empty() {
            match self.reader.next_record().map_err(|e| e.on(&self.name))? {
                None => return Ok(Step::End),
                Some(DiffRecord::Zero(range)) => return Ok(Step::Zero(range)),
                Some(DiffRecord::Data(range)) => self.data = range,
            }
        }
        let end = self.data.start().saturating_add(PIECE);
        let (piece, rest) = self.data.split_at(end);
        self.data = rest;
        let mut bytes = vec![0; usize::try_from(piece.len()).unwrap_or(0)];
        self.reader.data(&mut bytes).map_err(|e| e.on(&self.name))?;
        Ok(Step::Data(piece.start(), bytes.into()))
    }

    /// Behind the end: nothing else may be there, and the checksum must be right. Blocks.
    fn finish(self) -> Result<()> {
        let (mut rest, sha256) = self.reader.end().map_err(|e| e.on(&self.name))?;
        let corrupt = |why: &str| Error::corrupt(IMPORT, &self.name, why);
        match rest.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(corrupt("it goes on behind its end")),
            Err(e) => return Err(Error::io(IMPORT, &self.name, e)),
        }
        match self.sha256 {
            Some(expected) if expected != sha256 => {
                Err(corrupt("its SHA-256 is not the one that is kept beside it"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether each file stands on the one before it; the length of the last state.
fn follow_each_other(files: &[Known]) -> Result<u64> {
    let mut before: Option<&Known> = None;
    for file in files {
        let stands_on = file.head.from.as_deref();
        let state = before.and_then(|b| b.head.to.as_deref());
        let fits = match before {
            None => stands_on.is_none(),
            Some(_) => stands_on.is_some() && stands_on == state,
        };
        if !fits {
            let why = match (stands_on, before) {
                (None, _) => "it stands on nothing, and another file comes before it".to_owned(),
                (Some(from), None) => format!("it stands on the state {from:?}: that comes first"),
                (Some(from), Some(b)) => {
                    format!("it stands on the state {from:?}, and {} is none", b.name)
                }
            };
            return Err(Error::invalid(IMPORT, why)
                .on(&file.name)
                .hint("give all files of the chain, oldest first"));
        }
        before = Some(file);
    }
    let length = before.map_or(0, |b| b.head.size);
    if length == 0 {
        return Err(Error::invalid(IMPORT, "the last state has no bytes"));
    }
    Ok(length)
}

/// Applies one file to a volume of `length` bytes whose state was `before` bytes long. The length of its state. Some
/// writes may still be under way.
async fn apply(
    file: Known,
    writes: &mut Writes,
    before: u64,
    length: u64,
    cx: &JobContext,
) -> Result<u64> {
    let size = file.head.size;
    let mut progress = Progress::start(Phase::Restore, size);
    // What a state was cut off is not there when a later one grows again.
    let cut = ByteRange::new(size.min(length), before.min(length));
    if let Some(cut) = cut {
        writes.begin(cut, None).await?;
    }
    let mut feed = aside(move || Feed::begin(file)).await?;
    loop {
        cx.cancel().check(IMPORT)?;
        let (fed, steps) = aside(move || {
            let steps = feed.steps()?;
            Ok((feed, steps))
        })
        .await?;
        feed = fed;
        for step in steps {
            cx.cancel().check(IMPORT)?;
            match step {
                Step::End => {
                    aside(move || feed.finish()).await?;
                    return Ok(size);
                }
                Step::Zero(range) => {
                    writes.begin(range.split_at(length).0, None).await?;
                    progress.done = range.end();
                }
                Step::Data(at, mut bytes) => {
                    let within = length.saturating_sub(at);
                    bytes.truncate(usize::try_from(within).unwrap_or(usize::MAX));
                    let range = ByteRange::at(at, bytes.len() as u64)
                        .ok_or_else(|| Error::internal(IMPORT, "past all ends"))?;
                    progress.done = range.end();
                    progress.transferred += range.len();
                    writes.begin(range, Some(bytes)).await?;
                }
            }
            cx.observer().progress(&progress);
        }
    }
}
