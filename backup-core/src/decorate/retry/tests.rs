use super::*;
use crate::testing::{
    Call, ConformanceOptions, Event, Fault, FaultPlan, FaultRepository, MemoryRepository, When,
    conformance,
};

struct Bench {
    memory: MemoryRepository,
    faulty: Arc<FaultRepository>,
    retrying: Retrying,
    key: ObjectKey,
}

async fn bench(plan: FaultPlan) -> Bench {
    let memory = MemoryRepository::new().with_piece(1000);
    let container = ContainerName::new("c").unwrap();
    memory.ensure_container(&container).await.unwrap();
    let faulty = Arc::new(FaultRepository::new(Arc::new(memory.clone()), plan));
    Bench {
        memory,
        retrying: Retrying::new(faulty.clone(), RetryPolicy::default()),
        faulty,
        key: ObjectKey::new(&container, "object").unwrap(),
    }
}

fn data() -> Bytes {
    (0..25_000u32).flat_map(u32::to_le_bytes).collect()
}

async fn read(retrying: &Retrying, key: &ObjectKey, range: Option<ByteRange>) -> Result<Vec<u8>> {
    let pieces = retrying.get(key, range).await?.body;
    let pieces: Vec<Bytes> = pieces.try_collect().await?;
    Ok(pieces.concat())
}

const AWAY: Fault = Fault::Fail(ErrorKind::Unavailable);
const UNHEARD: Fault = Fault::LoseAnswer(ErrorKind::Timeout);

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_with_growing_waits_until_it_succeeds() {
    let plan = FaultPlan::new().rule(When::call(Call::Put).times(4), AWAY);
    let b = bench(plan).await;
    let start = Instant::now();
    b.retrying
        .put(&b.key, data(), PutMode::Overwrite)
        .await
        .unwrap();
    let waited = start.elapsed().as_secs_f64();
    assert!(
        (1.5..=3.0).contains(&waited),
        "0.2 + 0.4 + 0.8 + 1.6 s, or half: {waited}"
    );
    assert_eq!(b.faulty.calls_of(Call::Put), 5);
    assert_eq!(b.memory.object("c/object").unwrap(), data());
}

