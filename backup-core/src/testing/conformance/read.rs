//! Reading: ranges, lengths, bodies that are not read to their end.

use futures::TryStreamExt;

use super::{Trial, checks, failed_with, hold, sample};
use crate::error::{ErrorKind, Result};
use crate::range::ByteRange;

checks![
    a_range_yields_exactly_its_bytes,
    a_range_that_reaches_past_the_end_yields_what_there_is,
    a_range_that_begins_at_or_behind_the_end_is_refused,
    a_range_of_a_missing_object_is_not_found,
    a_large_object_streams_in_order,
    a_body_may_be_dropped_half_way,
];

async fn a_range_yields_exactly_its_bytes(t: &Trial) -> Result<()> {
    let data = sample(1, 3_000_000);
    t.put("object", data.clone()).await?;
    let ranges = [
        (0, 1),
        (0, 4096),
        (1, 2),
        (4095, 4097),
        (1_048_575, 1_048_577),
        (77_777, 2_777_777),
        (2_999_999, 3_000_000),
        (0, 3_000_000),
    ];
    for (start, end) in ranges {
        let range = ByteRange::new(start as u64, end as u64);
        let got = t.read_range("object", range).await?;
        hold!(got == data.slice(start..end), "bytes {start}..{end} differ");
    }
    Ok(())
}

async fn a_range_that_reaches_past_the_end_yields_what_there_is(t: &Trial) -> Result<()> {
    let data = sample(1, 10_000);
    t.put("object", data.clone()).await?;
    for (start, end) in [(0, 10_001), (9_999, 20_000), (5_000, 1 << 40)] {
        let got = t.read_range("object", ByteRange::new(start, end)).await?;
        let start = usize::try_from(start).unwrap_or(0);
        hold!(
            got == data.slice(start..),
            "from {start}: {} bytes",
            got.len()
        );
    }
    Ok(())
}

async fn a_range_that_begins_at_or_behind_the_end_is_refused(t: &Trial) -> Result<()> {
    t.put("object", sample(1, 1000)).await?;
    t.put("empty", sample(1, 0)).await?;
    for (name, start) in [
        ("object", 1000),
        ("object", 1001),
        ("object", 1 << 40),
        ("empty", 0),
    ] {
        let got = t.read_range(name, ByteRange::at(start, 10)).await;
        hold!(
            failed_with(&got, ErrorKind::InvalidInput),
            "{name} from {start}: {got:?}"
        );
    }
    Ok(())
}

async fn a_range_of_a_missing_object_is_not_found(t: &Trial) -> Result<()> {
    let got = t.read_range("missing", ByteRange::new(5, 10)).await;
    hold!(failed_with(&got, ErrorKind::NotFound), "{got:?}");
    Ok(())
}

async fn a_large_object_streams_in_order(t: &Trial) -> Result<()> {
    let data = sample(1, 20_000_001);
    t.upload("object", &data).await?;
    hold!(
        t.read("object").await? == data,
        "20 000 001 bytes read back differ"
    );
    let range = ByteRange::new(3_333_333, 19_999_999);
    let got = t.read_range("object", range).await?;
    hold!(
        got == data.slice(3_333_333..19_999_999),
        "a long range of it differs"
    );
    Ok(())
}

async fn a_body_may_be_dropped_half_way(t: &Trial) -> Result<()> {
    let data = sample(1, 20_000_000);
    t.upload("object", &data).await?;
    for _ in 0..t.options.at_once * 2 {
        let mut body = t.repository.get(&t.key("object")?, None).await?.body;
        let first = body.try_next().await?.unwrap_or_default();
        hold!(
            !first.is_empty() && data.starts_with(&first),
            "it begins with other bytes"
        );
    }
    let got = t.read_range("object", ByteRange::new(0, 100)).await?;
    hold!(
        got == data.slice(..100),
        "a read after the dropped ones differs"
    );
    Ok(())
}
