//! What is in images: reads, writes, zeroes, and differences.

use std::sync::Arc;

use bytes::Bytes;

use super::{Trial, checks, covers, failed_with, hold, kind_at, range, read, sample, whole};
use crate::error::{ErrorKind, Result};
use crate::image::Image;
use crate::range::{ByteRange, ExtentKind};

/// Length of an image that crosses the borders of a few objects.
const LENGTH: u64 = 12 << 20;

checks![
    what_is_written_is_read_back_at_any_offset,
    zeroes_are_zeroes_whatever_was_there,
    nothing_reaches_past_the_end,
    a_snapshot_shows_what_was,
    many_writes_at_once_all_land,
    holes_are_told_and_data_never_is_one,
    a_difference_tells_all_that_changed_and_not_everything,
    what_an_image_grew_by_is_zeroes_and_never_unchanged,
    what_was_cut_off_is_lost_but_in_snapshots,
];

/// Offsets and lengths at the alignments that guests use, over borders of objects, and some at none.
const PLACES: [(u64, usize); 7] = [
    (0, 512),
    (512, 32 << 10),
    (64 << 10, 64 << 10),
    ((4 << 20) - 512, 1024),
    ((4 << 20) + 32_768, 5 << 20),
    (7, 13),
    (LENGTH - 1000, 1000),
];

fn overwrite(model: &mut [u8], at: u64, data: &[u8]) {
    let at = usize::try_from(at).unwrap_or(0);
    model[at..at + data.len()].copy_from_slice(data);
}

async fn what_is_written_is_read_back_at_any_offset(t: &Trial) -> Result<()> {
    let image = t.create("image", LENGTH).await?;
    let mut model = vec![0; usize::try_from(LENGTH).unwrap_or(0)];
    for (seed, (at, length)) in PLACES.into_iter().enumerate() {
        let data = sample(seed as u64, length);
        overwrite(&mut model, at, &data);
        image.write(at, data.clone()).await?;
        hold!(
            read(&image, range(at, length as u64)?).await?[..] == data[..],
            "{length} bytes at {at} read back differ"
        );
    }
    hold!(whole(&image).await? == model, "the whole differs");
    image.flush().await?;
    drop(image);
    let image = t.repository.open(&t.key("image")?, None).await?;
    hold!(whole(&image).await? == model, "opened again it differs");
    Ok(())
}

async fn zeroes_are_zeroes_whatever_was_there(t: &Trial) -> Result<()> {
    let image = t.create("image", LENGTH).await?;
    let mut model = sample(9, usize::try_from(LENGTH).unwrap_or(0)).to_vec();
    image.write(0, Bytes::from(model.clone())).await?;
    image.snapshot("full").await?;
    for (at, length) in PLACES {
        image.write_zeroes(range(at, length as u64)?).await?;
        overwrite(&mut model, at, &vec![0; length]);
        hold!(
            whole(&image).await? == model,
            "after {length} zeroes at {at} it differs"
        );
    }
    image.write_zeroes(ByteRange::up_to(LENGTH)).await?;
    hold!(
        whole(&image).await?.iter().all(|&b| b == 0),
        "zeroed as a whole it is not zeroes"
    );
    Ok(())
}

async fn nothing_reaches_past_the_end(t: &Trial) -> Result<()> {
    let image = t.create("image", 1 << 20).await?;
    let past = read(&image, range((1 << 20) - 512, 1024)?).await;
    hold!(failed_with(&past, ErrorKind::InvalidInput), "{past:?}");
    let past = image.write((1 << 20) - 512, sample(1, 1024)).await;
    hold!(failed_with(&past, ErrorKind::InvalidInput), "{past:?}");
    let past = image.write_zeroes(range((1 << 20) - 512, 1024)?).await;
    hold!(failed_with(&past, ErrorKind::InvalidInput), "{past:?}");
    let past = image.diff(None, ByteRange::up_to((1 << 20) + 1)).await;
    hold!(failed_with(&past, ErrorKind::InvalidInput), "{past:?}");
    hold!(
        whole(&image).await?.iter().all(|&b| b == 0),
        "a refused write left something"
    );
    Ok(())
}

async fn a_snapshot_shows_what_was(t: &Trial) -> Result<()> {
    let image = t.create("image", LENGTH).await?;
    image.write(4000, sample(1, 5 << 20)).await?;
    image.snapshot("first").await?;
    let first = whole(&image).await?;
    image.write(0, sample(2, 8192)).await?;
    image.write_zeroes(range(1 << 20, 4 << 20)?).await?;
    image.snapshot("second").await?;
    let second = whole(&image).await?;
    image.write(100, sample(3, 100)).await?;
    let shown = t.at("image", "first").await?;
    hold!(whole(&shown).await? == first, "the first one changed");
    let shown = t.at("image", "second").await?;
    hold!(whole(&shown).await? == second, "the second one changed");
    image.remove_snapshot("first").await?;
    let shown = t.at("image", "second").await?;
    hold!(
        whole(&shown).await? == second,
        "the second one changed when the first one was removed"
    );
    Ok(())
}

async fn many_writes_at_once_all_land(t: &Trial) -> Result<()> {
    let image = t.create("image", LENGTH).await?;
    let step = LENGTH / 96;
    let writes = (0..96).map(|n| {
        let image = Arc::clone(&image);
        async move {
            let length = usize::try_from(step).unwrap_or(0);
            image.write(n * step, sample(n, length)).await
        }
    });
    for written in futures::future::join_all(writes).await {
        written?;
    }
    for n in 0..96 {
        let length = usize::try_from(step).unwrap_or(0);
        let there = read(&image, range(n * step, step)?).await?;
        hold!(there[..] == sample(n, length)[..], "write {n} did not land");
    }
    Ok(())
}

