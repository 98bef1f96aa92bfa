//! Links and names that lead out of the folder: what lies outside is never read, written or deleted.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::testing::MemoryDevice;
use backup_core::{
    Attachment, Backup, BackupPlan, BackupRequest, BlockDevice, Chain, ChunkedBackup,
    ChunkedConfig, ErrorKind, JobContext, Layer, RestoreOptions, Result, Timestamp, VolumeId,
};
use futures::TryStreamExt;

use super::open;

const LENGTH: u64 = 100_000;

/// A repository with one backup, and a folder outside of it that nobody may touch.
struct Scene {
    folder: tempfile::TempDir,
    engine: ChunkedBackup,
    volume: MemoryDevice,
    plan: BackupPlan,
    cx: JobContext,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repository");
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        std::fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        let config = ChunkedConfig::zlib()
            .unwrap()
            .with_chunk_size(32 << 10)
            .with_block_size(4 << 10);
        let engine = ChunkedBackup::new(Arc::new(open(&root)), config).unwrap();
        let volume = MemoryDevice::new(LENGTH);
        volume.poke(100, &vec![7; 90_000]);
        let plan = engine
            .plan(&BackupRequest::new(VolumeId::generate(), Timestamp::now()))
            .unwrap();
        let scene = Self {
            folder,
            engine,
            volume,
            plan,
            cx: JobContext::new(64 << 20).unwrap(),
        };
        scene.back_up(&scene.plan).await.unwrap();
        scene
    }

    async fn back_up(&self, plan: &BackupPlan) -> Result<()> {
        let source = Attachment::new(Arc::new(self.volume.clone()));
        self.engine
            .create(plan, None, &source, &self.cx)
            .await
            .map(drop)
    }

    fn chain(&self) -> Chain {
        Chain::new(vec![Layer {
            id: self.plan.id,
            location: self.plan.location.clone(),
        }])
        .unwrap()
    }

    async fn restore(&self) -> Result<()> {
        let target: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(LENGTH));
        let options = RestoreOptions::default();
        self.engine
            .restore(&self.chain(), &target, &options, &self.cx)
            .await
            .map(drop)
    }

    /// The folder of the backup's container.
    fn container(&self) -> PathBuf {
        let name = self.plan.location.container.as_str();
        self.folder.path().join("repository").join(name)
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }
}

/// All files below `folder` with their content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            all.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    all
}

#[tokio::test]
async fn an_object_that_was_exchanged_for_a_link_is_refused_and_its_delete_leaves_what_it_points_to()
 {
    let scene = Scene::new().await;
    for (name, bytes) in content(&scene.container()) {
        // Even where the right bytes lie behind it.
        let behind = scene.outside().join("behind");
        std::fs::write(&behind, &bytes).unwrap();
        std::fs::remove_file(&name).unwrap();
        symlink(&behind, &name).unwrap();
        let verified = scene.engine.verify(&scene.chain(), &scene.cx).await;
        assert!(!verified.unwrap().problems.is_empty(), "{}", name.display());
        if let Err(e) = scene.restore().await {
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e:?}");
            let name = name.file_name().unwrap().to_str().unwrap();
            assert!(e.to_string().contains(name), "{e}");
        }
        std::fs::remove_file(&name).unwrap();
        std::fs::write(&name, &bytes).unwrap();
    }
    scene.restore().await.unwrap();
    let secret = scene.outside().join("secret");
    let metadata = scene.plan.location.prefix.metadata();
    std::fs::remove_file(scene.container().join(&metadata)).unwrap();
    symlink(&secret, scene.container().join(&metadata)).unwrap();
    let layer = scene.plan.layer();
    scene.engine.delete(&layer, &scene.cx).await.unwrap();
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(scene.container()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_was_exchanged_for_a_link_is_not_followed() {
    let scene = Scene::new().await;
    // The container's own folder, and one above it.
    for place in [
        scene.container(),
        scene.container().parent().unwrap().to_path_buf(),
    ] {
        let moved = scene.outside().join("moved");
        std::fs::rename(&place, &moved).unwrap();
        symlink(&moved, &place).unwrap();
        let before = content(&scene.outside());

        let e = scene.restore().await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e:?}");
        assert!(e.to_string().contains("link"), "{e}");
        assert!(e.hint_text().is_some());
        let layer = scene.plan.layer();
        let e = scene.engine.delete(&layer, &scene.cx).await.unwrap_err();
        assert!(e.to_string().contains("link"), "{e}");
        let e = scene.back_up(&scene.plan).await.unwrap_err();
        assert!(e.to_string().contains("link"), "{e}");
        let found: Vec<_> = scene
            .engine
            .scan(None, &scene.cx)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(content(&scene.outside()), before, "what lies outside");

        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&moved, &place).unwrap();
        scene.restore().await.unwrap();
    }
}

#[tokio::test]
async fn names_in_the_metadata_that_climb_lead_nowhere() {
    let scene = Scene::new().await;
    let prefix = scene.plan.location.prefix.as_str();
    let metadata = scene.container().join(format!("{prefix}_metadata"));
    let sound = std::fs::read_to_string(&metadata).unwrap();
    let before = content(&scene.outside());
    let up = "/..".repeat(6);
    let outside = scene.outside();
    for name in [
        format!("{prefix}{up}{}/secret", outside.display()),
        "../../../outside/secret".to_owned(),
        outside.join("secret").display().to_string(),
        format!("{prefix}-00001\\u0000"),
    ] {
        let forged = sound.replace(&format!("{prefix}-00001"), &name);
        assert_ne!(forged, sound);
        std::fs::write(&metadata, forged).unwrap();
        let e = scene.restore().await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{name}: {e:?}");
        assert!(e.to_string().contains("_metadata"), "{name}: {e}");
        let report = scene.engine.verify(&scene.chain(), &scene.cx).await;
        assert!(!report.unwrap().data_is_right(), "{name}");
    }
    scene
        .engine
        .delete(&scene.plan.layer(), &scene.cx)
        .await
        .unwrap();
    assert_eq!(content(&scene.outside()), before);
    assert!(content(&scene.container()).is_empty());
}
