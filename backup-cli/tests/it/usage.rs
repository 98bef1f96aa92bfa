//! Wrong usage, wrong settings, and the small things around them.

use std::process::Stdio;

use crate::ashlar::{Home, ran};

#[test]
fn wrong_usage_exits_2() {
    let home = Home::new();
    for line in [
        "",
        "volum",
        "volume backup create",
        "volume create name",
        "volume create --size 1 --file x name",
        "volume create --size 0 name",
        "volume set v",
        "volume backup set b",
        "volume backup restore --name n b v",
        "volume backup create --property novalue v",
        "volume backup record import service",
        "-f xml volume list",
        "-q -v volume list",
        "-o nothing volume list",
        "-o backup.compresion=zstd volume list",
        "-o repository.s.secret_key=x volume list",
        "volume list -c nosuch",
    ] {
        let ran = home.run(
            &line
                .split(' ')
                .filter(|w| !w.is_empty())
                .collect::<Vec<_>>(),
        );
        assert_eq!(ran.status, 2, "{line}: {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{line}: {ran:?}");
    }
}

#[test]
fn a_mistyped_setting_is_told_with_the_nearest() {
    let home = Home::new();
    let ran = home.run(&["-o", "backup.compresion=zstd", "volume", "list"]);
    assert!(
        ran.err
            .contains("hint: the nearest one is backup.compression"),
        "{ran:?}"
    );
    let ran = ran_with_variable(&home, "ASHLAR_BACKUP_COMPRESION", "zstd");
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("ASHLAR_BACKUP_COMPRESION") && ran.err.contains("backup.compression"),
        "{ran:?}"
    );
}

fn ran_with_variable(home: &Home, name: &str, value: &str) -> crate::ashlar::Ran {
    ran(home
        .command(&["volume", "list"])
        .env(name, value)
        .output()
        .unwrap())
}

#[test]
#[cfg_attr(feature = "rbd", ignore = "this build has every type")]
fn a_type_that_is_not_in_this_build_is_a_clear_error_where_it_is_used() {
    let home = Home::new();
    let set = "repository.r.type=ceph";
    let err = home.bad(&["-o", set, "-o", "backup.repository=r", "volume", "list"]);
    assert!(err.contains("this build has no Ceph"), "{err}");
    // Only where it is used.
    home.good(&["-o", set, "volume", "list"]);
}

#[test]
fn a_missing_thing_is_told_in_two_lines_at_most() {
    let home = Home::new();
    for (line, name) in [
        ("volume show nosuch", "nosuch"),
        ("volume backup show nosuch", "nosuch"),
        ("volume backup delete nosuch", "nosuch"),
        ("volume backup create nosuch", "nosuch"),
        ("volume snapshot show nosuch", "nosuch"),
        ("repository check nosuch", "nosuch"),
        ("--config /nowhere/x.toml volume list", "/nowhere/x.toml"),
    ] {
        let err = home.bad(&line.split(' ').collect::<Vec<_>>());
        assert!(
            err.starts_with("error: ") && err.contains(name),
            "{line}: {err}"
        );
        assert!(err.lines().count() <= 2, "{line}: {err}");
    }
}

#[test]
fn of_several_deletes_the_good_ones_are_done_and_the_bad_ones_told() {
    let home = Home::new();
    home.volume("v", 10_000);
    home.good(&["volume", "backup", "create", "--name", "b", "v"]);
    let err = home.bad(&["volume", "backup", "delete", "nosuch", "b"]);
    assert!(err.contains("1 of 2"), "{err}");
    assert!(home.stored().is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let home = Home::new();
    let mut child = home
        .command(&["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().unwrap());
    assert!(ran.err.is_empty(), "{ran:?}");
}

#[test]
fn without_a_terminal_nothing_but_the_result_is_said() {
    let home = Home::new();
    home.volume("v", 10_000);
    let ran = home.run(&["volume", "backup", "create", "v"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let ran = home.run(&["-v", "volume", "backup", "create", "v"]);
    assert!(ran.err.contains("backed up"), "{ran:?}");
}

#[test]
fn completions_and_manual_pages_are_made_without_a_home() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            home.good(&["completion", shell]).contains("ashlar"),
            "{shell}"
        );
    }
    assert!(home.good(&["man"]).contains(".TH ashlar"));
    home.good(&["man", "pages"]);
    let pages = crate::ashlar::files(&home.dir.path().join("pages"));
    let names: Vec<_> = pages
        .iter()
        .map(|p| p.file_name().unwrap().to_str().unwrap())
        .collect();
    assert!(
        names.contains(&"ashlar-volume-backup-create.1"),
        "{names:?}"
    );
    assert!(!home.path().exists());
}

#[test]
fn the_home_is_made_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.good(&["volume", "list"]);
    let mode = std::fs::metadata(home.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