async fn holes_are_told_and_data_never_is_one(t: &Trial) -> Result<()> {
    let image = t.create("image", LENGTH).await?;
    let all = ByteRange::up_to(LENGTH);
    let told = image.allocated(all).await?;
    hold!(covers(&told, all), "told: {told:?}");
    hold!(
        told.iter().all(|e| e.kind == ExtentKind::Zero),
        "a new image holds something: {told:?}"
    );
    image.write((9 << 20) + 4096, sample(1, 4096)).await?;
    let told = image.allocated(all).await?;
    hold!(covers(&told, all), "told: {told:?}");
    hold!(
        kind_at(&told, (9 << 20) + 4096) == Some(ExtentKind::Data),
        "told: {told:?}"
    );
    hold!(
        kind_at(&told, 0) == Some(ExtentKind::Zero),
        "far away from what was written: {told:?}"
    );
    let window = range((9 << 20) + 100, 5000)?;
    let told = image.allocated(window).await?;
    hold!(covers(&told, window), "told of {window}: {told:?}");
    Ok(())
}

/// Every extent that is called unchanged or zero is.
async fn holds(image: &Arc<dyn Image>, before: &[u8], extents: &[crate::Extent]) -> Result<()> {
    for extent in extents {
        let now = read(image, extent.range).await?;
        match extent.kind {
            ExtentKind::Zero => hold!(now.iter().all(|&b| b == 0), "{extent:?} holds data"),
            ExtentKind::Unchanged => {
                let start = usize::try_from(extent.range.start()).unwrap_or(usize::MAX);
                let was = before.get(start..start + now.len());
                hold!(was == Some(&now[..]), "{extent:?} changed");
            }
            _ => {}
        }
    }
    Ok(())
}

async fn a_difference_tells_all_that_changed_and_not_everything(t: &Trial) -> Result<()> {
    let image = t.create("image", 24 << 20).await?;
    let all = ByteRange::up_to(24 << 20);
    image.write(0, sample(1, 20 << 20)).await?;
    image.snapshot("a").await?;
    let a = whole(&image).await?;
    let told = image.diff(Some("a"), all).await?;
    hold!(covers(&told, all), "told: {told:?}");
    hold!(
        told.iter().all(|e| e.kind == ExtentKind::Unchanged),
        "nothing changed, and told is {told:?}"
    );
    image.write(512, sample(2, 512)).await?;
    image
        .write_zeroes(range((4 << 20) + 32_768, 65_536)?)
        .await?;
    image.write_zeroes(range(8 << 20, 4 << 20)?).await?;
    image.snapshot("b").await?;
    let b = whole(&image).await?;
    image.write(21 << 20, sample(3, 4096)).await?;
    for (from, content) in [("a", &a), ("b", &b)] {
        let told = image.diff(Some(from), all).await?;
        hold!(covers(&told, all), "from {from}: {told:?}");
        holds(&image, content, &told).await?;
        hold!(
            kind_at(&told, 17 << 20) == Some(ExtentKind::Unchanged),
            "from {from}, far away from any change: {told:?}"
        );
    }
    let shown = t.at("image", "b").await?;
    let told = shown.diff(Some("a"), all).await?;
    hold!(covers(&told, all), "from a to b: {told:?}");
    holds(&shown, &a, &told).await?;
    let window = range((4 << 20) + 100, 100_000)?;
    let told = shown.diff(Some("a"), window).await?;
    hold!(covers(&told, window), "told of {window}: {told:?}");
    holds(&shown, &a, &told).await
}

async fn what_an_image_grew_by_is_zeroes_and_never_unchanged(t: &Trial) -> Result<()> {
    let image = t.create("image", (1 << 20) + 512).await?;
    image.write(0, sample(1, (1 << 20) + 512)).await?;
    image.snapshot("small").await?;
    let small = whole(&image).await?;
    image.resize(LENGTH).await?;
    hold!(image.geometry().length == LENGTH, "it did not grow");
    let grown = whole(&image).await?;
    hold!(grown[..small.len()] == small[..], "its content changed");
    hold!(
        grown[small.len()..].iter().all(|&b| b == 0),
        "what it grew by is not zeroes"
    );
    image.write(11 << 20, sample(2, 4096)).await?;
    let all = ByteRange::up_to(LENGTH);
    let told = image.diff(Some("small"), all).await?;
    hold!(covers(&told, all), "told: {told:?}");
    holds(&image, &small, &told).await?;
    hold!(
        kind_at(&told, 11 << 20) == Some(ExtentKind::Data),
        "told: {told:?}"
    );
    Ok(())
}

async fn what_was_cut_off_is_lost_but_in_snapshots(t: &Trial) -> Result<()> {
    let image = t.create("image", LENGTH).await?;
    image
        .write(0, sample(1, usize::try_from(LENGTH).unwrap_or(0)))
        .await?;
    image.snapshot("long").await?;
    let long = whole(&image).await?;
    image.resize((5 << 20) + 512).await?;
    image.resize(LENGTH).await?;
    let now = whole(&image).await?;
    let kept = (5 << 20) + 512;
    hold!(now[..kept] == long[..kept], "what was kept changed");
    hold!(
        now[kept..].iter().all(|&b| b == 0),
        "what was cut off came back"
    );
    let all = ByteRange::up_to(LENGTH);
    let told = image.diff(Some("long"), all).await?;
    hold!(covers(&told, all), "told: {told:?}");
    holds(&image, &long, &told).await?;
    let shown = t.at("image", "long").await?;
    hold!(whole(&shown).await? == long, "the snapshot was cut");
    Ok(())
}
