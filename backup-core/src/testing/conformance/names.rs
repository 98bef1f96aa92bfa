//! Names that stores and their clients like to change.

use super::{Trial, checks, hold, list_of, read_key, sample};
use crate::error::Result;
use crate::id::{ContainerName, ObjectKey};
use crate::repository::{DefaultContainer, PutMode};

checks![
    odd_names_are_kept_as_they_are,
    long_names_are_kept_as_they_are,
    a_container_may_hold_slashes_where_each_backup_has_its_own,
];

async fn odd_names_are_kept_as_they_are(t: &Trial) -> Result<()> {
    let mut names = vec![
        "with space",
        " leading and trailing ",
        "größe-日本語-🦀",
        "100%",
        "%2F",
        "%41",
        "a+b",
        "a&b=c?d#e",
        "~tilde",
        "trailing.",
        "trailing..",
        ".hidden",
        "..two",
        "...",
        "a'b\"c`d",
        "a\\b",
        "a:b;c,d|e",
        "<tag>",
        "[x]{y}(z)*",
        "$HOME!",
        "-dash",
        "@at",
        "folder name/ob ject%",
        "folder./object.",
    ];
    names.sort_unstable();
    for (i, name) in names.iter().enumerate() {
        t.put(name, sample(i as u64, 100 + i)).await?;
    }
    let listed = t.names("").await?;
    hold!(listed == names, "listed as {listed:?}");
    for (i, name) in names.iter().enumerate() {
        let data = sample(i as u64, 100 + i);
        hold!(
            t.read(name).await? == data,
            "{name:?} holds another's bytes"
        );
        let listed = t.names(name).await?;
        hold!(
            listed.iter().any(|l| l == name),
            "{name:?} as prefix lists {listed:?}"
        );
    }
    t.repository
        .copy(&t.key("100%")?, &t.key("copy of 100%")?)
        .await?;
    t.delete(&names).await?;
    hold!(
        t.names("").await? == ["copy of 100%"],
        "not all could be deleted"
    );
    Ok(())
}

async fn long_names_are_kept_as_they_are(t: &Trial) -> Result<()> {
    let part = "n".repeat(200);
    // Not `{part}/…`: where names are paths, a file cannot be a folder too.
    let names = [part.clone(), format!("{part}-/{part}/{part}")];
    for name in &names {
        t.put(name, sample(1, 10)).await?;
        t.upload(name, &sample(2, 10)).await?;
        hold!(
            t.read(name).await? == sample(2, 10),
            "{} bytes of name",
            name.len()
        );
    }
    hold!(t.names(&part).await? == names, "they are not listed");
    Ok(())
}

async fn a_container_may_hold_slashes_where_each_backup_has_its_own(t: &Trial) -> Result<()> {
    if t.repository.layout().container != DefaultContainer::PerBackup || !t.options.makes_containers
    {
        return Ok(());
    }
    let container = ContainerName::new(format!("{}-nested/ab/cd", t.container))?;
    t.repository.ensure_container(&container).await?;
    t.repository.ensure_container(&container).await?;
    let key = ObjectKey::new(&container, "object")?;
    let data = sample(1, 5000);
    t.repository
        .put(&key, data.clone(), PutMode::CreateOnly)
        .await?;
    let mut upload = t
        .repository
        .begin(&ObjectKey::new(&container, "uploaded")?, None)
        .await?;
    upload.part(data.clone()).await?;
    upload.complete().await?;
    t.repository.barrier(&container).await?;
    hold!(
        read_key(&*t.repository, &key, None).await? == data,
        "it differs"
    );
    let listed = list_of(&*t.repository, &container, "", None).await?;
    let names: Vec<_> = listed.iter().map(|l| l.name.as_str()).collect();
    hold!(names == ["object", "uploaded"], "it lists {names:?}");
    let keys = [key, ObjectKey::new(&container, "uploaded")?];
    t.repository.delete(&keys).await.into_iter().collect()
}
