//! Images, snapshots, notes and records: how they come and go.

use std::time::Duration;

use bytes::Bytes;

use super::{Trial, checks, failed_with, hold, sample, whole};
use crate::error::{ErrorKind, Result};
use crate::image::ImageKey;

checks![
    a_new_image_is_zeroes_and_is_made_only_once,
    what_is_missing_is_not_found_and_its_removal_is_success,
    images_are_listed_by_their_beginning_in_order,
    snapshots_are_told_in_their_order_with_their_lengths,
    a_snapshot_of_a_name_is_made_only_once_and_removed_more_than_once,
    what_was_opened_to_look_at_cannot_be_changed,
    an_image_with_snapshots_stays,
    notes_are_kept_until_they_are_removed,
    a_record_is_made_once_read_back_and_removed,
    a_lock_keeps_others_out_until_its_holder_is_gone,
    a_change_shows_in_the_time,
];

async fn a_new_image_is_zeroes_and_is_made_only_once(t: &Trial) -> Result<()> {
    let image = t.create("new", 1_000_448).await?;
    hold!(image.geometry().length == 1_000_448, "another length");
    hold!(image.geometry().known_zero, "it is not known to be zero");
    hold!(!image.geometry().read_only, "it is read-only");
    hold!(
        whole(&image).await?.iter().all(|&b| b == 0),
        "it is not zeroes"
    );
    let again = t.create("new", 5).await;
    hold!(
        failed_with(&again, ErrorKind::AlreadyExists),
        "a second one was made: {again:?}"
    );
    let opened = t.repository.open(&t.key("new")?, None).await?;
    hold!(
        opened.geometry().length == 1_000_448,
        "the second one counts"
    );
    hold!(
        !opened.geometry().known_zero,
        "one that was only opened is known to be zero"
    );
    Ok(())
}

async fn what_is_missing_is_not_found_and_its_removal_is_success(t: &Trial) -> Result<()> {
    let missing = t.repository.open(&t.key("missing")?, None).await;
    hold!(failed_with(&missing, ErrorKind::NotFound), "{missing:?}");
    let image = t.create("there", 4096).await?;
    let missing = t.at("there", "missing").await;
    hold!(failed_with(&missing, ErrorKind::NotFound), "{missing:?}");
    let differs = image
        .diff(Some("missing"), crate::ByteRange::up_to(4096))
        .await;
    hold!(failed_with(&differs, ErrorKind::NotFound), "{differs:?}");
    image.remove_snapshot("missing").await?;
    image.remove_note("missing").await?;
    t.repository.remove(&t.key("missing")?).await?;
    t.repository.remove_record(&t.record("missing")?).await?;
    hold!(
        t.repository
            .get_record(&t.record("missing")?)
            .await?
            .is_none(),
        "a missing record is there"
    );
    Ok(())
}

async fn images_are_listed_by_their_beginning_in_order(t: &Trial) -> Result<()> {
    for name in ["b", "a.2", "a.1"] {
        t.create(name, 4096).await?;
    }
    let full = |name: &str| Ok::<_, crate::Error>(t.key(name)?.name().to_owned());
    let some = t.repository.list(&t.container, &full("a")?).await?;
    hold!(some == [full("a.1")?, full("a.2")?], "listed: {some:?}");
    let all = t.repository.list(&t.container, &t.prefix()).await?;
    hold!(
        all == [full("a.1")?, full("a.2")?, full("b")?],
        "listed: {all:?}"
    );
    Ok(())
}

async fn snapshots_are_told_in_their_order_with_their_lengths(t: &Trial) -> Result<()> {
    let image = t.create("image", 8192).await?;
    hold!(image.snapshots().await?.is_empty(), "it has snapshots");
    image.snapshot("z").await?;
    image.resize(12_288).await?;
    image.snapshot("a").await?;
    hold!(
        image.geometry().length == 12_288,
        "the handle that resized it tells the old length"
    );
    let told: Vec<_> = image
        .snapshots()
        .await?
        .into_iter()
        .map(|s| (s.name, s.length))
        .collect();
    hold!(
        told == [("z".to_owned(), 8192), ("a".to_owned(), 12_288)],
        "told: {told:?}"
    );
    let first = t.at("image", "z").await?;
    hold!(first.geometry().length == 8192, "a snapshot was resized");
    Ok(())
}

async fn a_snapshot_of_a_name_is_made_only_once_and_removed_more_than_once(
    t: &Trial,
) -> Result<()> {
    let image = t.create("image", 4096).await?;
    image.snapshot("s").await?;
    let again = image.snapshot("s").await;
    hold!(failed_with(&again, ErrorKind::AlreadyExists), "{again:?}");
    image.remove_snapshot("s").await?;
    image.remove_snapshot("s").await?;
    hold!(image.snapshots().await?.is_empty(), "it is still there");
    image.snapshot("s").await?;
    Ok(())
}

