//! `ashlar demo`: the whole job on a sample volume, each step with the command that does it.

mod content;
mod digest;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_core::service::{CreateRequest, NewVolume, RestoreRequest, RestoreTarget, VolumeOrigin};
use backup_core::{BackupRecord, Error, Timestamp, VolumeRecord};
use serde_json::{Value, json};

use crate::args::{Demo, Global};
use crate::config::print_size;
use crate::failure::{Failure, Result};
use crate::home::{self, Home, make_private};
use crate::messages::{Messages, warn};
use crate::output::{Column, Output, column};

const COLUMNS: &[Column] = &[
    column("Step", "step"),
    column("Volume", "volume_bytes"),
    column("Stored", "stored_bytes"),
    column("Objects", "objects"),
    column("Seconds", "seconds"),
    column("SHA-256", "sha256"),
];

/// One line of the closing table.
struct Row {
    step: &'static str,
    volume: u64,
    stored: Option<u64>,
    objects: Option<u64>,
    time: Duration,
    sha256: Option<String>,
}

pub(super) async fn run(args: &Demo, global: &Global, output: &Output) -> Result<()> {
    let messages = Messages::new(global.quiet, global.verbose > 0);
    let place = Place::choose(args)?;
    let result = Box::pin(demo(args, global, output, messages, &place)).await;
    place.leave();
    result
}

async fn demo(
    args: &Demo,
    global: &Global,
    output: &Output,
    messages: Messages,
    place: &Place,
) -> Result<()> {
    let root = place.path().to_path_buf();
    messages.note(format_args!("Everything happens in {}", root.display()));
    let settings = home::settings_apart(&root, global)?;
    let home = Box::pin(Home::open(root.clone(), settings, messages)).await?;
    let mut show = Show {
        home: &home,
        rows: Vec::new(),
    };

    let image = root.join("sample.img");
    let started = Instant::now();
    let (length, kind) = {
        let (image, work, bytes) = (image.clone(), root.join("content"), args.size << 20);
        blocking(move || content::make(&image, &work, bytes)).await?
    };
    messages.note(format_args!(
        "Made {}: {} of {kind}",
        image.display(),
        print_size(length)
    ));
    show.row(
        "sample volume",
        length,
        None,
        None,
        started.elapsed(),
        Some(digest(&image).await?),
    );
    let first = show.rows[0].sha256.clone();

    let volume = show.adopt(&image).await?;
    let full = show.back_up(&volume, "full", false).await?;

    let started = Instant::now();
    let changed = {
        let image = image.clone();
        blocking(move || content::change(&image)).await?
    };
    messages.note(format_args!(
        "\nChanged {} of it, in scattered blocks",
        print_size(changed)
    ));
    let second = digest(&image).await?;
    show.row(
        "1 % changed",
        length,
        None,
        None,
        started.elapsed(),
        Some(second.clone()),
    );

    let incremental = show.back_up(&volume, "incremental", true).await?;
    let restored_full = show.restore(&full, "before").await?;
    let restored_incremental = show.restore(&incremental, "after").await?;
    let good = show.verify(&full).await? & show.verify(&incremental).await?;

    let same = Some(restored_full) == first && restored_incremental == second;
    messages.note(format_args!(""));
    let rows: Vec<_> = show.rows.iter().map(|row| row.values(output)).collect();
    output.list(COLUMNS, &rows)?;
    if !same {
        return Err(Error::corrupt(
            "demo",
            root.display(),
            "a restored volume differs from its source",
        )
        .hint("this is a bug in Ashlar or a fault of this machine; please report it")
        .into());
    }
    if !good {
        return Err(Error::corrupt("demo", root.display(), "a backup did not verify").into());
    }
    messages.note(format_args!(
        "Both restored volumes are equal to their source, byte for byte, and both backups verify."
    ));
    next(messages, &root, place.stays());
    Ok(())
}

/// Where to go next.
fn next(messages: Messages, root: &Path, stays: bool) {
    if stays {
        messages.note(format_args!(
            "\nLook around in it:\n  ashlar --home {0} volume backup list\n  ashlar --home {0} volume list",
            root.display()
        ));
    } else {
        messages.note(format_args!(
            "\nKeep it to look around: ashlar demo --dir DIR, then ashlar --home DIR volume backup list"
        ));
    }
    messages.note(format_args!(
        "Back up an image or a block device of your own:\n  \
         ashlar volume create --file /path/to/disk.img NAME\n  \
         ashlar volume backup create --name first NAME"
    ));
}

struct Show<'a> {
    home: &'a Home,
    rows: Vec<Row>,
}

