//! Several faults at once, at random.

use std::time::Duration;

use backup_core::testing::{Call, Fault, FaultPlan, When};
use backup_core::{Algorithm, Backup, ErrorKind};

use super::scene::{Done, Op, Scene, Way, assert_told, bounded};

/// A small generator, so that a seed means the same cases for ever.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let at = self.next(of.len() as u64);
        of[usize::try_from(at).unwrap()]
    }

    fn fault(&mut self) -> Fault {
        let kinds = [
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::PermissionDenied,
            ErrorKind::NoSpace,
            ErrorKind::Io,
            ErrorKind::NotFound,
        ];
        match self.next(8) {
            0 | 1 => Fault::Fail(self.pick(&kinds)),
            2 => Fault::LoseAnswer(self.pick(&kinds)),
            3 => Fault::Delay(Duration::from_micros(self.next(2000))),
            4 => Fault::Truncate {
                after: self.next(3000),
            },
            5 => Fault::Break {
                after: self.next(3000),
            },
            6 => Fault::Extend {
                by: 1 + self.next(100),
            },
            _ => Fault::Corrupt {
                at: self.next(3000),
                mask: 1 << self.next(8),
            },
        }
    }

    fn plan(&mut self) -> FaultPlan {
        let mut plan = FaultPlan::new();
        for _ in 0..2 + self.next(5) {
            let when = if self.next(4) == 0 {
                When::any()
            } else {
                When::call(self.pick(&Call::ALL))
            };
            let when = when.nth(self.next(12)).times(1 + self.next(4));
            plan = plan.rule(when, self.fault());
        }
        plan
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::test]
async fn model_several_faults_at_once_never_give_wrong_bytes_and_are_cleared_by_delete() {
    let seed = number("ASHLAR_SEED", 1);
    let histories = number("ASHLAR_MODEL_CASES", 3);
    let seconds = number("ASHLAR_SOAK_SECONDS", 3600);
    println!("ASHLAR_SEED={seed}");
    let mut random = Random(seed);
    let begun = std::time::Instant::now();
    let algorithms = [
        Algorithm::None,
        Algorithm::Zlib,
        Algorithm::Bzip2,
        Algorithm::Zstd,
    ];
    let (mut cases, mut failed) = (0, 0);
    for _ in 0..histories {
        let algorithm = random.pick(&algorithms);
        let scene = Scene::new(algorithm, random.next(2) == 0).await;
        for _ in 0..40 {
            if begun.elapsed().as_secs() >= seconds {
                break;
            }
            let (op, way) = (
                random.pick(&Op::ALL),
                random.pick(&[Way::Plain, Way::Retrying]),
            );
            let faults = random.plan();
            let label = format!("seed {seed}, case {cases}: {algorithm} {op:?} {way:?} {faults:?}");
            cases += 1;
            let stage = scene.stage(way, faults);
            let plan = scene.plan(&stage.engine);
            let done = bounded(stage.run(op, &plan)).await;
            stage.faulty.set_plan(FaultPlan::new());
            stage.assert_older_untouched(op == Op::Delete, &label);
            match done {
                Err(e) => {
                    failed += 1;
                    assert_told(&e, &label);
                }
                Ok(Done::Made(layer)) => {
                    let chain = stage.made(op, &layer);
                    if let Err(e) = stage.restores(&chain, &scene.volume, &label).await {
                        assert_told(&e, &label);
                    }
                }
                Ok(done @ (Done::Restored(_) | Done::Read(_))) => {
                    stage.assert_right(op, done, &label).await;
                }
                // Reports of what came damaged, and lists that were cut, are as they are.
                Ok(Done::Verified(_) | Done::Scanned(_) | Done::Deleted) => {}
            }
            let layer = if op == Op::Delete {
                scene.layers[2].clone()
            } else {
                plan.layer()
            };
            stage.engine.delete(&layer, &scene.cx).await.unwrap();
            if op == Op::Delete {
                stage.assert_gone(&label);
            } else {
                stage.assert_clean(&label);
            }
            stage.assert_memory_back(&label).await;
            stage.assert_next_run(op, &label).await;
        }
    }
    println!("{cases} cases with several faults, {failed} of them ended in an error");
    assert!(failed > 0 && failed < cases);
}
