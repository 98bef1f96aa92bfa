//! From Cinder's options to our settings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use backup_core::{Algorithm, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::syntax::{Options, truth};
use super::table::{self, CinderOption, Way};

/// The name that the repository gets.
pub(crate) const REPOSITORY: &str = "cinder";

/// Longer objects than this are not asked for: two of them must fit into the memory of a job.
const LONGEST_CHUNK: u64 = 256 << 20;

/// Cinder's class for volumes that are RBD images.
const RBD_DRIVER: &str = "cinder.volume.drivers.rbd.";

const DEFAULT_DRIVER: &str = "cinder.backup.drivers.swift.SwiftBackupDriver";

/// Cinder's classes and our types.
const DRIVERS: &[(&str, &str)] = &[
    ("cinder.backup.drivers.posix", "posix"),
    ("cinder.backup.drivers.nfs", "nfs"),
    ("cinder.backup.drivers.swift", "swift"),
    ("cinder.backup.drivers.s3", "s3"),
    ("cinder.backup.drivers.ceph", "ceph"),
    ("cinder.backup.drivers.gcs", "gcs"),
];

/// A configuration made of Cinder's.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    backup: BTreeMap<&'static str, toml::Value>,
    repository: BTreeMap<&'static str, toml::Value>,
    volumes: BTreeMap<&'static str, toml::Value>,
    /// Secrets by the setting that names their file, without `_file`.
    secrets: Vec<(&'static str, String)>,
    /// What could not be carried over, and why.
    pub(crate) left: Vec<String>,
    /// What is to be done besides.
    pub(crate) notes: Vec<String>,
}

/// Makes our configuration of a cinder.conf's text.
///
/// # Errors
/// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) for a text that is not of oslo.config's syntax.
pub(crate) fn convert(text: &str) -> Result<Converted> {
    let options = Options::parse(text)?;
    let mut made = Converted::default();
    let driver = options.get("backup_driver").unwrap_or_default();
    let driver = driver.as_deref().unwrap_or(DEFAULT_DRIVER);
    let kind = DRIVERS
        .iter()
        .find(|(module, _)| driver.starts_with(module))
        .map_or("", |(_, kind)| kind);
    for name in options.names() {
        let Some(option) = table::find(name) else {
            if name.starts_with("backup_") {
                made.leave(&options, name, "no option of Cinder 29's");
            }
            continue;
        };
        if option.way == Way::Nothing {
            made.leave(&options, name, option.note);
        } else if !option.is_for(kind) {
            made.leave(
                &options,
                name,
                "of a driver that backup_driver does not name",
            );
        } else if let Err(why) = made.take(option, &options, kind) {
            made.leave(&options, name, &why);
        }
    }
    match kind {
        "posix" | "nfs" => made.folder(&options, kind),
        "s3" | "swift" => {
            made.repository.insert("type", kind.into());
            if kind == "swift" {
                made.swift(&options);
            }
        }
        "ceph" => {
            made.repository.insert("type", kind.into());
            if !cfg!(feature = "rbd") {
                made.notes
                    .push("type = \"ceph\" needs a build with the feature rbd".into());
            }
        }
        _ => made.left.push(format!(
            "backup_driver = {driver}: this build has no driver for it, so there is no repository"
        )),
    }
    made.volumes(&options);
    Ok(made)
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "it is not a whole number from 0".to_owned())
}

fn number(value: u64) -> Result<toml::Value, String> {
    i64::try_from(value)
        .map(toml::Value::Integer)
        .map_err(|_| "it is too large".to_owned())
}

/// The last part of a setting's name.
fn key(option: &CinderOption) -> &'static str {
    option.setting.rsplit('.').next().unwrap_or_default()
}

