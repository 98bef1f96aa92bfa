//! No bench: `cargo bench` runs it last, and it prints what the others have measured as one table.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "its result is what it prints"
)]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A line of the table.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    name: String,
    time: String,
    throughput: String,
}

fn main() {
    // Each bench is run once by `cargo bench -- --test`, which measures nothing.
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let folder = results();
    let mut lines = Vec::new();
    collect(&folder, &mut lines);
    lines.sort();
    println!("\nAs last measured ({}):\n", folder.display());
    println!("| bench | median time | throughput |\n| --- | ---: | ---: |");
    for line in lines {
        println!("| {} | {} | {} |", line.name, line.time, line.throughput);
    }
}

/// Where criterion keeps its results: `criterion` in the target folder, in which this program lies at
/// `release/deps/table-...`.
fn results() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its path");
    let target = own.ancestors().nth(3).unwrap_or(Path::new("target"));
    std::env::var_os("CRITERION_HOME").map_or_else(|| target.join("criterion"), PathBuf::from)
}

/// Each bench has a folder `new` somewhere below.
fn collect(folder: &Path, lines: &mut Vec<Line>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name() == "new" {
            lines.extend(line(&path));
        } else if path.is_dir() {
            collect(&path, lines);
        }
    }
}

fn line(folder: &Path) -> Option<Line> {
    let read = |name: &str| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(folder.join(name)).ok()?).ok()
    };
    let bench = read("benchmark.json")?;
    let nanoseconds = read("estimates.json")?["median"]["point_estimate"].as_f64()?;
    let per_second = |kind: &str| Some(bench["throughput"][kind].as_f64()? * 1e9 / nanoseconds);
    let throughput = match (per_second("Bytes"), per_second("Elements")) {
        (Some(bytes), _) => format!("{:.0} MB/s", bytes / 1e6),
        (_, Some(elements)) => format!("{:.2} million/s", elements / 1e6),
        _ => String::new(),
    };
    let time = match nanoseconds {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} us", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    };
    Some(Line {
        name: bench["full_id"].as_str()?.to_owned(),
        time,
        throughput,
    })
}
