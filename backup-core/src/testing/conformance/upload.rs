//! Objects that come in parts: all at once or not at all.

use bytes::Bytes;
use futures::TryStreamExt;

use super::{Trial, checks, failed_with, hold, sample};
use crate::error::{ErrorKind, Result};
use crate::repository::{Leftover, Upload};

checks![
    an_object_in_parts_is_all_its_parts_in_order,
    parts_may_have_any_length,
    nothing_is_visible_before_an_upload_is_complete,
    an_upload_replaces_what_was_there_at_once,
    an_aborted_upload_leaves_nothing,
    a_dropped_upload_leaves_nothing_visible,
    two_uploads_of_one_object_leave_one_of_the_two,
    what_a_killed_upload_leaves_is_told_and_can_be_removed,
    clearing_what_killed_uploads_left_of_a_prefix_harms_nothing_else,
];

async fn an_object_in_parts_is_all_its_parts_in_order(t: &Trial) -> Result<()> {
    let part = t.options.part;
    for length in [0, 1, part - 1, part, part + 1, 3 * part + 1] {
        let data = sample(length as u64, length);
        t.upload("object", &data).await?;
        hold!(
            t.read("object").await? == data,
            "{length} bytes in parts of {part} differ"
        );
        let listed = t.listed("object", None).await?;
        hold!(
            listed.len() == 1 && listed[0].size == length as u64,
            "{length} bytes are listed as {listed:?}"
        );
    }
    Ok(())
}

async fn parts_may_have_any_length(t: &Trial) -> Result<()> {
    let lengths = [1, 0, 70_000, 3, t.options.part + 7, 0, 1, 100_000];
    let data = sample(1, lengths.iter().sum());
    let mut upload = t.repository.begin(&t.key("object")?, None).await?;
    let mut rest = data.clone();
    for length in lengths {
        upload.part(rest.split_to(length)).await?;
    }
    upload.complete().await?;
    hold!(
        t.read("object").await? == data,
        "parts of {lengths:?} bytes make something else"
    );
    Ok(())
}

async fn nothing_is_visible_before_an_upload_is_complete(t: &Trial) -> Result<()> {
    let data = sample(1, t.options.part * 2 + 5);
    let mut upload = t.repository.begin(&t.key("object")?, None).await?;
    let mut rest = data.clone();
    while !rest.is_empty() {
        upload
            .part(rest.split_to(t.options.part.min(rest.len())))
            .await?;
        let got = t.read("object").await;
        hold!(
            failed_with(&got, ErrorKind::NotFound),
            "get before its end: {got:?}"
        );
        let names = t.names("").await?;
        hold!(names.is_empty(), "listed before its end: {names:?}");
    }
    upload.complete().await?;
    hold!(t.read("object").await? == data, "it differs");
    hold!(t.names("").await? == ["object"], "it is not listed");
    Ok(())
}

async fn an_upload_replaces_what_was_there_at_once(t: &Trial) -> Result<()> {
    let (old, new) = (sample(1, 50_000), sample(2, t.options.part + 3));
    t.put("object", old.clone()).await?;
    let mut upload = t.repository.begin(&t.key("object")?, None).await?;
    upload.part(new.clone()).await?;
    hold!(
        t.read("object").await? == old,
        "the old one is gone too early"
    );
    upload.complete().await?;
    hold!(t.read("object").await? == new, "the new one is not there");
    Ok(())
}

async fn an_aborted_upload_leaves_nothing(t: &Trial) -> Result<()> {
    let old = sample(1, 10);
    t.put("kept", old.clone()).await?;
    for name in ["object", "kept", "unstarted"] {
        let mut upload = t.repository.begin(&t.key(name)?, None).await?;
        if name != "unstarted" {
            upload.part(sample(2, t.options.part)).await?;
        }
        upload.abort().await?;
    }
    hold!(t.names("").await? == ["kept"], "something is left");
    hold!(
        t.read("kept").await? == old,
        "an abort changed what was there"
    );
    Ok(())
}

async fn a_dropped_upload_leaves_nothing_visible(t: &Trial) -> Result<()> {
    let mut upload = t.repository.begin(&t.key("object")?, None).await?;
    upload.part(sample(1, t.options.part)).await?;
    drop(upload);
    hold!(t.names("").await?.is_empty(), "something is listed");
    let got = t.read("object").await;
    hold!(failed_with(&got, ErrorKind::NotFound), "{got:?}");
    t.put("object", sample(2, 10)).await?;
    hold!(
        t.read("object").await? == sample(2, 10),
        "a later put is disturbed"
    );
    Ok(())
}

