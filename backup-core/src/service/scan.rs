use std::collections::{HashMap, HashSet};

use futures::StreamExt;

use super::account::certainty;
use super::{BackupService, Caller, Found, FoundState, ScanReport, ScanRequest};
use crate::backup::{ScanItem, Scanned};
use crate::catalog::BackupFilter;
use crate::error::{ErrorKind, Result};
use crate::id::{BackupId, ContainerName};
use crate::job::JobContext;
use crate::record::BackupRecord;

impl BackupService {
    /// Finds all complete backups of a repository from what it holds alone, and says which the catalogue knows. With
    /// `import`, those that it does not know get their records, parents first; they belong to the caller.
    ///
    /// Metadata that cannot be read is listed and does not stop the scan; nor does a record that cannot be added.
    pub async fn scan(
        &self,
        caller: &Caller,
        request: &ScanRequest,
        cx: &JobContext,
    ) -> Result<ScanReport> {
        let repository = self.repository(request.repository.as_deref())?;
        let container = match &request.container {
            Some(container) => Some(ContainerName::new(container)?),
            None => None,
        };
        let mut report = ScanReport {
            repository: repository.name.clone(),
            ..ScanReport::default()
        };
        let mut scanned = Vec::new();
        let mut items = repository.backup.scan(container.as_ref(), cx).await?;
        while let Some(item) = items.next().await {
            match item? {
                ScanItem::Found(found) => scanned.push(*found),
                ScanItem::Broken(problem) => report.broken.push(problem),
            }
        }
        drop(items);

        let mut known: HashMap<BackupId, BackupRecord> = self
            .catalog
            .backups(&BackupFilter::default())
            .await?
            .into_iter()
            .map(|record| (record.id, record))
            .collect();
        let present: HashSet<BackupId> = scanned.iter().map(|s| s.record.id).collect();
        for Scanned {
            mut record,
            volume_name,
            ..
        } in parents_first(scanned)
        {
            let missing_parent = record
                .parent_id
                .filter(|p| !present.contains(p) && !known.contains_key(p));
            let state = if let Some(recorded) = known.get(&record.id) {
                match (&recorded.location, recorded.repository == repository.name) {
                    // A copy of it, in an account that the record does not name.
                    (_, true)
                        if certainty(recorded, repository)
                            .await
                            .is_err_and(|e| e.is(ErrorKind::Conflict)) =>
                    {
                        let account = recorded.account.as_deref().unwrap_or_default();
                        FoundState::Elsewhere(format!("{}: {account}", recorded.repository))
                    }
                    (there, true) if *there == record.location => {
                        let seen = std::slice::from_ref(recorded);
                        self.remember_account(repository, seen, cx).await;
                        record = recorded.clone();
                        if record.account.is_none() {
                            record.account.clone_from(&repository.account);
                        }
                        FoundState::Known
                    }
                    (Some(there), _) => {
                        FoundState::Elsewhere(format!("{}: {there}", recorded.repository))
                    }
                    (None, _) => FoundState::Elsewhere("its record has no location".into()),
                }
            } else {
                record.repository.clone_from(&repository.name);
                record.service.clone_from(&repository.service);
                record.account.clone_from(&repository.account);
                record.project_id.clone_from(&caller.project_id);
                record.user_id.clone_from(&caller.user_id);
                record.host = Some(self.host.clone());
                record.availability_zone = Some(self.availability_zone.clone());
                if request.import {
                    let state = self.import_found(&record, cx).await?;
                    known.insert(record.id, record.clone());
                    state
                } else {
                    FoundState::Missing
                }
            };
            report.found.push(Found {
                backup: record,
                volume_name,
                state,
                missing_parent,
            });
        }
        Ok(report)
    }

    async fn import_found(&self, record: &BackupRecord, cx: &JobContext) -> Result<FoundState> {
        match self.catalog.import_backup(record, cx.now()).await {
            Ok(_) => Ok(FoundState::Imported),
            // Another process was faster.
            Err(e) if e.is(ErrorKind::AlreadyExists) => Ok(FoundState::Known),
            Err(e) if matches!(e.kind(), ErrorKind::QuotaExceeded | ErrorKind::InvalidInput) => {
                Ok(FoundState::NotImported(e.to_string()))
            }
            Err(e) => Err(e),
        }
    }
}

/// By volume and time, each backup after the one that it stands on, whatever the times say.
fn parents_first(mut scanned: Vec<Scanned>) -> Vec<Scanned> {
    scanned.sort_by_key(|s| (s.record.volume_id, s.record.created_at, s.record.id));
    let mut waiting: HashMap<BackupId, Vec<usize>> = HashMap::new();
    let mut ready = Vec::new();
    let present: HashSet<BackupId> = scanned.iter().map(|s| s.record.id).collect();
    for (at, one) in scanned.iter().enumerate().rev() {
        match one.record.parent_id.filter(|p| present.contains(p)) {
            Some(parent) => waiting.entry(parent).or_default().push(at),
            None => ready.push(at),
        }
    }
    let mut order = Vec::with_capacity(scanned.len());
    let mut placed = vec![false; scanned.len()];
    while let Some(at) = ready.pop() {
        if std::mem::replace(&mut placed[at], true) {
            continue;
        }
        order.push(at);
        ready.extend(waiting.remove(&scanned[at].record.id).unwrap_or_default());
    }
    // What is left stands in a circle; it is told all the same.
    order.extend((0..scanned.len()).filter(|at| !placed[*at]));
    let mut slots: Vec<Option<Scanned>> = scanned.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|at| slots[at].take())
        .collect()
}
