//! Backs up into an object store of your own: `cargo run -p ashlar-examples --example own_object_store`.
//!
//! `backup-s3` takes any store of the crate `object_store`, one for each container. Here it is one in memory;
//! Google's and Azure's come the same way, with the crate's features `gcp` and `azure`:
//!
//! ```text
//! GoogleCloudStorageBuilder::from_env().with_bucket_name(container.as_str()).build()
//! MicrosoftAzureBuilder::from_env().with_container_name(container.as_str()).build()
//! ```
//!
//! A full backup and an incremental are made, found again by a scan alone, restored, compared and deleted.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use backup_core::testing::MemoryDevice;
use backup_core::{
    Attachment, Backup, BackupRequest, BlockDevice, Chain, ChunkedBackup, ChunkedConfig,
    ContainerName, Error, ErrorKind, JobContext, Layer, RestoreOptions, Result, ScanItem,
    Timestamp, VolumeId,
};
use backup_s3::S3Repository;
use backup_s3::object_store::ObjectStore;
use backup_s3::object_store::memory::InMemory;
use futures::TryStreamExt;

/// A repository whose one container is a store in memory.
fn repository() -> Result<S3Repository> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    S3Repository::from_stores(move |container: &ContainerName| match container.as_str() {
        "volumebackups" => Ok(Arc::clone(&store)),
        // Containers are not made: each must be there.
        _ => Err(Error::new(ErrorKind::NotFound, "open container").on(container)),
    })
}

/// Backs up the volume onto its parent, and answers the chain's next layer.
async fn back_up(
    engine: &ChunkedBackup,
    volume: (VolumeId, &MemoryDevice),
    parent: Option<&Layer>,
    cx: &JobContext,
) -> Result<Layer> {
    let plan = engine.plan(&BackupRequest::new(volume.0, Timestamp::now()))?;
    let source = Attachment::new(Arc::new(volume.1.clone()));
    let outcome = engine.create(&plan, parent, &source, cx).await?;
    println!(
        "{}: {} objects, {} bytes stored",
        plan.location, outcome.object_count, outcome.stored_bytes
    );
    Ok(Layer {
        id: plan.id,
        location: plan.location,
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let cx = JobContext::new(64 << 20)?;
    let config = ChunkedConfig::zlib()?.with_chunk_size(1 << 20);
    let engine = ChunkedBackup::new(Arc::new(repository()?), config)?;
    let repository = Arc::clone(engine.repository());

    let content: Vec<u8> = (0..5_000_000_u32)
        .flat_map(u32::to_le_bytes)
        .take(6_000_000)
        .collect();
    let volume = MemoryDevice::from_bytes(&content);
    let id = VolumeId::generate();
    let full = back_up(&engine, (id, &volume), None, &cx).await?;
    volume.poke(2_000_000, b"changed");
    let incremental = back_up(&engine, (id, &volume), Some(&full), &cx).await?;

    let found = engine.scan(None, &cx).await?;
    let found: Vec<ScanItem> = found.try_collect().await?;
    assert_eq!(found.len(), 2, "the store alone knows both");

    let chain = Chain::new(vec![full.clone(), incremental.clone()])
        .ok_or_else(|| Error::internal("chain", "it has no layer"))?;
    let restored = MemoryDevice::new(6_000_000);
    let target: Arc<dyn BlockDevice> = Arc::new(restored.clone());
    let options = RestoreOptions::default();
    let report = engine.restore(&chain, &target, &options, &cx).await?;
    assert_eq!(restored.first_difference(&volume), None);
    println!(
        "restored and compared: {} bytes checked",
        report.checked_bytes
    );

    for layer in [incremental, full] {
        engine.delete(&layer, &cx).await?;
    }
    let container = "volumebackups".to_owned().try_into()?;
    let left = repository.list(&container, "", None).await?;
    let left: Vec<_> = left.try_collect().await?;
    assert_eq!(left, [], "nothing is left");
    println!("deleted: nothing is left");
    Ok(())
}