async fn two_uploads_of_one_object_leave_one_of_the_two(t: &Trial) -> Result<()> {
    let key = t.key("object")?;
    let versions: [Bytes; 2] = [sample(1, t.options.part + 1), sample(2, t.options.part + 9)];
    let mut first = t.repository.begin(&key, None).await?;
    let mut second = t.repository.begin(&key, None).await?;
    first.part(versions[0].clone()).await?;
    second.part(versions[1].clone()).await?;
    first.complete().await?;
    second.complete().await?;
    let got = t.read("object").await?;
    hold!(versions.contains(&got), "it is neither of the two");
    hold!(t.names("").await? == ["object"], "something else is left");
    Ok(())
}

async fn leftovers(t: &Trial) -> Result<Vec<Leftover>> {
    let told = t.repository.leftovers(Some(&t.container)).await?;
    told.try_collect().await
}

async fn what_a_killed_upload_leaves_is_told_and_can_be_removed(t: &Trial) -> Result<()> {
    // Of the checks before.
    for old in leftovers(t).await? {
        t.repository.remove_leftover(&old).await?;
    }
    let whole = sample(1, t.options.part + 1);
    t.upload("whole", &whole).await?;
    let mut aborted = t.repository.begin(&t.key("aborted")?, None).await?;
    aborted.part(sample(2, t.options.part)).await?;
    aborted.abort().await?;
    let told = leftovers(t).await?;
    hold!(
        told.is_empty(),
        "completed and aborted ones are told: {told:?}"
    );

    let mut killed = t.repository.begin(&t.key("killed")?, None).await?;
    for seed in 3..6 {
        killed.part(sample(seed, t.options.part)).await?;
    }
    // A killed process runs no destructor: this one's runs when all is over. It holds what the process held, a file for
    // instance, and that must come to an end.
    for told in leftovers(t).await? {
        hold!(
            told.key.container() == &t.container && !told.what.is_empty(),
            "{told:?} belongs to no container"
        );
        t.repository.remove_leftover(&told).await?;
        // Nobody else's removal is in the way.
        t.repository.remove_leftover(&told).await?;
    }
    let told = leftovers(t).await?;
    hold!(told.is_empty(), "what was removed is told: {told:?}");
    hold!(t.names("").await? == ["whole"], "a leftover was an object");
    hold!(t.read("whole").await? == whole, "an object was damaged");
    drop(killed);
    Ok(())
}

async fn begun(t: &Trial, name: &str, part: &Bytes) -> Result<Box<dyn Upload>> {
    let mut upload = t.repository.begin(&t.key(name)?, None).await?;
    upload.part(part.clone()).await?;
    Ok(upload)
}

async fn clearing_what_killed_uploads_left_of_a_prefix_harms_nothing_else(t: &Trial) -> Result<()> {
    let (part, whole) = (sample(1, t.options.part), sample(2, 10));
    let cleared = begun(t, "backup-00001", &part).await?;
    let other = begun(t, "backup_metadata", &part).await?;
    for name in ["backup-00002", "backup-1-00001"] {
        t.put(name, whole.clone()).await?;
    }
    // A repository may tell them by names of its own, which hold the objects'.
    let told_of = async |name: &str| {
        let told = leftovers(t).await?;
        let is_of = |l: &&Leftover| l.key.name().contains(name);
        Result::Ok(told.iter().filter(is_of).count())
    };
    if t.options.clears_leftovers {
        let told = told_of("backup-00001").await?;
        hold!(told == 1, "an open upload is told {told} times");
    }
    t.repository
        .clear_leftovers(&t.container, "backup-")
        .await?;
    if t.options.clears_leftovers {
        let told = told_of("backup-00001").await?;
        hold!(told == 0, "what was cleared is told {told} times");
        let told = told_of("backup_metadata").await?;
        hold!(told == 1, "another upload is told {told} times");
    }
    t.repository
        .clear_leftovers(&Trial::missing_container()?, "backup-")
        .await?;
    cleared.abort().await?;
    other.complete().await?;
    let names = t.names("").await?;
    hold!(
        names == ["backup-00002", "backup-1-00001", "backup_metadata"],
        "there are {names:?}"
    );
    hold!(
        t.read("backup_metadata").await? == part && t.read("backup-00002").await? == whole,
        "an object was damaged"
    );
    Ok(())
}
