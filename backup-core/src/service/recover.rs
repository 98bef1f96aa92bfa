use super::account::{Certainty, untold};
use super::create::{layer_of, reason_of};
use super::{BackupService, JobLock};
use crate::backup::Outcome;
use crate::catalog::{BackupEnd, Job, JobKind, RestoreEnd, VolumeEnd, label};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, SnapshotId, VolumeId};
use crate::job::JobContext;
use crate::record::{BackupRecord, BackupStatus};
use crate::volume::VolumeStatus;

/// What a record says of a job whose process died.
const INTERRUPTED: &str = "interrupted: its process ended before it was done";

/// A dead job that was settled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settled {
    /// What it did.
    pub kind: JobKind,
    /// What was done about it, for people.
    pub text: String,
    /// What could not be cleaned up; it is tried again next time.
    pub error: Option<String>,
}

/// What a recovery did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Jobs of dead processes.
    pub settled: Vec<Settled>,
    /// Jobs that are running.
    pub running: usize,
}

/// How far a dead job could be settled; the text is for people.
enum Settling {
    Done(String),
    /// Its row stays, for the next recovery.
    Later(String),
}

/// What became of a backup whose job died.
enum Fate {
    /// It had passed its commit point.
    Complete(Box<BackupRecord>, Box<Outcome>),
    /// It had not.
    Unfinished(Box<BackupRecord>),
    /// What is stored makes no sense.
    Unusable(Box<BackupRecord>, Error),
    /// Its repository does not say.
    Unknown(Box<BackupRecord>, Error),
    /// Its record is available: only its job was left.
    Kept,
    /// Its record is not the job's any more.
    Taken,
}

