//! Restore, and the loop that verify shares with it: objects in the order of the volume, many ahead, each fetched once.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::ChunkedBackup;
use super::check::OpenChain;
use super::item::{Handled, Item, Shared, handle};
use super::split::SplitBlocks;
use super::target::Target;
use crate::backup::{Chain, Check, Report, RestoreOptions};
use crate::device::BlockDevice;
use crate::diff::merge_newest_wins;
use crate::error::{Error, Result};
use crate::job::{JobContext, MemoryPermit, Phase, Progress};

pub(super) async fn restore(
    engine: &ChunkedBackup,
    chain: &Chain,
    target: &Arc<dyn BlockDevice>,
    options: &RestoreOptions,
    cx: &JobContext,
) -> Result<Report> {
    let chain = OpenChain::load(engine, chain, cx).await?;
    let geometry = target.geometry();
    if geometry.read_only {
        return Err(Error::invalid("restore", "the target is read-only").on(target.describe()));
    }
    if geometry.length < chain.length {
        return Err(Error::invalid(
            "restore",
            format!(
                "the target has {} bytes and the backup is of {}",
                geometry.length, chain.length
            ),
        )
        .on(target.describe())
        .hint("restore to a volume that is at least as long, or to a new one"));
    }
    let length = chain.length;
    let shared = Arc::new(Shared {
        repository: Arc::clone(&engine.repository),
        chain,
        zeroes: Arc::clone(&engine.zeroes),
        target: Some(Target::new(Arc::clone(target), length, cx)),
        md5: options.check == Check::Md5,
        tolerant: options.salvage,
        split: SplitBlocks::default(),
        cx: cx.clone(),
    });
    let mut report = transfer(&shared, Phase::Restore).await?;
    let syncing = Progress {
        phase: Phase::Sync,
        ..Progress::start(Phase::Sync, report.volume_length)
    };
    cx.observer().progress(&syncing);
    if let Some(target) = &shared.target {
        target.finish(cx.cancel()).await?;
    }
    report.volume_metadata = shared.chain.volume_metadata(cx);
    Ok(report)
}

/// Handles all objects that show in the newest state.
pub(super) async fn transfer(shared: &Arc<Shared>, phase: Phase) -> Result<Report> {
    let mut job = Transfer {
        shared,
        tasks: JoinSet::new(),
        report: Report::new(shared.chain.length),
        progress: Progress::start(phase, shared.chain.length),
    };
    shared.cx.observer().progress(&job.progress);
    let result = job.run().await;
    // Nothing may still write when this returns.
    while job.tasks.join_next().await.is_some() {}
    result?;
    Ok(job.report)
}

struct Transfer<'a> {
    shared: &'a Arc<Shared>,
    tasks: JoinSet<Result<Handled>>,
    report: Report,
    progress: Progress,
}

impl Transfer<'_> {
    async fn run(&mut self) -> Result<()> {
        let shared = self.shared;
        let layers: Vec<_> = shared.chain.layers.iter().collect();
        let requests = shared
            .cx
            .requests()
            .min(shared.repository.limits().requests);
        for surviving in merge_newest_wins(layers, shared.chain.length) {
            shared.cx.cancel().check("restore")?;
            let item = Item::new(shared, surviving?)?;
            while self.tasks.len() >= requests {
                self.take_one().await?;
            }
            let permit = self.memory(item.memory()).await?;
            self.tasks.spawn(handle(Arc::clone(shared), item, permit));
        }
        while !self.tasks.is_empty() {
            self.take_one().await?;
        }
        if !shared.split.is_empty() {
            return Err(Error::internal("restore", "a block was not completed"));
        }
        Ok(())
    }

    /// Memory for an item; meanwhile, others end.
    async fn memory(&mut self, bytes: u64) -> Result<Option<MemoryPermit>> {
        if bytes == 0 {
            return Ok(None);
        }
        let budget = self.shared.cx.memory().clone();
        let cancel = self.shared.cx.cancel().clone();
        let acquiring = budget.acquire(bytes);
        tokio::pin!(acquiring);
        loop {
            tokio::select! {
                permit = &mut acquiring => return permit.map(Some),
                done = self.tasks.join_next(), if !self.tasks.is_empty() => self.count(done)?,
                () = cancel.cancelled() => return Err(Error::cancelled("restore")),
            }
        }
    }

    async fn take_one(&mut self) -> Result<()> {
        let cancel = self.shared.cx.cancel().clone();
        tokio::select! {
            done = self.tasks.join_next() => self.count(done),
            () = cancel.cancelled() => Err(Error::cancelled("restore")),
        }
    }

    fn count(
        &mut self,
        done: Option<Result<Result<Handled>, tokio::task::JoinError>>,
    ) -> Result<()> {
        let handled = match done {
            Some(Ok(handled)) => handled?,
            Some(Err(e)) => return Err(Error::internal("restore", e.to_string())),
            None => return Ok(()),
        };
        let report = &mut self.report;
        report.objects += handled.objects;
        report.fetched_bytes += handled.fetched;
        report.checked_bytes += handled.checked;
        report.written_bytes += handled.written;
        for problem in handled.problems {
            report.add(problem);
        }
        self.progress.done += handled.bytes;
        self.progress.transferred = report.fetched_bytes;
        self.progress.objects = report.objects;
        self.shared.cx.observer().progress(&self.progress);
        Ok(())
    }
}
