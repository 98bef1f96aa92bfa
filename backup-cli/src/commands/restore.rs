//! `ashlar volume backup restore | verify`

use std::sync::Arc;

use backup_core::service::{RestoreRequest, RestoreTarget};
use backup_core::{ByteRange, Check, Problem, Report, RestoreOptions};
use serde_json::{Value, json};

use super::cancelled;
use crate::args::{CheckWord, Format, Restore};
use crate::failure::{Failure, Result, line};
use crate::home::Home;
use crate::messages::warn;
use crate::output::{Output, print};

pub(super) async fn run(home: &Home, args: Restore, output: &Output) -> Result<()> {
    let check = match args.check {
        CheckWord::Hashes => Check::Hashes,
        CheckWord::Md5 => Check::Md5,
    };
    let target = match args.volume {
        Some(volume) => RestoreTarget::Volume(volume),
        None => RestoreTarget::New { name: args.name },
    };
    let options = RestoreOptions::default()
        .with_check(check)
        .with_salvage(args.salvage);
    let request = RestoreRequest::of(args.backup)
        .to(target)
        .with_options(options);

    let bar = Arc::new(home.messages.bar());
    let result = home
        .service
        .restore_backup(&home.caller, request, &home.job(&bar))
        .await;
    bar.clear();
    let restored = result.map_err(cancelled(
        "the volume's content is undefined: delete it, or restore again after `volume set --state available`",
    ))?;
    bar.finish("restored", restored.report.volume_length);
    output.record(&[
        ("backup_id", json!(restored.backup.id.to_string())),
        ("volume_id", json!(restored.volume.id.to_string())),
        ("volume_name", json!(restored.volume.name)),
    ])?;
    let report = &restored.report;
    for problem in &report.problems {
        warn(format_args!("{problem}"));
    }
    told_more(report);
    if report.data_is_right() {
        return Ok(());
    }
    line(format_args!(
        "error: restore {}: the ranges above could not be restored; all else is right",
        restored.backup.id
    ));
    Err(Failure::Told)
}

/// `ashlar volume backup verify`
pub(super) async fn verify(home: &Home, backup: &str, output: &Output) -> Result<()> {
    let bar = Arc::new(home.messages.bar());
    let result = home
        .service
        .verify_backup(&home.caller, backup, &home.job(&bar))
        .await;
    bar.clear();
    let verified = result?;
    let (backup, report) = (&verified.backup, &verified.report);
    bar.finish("verified", report.volume_length);
    let right = report.data_is_right();
    let harmless = report.problems.iter().filter(|p| !p.affects_data).count();
    let mut fields = vec![
        ("id", json!(backup.id.to_string())),
        ("name", json!(backup.name)),
        ("result", json!(if right { "good" } else { "damaged" })),
        ("size_bytes", json!(report.volume_length)),
        ("checked_bytes", json!(report.checked_bytes)),
        ("objects", json!(report.objects)),
        ("fetched_bytes", json!(report.fetched_bytes)),
        (
            "problems",
            json!(report.problems.len() as u64 + report.more_problems),
        ),
        ("harmless_problems", json!(harmless)),
    ];
    if matches!(output.format(), Format::Json | Format::Yaml) {
        let list: Vec<_> = report.problems.iter().map(problem).collect();
        fields.push(("problem_list", Value::Array(list)));
        output.record(&fields)?;
    } else {
        output.record(&fields)?;
        print(|out| {
            for problem in &report.problems {
                let word = if problem.affects_data {
                    "damaged"
                } else {
                    "harmless"
                };
                writeln!(out, "{word}: {problem}")?;
            }
            Ok(())
        })?;
    }
    told_more(report);
    if right { Ok(()) } else { Err(Failure::Told) }
}

fn told_more(report: &Report) {
    if report.more_problems > 0 {
        line(format_args!("and {} more problems", report.more_problems));
    }
}

fn problem(p: &Problem) -> Value {
    json!({
        "object": p.object,
        "text": p.text,
        "affects_data": p.affects_data,
        "offset": p.range.map(ByteRange::start),
        "length": p.range.map(ByteRange::len),
    })
}
