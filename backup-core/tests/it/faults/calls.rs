//! One fault at one call, for each call of each operation and each kind of fault.

use std::time::Duration;

use backup_core::testing::{Call, Fault, FaultPlan, When};
use backup_core::{Algorithm, Backup, ErrorKind};

use super::scene::{Done, Op, Scene, Stage, Way, assert_told, bounded};

const FAULTS: [Fault; 13] = [
    Fault::Fail(ErrorKind::Unavailable),
    Fault::Fail(ErrorKind::PermissionDenied),
    Fault::LoseAnswer(ErrorKind::Timeout),
    Fault::Delay(Duration::from_millis(2)),
    Fault::DelayAnswer(Duration::from_millis(2)),
    Fault::Break { after: 0 },
    Fault::Break { after: 40 },
    Fault::Truncate { after: 0 },
    Fault::Truncate { after: 40 },
    Fault::Extend { by: 1 },
    Fault::Corrupt { at: 0, mask: 1 },
    Fault::Corrupt { at: 20, mask: 0x80 },
    Fault::Corrupt {
        at: u64::MAX,
        mask: 0x10,
    },
];

/// Changes bytes and says nothing.
fn is_silent(fault: Fault, call: Call) -> bool {
    match fault {
        Fault::Corrupt { .. } | Fault::Extend { .. } => true,
        Fault::Truncate { .. } => call != Call::Delete,
        _ => false,
    }
}

struct Case {
    op: Op,
    way: Way,
    call: Call,
    nth: u64,
    fault: Fault,
}

impl Case {
    /// Whether the operation must succeed all the same.
    fn must_succeed(&self) -> bool {
        match self.fault {
            Fault::Delay(_) | Fault::DelayAnswer(_) => true,
            Fault::Fail(kind) | Fault::LoseAnswer(kind) => {
                self.way == Way::Retrying && kind != ErrorKind::PermissionDenied
            }
            Fault::Break { .. } => self.way == Way::Retrying,
            // What ends short of its announced length is asked for again.
            Fault::Truncate { .. } => {
                self.way == Way::Retrying && matches!(self.call, Call::Get | Call::Delete)
            }
            _ => false,
        }
    }
}

async fn check(scene: &Scene, case: &Case) {
    let Case {
        op,
        way,
        call,
        nth,
        fault,
    } = *case;
    let rule = FaultPlan::new().rule(When::call(call).nth(nth), fault);
    let stage = scene.stage(way, rule);
    let plan = scene.plan(&stage.engine);
    let done = bounded(stage.run(op, &plan)).await;
    let hits = stage.faulty.hits();
    let label = format!(
        "{:?} {op:?} {way:?}, {fault:?} at {call:?} {nth} of {hits:?}",
        scene.algorithm
    );
    assert_eq!(hits.len(), 1, "{label}: the fault did not happen");
    let name = &hits[0].1;
    stage.faulty.set_plan(FaultPlan::new());
    if case.must_succeed() {
        assert!(done.is_ok(), "{label}: {:?}", done.err());
    }
    if let Err(e) = &done {
        assert_told(e, &label);
        // A changed byte of the metadata may be that of another object's name.
        let elsewhere = name.ends_with("_metadata") && is_silent(fault, call);
        assert!(
            elsewhere || e.to_string().contains(name.as_str()),
            "{label}: it does not name {name}: {e}"
        );
    }
    stage.assert_older_untouched(op == Op::Delete, &label);
    match done {
        Ok(Done::Made(layer)) => {
            let chain = stage.made(op, &layer);
            let restored = stage.restores(&chain, &scene.volume, &label).await;
            let report = stage.engine.verify(&chain, &scene.cx).await.unwrap();
            if is_silent(fault, call) {
                // What was stored wrong is found when it is read.
                if let Err(e) = restored {
                    assert_told(&e, &label);
                    assert!(!report.data_is_right(), "{label}: verify finds nothing");
                }
            } else {
                restored.unwrap_or_else(|e| panic!("{label}: {e:?}"));
                assert_eq!(report.problems, [], "{label}");
            }
            stage.engine.delete(&layer, &scene.cx).await.unwrap();
            stage.assert_clean(&label);
        }
        Err(_) if matches!(op, Op::Full | Op::Incremental) => stage.assert_clean(&label),
        Ok(Done::Verified(report)) => {
            let is_data = !name.contains("_metadata") && call == Call::Get;
            // The last bits of a bzip2 stream mean nothing.
            let padding = matches!(fault, Fault::Corrupt { at: u64::MAX, .. });
            // A short object is all there before it is cut.
            let whole = matches!(fault, Fault::Truncate { after }
                if scene.sound.object(name).is_none_or(|o| o.len() as u64 <= after));
            let harmless = padding || whole || case.must_succeed();
            if is_silent(fault, call) && is_data && !harmless {
                assert!(!report.data_is_right(), "{label}: verify finds nothing");
                assert!(
                    report
                        .problems
                        .iter()
                        .any(|p| p.object.contains(name.as_str())),
                    "{label}: {:?}",
                    report.problems
                );
            }
        }
        Ok(Done::Scanned(items)) => {
            if !is_silent(fault, call) {
                assert_eq!(items.len(), 3, "{label}");
                stage.assert_records(&items, &label);
            }
        }
        Ok(Done::Deleted) if is_silent(fault, call) => {}
        Ok(done) => stage.assert_right(op, done, &label).await,
        Err(_) => {}
    }
    if op == Op::Delete {
        check_deleted(&stage, &label).await;
    }
    stage.assert_next_run(op, &label).await;
}

