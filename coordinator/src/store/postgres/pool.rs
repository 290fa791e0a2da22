//! The pool for everything but the append.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::{PoolView, StoreError};
use super::config::{StoreConfig, Use};
use super::error::{Phase, is_lost, pool_error, store_error};

type Result<T> = std::result::Result<T, StoreError>;
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Runs single statements, each in a transaction of its own unless it says otherwise.
pub(super) struct Reader {
    pool: Pool,
    answer_timeout: Duration,
}

impl Reader {
    pub(super) fn new(config: &StoreConfig) -> Result<Reader> {
        let connection = config.connection(Use::Reads)?;
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(connection, config.encryption(), manager_config);
        let pool = Pool::builder(manager)
            .max_size(config.pool_size.max(1))
            .wait_timeout(Some(Duration::from_millis(config.pool_wait_ms)))
            .create_timeout(Some(Duration::from_millis(config.connect_timeout_ms)))
            .recycle_timeout(Some(Duration::from_millis(config.connect_timeout_ms)))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| StoreError::Schema(e.to_string()))?;
        Ok(Reader {
            pool,
            answer_timeout: config.answer_timeout(),
        })
    }

    /// How much of the pool is in use.
    pub(super) fn view(&self) -> PoolView {
        let status = self.pool.status();
        PoolView {
            in_use: status.size.saturating_sub(status.available),
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// Runs a statement that only reads.
    pub(super) async fn read(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.run(sql, params, Phase::NothingToLose).await
    }

    /// Runs a statement that writes and returns rows.
    pub(super) async fn write_returning(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.run(sql, params, Phase::Sent).await
    }

    async fn run(&self, sql: &str, params: Params<'_>, phase: Phase) -> Result<Vec<Row>> {
        let client = self.client().await?;
        let work = async {
            let statement = client
                .prepare_cached(sql)
                .await
                .map_err(|e| (e, Phase::NothingToLose))?;
            client.query(&statement, params).await.map_err(|e| (e, phase))
        };
        let answer = tokio::time::timeout(self.answer_timeout, work).await;
        self.settle(client, answer, phase)
    }

    /// Runs a statement that writes; returns how many rows it wrote.
    pub(super) async fn write(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let client = self.client().await?;
        let work = async {
            let statement = client
                .prepare_cached(sql)
                .await
                .map_err(|e| (e, Phase::NothingToLose))?;
            client.execute(&statement, params).await.map_err(|e| (e, Phase::Sent))
        };
        let answer = tokio::time::timeout(self.answer_timeout, work).await;
        self.settle(client, answer, Phase::Sent)
    }

    /// Runs a statement that writes and one that reads what is there then, in one transaction; it stays only if `judge` says so.
    pub(super) async fn write_if<T>(
        &self,
        write: (&str, Params<'_>),
        read: (&str, Params<'_>),
        judge: impl Fn(&[Row], &[Row]) -> Result<(T, bool)> + Send,
    ) -> Result<T>
    where
        T: Send,
    {
        let mut client = self.client().await?;
        let work = async {
            let nothing = |e| (e, Phase::NothingToLose);
            let writes = client.prepare_cached(write.0).await.map_err(nothing)?;
            let reads = client.prepare_cached(read.0).await.map_err(nothing)?;
            let transaction = client.transaction().await.map_err(nothing)?;
            let written = transaction.query(&writes, write.1).await.map_err(nothing)?;
            let found = transaction.query(&reads, read.1).await.map_err(nothing)?;
            let judged = judge(&written, &found);
            match &judged {
                Ok((_, true)) => transaction.commit().await.map_err(|e| (e, Phase::Sent))?,
                Ok((_, false)) | Err(_) => transaction.rollback().await.map_err(nothing)?,
            }
            Ok(judged.map(|(value, _)| value))
        };
        let answer = tokio::time::timeout(self.answer_timeout, work).await;
        self.settle(client, answer, Phase::Sent)?
    }

    async fn client(&self) -> Result<Object> {
        self.pool.get().await.map_err(|e| pool_error(&e, &self.pool.timeouts()))
    }

    /// Keeps connections whose state is in doubt out of the pool, and says what the outcome means.
    fn settle<T>(
        &self,
        client: Object,
        answer: std::result::Result<
            std::result::Result<T, (tokio_postgres::Error, Phase)>,
            tokio::time::error::Elapsed,
        >,
        phase: Phase,
    ) -> Result<T> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err((error, phase))) => {
                if is_lost(&error) {
                    drop(Object::take(client));
                }
                Err(store_error(&error, phase))
            }
            Err(_) => {
                drop(Object::take(client));
                let text = format!("no answer within {:?}", self.answer_timeout);
                Err(match phase {
                    Phase::NothingToLose => StoreError::Away(text),
                    Phase::Sent => StoreError::Unknown(text),
                })
            }
        }
    }
}
