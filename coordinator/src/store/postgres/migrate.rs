//! Migrations: numbered SQL files, part of the binary, run by one process at a time.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

use super::super::StoreError;
use super::config::{StoreConfig, Use};
use super::error::{Phase, connect_error, migration_error, store_error};

type Result<T> = std::result::Result<T, StoreError>;

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// Held while migrations run: two coordinators that start together must not race (the runner takes no lock of its own).
const LOCK_TAKE: &str = "select pg_advisory_lock(7310331)";
const HISTORY_FIND: &str = "select to_regclass('refinery_schema_history') is not null";

/// Whether the server follows another one, and whether transactions may write.
const READ_ONLY: &str = "select pg_is_in_recovery(), current_setting('transaction_read_only')::boolean";

/// Which migrations a database has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationState {
    /// `V1__journal` and so on, in order, that ran.
    pub applied: Vec<String>,
    /// Those of this binary that did not run yet.
    pub pending: Vec<String>,
    /// Those that ran and that this binary does not know: a newer one brought them.
    pub unknown: Vec<String>,
}

/// Runs what is pending; returns the state afterwards. The right to create objects in the default schema is enough.
///
/// # Errors
/// [`StoreError::Away`] if the database cannot be reached; [`StoreError::Schema`] if a migration fails (its transaction is rolled
/// back) or one that ran differs from this binary's.
pub async fn migrate(config: impl Into<StoreConfig>) -> Result<MigrationState> {
    let config = config.into();
    let (mut client, _driver) = connect(&config).await?;
    let lost = |e: tokio_postgres::Error| store_error(&e, Phase::NothingToLose);
    // Another process that migrates may hold it for long.
    client.batch_execute(LOCK_TAKE).await.map_err(lost)?;
    // The lock ends with the connection.
    embedded::migrations::runner()
        .run_async(&mut client)
        .await
        .map_err(|e| migration_error(&e))?;
    state(&config, &mut client).await
}

/// Says what ran and what would.
///
/// # Errors
/// [`StoreError::Away`] if the database cannot be reached.
pub async fn migrate_check(config: impl Into<StoreConfig>) -> Result<MigrationState> {
    let config = config.into();
    let (mut client, _driver) = connect(&config).await?;
    state(&config, &mut client).await
}

/// Why the database takes no writes, if it does not.
///
/// # Errors
/// [`StoreError::Away`] if the database cannot be reached.
pub async fn read_only(config: impl Into<StoreConfig>) -> Result<Option<String>> {
    let config = config.into();
    let (client, _driver) = connect(&config).await?;
    let asked = async {
        let row = client.query_one(READ_ONLY, &[]).await;
        row.map_err(|e| store_error(&e, Phase::NothingToLose))
    };
    let row = within(config.answer_timeout(), asked).await?;
    Ok(match (row.get(0), row.get(1)) {
        (true, _) => Some("it is a standby, in recovery".to_owned()),
        (false, true) => Some("default_transaction_read_only is on".to_owned()),
        (false, false) => None,
    })
}

/// Number of the newest migration of this binary.
pub(super) fn newest_version() -> i32 {
    let runner = embedded::migrations::runner();
    let versions = runner.get_migrations().iter().map(refinery::Migration::version);
    versions.max().unwrap_or(0)
}

/// A connection that may take as long as it needs, and the task that drives it.
///
/// # Errors
/// [`StoreError::Away`] if the database cannot be reached.
pub async fn connect(config: &StoreConfig) -> Result<(Client, AbortOnDropHandle<()>)> {
    let of = config.connection(Use::Migrations)?;
    // The driver's own limit ends once the server has taken the connection; one that is frozen takes it and says nothing.
    let connecting = async {
        let connected = of.connect(config.encryption()).await;
        connected.map_err(|e| connect_error(&e))
    };
    let (client, connection) = within(Duration::from_millis(config.connect_timeout_ms), connecting).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "a connection to the database ended");
        }
    });
    Ok((client, AbortOnDropHandle::new(driver)))
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or_else(|_| Err(StoreError::Away(format!("no answer within {limit:?}"))))
}

/// Asks for no more than a few rows: an answer that takes long never comes.
async fn state(config: &StoreConfig, client: &mut Client) -> Result<MigrationState> {
    let runner = embedded::migrations::runner();
    let ran = within(config.answer_timeout(), ran(&runner, client)).await?;
    let mut own: Vec<_> = runner.get_migrations().iter().collect();
    // They come by name: V10 before V2.
    own.sort_by_key(|own| own.version());
    let pending = own
        .into_iter()
        .filter(|own| !ran.iter().any(|m| m.version() == own.version()));
    let is_own = |m: &&refinery::Migration| runner.get_migrations().iter().any(|own| own.version() == m.version());
    let unknown = ran.iter().filter(|m| !is_own(m)).map(ToString::to_string);
    Ok(MigrationState {
        unknown: unknown.collect(),
        pending: pending.map(ToString::to_string).collect(),
        applied: ran.iter().map(ToString::to_string).collect(),
    })
}

async fn ran(runner: &refinery::Runner, client: &mut Client) -> Result<Vec<refinery::Migration>> {
    let lost = |e: tokio_postgres::Error| store_error(&e, Phase::NothingToLose);
    let has_history: bool = client.query_one(HISTORY_FIND, &[]).await.map_err(lost)?.get(0);
    match has_history {
        true => {
            let applied = runner.get_applied_migrations_async(client).await;
            applied.map_err(|e| migration_error(&e))
        }
        false => Ok(Vec::new()),
    }
}
