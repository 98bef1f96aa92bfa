//! Create: ready the base image, note the attempt, move what changed, make it durable, then the snapshot: the commit point.

use std::sync::Arc;

use super::copy::{Deed, Ends};
use super::feed::{self, Audit};
use super::head::{Head, lock};
use super::transfer::{PIECE, Totals, Transfer};
use super::{ImageBackup, base, delete};
use crate::attach::Attachment;
use crate::backup::{BackupPlan, Layer, Outcome};
use crate::device::{BlockDevice, ChangePoint, ChangeSource};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph::{self, BackupNote};
use crate::image::{Image, ImageKey, MAX_RECORD};
use crate::job::{CancelToken, JobContext, Phase, Progress};
use crate::range::ByteRange;

const OPERATION: &str = "back up";

pub(super) async fn create(
    engine: &ImageBackup,
    plan: &BackupPlan,
    parent: Option<&Layer>,
    source: &Attachment,
    cx: &JobContext,
) -> Result<Outcome> {
    let mut creation = Creation {
        engine,
        plan,
        parent,
        source,
        cx,
        base: base::key(&plan.location)?,
        length: source.device.geometry().length,
        point: None,
        held: None,
        begun: false,
    };
    let result = creation.run().await;
    if let Some(image) = creation.held.take()
        && let Err(e) = image.unlock().await
    {
        cx.observer()
            .warning(&format!("the base image stays locked for a while: {e}"));
    }
    // All handles of the image are closed now, or about to be, and the clean-up can remove it.
    if result.is_err() {
        creation.clean_up().await;
    }
    result
}

struct Creation<'a> {
    engine: &'a ImageBackup,
    plan: &'a BackupPlan,
    parent: Option<&'a Layer>,
    source: &'a Attachment,
    cx: &'a JobContext,
    base: ImageKey,
    length: u64,
    /// The source's state, where it can be compared with later.
    point: Option<ChangePoint>,
    /// The base image, locked.
    held: Option<Arc<dyn Image>>,
    /// Whether there may be something of this backup in the repository.
    begun: bool,
}

