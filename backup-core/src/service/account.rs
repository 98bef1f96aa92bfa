//! Whose account a backup lies in, where each user has one of its own (swift's `per_user`).
//!
//! What is missing in another account is not gone: nothing is looked for there, and above all nothing is called deleted.

use super::create::layer_of;
use super::{BackupService, NamedRepository};
use crate::catalog::BackupChange;
use crate::error::{Error, ErrorKind, Result};
use crate::job::JobContext;
use crate::record::BackupRecord;

const OPERATION: &str = "find repository";

/// Whether a repository is known to use the account that holds a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It is, or there are no such accounts.
    Sure,
    /// One of the two tells no account: what is found there counts, what is missing there does not.
    Unsure,
}

impl BackupService {
    /// The configured repository that holds the record's backup, to read from.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where none has its name, [`Conflict`](ErrorKind::Conflict) where that uses
    /// another account now than the one that holds the backup.
    pub(super) async fn repository_of(&self, record: &BackupRecord) -> Result<&NamedRepository> {
        Ok(self.located(record).await?.0)
    }

    /// The same, with whether it is known to be the right account.
    pub(super) async fn located(
        &self,
        record: &BackupRecord,
    ) -> Result<(&NamedRepository, Certainty)> {
        let repository = self.repository(Some(&record.repository))?;
        Ok((repository, certainty(record, repository).await?))
    }

    /// The repository to remove the record's backup from: it is known to use the account that holds the backup, or the
    /// backup was seen in it.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where neither is so.
    pub(super) async fn holder_of(
        &self,
        record: &BackupRecord,
        cx: &JobContext,
    ) -> Result<&NamedRepository> {
        let (repository, certainty) = self.located(record).await?;
        if certainty == Certainty::Unsure {
            let seen = repository.backup.committed(&layer_of(record)?, cx).await?;
            if seen.is_none() {
                return Err(untold(record));
            }
            self.remember_account(repository, std::slice::from_ref(record), cx)
                .await;
        }
        Ok(repository)
    }

    /// Adds the account to records that have none, as those of programs from before schema 3 of the catalogue: their
    /// backups were seen in it. That a record stays as it is harms nothing, so a failure is a warning.
    pub(super) async fn remember_account(
        &self,
        repository: &NamedRepository,
        records: &[BackupRecord],
        cx: &JobContext,
    ) {
        let Some(account) = &repository.account else {
            return;
        };
        let change = BackupChange {
            account: Some(account.clone()),
            ..BackupChange::default()
        };
        for record in records.iter().filter(|r| r.account.is_none()) {
            let changed = self.catalog.update_backup(record.id, &change, cx.now());
            if let Err(e) = changed.await {
                cx.observer().warning(&format!(
                    "the account of backup {} could not be recorded: {e}",
                    record.id
                ));
            }
        }
    }
}

/// Whether `repository` is known to use the account that holds the record's backup. Where the settings do not name the
/// account, the repository is asked, which may have to sign in.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) where it is known to be another; those of asking.
pub(super) async fn certainty(
    record: &BackupRecord,
    repository: &NamedRepository,
) -> Result<Certainty> {
    let Some(holds) = &record.account else {
        return Ok(match repository.account {
            None => Certainty::Sure,
            Some(_) => Certainty::Unsure,
        });
    };
    let used = match &repository.account {
        Some(account) => Some(account.clone()),
        None => repository.backup.account().await?,
    };
    match used {
        Some(used) if is_same_account(holds, &used) => Ok(Certainty::Sure),
        Some(used) => Err(Error::new(ErrorKind::Conflict, OPERATION)
            .on(&repository.name)
            .because(format!(
                "backup {} lies in the account {holds}, and the repository uses {used}",
                record.id
            ))
            .hint("set storage_url back to that account, with a token for it")),
        None => Ok(Certainty::Unsure),
    }
}

/// Nothing of the backup was found, and whether that means anything is not known.
pub(super) fn untold(record: &BackupRecord) -> Error {
    let why = match &record.account {
        Some(holds) => format!(
            "backup {} lies in the account {holds}, and whether the repository uses that cannot be told",
            record.id
        ),
        None => format!(
            "the record of backup {} names no account, and the account that the repository uses does not hold it",
            record.id
        ),
    };
    Error::new(ErrorKind::Conflict, OPERATION)
        .on(&record.repository)
        .because(why)
        .hint(
            "set auth and storage_url back to the account that the backup was made in; where nothing is left of it, an \
             administrator can delete its record with --force",
        )
}

/// Whether two addresses are of one account. A server may be moved, so the host does not count where the path's last part
/// names the account (`AUTH_...`, an ID). Where it does not (`/swift/v1`, as Ceph's gateway tells each of its users as
/// long as `rgw_swift_account_in_url` is off) the whole addresses must be the same, which is all that can be told.
pub(super) fn is_same_account(one: &str, other: &str) -> bool {
    let ((one_host, one_path), (other_host, other_path)) = (parts(one), parts(other));
    let names_account = |path: &str| {
        let last = path.rsplit('/').next().unwrap_or_default();
        last.contains('_') || last.len() >= 32
    };
    one_path == other_path && (names_account(one_path) || one_host == other_host)
}

/// Scheme and host, in small letters and without a port that goes without saying; the path without a slash at its end.
fn parts(address: &str) -> (String, &str) {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let scheme = scheme.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(usual).unwrap_or(&host);
    (format!("{scheme}://{host}"), path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::is_same_account;

    #[test]
    fn the_host_counts_only_where_the_path_names_no_account() {
        let same = [
            ("http://a/v1/AUTH_x", "https://b:8080/v1/AUTH_x/"),
            (
                "http://a/v1/0123456789abcdef0123456789abcdef",
                "http://b/v1/0123456789abcdef0123456789abcdef",
            ),
            ("http://rgw/swift/v1", "http://RGW:80/swift/v1/"),
            ("https://a", "https://a:443/"),
        ];
        for (one, other) in same {
            assert!(is_same_account(one, other), "{one} {other}");
        }
        let others = [
            ("http://a/v1/AUTH_x", "http://a/v1/AUTH_y"),
            ("http://a/v1/AUTH_x", "http://a/v2/AUTH_x"),
            // Each user of a gateway has this path.
            ("http://one/swift/v1", "http://two/swift/v1"),
            ("http://one:80/swift/v1", "http://one:8080/swift/v1"),
            ("http://one", "http://two"),
            ("http://one/", "http://one/v1"),
        ];
        for (one, other) in others {
            assert!(!is_same_account(one, other), "{one} {other}");
        }
    }
}