impl BackupService {
    /// Settles the jobs of this host's dead processes. Called at the start of each command; quick where there is
    /// nothing to do.
    ///
    /// What is attached is detached. A backup that was being made is `available` where it had passed its commit point,
    /// else it goes to `error` and what it stored is removed; where its repository does not answer, it waits. One
    /// that was being restored is `available` again and its volume in `error_restoring`; one that was being deleted is
    /// deleted. A volume or snapshot that was being made or removed is removed.
    ///
    /// # Errors
    /// Those of the catalogue and the locks only: what else fails is told in [`Settled::error`].
    pub async fn recover(&self, cx: &JobContext) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let jobs = self.catalog.jobs().await?;
        self.locks.sweep(&|id| jobs.iter().any(|j| j.id == id))?;
        for job in jobs {
            if job.host != self.host {
                continue;
            }
            let Some(lock) = self.locks.try_take(job.id)? else {
                recovered.running += 1;
                continue;
            };
            // It may have ended, or been settled, between the look and the lock.
            let still = self.catalog.jobs().await?.iter().any(|j| j.id == job.id);
            if still {
                cx.cancel().check("settle interrupted jobs")?;
                recovered
                    .settled
                    .push(Box::pin(self.settle(&job, &*lock, cx)).await?);
            }
        }
        Ok(recovered)
    }

    /// The lock is held throughout.
    async fn settle(&self, job: &Job, _lock: &dyn JobLock, cx: &JobContext) -> Result<Settled> {
        let mut errors = Vec::new();
        let fate = match job.kind {
            JobKind::CreateBackup => Some(self.fate_of(job, cx).await),
            _ => None,
        };
        if let Some(attach) = &job.attach {
            let complete = fate.as_ref().is_some_and(|fate| {
                fate.as_ref()
                    .is_ok_and(|fate| matches!(fate, Fate::Complete(..) | Fate::Kept))
            });
            let detached = if complete {
                self.volumes.keep(attach).await
            } else {
                self.volumes.undo(attach).await
            };
            errors.extend(detached.err());
        }
        let undone = errors.is_empty();
        let done = match job.kind {
            JobKind::CreateBackup => {
                let fate = fate.unwrap_or_else(|| Err(subjectless(job)));
                self.settle_create(job, fate, undone, &mut errors, cx).await
            }
            JobKind::RestoreBackup => self
                .settle_restore(job, undone, cx)
                .await
                .map(Settling::Done),
            JobKind::DeleteBackup => {
                let done = self.settle_delete(job, &mut errors, cx).await;
                done.map(Settling::Done)
            }
            JobKind::CreateVolume | JobKind::DeleteVolume => {
                let done = self.settle_volume(job, &mut errors, cx).await;
                done.map(Settling::Done)
            }
            JobKind::CreateSnapshot | JobKind::DeleteSnapshot => {
                let done = self.settle_snapshot(job, &mut errors).await;
                done.map(Settling::Done)
            }
        };
        let (text, over) = match done {
            Ok(Settling::Done(text)) => (text, true),
            Ok(Settling::Later(text)) => (text, false),
            // The record is no longer the job's: only what it attached was left to undo.
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                (format!("{} {}: cleaned up", job.kind, job.id), true)
            }
            Err(e) => return Err(e),
        };
        if undone && over {
            self.catalog.forget_job(job.id).await?;
        }
        Ok(Settled {
            kind: job.kind,
            text,
            error: errors.first().map(ToString::to_string),
        })
    }

    /// What became of the backup that a dead job was making.
    async fn fate_of(&self, job: &Job, cx: &JobContext) -> Result<Fate> {
        let record = self.catalog.backup(backup_of(job)?).await?;
        match record.status {
            BackupStatus::Creating => {}
            BackupStatus::Available | BackupStatus::Restoring => return Ok(Fate::Kept),
            _ => return Ok(Fate::Taken),
        }
        Ok(match self.whether_committed(&record, cx).await {
            Ok(Some(outcome)) => Fate::Complete(Box::new(record), Box::new(outcome)),
            Ok(None) => Fate::Unfinished(Box::new(record)),
            // Its objects stay until somebody deletes it: what is there may be all that is left of something.
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                Fate::Unusable(Box::new(record), e)
            }
            Err(e) => Fate::Unknown(Box::new(record), e),
        })
    }

    async fn settle_create(
        &self,
        job: &Job,
        fate: Result<Fate>,
        undone: bool,
        errors: &mut Vec<Error>,
        cx: &JobContext,
    ) -> Result<Settling> {
        let (record, end, became) = match fate? {
            // One that is available, or was taken over by somebody else, keeps what it stored.
            Fate::Kept | Fate::Taken => return Err(taken(job)),
            Fate::Complete(record, outcome) => (
                record,
                BackupEnd::Complete(*outcome),
                "it is complete and available",
            ),
            Fate::Unfinished(record) => {
                if let Err(e) = self.remove_objects(&record, cx).await {
                    errors.push(e);
                }
                (
                    record,
                    BackupEnd::Failed(INTERRUPTED.into()),
                    "it is in error and can be deleted",
                )
            }
            Fate::Unusable(record, e) => (
                record,
                BackupEnd::Failed(format!(
                    "{INTERRUPTED}, and its metadata cannot be used: {e}"
                )),
                "it is in error and can be deleted",
            ),
            Fate::Unknown(record, e) => {
                errors.push(e.hint(
                    "make its repository reachable again, or give the backup up by \
                     `volume backup set --state error`",
                ));
                let backup = label(record.name.as_deref(), record.id);
                return Ok(Settling::Later(format!(
                    "backup {backup} was being made: whether it is complete cannot be told yet"
                )));
            }
        };
        let backup = label(record.name.as_deref(), record.id);
        self.catalog
            .finish_backup(record.id, job.id, &end, undone, cx.now())
            .await?;
        Ok(Settling::Done(format!(
            "backup {backup} was being made: {became}"
        )))
    }

    /// A kill after the commit point leaves a complete backup: it must not be thrown away.
    async fn whether_committed(
        &self,
        record: &BackupRecord,
        cx: &JobContext,
    ) -> Result<Option<Outcome>> {
        let Ok(layer) = layer_of(record) else {
            return Ok(None);
        };
        let (repository, certainty) = self.located(record).await?;
        match repository.backup.committed(&layer, cx).await? {
            None if certainty == Certainty::Unsure => Err(untold(record)),
            outcome => Ok(outcome),
        }
    }

    async fn settle_restore(&self, job: &Job, undone: bool, cx: &JobContext) -> Result<String> {
        let end = RestoreEnd::Failed(INTERRUPTED.into());
        let (record, volume) = self
            .catalog
            .finish_restore(backup_of(job)?, job.id, &end, undone, cx.now())
            .await?;
        let backup = label(record.name.as_deref(), record.id);
        Ok(match volume {
            Some(volume) => format!(
                "backup {backup} was being restored: it is available, and volume {} is in {}",
                label(volume.name.as_deref(), volume.id),
                volume.status
            ),
            None => format!("backup {backup} was being restored: it is available"),
        })
    }

    async fn settle_delete(
        &self,
        job: &Job,
        errors: &mut Vec<Error>,
        cx: &JobContext,
    ) -> Result<String> {
        let record = self.catalog.backup(backup_of(job)?).await?;
        if record.status != BackupStatus::Deleting {
            return Err(taken(job));
        }
        let failed = match self.remove_objects(&record, cx).await {
            Ok(()) => None,
            Err(e) => {
                let reason = reason_of(&e);
                errors.push(e);
                Some(reason)
            }
        };
        self.catalog
            .finish_delete(record.id, job.id, failed.as_deref(), cx.now())
            .await?;
        let backup = label(record.name.as_deref(), record.id);
        Ok(match failed {
            None => format!("backup {backup} was being deleted: it is deleted now"),
            Some(_) => {
                format!("backup {backup} was being deleted: it is in error, delete it again")
            }
        })
    }

    async fn settle_volume(
        &self,
        job: &Job,
        errors: &mut Vec<Error>,
        cx: &JobContext,
    ) -> Result<String> {
        let id: VolumeId = job.volume.ok_or_else(|| subjectless(job))?;
        let record = self.catalog.volume(id).await?;
        let volume = label(record.name.as_deref(), id);
        let removed = match record.status {
            VolumeStatus::Creating | VolumeStatus::Deleting => self.remove_volume(&record).await,
            _ => return Err(taken(job)),
        };
        let failed = removed.is_err();
        errors.extend(removed.err());
        if job.kind == JobKind::CreateVolume {
            let end = if failed {
                VolumeEnd::Failed
            } else {
                VolumeEnd::Gone
            };
            self.catalog
                .finish_create_volume(id, job.id, &end, cx.now())
                .await?;
            return Ok(format!("volume {volume} was being made: it is removed"));
        }
        self.catalog
            .finish_delete_volume(id, job.id, failed, cx.now())
            .await?;
        Ok(format!(
            "volume {volume} was being deleted: it is deleted now"
        ))
    }

    async fn settle_snapshot(&self, job: &Job, errors: &mut Vec<Error>) -> Result<String> {
        let id: SnapshotId = job.snapshot.ok_or_else(|| subjectless(job))?;
        let record = self.catalog.snapshot(id).await?;
        let snapshot = label(record.name.as_deref(), id);
        let removed = match record.status {
            VolumeStatus::Creating | VolumeStatus::Deleting => self.remove_snapshot(&record).await,
            _ => return Err(taken(job)),
        };
        let failed = removed.is_err();
        errors.extend(removed.err());
        if job.kind == JobKind::CreateSnapshot {
            let end = if failed {
                VolumeEnd::Failed
            } else {
                VolumeEnd::Gone
            };
            self.catalog
                .finish_create_snapshot(id, job.id, &end)
                .await?;
            return Ok(format!("snapshot {snapshot} was being made: it is removed"));
        }
        self.catalog
            .finish_delete_snapshot(id, job.id, failed)
            .await?;
        Ok(format!(
            "snapshot {snapshot} was being deleted: it is deleted now"
        ))
    }
}

fn backup_of(job: &Job) -> Result<BackupId> {
    job.backup.ok_or_else(|| subjectless(job))
}

fn subjectless(job: &Job) -> Error {
    Error::corrupt(
        "settle job",
        job.id,
        format!("a {} that names nothing to work on", job.kind),
    )
}

/// The record is not in the state that the job put it into.
fn taken(job: &Job) -> Error {
    Error::new(ErrorKind::Conflict, "settle job").on(job.id)
}
