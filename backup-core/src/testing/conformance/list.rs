//! Listing: any string as prefix, delimiters, many names.

use futures::{StreamExt, TryStreamExt};

use super::{Trial, checks, hold, list_of, sample};
use crate::error::Result;

checks![
    a_listing_matches_any_beginning_of_a_name,
    a_listing_reaches_names_with_slashes,
    a_delimiter_gathers_names_into_their_common_beginnings,
    a_listing_tells_sizes,
    a_listing_of_more_than_a_page_is_whole,
    a_missing_container_lists_as_empty,
    what_was_deleted_is_listed_no_more,
];

async fn put_all(t: &Trial, names: &[&str]) -> Result<()> {
    for name in names {
        t.put(name, sample(1, 10)).await?;
    }
    Ok(())
}

async fn a_listing_matches_any_beginning_of_a_name(t: &Trial) -> Result<()> {
    put_all(t, &["vol_1", "vol_10", "vol_1-00001", "vol_2", "wol_1"]).await?;
    let cases: [(&str, &[&str]); 6] = [
        ("", &["vol_1", "vol_1-00001", "vol_10", "vol_2", "wol_1"]),
        ("vol_1", &["vol_1", "vol_1-00001", "vol_10"]),
        ("vol_1-", &["vol_1-00001"]),
        ("v", &["vol_1", "vol_1-00001", "vol_10", "vol_2"]),
        ("vol_2", &["vol_2"]),
        ("vol_3", &[]),
    ];
    for (prefix, expected) in cases {
        let names = t.names(prefix).await?;
        hold!(names == expected, "{prefix:?} lists {names:?}");
    }
    Ok(())
}

async fn a_listing_reaches_names_with_slashes(t: &Trial) -> Result<()> {
    let all = ["vol/1/a_1", "vol/1/a_2", "vol/10/a_1", "vol/2", "volume"];
    put_all(t, &all).await?;
    let cases: [(&str, &[&str]); 7] = [
        ("", &all),
        ("vol", &all),
        ("vol/", &["vol/1/a_1", "vol/1/a_2", "vol/10/a_1", "vol/2"]),
        ("vol/1", &["vol/1/a_1", "vol/1/a_2", "vol/10/a_1"]),
        ("vol/1/", &["vol/1/a_1", "vol/1/a_2"]),
        ("vol/1/a_2", &["vol/1/a_2"]),
        ("vol/1/b", &[]),
    ];
    for (prefix, expected) in cases {
        let names = t.names(prefix).await?;
        hold!(names == expected, "{prefix:?} lists {names:?}");
    }
    Ok(())
}

async fn a_delimiter_gathers_names_into_their_common_beginnings(t: &Trial) -> Result<()> {
    put_all(t, &["a/b/1", "a/b/2", "a/c", "a-x", "b"]).await?;
    let cases: [(&str, char, &[&str]); 6] = [
        ("", '/', &["a-x", "a/", "b"]),
        ("a", '/', &["a-x", "a/"]),
        ("a/", '/', &["a/b/", "a/c"]),
        ("a/b", '/', &["a/b/"]),
        ("a/b/", '/', &["a/b/1", "a/b/2"]),
        ("nothing", '/', &[]),
    ];
    for (prefix, delimiter, expected) in cases {
        let listed = t.listed(prefix, Some(delimiter)).await?;
        let names: Vec<_> = listed.iter().map(|l| l.name.as_str()).collect();
        hold!(
            names == expected,
            "{prefix:?} by {delimiter:?} lists {names:?}"
        );
        for l in &listed {
            let beginning = l.name.ends_with(delimiter);
            hold!(
                l.is_prefix == beginning,
                "{:?} is told as the wrong kind",
                l.name
            );
        }
    }
    Ok(())
}

async fn a_listing_tells_sizes(t: &Trial) -> Result<()> {
    for length in [0, 1, 12_345] {
        t.put(&format!("object-{length}"), sample(1, length))
            .await?;
    }
    for listed in t.listed("", None).await? {
        let told = format!("object-{}", listed.size);
        hold!(
            listed.name == told,
            "{} is listed with {} bytes",
            listed.name,
            listed.size
        );
    }
    Ok(())
}

async fn a_listing_of_more_than_a_page_is_whole(t: &Trial) -> Result<()> {
    let names: Vec<String> = (0..t.options.many)
        .map(|i| format!("object-{i:05}"))
        .collect();
    let put = |name: String| async move { t.put(&name, sample(1, 3)).await };
    futures::stream::iter(names.clone())
        .map(put)
        .buffer_unordered(t.options.at_once)
        .try_collect::<()>()
        .await?;
    let listed = t.names("object-").await?;
    hold!(
        listed == names,
        "{} of {} names are listed",
        listed.len(),
        names.len()
    );
    Ok(())
}

async fn a_missing_container_lists_as_empty(t: &Trial) -> Result<()> {
    let missing = Trial::missing_container()?;
    let listed = list_of(&*t.repository, &missing, "", None).await?;
    hold!(listed.is_empty(), "it lists {listed:?}");
    Ok(())
}

async fn what_was_deleted_is_listed_no_more(t: &Trial) -> Result<()> {
    put_all(t, &["a", "b/c", "d"]).await?;
    t.delete(&["a", "b/c"]).await?;
    hold!(t.names("").await? == ["d"], "something else is listed");
    let gathered = t.listed("", Some('/')).await?;
    hold!(gathered.len() == 1, "with a delimiter: {gathered:?}");
    Ok(())
}
