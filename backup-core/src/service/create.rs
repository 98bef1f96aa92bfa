use super::account::certainty;
use super::{BackupService, Caller, CreateRequest, Created, NamedRepository};
use crate::attach::{AttachPlan, AttachSource};
use crate::backup::{BackupPlan, BackupRequest, Layer, Outcome};
use crate::catalog::{
    BackupEnd, BackupFilter, JobKind, NewBackup, ParentQuery, VolumeChange, label,
};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerName, JobId};
use crate::job::{CancelToken, JobContext};
use crate::record::{BackupRecord, BackupStatus, gib_rounded_up};
use crate::volume::{SnapshotRecord, VolumeRecord, VolumeStatus};

const OPERATION: &str = "create backup";

/// All that is known before anything is done.
struct Intent<'a> {
    repository: &'a NamedRepository,
    plan: BackupPlan,
    attach: AttachPlan,
    parent: Option<Layer>,
}

impl BackupService {
    /// Backs a volume or a snapshot up, fully or what changed since the newest backup.
    ///
    /// The volume is `available`, or `in-use` with `force`; it goes back to that state in any case. Once the record
    /// is made, an error or a cancel leaves it in `error` with the reason, and nothing in the repository.
    ///
    /// # Errors
    /// Before a record is made: [`Conflict`](ErrorKind::Conflict) for a state that forbids it,
    /// [`InvalidInput`](ErrorKind::InvalidInput) where there is no backup to stand on,
    /// [`QuotaExceeded`](ErrorKind::QuotaExceeded), [`Unsupported`](ErrorKind::Unsupported) where no point in time of
    /// a volume in use can be had.
    pub async fn create_backup(
        &self,
        caller: &Caller,
        request: CreateRequest,
        cx: &JobContext,
    ) -> Result<Created> {
        cx.cancel().check(OPERATION)?;
        let volume = self.show_volume(caller, &request.volume).await?;
        let snapshot = match &request.snapshot {
            Some(snapshot) => Some(self.show_snapshot(caller, snapshot).await?),
            None => None,
        };
        let (volume, length) = self.measured(volume, snapshot.as_ref(), cx).await?;
        let repository = self.repository(request.repository.as_deref())?;
        let parent = if request.incremental {
            let parent = self.newest_parent(caller, &volume, snapshot.as_ref(), repository);
            let parent = parent.await?;
            certainty(&parent, repository).await?;
            Some(parent)
        } else {
            None
        };
        let parent_id = parent.as_ref().map(|p| p.id);
        let parent = parent.as_ref().map(layer_of).transpose()?;

        let mut backup_request =
            self.backup_request(caller, &request, &volume, snapshot.as_ref(), repository, cx)?;
        backup_request.parent.clone_from(&parent);
        let plan = repository.backup.plan(&backup_request)?;
        let source = match &snapshot {
            Some(snapshot) => AttachSource::Snapshot(snapshot.reference(volume.reference())),
            None if volume.status == VolumeStatus::InUse => {
                refuse_unforced(&volume, request.force)?;
                AttachSource::VolumeInUse(volume.reference())
            }
            None => AttachSource::Volume(volume.reference()),
        };
        let attach = self.volumes.plan(&source, plan.id).await?;

        let (job, lock) = self.start_job(JobKind::CreateBackup, plan.created_at)?;
        let job = job
            .on_backup(plan.id)
            .on_volume(volume.id)
            .with_plan(plan.clone())
            .with_attach(attach.clone());
        let job_id = job.id;
        let record = BackupRecord {
            id: plan.id,
            user_id: plan.user_id.clone(),
            project_id: plan.project_id.clone(),
            volume_id: volume.id,
            snapshot_id: plan.snapshot_id,
            parent_id,
            status: BackupStatus::Creating,
            fail_reason: None,
            size_gib: gib_rounded_up(length),
            volume_length: Some(length),
            name: plan.name.clone(),
            description: plan.description.clone(),
            properties: request.properties,
            repository: repository.name.clone(),
            service: repository.service.clone(),
            account: repository.account.clone(),
            location: Some(plan.location.clone()),
            object_count: 0,
            stored_bytes: None,
            host: Some(self.host.clone()),
            availability_zone: Some(self.availability_zone.clone()),
            temp_volume_id: attach.temporary_volume.clone(),
            temp_snapshot_id: attach.temporary_snapshot.clone(),
            restore_volume_id: None,
            num_dependent_backups: 0,
            encryption_key_id: plan.encryption_key_id.clone(),
            data_timestamp: plan.data_timestamp,
            created_at: plan.created_at,
            updated_at: None,
        };
        let new = NewBackup {
            record,
            job,
            force: request.force,
        };
        self.catalog.begin_backup(&new).await?;

        let intent = Intent {
            repository,
            plan,
            attach,
            parent,
        };
        let done = Box::pin(self.run_create(&intent, cx)).await;
        let created = self.end_create(&intent, job_id, done, cx).await;
        drop(lock);
        created
    }

