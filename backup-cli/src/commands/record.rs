//! `ashlar volume backup record export | import`

use std::io::Read;
use std::path::Path;

use backup_core::service::ExportedRecord;
use backup_core::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::json;

use crate::args::{RecordCommand, RecordImport};
use crate::failure::Result;
use crate::home::Home;
use crate::output::Output;

/// Bytes of a record file that are read at most: a record is a few KiB.
const LARGEST: u64 = 16 << 20;

pub(super) async fn run(home: &Home, command: RecordCommand, output: &Output) -> Result<()> {
    match command {
        RecordCommand::Export { backup } => {
            let record = home.service.export_record(&home.caller, &backup).await?;
            output.record(&[
                ("backup_service", json!(record.backup_service)),
                ("backup_url", json!(record.backup_url)),
            ])
        }
        RecordCommand::Import(args) => import(home, args, output).await,
    }
}

async fn import(home: &Home, args: RecordImport, output: &Output) -> Result<()> {
    let record = match args {
        RecordImport {
            file: Some(path), ..
        } => read(&path)?,
        RecordImport { service, url, .. } => ExportedRecord {
            backup_service: service.unwrap_or_default(),
            backup_url: url.unwrap_or_default(),
        },
    };
    let backup = home
        .service
        .import_record(&home.caller, &record, home.context())
        .await?;
    output.record(&[
        ("id", json!(backup.id.to_string())),
        ("name", json!(backup.name)),
    ])?;
    // The order of imports is free, so that a missing parent is only worth a word.
    if let Err(e) = home.service.catalog().chain(backup.id).await
        && e.is(ErrorKind::NotFound)
    {
        home.messages.note(format_args!(
            "note: it is incremental; import the records of all backups that it stands on before you restore it ({e})"
        ));
    }
    Ok(())
}

/// A record as a client prints it: with ours and the older clients' keys, or the titles of newer ones.
#[derive(Deserialize)]
struct Printed {
    #[serde(alias = "Backup Service")]
    backup_service: String,
    #[serde(alias = "Metadata")]
    backup_url: String,
}

/// Reads a record from a file or, for `-`, from standard input.
fn read(path: &Path) -> Result<ExportedRecord> {
    let failed = |e| Error::io("read the record", path.display(), e);
    let mut text = String::new();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    input
        .take(LARGEST)
        .read_to_string(&mut text)
        .map_err(failed)?;
    // JSON is YAML too.
    let printed: Printed = serde_norway::from_str(&text).map_err(|e| {
        Error::invalid("read the record", e.to_string())
            .on(path.display())
            .hint("the file must be YAML or JSON with backup_service and backup_url, as `record export -f yaml` prints it")
    })?;
    Ok(ExportedRecord {
        backup_service: printed.backup_service,
        backup_url: printed.backup_url,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_any_client_prints_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        for text in [
            "backup_service: a.B\nbackup_url: eyJ9\n",
            r#"{"backup_service": "a.B", "backup_url": "eyJ9"}"#,
            "Backup Service: a.B\nMetadata: eyJ9\n",
            r#"{"Backup Service": "a.B", "Metadata": "eyJ9"}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let record = read(&path).unwrap();
            assert_eq!(
                (&*record.backup_service, &*record.backup_url),
                ("a.B", "eyJ9")
            );
        }
        std::fs::write(&path, "nothing of it").unwrap();
        assert!(read(&path).is_err());
    }
}