/// What a backend says of itself.
struct Backend(BTreeMap<&'static str, String>);

impl Backend {
    const OPTIONS: [&str; 6] = [
        "volume_driver",
        "rbd_pool",
        "rbd_user",
        "rbd_cluster_name",
        "rbd_ceph_conf",
        "rados_connect_timeout",
    ];

    /// Its own section, and what Cinder has for all backends where that is silent. Else the option that cannot be told,
    /// and the name that it refers to.
    fn read(options: &Options, section: &str) -> Result<Self, (&'static str, String)> {
        let mut told = BTreeMap::new();
        for option in Self::OPTIONS {
            let own = options.get_in(section, option).map_err(|e| (option, e))?;
            let value = match own {
                Some(value) => Some(value),
                None => options
                    .get_in("backend_defaults", option)
                    .map_err(|e| (option, e))?,
            };
            told.extend(value.map(|value| (option, value)));
        }
        Ok(Self(told))
    }
}

impl Converted {
    fn leave(&mut self, options: &Options, name: &str, why: &str) {
        // A secret is not shown, nor what may hold one.
        let value = match options.get(name) {
            Ok(Some(value)) if !CinderOption::is_secret(name) => value.replace('\n', " "),
            _ => "...".to_owned(),
        };
        self.left.push(format!("{name} = {value}: {why}"));
    }

    fn set(&mut self, option: &CinderOption, value: toml::Value) {
        if option.setting.starts_with("backup.") {
            self.backup.insert(key(option), value);
        } else {
            self.repository.insert(key(option), value);
        }
    }

    /// Carries one option over; the reason where it cannot be.
    fn take(&mut self, option: &CinderOption, options: &Options, kind: &str) -> Result<(), String> {
        let value = options
            .get(option.name)
            .map_err(|name| format!("it refers to ${name}, which is not set"))?;
        let Some(value) = value else {
            return Ok(());
        };
        let truth = || truth(&value).ok_or_else(|| "it is not true or false".to_owned());
        match option.way {
            Way::Text => self.set(option, value.clone().into()),
            Way::Boolean => self.set(option, truth()?.into()),
            Way::Inverted => self.set(option, (!truth()?).into()),
            Way::Integer => {
                // Python's floats: 60.0; a part of a second counts as one.
                let (before, behind) = value.split_once('.').unwrap_or((&value, ""));
                let more = u64::from(behind.bytes().any(|b| b != b'0'));
                self.set(option, number(whole(before)?.saturating_add(more))?);
            }
            Way::Chunk => {
                let bytes = whole(&value)?;
                if bytes > LONGEST_CHUNK {
                    return Err(
                        "it need not be the same, and chunks take memory; the default stands"
                            .into(),
                    );
                }
                self.set(option, number(bytes)?);
            }
            Way::Block => self.set(option, number(whole(&value)?)?),
            Way::Secret => {
                let name = key(option).trim_end_matches("_file");
                self.secrets.push((name, value.clone()));
            }
            Way::Special => self.special(option.name, &value, kind)?,
            Way::Nothing => {}
        }
        Ok(())
    }

    fn special(&mut self, name: &str, value: &str, kind: &str) -> Result<(), String> {
        match name {
            "backup_compression_algorithm" => {
                let algorithm: Algorithm = value
                    .parse()
                    .map_err(|_| "it is none of none, zlib, bzip2 and zstd".to_owned())?;
                if kind == "ceph" {
                    return Err("ceph ignores it".into());
                }
                self.backup.insert("compression", algorithm.word().into());
            }
            "backup_s3_sse_customer_key" => {
                self.repository.insert("sse", "customer".into());
                self.secrets
                    .push(("sse_customer_key", STANDARD.encode(value)));
            }
            "backup_swift_auth_version" => {
                let version = match value {
                    "1" | "1.0" => 1,
                    "3" | "3.0" => 3,
                    _ => return Err("only 1 and 3 are spoken".into()),
                };
                self.repository.insert("auth_version", version.into());
            }
            "swift_catalog_info" => {
                let parts: Vec<_> = value.split(':').collect();
                let [service, service_name, interface] = parts[..] else {
                    return Err("it is not <service_type>:<service_name>:<endpoint_type>".into());
                };
                self.repository.insert("service_type", service.into());
                if !service_name.is_empty() {
                    self.repository.insert("service_name", service_name.into());
                }
                let interface = interface.trim_end_matches("URL").to_ascii_lowercase();
                self.repository.insert("interface", interface.into());
            }
            // oslo.config joins lines that go on.
            "backup_mount_options" => {
                let with = value.replace('\n', "");
                self.repository.insert("mount_options", with.into());
            }
            // Done with the folder, with Swift's account, and before all else.
            _ => {}
        }
        Ok(())
    }

    /// The folder of the posix driver, and where the nfs driver mounts its share.
    fn folder(&mut self, options: &Options, kind: &str) {
        let (setting, option, default) = if kind == "posix" {
            ("path", "backup_posix_path", "$state_path/backup")
        } else {
            // Cinder's default, which is not ours: so both share a mount.
            (
                "mount_point_base",
                "backup_mount_point_base",
                "$state_path/backup_mount",
            )
        };
        if kind == "nfs" && !self.repository.contains_key("share") {
            self.repository.clear();
            self.left
                .push("backup_share is not set: there is no repository".into());
            return;
        }
        let path = match options.get(option) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => options.expand(default),
            Err(e) => Err(e),
        };
        match path {
            Ok(path) => {
                self.repository.insert("type", kind.into());
                self.repository.insert(setting, path.into());
            }
            Err(name) => {
                self.repository.clear();
                self.left.push(format!(
                    "the folder of backups refers to ${name}, which is not set: there is no repository"
                ));
            }
        }
    }

    /// Where the volumes are: the first enabled backend that is RBD.
    fn volumes(&mut self, options: &Options) {
        let enabled = options.get("enabled_backends").ok().flatten();
        let enabled = enabled.unwrap_or_default();
        for backend in enabled.split(',').map(str::trim).filter(|b| !b.is_empty()) {
            let backend_of = match Backend::read(options, backend) {
                Ok(read) => read,
                Err((option, name)) => {
                    self.left.push(format!(
                        "[{backend}] {option} refers to ${name}, which is not set: its volumes are not taken"
                    ));
                    continue;
                }
            };
            let get = |name: &str| backend_of.0.get(name).cloned();
            let driver = get("volume_driver").unwrap_or_default();
            if !driver.starts_with(RBD_DRIVER) {
                self.left.push(format!(
                    "[{backend}] volume_driver = {driver}: its volumes are given one by one, by `volume create --file`"
                ));
                continue;
            }
            let pool = get("rbd_pool").unwrap_or_else(|| "rbd".into());
            if self.volumes.contains_key("provider") {
                self.left.push(format!(
                    "[{backend}] rbd_pool = {pool}: [volumes] has one pool; where it is in the same cluster, its images \
                     are taken by `volume create --image {pool}/IMAGE`"
                ));
                continue;
            }
            self.volumes.insert("provider", "rbd".into());
            self.volumes.insert("pool", pool.into());
            // Cinder's default is Ceph's.
            let user = get("rbd_user").unwrap_or_else(|| "admin".into());
            self.volumes.insert("user", user.into());
            let cluster = get("rbd_cluster_name").unwrap_or_else(|| "ceph".into());
            let conf = get("rbd_ceph_conf").unwrap_or_else(|| format!("/etc/ceph/{cluster}.conf"));
            self.volumes.insert("conf", conf.into());
            let seconds = get("rados_connect_timeout").and_then(|s| s.parse::<u32>().ok());
            if let Some(seconds) = seconds.filter(|s| *s > 0) {
                self.volumes
                    .insert("connect_timeout", i64::from(seconds).into());
            }
            let kept = options.get("backup_ceph_max_snapshots").ok().flatten();
            // 0, which is Cinder's default, keeps all; ours needs no more than it keeps by itself.
            let kept = kept.and_then(|n| n.parse::<u32>().ok()).filter(|n| *n > 0);
            if let Some(kept) = kept {
                self.volumes.insert("max_snapshots", i64::from(kept).into());
            }
            if !cfg!(feature = "rbd") {
                self.notes
                    .push("provider = \"rbd\" needs a build with the feature rbd".into());
            }
        }
    }

    /// Whose account of Swift's it is.
    fn swift(&mut self, options: &Options) {
        // Cinder's default, which is not ours.
        let auth = self
            .repository
            .entry("auth")
            .or_insert_with(|| "per_user".into());
        let per_user = auth.as_str() == Some("per_user");
        let url = options.get("backup_swift_url").ok().flatten();
        if per_user {
            if let Some(url) = url {
                self.repository.insert("storage_url", url.into());
            }
            self.notes.push(
                "per_user: set storage_url to the whole address of your account (backup_swift_url and the project's ID), \
                 and token_file to a file with a token; or set auth = \"single_user\" with auth_url, username and password_file"
                    .into(),
            );
        } else {
            if url.is_some() {
                self.leave(options, "backup_swift_url", "only per_user needs it");
            }
            // Cinder signs in by version 1 unless told otherwise; ours goes by the address.
            self.repository
                .entry("auth_version")
                .or_insert(toml::Value::Integer(1));
        }
    }

    /// The secrets: the setting that names the file, and what belongs into it.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (String, &str)> {
        self.secrets
            .iter()
            .map(|(name, secret)| (format!("{name}_file"), secret.as_str()))
    }

    /// The configuration's text. `files` are the secrets' files, in their order; where there are none, comments say
    /// what is to be added.
    pub(crate) fn text(&self, files: &[String]) -> String {
        let mut out = String::from("# Made of cinder.conf by `ashlar config from-cinder`.\n");
        for note in &self.notes {
            let _infallible = writeln!(out, "# To do: {note}");
        }
        let has_repository = self.repository.contains_key("type");
        out.push_str("\n[backup]\n");
        if has_repository {
            let _infallible = writeln!(out, "repository = \"{REPOSITORY}\"");
        }
        for (key, value) in &self.backup {
            let _infallible = writeln!(out, "{key} = {value}");
        }
        if !self.volumes.is_empty() {
            out.push_str("\n[volumes]\n");
            for (key, value) in &self.volumes {
                let _infallible = writeln!(out, "{key} = {value}");
            }
        }
        if !has_repository {
            return out;
        }
        let _infallible = writeln!(out, "\n[repository.{REPOSITORY}]");
        for (key, value) in &self.repository {
            let _infallible = writeln!(out, "{key} = {value}");
        }
        for (i, (setting, _)) in self.secrets().enumerate() {
            let _infallible = match files.get(i) {
                Some(file) => writeln!(out, "{setting} = {}", toml::Value::from(file.as_str())),
                None => writeln!(out, "# {setting} = \"...\"   a file with the secret"),
            };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{PARAMETERS, options};
    use super::*;

    /// The rows of the page: the first cell's word, and all cells but the first.
    fn rows(page: &str) -> BTreeMap<String, Vec<String>> {
        page.lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
                let rest = cells[1..].iter().map(ToString::to_string).collect();
                (cells[0].trim_matches('`').to_owned(), rest)
            })
            .collect()
    }

    #[test]
    fn the_page_and_the_table_say_the_same() {
        let page = rows(include_str!("../../../docs/from-cinder.md"));
        assert_eq!(page.len(), options().count() + PARAMETERS.len());
        let here = |option: &CinderOption| {
            let setting = if option.setting.is_empty() {
                "nothing".to_owned()
            } else {
                format!("`{}`", option.setting)
            };
            if option.note.is_empty() {
                setting
            } else {
                format!("{setting}: {}", option.note)
            }
        };
        for option in options() {
            let of = if option.types.is_empty() {
                "all".to_owned()
            } else {
                option.types.join(", ")
            };
            assert_eq!(page[option.name], [of, here(option)], "{}", option.name);
        }
        for (parameter, name) in PARAMETERS {
            let option = table::find(name).unwrap();
            let expected = [format!("`{name}`"), here(option)];
            assert_eq!(page[*parameter], expected, "{parameter}");
        }
    }

    #[test]
    fn every_setting_of_the_table_is_one_of_ours() {
        for option in options().filter(|o| !o.setting.is_empty()) {
            if option.types == ["swift"] && !backup_drivers::in_this_build().contains(&"swift") {
                continue;
            }
            crate::config::keys::find(option.setting)
                .unwrap_or_else(|e| panic!("{}: {e}", option.name));
        }
    }

    #[test]
    fn a_secret_is_in_no_text_and_no_note() {
        let text = "[DEFAULT]\nbackup_driver = cinder.backup.drivers.s3.S3BackupDriver\n\
                    backup_s3_store_secret_key = hush1\nbackup_swift_key = hush2\n\
                    backup_s3_sse_customer_key = hush3\nbackup_unknown_password = hush4\n";
        let made = convert(text).unwrap();
        let all = format!("{}{:?}{:?}", made.text(&[]), made.left, made.notes);
        assert!(!all.contains("hush"), "{all}");
        assert_eq!(made.secrets().count(), 2);
    }
}
