//! Objects that come in parts: a temporary file that gets its name when it is whole and durable.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use backup_core::{Error, ErrorKind, ObjectKey, PutMode, Result, Upload};
use bytes::{Bytes, BytesMut};

use super::connection::Connection;
use super::failure::Failure;
use super::link::{Call, Link, Try};
use super::write::{Open, Place, WRITE, store};

/// What is gathered before it is written and made durable. It is held until then, so that it can be sent again.
const GATHERED: usize = 8 << 20;

/// An upload. Dropped, its temporary file is removed in the background.
#[derive(Debug)]
pub(super) struct NfsUpload {
    link: Arc<Link>,
    key: String,
    place: Place,
    open: Arc<OpenFile>,
    gathered: BytesMut,
    /// Bytes that are durable on the server.
    durable: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    Failed,
    /// Completed or aborted: nothing is left to be removed.
    Over,
}

/// The temporary file, and where it is open.
#[derive(Debug)]
struct OpenFile {
    file: u64,
    at: Mutex<Option<(u64, Open)>>,
}

impl OpenFile {
    /// The file on this connection; opened again where it was open on another.
    async fn on(&self, on: &Connection, place: &Place) -> Result<Open, Failure> {
        let known = self.at().clone();
        if let Some((number, open)) = known
            && number == on.number
        {
            return Ok(open);
        }
        let open = place.reopen(on, self.file).await?;
        *self.at() = Some((on.number, open.clone()));
        Ok(open)
    }

    /// Closes it where it is open on this connection; one that is gone has closed it.
    async fn close(&self, on: &Connection) -> Result<(), Failure> {
        let known = self.at().take();
        match known {
            Some((number, open)) if number == on.number => {
                Ok(on.mount().close(open.handle).await?)
            }
            _ => Ok(()),
        }
    }

    fn at(&self) -> std::sync::MutexGuard<'_, Option<(u64, Open)>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins the object `key`.
pub(super) async fn begin(link: &Arc<Link>, key: &ObjectKey) -> Result<NfsUpload> {
    let operation = "begin object";
    let place = Place::of(operation, key)?;
    let at = place.clone();
    let made = link.run(Call::new(operation, key, 0), move |on, this| {
        let at = at.clone();
        async move { Ok((on.number, at.create(&on, this).await?)) }
    });
    let (number, open) = made.await?;
    Ok(NfsUpload {
        link: Arc::clone(link),
        key: key.to_string(),
        place,
        open: Arc::new(OpenFile {
            file: open.file,
            at: Mutex::new(Some((number, open))),
        }),
        gathered: BytesMut::new(),
        durable: 0,
        state: State::Going,
    })
}

impl NfsUpload {
    fn going(&self) -> Result<()> {
        if self.state == State::Going {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, WRITE)
            .on(&self.key)
            .because("an earlier part failed"))
    }

    async fn write(&mut self, data: Bytes) -> Result<()> {
        let length = data.len() as u64;
        let call = Call::new(WRITE, &self.key, length);
        let (link, place, open) = (
            Arc::clone(&self.link),
            self.place.clone(),
            Arc::clone(&self.open),
        );
        let offset = self.durable;
        self.state = State::Failed;
        self.link
            .run(call, move |on, _| {
                let (link, place, open) = (Arc::clone(&link), place.clone(), Arc::clone(&open));
                let data = data.clone();
                async move {
                    let at = open.on(&on, &place).await?;
                    store(&link, &on, &at.handle, offset, &data).await
                }
            })
            .await?;
        self.durable += length;
        self.state = State::Going;
        Ok(())
    }

    async fn name(&mut self) -> Result<()> {
        let call = Call::new("complete object", &self.key, 0);
        let (place, open) = (self.place.clone(), Arc::clone(&self.open));
        self.link
            .run(call, move |on, this| {
                let (place, open) = (place.clone(), Arc::clone(&open));
                async move { name_once(&on, this, &place, &open).await }
            })
            .await
    }
}

async fn name_once(
    on: &Connection,
    this: Try,
    place: &Place,
    open: &OpenFile,
) -> Result<(), Failure> {
    let file = if this.doubtful {
        // It may have its name already, and then has this one no more.
        let folder = on.folder(&place.folder).await?;
        Open {
            folder,
            handle: Bytes::new(),
            file: open.file,
        }
    } else {
        let file = open.on(on, place).await?;
        open.close(on).await?;
        file
    };
    place.name(on, &file, PutMode::Overwrite).await
}

#[async_trait]
impl Upload for NfsUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        self.going()?;
        if self.gathered.is_empty() && data.len() >= GATHERED {
            return self.write(data).await;
        }
        self.gathered.extend_from_slice(&data);
        if self.gathered.len() >= GATHERED {
            let data = std::mem::take(&mut self.gathered).freeze();
            self.write(data).await?;
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        self.going()?;
        let rest = std::mem::take(&mut self.gathered).freeze();
        if !rest.is_empty() {
            self.write(rest).await?;
        }
        self.state = State::Failed;
        self.name().await?;
        self.state = State::Over;
        Ok(())
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.state = State::Over;
        end(&self.link, &self.place, &self.open).await
    }
}

/// Closes the temporary file and removes it.
async fn end(link: &Arc<Link>, place: &Place, open: &Arc<OpenFile>) -> Result<()> {
    let closing = Arc::clone(open);
    let call = Call::new("abort object", place.path(), 0);
    let closed = link.run(call, move |on, _| {
        let open = Arc::clone(&closing);
        async move { open.close(&on).await }
    });
    let closed = closed.await;
    place.discard(link).await?;
    closed
}

impl Drop for NfsUpload {
    fn drop(&mut self) {
        if self.state == State::Over {
            return;
        }
        let (link, place, open) = (
            Arc::clone(&self.link),
            self.place.clone(),
            Arc::clone(&self.open),
        );
        // Without a runtime there is nobody to ask the server; the file is then told as left over.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = end(&link, &place, &open).await {
                    tracing::warn!(file = place.path(), %error, "temporary file stays behind");
                }
            });
        }
    }
}
