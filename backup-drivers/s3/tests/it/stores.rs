//! Stores that an embedder hands in.

use std::sync::{Arc, Mutex};

use backup_core::{ContainerName, DefaultContainer, ErrorKind, PutMode, Repository};
use backup_s3::S3Repository;
use backup_s3::object_store::ObjectStore;
use backup_s3::object_store::memory::InMemory;
use futures::TryStreamExt;

use crate::servers::{container, key, list, noise, put, read};

fn in_memory() -> S3Repository {
    S3Repository::from_stores(|_| Ok(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>)).unwrap()
}

#[tokio::test]
async fn each_container_has_its_store_opened_once() {
    let opened: Arc<Mutex<Vec<ContainerName>>> = Arc::default();
    let log = Arc::clone(&opened);
    let repository = S3Repository::from_stores(move |container| {
        log.lock().unwrap().push(container.clone());
        Ok(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>)
    })
    .unwrap();
    let (a, b) = (container("a"), container("b"));
    for (seed, bucket) in [&a, &b, &a].into_iter().enumerate() {
        let object = key(bucket, &format!("k{seed}"));
        put(&repository, &object, noise(10, 1)).await;
    }
    assert_eq!(list(&repository, &a, "").await.len(), 2);
    assert_eq!(list(&repository, &b, "").await.len(), 1);
    assert_eq!(*opened.lock().unwrap(), [a, b]);
}

#[tokio::test]
async fn listings_take_any_beginning_and_any_delimiter() {
    let repository = in_memory();
    let bucket = container("b");
    for name in ["v/1/x-1", "v/1/x-2", "v/1/y-1", "v/12/z", "w"] {
        put(&repository, &key(&bucket, name), noise(3, 1)).await;
    }
    let names = async |prefix: &str, delimiter| {
        let listed = repository.list(&bucket, prefix, delimiter).await.unwrap();
        let mut listed: Vec<_> = listed.try_collect().await.unwrap();
        listed.sort_by(|a: &backup_core::Listed, b| a.name.cmp(&b.name));
        listed.into_iter().map(|l| l.name).collect::<Vec<_>>()
    };
    assert_eq!(
        names("v/1", None).await,
        ["v/1/x-1", "v/1/x-2", "v/1/y-1", "v/12/z"]
    );
    assert_eq!(names("v/1/x", None).await, ["v/1/x-1", "v/1/x-2"]);
    assert_eq!(names("v/1", Some('/')).await, ["v/1/", "v/12/"]);
    assert_eq!(names("v/1/", Some('-')).await, ["v/1/x-", "v/1/y-"]);
    assert_eq!(names("", Some('/')).await, ["v/", "w"]);
}

#[tokio::test]
async fn objects_live_their_whole_life_there() {
    let repository = in_memory();
    let (bucket, other) = (container("b"), container("c"));
    let object = key(&bucket, "k");
    let put = |mode| repository.put(&object, noise(100, 1), mode);
    put(PutMode::CreateOnly).await.unwrap();
    let error = put(PutMode::CreateOnly).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let mut upload = repository.begin(&object, None).await.unwrap();
    upload.part(noise(40 << 20, 2)).await.unwrap();
    upload.complete().await.unwrap();
    let copy = key(&other, "copy");
    repository.copy(&object, &copy).await.unwrap();
    assert_eq!(read(&repository, &copy).await.unwrap(), noise(40 << 20, 2));
    let results = repository
        .delete(&[object.clone(), key(&bucket, "absent")])
        .await;
    assert!(results.into_iter().all(|r| r.is_ok()));
    let error = read(&repository, &object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_layout_of_ones_own_names_the_default_container() {
    let mut layout = in_memory().layout();
    layout.service = "cinder.backup.drivers.gcs.GoogleBackupDriver".into();
    layout.container = DefaultContainer::Named(container("mine"));
    let repository = in_memory().with_layout(layout.clone());
    assert_eq!(repository.layout(), layout);
    let containers = repository.containers().await.unwrap();
    let containers: Vec<_> = containers.try_collect().await.unwrap();
    assert_eq!(containers, [container("mine")]);
}
