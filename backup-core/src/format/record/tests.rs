use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::format::fixtures;
use crate::id::{BackupId, ContainerName, Location, Prefix, SnapshotId, VolumeId};
use crate::record::BackupStatus;

const POSIX: &str = "cinder.backup.drivers.posix.PosixBackupDriver";

fn all_records() -> Vec<(String, String)> {
    let mut records: Vec<_> = fixtures::cinder(".yaml")
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("/records/"))
        .map(|(_, yaml)| fixtures::record_of(&String::from_utf8(yaml).unwrap()))
        .collect();
    records.push(fixtures::record_of(&fixtures::file("ceph-record.yaml")));
    assert!(records.len() > 10);
    records
}

fn json_of(url: &str) -> Map<String, Value> {
    serde_json::from_slice(&STANDARD.decode(url).unwrap()).unwrap()
}

fn url_of(fields: &Value) -> String {
    STANDARD.encode(fields.to_string())
}

fn here() -> ImportInto {
    ImportInto {
        user_id: "me".to_owned(),
        project_id: "mine".to_owned(),
        repository: "default".to_owned(),
        service: POSIX.to_owned(),
        account: None,
        host: Some("host".to_owned()),
        availability_zone: None,
        at: Timestamp::from_micros(0).unwrap(),
    }
}

#[test]
fn every_record_of_cinders_comes_out_as_it_went_in() {
    for (service, url) in all_records() {
        let theirs = json_of(&url);
        let text = |key: &str| theirs[key].as_str().unwrap().to_owned();
        let record = import(&service, &url).unwrap().into_record(ImportInto {
            user_id: text("user_id"),
            project_id: text("project_id"),
            service: service.clone(),
            host: Some(text("host")),
            availability_zone: Some(text("availability_zone")),
            ..here()
        });
        assert!(record.location.is_some());
        assert_eq!(record.status, BackupStatus::Available);
        let exported = export(&record).unwrap();
        assert_eq!(exported.backup_service, service);
        let ours = json_of(&exported.backup_url);
        assert_eq!(ours, theirs);
        assert!(ours.keys().eq(theirs.keys()), "the order of fields differs");
        // Byte for byte, but for the order of properties, which Cinder does not define.
        if theirs["metadata"].as_object().is_some_and(|m| m.len() < 2) {
            assert_eq!(exported.backup_url, url);
        }
    }
}

fn ours() -> BackupRecord {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    BackupRecord {
        id: BackupId::from_bytes([1; 16]),
        user_id: "u".to_owned(),
        project_id: "p".to_owned(),
        volume_id: VolumeId::from_bytes([2; 16]),
        snapshot_id: Some(SnapshotId::from_bytes([3; 16])),
        parent_id: Some(BackupId::from_bytes([4; 16])),
        status: BackupStatus::Available,
        fail_reason: None,
        size_gib: 2,
        volume_length: Some((1 << 30) + 17),
        name: Some("größe".to_owned()),
        description: Some(String::new()),
        properties: [("k".to_owned(), "v".to_owned())].into(),
        repository: "default".to_owned(),
        service: POSIX.to_owned(),
        account: Some("http://h/v1/AUTH_p".to_owned()),
        location: Some(Location {
            container: ContainerName::new("01/01/x").unwrap(),
            prefix: Prefix::new("volume_x").unwrap(),
        }),
        object_count: 3,
        stored_bytes: Some(1234),
        host: Some("host".to_owned()),
        availability_zone: Some("nova".to_owned()),
        temp_volume_id: Some("t".to_owned()),
        temp_snapshot_id: Some("s".to_owned()),
        restore_volume_id: Some(VolumeId::from_bytes([5; 16])),
        num_dependent_backups: 1,
        encryption_key_id: Some("key".to_owned()),
        data_timestamp: time("2026-11-23T01:00:00Z"),
        created_at: time("2026-11-23T02:00:00Z"),
        updated_at: Some(time("2026-11-23T03:00:00Z")),
    }
}

