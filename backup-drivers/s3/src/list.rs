//! Listings: any string as beginning, any delimiter, names as they are.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use backup_core::{BoxStream, Error, ErrorKind, Listed, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use crate::error::Failure;
use crate::wire::Wire;
use crate::xml::ObjectPage;

const OPERATION: &str = "list bucket";

enum Next {
    First,
    Page(String),
    End,
}

/// A bucket's listing, a page of 1000 at a time.
pub(crate) fn of_server(
    wire: Wire,
    bucket: String,
    prefix: String,
    delimiter: Option<char>,
) -> BoxStream<Listed> {
    let delimiter = delimiter.map(String::from);
    let state = (Next::First, VecDeque::<Listed>::new());
    let pages = stream::try_unfold(state, move |(mut next, mut ready)| {
        let (wire, bucket) = (wire.clone(), bucket.clone());
        let (prefix, delimiter) = (prefix.clone(), delimiter.clone());
        async move {
            loop {
                if let Some(listed) = ready.pop_front() {
                    return Ok(Some((listed, (next, ready))));
                }
                let token = match &next {
                    Next::First => None,
                    Next::Page(token) => Some(token.as_str()),
                    Next::End => return Ok(None),
                };
                let page = wire
                    .objects(&bucket, &prefix, delimiter.as_deref(), token, None)
                    .await;
                let page = match page {
                    // A missing container lists as empty.
                    Err(failure) if failure.kind() == ErrorKind::NotFound => return Ok(None),
                    page => page.map_err(|f| f.into_error(OPERATION, &bucket))?,
                };
                let following = following(&page, token);
                next = following.map_err(|f| f.into_error(OPERATION, &bucket))?;
                ready.extend(entries(page));
            }
        }
    });
    pages.boxed()
}

/// Which page comes behind `page`. A server that says "there is more" without saying where, or that sends us in a
/// circle, would hide objects: that is an error.
fn following(page: &ObjectPage, token: Option<&str>) -> Result<Next, Failure> {
    if !page.is_truncated {
        return Ok(Next::End);
    }
    match &page.next_continuation_token {
        Some(next) if !next.is_empty() && token != Some(next) => Ok(Next::Page(next.clone())),
        _ => Err(Failure::malformed("a listing does not end")),
    }
}

fn entries(page: ObjectPage) -> impl Iterator<Item = Listed> {
    let objects = page.contents.into_iter().map(|content| {
        Listed::object(
            content.key,
            content.size,
            content.last_modified.parse().ok(),
        )
    });
    let prefixes = page.common_prefixes.into_iter();
    objects.chain(prefixes.map(|p| Listed::prefix(p.prefix)))
}

/// The listing of a store that was handed in. Its prefixes end at slashes: the folder above is listed, and filtered.
pub(crate) fn of_store(
    store: Arc<dyn ObjectStore>,
    container: String,
    prefix: String,
    delimiter: Option<char>,
) -> BoxStream<Listed> {
    let folder = prefix
        .rsplit_once('/')
        .map(|(folder, _)| Path::parse(folder));
    let Ok(folder) = folder.transpose() else {
        // No object of such a store can have a name with this beginning.
        return stream::empty().boxed();
    };
    let of_error =
        move |e: &object_store::Error| Failure::store(e).into_error(OPERATION, &container);
    if delimiter == Some('/') {
        let level = async move {
            let result = match store.list_with_delimiter(folder.as_ref()).await {
                Err(e) if Failure::store(&e).kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                result => result.map_err(|e| of_error(&e))?,
            };
            let objects = result.objects.iter().map(listed);
            let prefixes = result.common_prefixes.iter();
            let prefixes = prefixes.map(|p| Listed::prefix(format!("{p}/")));
            let all = objects.chain(prefixes);
            Ok(all.filter(|l| l.name.starts_with(&prefix)).collect())
        };
        return stream::once(level)
            .map_ok(|all: Vec<Listed>| stream::iter(all.into_iter().map(Ok::<_, Error>)))
            .try_flatten()
            .boxed();
    }
    let mut told = BTreeSet::new();
    let all = store.list(folder.as_ref()).filter_map(move |meta| {
        let entry = match meta {
            Err(e) if Failure::store(&e).kind() == ErrorKind::NotFound => None,
            Err(e) => Some(Err(of_error(&e))),
            Ok(meta) => fold(&listed(&meta), &prefix, delimiter, &mut told).map(Ok),
        };
        std::future::ready(entry)
    });
    all.boxed()
}

/// What a listing tells of an object: nothing if its name begins otherwise, a common beginning the first time that
/// there is one.
fn fold(
    object: &Listed,
    prefix: &str,
    delimiter: Option<char>,
    told: &mut BTreeSet<String>,
) -> Option<Listed> {
    let rest = object.name.strip_prefix(prefix)?;
    let Some((delimiter, at)) = delimiter.and_then(|d| Some((d, rest.find(d)?))) else {
        return Some(object.clone());
    };
    let common = format!("{prefix}{}{delimiter}", &rest[..at]);
    told.insert(common.clone()).then(|| Listed::prefix(common))
}

fn listed(meta: &ObjectMeta) -> Listed {
    let modified = Timestamp::from_micros(meta.last_modified.timestamp_micros()).ok();
    Listed::object(meta.location.as_ref(), meta.size, modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_would_never_end_is_an_error() {
        let page = |token: Option<&str>| ObjectPage {
            is_truncated: true,
            next_continuation_token: token.map(String::from),
            ..ObjectPage::default()
        };
        assert!(following(&page(None), None).is_err());
        assert!(following(&page(Some("a")), Some("a")).is_err());
        assert!(matches!(
            following(&page(Some("b")), Some("a")),
            Ok(Next::Page(_))
        ));
    }

    #[test]
    fn a_common_beginning_is_told_once() {
        let mut told = BTreeSet::new();
        let mut fold = |name: &str| fold(&Listed::object(name, 1, None), "a", Some('-'), &mut told);
        assert_eq!(fold("ab-1").unwrap().name, "ab-");
        assert!(fold("ab-2").is_none());
        assert!(!fold("ab").unwrap().is_prefix);
        assert!(fold("b-1").is_none());
    }
}