impl Show<'_> {
    fn row(
        &mut self,
        step: &'static str,
        volume: u64,
        stored: Option<u64>,
        objects: Option<u64>,
        time: Duration,
        sha256: Option<String>,
    ) {
        self.rows.push(Row {
            step,
            volume,
            stored,
            objects,
            time,
            sha256,
        });
    }

    /// Says which command does what comes now.
    fn command(&self, text: &str) {
        self.home.messages.note(format_args!("\n$ ashlar {text}"));
    }

    async fn adopt(&self, image: &Path) -> Result<VolumeRecord> {
        self.command(&format!("volume create --file {} sample", image.display()));
        let origin = VolumeOrigin::Adopt(image.to_string_lossy().into_owned());
        let new = NewVolume::new(origin).named("sample");
        let now = Timestamp::now();
        Ok(self
            .home
            .service
            .create_volume(&self.home.caller, new, now)
            .await?)
    }

    async fn back_up(
        &mut self,
        volume: &VolumeRecord,
        name: &str,
        incremental: bool,
    ) -> Result<BackupRecord> {
        let flag = if incremental { "--incremental " } else { "" };
        self.command(&format!("volume backup create {flag}--name {name} sample"));
        let request = CreateRequest::of(volume.id.to_string())
            .named(name)
            .incremental(incremental);
        let started = Instant::now();
        let bar = Arc::new(self.home.messages.bar());
        let result = self
            .home
            .service
            .create_backup(&self.home.caller, request, &self.home.job(&bar))
            .await;
        bar.clear();
        let created = result?;
        bar.finish("backed up", created.outcome.volume_length);
        let outcome = &created.outcome;
        let stored = outcome.stored_bytes + outcome.index_bytes;
        let step = if incremental {
            "incremental backup"
        } else {
            "full backup"
        };
        self.row(
            step,
            outcome.volume_length,
            Some(stored),
            Some(outcome.object_count),
            started.elapsed(),
            None,
        );
        Ok(created.backup)
    }

    /// Restores to a new volume, and answers the checksum of its file.
    async fn restore(&mut self, backup: &BackupRecord, name: &str) -> Result<String> {
        let of = backup.name.clone().unwrap_or_default();
        self.command(&format!("volume backup restore --name {name} {of}"));
        let request = RestoreRequest::of(backup.id.to_string()).to(RestoreTarget::New {
            name: Some(name.to_owned()),
        });
        let started = Instant::now();
        let bar = Arc::new(self.home.messages.bar());
        let result = self
            .home
            .service
            .restore_backup(&self.home.caller, request, &self.home.job(&bar))
            .await;
        bar.clear();
        let restored = result?;
        let time = started.elapsed();
        bar.finish("restored", restored.report.volume_length);
        let path = restored
            .volume
            .provider_location
            .as_deref()
            .ok_or_else(|| Error::internal("demo", "the restored volume has no path"))?;
        let sha256 = digest(Path::new(path)).await?;
        let step = if backup.is_incremental() {
            "restore of incremental"
        } else {
            "restore of full"
        };
        let report = &restored.report;
        self.row(
            step,
            report.volume_length,
            Some(report.fetched_bytes),
            Some(report.objects),
            time,
            Some(sha256.clone()),
        );
        Ok(sha256)
    }

    async fn verify(&mut self, backup: &BackupRecord) -> Result<bool> {
        self.command(&format!(
            "volume backup verify {}",
            backup.name.clone().unwrap_or_default()
        ));
        let started = Instant::now();
        let bar = Arc::new(self.home.messages.bar());
        let result = self
            .home
            .service
            .verify_backup(
                &self.home.caller,
                &backup.id.to_string(),
                &self.home.job(&bar),
            )
            .await;
        bar.clear();
        let verified = result?;
        bar.finish("verified", verified.report.volume_length);
        for problem in &verified.report.problems {
            warn(format_args!("{problem}"));
        }
        let step = if backup.is_incremental() {
            "verify incremental"
        } else {
            "verify full"
        };
        let report = &verified.report;
        self.row(
            step,
            report.volume_length,
            Some(report.fetched_bytes),
            Some(report.objects),
            started.elapsed(),
            None,
        );
        Ok(report.data_is_right())
    }
}

impl Row {
    /// For people in a table, as numbers of bytes elsewhere.
    fn values(&self, output: &Output) -> Vec<Value> {
        let people = output.is_for_people();
        let size = |bytes: Option<u64>| match bytes {
            None if people => json!(""),
            Some(bytes) if people => json!(print_size(bytes)),
            bytes => json!(bytes),
        };
        let sha256 = match &self.sha256 {
            None if people => json!(""),
            Some(hex) if people => json!(format!("{}...", &hex[..16])),
            sha256 => json!(sha256),
        };
        let seconds = self.time.as_secs_f64();
        vec![
            json!(self.step),
            size(Some(self.volume)),
            size(self.stored),
            self.objects.map_or_else(
                || if people { json!("") } else { Value::Null },
                |n| json!(n),
            ),
            if people {
                json!(format!("{seconds:.2}"))
            } else {
                json!((seconds * 1000.0).round() / 1000.0)
            },
            sha256,
        ]
    }
}

/// Where the demo happens.
enum Place {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Place {
    fn choose(args: &Demo) -> Result<Self> {
        if let Some(dir) = &args.dir {
            let path = std::path::absolute(dir)
                .map_err(|e| Error::io("find the folder", dir.display(), e))?;
            make_private(&path)?;
            let used = std::fs::read_dir(&path)
                .map_err(|e| Error::io("look into", path.display(), e))?
                .next()
                .is_some();
            if used {
                return Err(Failure::usage(
                    format!("demo in {}: the folder is not empty", path.display()),
                    Some("name an empty or a new one".into()),
                ));
            }
            return Ok(Self::Kept(path));
        }
        // On disk rather than in /tmp, which is memory on many machines.
        let base = [
            std::env::var_os("TMPDIR").map(PathBuf::from),
            Some("/var/tmp".into()),
        ]
        .into_iter()
        .flatten()
        .find(|p| p.is_dir())
        .unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new()
            .prefix("ashlar-demo-")
            .tempdir_in(&base)
            .map_err(|e| Error::io("make a temporary folder in", base.display(), e))?;
        Ok(if args.keep {
            Self::Kept(dir.keep())
        } else {
            Self::Temporary(dir)
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(path) => path,
        }
    }

    fn stays(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    fn leave(self) {
        if let Self::Temporary(dir) = self {
            let path = dir.path().to_path_buf();
            if let Err(e) = dir.close() {
                warn(format_args!("could not remove {}: {e}", path.display()));
            }
        }
    }
}

async fn digest(path: &Path) -> Result<String> {
    let path = path.to_path_buf();
    blocking(move || digest::sha256(&path)).await
}

/// Runs work that blocks beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> backup_core::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("demo", e.to_string()))??)
}
