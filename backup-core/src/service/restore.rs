use super::account::certainty;
use super::create::{layer_of, reason_of};
use super::metadata::restored;
use super::{BackupService, Caller, NamedRepository, RestoreRequest, RestoreTarget, Restored};
use crate::attach::{AttachPlan, AttachSource};
use crate::backup::{Chain, Layer, Report, RestoreOptions};
use crate::catalog::{JobKind, RestoreEnd, RestoreStart, VolumeEnd};
use crate::error::{Error, ErrorKind, Result};
use crate::id::JobId;
use crate::job::JobContext;
use crate::record::BackupRecord;
use crate::volume::VolumeRecord;

const OPERATION: &str = "restore backup";

/// What is restored onto.
struct Target {
    volume: VolumeRecord,
    /// The job that made it for this, and what it made.
    made: Option<(JobId, VolumeEnd)>,
    length: u64,
}

impl BackupService {
    /// Restores a backup onto a volume or into a new one, with name, description and properties of the volume that
    /// was backed up by Cinder's rules.
    ///
    /// The backup is `available` again in any case. Where it fails, the volume is in `error_restoring`, also one that
    /// was made for it; where it is cancelled, in `error`. With `salvage`, damage is told in the report and the
    /// volume is `available`.
    ///
    /// # Errors
    /// Before anything is written: [`Conflict`](ErrorKind::Conflict) for a state that forbids it,
    /// [`NotFound`](ErrorKind::NotFound) where an ancestor is missing, [`InvalidInput`](ErrorKind::InvalidInput) for a
    /// volume that is too small.
    pub async fn restore_backup(
        &self,
        caller: &Caller,
        request: RestoreRequest,
        cx: &JobContext,
    ) -> Result<Restored> {
        cx.cancel().check(OPERATION)?;
        let backup = self.show_backup(caller, &request.backup).await?;
        let records = self.catalog.restorable(backup.id).await?;
        let (repository, chain) = self.chain_of(&records).await?;
        let length = match backup.volume_length {
            Some(length) => length,
            // Cinder's records tell whole GiB only.
            None => repository.backup.length(&chain, cx).await?,
        };
        let (volume, made) = match &request.target {
            RestoreTarget::Volume(volume) => {
                let volume = self.show_volume(caller, volume).await?;
                (self.resized(volume, cx).await?, None)
            }
            RestoreTarget::New { name } => {
                let name = name
                    .clone()
                    .filter(|n| !n.is_empty())
                    .unwrap_or_else(|| format!("restore_backup_{}", backup.id));
                let made = self
                    .make_for_restore(caller, name, length, cx.now())
                    .await?;
                (made.record.clone(), Some(made))
            }
        };
        let target = Target {
            volume,
            made: made.as_ref().map(|m| (m.job, m.end())),
            length,
        };
        let restored = self
            .restore_onto(&backup, &target, repository, &chain, &request.options, cx)
            .await;
        match (restored, made) {
            (Err((e, false)), Some(made)) => {
                // It never began: the volume that was made for it holds nothing.
                let id = made.record.id;
                if let Err(left) = self.unmake_volume(made, cx.now()).await {
                    cx.observer()
                        .warning(&format!("new volume {id} could not be removed: {left}"));
                }
                Err(e)
            }
            (Err((e, _)), _) => Err(e),
            (Ok(restored), _) => {
                self.remember_account(repository, &records, cx).await;
                Ok(restored)
            }
        }
    }

    /// The repository and the chain of these records, oldest first.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where one of them lies in another account than the repository uses.
    pub(super) async fn chain_of(
        &self,
        records: &[BackupRecord],
    ) -> Result<(&NamedRepository, Chain)> {
        let layers: Vec<Layer> = records.iter().map(layer_of).collect::<Result<_>>()?;
        let newest = records
            .last()
            .ok_or_else(|| Error::internal(OPERATION, "a chain without a layer"))?;
        let repository = self.repository(Some(&newest.repository))?;
        for record in records {
            certainty(record, repository).await?;
        }
        let chain = Chain::new(layers)
            .ok_or_else(|| Error::internal(OPERATION, "a chain without a layer"))?;
        Ok((repository, chain))
    }

    /// An error comes with whether the restore had begun: the volume then carries the outcome.
    async fn restore_onto(
        &self,
        backup: &BackupRecord,
        target: &Target,
        repository: &NamedRepository,
        chain: &Chain,
        options: &RestoreOptions,
        cx: &JobContext,
    ) -> Result<Restored, (Error, bool)> {
        let before = |e| (e, false);
        let begun = |e| (e, true);
        let volume = &target.volume;
        let source = AttachSource::Target(volume.reference());
        let attach = self
            .volumes
            .plan(&source, backup.id)
            .await
            .map_err(before)?;
        let (job, lock) = self
            .start_job(JobKind::RestoreBackup, cx.now())
            .map_err(before)?;
        let job_id = job.id;
        let start = RestoreStart {
            backup: backup.id,
            volume: volume.id,
            made: target.made.clone(),
            length: target.length,
            job: job
                .on_backup(backup.id)
                .on_volume(volume.id)
                .with_attach(attach.clone()),
        };
        self.catalog.begin_restore(&start).await.map_err(before)?;

        let done = Box::pin(self.run_restore(repository, chain, &attach, options, cx)).await;
        let undone = self.detach(&attach, false, cx).await;
        let end = match &done {
            Ok(report) => RestoreEnd::Complete(Box::new(restored(&report.volume_metadata, volume))),
            Err(e) if e.is(ErrorKind::Cancelled) => RestoreEnd::Cancelled(reason_of(e)),
            Err(e) => RestoreEnd::Failed(reason_of(e)),
        };
        let finished = self
            .catalog
            .finish_restore(backup.id, job_id, &end, undone, cx.now())
            .await;
        drop(lock);
        match (done, finished) {
            (Ok(report), Ok((backup, volume))) => {
                let volume = volume.ok_or_else(|| {
                    begun(
                        Error::new(ErrorKind::Conflict, OPERATION)
                            .because("its volume was taken from the job while it ran"),
                    )
                })?;
                Ok(Restored {
                    backup,
                    volume,
                    report,
                })
            }
            (Err(e), finished) => {
                if let Err(later) = finished {
                    cx.observer()
                        .warning(&format!("the states could not be set: {later}"));
                }
                Err(begun(e))
            }
            (Ok(_), Err(e)) => Err(begun(e)),
        }
    }

    async fn run_restore(
        &self,
        repository: &NamedRepository,
        chain: &Chain,
        attach: &AttachPlan,
        options: &RestoreOptions,
        cx: &JobContext,
    ) -> Result<Report> {
        let attachment = self.volumes.execute(attach).await?;
        cx.cancel().check(OPERATION)?;
        repository
            .backup
            .restore(chain, &attachment.device, options, cx)
            .await
    }
}
