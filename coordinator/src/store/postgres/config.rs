//! How to reach the database, with a limit on every wait.

use std::fmt;
use std::time::Duration;

use super::super::StoreError;

/// Settings of a [`super::PostgresStore`].
#[derive(Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `postgres://user:password@host:port/database`, or key-value pairs as libpq reads them.
    pub url: String,
    /// Connections for reading and commands, beside the one that appends.
    pub pool_size: usize,
    /// Longest run of one statement. Below half the lease, so that an orphaned append is gone before a takeover gives up.
    pub statement_timeout_ms: u64,
    /// Longest wait for a connection to be made.
    pub connect_timeout_ms: u64,
    /// Longest wait for a free connection of the pool.
    pub pool_wait_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            url: "postgres://localhost/rejoin".to_owned(),
            pool_size: 8,
            statement_timeout_ms: 5_000,
            connect_timeout_ms: 5_000,
            pool_wait_ms: 5_000,
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &"***")
            .field("pool_size", &self.pool_size)
            .field("statement_timeout_ms", &self.statement_timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("pool_wait_ms", &self.pool_wait_ms)
            .finish()
    }
}

/// What a connection is for; sets how its statements are planned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// The append: one function whose statements are planned once, always by way of the primary keys.
    Append,
    /// Everything else: planned with the values at hand, since filters that are null fall away then.
    Reads,
    /// Migrations: may take as long as they need.
    Migrations,
}

impl StoreConfig {
    /// Connection settings for one use.
    pub(super) fn connection(&self, purpose: Use) -> Result<tokio_postgres::Config, StoreError> {
        let mut config: tokio_postgres::Config = self
            .url
            .parse()
            .map_err(|e| StoreError::Schema(format!("the database URL cannot be read: {e}")))?;
        let planning = match purpose {
            Use::Append => {
                "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
            }
            Use::Reads => "-c plan_cache_mode=force_custom_plan",
            Use::Migrations => "",
        };
        let limit_ms = match purpose {
            Use::Append | Use::Reads => self.statement_timeout_ms,
            Use::Migrations => 0,
        };
        let own = config.get_options().unwrap_or_default().to_owned();
        config
            .options(format!("{own} -c statement_timeout={limit_ms} {planning}"))
            .application_name("rejoin")
            .connect_timeout(Duration::from_millis(self.connect_timeout_ms))
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_millis(self.statement_timeout_ms.saturating_mul(2)));
        Ok(config)
    }

    /// How long a client waits for an answer: the server's own limit answers first unless the connection is dead.
    pub(super) fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms.saturating_add(2_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_password() {
        let config = StoreConfig {
            url: "postgres://me:geheim@db/x".to_owned(),
            ..StoreConfig::default()
        };
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
