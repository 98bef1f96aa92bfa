//! Opening a volume to be written, and waiting until nobody else has it open.

use std::time::Duration;

use backup_core::error::{Error, ErrorKind, Result};

use super::Place;
use crate::image::Image;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// Opens the image for writing, and keeps everybody else from writing it until it is closed.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) where somebody has it open: a guest that writes a volume while it is restored would
/// leave neither's content.
pub(super) async fn open(place: &Place, patience: Duration) -> Result<Image> {
    let hint = "detach it there first; a restore needs the volume for itself. A client that is dead and still listed is \
                shut out by `ceph osd blocklist add ADDRESS`";
    wait_until_free(place, "attach", hint, patience).await?;
    let image = place.open().await?;
    image.take_lock().await?;
    Ok(image)
}

/// Waits for the end of those who have the image open for writing: a client that died counts for half a minute.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) with `hint` where it takes longer.
pub(super) async fn wait_until_free(
    place: &Place,
    operation: &'static str,
    hint: &'static str,
    patience: Duration,
) -> Result<()> {
    // Opened for reading, it does not count itself.
    let look = place.pool.open_read_only(&place.image, None).await?;
    let end = tokio::time::Instant::now() + patience;
    let mut told = false;
    loop {
        let watchers = look.watchers().await?;
        if watchers.is_empty() {
            return Ok(());
        }
        let others: Vec<_> = watchers.into_iter().map(|w| w.address).collect();
        let others = others.join(", ");
        if !told {
            told = true;
            tracing::info!(
                "{} is open by {others}: waiting up to {} s for its end",
                place.target(),
                patience.as_secs()
            );
        }
        if tokio::time::Instant::now() >= end {
            return Err(Error::new(ErrorKind::Conflict, operation)
                .on(place.target())
                .because(format!("it is open for writing by {others}"))
                .hint(hint));
        }
        tokio::time::sleep(LOOK).await;
    }
}
