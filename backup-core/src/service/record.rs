use super::account::is_same_account;
use super::{BackupService, Caller, ExportedRecord, NamedRepository};
use crate::backup::{Chain, Layer};
use crate::catalog::label;
use crate::error::{Error, ErrorKind, Result};
use crate::format::record::{ImportInto, ImportedRecord, export, import};
use crate::id::Location;
use crate::job::JobContext;
use crate::record::{BackupRecord, BackupStatus};

const IMPORT: &str = "import backup record";

/// Cinder's drivers that store files, all with the same names: a folder that one wrote can be read as another's.
const FILE_DRIVERS: [&str; 3] = [
    "cinder.backup.drivers.posix",
    "cinder.backup.drivers.nfs",
    "cinder.backup.drivers.glusterfs",
];

impl BackupService {
    /// The record of a backup as Cinder exports it: with the repository, all that another catalogue needs.
    pub async fn export_record(&self, caller: &Caller, backup: &str) -> Result<ExportedRecord> {
        let record = self.show_backup(caller, backup).await?;
        if record.status != BackupStatus::Available {
            return Err(Error::new(ErrorKind::Conflict, "export backup record")
                .on(label(record.name.as_deref(), record.id))
                .because(format!(
                    "it is {} and only an available one can be exported",
                    record.status
                )));
        }
        export(&record)
    }

    /// Adds an exported record, Cinder's or ours. It belongs to the caller, and to the configured repository of its
    /// type that holds the backup's metadata. Parents and children may come in any order.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a record that cannot be read,
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) for one that is there,
    /// [`NotFound`](ErrorKind::NotFound) where no repository of its type holds it,
    /// [`Conflict`](ErrorKind::Conflict) where several do; both list the repositories.
    pub async fn import_record(
        &self,
        caller: &Caller,
        record: &ExportedRecord,
        cx: &JobContext,
    ) -> Result<BackupRecord> {
        let mut imported = import(&record.backup_service, &record.backup_url)?;
        let (repository, location) = self.holder(&imported, cx).await?;
        imported.location = Some(location);
        let record = imported.into_record(ImportInto {
            user_id: caller.user_id.clone(),
            project_id: caller.project_id.clone(),
            repository: repository.name.clone(),
            service: repository.service.clone(),
            account: repository.account.clone(),
            host: Some(self.host.clone()),
            availability_zone: Some(self.availability_zone.clone()),
            at: cx.now(),
        });
        self.catalog.import_backup(&record, cx.now()).await
    }

    /// The only repository of the record's type that holds the backup, and where it lies there.
    async fn holder(
        &self,
        imported: &ImportedRecord,
        cx: &JobContext,
    ) -> Result<(&NamedRepository, Location)> {
        let candidates: Vec<&NamedRepository> = self
            .repositories()
            .filter(|r| same_type(&r.service, &imported.service))
            .collect();
        if candidates.is_empty() {
            let known: Vec<String> = self
                .repositories()
                .map(|r| format!("{} ({})", r.name, r.service))
                .collect();
            return Err(Error::new(ErrorKind::NotFound, IMPORT)
                .on(imported.id)
                .because(format!(
                    "no configured repository is of its type, {}",
                    imported.service
                ))
                .hint(format!("configured are: {}", known.join(", "))));
        }
        let of_account: Vec<&NamedRepository> = candidates
            .iter()
            .copied()
            .filter(|r| match (&imported.account, &r.account) {
                (Some(holds), Some(used)) => is_same_account(holds, used),
                _ => true,
            })
            .collect();
        if let (Some(account), true) = (&imported.account, of_account.is_empty()) {
            return Err(Error::new(ErrorKind::NotFound, IMPORT)
                .on(imported.id)
                .because(format!(
                    "no configured repository uses its account, {account}"
                ))
                .hint("configure a repository of that account, if you know it as yours"));
        }
        let candidates = of_account;
        let mut holders = Vec::new();
        let mut places = Vec::new();
        for candidate in &candidates {
            if let Some(location) = held(candidate, imported, cx).await? {
                holders.push(*candidate);
                places.push(location);
            }
        }
        if imported.location.is_none() && places.is_empty() {
            return Err(
                Error::invalid(IMPORT, "the record does not say where the backup lies")
                    .on(imported.id),
            );
        }
        let location = places.first().or(imported.location.as_ref());
        let location = location.map(ToString::to_string).unwrap_or_default();
        let names = |of: &[&NamedRepository]| {
            let names: Vec<&str> = of.iter().map(|r| r.name.as_str()).collect();
            names.join(", ")
        };
        match (holders.as_slice(), places.pop()) {
            ([one], Some(place)) => Ok((one, place)),
            ([], _) => Err(Error::new(ErrorKind::NotFound, IMPORT)
                .on(imported.id)
                .because(format!(
                    "no repository of its type holds {location}; looked in: {}",
                    names(&candidates)
                ))
                .hint("check the path or bucket of these repositories in the configuration")),
            (several, _) => Err(Error::new(ErrorKind::Conflict, IMPORT)
                .on(imported.id)
                .because(format!(
                    "several repositories hold {location}: {}",
                    names(several)
                ))
                .hint("configure only one of them for this import")),
        }
    }
}

/// Whether a record of `service` can be of a repository of type `ours`. Old records name the module, new ones the class
/// in it.
fn same_type(ours: &str, service: &str) -> bool {
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let is_file = |service: &str| FILE_DRIVERS.iter().any(|driver| begins(service, driver));
    begins(ours, service) || begins(service, ours) || (is_file(ours) && is_file(service))
}

/// Where the repository has the backup, sound or not.
async fn held(
    repository: &NamedRepository,
    imported: &ImportedRecord,
    cx: &JobContext,
) -> Result<Option<Location>> {
    let Some(location) = &imported.location else {
        let Some(volume) = imported.volume_id else {
            return Ok(None);
        };
        let container = imported.container.as_ref();
        return repository
            .backup
            .locate(imported.id, volume, container, cx)
            .await;
    };
    let layer = Layer {
        id: imported.id,
        location: location.clone(),
    };
    let Some(chain) = Chain::new(vec![layer]) else {
        return Ok(None);
    };
    match repository.backup.length(&chain, cx).await {
        Ok(_) => Ok(Some(location.clone())),
        Err(e) => match e.kind() {
            ErrorKind::NotFound => Ok(None),
            // It is there, and a verify or a restore will tell what is wrong with it.
            ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Conflict => {
                Ok(Some(location.clone()))
            }
            _ => Err(e),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_old_module_style_fits_its_class_and_file_drivers_fit_each_other() {
        let posix = "cinder.backup.drivers.posix.PosixBackupDriver";
        assert!(same_type(posix, "cinder.backup.drivers.posix"));
        assert!(same_type(
            posix,
            "cinder.backup.drivers.nfs.NFSBackupDriver"
        ));
        assert!(!same_type(posix, "cinder.backup.drivers.swift"));
        assert!(!same_type(posix, "cinder.backup.drivers.posixy"));
        let swift = "cinder.backup.drivers.swift.SwiftBackupDriver";
        assert!(same_type(swift, "cinder.backup.drivers.swift"));
    }
}
