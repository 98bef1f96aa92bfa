//! Opening, connections and transactions.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backup_core::catalog::{RowStore, Rows, Transaction};
use backup_core::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlitePool};

use crate::error::{from_sql, is_busy};
use crate::rows::SqlRows;
use crate::{filesystem, schema};

/// How long a call waits for another process before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between tries where SQLite answers busy at once: its own waiting does not cover what might deadlock.
const PAUSE: Duration = Duration::from_millis(10);
/// Connections that read at once.
const READERS: u32 = 4;

/// A [`Catalog`](backup_core::Catalog) in an SQLite file. Several processes of one host may have it open at once.
///
/// What a step wrote is on disk when the step returns. A process that dies, at any point, leaves the state after its
/// last complete step.
pub struct SqliteCatalog {
    path: PathBuf,
    // One connection: writers of this process wait here, in order, and not in SQLite.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteCatalog {
    /// Opens the catalogue at `path`, or makes it, readable by its owner only. The folder must be there.
    ///
    /// # Errors
    /// [`Unsupported`](backup_core::ErrorKind::Unsupported) on a network filesystem and for a schema of a later
    /// program; [`Corrupt`](backup_core::ErrorKind::Corrupt) for a file that is no catalogue.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        filesystem::check(folder)?;
        // SQLite would make it with the umask's mode; its log files take the mode of this one.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("open catalogue", path.display(), e))?;

        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(PATIENCE)
            // A step that was reported must survive a power cut: recovery deletes what the catalogue does not call
            // available.
            .synchronous(SqliteSynchronous::Full)
            .row_buffer_size(1024);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .test_before_acquire(false)
                .acquire_timeout(PATIENCE * 2)
                .connect_lazy_with(options.clone())
        };
        let catalog = Self {
            writer: pool(1),
            readers: pool(READERS),
            path,
        };
        let version = {
            let mut tx = catalog.start(&catalog.readers, "BEGIN").await?;
            schema::version(&mut tx)
                .await
                .map_err(|e| catalog.failed("open catalogue", e))?
        };
        if version < schema::VERSION {
            catalog.migrate(options).await?;
        }
        Ok(catalog)
    }

    /// Brings the schema up to date. A new file also gets its journal mode, which stays with it.
    async fn migrate(&self, options: SqliteConnectOptions) -> Result<()> {
        let failed = |e| self.failed("make catalogue", e);
        // A connection of its own: the mode can only be set where no other connection of ours is in its way.
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let begun = Instant::now();
        let mut connection = loop {
            match options.connect().await {
                // Another process sets it at the same time: SQLite answers busy at once here.
                Err(e) if is_busy(&e) && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => break other.map_err(failed)?,
            }
        };
        let mut tx = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        schema::migrate(&mut tx, &self.path).await?;
        tx.commit().await.map_err(failed)?;
        connection.close().await.map_err(failed)
    }

    /// Ends all connections. The last process to do so tidies the log away; one that never does leaves it to the next.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a transaction and fixes what it sees.
    async fn start(
        &self,
        pool: &SqlitePool,
        statement: &'static str,
    ) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        let begun = Instant::now();
        let (tx, version) = loop {
            let attempt = async {
                let mut tx = pool.begin_with(statement).await?;
                // The first look fixes what the transaction sees; after it nobody is in its way.
                let version = schema::version(&mut tx).await?;
                Ok((tx, version))
            };
            match attempt.await {
                Err(e) if is_busy(&e) && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => break other.map_err(|e| self.failed("use catalogue", e))?,
            }
        };
        // A newer program may have changed the schema since this one opened it.
        schema::check(version, &self.path)?;
        Ok(tx)
    }

    fn failed(&self, operation: &'static str, error: sqlx::Error) -> Error {
        from_sql(operation, &self.path, error)
    }
}

struct SqlTransaction<'a> {
    rows: SqlRows<'a>,
}

#[async_trait]
impl Transaction for SqlTransaction<'_> {
    fn rows(&mut self) -> &mut dyn Rows {
        &mut self.rows
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let path = self.rows.path();
        self.rows
            .into_inner()
            .commit()
            .await
            .map_err(|e| from_sql("write catalogue", path, e))
    }
}

#[async_trait]
impl RowStore for SqliteCatalog {
    async fn begin(&self) -> Result<Box<dyn Transaction + '_>> {
        // Immediate: a transaction that reads first and finds at its first write that another process has written
        // meanwhile could only fail.
        let tx = self.start(&self.writer, "BEGIN IMMEDIATE").await?;
        let rows = SqlRows::new(tx, &self.path);
        Ok(Box::new(SqlTransaction { rows }))
    }

    async fn read(&self) -> Result<Box<dyn Rows + '_>> {
        let tx = self.start(&self.readers, "BEGIN").await?;
        Ok(Box::new(SqlRows::new(tx, &self.path)))
    }
}
