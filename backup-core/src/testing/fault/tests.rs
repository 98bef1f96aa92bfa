use std::time::Duration;

use futures::TryStreamExt;

use super::super::MemoryRepository;
use super::*;
use crate::error::ErrorKind;

struct Bench {
    memory: MemoryRepository,
    faulty: FaultRepository,
    key: ObjectKey,
}

async fn bench(plan: FaultPlan) -> Bench {
    let memory = MemoryRepository::new().with_piece(10);
    let container = ContainerName::new("c").unwrap();
    memory.ensure_container(&container).await.unwrap();
    Bench {
        faulty: FaultRepository::new(Arc::new(memory.clone()), plan),
        memory,
        key: ObjectKey::new(&container, "o").unwrap(),
    }
}

const DATA: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

async fn read(repository: &FaultRepository, key: &ObjectKey) -> (Vec<u8>, Option<ErrorKind>) {
    let mut got = Vec::new();
    let mut body = match repository.get(key, None).await {
        Ok(download) => download.body,
        Err(e) => return (got, Some(e.kind())),
    };
    loop {
        match body.try_next().await {
            Ok(Some(piece)) => got.extend_from_slice(&piece),
            Ok(None) => return (got, None),
            Err(e) => return (got, Some(e.kind())),
        }
    }
}

