//! Whole objects: put, replace, copy, delete.

use bytes::Bytes;
use futures::TryStreamExt;

use super::{Trial, checks, failed_with, hold, read_key, sample};
use crate::error::{ErrorKind, Result};
use crate::id::ObjectKey;
use crate::repository::PutMode;

checks![
    a_put_object_reads_back_as_it_was,
    an_empty_object_is_an_object,
    a_put_replaces_what_was_there,
    create_only_refuses_what_is_there,
    a_missing_object_is_not_found,
    a_missing_container_is_not_found,
    a_copy_is_an_object_of_its_own,
    deleting_what_is_missing_is_success,
    many_objects_are_deleted_in_one_call,
    a_barrier_succeeds_after_every_kind_of_write,
    ensuring_a_container_twice_keeps_what_it_holds,
    containers_tells_those_that_hold_an_object,
];

async fn a_put_object_reads_back_as_it_was(t: &Trial) -> Result<()> {
    for (i, length) in [1, 4095, 4096, 4097, 1_000_003].into_iter().enumerate() {
        let data = sample(i as u64, length);
        t.put("object", data.clone()).await?;
        hold!(
            t.read("object").await? == data,
            "{length} bytes read back differ"
        );
    }
    Ok(())
}

async fn an_empty_object_is_an_object(t: &Trial) -> Result<()> {
    t.put("empty", Bytes::new()).await?;
    hold!(
        t.read("empty").await?.is_empty(),
        "an empty object has bytes"
    );
    hold!(
        t.names("").await? == ["empty"],
        "an empty object is not listed"
    );
    Ok(())
}

async fn a_put_replaces_what_was_there(t: &Trial) -> Result<()> {
    for length in [100_000, 10, 200_000] {
        let data = sample(length as u64, length);
        t.put("object", data.clone()).await?;
        hold!(
            t.read("object").await? == data,
            "what {length} bytes replaced shows through"
        );
    }
    Ok(())
}

async fn create_only_refuses_what_is_there(t: &Trial) -> Result<()> {
    let key = t.key("object")?;
    let first = sample(1, 5000);
    t.repository
        .put(&key, first.clone(), PutMode::CreateOnly)
        .await?;
    let second = t
        .repository
        .put(&key, sample(2, 10), PutMode::CreateOnly)
        .await;
    hold!(
        failed_with(&second, ErrorKind::AlreadyExists),
        "a second create ended with {second:?}"
    );
    hold!(
        t.read("object").await? == first,
        "a refused create changed the object"
    );
    t.delete(&["object"]).await?;
    t.repository
        .put(&key, sample(3, 10), PutMode::CreateOnly)
        .await
}

async fn a_missing_object_is_not_found(t: &Trial) -> Result<()> {
    t.put("there", sample(1, 10)).await?;
    for name in ["missing", "ther", "there2", "there/below", "miss/ing"] {
        let got = t.read(name).await;
        hold!(
            failed_with(&got, ErrorKind::NotFound),
            "get of {name:?} ended with {got:?}"
        );
    }
    let copied = t.repository.copy(&t.key("missing")?, &t.key("copy")?).await;
    hold!(
        failed_with(&copied, ErrorKind::NotFound),
        "copy ended with {copied:?}"
    );
    hold!(
        t.names("").await? == ["there"],
        "a copy of nothing left something"
    );
    Ok(())
}

async fn a_missing_container_is_not_found(t: &Trial) -> Result<()> {
    let key = ObjectKey::new(&Trial::missing_container()?, "object")?;
    let got = read_key(&*t.repository, &key, None).await;
    hold!(
        failed_with(&got, ErrorKind::NotFound),
        "get ended with {got:?}"
    );
    let put = t
        .repository
        .put(&key, sample(1, 10), PutMode::Overwrite)
        .await;
    hold!(
        failed_with(&put, ErrorKind::NotFound),
        "put ended with {put:?}"
    );
    Ok(())
}

async fn a_copy_is_an_object_of_its_own(t: &Trial) -> Result<()> {
    let data = sample(1, 300_000);
    t.put("original", data.clone()).await?;
    t.put("target", sample(2, 400_000)).await?;
    for target in ["copy", "target"] {
        t.repository
            .copy(&t.key("original")?, &t.key(target)?)
            .await?;
        hold!(t.read(target).await? == data, "the copy {target:?} differs");
    }
    t.put("original", sample(3, 10)).await?;
    hold!(
        t.read("copy").await? == data,
        "the copy changed with its original"
    );
    t.delete(&["original"]).await?;
    hold!(
        t.read("copy").await? == data,
        "the copy went with its original"
    );
    Ok(())
}

async fn deleting_what_is_missing_is_success(t: &Trial) -> Result<()> {
    t.delete(&["missing", "missing/below"]).await?;
    t.put("object", sample(1, 10)).await?;
    t.delete(&["object"]).await?;
    t.delete(&["object"]).await?;
    let key = ObjectKey::new(&Trial::missing_container()?, "object")?;
    t.repository.delete(&[key]).await.into_iter().collect()
}

async fn many_objects_are_deleted_in_one_call(t: &Trial) -> Result<()> {
    let names: Vec<String> = (0..120).map(|i| format!("object-{i:03}")).collect();
    for name in &names {
        t.put(name, sample(1, 10)).await?;
    }
    let mut doomed: Vec<&str> = names.iter().map(String::as_str).collect();
    doomed.retain(|name| *name != "object-077");
    doomed.push("missing");
    t.delete(&doomed).await?;
    let left = t.names("").await?;
    hold!(left == ["object-077"], "left behind: {left:?}");
    hold!(
        t.repository.delete(&[]).await.is_empty(),
        "results for no key at all"
    );
    Ok(())
}

async fn a_barrier_succeeds_after_every_kind_of_write(t: &Trial) -> Result<()> {
    t.repository.barrier(&t.container).await?;
    for i in 0..20 {
        t.put(&format!("object-{i}"), sample(i, 50_000)).await?;
    }
    t.put("deeper/object", sample(1, 10)).await?;
    t.repository
        .copy(&t.key("object-1")?, &t.key("copy")?)
        .await?;
    t.delete(&["object-2"]).await?;
    t.upload("uploaded", &sample(9, 10)).await?;
    t.repository.barrier(&t.container).await?;
    t.repository.barrier(&t.container).await?;
    hold!(
        t.read("object-1").await? == sample(1, 50_000),
        "it changed by a barrier"
    );
    Ok(())
}

async fn ensuring_a_container_twice_keeps_what_it_holds(t: &Trial) -> Result<()> {
    t.put("object", sample(1, 10)).await?;
    if t.options.makes_containers {
        t.repository.ensure_container(&t.container).await?;
    }
    hold!(
        t.read("object").await? == sample(1, 10),
        "the object changed"
    );
    Ok(())
}

async fn containers_tells_those_that_hold_an_object(t: &Trial) -> Result<()> {
    t.put("object", sample(1, 10)).await?;
    let all: Vec<_> = t.repository.containers().await?.try_collect().await?;
    let times = all.iter().filter(|c| **c == t.container).count();
    hold!(times == 1, "{} is told {times} times", t.container);
    Ok(())
}
