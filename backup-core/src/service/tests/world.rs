use std::sync::Arc;

use crate::backup::Backup;
use crate::catalog::{Catalog, MemoryCatalog};
use crate::chunked::{ChunkedBackup, ChunkedConfig};
use crate::error::Result;
use crate::job::{JobContext, Observer, Progress};
use crate::range::ByteRange;
use crate::record::BackupRecord;
use crate::service::memory::MemoryVolumes;
use crate::service::{
    BackupService, Caller, CreateRequest, FileLocks, NamedRepository, NewVolume, RestoreRequest,
    RestoreTarget, VolumeOrigin,
};
use crate::testing::{MemoryDevice, MemoryRepository};
use crate::timestamp::Timestamp;
use crate::volume::{VolumeRecord, VolumeStatus};

pub(super) const POSIX: &str = "cinder.backup.drivers.posix.PosixBackupDriver";

/// A service with everything that it stands on.
pub(super) struct World {
    pub(super) service: BackupService,
    pub(super) catalog: Arc<MemoryCatalog>,
    pub(super) volumes: MemoryVolumes,
    pub(super) repository: MemoryRepository,
    pub(super) caller: Caller,
    pub(super) cx: JobContext,
    jobs: tempfile::TempDir,
}

pub(super) fn engine(repository: &MemoryRepository) -> Arc<dyn Backup> {
    let config = ChunkedConfig::zlib()
        .unwrap()
        .with_chunk_size(64 << 10)
        .with_block_size(4 << 10);
    Arc::new(ChunkedBackup::new(Arc::new(repository.clone()), config).unwrap())
}

pub(super) fn named(name: &str, service: &str, repository: &MemoryRepository) -> NamedRepository {
    NamedRepository {
        name: name.into(),
        backup: engine(repository),
        service: service.into(),
        container: None,
        account: None,
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let repository = MemoryRepository::new();
        Self::over(&[named("default", POSIX, &repository)], repository.clone()).await
    }

    /// With a catalogue of its own over these repositories.
    pub(super) async fn over(
        repositories: &[NamedRepository],
        repository: MemoryRepository,
    ) -> Self {
        Self::within(repositories, repository, JobContext::new(64 << 20).unwrap()).await
    }

    /// The same in a context that there is.
    pub(super) async fn within(
        repositories: &[NamedRepository],
        repository: MemoryRepository,
        cx: JobContext,
    ) -> Self {
        let jobs = tempfile::tempdir().unwrap();
        let catalog = Arc::new(MemoryCatalog::new());
        let volumes = MemoryVolumes::new();
        let mut builder = BackupService::builder(
            Arc::<MemoryCatalog>::clone(&catalog),
            Arc::new(volumes.clone()),
            Arc::new(FileLocks::new(jobs.path())),
        )
        .host("here");
        for one in repositories {
            builder = builder.repository(one.clone());
        }
        let service = builder.build().unwrap();
        Self {
            caller: service.home_caller().await.unwrap(),
            service,
            catalog,
            volumes,
            repository,
            cx,
            jobs,
        }
    }

    /// A service over the same catalogue, volumes and locks, with other repositories.
    pub(super) fn with_repositories(&self, repositories: &[NamedRepository]) -> BackupService {
        let mut builder = BackupService::builder(
            Arc::<MemoryCatalog>::clone(&self.catalog),
            Arc::new(self.volumes.clone()),
            Arc::new(FileLocks::new(self.jobs.path())),
        )
        .host("here");
        for one in repositories {
            builder = builder.repository(one.clone());
        }
        builder.build().unwrap()
    }

    /// A volume with some content.
    pub(super) async fn volume(&self, name: &str, length: u64) -> VolumeRecord {
        let new = NewVolume::new(VolumeOrigin::Empty { length }).named(name);
        let now = Timestamp::now();
        let record = self
            .service
            .create_volume(&self.caller, new, now)
            .await
            .unwrap();
        let content: Vec<u8> = (0..length / 2).map(|i| (i % 251) as u8).collect();
        self.device(&record).poke(0, &content);
        record
    }

    pub(super) fn device(&self, volume: &VolumeRecord) -> MemoryDevice {
        self.volumes.device(volume.id).unwrap()
    }

    pub(super) async fn back_up(&self, request: CreateRequest) -> Result<BackupRecord> {
        self.service
            .create_backup(&self.caller, request, &self.cx)
            .await
            .map(|created| created.backup)
    }

    pub(super) async fn full(&self, volume: &VolumeRecord) -> BackupRecord {
        self.back_up(CreateRequest::of(volume.id.to_string()))
            .await
            .unwrap()
    }

    pub(super) async fn incremental(&self, volume: &VolumeRecord) -> BackupRecord {
        self.back_up(CreateRequest::of(volume.id.to_string()).incremental(true))
            .await
            .unwrap()
    }

    pub(super) async fn restore(
        &self,
        backup: &BackupRecord,
        target: RestoreTarget,
    ) -> Result<VolumeRecord> {
        let request = RestoreRequest::of(backup.id.to_string()).to(target);
        self.service
            .restore_backup(&self.caller, request, &self.cx)
            .await
            .map(|restored| restored.volume)
    }

    /// Restores into a new volume and compares.
    pub(super) async fn check(&self, backup: &BackupRecord, content: &MemoryDevice) {
        let new = RestoreTarget::New { name: None };
        let volume = self.restore(backup, new).await.unwrap();
        let restored = self.device(&volume);
        assert_eq!(restored.first_difference(content), None);
    }

    pub(super) async fn set_volume(&self, volume: &VolumeRecord, status: VolumeStatus) {
        let change = crate::catalog::VolumeChange {
            status: Some(status),
            ..Default::default()
        };
        let (id, now) = (volume.id.to_string(), Timestamp::now());
        self.service
            .set_volume(&self.caller, &id, &change, now)
            .await
            .unwrap();
    }

    pub(super) async fn status(&self, volume: &VolumeRecord) -> VolumeStatus {
        self.catalog.volume(volume.id).await.unwrap().status
    }

    pub(super) async fn backups(&self) -> Vec<BackupRecord> {
        let filter = crate::catalog::BackupFilter::default();
        self.catalog.backups(&filter).await.unwrap()
    }

    /// Nothing runs, nothing is attached.
    pub(super) async fn assert_quiet(&self) {
        assert!(self.catalog.jobs().await.unwrap().is_empty());
        assert_eq!(self.volumes.attached(), 0);
    }

    /// A context whose job is cancelled at its first progress.
    pub(super) fn cancelled_soon(&self) -> JobContext {
        #[derive(Debug)]
        struct Canceller(crate::job::CancelToken);
        impl Observer for Canceller {
            fn progress(&self, _: &Progress) {
                self.0.cancel();
            }
        }
        let token = crate::job::CancelToken::new();
        self.cx
            .for_job(Arc::new(Canceller(token.clone())))
            .with_cancel(token)
    }
}

/// Zeroes a part and writes into another.
pub(super) fn change(device: &MemoryDevice) {
    device.poke(70_000, b"changed");
    device.poke_zeroes(ByteRange::new(8192, 16_384).unwrap());
}
