//! Settings: the defaults, the file, `ASHLAR_...` variables and `-o`, each over the one before it.
//!
//! Every key is known by name ([`keys`]), so that a mistyped one is an error that names the nearest, wherever it
//! stands, and every value is read to its kind when it is set, so that a wrong one is told with its place.

pub(crate) mod keys;
pub(crate) mod memory;
mod size;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use backup_core::{Algorithm, Error, ErrorKind, Result};
use backup_drivers::{RepositoryConfig, VolumesConfig};
use serde::Deserialize;

use keys::{Key, Kind};
pub(crate) use size::print_size;

/// The name of the repository that is there without any configuration.
pub(crate) const DEFAULT_REPOSITORY: &str = "default";

/// All settings, each with its value or default.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) backup: BackupSettings,
    pub(crate) repositories: BTreeMap<String, RepositoryConfig>,
    /// What each repository may be asked, by its name.
    pub(crate) limits: BTreeMap<String, LimitSettings>,
    pub(crate) volumes: VolumesConfig,
    pub(crate) catalog: CatalogSettings,
}

/// What a repository of any type may be asked at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LimitSettings {
    /// Bytes a second each way; None for no limit.
    pub(crate) max_bandwidth: Option<u64>,
    /// Requests in flight at once; None for what suits the repository.
    pub(crate) requests: Option<usize>,
}

/// `[backup]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackupSettings {
    /// The repository that backups go to.
    pub(crate) repository: String,
    /// None for the engine's default.
    pub(crate) compression: Option<Algorithm>,
    /// None for the algorithm's default.
    pub(crate) level: Option<i32>,
    /// The container where the user gives none; None for the repository's own choice.
    pub(crate) container: Option<String>,
    /// Bytes.
    pub(crate) chunk_size: Option<u64>,
    /// Bytes.
    pub(crate) hash_block_size: Option<u64>,
    /// Bytes.
    pub(crate) join_gap: Option<u64>,
    /// How much of what is told as unchanged is read all the same; None for the engine's default.
    pub(crate) audit_percent: Option<u32>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Requests to the repository in flight at once.
    pub(crate) concurrency: Option<usize>,
    /// Bytes a second to and from each repository that has no limit of its own.
    pub(crate) max_bandwidth: Option<u64>,
    pub(crate) availability_zone: String,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            repository: DEFAULT_REPOSITORY.into(),
            compression: None,
            level: None,
            container: None,
            chunk_size: None,
            hash_block_size: None,
            join_gap: None,
            audit_percent: None,
            memory: None,
            concurrency: None,
            max_bandwidth: None,
            availability_zone: "nova".into(),
        }
    }
}

/// `[catalog]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogSettings {
    pub(crate) url: String,
}

/// All of the merged table, before the defaults of the home are put in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Merged {
    backup: BackupSettings,
    repository: BTreeMap<String, RepositoryConfig>,
    volumes: Option<VolumesConfig>,
    catalog: Option<CatalogSettings>,
}

/// Where a value comes from, for messages and for relative paths.
#[derive(Debug, Clone, Copy)]
enum Origin<'a> {
    File(&'a Path),
    Variable(&'a str),
    Option,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Variable(name) => write!(f, "from the variable {name}"),
            Self::Option => f.write_str("given with -o"),
        }
    }
}

/// What the settings are made of.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    /// `--config`; without it, `ashlar.toml` of the home where there is one.
    pub(crate) file: Option<&'a Path>,
    /// All environment variables.
    pub(crate) environment: &'a [(String, String)],
    /// All of `-o`.
    pub(crate) options: &'a [String],
}

/// Where the default repository lies unless it is configured elsewhere.
pub(crate) fn default_folder(home: &Path) -> PathBuf {
    home.join("repository")
}

/// Puts the layers over each other.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for an unknown key or a wrong value, with its place.
pub(crate) fn load(home: &Path, sources: &Sources<'_>) -> Result<Settings> {
    let mut table = toml::Table::new();
    read_file(home, sources.file, &mut table)?;
    for (name, value) in sources.environment {
        if let Some(path) = keys::of_variable(name, &repository_names(&table))? {
            if later(&table, &path) {
                continue;
            }
            set_text(&mut table, &path, value, Origin::Variable(name))?;
        }
    }
    for option in sources.options {
        let (path, value) = option.split_once('=').ok_or_else(|| {
            Error::invalid("read -o", format!("{option:?} is not KEY=VALUE"))
                .hint("for example: -o backup.compression=zstd")
        })?;
        if keys::is_secret(path) {
            return Err(Error::invalid(
                format!("set {path} with -o"),
                "a command line can be read by every user of this machine (ps)",
            )
            .hint(format!(
                "put it into the configuration file, into a file named by {path}_file, or into the environment as {}",
                keys::variable_of(path)
            )));
        }
        set_text(&mut table, path.trim(), value, Origin::Option)?;
    }
    finish(home, table)
}

