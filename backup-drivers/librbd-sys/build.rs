//! Finds librbd and librados, or says which package has them.

use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/probe.c");
    println!("cargo::rerun-if-changed=src/mapext.cc");
    println!("cargo::rustc-check-cfg=cfg(has_mapext)");
    for variable in ["LIBRBD_LIB_DIR", "LIBRBD_INCLUDE_DIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    #[cfg(feature = "link")]
    if let Err(why) = link() {
        println!("cargo::error={why}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Compiles and links a small program that calls both libraries: Ceph ships no pkg-config files for them.
#[cfg(feature = "link")]
fn link() -> Result<(), String> {
    use std::path::PathBuf;
    use std::process::Command;

    const PACKAGES: &str = "install librbd-dev and librados-dev (Debian, Ubuntu) or librbd-devel and librados-devel \
                            (Fedora, RHEL with Ceph's repository), 16 (Pacific) or newer, or set LIBRBD_LIB_DIR and \
                            LIBRBD_INCLUDE_DIR; without the feature `rbd` nothing of Ceph is needed";

    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let libraries = std::env::var_os("LIBRBD_LIB_DIR").map(PathBuf::from);
    let mut build = cc::Build::new();
    if let Some(headers) = std::env::var_os("LIBRBD_INCLUDE_DIR") {
        build.include(headers);
    }
    // Warnings of Ceph's own headers are not ours to mend.
    build
        .warnings(false)
        .cargo_warnings(false)
        .cargo_metadata(false)
        .opt_level(0);
    let compiler = build
        .try_get_compiler()
        .map_err(|e| format!("no C compiler to look for librbd with: {e}"))?;
    let run = |what: &str, command: &mut Command| -> Result<(), String> {
        let output = command
            .output()
            .map_err(|e| format!("{} cannot be run: {e}", compiler.path().display()))?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let first = told
            .lines()
            .find(|l| l.contains("error") || l.contains("cannot find"));
        Err(format!(
            "{what} of Ceph cannot be used: {PACKAGES}. The compiler says: {}",
            first.unwrap_or("nothing").trim()
        ))
    };
    let object = out.join("probe.o");
    let mut compile = compiler.to_command();
    compile.args(["-c", "src/probe.c", "-o"]).arg(&object);
    run("the headers", &mut compile)?;
    let mut link = compiler.to_command();
    link.arg(&object);
    if let Some(folder) = &libraries {
        link.arg("-L").arg(folder);
    }
    link.args(["-lrbd", "-lrados", "-o"]).arg(out.join("probe"));
    run("the libraries", &mut link)?;

    if let Some(folder) = &libraries {
        println!("cargo::rustc-link-search=native={}", folder.display());
    }
    // Before librados in the list: it needs it.
    mapext();
    println!("cargo::rustc-link-lib=dylib=rbd");
    println!("cargo::rustc-link-lib=dylib=rados");
    Ok(())
}

/// The one call of the C++ interface. What is made without it is right too, and reads more of sparse objects.
#[cfg(feature = "link")]
fn mapext() {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .file("src/mapext.cc")
        .warnings(false)
        .cargo_warnings(false);
    if let Some(headers) = std::env::var_os("LIBRBD_INCLUDE_DIR") {
        build.include(headers);
    }
    if build.try_compile("ashlar_mapext").is_ok() {
        println!("cargo::rustc-cfg=has_mapext");
    } else {
        println!(
            "cargo::warning=without librados.hpp and a C++ compiler (libradospp-dev and g++) holes within objects of \
             RBD images are read; after they are installed: cargo clean -p librbd-sys"
        );
    }
}