fn again(record: &BackupRecord) -> BackupRecord {
    let exported = export(record).unwrap();
    import(&exported.backup_service, &exported.backup_url)
        .unwrap()
        .into_record(ImportInto {
            user_id: record.user_id.clone(),
            project_id: record.project_id.clone(),
            host: record.host.clone(),
            availability_zone: record.availability_zone.clone(),
            account: record.account.clone(),
            ..here()
        })
}

#[test]
fn a_record_of_ours_loses_nothing_on_the_way() {
    assert_eq!(again(&ours()), ours());
    let bare = BackupRecord {
        volume_length: None,
        stored_bytes: None,
        location: None,
        name: None,
        updated_at: None,
        ..ours()
    };
    assert_eq!(again(&bare), bare);
}

#[test]
fn an_import_takes_over_neither_owner_nor_state() {
    let mut fields = json_of(&export(&ours()).unwrap().backup_url);
    fields.insert("status".to_owned(), "error".into());
    fields.insert("fail_reason".to_owned(), "x".into());
    fields.insert("deleted".to_owned(), true.into());
    fields.insert("news".to_owned(), json!({"a": [1]}));
    let record = import(POSIX, &url_of(&Value::Object(fields)))
        .unwrap()
        .into_record(here());
    assert_eq!(
        (record.user_id.as_str(), record.project_id.as_str()),
        ("me", "mine")
    );
    assert_eq!(
        (record.status, record.fail_reason),
        (BackupStatus::Available, None)
    );
    assert_eq!(record.host.as_deref(), Some("host"));
}

#[test]
fn an_account_is_taken_for_an_address_only_and_kept_only_where_the_repository_has_one() {
    let with = |account: Value| {
        let mut fields = json_of(&export(&ours()).unwrap().backup_url);
        fields["driver_info"]["ashlar"]["account"] = account;
        import(POSIX, &url_of(&Value::Object(fields)))
    };
    let good = "https://swift.example.org:8080/v1/AUTH_p";
    let imported = with(good.into()).unwrap();
    assert_eq!(imported.account.as_deref(), Some(good));
    assert_eq!(imported.into_record(here()).account, None);
    let of_account = ImportInto {
        account: Some("http://h/v1/AUTH_p".to_owned()),
        ..here()
    };
    let record = with(good.into()).unwrap().into_record(of_account);
    assert_eq!(record.account.as_deref(), Some("http://h/v1/AUTH_p"));
    let long = format!("http://h/v1/{}", "x".repeat(2048));
    for bad in [
        "",
        "ftp://h/v1/AUTH_p",
        "h/v1/AUTH_p",
        "http:///v1/AUTH_p",
        "http://me:hush@h/v1/AUTH_p",
        "http://h/v1/AUTH_p\u{1b}[2J",
        "http://h/v1/AUTH_p\nrun this",
        "http://h/v1/AUTH_p and more",
        &long,
    ] {
        let e = with(bad.into()).unwrap_err();
        assert!(e.is(ErrorKind::InvalidInput), "{bad:?}: {e}");
        assert!(!e.to_string().contains("hush"), "{e}");
    }
}

/// The seven fields that Cinder asks for.
fn least() -> Value {
    json!({
        "id": "01010101-0101-0101-0101-010101010101", "size": 1, "display_name": null, "display_description": null,
        "container": "c", "service_metadata": "p", "object_count": null,
    })
}

#[test]
fn the_seven_required_fields_are_enough() {
    let record = import(POSIX, &url_of(&least()))
        .unwrap()
        .into_record(here());
    assert_eq!(record.volume_id, VolumeId::from_bytes([0; 16]));
    assert_eq!(
        (record.created_at, record.data_timestamp),
        (here().at, here().at)
    );
    assert_eq!((record.object_count, record.volume_length), (0, None));
}

#[test]
fn line_breaks_blanks_and_missing_padding_do_no_harm() {
    let url = url_of(&least());
    let broken: Vec<&str> = url
        .as_bytes()
        .chunks(60)
        .map(|c| std::str::from_utf8(c).unwrap())
        .collect();
    let expected = import(POSIX, &url).unwrap();
    for text in [
        broken.join("\n"),
        broken.join("\r\n  "),
        format!(" {url}\n"),
        url.trim_end_matches('=').to_owned(),
    ] {
        assert_eq!(import(POSIX, &text).unwrap(), expected);
    }
}