/// A delete that was cut left a whole backup or none, and is done by the next one.
async fn check_deleted(stage: &Stage<'_>, label: &str) {
    let newest = &stage.scene.layers[2];
    if stage
        .memory
        .object(&newest.location.metadata().to_string())
        .is_some()
    {
        stage
            .restores(&stage.chain(), &stage.scene.contents[2], label)
            .await
            .unwrap_or_else(|e| panic!("{label}: half a backup: {e}"));
    }
    stage.engine.delete(newest, &stage.scene.cx).await.unwrap();
    stage.assert_gone(label);
}

/// All cases of one operation; how many they were.
async fn sweep(scene: &Scene, op: Op, way: Way) -> u64 {
    let stage = scene.stage(way, FaultPlan::new());
    let plan = scene.plan(&stage.engine);
    let done = stage.run(op, &plan).await.unwrap();
    let calls = Call::ALL.map(|call| (call, stage.faulty.calls_of(call)));
    stage.assert_right(op, done, "no fault").await;
    let mut cases = 0;
    for (call, count) in calls {
        for fault in FAULTS.into_iter().filter(|f| f.fits(call)) {
            for nth in 0..count {
                let case = Case {
                    op,
                    way,
                    call,
                    nth,
                    fault,
                };
                check(scene, &case).await;
                cases += 1;
            }
        }
    }
    let stage = scene.stage(way, FaultPlan::new());
    stage.assert_memory_back("after the sweep").await;
    cases
}

async fn sweep_all(algorithm: Algorithm, in_parts: bool, way: Way) {
    let scene = Scene::new(algorithm, in_parts).await;
    let mut cases = 0;
    for op in Op::ALL {
        cases += sweep(&scene, op, way).await;
    }
    println!("{cases} faults with {algorithm}, {way:?}, in parts: {in_parts}");
    assert!(cases > 300, "the sweep is there");
}

#[tokio::test]
async fn a_fault_at_any_call_ends_in_right_bytes_or_an_error_that_names_it_none() {
    sweep_all(Algorithm::None, false, Way::Plain).await;
}

#[tokio::test]
async fn a_fault_at_any_call_ends_in_right_bytes_or_an_error_that_names_it_zlib() {
    sweep_all(Algorithm::Zlib, false, Way::Plain).await;
}

#[tokio::test]
async fn a_fault_at_any_call_ends_in_right_bytes_or_an_error_that_names_it_bzip2() {
    sweep_all(Algorithm::Bzip2, false, Way::Plain).await;
}

#[tokio::test]
async fn a_fault_at_any_call_ends_in_right_bytes_or_an_error_that_names_it_zstd() {
    sweep_all(Algorithm::Zstd, false, Way::Plain).await;
}

#[tokio::test]
async fn a_fault_at_any_call_of_uploads_in_parts_ends_in_right_bytes_or_an_error() {
    sweep_all(Algorithm::None, true, Way::Plain).await;
}

#[tokio::test]
async fn with_retries_a_passing_fault_at_any_call_is_survived() {
    sweep_all(Algorithm::Zlib, false, Way::Retrying).await;
}

#[tokio::test]
async fn with_retries_a_passing_fault_at_any_call_of_uploads_in_parts_is_survived() {
    sweep_all(Algorithm::None, true, Way::Retrying).await;
}
