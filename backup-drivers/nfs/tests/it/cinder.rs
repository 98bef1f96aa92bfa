//! Both ways with Cinder's own nfs driver, which works on the exported folder.

use backup_core::{ChunkedBackup, ChunkedConfig};
use cinder_chains::{Cinder, python, take_turns};

use crate::servers::{VERSIONS, files, ganesha, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_ours_and_cinders_restores_by_both() {
    let Some(server) = ganesha() else { return };
    let Some(python) = python() else {
        println!("skipped: ASHLAR_TEST_CINDER_PYTHON is not set");
        return;
    };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        let engine = ChunkedConfig::zlib().unwrap();
        let engine = engine.with_chunk_size(1 << 20).with_block_size(32 << 10);
        let engine = ChunkedBackup::new(open(&config), engine).unwrap();
        let cinder = Cinder::new(&python, "nfs", [format!("--repo={}", folder.display())]);
        take_turns(version, &engine, None, &cinder).await;
        assert_eq!(files(&folder), [""; 0], "{version}");
    }
}
