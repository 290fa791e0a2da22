//! Migrations: numbered SQL files, part of the binary, run by one process at a time.

use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

use super::super::StoreError;
use super::config::{StoreConfig, Use};
use super::error::{Phase, connect_error, store_error};

type Result<T> = std::result::Result<T, StoreError>;

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// Held while migrations run: two coordinators that start together must not race (the runner takes no lock of its own).
const LOCK_TAKE: &str = "select pg_advisory_lock(7310331)";
const HISTORY_FIND: &str = "select to_regclass('refinery_schema_history') is not null";

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
/// [`StoreError::Schema`] if a migration fails (its transaction is rolled back) or one that ran differs from this binary's.
pub async fn migrate(config: impl Into<StoreConfig>) -> Result<MigrationState> {
    let (mut client, _driver) = connect(&config.into()).await?;
    let lost = |e: tokio_postgres::Error| store_error(&e, Phase::NothingToLose);
    client.batch_execute(LOCK_TAKE).await.map_err(lost)?;
    // The lock ends with the connection.
    embedded::migrations::runner()
        .run_async(&mut client)
        .await
        .map_err(schema)?;
    state(&mut client).await
}

/// Says what ran and what would.
///
/// # Errors
/// [`StoreError::Away`] if the database cannot be reached.
pub async fn migrate_check(config: impl Into<StoreConfig>) -> Result<MigrationState> {
    let (mut client, _driver) = connect(&config.into()).await?;
    state(&mut client).await
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
    let connecting = config.connection(Use::Migrations)?.connect(config.encryption()).await;
    let (client, connection) = connecting.map_err(|e| connect_error(&e))?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "a connection to the database ended");
        }
    });
    Ok((client, AbortOnDropHandle::new(driver)))
}

async fn state(client: &mut Client) -> Result<MigrationState> {
    let runner = embedded::migrations::runner();
    let lost = |e: tokio_postgres::Error| store_error(&e, Phase::NothingToLose);
    let has_history: bool = client.query_one(HISTORY_FIND, &[]).await.map_err(lost)?.get(0);
    let ran = match has_history {
        true => runner.get_applied_migrations_async(client).await.map_err(schema)?,
        false => Vec::new(),
    };
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

fn schema(error: refinery::Error) -> StoreError {
    StoreError::Schema(match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}
