//! The home's identity, and limits.

use crate::catalog::model::{Identity, Quota, Usage};
use crate::catalog::rows::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::id::JobId;

const PROJECT: &str = "project_id";
const USER: &str = "user_id";
/// Settings that hold the limits of projects without limits of their own.
const DEFAULT_QUOTA: &str = "default_quota";

pub(in crate::catalog) async fn identity(rows: &mut (dyn Rows + '_)) -> Result<Option<Identity>> {
    let project = rows.setting(PROJECT).await?;
    let user = rows.setting(USER).await?;
    Ok(project.zip(user).map(|(project_id, user_id)| Identity {
        project_id,
        user_id,
    }))
}

pub(in crate::catalog) async fn make_identity(rows: &mut (dyn Rows + '_)) -> Result<Identity> {
    // Another process may have made it between the look and this transaction.
    if let Some(identity) = identity(rows).await? {
        return Ok(identity);
    }
    // Keystone's form: a UUID without hyphens.
    let random = || JobId::generate().to_string().replace('-', "");
    let identity = Identity {
        project_id: random(),
        user_id: random(),
    };
    rows.put_setting(PROJECT, Some(&identity.project_id))
        .await?;
    rows.put_setting(USER, Some(&identity.user_id)).await?;
    Ok(identity)
}

pub(in crate::catalog) async fn quota(rows: &mut (dyn Rows + '_), project: &str) -> Result<Quota> {
    if let Some(quota) = rows.quota(project).await? {
        return Ok(quota);
    }
    match rows.setting(DEFAULT_QUOTA).await? {
        None => Ok(Quota::UNLIMITED),
        Some(text) => serde_json::from_str(&text).map_err(|e| {
            Error::corrupt(
                "read quota",
                DEFAULT_QUOTA,
                "the stored default is no quota",
            )
            .caused_by(e)
        }),
    }
}

/// Refuses one more backup of `gib` GiB where it would exceed the project's limits.
pub(super) async fn charge(
    rows: &mut (dyn Rows + '_),
    operation: &'static str,
    project: &str,
    gib: u64,
) -> Result<()> {
    let quota = quota(rows, project).await?;
    if quota == Quota::UNLIMITED {
        return Ok(());
    }
    let Usage { backups, gigabytes } = rows.usage(project).await?;
    let exceeded = |what: &str, limit: u64, used: u64, more: u64| {
        Err(Error::new(ErrorKind::QuotaExceeded, operation)
            .on(format!("project {project}"))
            .because(format!(
                "{used} {what} of {limit} are used, and this needs {more} more"
            ))
            .hint("delete backups that are no longer needed, or raise the quota"))
    };
    match quota {
        Quota {
            backups: Some(limit),
            ..
        } if backups >= limit => exceeded("backups", limit, backups, 1),
        Quota {
            gigabytes: Some(limit),
            ..
        } if gigabytes.saturating_add(gib) > limit => exceeded("GiB", limit, gigabytes, gib),
        _ => Ok(()),
    }
}
