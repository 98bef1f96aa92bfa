//! What a repository is asked to do, and whether it did it.

use backup_core::{
    ByteRange, ContainerName, Error, ErrorKind, ObjectKey, PutMode, Repository, Result,
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::{MARK, SAMPLE};

pub(super) fn key(container: &ContainerName, mark: &str, name: &str) -> Result<ObjectKey> {
    ObjectKey::new(container, format!("{MARK}{mark}-{name}"))
}

async fn fetch(
    repository: &dyn Repository,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Bytes> {
    let download = repository.get(key, range).await?;
    let mut body = download.body;
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.freeze())
}

pub(super) async fn same(
    repository: &dyn Repository,
    key: &ObjectKey,
    expected: &[u8],
) -> Result<()> {
    let got = fetch(repository, key, None).await?;
    if got[..] == *expected {
        return Ok(());
    }
    Err(Error::corrupt(
        "read back",
        key,
        format!(
            "{} bytes came back, not the {} that were written",
            got.len(),
            expected.len()
        ),
    ))
}

pub(super) async fn write(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &Bytes,
) -> Result<String> {
    let whole = key(container, mark, "whole")?;
    repository
        .put(&whole, sample.clone(), PutMode::Overwrite)
        .await?;
    let parts = key(container, mark, "parts")?;
    let mut upload = repository.begin(&parts, Some(sample.len() as u64)).await?;
    upload.part(sample.slice(..SAMPLE / 2)).await?;
    upload.part(sample.slice(SAMPLE / 2..)).await?;
    upload.complete().await?;
    repository.barrier(container).await?;
    Ok("a whole object, one in parts, made durable".into())
}

pub(super) async fn read_back(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &[u8],
) -> Result<String> {
    same(repository, &key(container, mark, "whole")?, sample).await?;
    same(repository, &key(container, mark, "parts")?, sample).await?;
    match repository
        .get(&key(container, mark, "missing")?, None)
        .await
    {
        Err(e) if e.is(ErrorKind::NotFound) => {
            Ok("both as written; a missing one is told as missing".into())
        }
        Err(e) => Err(e),
        Ok(_) => Err(Error::new(ErrorKind::Corrupt, "read back")
            .because("an object that was never written can be read")),
    }
}

pub(super) async fn range(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &[u8],
) -> Result<String> {
    let (from, to) = (1_000, 300_001);
    let whole = key(container, mark, "whole")?;
    let got = fetch(repository, &whole, ByteRange::new(from as u64, to as u64)).await?;
    if got[..] == sample[from..to] {
        Ok(format!("bytes {from} to {to} as written"))
    } else {
        Err(Error::corrupt(
            "read a range",
            whole,
            "other bytes came back",
        ))
    }
}

pub(super) async fn create_only(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<String> {
    let whole = key(container, mark, "whole")?;
    match repository
        .put(&whole, Bytes::from_static(b"x"), PutMode::CreateOnly)
        .await
    {
        Err(e) if e.is(ErrorKind::AlreadyExists) => Ok("a second writer is refused".into()),
        Err(e) => Err(e),
        Ok(()) => Err(Error::corrupt(
            "write",
            whole,
            "an object that must be kept was replaced",
        )),
    }
}

pub(super) async fn names(
    repository: &dyn Repository,
    container: &ContainerName,
    prefix: &str,
) -> Result<Vec<String>> {
    let mut found = repository.list(container, prefix, None).await?;
    let mut names = Vec::new();
    while let Some(listed) = found.next().await {
        names.push(listed?.name);
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) async fn list(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<String> {
    let mark = format!("{MARK}{mark}");
    let expected = [format!("{mark}-parts"), format!("{mark}-whole")];
    let found = names(repository, container, &mark).await?;
    if found != expected {
        return Err(Error::corrupt(
            "list",
            container,
            format!("found {found:?}, not {expected:?}"),
        ));
    }
    // Half a word is a prefix too: Cinder lists so.
    let half = names(repository, container, &format!("{mark}-wh")).await?;
    if half != expected[1..] {
        return Err(Error::corrupt(
            "list",
            container,
            format!("found {half:?} by half a name"),
        ));
    }
    Ok("both objects, and by half a name".into())
}

pub(super) async fn copy(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &[u8],
) -> Result<String> {
    let (from, to) = (
        key(container, mark, "whole")?,
        key(container, mark, "copy")?,
    );
    repository.copy(&from, &to).await?;
    same(repository, &to, sample).await?;
    Ok("as the original".into())
}

pub(super) async fn delete(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<String> {
    let keys = ["whole", "parts", "copy", "missing"]
        .into_iter()
        .map(|name| key(container, mark, name))
        .collect::<Result<Vec<_>>>()?;
    for result in repository.delete(&keys).await {
        result?;
    }
    let left = names(repository, container, &format!("{MARK}{mark}")).await?;
    if left.is_empty() {
        Ok("all gone; deleting a missing one is no error".into())
    } else {
        Err(Error::corrupt(
            "delete",
            container,
            format!("still there: {}", left.join(", ")),
        ))
    }
}
