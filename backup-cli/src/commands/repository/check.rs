//! An operator's proof: does a repository do what backups need of it? Every step is told in words.

pub(super) mod images;
mod measure;
mod proofs;
mod step;

use std::path::Path;
use std::sync::Arc;

use backup_core::{ContainerName, DefaultContainer, ObjectKey, Repository, Result};
use futures::TryStreamExt;

use crate::messages::{Messages, warn};
use measure::{noise, rights, speed};
use proofs::{copy, create_only, delete, list, range, read_back, write};
use step::failed;
pub(super) use step::{Step, Verdict};

/// Everything is done in the container that backups go to, so that the check needs no more rights than they do; where
/// each has one of its own, in this one, whose name no backup has.
const CONTAINER: &str = "ashlar-check";
/// What the names of all objects begin with. No backup's do.
const MARK: &str = "ashlar-check-";
const SAMPLE: usize = 1 << 20; // bytes
const SLOW: f64 = 20.0; // MiB/s: below it, a volume of 100 GiB takes more than an hour

struct Check {
    repository: Arc<dyn Repository>,
    container: ContainerName,
    /// A part of every name that no earlier, killed check has.
    mark: String,
    steps: Vec<Step>,
    messages: Messages,
}

/// Runs all steps and removes what they made. `chosen` is the container of the settings.
pub(super) async fn run(
    repository: &Arc<dyn Repository>,
    folder: Option<&Path>,
    chosen: Option<&str>,
    messages: Messages,
) -> Vec<Step> {
    let container = match (repository.layout().container, chosen) {
        (DefaultContainer::PerBackup, _) => CONTAINER.to_owned(),
        (DefaultContainer::Named(_), Some(chosen)) => chosen.to_owned(),
        (DefaultContainer::Named(container), None) => container.into(),
    };
    let container = match ContainerName::new(container) {
        Ok(name) => name,
        Err(e) => return vec![failed("name a container", &e)],
    };
    let mut check = Check {
        repository: Arc::clone(repository),
        container,
        mark: backup_core::JobId::generate().to_string(),
        steps: Vec::new(),
        messages,
    };
    check.all(folder).await;
    check.steps
}

impl Check {
    async fn all(&mut self, folder: Option<&Path>) {
        let sample = noise(SAMPLE, 1);
        let repository = Arc::clone(&self.repository);
        let container = self.container.clone();
        let made = async {
            repository
                .ensure_container(&container)
                .await
                .map(|()| repository.describe())
        };
        if self.step("open the container", made).await {
            let mark = self.mark.clone();
            let mark = mark.as_str();
            if self
                .step("write", write(&*repository, &container, mark, &sample))
                .await
            {
                self.step(
                    "read back",
                    read_back(&*repository, &container, mark, &sample),
                )
                .await;
                self.step(
                    "read a range",
                    range(&*repository, &container, mark, &sample),
                )
                .await;
                self.step(
                    "keep what is there",
                    create_only(&*repository, &container, mark),
                )
                .await;
                self.step("list", list(&*repository, &container, mark))
                    .await;
                self.step("copy", copy(&*repository, &container, mark, &sample))
                    .await;
            } else {
                self.skip(&[
                    "read back",
                    "read a range",
                    "keep what is there",
                    "list",
                    "copy",
                ]);
            }
            self.step("delete", delete(&*repository, &container, mark))
                .await;
            self.speed(&*repository, &container, mark).await;
            self.tidy(&*repository, &container).await;
        } else {
            self.skip(&[
                "write",
                "read back",
                "read a range",
                "keep what is there",
                "list",
                "copy",
                "delete",
                "speed",
            ]);
        }
        if let Some(folder) = folder {
            self.steps.push(rights(folder));
            // An empty folder stays behind where containers are folders; the driver itself never removes one.
            let _ = std::fs::remove_dir(folder.join(CONTAINER));
        }
    }

    async fn step(
        &mut self,
        what: &'static str,
        act: impl Future<Output = Result<String>>,
    ) -> bool {
        self.messages.summary(format_args!("{what} ..."));
        let step = match act.await {
            Ok(details) => Step {
                what,
                verdict: Verdict::Good,
                details,
                advice: None,
            },
            Err(e) => failed(what, &e),
        };
        let good = step.verdict == Verdict::Good;
        self.steps.push(step);
        good
    }

    fn skip(&mut self, steps: &[&'static str]) {
        self.steps.extend(steps.iter().map(|&what| Step {
            what,
            verdict: Verdict::Skipped,
            details: "needs a step that failed".into(),
            advice: None,
        }));
    }

    async fn speed(&mut self, repository: &dyn Repository, container: &ContainerName, mark: &str) {
        self.messages.summary(format_args!("speed ..."));
        let step = match speed(repository, container, mark).await {
            Ok((write, read)) => {
                let slow = write.min(read) < SLOW;
                Step {
                    what: "speed",
                    verdict: if slow { Verdict::Doubtful } else { Verdict::Good },
                    details: format!(
                        "{write:.0} MiB/s written and made durable, {read:.0} MiB/s read back"
                    ),
                    advice: slow.then(|| {
                        format!(
                            "below {SLOW:.0} MiB/s a backup of 100 GiB takes more than an hour; look at the disk or the network"
                        )
                    }),
                }
            }
            Err(e) => failed("speed", &e),
        };
        self.steps.push(step);
    }

    /// Removes whatever an aborted step left.
    async fn tidy(&mut self, repository: &dyn Repository, container: &ContainerName) {
        let names: Result<Vec<_>> = async {
            repository
                .list(container, &format!("{MARK}{}", self.mark), None)
                .await?
                .try_collect()
                .await
        }
        .await;
        let keys: Vec<_> = names
            .unwrap_or_default()
            .into_iter()
            .filter_map(|listed| ObjectKey::new(container, listed.name).ok())
            .collect();
        for result in repository.delete(&keys).await {
            if let Err(e) = result {
                warn(format_args!("could not remove a test object: {e}"));
            }
        }
    }
}
