//! Many calls at once.

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};

use super::{Trial, checks, hold, sample};
use crate::error::{ErrorKind, Result};

checks![
    many_calls_at_once_do_not_disturb_each_other,
    two_writers_at_once_leave_one_of_the_two,
    one_of_many_creators_at_once_wins,
    a_reader_sees_the_old_or_the_new_object_never_a_mixture,
];

async fn many_calls_at_once_do_not_disturb_each_other(t: &Trial) -> Result<()> {
    let one = |i: usize| async move {
        let name = format!("object-{i}");
        let data = sample(i as u64, 1000 * i + i);
        if i.is_multiple_of(4) {
            t.upload(&name, &data).await?;
        } else {
            t.put(&name, data.clone()).await?;
        }
        hold!(t.read(&name).await? == data, "{name} differs");
        if i.is_multiple_of(3) {
            t.delete(&[&name]).await?;
        }
        if i.is_multiple_of(10) {
            t.repository.barrier(&t.container).await?;
        }
        Ok(())
    };
    futures::stream::iter((0..100).map(one))
        .buffer_unordered(t.options.at_once)
        .try_collect::<()>()
        .await?;
    let left = t.names("object-").await?.len();
    hold!(left == 66, "{left} objects are left of 66");
    Ok(())
}

async fn two_writers_at_once_leave_one_of_the_two(t: &Trial) -> Result<()> {
    for round in 0..10 {
        let versions = [sample(round * 2, 300_000), sample(round * 2 + 1, 200_000)];
        let puts = versions.iter().map(|v| t.put("object", v.clone()));
        try_join_all(puts).await?;
        let got = t.read("object").await?;
        hold!(versions.contains(&got), "it is neither of the two");
    }
    Ok(())
}

async fn one_of_many_creators_at_once_wins(t: &Trial) -> Result<()> {
    let key = t.key("object")?;
    let create = |i: u64| {
        let data = sample(i, 1000);
        t.repository.put(&key, data, crate::PutMode::CreateOnly)
    };
    let results = futures::future::join_all((0..8).map(create)).await;
    let mut winners = Vec::new();
    for (i, result) in results.into_iter().enumerate() {
        match result {
            Ok(()) => winners.push(i as u64),
            Err(e) if e.is(ErrorKind::AlreadyExists) => {}
            Err(e) => return Err(e),
        }
    }
    hold!(winners.len() == 1, "{} of 8 creators won", winners.len());
    hold!(
        t.read("object").await? == sample(winners[0], 1000),
        "another's bytes are there"
    );
    Ok(())
}

async fn a_reader_sees_the_old_or_the_new_object_never_a_mixture(t: &Trial) -> Result<()> {
    if !t.options.atomic_overwrite {
        return Ok(());
    }
    let versions = [sample(1, 2_000_000), sample(2, 2_000_000)];
    t.put("object", versions[0].clone()).await?;
    let write = async {
        for i in 0..20 {
            t.put("object", versions[i % 2].clone()).await?;
        }
        Ok(())
    };
    let read = async {
        for _ in 0..20 {
            let got = t.read("object").await?;
            hold!(versions.contains(&got), "a reader saw a mixture");
        }
        Ok(())
    };
    futures::future::try_join(write, read).await.map(|_| ())
}