#[tokio::test(start_paused = true)]
async fn tries_and_time_are_bounded() {
    let b = bench(FaultPlan::new().rule(When::call(Call::Barrier), AWAY)).await;
    let container = b.key.container();
    assert!(
        b.retrying
            .barrier(container)
            .await
            .unwrap_err()
            .is(ErrorKind::Unavailable)
    );
    assert_eq!(b.faulty.calls_of(Call::Barrier), 8);

    let hurried = RetryPolicy::default()
        .with_attempts(1000)
        .with_deadline(Duration::from_secs(20));
    let start = Instant::now();
    let retrying = Retrying::new(b.faulty.clone(), hurried);
    assert!(retrying.barrier(container).await.is_err());
    assert!(start.elapsed() <= Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_get_better_is_not_repeated() {
    for kind in [
        ErrorKind::NoSpace,
        ErrorKind::PermissionDenied,
        ErrorKind::Corrupt,
    ] {
        let b = bench(FaultPlan::new().rule(When::any(), Fault::Fail(kind))).await;
        let put = b.retrying.put(&b.key, data(), PutMode::Overwrite).await;
        assert!(put.unwrap_err().is(kind));
        assert_eq!(b.faulty.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_finds_its_own_object() {
    let b = bench(FaultPlan::new().rule(When::call(Call::Put).nth(0), UNHEARD)).await;
    b.retrying
        .put(&b.key, data(), PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(b.faulty.calls_of(Call::Put), 1, "it was there already");

    // Also where the look fails, and where nothing had arrived.
    let plan = FaultPlan::new()
        .rule(When::call(Call::Put).nth(0), AWAY)
        .rule(When::call(Call::Get).nth(0), AWAY);
    let b = bench(plan).await;
    b.retrying
        .put(&b.key, data(), PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(b.memory.object("c/object").unwrap(), data());
}

#[tokio::test(start_paused = true)]
async fn a_create_never_takes_another_writers_object_for_its_own() {
    let b = bench(FaultPlan::new().rule(When::call(Call::Put).nth(0), AWAY)).await;
    let mut others = data().to_vec();
    others.push(0);
    b.memory.plant("c", "object", others.clone()).unwrap();
    let put = b.retrying.put(&b.key, data(), PutMode::CreateOnly).await;
    assert!(put.unwrap_err().is(ErrorKind::AlreadyExists));
    assert_eq!(b.memory.object("c/object").unwrap(), others);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_goes_on_from_where_it_stopped() {
    let ranges = [
        None,
        ByteRange::new(777, 60_001),
        ByteRange::new(90_000, 1 << 40),
    ];
    for range in ranges {
        for fault in [
            Fault::Break { after: 4500 },
            Fault::Truncate { after: 4500 },
        ] {
            let plan = FaultPlan::new().rule(When::call(Call::Get).times(5), fault);
            let b = bench(plan).await;
            b.memory.plant("c", "object", data()).unwrap();
            let got = read(&b.retrying, &b.key, range).await.unwrap();
            let all = data();
            let expected = match range {
                None => &all[..],
                Some(r) => {
                    let end = r.end().min(all.len() as u64);
                    &all[usize::try_from(r.start()).unwrap()..usize::try_from(end).unwrap()]
                }
            };
            assert!(got == expected, "{range:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_goes_on_ends_with_an_error() {
    let plan = FaultPlan::new().rule(When::call(Call::Get), Fault::Truncate { after: 0 });
    let b = bench(plan).await;
    b.memory.plant("c", "object", data()).unwrap();
    let got = read(&b.retrying, &b.key, None).await;
    assert!(got.unwrap_err().is(ErrorKind::Unavailable));
    assert_eq!(b.faulty.calls_of(Call::Get), 8);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_tells_every_name_once() {
    let plan = FaultPlan::new().rule(When::call(Call::List).times(3), Fault::Break { after: 10 });
    let b = bench(plan).await;
    for i in 0..30 {
        b.memory.plant("c", &format!("object-{i:02}"), "x").unwrap();
    }
    let listed = b.retrying.list(b.key.container(), "", None).await.unwrap();
    let names: Vec<String> = listed.map_ok(|l| l.name).try_collect().await.unwrap();
    let expected: Vec<String> = (0..30).map(|i| format!("object-{i:02}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_sent_anew_wherever_it_fails() {
    for call in [Call::Begin, Call::Part, Call::Complete] {
        for fault in [AWAY, UNHEARD] {
            for nth in 0..3 {
                let b = bench(FaultPlan::new().rule(When::call(call).nth(nth), fault)).await;
                let mut upload = b.retrying.begin(&b.key, None).await.unwrap();
                for part in data().chunks(40_000) {
                    upload.part(Bytes::copy_from_slice(part)).await.unwrap();
                }
                upload.complete().await.unwrap();
                assert_eq!(
                    b.memory.object("c/object").unwrap(),
                    data(),
                    "{call:?} {nth}"
                );
                assert_eq!(b.memory.open_uploads(), 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_too_long_to_be_kept_fails_and_leaves_nothing() {
    let b = bench(FaultPlan::new().rule(When::call(Call::Part).nth(9), AWAY)).await;
    let mut upload = b.retrying.begin(&b.key, None).await.unwrap();
    let part = Bytes::from(vec![1; 1 << 20]);
    let mut failed = None;
    for _ in 0..12 {
        failed = failed.or(upload.part(part.clone()).await.err());
    }
    let error = failed.unwrap();
    assert!(error.is(ErrorKind::Unavailable) && !error.is_retryable());
    upload.abort().await.unwrap();
    assert!(b.memory.objects().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_repeated_for_the_keys_that_failed() {
    let plan = FaultPlan::new().rule(When::call(Call::Delete).times(2), Fault::Break { after: 3 });
    let b = bench(plan).await;
    let mut keys = Vec::new();
    for i in 0..10 {
        let name = format!("object-{i}");
        b.memory.plant("c", &name, "x").unwrap();
        keys.push(ObjectKey::new(b.key.container(), name).unwrap());
    }
    let results = b.retrying.delete(&keys).await;
    assert!(results.len() == 10 && results.iter().all(Result::is_ok));
    let deleted = b.memory.events();
    let deleted = deleted
        .iter()
        .filter(|e| matches!(e, Event::Deleted { .. }));
    assert_eq!(deleted.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_fails_every_third_time_keeps_every_promise_behind_retries() {
    let mut plan = FaultPlan::new();
    for call in Call::ALL {
        if matches!(call, Call::Part | Call::Complete | Call::Abort) {
            continue; // long uploads cannot be repeated here
        }
        for n in (0..9000).step_by(3) {
            let fault = if n % 2 == 0 { AWAY } else { UNHEARD };
            plan = plan.rule(When::call(call).nth(n), fault);
        }
    }
    let faulty = FaultRepository::new(Arc::new(MemoryRepository::new()), plan);
    let retrying = Retrying::new(Arc::new(faulty), RetryPolicy::default());
    // A create whose answer was lost cannot tell its own bytes from another's equal ones, but these all differ.
    conformance(
        Arc::new(retrying),
        ConformanceOptions::default().with_many(1001),
    )
    .await
    .unwrap();
}
