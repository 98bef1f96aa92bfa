//! Runs the binary in a home of its own.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing may take longer: far beyond every deadline of the settings that tests make.
pub(crate) const HANGS: Duration = Duration::from_mins(3);

/// A temporary home with an image to back up.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
}

/// What a run of the binary gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// One in a folder of its own within `folder`.
    pub(crate) fn within(folder: &Path) -> Self {
        Self {
            dir: tempfile::tempdir_in(folder).unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The binary with this home and nothing else from the environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ashlar"));
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("ASHLAR_HOME", self.path())
            .current_dir(self.dir.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Starts the binary and does not wait for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// Runs what must succeed, and gives its standard output.
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.status, 0, "{arguments:?}: {ran:?}");
        ran.out
    }

    /// Runs what must succeed with `-f json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let out = self.good(&[&["-f", "json"], arguments].concat());
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
    }

    /// Runs what must fail with status 1, and gives its standard error.
    pub(crate) fn bad(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.status, 1, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("error: "), "{ran:?}");
        ran.err
    }

    /// An image of `length` bytes with content that depends on `seed`: noise, text and a hole.
    pub(crate) fn image(&self, name: &str, length: usize, seed: u64) -> PathBuf {
        let path = self.dir.path().join(name);
        let mut bytes = noise(length, seed);
        let third = length / 3;
        bytes[third..2 * third].fill(b'a');
        bytes[2 * third..length - 100].fill(0);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// An adopted volume of that image.
    pub(crate) fn volume(&self, name: &str, length: usize) -> PathBuf {
        let path = self.image(&format!("{name}.img"), length, 1);
        self.good(&["volume", "create", "--file", path.to_str().unwrap(), name]);
        path
    }

    /// Where the data of a volume lies.
    pub(crate) fn data_of(&self, volume: &str) -> Vec<u8> {
        let shown = self.json(&["volume", "show", volume]);
        fs::read(shown["path"].as_str().unwrap()).unwrap()
    }

    /// All files of the default repository.
    pub(crate) fn stored(&self) -> Vec<PathBuf> {
        files(&self.path().join("repository"))
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs it to its end, which must come.
pub(crate) fn finish(mut child: Child, what: &str) -> Ran {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > HANGS {
            give_up(child, &format!("{what} hangs"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ran(child.wait_with_output().unwrap())
}

/// Waits until something is so that a running child brings about.
pub(crate) fn wait_until(mut child: Child, what: &str, is_so: impl Fn() -> bool) -> Child {
    let started = Instant::now();
    loop {
        // Asked first: what it did last counts.
        let ended = child.try_wait().unwrap().is_some();
        if is_so() {
            return child;
        }
        if ended || started.elapsed() > HANGS {
            give_up(child, &format!("{what} does not come"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends the child and the test, with what the child said.
fn give_up(mut child: Child, what: &str) -> ! {
    let _ended_before = child.kill();
    panic!("{what}: {:?}", ran(child.wait_with_output().unwrap()));
}

/// Changes an image: data becomes zero, data across a chunk's border, the last byte.
pub(crate) fn change(image: &Path, n: u8) {
    let length = fs::metadata(image).unwrap().len();
    overwrite(image, u64::from(n) * 600_000, &vec![0; 250_000]);
    overwrite(image, (1 << 20) - 100, &noise(200, u64::from(n) + 10));
    overwrite(image, length - 1, &[n + 1]);
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
