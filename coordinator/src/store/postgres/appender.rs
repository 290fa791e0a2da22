//! The one connection that appends: in order, one statement a batch, made anew whenever its state is in doubt.

use std::time::Duration;

use rejoin_shared::time::Timestamp;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::super::StoreError;
use super::columns::Columns;
use super::config::{StoreConfig, Use};
use super::error::{Phase, connect_error, is_lost, store_error};
use super::tls::Encryption;
use super::{rows, sql};

/// Appends over a connection of its own.
pub(super) struct Appender {
    config: tokio_postgres::Config,
    encryption: Encryption,
    connect_timeout: Duration,
    answer_timeout: Duration,
    line: Mutex<Option<Line>>,
}

/// A connection with the statement prepared on it. Dropping it ends the connection.
struct Line {
    client: Client,
    append: Statement,
    append_with_newest: Statement,
    append_with_waits: Statement,
    append_with_forks: Statement,
    _driver: AbortOnDropHandle<()>,
}

impl Appender {
    pub(super) fn new(config: &StoreConfig) -> Result<Appender, StoreError> {
        Ok(Appender {
            config: config.connection(Use::Append)?,
            encryption: config.encryption(),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            answer_timeout: config.answer_timeout(),
            line: Mutex::new(None),
        })
    }

    /// Sends one batch and waits for the answer. The lock keeps appends in the order of their calls. A caller that gives up
    /// leaves the statement under way; the next one is answered after it, on the same connection.
    pub(super) async fn append(&self, columns: &Columns<'_>) -> Result<Timestamp, StoreError> {
        let mut slot = self.line.lock().await;
        let line = match slot.take().filter(|line| !line.client.is_closed()) {
            Some(line) => slot.insert(line),
            None => slot.insert(self.connect().await?),
        };
        let params = columns.params();
        let statement = match (columns.has_forks(), columns.has_waits(), columns.has_newest()) {
            (true, _, _) => &line.append_with_forks,
            (false, true, _) => &line.append_with_waits,
            (false, false, true) => &line.append_with_newest,
            (false, false, false) => &line.append,
        };
        let answer = tokio::time::timeout(self.answer_timeout, line.client.query_one(statement, &params)).await;
        match answer {
            Ok(Ok(row)) => rows::time(&row).map(|at| at.0),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    *slot = None;
                }
                Err(store_error(&error, Phase::Sent))
            }
            Err(_) => {
                *slot = None;
                Err(StoreError::Unknown(format!(
                    "no answer within {:?}",
                    self.answer_timeout
                )))
            }
        }
    }

    async fn connect(&self) -> Result<Line, StoreError> {
        let connecting = tokio::time::timeout(self.connect_timeout, self.connect_and_prepare());
        connecting.await.unwrap_or_else(|_| {
            Err(StoreError::Away(format!(
                "no connection within {:?}",
                self.connect_timeout
            )))
        })
    }

    async fn connect_and_prepare(&self) -> Result<Line, StoreError> {
        let connecting = self.config.connect(self.encryption.clone()).await;
        let (client, connection) = connecting.map_err(|e| connect_error(&e))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "the appending connection ended");
            }
        }));
        let prepare = async |sql| {
            let prepared = client.prepare(sql).await;
            prepared.map_err(|e| store_error(&e, Phase::NothingToLose))
        };
        let append = prepare(sql::BATCH_APPEND_IF_OWNER).await?;
        let append_with_newest = prepare(sql::BATCH_APPEND_WITH_NEWEST_IF_OWNER).await?;
        let append_with_waits = prepare(sql::BATCH_APPEND_WITH_WAITS_IF_OWNER).await?;
        let append_with_forks = prepare(sql::BATCH_APPEND_WITH_FORKS_IF_OWNER).await?;
        Ok(Line {
            client,
            append,
            append_with_newest,
            append_with_waits,
            append_with_forks,
            _driver: driver,
        })
    }
}