#[tokio::test]
async fn only_the_planned_call_fails_and_all_are_counted() {
    let plan = FaultPlan::new().rule(
        When::call(Call::Put).nth(1),
        Fault::Fail(ErrorKind::NoSpace),
    );
    let b = bench(plan).await;
    let mut results = Vec::new();
    for _ in 0..3 {
        let put = b.faulty.put(&b.key, DATA.into(), PutMode::Overwrite).await;
        results.push(put.map_err(|e| e.kind()));
        assert_eq!(read(&b.faulty, &b.key).await.0, DATA);
    }
    assert_eq!(results, [Ok(()), Err(ErrorKind::NoSpace), Ok(())]);
    assert_eq!((b.faulty.calls(), b.faulty.calls_of(Call::Put)), (6, 3));
    assert_eq!(b.faulty.faults(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_an_error_of_something_done() {
    let b = bench(FaultPlan::nth(0, Fault::LoseAnswer(ErrorKind::Timeout))).await;
    let put = b.faulty.put(&b.key, DATA.into(), PutMode::CreateOnly).await;
    assert!(put.unwrap_err().is(ErrorKind::Timeout));
    assert_eq!(b.memory.object("c/o").unwrap(), DATA);
}

#[tokio::test]
async fn a_body_is_cut_broken_or_damaged_where_the_plan_says() {
    let cases = [
        (Fault::Truncate { after: 12 }, &DATA[..12], None),
        (Fault::Truncate { after: 20 }, &DATA[..20], None),
        (
            Fault::Break { after: 0 },
            &DATA[..0],
            Some(ErrorKind::Unavailable),
        ),
        (
            Fault::Break { after: 15 },
            &DATA[..15],
            Some(ErrorKind::Unavailable),
        ),
        (
            Fault::Corrupt { at: 13, mask: 0x20 },
            b"abcdefghijklmNopqrstuvwxyz",
            None,
        ),
        (
            Fault::Corrupt {
                at: 900,
                mask: 0x20,
            },
            b"abcdefghijklmnopqrstuvwxyZ",
            None,
        ),
    ];
    for (fault, bytes, error) in cases {
        let b = bench(FaultPlan::new().rule(When::call(Call::Get), fault)).await;
        b.memory.plant("c", "o", DATA).unwrap();
        assert_eq!(
            read(&b.faulty, &b.key).await,
            (bytes.to_vec(), error),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn what_is_stored_is_cut_broken_or_damaged_where_the_plan_says() {
    let cases: [(Fault, &[u8], bool); 3] = [
        (Fault::Truncate { after: 12 }, &DATA[..12], true),
        (Fault::Break { after: 12 }, &DATA[..12], false),
        (
            Fault::Corrupt { at: 0, mask: 0x20 },
            b"Abcdefghijklmnopqrstuvwxyz",
            true,
        ),
    ];
    for (fault, stored, success) in cases {
        let b = bench(FaultPlan::nth(0, fault)).await;
        let put = b.faulty.put(&b.key, DATA.into(), PutMode::Overwrite).await;
        assert_eq!(put.is_ok(), success, "{fault:?}");
        assert_eq!(b.memory.object("c/o").unwrap(), stored, "{fault:?}");
    }
}

#[tokio::test]
async fn uploads_fail_in_each_of_their_calls() {
    for (call, visible) in [
        (Call::Begin, false),
        (Call::Part, false),
        (Call::Complete, false),
    ] {
        let b = bench(FaultPlan::new().rule(
            When::call(call).named("c/o").nth(0),
            Fault::Fail(ErrorKind::Unavailable),
        ))
        .await;
        let done = async {
            let mut upload = b.faulty.begin(&b.key, None).await?;
            upload.part(DATA.into()).await?;
            upload.complete().await
        };
        assert!(
            done.await.unwrap_err().is(ErrorKind::Unavailable),
            "{call:?}"
        );
        assert_eq!(b.memory.object("c/o").is_some(), visible, "{call:?}");
        assert_eq!(b.memory.open_uploads(), 0, "{call:?}");
    }
    let b = bench(FaultPlan::new().rule(
        When::call(Call::Complete),
        Fault::LoseAnswer(ErrorKind::Timeout),
    ))
    .await;
    let mut upload = b.faulty.begin(&b.key, None).await.unwrap();
    upload.part(DATA.into()).await.unwrap();
    assert!(upload.complete().await.is_err());
    assert_eq!(b.memory.object("c/o").unwrap(), DATA);
}

#[tokio::test]
async fn a_listing_and_a_delete_stop_half_way() {
    let b = bench(
        FaultPlan::new()
            .rule(When::call(Call::List).nth(0), Fault::Truncate { after: 2 })
            .rule(When::call(Call::Delete).nth(0), Fault::Break { after: 1 }),
    )
    .await;
    let mut keys = Vec::new();
    for name in ["a", "b", "c"] {
        b.memory.plant("c", name, DATA).unwrap();
        keys.push(ObjectKey::new(b.key.container(), name).unwrap());
    }
    let container = b.key.container();
    let list = || async {
        let listed = b.faulty.list(container, "", None).await.unwrap();
        listed.try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!((list().await, list().await), (2, 3));
    let deleted: Vec<_> = b
        .faulty
        .delete(&keys)
        .await
        .iter()
        .map(Result::is_ok)
        .collect();
    assert_eq!(deleted, [true, false, false]);
    assert_eq!(b.memory.objects().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_is_done_later() {
    let late = Duration::from_mins(1);
    let b = bench(FaultPlan::nth(0, Fault::Delay(late))).await;
    let start = tokio::time::Instant::now();
    b.faulty
        .put(&b.key, DATA.into(), PutMode::Overwrite)
        .await
        .unwrap();
    assert!(start.elapsed() >= late);
}

#[tokio::test]
async fn an_answer_that_comes_late_is_of_something_done_at_once() {
    let late = Fault::DelayAnswer(Duration::from_hours(1));
    let b = bench(FaultPlan::nth(0, late)).await;
    let put = b.faulty.put(&b.key, DATA.into(), PutMode::CreateOnly);
    assert!(futures::FutureExt::now_or_never(put).is_none());
    assert_eq!(b.memory.object("c/o").unwrap(), DATA);
    assert_eq!(b.faulty.hits(), [(Call::Put, "c/o".to_owned())]);
}

#[tokio::test]
async fn too_many_bytes_come_or_are_stored_where_the_plan_says() {
    let b = bench(FaultPlan::new()).await;
    b.faulty
        .put(&b.key, DATA.into(), PutMode::Overwrite)
        .await
        .unwrap();
    b.faulty
        .set_plan(FaultPlan::nth(0, Fault::Extend { by: 2 }));
    let (got, error) = read(&b.faulty, &b.key).await;
    assert_eq!(
        (&got[..DATA.len()], &got[DATA.len()..]),
        (DATA, &[0xEE; 2][..])
    );
    assert_eq!(error, None);
    b.faulty
        .set_plan(FaultPlan::nth(0, Fault::Extend { by: 1 }));
    b.faulty
        .put(&b.key, DATA.into(), PutMode::Overwrite)
        .await
        .unwrap();
    assert_eq!(b.memory.object("c/o").unwrap().len(), DATA.len() + 1);
}
