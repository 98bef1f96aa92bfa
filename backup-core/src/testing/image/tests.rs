use super::*;
use crate::testing::Fault;

fn images() -> MemoryImages {
    MemoryImages::new(ContainerName::new("pool").unwrap())
}

#[tokio::test]
async fn the_memory_images_keep_every_promise() {
    let memory = images();
    let pool = ContainerName::new("pool").unwrap();
    let passed = image_conformance(Arc::new(memory.clone()), &pool)
        .await
        .unwrap();
    assert!(passed.len() > 14, "{passed:#?}");
    assert!(memory.inventory().is_empty(), "the suite cleans up");
}

/// A suite that passes whatever happens proves nothing: a store that fails at any one call, or did nothing, is found out.
#[tokio::test]
async fn images_that_fail_anywhere_are_found_out() {
    let pool = ContainerName::new("pool").unwrap();
    let counted = FaultImages::new(Arc::new(images()));
    image_conformance(Arc::new(counted.clone()), &pool)
        .await
        .unwrap();
    let calls = counted.calls();
    assert!(calls > 100, "{calls}");
    for n in (0..calls).step_by(41) {
        let faulty = FaultImages::new(Arc::new(images()));
        faulty.fail(n, Fault::Fail(ErrorKind::Io));
        let failed = image_conformance(Arc::new(faulty.clone()), &pool).await;
        assert!(failed.is_err(), "{:?} failed unseen", faulty.hit());
    }
}
