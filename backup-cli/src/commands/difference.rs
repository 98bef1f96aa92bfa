//! `ashlar volume backup export-diff` and `ashlar volume import-diff`

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::format::rbd_diff::DiffVersion;
use backup_core::service::{DiffContent, DiffInput, Exported, Since};
use backup_core::{Error, ErrorKind, VolumeRecord};
use serde_json::json;
use tempfile::NamedTempFile;

use super::cancelled;
use crate::args::{ExportDiff, ImportDiff};
use crate::failure::Result;
use crate::home::Home;
use crate::output::Output;

/// What is buffered of a file, in bytes.
const BUFFER: usize = 1 << 20;

const EXPORT: &str = "export difference";
const IMPORT: &str = "import differences";

pub(super) async fn export(home: &Home, args: ExportDiff, output: &Output) -> Result<()> {
    let since = match args.since {
        Some(backup) => Since::Backup(backup),
        None if args.whole => Since::Beginning,
        None => Since::Parent,
    };
    let version = match args.rbd_format {
        2 => DiffVersion::V2,
        _ => DiffVersion::V1,
    };
    if args.file.as_os_str() == "-" {
        let out = BufWriter::with_capacity(BUFFER, io::stdout());
        write(home, &args.backup, since, version, out).await?;
        return Ok(());
    }
    let sum = beside(&args.file);
    for path in [&args.file, &sum] {
        if path.exists() {
            return Err(Error::new(ErrorKind::AlreadyExists, EXPORT)
                .on(path.display())
                .hint("remove it first, or give another name")
                .into());
        }
    }
    let part = NamedTempFile::new_in(folder(&args.file))
        .map_err(|e| Error::io(EXPORT, args.file.display(), e))?;
    let out = BufWriter::with_capacity(BUFFER, part);
    let (out, exported) = write(home, &args.backup, since, version, out).await?;
    let part = out
        .into_inner()
        .map_err(|e| Error::io(EXPORT, args.file.display(), e.into_error()))?;
    keep(part, &args.file)?;
    let name = args.file.file_name().unwrap_or_default();
    let text = format!("{}  {}\n", hex::encode(exported.sha256), name.display());
    let mut part =
        NamedTempFile::new_in(folder(&sum)).map_err(|e| Error::io(EXPORT, sum.display(), e))?;
    part.write_all(text.as_bytes())
        .map_err(|e| Error::io(EXPORT, sum.display(), e))?;
    keep(part, &sum)?;
    output.record(&[
        ("id", json!(exported.backup.id.to_string())),
        ("name", json!(exported.backup.name)),
        ("from", json!(exported.head.from)),
        ("to", json!(exported.head.to)),
        ("size_bytes", json!(exported.head.size)),
        ("data_bytes", json!(exported.data_bytes)),
        ("file_bytes", json!(exported.file_bytes)),
        ("sha256", json!(hex::encode(exported.sha256))),
    ])
}

async fn write<W: Write + Send + 'static>(
    home: &Home,
    backup: &str,
    since: Since,
    version: DiffVersion,
    out: W,
) -> Result<(W, Exported)> {
    let bar = Arc::new(home.messages.bar());
    let done = home
        .service
        .export_difference(&home.caller, backup, since, version, out, &home.job(&bar))
        .await;
    bar.clear();
    let (out, exported) = done?;
    bar.finish("exported", exported.head.size);
    Ok((out, exported))
}

/// Makes a file durable and gives it its name, unless that is taken.
fn keep(part: NamedTempFile, path: &Path) -> Result<()> {
    part.as_file()
        .sync_all()
        .map_err(|e| Error::io(EXPORT, path.display(), e))?;
    part.persist_noclobber(path)
        .map_err(|e| Error::io(EXPORT, path.display(), e.error))?;
    let folder = folder(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io(EXPORT, folder.display(), e))?;
    Ok(())
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The file with the checksum of `path`.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

/// Makes a volume of files.
pub(super) async fn import(home: &Home, args: ImportDiff) -> Result<VolumeRecord> {
    let mut files = Vec::new();
    for path in &args.files {
        let sha256 = checksum(path)?;
        if sha256.is_none() {
            home.messages.note(format_args!(
                "note: there is no {}: nothing tells whether the file is as it was written",
                beside(path).display()
            ));
        }
        files.push(DiffInput {
            name: path.display().to_string(),
            content: content(path)?,
            sha256,
        });
    }
    let bar = Arc::new(home.messages.bar());
    let job = home.job(&bar);
    let done = home
        .service
        .import_differences(&home.caller, args.name, files, &job)
        .await;
    bar.clear();
    let volume = done.map_err(cancelled("no volume was made"))?;
    bar.finish("imported", volume.length);
    Ok(volume)
}

/// A file is opened when it is its turn; what is none, as a pipe, can be opened once only.
fn content(path: &Path) -> Result<DiffContent> {
    let open = |path: &Path| -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(path)?;
        Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
    };
    let failed = |e| Error::io(IMPORT, path.display(), e);
    if path.metadata().map_err(failed)?.is_file() {
        let path = path.to_owned();
        return Ok(DiffContent::File(Box::new(move || open(&path))));
    }
    Ok(DiffContent::Stream(open(path).map_err(failed)?))
}

/// The checksum that is kept beside a file, as `sha256sum` writes it; `None` where there is none.
fn checksum(path: &Path) -> Result<Option<[u8; 32]>> {
    let sum = beside(path);
    let mut text = String::new();
    let read = File::open(&sum).and_then(|file| file.take(4096).read_to_string(&mut text));
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(IMPORT, sum.display(), e).into()),
        Ok(_) => {}
    }
    let word = text.split_whitespace().next().unwrap_or_default();
    let mut sha256 = [0; 32];
    hex::decode_to_slice(word, &mut sha256)
        .map_err(|_| Error::corrupt(IMPORT, sum.display(), "it does not begin with a SHA-256"))?;
    Ok(Some(sha256))
}
