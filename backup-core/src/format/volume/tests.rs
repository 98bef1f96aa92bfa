use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::format::{fixtures, metadata};

/// The volume metadata of a backup that Cinder wrote.
fn volume_meta_of(bytes: &[u8]) -> String {
    let metadata = metadata::read_metadata(bytes, &mut |_| Ok(())).unwrap();
    metadata.volume_meta.unwrap()
}

#[test]
fn what_cinder_wrote_is_written_again_byte_for_byte() {
    let mut texts: Vec<String> = fixtures::cinder("_metadata")
        .iter()
        .map(|(_, bytes)| volume_meta_of(bytes))
        .collect();
    texts.push(fixtures::file("ceph.meta"));
    let mut with_image = 0;
    for text in texts {
        let read = VolumeMetadata::from_json(&text).unwrap();
        let written = read.to_json();
        // Properties of an image come in the database's order, which means nothing; ours are sorted.
        let sorted = match &read.image_properties {
            None => text,
            Some(properties) => {
                with_image += 1;
                let at = text.find(", \"volume-glance-metadata\"").unwrap();
                let pairs: Vec<String> = properties
                    .iter()
                    .map(|(k, v)| format!("\"{k}\": \"{v}\""))
                    .collect();
                format!(
                    "{}, \"volume-glance-metadata\": {{{}}}}}",
                    &text[..at],
                    pairs.join(", ")
                )
            }
        };
        assert_eq!(written, sorted);
    }
    assert!(with_image > 0, "no fixture has image properties");
}

fn layer(name: &str, properties: &[(&str, &str)]) -> VolumeMetadata {
    let mut layer = VolumeMetadata::default();
    layer.base.insert("display_name".into(), name.into());
    layer
        .base
        .insert("display_description".into(), format!("about {name}").into());
    layer.base.insert("encryption_key_id".into(), Value::Null);
    layer.properties = (!properties.is_empty()).then(|| {
        properties
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    });
    layer
}

#[test]
fn the_name_is_the_fulls_and_the_properties_are_the_newest() {
    let chain = [
        layer("old", &[("a", "1"), ("b", "1")]),
        layer("new", &[("a", "2")]),
    ];
    for target in [None, Some(""), Some("restore_backup_16a90228")] {
        let restored = restore_view(&chain, target);
        assert_eq!(restored.name.as_deref(), Some("old"));
        assert_eq!(restored.description.as_deref(), Some("about old"));
        assert_eq!(
            restored.properties.unwrap(),
            BTreeMap::from([("a".to_owned(), "2".to_owned())])
        );
        assert_eq!(
            (restored.image_properties, restored.bootable),
            (None, false)
        );
        assert_eq!(restored.encryption_key_id, None);
    }
}

#[test]
fn a_target_with_a_name_of_its_own_keeps_name_and_description() {
    let restored = restore_view(&[layer("old", &[("a", "1")])], Some("mine"));
    assert_eq!((restored.name, restored.description), (None, None));
    assert!(restored.properties.is_some());
}

#[test]
fn a_volume_without_a_name_gives_none_and_a_later_layer_may() {
    let restored = restore_view(&[layer("", &[]), layer("later", &[])], None);
    assert_eq!(restored.name.as_deref(), Some("later"));
    assert_eq!(restored.properties, None);
    assert_eq!(restore_view(&[layer("", &[])], None).description, None);
}

#[test]
fn a_description_that_the_source_lacks_is_cleared_with_the_name() {
    let mut nameless = layer("old", &[]);
    nameless
        .base
        .insert("display_description".into(), Value::Null);
    assert_eq!(
        restore_view(&[nameless], None).description.as_deref(),
        Some("")
    );
}

#[test]
fn a_volume_made_from_an_image_restores_bootable_and_an_encrypted_one_with_its_key() {
    let (_, bytes) = fixtures::cinder("_metadata")
        .into_iter()
        .find(|(path, _)| path.to_string_lossy().contains("/metadata/"))
        .unwrap();
    let meta = VolumeMetadata::from_json(&volume_meta_of(&bytes)).unwrap();
    let restored = restore_view(&[meta], None);
    assert!(restored.bootable);
    assert_eq!(restored.image_properties.unwrap()["disk_format"], "qcow2");
    assert!(restored.encryption_key_id.is_some() && restored.volume_type_id.is_some());
    assert_eq!(restored.properties.unwrap()["schlüssel"], "wert/ä");
}

#[test]
fn version_1_is_read_without_its_encryption_key() {
    let text = json!({"version": 1, "volume-base-metadata": {"display_name": "n", "encryption_key_id": "k", "size": 1}});
    let meta = VolumeMetadata::from_json(&text.to_string()).unwrap();
    assert_eq!(meta.base_text("display_name"), Some("n"));
    assert_eq!(restore_view(&[meta], None).encryption_key_id, None);
}

#[test]
fn hostile_texts_are_refused() {
    for (text, kind, reason) in [
        ("", ErrorKind::Corrupt, "cut short"),
        ("[]", ErrorKind::Corrupt, "not a JSON object"),
        ("{}", ErrorKind::Corrupt, "no version"),
        ("{\"version\": 3}", ErrorKind::Unsupported, "version 3"),
        ("{\"version\": 0}", ErrorKind::Unsupported, "version 0"),
        (
            "{\"version\": \"2\"}",
            ErrorKind::Unsupported,
            "version \"2\"",
        ),
        (
            "{\"version\": 2, \"volume-metadata\": []}",
            ErrorKind::Corrupt,
            "volume-metadata is not",
        ),
        ("{\"version\": 2} x", ErrorKind::Corrupt, "trailing"),
        (&"[".repeat(9999), ErrorKind::Corrupt, "recursion limit"),
        (
            &" ".repeat(MAX_TEXT + 1),
            ErrorKind::Corrupt,
            "more than 4194304",
        ),
    ] {
        let e = VolumeMetadata::from_json(text).unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        assert!(e.to_string().contains(reason), "wanted {reason:?}, got {e}");
    }
}

#[test]
fn property_values_that_are_no_strings_are_taken_as_text() {
    let text =
        r#"{"version": 2, "volume-metadata": {"n": 7, "b": true, "z": null, "l": [1, "x"]}}"#;
    let properties = VolumeMetadata::from_json(text).unwrap().properties.unwrap();
    let expected = [("b", "true"), ("l", "[1, \"x\"]"), ("n", "7"), ("z", "")];
    assert_eq!(
        properties,
        expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        name: String,
        properties: Option<BTreeMap<String, String>>,
        image_properties: Option<BTreeMap<String, String>>,
        size: i64,
    ) {
        let mut meta = VolumeMetadata { properties, image_properties, ..VolumeMetadata::default() };
        meta.base.insert("size".to_owned(), size.into());
        meta.base.insert("display_name".to_owned(), name.into());
        let text = meta.to_json();
        prop_assert!(text.is_ascii());
        prop_assert_eq!(VolumeMetadata::from_json(&text).unwrap(), meta);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text: String, json in "[\\[\\]{}\",:0-9a-z ]{0,100}") {
        prop_assert!(VolumeMetadata::from_json(&text).is_err());
        prop_assert!(VolumeMetadata::from_json(&json).is_err());
    }
}