fn read_file(home: &Path, named: Option<&Path>, table: &mut toml::Table) -> Result<()> {
    let default = home.join("ashlar.toml");
    let path = named.unwrap_or(&default);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read the configuration", path.display(), e)),
    };
    let read: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e
            .span()
            .map(|s| text[..s.start].lines().count().max(1))
            .map_or_else(String::new, |n| format!("line {n}: "));
        Error::invalid("read the configuration", format!("{line}{}", e.message()))
            .on(path.display())
    })?;
    flatten(table, "", read, Origin::File(path))
}

/// Sets every value of a file's tables under its dotted key.
fn flatten(
    table: &mut toml::Table,
    above: &str,
    read: toml::Table,
    origin: Origin<'_>,
) -> Result<()> {
    let mut read = read;
    if let Some(toml::Value::String(kind)) = read.get("type")
        && above.starts_with("repository.")
        && keys::is_later(kind)
    {
        // Its settings are its driver's to read, once there is one.
        read.retain(|name, _| name == "type");
    }
    for (name, value) in read {
        let path = if above.is_empty() {
            name
        } else {
            format!("{above}.{name}")
        };
        match value {
            toml::Value::Table(inner) if path.split('.').count() <= keys::depth(&path) => {
                // An empty section is checked by name all the same.
                keys::check_section(&path).map_err(|e| e.on(origin))?;
                flatten(table, &path, inner, origin)?;
            }
            value => {
                let key = keys::find(&path).map_err(|e| e.on(origin))?;
                set(table, &path, key, value, origin)?;
            }
        }
    }
    Ok(())
}

fn set_text(table: &mut toml::Table, path: &str, text: &str, origin: Origin<'_>) -> Result<()> {
    let key = keys::find(path).map_err(|e| e.on(origin))?;
    let value = match key.kind {
        Kind::Integer { .. } => text.parse::<i64>().map_or_else(
            |_| toml::Value::String(text.to_owned()),
            toml::Value::Integer,
        ),
        _ => toml::Value::String(text.to_owned()),
    };
    set(table, path, key, value, origin)
}

