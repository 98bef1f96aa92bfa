//! The engine on a folder: what a backup's life leaves there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::testing::{Call, Fault, FaultPlan, FaultRepository, MemoryDevice, When};
use backup_core::{
    Attachment, Backup, BackupPlan, BackupRequest, BlockDevice, Chain, ChunkedBackup,
    ChunkedConfig, ContainerName, ErrorKind, JobContext, Layer, PutMode, Repository,
    RestoreOptions, Result, ScanItem, Timestamp, VolumeId,
};
use futures::TryStreamExt;
use tempfile::TempDir;

use super::open;

struct Life {
    folder: TempDir,
    repository: Arc<dyn Repository>,
    engine: ChunkedBackup,
    volume: MemoryDevice,
    cx: JobContext,
}

impl Life {
    fn new() -> Self {
        Self::with(|repository| repository)
    }

    fn with(around: impl FnOnce(Arc<dyn Repository>) -> Arc<dyn Repository>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = around(Arc::new(open(folder.path())));
        let config = ChunkedConfig::zlib()
            .unwrap()
            .with_chunk_size(64 << 10)
            .with_block_size(4 << 10);
        let volume = MemoryDevice::new(1_000_000);
        volume.poke(
            12_345,
            &(0..200_000u32)
                .flat_map(u32::to_le_bytes)
                .collect::<Vec<_>>(),
        );
        Self {
            engine: ChunkedBackup::new(Arc::clone(&repository), config).unwrap(),
            cx: JobContext::new(64 << 20).unwrap(),
            folder,
            repository,
            volume,
        }
    }

    fn plan(&self, container: Option<&str>) -> BackupPlan {
        let mut request = BackupRequest::new(VolumeId::generate(), Timestamp::now());
        request.container = container.map(|name| ContainerName::new(name).unwrap());
        self.engine.plan(&request).unwrap()
    }

    async fn back_up(&self, plan: &BackupPlan, parent: Option<&BackupPlan>) -> Result<()> {
        let source = Attachment::new(Arc::new(self.volume.clone()));
        let parent = parent.map(layer);
        let created = self.engine.create(plan, parent.as_ref(), &source, &self.cx);
        created.await.map(|_| ())
    }

    fn files(&self) -> Vec<PathBuf> {
        files(self.folder.path())
    }
}

fn layer(plan: &BackupPlan) -> Layer {
    Layer {
        id: plan.id,
        location: plan.location.clone(),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_chain_in_a_folder_restores_and_its_delete_leaves_no_file() {
    let life = Life::new();
    let (full, incremental) = (life.plan(None), life.plan(None));
    life.back_up(&full, None).await.unwrap();
    life.volume.poke(500_000, &[7; 10_000]);
    life.back_up(&incremental, Some(&full)).await.unwrap();
    assert!(
        life.files()
            .iter()
            .all(|f| !f.to_string_lossy().contains(".ashlar-"))
    );

    let chain = Chain::new(vec![layer(&full), layer(&incremental)]).unwrap();
    let target = MemoryDevice::new(1_000_000);
    target.poke(0, &vec![0xFF; 1_000_000]);
    let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
    let options = RestoreOptions::default();
    life.engine
        .restore(&chain, &device, &options, &life.cx)
        .await
        .unwrap();
    assert_eq!(target.first_difference(&life.volume), None);

    for plan in [incremental, full] {
        life.engine.delete(&plan.layer(), &life.cx).await.unwrap();
    }
    assert_eq!(life.files(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_a_killed_backup_left_goes_with_its_delete() {
    let life = Life::new();
    let layer = life.plan(None).layer();
    let location = &layer.location;
    life.repository
        .ensure_container(&location.container)
        .await
        .unwrap();
    let data = location.data_object(1);
    life.repository
        .put(&data, "half".into(), PutMode::Overwrite)
        .await
        .unwrap();
    // Of the data object nothing else tells: no listing, no record.
    let unknown = location.data_object(7);
    for key in [location.hash_list(), location.metadata(), unknown] {
        let mut upload = life.repository.begin(&key, None).await.unwrap();
        upload.part("half".into()).await.unwrap();
        std::mem::forget(upload); // as a kill does
    }
    assert_eq!(life.files().len(), 4);
    // Another backup in the same folder is being made.
    let other = life.plan(Some(location.container.as_str())).layer();
    let data = other.location.data_object(1);
    let mut going = life.repository.begin(&data, None).await.unwrap();
    going.part("whole".into()).await.unwrap();
    life.engine.delete(&layer, &life.cx).await.unwrap();
    assert_eq!(life.files().len(), 1);
    going.complete().await.unwrap();
    life.engine.delete(&other, &life.cx).await.unwrap();
    assert_eq!(life.files(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_backup_whose_writes_were_lost_can_be_deleted() {
    let life = Life::with(|inner| {
        let lost = Fault::Fail(ErrorKind::Io);
        let plan = FaultPlan::new().rule(When::call(Call::Barrier).times(2), lost);
        Arc::new(FaultRepository::new(inner, plan))
    });
    let error = life.back_up(&life.plan(None), None).await.unwrap_err();
    assert!(error.is(ErrorKind::Io), "{error}");
    assert_eq!(
        life.files(),
        Vec::<PathBuf>::new(),
        "create cleans up behind itself"
    );
}

#[tokio::test]
async fn a_backup_in_a_container_within_a_container_is_scanned_once() {
    let life = Life::new();
    for container in ["outer", "outer/inner"] {
        life.back_up(&life.plan(Some(container)), None)
            .await
            .unwrap();
    }
    let items = life.engine.scan(None, &life.cx).await.unwrap();
    let items: Vec<ScanItem> = items.try_collect().await.unwrap();
    let mut containers = Vec::new();
    for item in items {
        let ScanItem::Found(found) = item else {
            panic!("{item:?}")
        };
        containers.push(found.record.location.unwrap().container.to_string());
    }
    containers.sort();
    assert_eq!(containers, ["outer", "outer/inner"]);
}
