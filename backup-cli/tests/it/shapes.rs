//! What programs read: the keys of every output, as docs/json-output.md promises, and the tables' look.

use std::fmt::Write as _;

use serde_json::Value;

use crate::ashlar::Home;

/// The keys of an object, or of the only object of a list, in their order.
fn keys(value: &Value) -> String {
    let object = match value {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    };
    let keys: Vec<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.join(" ")
}

/// The keys that the page gives a command, as one line.
fn promised(command: &str) -> Vec<String> {
    let page = include_str!("../../../docs/json-output.md");
    let row = page
        .lines()
        .find(|l| {
            l.starts_with("| `")
                && l.split('|')
                    .nth(1)
                    .unwrap()
                    .contains(&format!("`{command}`"))
        })
        .unwrap_or_else(|| panic!("docs/json-output.md has no row for {command}"));
    let cells = row.split('|').nth(3).unwrap();
    cells
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_output_has_the_keys_that_the_page_promises() {
    let home = Home::new();
    home.volume("v", 1_000_000);
    let image = home.image("w.img", 100_000, 2);
    let mut wrong = String::new();
    let mut check = |command: &str, value: &Value| {
        let promised = promised(command);
        for key in keys(value).split(' ') {
            if !promised.iter().any(|p| p == key) {
                let _ = writeln!(wrong, "{command}: {key} is not promised");
            }
        }
        if keys(value).split(' ').count() < 2 {
            let _ = writeln!(wrong, "{command}: {value}");
        }
    };
    check(
        "volume create",
        &home.json(&["volume", "create", "--file", image.to_str().unwrap(), "w"]),
    );
    home.good(&["volume", "delete", "w"]);
    check("volume show", &home.json(&["volume", "show", "v"]));
    check("volume list", &home.json(&["volume", "list"]));
    check("volume list", &home.json(&["volume", "list", "--long"]));
    check(
        "volume snapshot create",
        &home.json(&["volume", "snapshot", "create", "--volume", "v", "s"]),
    );
    check(
        "volume snapshot list",
        &home.json(&["volume", "snapshot", "list", "--long"]),
    );
    check(
        "volume backup create",
        &home.json(&["volume", "backup", "create", "--name", "b", "v"]),
    );
    check(
        "volume backup show",
        &home.json(&["volume", "backup", "show", "b"]),
    );
    check(
        "volume backup list",
        &home.json(&["volume", "backup", "list"]),
    );
    check(
        "volume backup list",
        &home.json(&["volume", "backup", "list", "--long"]),
    );
    check(
        "volume backup verify",
        &home.json(&["volume", "backup", "verify", "b"]),
    );
    check(
        "volume backup restore",
        &home.json(&["volume", "backup", "restore", "b"]),
    );
    check(
        "volume backup record export",
        &home.json(&["volume", "backup", "record", "export", "b"]),
    );
    check(
        "volume backup scan",
        &home.json(&["volume", "backup", "scan"]),
    );
    check("repository list", &home.json(&["repository", "list"]));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn tables_and_values_read_as_the_openstack_clients() {
    let home = Home::new();
    home.volume("v", 1_000_000);
    home.good(&["volume", "backup", "create", "--name", "b", "v"]);
    let table = home.good(&[
        "volume",
        "backup",
        "list",
        "-c",
        "Name",
        "-c",
        "Status",
        "-c",
        "Size",
        "-c",
        "Incremental",
    ]);
    let expected = "\
+------+-----------+------+-------------+
| Name | Status    | Size | Incremental |
+------+-----------+------+-------------+
| b    | available |    1 | False       |
+------+-----------+------+-------------+
";
    assert_eq!(table, expected);
    assert_eq!(
        home.good(&[
            "volume", "backup", "list", "-f", "value", "-c", "name", "-c", "status"
        ]),
        "b available\n"
    );
    assert_eq!(
        home.good(&[
            "volume",
            "backup",
            "show",
            "b",
            "-f",
            "value",
            "-c",
            "size_bytes"
        ]),
        "1000000\n"
    );
    let yaml = home.good(&[
        "volume",
        "backup",
        "show",
        "b",
        "-f",
        "yaml",
        "-c",
        "status",
        "-c",
        "description",
    ]);
    assert_eq!(yaml, "description: null\nstatus: available\n");
}

#[test]
fn lists_are_filtered_and_paged() {
    let home = Home::new();
    home.volume("v", 100_000);
    home.volume("w", 100_000);
    for (name, volume) in [("a", "v"), ("b", "v"), ("c", "w")] {
        home.good(&["volume", "backup", "create", "--name", name, volume]);
    }
    let names = |arguments: &[&str]| {
        let list = ["volume", "backup", "list", "-f", "value", "-c", "name"];
        home.good(&[&list, arguments].concat()).replace('\n', " ")
    };
    assert_eq!(names(&[]), "c b a ", "newest first");
    assert_eq!(names(&["--volume", "v"]), "b a ");
    assert_eq!(names(&["--name", "b"]), "b ");
    assert_eq!(names(&["--status", "error"]), "");
    assert_eq!(names(&["--limit", "2"]), "c b ");
    assert_eq!(names(&["--limit", "2", "--marker", "b"]), "a ");
}
