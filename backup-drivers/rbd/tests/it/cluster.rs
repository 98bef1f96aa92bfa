//! Connecting, and what is said where it cannot be.

use std::time::Duration;

use backup_core::ErrorKind;
use backup_rbd::{Cluster, ClusterConfig};

use crate::ceph::{Ceph, conf, config};

#[tokio::test]
async fn a_cluster_tells_its_id_and_opens_its_pools() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let cluster = ceph.pool.cluster();
    assert_eq!(cluster.fsid().len(), 36, "{}", cluster.fsid());
    let other = cluster.pool("backups").await.unwrap();
    assert_ne!(other.id(), ceph.pool.id());
    let e = cluster.pool("nowhere").await.unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "{e}");
    assert!(e.to_string().contains("nowhere"), "{e}");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told_by_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ceph.conf");
    // Port 9 of this host: nobody answers there.
    std::fs::write(
        &path,
        "[global]\nfsid = 00000000-0000-0000-0000-000000000000\nmon_host = 127.0.0.1:9\nauth_client_required = none\n",
    )
    .unwrap();
    let mut config = ClusterConfig::new(&path, "cinder");
    config.connect_timeout = Duration::from_secs(2);
    let e = Cluster::connect(&config).await.unwrap_err();
    assert!(e.is(ErrorKind::Timeout), "{e:?}");
    assert!(
        e.to_string().contains("no monitor answered within 2 s"),
        "{e}"
    );
    assert!(e.hint_text().unwrap().contains("mon_host"), "{e:?}");

    let mut config = ClusterConfig::new(folder.path().join("none.conf"), "cinder");
    config.connect_timeout = Duration::from_secs(2);
    let e = Cluster::connect(&config).await.unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "{e:?}");
}

#[tokio::test]
async fn a_user_without_a_key_is_told() {
    let Some(conf) = conf() else {
        return;
    };
    let mut config = config(&conf);
    config.user = "nobody".into();
    let e = Cluster::connect(&config).await.unwrap_err();
    assert!(
        matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied),
        "{e:?}"
    );
    assert!(e.to_string().contains("client.nobody"), "{e}");
}