#[test]
fn what_is_wrong_with_a_record_is_told() {
    let with = |key: &str, value: Value| {
        let mut fields = least();
        fields[key] = value;
        url_of(&fields)
    };
    for (url, reason) in [
        ("€".to_owned(), "cannot be decoded: it is not base64"),
        ("AAAA".to_owned(), "cannot be decoded: it is not JSON"),
        (String::new(), "cannot be decoded"),
        (
            url_of(&json!([])),
            "cannot be decoded: it is not a JSON object",
        ),
        ("A".repeat(MAX_URL + 1), "more than 4194304"),
        (STANDARD.encode("[".repeat(9999)), "cannot be decoded"),
        (
            STANDARD.encode(format!("[{}0]", "0,".repeat(200_000))),
            "more than 100000 values",
        ),
        (
            url_of(&json!({"id": 1, "size": 1})),
            "fields are missing: container, display_description, display_name, object_count, service_metadata",
        ),
        (with("id", Value::Null), "field id"),
        (
            with("id", json!("../x")),
            "field id cannot be read: \"../x\"",
        ),
        (with("volume_id", json!(7)), "field volume_id"),
        (with("size", json!(-1)), "field size"),
        (with("size", json!(0)), "field size"),
        (with("size", json!(1.5)), "field size"),
        (with("size", json!("1")), "field size"),
        (with("size", json!(1u64 << 33)), "field size"),
        (with("object_count", json!(u64::MAX)), "field object_count"),
        (with("container", json!("a/../../etc")), "container name"),
        (with("service_metadata", json!("/p")), "object prefix"),
        (
            with("display_name", json!("x".repeat(5000))),
            "field display_name",
        ),
        (with("created_at", json!("yesterday")), "field created_at"),
        (with("metadata", json!([])), "field metadata"),
        (
            with(
                "driver_info",
                json!({"ashlar": {"volume_length": 1u64 << 31}}),
            ),
            "less than the record's volume_length",
        ),
        (
            with("driver_info", json!({"ashlar": {"stored_bytes": -1}})),
            "field stored_bytes",
        ),
    ] {
        let e = import(POSIX, &url).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
        assert!(e.to_string().contains(reason), "wanted {reason:?}, got {e}");
        assert!(e.to_string().len() < 1000);
    }
    for service in ["", "a\nb", &"x".repeat(256)] {
        assert!(import(service, &url_of(&least())).is_err());
    }
}

#[test]
fn driver_info_of_another_make_is_ignored() {
    for info in [
        json!(null),
        json!(7),
        json!({"other": 1}),
        json!({"ashlar": "x"}),
    ] {
        let mut fields = least();
        fields["driver_info"] = info;
        assert!(import(POSIX, &url_of(&fields)).is_ok());
    }
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    let url = export(&ours()).unwrap().backup_url;
    for end in 0..url.len() - 4 {
        assert!(import(POSIX, &url[..end]).is_err(), "{end}");
    }
}

proptest! {
    #[test]
    fn whatever_is_exported_is_imported(
        name: Option<String>,
        description: Option<String>,
        properties: std::collections::BTreeMap<String, String>,
        object_count in 0..i64::MAX as u64,
        seconds in 0..4_000_000_000i64,
        length in proptest::option::of(0..3u64 << 30),
    ) {
        let record = BackupRecord {
            name,
            description,
            properties,
            object_count,
            created_at: Timestamp::from_micros(seconds * 1_000_000).unwrap(),
            size_gib: length.map_or(7, crate::record::gib_rounded_up),
            volume_length: length,
            ..ours()
        };
        prop_assert_eq!(again(&record), record);
    }

    #[test]
    fn no_text_makes_the_import_panic(url: String, json in "[\\[\\]{}\",:0-9a-z ]{0,100}") {
        prop_assert!(import(POSIX, &url).is_err());
        prop_assert!(import(POSIX, &STANDARD.encode(json)).is_err());
    }
}
