//! What Cinder 29's ceph driver wrote, imported into the cluster.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use backup_core::format::record::import;
use backup_core::testing::MemoryDevice;
use backup_core::{
    Backup, BlockDevice, Chain, ImageRepository, JobContext, Layer, ObjectKey, RestoreOptions,
    ScanItem,
};
use futures::TryStreamExt;

use super::{backups, engine, repository, sha256};
use crate::ceph::conf;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cinder"))
}

/// Runs `rbd` as the cluster's administrator, with `input`.
pub(super) fn rbd(conf: &str, arguments: &[&str], input: &[u8]) -> std::process::Output {
    use std::io::Write;
    let mut child = Command::new("rbd")
        .args(["--conf", conf, "--id", "admin"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A refusal closes it early, and is told by the status.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cinder_wrote_restores_link_by_link_to_its_sha256() {
    let Some(conf) = conf() else {
        return;
    };
    let text = std::fs::read_to_string(folder().join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let base = manifest["base"].as_str().unwrap();
    let (engine, repository) = (engine(&conf, 0), repository(&conf));
    let cx = JobContext::new(128 << 20).unwrap();

    let image = std::fs::File::open(folder().join("base.rbd2.zst")).unwrap();
    let image = zstd::decode_all(image).unwrap();
    let there = repository.list(&backups(), base).await.unwrap();
    assert_eq!(there, Vec::<String>::new(), "left by an earlier run");
    let target = format!("backups/{base}");
    let imported = rbd(
        &conf,
        &[
            "import",
            "--no-progress",
            "--export-format",
            "2",
            "-",
            &target,
        ],
        &image,
    );
    assert!(imported.status.success(), "{imported:?}");

    let mut layers = Vec::new();
    for backup in manifest["backups"].as_array().unwrap() {
        let field = |key: &str| backup[key].as_str().unwrap().to_owned();
        let meta = std::fs::read(folder().join(field("meta_object"))).unwrap();
        let key = ObjectKey::new(&backups(), field("meta_object")).unwrap();
        repository.put_record(&key, meta.into()).await.unwrap();
        let record = std::fs::read_to_string(folder().join(field("record"))).unwrap();
        let line = |key: &str| {
            let line = record.lines().find_map(|l| l.strip_prefix(key)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let record = import(&line("backup_service"), &line("backup_url")).unwrap();
        assert_eq!(record.id.to_string(), field("id"));
        layers.push(Layer {
            id: record.id,
            location: record.location.unwrap(),
        });
        let chain = Chain::new(layers.clone()).unwrap();
        let length = engine.length(&chain, &cx).await.unwrap();
        assert_eq!(Some(length), backup["image_size"].as_u64());
        let device = MemoryDevice::new(length);
        let target: Arc<dyn BlockDevice> = Arc::new(device.clone());
        let report = engine
            .restore(&chain, &target, &RestoreOptions::default(), &cx)
            .await
            .unwrap();
        assert_eq!(
            sha256(&device, length).await,
            field("image_sha256"),
            "{}",
            field("label")
        );
        let metadata = report.volume_metadata.last().unwrap().as_ref().unwrap();
        assert_eq!(metadata.base_text("display_name"), Some("ceph vol"));
        let report = engine.verify(&chain, &cx).await.unwrap();
        assert_eq!(report.problems, []);
    }

    let items: Vec<ScanItem> = engine
        .scan(Some(&backups()), &cx)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    for (n, layer) in layers.iter().enumerate() {
        let record = items.iter().find_map(|item| match item {
            ScanItem::Found(found) if found.record.id == layer.id => Some(&found.record),
            _ => None,
        });
        let record = record.unwrap_or_else(|| panic!("link {n} is not found"));
        let parent = n.checked_sub(1).map(|p| layers[p].id);
        assert_eq!(
            record.parent_id, parent,
            "told by the order of the snapshots"
        );
    }
    for layer in layers.iter().rev() {
        engine.delete(layer, &cx).await.unwrap();
    }
    let left = repository.list(&backups(), base).await.unwrap();
    assert_eq!(left, Vec::<String>::new());
}
