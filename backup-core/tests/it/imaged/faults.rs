//! One fault at one call of either store, for each call of each operation; cancels and drops there too. Whatever happens,
//! the outcome is right bytes or an error that names what it was, older backups are untouched, nothing is left behind that
//! counts, and the next run succeeds.

use std::cell::Cell;
use std::time::Duration;

use backup_core::testing::{Fault, FaultImages};
use backup_core::{CancelToken, ErrorKind};

use super::scene::{Op, Scene, Stage, assert_told, bounded};

const FAULTS: [Fault; 5] = [
    Fault::Fail(ErrorKind::Unavailable),
    Fault::Fail(ErrorKind::PermissionDenied),
    Fault::LoseAnswer(ErrorKind::Timeout),
    Fault::Delay(Duration::from_millis(2)),
    Fault::DelayAnswer(Duration::from_millis(2)),
];

/// Which store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Backups,
    Source,
}

fn store<'a>(stage: &'a Stage<'_>, at: Where) -> &'a FaultImages {
    match at {
        Where::Backups => &stage.faulty,
        Where::Source => &stage.source,
    }
}

/// Calls of either store, of each operation that succeeds.
async fn counts(scene: &Scene) -> Vec<(Op, Where, u64)> {
    let mut counts = Vec::new();
    for op in Op::ALL {
        let stage = scene.stage();
        let plan = stage.plan(op);
        let source = stage.attach(op, &plan).await;
        stage.faulty.heal();
        stage.source.heal();
        let done = stage.run(op, &plan, &source, &scene.cx).await.unwrap();
        drop(source);
        counts.push((op, Where::Backups, stage.faulty.calls()));
        if op.makes() {
            counts.push((op, Where::Source, stage.source.calls()));
        }
        stage.assert_right(op, &plan, done, "no fault").await;
    }
    counts
}

async fn check(scene: &Scene, op: Op, at: Where, nth: u64, fault: Fault) {
    let stage = scene.stage();
    let plan = stage.plan(op);
    let source = stage.attach(op, &plan).await;
    store(&stage, at).fail(nth, fault);
    let done = bounded(stage.run(op, &plan, &source, &scene.cx)).await;
    let hit = store(&stage, at).hit();
    drop(source);
    let label = format!("{op:?}, {fault:?} at {hit:?} ({at:?} {nth})");
    // A job with many calls in flight may have less of them when one fails.
    assert!(hit.is_some(), "{label}: the fault did not happen");
    let is_slow = matches!(fault, Fault::Delay(_) | Fault::DelayAnswer(_));
    match done {
        Ok(done) => stage.assert_right(op, &plan, done, &label).await,
        Err(e) => {
            assert!(!is_slow, "{label}: {e:?}");
            assert_told(&e, &label);
            if op == Op::Delete {
                stage.check_deleted(&label).await;
            } else {
                stage.assert_clean(&label);
            }
        }
    }
    stage.assert_older(op, &label).await;
    stage.assert_next_run(op, &label).await;
}

#[tokio::test]
async fn a_fault_at_any_call_of_either_store_ends_in_right_bytes_or_an_error() {
    let scene = Scene::new().await;
    let mut cases = 0;
    for (op, at, calls) in counts(&scene).await {
        for nth in 0..calls {
            for fault in FAULTS {
                check(&scene, op, at, nth, fault).await;
                cases += 1;
            }
        }
    }
    println!("{cases} faults in stores of images");
    assert!(cases > 300, "{cases}: the sweep is there");
}

#[tokio::test]
async fn a_cancel_at_any_call_is_answered_and_leaves_nothing() {
    let scene = Scene::new().await;
    let mut cancelled = 0;
    for (op, at, calls) in counts(&scene).await {
        for nth in 0..calls {
            let stage = scene.stage();
            let plan = stage.plan(op);
            let source = stage.attach(op, &plan).await;
            store(&stage, at).fail(nth, Fault::DelayAnswer(Duration::from_millis(3)));
            let cx = scene.cx.clone().with_cancel(CancelToken::new());
            let ended = Cell::new(false);
            let work = async {
                let done = stage.run(op, &plan, &source, &cx).await;
                ended.set(true);
                done
            };
            let watch = async {
                while store(&stage, at).hit().is_none() && !ended.get() {
                    tokio::time::sleep(Duration::from_micros(100)).await;
                }
                cx.cancel().cancel();
            };
            let (done, ()) = bounded(futures::future::join(work, watch)).await;
            drop(source);
            let label = format!("{op:?}, cancelled at {:?}", store(&stage, at).hit());
            match done {
                Ok(done) => stage.assert_right(op, &plan, done, &label).await,
                Err(e) => {
                    assert!(e.is(ErrorKind::Cancelled), "{label}: {e:?}");
                    cancelled += 1;
                    if op == Op::Delete {
                        stage.check_deleted(&label).await;
                    } else {
                        stage.assert_clean(&label);
                    }
                }
            }
            stage.assert_older(op, &label).await;
            stage.assert_next_run(op, &label).await;
        }
    }
    println!("{cancelled} operations on images cancelled");
    assert!(cancelled > 20, "{cancelled}");
}

#[tokio::test]
async fn an_operation_dropped_at_any_call_is_cleared_by_delete_and_hurts_nothing_else() {
    let scene = Scene::new().await;
    let mut cases = 0;
    for (op, at, calls) in counts(&scene).await {
        for nth in 0..calls {
            for fault in [
                Fault::Delay(Duration::from_hours(1)),
                Fault::DelayAnswer(Duration::from_hours(1)),
            ] {
                let stage = scene.stage();
                let plan = stage.plan(op);
                let source = stage.attach(op, &plan).await;
                store(&stage, at).fail(nth, fault);
                let reached = async {
                    while store(&stage, at).hit().is_none() {
                        tokio::time::sleep(Duration::from_micros(100)).await;
                    }
                };
                let ended = bounded(async {
                    tokio::select! {
                        _ = stage.run(op, &plan, &source, &scene.cx) => true,
                        () = reached => false,
                    }
                })
                .await;
                let label = format!("{op:?} dropped at {:?}", store(&stage, at).hit());
                assert!(!ended, "{label}: it did not wait there");
                drop(source);
                if op.makes() {
                    stage.clear(&plan.layer(), &label).await;
                    stage.assert_clean(&label);
                } else if op == Op::Delete {
                    stage.check_deleted(&label).await;
                } else {
                    stage.assert_clean(&label);
                }
                stage.assert_older(op, &label).await;
                stage.assert_next_run(op, &label).await;
                cases += 1;
            }
        }
    }
    println!("{cases} operations on images dropped");
    assert!(cases > 100, "{cases}");
}
