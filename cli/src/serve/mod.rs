//! The commands that are processes of their own, and those that look after an installation.

pub mod coordinator;
pub mod demo;
pub mod dev;
pub mod doctor;
pub mod encryption;
pub mod gc;
pub mod migrate;
mod signals;
mod supervised;
pub mod worker;

use rejoin_coordinator::store::postgres::{PostgresStore, StoreConfig};
use rejoin_coordinator::store::seal::Codec;
use rejoin_shared::config::{Encryption, SecretUrl, Settings};
use rejoin_shared::link::amqp::AmqpConfig;
use rejoin_shared::redact::Redactor;
use rejoin_shared::trace::export::Tracer;

pub use signals::stopping;

use crate::args::ServerArgs;
use crate::exit::Failure;

/// File, then variables, then flags.
pub fn settings(args: &ServerArgs) -> Result<Settings, Failure> {
    // Variables that are no Unicode cannot be ours: all our names and values are text.
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let mut settings = Settings::load(args.config.as_deref(), variables).map_err(|e| Failure::usage(e.to_string()))?;
    if let Some(url) = &args.database_url {
        settings.database.url = SecretUrl::new(url);
    }
    if let Some(url) = &args.amqp_url {
        settings.amqp.url = SecretUrl::new(url);
    }
    Ok(settings)
}

/// Starts logging as configured.
pub fn start_logs(settings: &Settings) -> Result<(), Failure> {
    let redactor = Redactor::of(&settings.redaction.keys);
    rejoin_shared::telemetry::start(&settings.log, redactor).map_err(Failure::usage)
}

/// Begins to export spans as configured.
pub fn start_traces(settings: &Settings, service: &'static str) -> Result<Tracer, Failure> {
    Tracer::start(&settings.tracing, service).map_err(Failure::usage)
}

/// The database as configured.
pub async fn database(settings: &Settings) -> Result<PostgresStore, Failure> {
    let store = PostgresStore::connect(store_config(settings)?).await;
    store.map_err(|e| Failure::general(format!("database {}: {e}", settings.database.url)))
}

/// The database for a coordinator: one that cannot read what is written now would keep its partitions from those that can.
pub async fn readable_database(settings: &Settings) -> Result<PostgresStore, Failure> {
    let store = database(settings).await?;
    let lacking = store.newest_key_lacking().await;
    match lacking.map_err(|e| Failure::general(format!("database {}: {e}", settings.database.url)))? {
        None => Ok(store),
        Some(id) => Err(Failure::usage(format!(
            "the payloads of this database are sealed with key `{id}`, which is not in encryption.keys: add it (REJOIN_ENCRYPTION__KEYS__…, or a file)"
        ))),
    }
}

/// How the database is reached.
pub fn store_config(settings: &Settings) -> Result<StoreConfig, Failure> {
    let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let defaults = StoreConfig::default();
    let tls = settings.database.tls();
    let config = StoreConfig {
        url: settings.database.url.reveal().to_owned(),
        tls: tls.map_err(|e| Failure::usage(format!("database.tls_cert, database.tls_key: {e}")))?,
        pool_size: settings.database.pool_max,
        connect_timeout_ms: millis(settings.database.connect_timeout.0),
        codec: codec(&settings.encryption)?,
        // Below half the lease, so that an orphaned append is gone before a takeover gives up.
        statement_timeout_ms: defaults
            .statement_timeout_ms
            .min((millis(settings.coordinator.lease.0) / 2).saturating_sub(1).max(1)),
        ..defaults
    };
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

/// What payloads in the database are sealed with.
fn codec(encryption: &Encryption) -> Result<Codec, Failure> {
    let keys = encryption.read().map_err(|e| Failure::usage(e.to_string()))?;
    let keys = keys.iter().map(|key| (key.id.as_str(), &key.bytes));
    Codec::new(keys, encryption.newest()).map_err(|e| Failure::usage(format!("encryption.key: {e}")))
}

/// The broker as configured.
pub fn amqp_config(settings: &Settings, name: &str) -> Result<AmqpConfig, Failure> {
    AmqpConfig::of(&settings.amqp, name).map_err(Failure::usage)
}