impl Creation<'_> {
    async fn run(&mut self) -> Result<Outcome> {
        self.cx.cancel().check(OPERATION)?;
        if self.length == 0 {
            return Err(Error::invalid(OPERATION, "the volume has no bytes")
                .on(self.source.device.describe()));
        }
        // Before anything is done: what cannot be kept must not fail at the end.
        let metadata = self.plan.volume_metadata.as_deref();
        if metadata.is_some_and(|text| text.len() > MAX_RECORD) {
            return Err(Error::invalid(
                OPERATION,
                format!("the volume's metadata is longer than {MAX_RECORD} bytes"),
            )
            .on(self.plan.volume_id));
        }
        let head = match self.parent {
            Some(parent) => {
                let repository = self.engine.repository();
                let head =
                    Head::open(repository, &self.base, parent, self.plan.id, self.cx).await?;
                self.held = Some(Arc::clone(&head.image));
                Some(head)
            }
            None => None,
        };
        if let Some(changes) = &self.source.changes {
            self.point = Some(changes.mark(self.plan.id).await?);
        }
        let (image, parent, totals) = match head {
            None => {
                let (image, totals) = self.full().await?;
                (image, None, totals)
            }
            Some(head) => {
                let totals = self.incremental(&head).await?;
                (head.image, Some(head.parent), totals)
            }
        };
        self.commit(&image, parent.as_ref(), &totals).await
    }

    /// Copies what the source holds into a new image.
    async fn full(&mut self) -> Result<(Arc<dyn Image>, Totals)> {
        // An image by that name is this backup's, since it is named after it; but one that was there before may be whole.
        self.begun = true;
        let created = self
            .engine
            .repository()
            .create(&self.base, self.length)
            .await;
        let image = match created {
            Err(e) if e.is(ErrorKind::AlreadyExists) => {
                self.begun = false;
                return Err(e);
            }
            created => created?,
        };
        lock(&image, self.cx).await?;
        self.held = Some(Arc::clone(&image));
        self.note(&image, None).await?;
        let mut transfer = Transfer::new(self.ends(&image, None, 0), Phase::BackUp, self.length);
        let fed = feed::whole(&mut transfer, self.length, Deed::Copy).await;
        let mut totals = transfer.end(fed).await?;
        totals.covered = self.length;
        Ok((image, totals))
    }

    /// Writes what differs from the parent onto the parent's state.
    async fn incremental(&mut self, head: &Head) -> Result<Totals> {
        self.begun = true;
        self.note(&head.image, None).await?;
        // Both wait for the cluster most of the time, and neither needs the other.
        let (reset, known) = tokio::join!(head.reset(self.cx), self.knows(&head.since));
        reset?;
        let changes = known?;
        head.fit(self.length).await?;
        if let Some(changes) = changes
            && let Some(totals) = self.tracked(head, changes).await?
        {
            return Ok(totals);
        }
        let mut transfer = self.transfer_onto(head);
        let fed = feed::whole(&mut transfer, self.length, Deed::Compare).await;
        transfer.end(fed).await
    }

    /// The change source, where it still knows the parent's state.
    async fn knows(&self, since: &ChangePoint) -> Result<Option<&dyn ChangeSource>> {
        let Some(changes) = self.source.changes.as_deref() else {
            return Ok(None);
        };
        let first = ByteRange::up_to(self.length.min(PIECE));
        match changes.changed(since, first).await {
            Ok(_) => Ok(Some(changes)),
            Err(e) if e.is(ErrorKind::NotFound) => {
                self.cx.observer().warning(&format!(
                    "the source has no state {} to compare with: all of it is read",
                    since.as_str()
                ));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Reads only what the change source tells; `None` where it is wrong.
    async fn tracked(&self, head: &Head, changes: &dyn ChangeSource) -> Result<Option<Totals>> {
        let since = &head.since;
        let audit = Audit {
            per_million: self.engine.config.audit_per_million,
            backup: self.plan.id,
        };
        let mut transfer = self.transfer_onto(head);
        let fed = feed::changes(&mut transfer, self.length, changes, since, audit).await;
        let totals = transfer.end(fed).await?;
        let Some(range) = totals.changed else {
            return Ok(Some(totals));
        };
        // A source that is gone, or a parent, reads as zeroes: that is not the change tracking's fault.
        self.source.device.still_there().await?;
        head.parent.still_there().await?;
        // What was written so far is the source's content, and stays right.
        self.cx.observer().warning(&format!(
            "CHANGE TRACKING IS WRONG: bytes {range} of {} changed since {}, and were called unchanged. All of the volume \
             is read. Earlier incrementals that relied on it may be wrong: verify them, or make a full backup",
            self.source.device.describe(),
            since.as_str()
        ));
        Ok(None)
    }

    fn transfer_onto(&self, head: &Head) -> Transfer {
        let grown_from = head.parent.geometry().length;
        let ends = self.ends(&head.image, Some(&head.parent), grown_from);
        Transfer::new(ends, Phase::BackUp, self.length)
    }

    fn ends(
        &self,
        image: &Arc<dyn Image>,
        before: Option<&Arc<dyn Image>>,
        zero_from: u64,
    ) -> Ends {
        Ends {
            operation: OPERATION,
            from: Arc::clone(&self.source.device),
            onto: Some(Arc::<dyn Image>::clone(image)),
            before: before.map(|image| Arc::<dyn Image>::clone(image) as Arc<dyn BlockDevice>),
            zero_from,
            tolerant: false,
            cx: self.cx.clone(),
        }
    }

    /// Makes all durable, then the snapshot.
    async fn commit(
        &self,
        image: &Arc<dyn Image>,
        parent: Option<&Arc<dyn Image>>,
        totals: &Totals,
    ) -> Result<Outcome> {
        let mut progress = Progress::start(Phase::Sync, self.length);
        progress.transferred = totals.read;
        self.cx.observer().progress(&progress);
        image.flush().await?;
        let noted = self.note(image, Some(totals.written)).await?;
        let mut index = noted;
        if let Some(metadata) = &self.plan.volume_metadata {
            let key = base::record(self.base.container(), self.plan.id)?;
            let bytes = metadata.clone().into_bytes();
            index += bytes.len() as u64;
            self.engine
                .repository()
                .put_record(&key, bytes.into())
                .await?;
        }
        // What was copied, and what it was compared with.
        self.source.device.still_there().await?;
        if let Some(parent) = parent {
            parent.still_there().await?;
        }
        // The last moment at which a cancel leaves nothing behind.
        self.cx.cancel().check(OPERATION)?;
        image.snapshot(&self.snapshot_name()).await?;
        let mut outcome = Outcome::new(self.length);
        outcome.stored_bytes = totals.written;
        outcome.index_bytes = index;
        outcome.read_bytes = totals.read;
        outcome.audited_bytes = totals.audited;
        outcome.covered_bytes = totals.covered;
        outcome.change_point.clone_from(&self.point);
        progress.done = self.length;
        self.cx.observer().progress(&progress);
        Ok(outcome)
    }

    /// That of the source's own snapshot: Cinder's next incremental looks for the name on both.
    fn snapshot_name(&self) -> String {
        self.point
            .as_ref()
            .map(ChangePoint::snapshot)
            .filter(|name| ceph::backup_of_snapshot(name) == Some(self.plan.id))
            .map_or_else(
                || ceph::snapshot_name(self.plan.id, self.plan.created_at),
                str::to_owned,
            )
    }

    /// Notes the backup on its base image: as long as it has no snapshot, as one that was not completed. How many bytes.
    async fn note(&self, image: &Arc<dyn Image>, stored: Option<u64>) -> Result<u64> {
        let plan = self.plan;
        let mut note = BackupNote::new();
        note.name.clone_from(&plan.name);
        note.description.clone_from(&plan.description);
        note.created_at = Some(plan.created_at);
        note.parent_id = self.parent.map(|parent| parent.id);
        let ashlar = &mut note.ashlar;
        ashlar.volume_length = Some(self.length);
        ashlar.snapshot_id = plan.snapshot_id;
        ashlar.data_timestamp = Some(plan.data_timestamp);
        ashlar.project_id = Some(plan.project_id.clone());
        ashlar.user_id = Some(plan.user_id.clone());
        ashlar.encryption_key_id.clone_from(&plan.encryption_key_id);
        ashlar.container = Some(plan.location.container.clone());
        ashlar.prefix = Some(plan.location.prefix.clone());
        ashlar.change_point.clone_from(&self.point);
        ashlar.stored_bytes = stored;
        ashlar.properties.clone_from(&plan.properties);
        let text = note.to_text()?;
        image.set_note(&BackupNote::key(plan.id), &text).await?;
        Ok(text.len() as u64)
    }

    /// Removes what is there of the backup. The head of a chain's base image stays as it is: it does not count.
    async fn clean_up(&self) {
        // A job that was cancelled must still be able to clean up.
        let cx = self.cx.clone().with_cancel(CancelToken::new());
        if self.begun
            && let Err(e) = delete::clear(self.engine.repository(), &self.plan.layer(), &cx).await
        {
            cx.observer().warning(&format!(
                "what the failed backup stored could not be removed and stays until it is deleted: {e}"
            ));
        }
    }
}
