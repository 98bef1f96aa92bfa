//! `ashlar volume backup delete`

use std::sync::Arc;

use backup_core::service::Caller;

use super::for_each;
use crate::args::BackupDelete;
use crate::failure::Result;
use crate::home::Home;

pub(super) async fn run(home: &Home, args: BackupDelete) -> Result<()> {
    let backups = children_first(home, &home.caller, args.backups).await;
    for_each(&backups, "backups", async |backup| {
        let bar = Arc::new(home.messages.bar());
        let result = home
            .service
            .delete_backup(&home.caller, &backup, args.force, &home.job(&bar))
            .await;
        bar.clear();
        let deleted = result?;
        home.messages
            .summary(format_args!("deleted {}", deleted.id));
        Ok(())
    })
    .await
}

/// Puts what was made later first, so that a whole chain can be given in any order: a child is younger than its parent.
/// Names that are not found stay, for the delete to tell.
async fn children_first(home: &Home, caller: &Caller, backups: Vec<String>) -> Vec<String> {
    if backups.len() < 2 {
        return backups;
    }
    let mut dated = Vec::with_capacity(backups.len());
    for name in backups {
        let made = home.service.show_backup(caller, &name).await.ok();
        dated.push((made.map(|b| b.created_at), name));
    }
    dated.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
    dated.into_iter().map(|(_, name)| name).collect()
}
