//! Two services, as in two processes, on one catalogue.

use std::path::Path;
use std::sync::Arc;

use backup_catalog_sql::SqliteCatalog;
use backup_core::catalog::{BackupFilter, VolumeFilter};
use backup_core::service::memory::MemoryVolumes;
use backup_core::service::{
    BackupService, Caller, CreateRequest, FileLocks, NamedRepository, NewVolume, RestoreRequest,
    RestoreTarget, VolumeOrigin,
};
use backup_core::testing::MemoryRepository;
use backup_core::{
    BackupStatus, ChunkedBackup, ChunkedConfig, ErrorKind, JobContext, Timestamp, VolumeStatus,
};

struct Process {
    service: BackupService,
    caller: Caller,
    cx: JobContext,
}

async fn process(home: &Path, volumes: &MemoryVolumes, repository: &MemoryRepository) -> Process {
    let catalog = SqliteCatalog::open(home.join("catalogue.sqlite"))
        .await
        .unwrap();
    let config = ChunkedConfig::zlib()
        .unwrap()
        .with_chunk_size(64 << 10)
        .with_block_size(4 << 10);
    let engine = ChunkedBackup::new(Arc::new(repository.clone()), config).unwrap();
    let service = BackupService::builder(
        Arc::new(catalog),
        Arc::new(volumes.clone()),
        Arc::new(FileLocks::new(home.join("jobs"))),
    )
    .repository(NamedRepository {
        name: "default".into(),
        backup: Arc::new(engine),
        service: "cinder.backup.drivers.posix.PosixBackupDriver".into(),
        container: None,
        account: None,
    })
    .build()
    .unwrap();
    Process {
        caller: service.home_caller().await.unwrap(),
        service,
        cx: JobContext::new(64 << 20).unwrap(),
    }
}

impl Process {
    async fn volume(&self, name: &str) {
        let new = NewVolume::new(VolumeOrigin::Empty { length: 100_000 }).named(name);
        self.service
            .create_volume(&self.caller, new, Timestamp::now())
            .await
            .unwrap();
    }

    /// One command after another, each with a recovery first, as the command line does.
    async fn work(&self, name: &str, rounds: usize) {
        self.volume(name).await;
        for round in 0..rounds {
            self.service.recover(&self.cx).await.unwrap();
            let request = CreateRequest::of(name).incremental(round > 0);
            let made = self
                .service
                .create_backup(&self.caller, request, &self.cx)
                .await
                .unwrap();
            let id = made.backup.id.to_string();
            let name = Some(format!("restored {name}"));
            let restore = RestoreRequest::of(&id).to(RestoreTarget::New { name });
            self.service
                .restore_backup(&self.caller, restore, &self.cx)
                .await
                .unwrap();
            if round == rounds - 1 {
                self.service
                    .delete_backup(&self.caller, &id, false, &self.cx)
                    .await
                    .unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_back_up_restore_and_delete_side_by_side() {
    const ROUNDS: usize = 5;
    let home = tempfile::tempdir().unwrap();
    let (volumes, repository) = (MemoryVolumes::new(), MemoryRepository::new());
    let one = process(home.path(), &volumes, &repository).await;
    let two = process(home.path(), &volumes, &repository).await;
    assert_eq!(one.caller, two.caller);
    tokio::join!(one.work("one", ROUNDS), two.work("two", ROUNDS));
    let catalog = one.service.catalog();
    let backups = catalog.backups(&BackupFilter::default()).await.unwrap();
    assert_eq!(backups.len(), 2 * (ROUNDS - 1));
    assert!(backups.iter().all(|b| b.status == BackupStatus::Available));
    let volumes_now = catalog.volumes(&VolumeFilter::default()).await.unwrap();
    assert_eq!(volumes_now.len(), 2 * (ROUNDS + 1));
    assert!(
        volumes_now
            .iter()
            .all(|v| v.status == VolumeStatus::Available)
    );
    assert!(catalog.jobs().await.unwrap().is_empty());
    assert_eq!(volumes.attached(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_processes_that_want_one_volume_one_gets_it() {
    let home = tempfile::tempdir().unwrap();
    let (volumes, repository) = (MemoryVolumes::new(), MemoryRepository::new());
    let one = process(home.path(), &volumes, &repository).await;
    let two = process(home.path(), &volumes, &repository).await;
    one.volume("data").await;
    for _ in 0..10 {
        let back_up = async |p: &Process| {
            let request = CreateRequest::of("data");
            p.service.create_backup(&p.caller, request, &p.cx).await
        };
        let (a, b) = tokio::join!(back_up(&one), back_up(&two));
        assert!(a.is_ok() || b.is_ok());
        for e in [a.err(), b.err()].into_iter().flatten() {
            assert!(e.is(ErrorKind::Conflict), "{e}");
        }
    }
    let v = one.service.show_volume(&one.caller, "data").await.unwrap();
    assert_eq!(v.status, VolumeStatus::Available);
}

#[tokio::test]
async fn a_process_settles_what_another_left_when_it_died() {
    let home = tempfile::tempdir().unwrap();
    let (volumes, repository) = (MemoryVolumes::new(), MemoryRepository::new());
    let dying = process(home.path(), &volumes, &repository).await;
    let next = process(home.path(), &volumes, &repository).await;
    dying.volume("data").await;
    volumes.stall(true);
    let request = CreateRequest::of("data");
    let create = dying
        .service
        .create_backup(&dying.caller, request, &dying.cx);
    let limit = std::time::Duration::from_millis(300);
    {
        let mut create = Box::pin(create);
        let waits = tokio::time::timeout(limit, &mut create).await;
        assert!(waits.is_err());
        assert_eq!(next.service.recover(&next.cx).await.unwrap().running, 1);
    }
    let recovered = next.service.recover(&next.cx).await.unwrap();
    assert_eq!(recovered.settled.len(), 1, "{recovered:?}");
    let backups = next
        .service
        .list_backups(&next.caller, &BackupFilter::default())
        .await
        .unwrap();
    assert_eq!(backups[0].status, BackupStatus::Error);
    assert_eq!(volumes.attached(), 0);
    let left = std::fs::read_dir(home.path().join("jobs")).unwrap();
    assert_eq!(left.count(), 0);
}
