//! `ashlar repository list | check | orphans`

mod check;
mod orphans;

use backup_core::{Error, ErrorKind};
use backup_drivers::{RepositoryConfig, Store, in_this_build, open};
use serde_json::json;

use crate::args::{Global, RepositoryCommand};
use crate::config::Settings;
use crate::failure::{Failure, Result, line};
use crate::home::limited;
use crate::messages::Messages;
use crate::output::{Column, Output, column};

pub(super) async fn run(
    command: RepositoryCommand,
    global: &Global,
    output: &Output,
) -> Result<()> {
    let (root, settings) = super::settings(global)?;
    match command {
        RepositoryCommand::Orphans(args) => {
            let home = super::open(global).await?;
            orphans::run(&home, args, output).await
        }
        RepositoryCommand::List => list(&settings, output),
        RepositoryCommand::Check { repository } => {
            let name = repository.unwrap_or_else(|| settings.backup.repository.clone());
            let config = settings.repositories.get(&name).ok_or_else(|| {
                let known: Vec<_> = settings.repositories.keys().cloned().collect();
                Error::new(ErrorKind::NotFound, "find repository")
                    .on(&name)
                    .because("no repository of that name is configured")
                    .hint(format!("configured are: {}", known.join(", ")))
            })?;
            // The default one lies in the home.
            crate::home::make_default_repository(&root, &settings)?;
            let messages = Messages::new(global.quiet, global.verbose > 0);
            check(&name, config, &settings, messages, output).await
        }
    }
}

const COLUMNS: &[Column] = &[
    column("Name", "name"),
    column("Type", "type"),
    column("Place", "place"),
    column("Default", "default"),
    column("In This Build", "in_this_build"),
];

fn list(settings: &Settings, output: &Output) -> Result<()> {
    let rows: Vec<_> = settings
        .repositories
        .iter()
        .map(|(name, config)| {
            vec![
                json!(name),
                json!(config.kind()),
                json!(config.place()),
                json!(*name == settings.backup.repository),
                json!(in_this_build().contains(&config.kind())),
            ]
        })
        .collect();
    output.list(COLUMNS, &rows)
}

const STEPS: &[Column] = &[
    column("Step", "step"),
    column("Result", "result"),
    column("Details", "details"),
];

async fn check(
    name: &str,
    config: &RepositoryConfig,
    settings: &Settings,
    messages: Messages,
    output: &Output,
) -> Result<()> {
    let steps = match open(config)? {
        Store::Objects(repository) => {
            let limits = settings.limits.get(name).copied().unwrap_or_default();
            let repository = limited(repository, limits);
            let chosen = settings.backup.container.as_deref();
            check::run(&repository, config.folder(), chosen, messages).await
        }
        Store::Images(repository) => {
            let container = repository.layout().container;
            check::images::run(&repository, &container, messages).await
        }
        _ => {
            return Err(Error::new(ErrorKind::Unsupported, "check repository")
                .on(name)
                .because("this kind of store is not known to the check")
                .into());
        }
    };
    let rows: Vec<_> = steps
        .iter()
        .map(|s| vec![json!(s.what), json!(s.verdict.word()), json!(s.details)])
        .collect();
    output.list(STEPS, &rows)?;
    for step in &steps {
        if let Some(advice) = &step.advice {
            line(format_args!(
                "{}: {}: {advice}",
                step.verdict.word(),
                step.what
            ));
        }
    }
    let failed = steps
        .iter()
        .filter(|s| s.verdict == check::Verdict::Failed)
        .count();
    if failed == 0 {
        messages.note(format_args!(
            "repository {name} can do all that backups need"
        ));
        return Ok(());
    }
    line(format_args!(
        "error: check repository {name}: {failed} of {} steps failed; backups there are not safe",
        steps.len()
    ));
    Err(Failure::Told)
}
