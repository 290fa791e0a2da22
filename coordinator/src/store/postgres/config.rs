//! How to reach the database, with a limit on every wait.

use std::fmt;
use std::time::Duration;

use rejoin_shared::tls::ClientTls;
use tokio_postgres::config::SslMode;

use super::super::StoreError;
use super::super::seal::Codec;
use super::error::text;
use super::tls::Encryption;

/// Settings of a [`super::PostgresStore`].
#[derive(Clone)]
pub struct StoreConfig {
    /// `postgres://user:password@host:port/database`, or key-value pairs as libpq reads them.
    pub url: String,
    /// For an encrypted connection; where anything is set here, it is encrypted.
    pub tls: ClientTls,
    /// Connections for reading and commands, beside the one that appends.
    pub pool_size: usize,
    /// Longest run of one statement. Below half the lease, so that an orphaned append is gone before a takeover gives up.
    pub statement_timeout_ms: u64,
    /// Longest wait for a connection to be made.
    pub connect_timeout_ms: u64,
    /// Longest wait for a free connection of the pool.
    pub pool_wait_ms: u64,
    /// What payloads are sealed with.
    pub codec: Codec,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            url: "postgres://localhost/rejoin".to_owned(),
            tls: ClientTls::default(),
            pool_size: 8,
            statement_timeout_ms: 5_000,
            connect_timeout_ms: 5_000,
            pool_wait_ms: 5_000,
            codec: Codec::default(),
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &"***")
            .field("tls", &self.tls)
            .field("pool_size", &self.pool_size)
            .field("statement_timeout_ms", &self.statement_timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("pool_wait_ms", &self.pool_wait_ms)
            .field("codec", &self.codec)
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

impl From<&str> for StoreConfig {
    fn from(url: &str) -> StoreConfig {
        StoreConfig {
            url: url.to_owned(),
            ..StoreConfig::default()
        }
    }
}

impl From<&String> for StoreConfig {
    fn from(url: &String) -> StoreConfig {
        StoreConfig::from(url.as_str())
    }
}

impl StoreConfig {
    /// Says what is wrong with the address or the files, if anything is; nobody is connected to.
    ///
    /// # Errors
    /// The setting, and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        self.server().map(drop)
    }

    /// Server, user, database, and whether the connection is encrypted: then the server is verified, whatever `sslmode` asks for.
    fn server(&self) -> Result<tokio_postgres::Config, String> {
        let refused = |why: &str| format!("database.url cannot be used: {why}");
        if let Some((scheme, _)) = self.url.split_once("://")
            && scheme.chars().all(char::is_alphanumeric)
            && !matches!(scheme, "postgres" | "postgresql")
        {
            return Err(refused(&format!("it begins with {scheme}://, not with postgres://")));
        }
        // The driver knows no mode above `require`, and leaves it to its TLS to verify, which ours always does.
        let url = self.url.replace("sslmode=verify-full", "sslmode=require");
        let url = url.replace("sslmode=verify-ca", "sslmode=require");
        let parsed: Result<tokio_postgres::Config, _> = url.parse();
        let mut config = parsed.map_err(|e| refused(&text(&e)))?;
        let has_said = url.contains("sslmode=");
        match (config.get_ssl_mode(), self.tls.is_set()) {
            (SslMode::Disable, true) => return Err(refused("sslmode=disable, and database.tls_* is set")),
            (SslMode::Require, _) | (SslMode::Disable, false) => {}
            (SslMode::Prefer, true) => {
                config.ssl_mode(SslMode::Require);
            }
            // A mode that falls back to plain text protects from nothing.
            (SslMode::Prefer, false) if has_said => return Err(refused("sslmode must be disable or verify-full")),
            (_, _) => {
                config.ssl_mode(SslMode::Disable);
            }
        };
        if config.get_ssl_mode() == SslMode::Require {
            // Whatever is wrong with the files shall show at the start.
            let files = self.tls.config();
            files.map_err(|e| format!("database.tls_ca, database.tls_cert, database.tls_key: {e}"))?;
        }
        Ok(config)
    }

    /// For connections that are to be encrypted.
    pub(super) fn encryption(&self) -> Encryption {
        Encryption(self.tls.clone())
    }

    /// Connection settings for one use.
    pub(super) fn connection(&self, purpose: Use) -> Result<tokio_postgres::Config, StoreError> {
        let mut config = self.server().map_err(StoreError::Schema)?;
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
    fn a_connection_is_encrypted_if_the_url_or_the_files_say_so_and_never_by_chance() {
        let mode = |url: &str, tls: ClientTls| {
            let config = StoreConfig {
                tls,
                ..StoreConfig::from(url)
            };
            config.server().map(|server| server.get_ssl_mode())
        };
        let none = ClientTls::default;
        for (url, expected) in [
            ("postgres://h/d", SslMode::Disable),
            ("postgres://h/d?sslmode=disable", SslMode::Disable),
            ("postgres://h/d?sslmode=require", SslMode::Require),
            ("postgres://h/d?sslmode=verify-full", SslMode::Require),
            ("host=h dbname=d sslmode=verify-full", SslMode::Require),
        ] {
            assert_eq!(mode(url, none()).expect(url), expected, "{url}");
        }
        let told = mode("postgres://h/d?sslmode=prefer", none()).expect_err("falls back");
        assert!(told.contains("verify-full"), "{told}");
        let ca = ClientTls::of("/nowhere/ca.pem", "", "").expect("a CA");
        let told = mode("postgres://h/d", ca.clone()).expect_err("no such file");
        assert!(
            told.contains("database.tls_ca") && told.contains("/nowhere/ca.pem"),
            "{told}"
        );
        assert!(mode("postgres://h/d?sslmode=disable", ca).is_err());
    }

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        for (url, expected) in [
            ("mysql://me:geheim@h/d", "begins with mysql://, not with postgres://"),
            ("postgres://me:geheim@h:port/d", "invalid connection string"),
            ("postgres://h/d?colour=red", "unknown option `colour`"),
            ("nonsense", "invalid connection string"),
        ] {
            let told = StoreConfig::from(url).check().expect_err(url);
            assert!(
                told.starts_with("database.url cannot be used: ") && told.contains(expected),
                "{told}"
            );
            assert!(!told.contains("geheim"), "{told}");
        }
        assert_eq!(StoreConfig::from("postgres://h/d").check(), Ok(()));
    }

    #[test]
    fn debug_output_hides_the_password() {
        let config = StoreConfig {
            url: "postgres://me:geheim@db/x".to_owned(),
            ..StoreConfig::default()
        };
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