async fn what_was_opened_to_look_at_cannot_be_changed(t: &Trial) -> Result<()> {
    let image = t.create("image", 4096).await?;
    image.snapshot("s").await?;
    let looks = [
        t.at("image", "s").await?,
        t.repository.open(&t.key("image")?, None).await?,
    ];
    for look in looks {
        hold!(look.geometry().read_only, "its geometry says otherwise");
        let changes = [
            look.write(0, Bytes::from_static(&[1; 512])).await,
            look.write_zeroes(crate::ByteRange::up_to(512)).await,
            look.snapshot("other").await,
            look.remove_snapshot("s").await,
            look.resize(8192).await,
            look.set_note("note", "value").await,
            look.lock().await,
        ];
        for (n, change) in changes.iter().enumerate() {
            hold!(
                failed_with(change, ErrorKind::PermissionDenied),
                "change {n}: {change:?}"
            );
        }
    }
    hold!(image.snapshots().await?.len() == 1, "a snapshot is gone");
    Ok(())
}

async fn an_image_with_snapshots_stays(t: &Trial) -> Result<()> {
    let image = t.create("image", 4096).await?;
    image.write(0, sample(1, 512)).await?;
    image.snapshot("s").await?;
    drop(image);
    let key = t.key("image")?;
    let removed = t.repository.remove(&key).await;
    hold!(failed_with(&removed, ErrorKind::Conflict), "{removed:?}");
    let image = t.repository.open_to_write(&key).await?;
    image.remove_snapshot("s").await?;
    drop(image);
    t.remove(&key).await?;
    let opened = t.repository.open(&key, None).await;
    hold!(failed_with(&opened, ErrorKind::NotFound), "{opened:?}");
    Ok(())
}

async fn notes_are_kept_until_they_are_removed(t: &Trial) -> Result<()> {
    let image = t.create("image", 4096).await?;
    hold!(image.notes("note.").await?.is_empty(), "it has notes");
    let long = "x".repeat(crate::image::MAX_NOTE);
    for (key, value) in [("note.b", "1"), ("note.a", "{\"2\": 3}"), ("other", &long)] {
        image.set_note(key, value).await?;
    }
    image.set_note("note.b", "4").await?;
    let own = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let told = image.notes("note.").await?;
    hold!(
        told == [own("note.a", "{\"2\": 3}"), own("note.b", "4")],
        "told: {told:?}"
    );
    drop(image);
    let image = t.repository.open_to_write(&t.key("image")?).await?;
    let told = image.notes("other").await?;
    hold!(
        told == [own("other", &long)],
        "a long note comes back otherwise"
    );
    image.remove_note("note.a").await?;
    let told = image.notes("note.").await?;
    hold!(told == [own("note.b", "4")], "told: {told:?}");
    Ok(())
}

async fn a_record_is_made_once_read_back_and_removed(t: &Trial) -> Result<()> {
    let key = t.record("record")?;
    let data = sample(1, 100_000);
    t.repository.put_record(&key, data.clone()).await?;
    let again = t.repository.put_record(&key, "other".into()).await;
    hold!(failed_with(&again, ErrorKind::AlreadyExists), "{again:?}");
    hold!(
        t.repository.get_record(&key).await? == Some(data),
        "it comes back otherwise"
    );
    t.repository.remove_record(&key).await?;
    t.repository.remove_record(&key).await?;
    hold!(
        t.repository.get_record(&key).await?.is_none(),
        "it is still there"
    );
    Ok(())
}

async fn a_lock_keeps_others_out_until_its_holder_is_gone(t: &Trial) -> Result<()> {
    let key: ImageKey = t.key("image")?;
    let holder = t.create("image", 1 << 20).await?;
    holder.lock().await?;
    holder.write(0, sample(1, 4096)).await?;
    let other = t.repository.open_to_write(&key).await?;
    let locked = other.lock().await;
    hold!(failed_with(&locked, ErrorKind::Conflict), "{locked:?}");
    let look = t.repository.open(&key, None).await?;
    hold!(
        whole(&look).await?[..4096] == sample(1, 4096)[..],
        "others cannot even read"
    );
    holder.flush().await?;
    holder.unlock().await?;
    other.lock().await?;
    other.write(4096, sample(3, 4096)).await?;
    other.unlock().await?;
    other.unlock().await?;
    holder.lock().await?;
    drop(holder);
    // It may take the store a moment to close the handle.
    for _ in 0..100 {
        match other.lock().await {
            Err(e) if e.is(ErrorKind::Conflict) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            locked => {
                locked?;
                return other.write(0, sample(2, 4096)).await;
            }
        }
    }
    other.lock().await?;
    other.write(0, sample(2, 4096)).await
}

async fn a_change_shows_in_the_time(t: &Trial) -> Result<()> {
    let image = t.create("image", 1 << 20).await?;
    let made = image.modified().await?;
    image.write(0, sample(1, 4096)).await?;
    let written = image.modified().await?;
    hold!(
        written >= made,
        "it was changed at {written:?}, made at {made:?}"
    );
    Ok(())
}
