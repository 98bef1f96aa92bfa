use super::create::{layer_of, reason_of};
use super::show::require_admin;
use super::{BackupService, Caller};
use crate::catalog::{JobKind, label};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, VolumeId};
use crate::job::JobContext;
use crate::record::BackupRecord;

impl BackupService {
    /// Deletes a backup: its objects, then its record. Answers the record as it was.
    ///
    /// It is `available` or in an error state, or, for an administrator with `force`, in any state whose job is dead.
    /// One that has incrementals stays. Where it fails or is cancelled the record is in `error`, and the delete can be
    /// called again.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where the repository uses another account than the one that holds the backup, and
    /// where that cannot be told and nothing of the backup is found; the second is left out with `force`.
    pub async fn delete_backup(
        &self,
        caller: &Caller,
        backup: &str,
        force: bool,
        cx: &JobContext,
    ) -> Result<BackupRecord> {
        if force {
            require_admin(caller, "force the delete of a backup")?;
        }
        let record = self.show_backup(caller, backup).await?;
        if force {
            self.refuse_running("delete backup", &record).await?;
        }
        // A repository that is not configured, or uses another account by now, is told before the record is touched.
        let repository = if force || record.location.is_none() {
            self.repository_of(&record).await?
        } else {
            self.holder_of(&record, cx).await?
        };
        let (job, lock) = self.start_job(JobKind::DeleteBackup, cx.now())?;
        let job = job.on_backup(record.id);
        self.catalog
            .begin_delete(record.id, &job, force, cx.now())
            .await?;
        let done = match record.location {
            Some(_) => repository.backup.delete(&layer_of(&record)?, cx).await,
            // It stored nothing.
            None => Ok(()),
        };
        let failed = done.as_ref().err().map(reason_of);
        let finished = self
            .catalog
            .finish_delete(record.id, job.id, failed.as_deref(), cx.now())
            .await;
        drop(lock);
        done?;
        finished?;
        Ok(record)
    }

    /// Removes what a backup stored. One without a location stored nothing.
    pub(super) async fn remove_objects(
        &self,
        record: &BackupRecord,
        cx: &JobContext,
    ) -> Result<()> {
        if record.location.is_none() {
            return Ok(());
        }
        self.holder_of(record, cx)
            .await?
            .backup
            .delete(&layer_of(record)?, cx)
            .await
    }

    /// Refuses to take a backup from a job that is running.
    pub(super) async fn refuse_running(
        &self,
        operation: &'static str,
        record: &BackupRecord,
    ) -> Result<()> {
        self.refuse_running_job(operation, Some(record.id), None, || {
            label(record.name.as_deref(), record.id)
        })
        .await
    }

    /// Refuses to take something from a job that is running.
    pub(super) async fn refuse_running_job(
        &self,
        operation: &'static str,
        backup: Option<BackupId>,
        volume: Option<VolumeId>,
        target: impl FnOnce() -> String,
    ) -> Result<()> {
        for job in self.catalog.jobs().await? {
            let concerns = (backup.is_some() && job.backup == backup)
                || (volume.is_some() && job.volume == volume);
            // Another host's jobs cannot be asked from here; they are taken as alive.
            let alive =
                concerns && (job.host != self.host || self.locks.try_take(job.id)?.is_none());
            if alive {
                return Err(Error::new(ErrorKind::Conflict, operation)
                    .on(target())
                    .because(format!("a running job ({}) works on it", job.kind))
                    .hint("wait until that job is done, or stop it (Ctrl-C) first"));
            }
        }
        Ok(())
    }
}
