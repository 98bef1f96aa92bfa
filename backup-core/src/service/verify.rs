use super::{BackupService, Caller, Verified};
use crate::catalog::label;
use crate::error::{Error, ErrorKind, Result};
use crate::job::JobContext;
use crate::record::BackupStatus;

impl BackupService {
    /// Reads and checks everything that a restore of the backup would. Damage is told in the report; an error means
    /// that the check could not be done. Changes no state, but what a record did not know of its account is added to it.
    pub async fn verify_backup(
        &self,
        caller: &Caller,
        backup: &str,
        cx: &JobContext,
    ) -> Result<Verified> {
        let backup = self.show_backup(caller, backup).await?;
        // Reading side by side with a restore is fine.
        if !matches!(
            backup.status,
            BackupStatus::Available | BackupStatus::Restoring
        ) {
            return Err(Error::new(ErrorKind::Conflict, "verify backup")
                .on(label(backup.name.as_deref(), backup.id))
                .because(format!(
                    "it is {} and only an available one can be verified",
                    backup.status
                )));
        }
        let records = self.catalog.chain(backup.id).await?;
        let (repository, chain) = self.chain_of(&records).await?;
        let report = repository.backup.verify(&chain, cx).await?;
        if report.data_is_right() {
            self.remember_account(repository, &records, cx).await;
        }
        Ok(Verified { backup, report })
    }
}
