//! Operations whose future is dropped: at each call to the repository, before it has happened and after, and after any
//! number of polls.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use backup_core::testing::{Call, Fault, FaultPlan, When};
use backup_core::{Algorithm, Backup};

use super::scene::{Op, Scene, Stage, Way, bounded};

/// Runs `work` until `enough`, then drops it; its result, where it ended before.
async fn drop_when<T>(
    work: impl Future<Output = T>,
    mut enough: impl FnMut() -> bool,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        let polled = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        if let Poll::Ready(done) = polled {
            return Some(done);
        }
        if enough() {
            return None;
        }
        // Tasks and threads that it waits for go on meanwhile.
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
}

/// After a drop: `delete` clears all of it, and nothing else was hurt.
async fn assert_clearable(stage: &Stage<'_>, op: Op, plan: &backup_core::BackupPlan, label: &str) {
    let scene = stage.scene;
    stage.faulty.set_plan(FaultPlan::new());
    stage.assert_memory_back(label).await;
    stage.assert_older_untouched(op == Op::Delete, label);
    match op {
        Op::Full | Op::Incremental => {
            bounded(stage.engine.delete(&plan.layer(), &scene.cx))
                .await
                .unwrap();
            stage.assert_clean(label);
        }
        Op::Delete => {
            let location = &scene.layers[2].location;
            if stage
                .memory
                .object(&location.metadata().to_string())
                .is_some()
            {
                stage
                    .restores(&stage.chain(), &scene.contents[2], label)
                    .await
                    .unwrap_or_else(|e| panic!("{label}: half a backup: {e}"));
            }
        }
        _ => stage.assert_clean(label),
    }
    stage.assert_next_run(op, label).await;
}

#[tokio::test]
async fn an_operation_dropped_at_any_call_is_cleared_by_delete_and_hurts_nothing_else() {
    let mut cases = 0;
    for (algorithm, in_parts) in [(Algorithm::Zlib, false), (Algorithm::None, true)] {
        let scene = Scene::new(algorithm, in_parts).await;
        for op in Op::ALL {
            let stage = scene.stage(Way::Plain, FaultPlan::new());
            stage.run(op, &scene.plan(&stage.engine)).await.unwrap();
            let counted = stage.faulty;
            for call in Call::ALL {
                for nth in 0..counted.calls_of(call) {
                    for fault in [
                        Fault::Delay(Duration::from_hours(1)),
                        Fault::DelayAnswer(Duration::from_hours(1)),
                    ] {
                        let label = format!("{op:?} dropped at {call:?} {nth}, {fault:?}");
                        let rule = FaultPlan::new().rule(When::call(call).nth(nth), fault);
                        let stage = scene.stage(Way::Plain, rule);
                        let plan = scene.plan(&stage.engine);
                        let reached = || stage.faulty.faults() > 0;
                        let done = bounded(drop_when(stage.run(op, &plan), reached)).await;
                        assert!(done.is_none(), "{label}: it did not wait there");
                        assert_clearable(&stage, op, &plan, &label).await;
                        cases += 1;
                    }
                }
            }
        }
    }
    println!("{cases} futures dropped at calls");
    assert!(cases > 200);
}

#[tokio::test]
async fn an_operation_dropped_after_any_number_of_polls_is_cleared_by_delete() {
    let scene = Scene::new(Algorithm::Zstd, false).await;
    let mut cases = 0;
    for op in Op::ALL {
        // Until it ends before it is dropped; how many polls that takes depends on the threads.
        for polls in 1..10_000u32 {
            let stage = scene.stage(Way::Plain, FaultPlan::new());
            let plan = scene.plan(&stage.engine);
            let mut made = 0;
            let enough = || {
                made += 1;
                made >= polls
            };
            let label = format!("{op:?} dropped after {polls} polls");
            match bounded(drop_when(stage.run(op, &plan), enough)).await {
                Some(done) => {
                    stage.assert_right(op, done.unwrap(), &label).await;
                    break;
                }
                None => assert_clearable(&stage, op, &plan, &label).await,
            }
            cases += 1;
        }
    }
    println!("{cases} futures dropped after some polls");
    assert!(cases > 7);
}