    /// Attaches, stores, detaches.
    async fn run_create(&self, intent: &Intent<'_>, cx: &JobContext) -> Result<Outcome> {
        let attachment = self.volumes.execute(&intent.attach).await?;
        cx.cancel().check(OPERATION)?;
        intent
            .repository
            .backup
            .create(&intent.plan, intent.parent.as_ref(), &attachment, cx)
            .await
    }

    /// Detaches and tells the catalogue.
    async fn end_create(
        &self,
        intent: &Intent<'_>,
        job: JobId,
        done: Result<Outcome>,
        cx: &JobContext,
    ) -> Result<Created> {
        let undone = self.detach(&intent.attach, done.is_ok(), cx).await;
        let end = match &done {
            Ok(outcome) => BackupEnd::Complete(outcome.clone()),
            Err(e) => BackupEnd::Failed(reason_of(e)),
        };
        let id = intent.plan.id;
        let finished = self
            .catalog
            .finish_backup(id, job, &end, undone, cx.now())
            .await;
        match (done, finished) {
            (Ok(outcome), Ok(backup)) => Ok(Created { backup, outcome }),
            // What the job failed for is told; that the record could not be set is settled by a recovery.
            (Err(e), Ok(_)) => Err(e),
            (Err(e), Err(later)) => {
                cx.observer()
                    .warning(&format!("backup {id} could not be set to error: {later}"));
                Err(e)
            }
            (Ok(_), Err(e)) => {
                if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) {
                    self.disown(intent, cx).await;
                    if undone {
                        self.catalog.forget_job(job).await?;
                    }
                }
                Err(e)
            }
        }
    }

    /// The record was taken from the job while it ran. What was stored goes, unless an operator has called it available.
    async fn disown(&self, intent: &Intent<'_>, cx: &JobContext) {
        let id = intent.plan.id;
        let record = self.catalog.backup(id).await;
        if record.is_ok_and(|r| r.status == BackupStatus::Available) {
            return;
        }
        let deleted = intent
            .repository
            .backup
            .delete(
                &intent.plan.layer(),
                &cx.clone().with_cancel(CancelToken::new()),
            )
            .await;
        if let Err(e) = deleted {
            cx.observer().warning(&format!(
                "what backup {id} stored could not be removed: {e}"
            ));
        }
    }

    /// Undoes an attachment, and says whether it worked; where not, a recovery tries again. Of a `complete` backup stays
    /// what the next one compares with.
    pub(super) async fn detach(&self, plan: &AttachPlan, complete: bool, cx: &JobContext) -> bool {
        let undone = if complete {
            self.volumes.keep(plan).await
        } else {
            self.volumes.undo(plan).await
        };
        match undone {
            Ok(()) => true,
            Err(e) => {
                cx.observer().warning(&format!(
                    "could not clean up after the transfer, the next command tries again: {e}"
                ));
                false
            }
        }
    }

    /// The length of what is read, and the volume with its length as it is now: it may have been resized.
    async fn measured(
        &self,
        volume: VolumeRecord,
        snapshot: Option<&SnapshotRecord>,
        cx: &JobContext,
    ) -> Result<(VolumeRecord, u64)> {
        if let Some(snapshot) = snapshot {
            return Ok((volume, snapshot.length));
        }
        let volume = self.resized(volume, cx).await?;
        let length = volume.length;
        if length == 0 {
            return Err(Error::invalid(OPERATION, "the volume has no bytes").on(volume.id));
        }
        Ok((volume, length))
    }

    /// The volume with its length as the provider tells it now.
    pub(super) async fn resized(
        &self,
        volume: VolumeRecord,
        cx: &JobContext,
    ) -> Result<VolumeRecord> {
        let length = self.volumes.length(&volume.reference()).await?;
        if length == volume.length {
            return Ok(volume);
        }
        let change = VolumeChange {
            length: Some(length),
            ..VolumeChange::default()
        };
        self.catalog
            .update_volume(volume.id, &change, cx.now())
            .await
    }

    fn backup_request(
        &self,
        caller: &Caller,
        request: &CreateRequest,
        volume: &VolumeRecord,
        snapshot: Option<&SnapshotRecord>,
        repository: &NamedRepository,
        cx: &JobContext,
    ) -> Result<BackupRequest> {
        let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let mut new = BackupRequest::new(volume.id, cx.now());
        if let Some(snapshot) = snapshot {
            new.snapshot_id = Some(snapshot.id);
            new.data_timestamp = snapshot.created_at;
        }
        new.name = some(&request.name);
        new.description = some(&request.description);
        new.container = match some(&request.container) {
            Some(container) => Some(ContainerName::new(container)?),
            None => repository.container.clone(),
        };
        new.project_id.clone_from(&caller.project_id);
        new.user_id.clone_from(&caller.user_id);
        new.encryption_key_id.clone_from(&volume.encryption_key_id);
        new.properties.clone_from(&request.properties);
        new.volume_metadata = Some(self.volume_metadata(volume));
        Ok(new)
    }

    /// The backup that an incremental is made on.
    async fn newest_parent(
        &self,
        caller: &Caller,
        volume: &VolumeRecord,
        snapshot: Option<&SnapshotRecord>,
        repository: &NamedRepository,
    ) -> Result<BackupRecord> {
        let query = ParentQuery {
            project: caller.project_id.clone(),
            volume: volume.id,
            repository: Some(repository.name.clone()),
            before: snapshot.map(|s| s.created_at),
        };
        if let Some(parent) = self.catalog.newest_parent(&query).await? {
            return Ok(parent);
        }
        let filter = BackupFilter {
            volume: Some(volume.id),
            ..BackupFilter::of_project(&caller.project_id)
        };
        let others = self.catalog.backups(&filter).await?.len();
        let why = match (others, snapshot) {
            (0, _) => "there is no backup of the volume to make an incremental on".into(),
            (n, Some(_)) => format!(
                "none of the volume's {n} backups is available, in repository {}, and older than \
                 the snapshot",
                repository.name
            ),
            (n, None) => format!(
                "none of the volume's {n} backups is available and in repository {}",
                repository.name
            ),
        };
        Err(Error::invalid("create incremental backup", why)
            .on(format!(
                "of volume {}",
                label(volume.name.as_deref(), volume.id)
            ))
            .hint("make a full backup first (without --incremental)"))
    }
}

/// Told before the attacher is asked, whose answer would be about points in time.
fn refuse_unforced(volume: &VolumeRecord, force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, OPERATION)
        .on(format!(
            "of volume {}",
            label(volume.name.as_deref(), volume.id)
        ))
        .because("it is in use")
        .hint("give --force to back up a point in time of it, or back up a snapshot"))
}

/// Where a backup lies, for the engine.
pub(super) fn layer_of(record: &BackupRecord) -> Result<Layer> {
    let location = record.location.clone().ok_or_else(|| {
        Error::new(ErrorKind::Conflict, "find backup")
            .on(label(record.name.as_deref(), record.id))
            .because("its record does not say where it lies")
            .hint("import its record again, or run `volume backup scan --import`")
    })?;
    Ok(Layer {
        id: record.id,
        location,
    })
}

/// What a record keeps of an error.
pub(super) fn reason_of(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Cancelled => "cancelled on request".into(),
        _ => error.to_string(),
    }
}