/// Reads the value to its key's kind and puts it into the merged table.
fn set(
    table: &mut toml::Table,
    path: &str,
    key: &Key,
    value: toml::Value,
    origin: Origin<'_>,
) -> Result<()> {
    let wrong = |why: String| Error::invalid(format!("set {path}"), why).on(format!("({origin})"));
    let value = key.kind.read(value).map_err(wrong)?;
    let value = match (key.kind, value) {
        (Kind::Path, toml::Value::String(text)) => toml::Value::String(absolute(&text, origin)?),
        (_, value) => value,
    };
    let (sections, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = table;
    for section in sections.split('.').filter(|s| !s.is_empty()) {
        let inner = at
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = match inner {
            toml::Value::Table(inner) => inner,
            _ => {
                return Err(Error::internal(
                    "set a setting",
                    format!("{section} is no section"),
                ));
            }
        };
    }
    at.insert(name.to_owned(), value);
    Ok(())
}

/// A path of the file is relative to the file's folder, any other to the working folder; `~/` is the user's home.
fn absolute(text: &str, origin: Origin<'_>) -> Result<String> {
    if let (Some(rest), Some(user)) = (text.strip_prefix("~/"), std::env::home_dir()) {
        return Ok(user.join(rest).to_string_lossy().into_owned());
    }
    let base = match origin {
        Origin::File(path) => path.parent().map(Path::to_path_buf).unwrap_or_default(),
        Origin::Variable(_) | Origin::Option => PathBuf::new(),
    };
    let path = std::path::absolute(base.join(text))
        .map_err(|e| Error::io("find the folder of", text, e))?;
    path.into_os_string()
        .into_string()
        .map_err(|p| Error::invalid("read a path", format!("{} is not UTF-8", p.display())))
}

/// Whether `path` is a setting of a repository whose type this build has no driver for.
fn later(table: &toml::Table, path: &str) -> bool {
    let mut parts = path.split('.');
    let (Some("repository"), Some(name)) = (parts.next(), parts.next()) else {
        return false;
    };
    let section = table.get("repository").and_then(|r| r.get(name));
    section
        .and_then(|s| s.get("type"))
        .and_then(toml::Value::as_str)
        .is_some_and(keys::is_later)
}

fn repository_names(table: &toml::Table) -> Vec<String> {
    match table.get("repository") {
        Some(toml::Value::Table(inner)) => inner.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Takes the limits out of the repositories' sections: they are the same for every type, and no driver's to read. A
/// type that has `requests` itself keeps it.
fn take_limits(table: &mut toml::Table) -> BTreeMap<String, LimitSettings> {
    let for_all = table.get("backup").and_then(|b| b.get("max_bandwidth"));
    let for_all = for_all.and_then(toml::Value::as_integer);
    let mut limits = BTreeMap::new();
    let Some(toml::Value::Table(repositories)) = table.get_mut("repository") else {
        return limits;
    };
    for (name, section) in repositories {
        let toml::Value::Table(section) = section else {
            continue;
        };
        let own = section.remove("max_bandwidth");
        let own = own.as_ref().and_then(toml::Value::as_integer);
        let requests = section.get("requests").and_then(toml::Value::as_integer);
        let kind = section.get("type").and_then(toml::Value::as_str);
        if matches!(kind, Some("posix" | "nfs")) {
            section.remove("requests");
        }
        limits.insert(
            name.clone(),
            LimitSettings {
                // 0 is no limit, also where there is one for all.
                max_bandwidth: own
                    .or(for_all)
                    .and_then(|n| u64::try_from(n).ok())
                    .filter(|n| *n > 0),
                requests: requests.and_then(|n| usize::try_from(n).ok()),
            },
        );
    }
    limits
}

/// Checks that a repository's settings are those of its type, and gives it the zone where its type has one.
fn fit(name: &str, section: &mut toml::Table, zone: Option<&toml::Value>) -> Result<()> {
    let kind = match section.get("type") {
        Some(toml::Value::String(kind)) => kind.clone(),
        _ => "posix".to_owned(),
    };
    if keys::is_later(&kind) {
        return Ok(());
    }
    for setting in section.keys() {
        let path = format!("repository.{name}.{setting}");
        let key = keys::find(&path)?;
        if !key.fits(&kind) {
            return Err(Error::invalid(
                format!("set {path}"),
                format!("a repository of type {kind} has no such setting"),
            )
            .hint(format!("it belongs to type {}", key.types.join(", "))));
        }
    }
    let has_zone = keys::find(&format!("repository.{name}.availability_zone"))?.fits(&kind);
    if let Some(zone) = zone.filter(|_| has_zone) {
        section
            .entry("availability_zone")
            .or_insert_with(|| zone.clone());
    }
    Ok(())
}

/// Fills in what the home has by default, and checks what belongs together.
fn finish(home: &Path, table: toml::Table) -> Result<Settings> {
    for name in repository_names(&table) {
        let typed = table["repository"].get(&name).and_then(|r| r.get("type"));
        if typed.is_none() && name != DEFAULT_REPOSITORY {
            return Err(
                Error::invalid(format!("read [repository.{name}]"), "it has no `type`")
                    .hint("for a folder: type = \"posix\" and path = \"/where/it/lies\""),
            );
        }
    }
    let mut table = table;
    let zone = table
        .get("backup")
        .and_then(|b| b.get("availability_zone"))
        .cloned();
    if let Some(toml::Value::Table(repositories)) = table.get_mut("repository") {
        for (name, section) in repositories {
            if let toml::Value::Table(section) = section {
                fit(name, section, zone.as_ref())?;
            }
        }
    }
    // [repository.default] may leave out what the home gives it.
    let default = table
        .entry("repository")
        .or_insert_with(|| toml::Value::Table(toml::Table::new()))
        .as_table_mut()
        .ok_or_else(|| Error::internal("read settings", "repository is no section"))?
        .entry(DEFAULT_REPOSITORY)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(default) = default
        && !default.contains_key("type")
    {
        default.insert("type".into(), "posix".into());
        default.entry("path").or_insert_with(|| {
            home.join("repository")
                .to_string_lossy()
                .into_owned()
                .into()
        });
    }
    let limits = take_limits(&mut table);
    let merged: Merged = table
        .try_into()
        .map_err(|e: toml::de::Error| Error::invalid("read the configuration", e.message()))?;
    let settings = Settings {
        backup: merged.backup,
        repositories: merged.repository,
        limits,
        volumes: merged
            .volumes
            .unwrap_or(VolumesConfig::File { path: None })
            .with_default_path(&home.join("volumes")),
        catalog: merged.catalog.unwrap_or_else(|| CatalogSettings {
            url: format!("sqlite:{}", home.join("catalogue.sqlite").display()),
        }),
    };
    if !settings
        .repositories
        .contains_key(&settings.backup.repository)
    {
        return Err(Error::new(ErrorKind::InvalidInput, "choose the repository")
            .on(&settings.backup.repository)
            .because("backup.repository names one that is not configured")
            .hint(format!(
                "add [repository.{}] to the configuration, or use one of: {}",
                settings.backup.repository,
                settings
                    .repositories
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            )));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests;
