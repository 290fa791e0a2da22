//! Configuration (INTERFACE 13): `rejoin.toml`, then `REJOIN_*` variables, then flags.
//!
//! A key that nobody knows is an error that names it, in the file and in the environment: a misspelt setting that is
//! silently ignored costs more than a start that is refused.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::Limits;
#[cfg(feature = "amqp")]
use crate::tls::{ClientTls, ServerTls};

mod duration;
mod encryption;
mod reference;
mod retention;
mod secret;
mod tracing;
mod unknown;
pub use duration::Span;
pub use encryption::{Encryption, EncryptionKey};
pub use reference::reference;
pub use retention::Retention;
pub use secret::{Secret, SecretUrl};
pub use tracing::Tracing;

/// A key of fewer bytes could be guessed.
const KEY_BYTES_MIN: usize = 32;
/// Variables with this prefix are ours.
const PREFIX: &str = "REJOIN_";
/// Variables of the client commands and of handlers, which are no settings.
const OTHER_VARIABLES: &[&str] = &[
    "REJOIN_CONFIG",
    "REJOIN_SERVER",
    "REJOIN_TOKEN",
    "REJOIN_NAMESPACE",
    "REJOIN_CONTEXT",
    "REJOIN_OUTPUT",
    "REJOIN_CA_FILE",
    "REJOIN_CLIENT_CERT",
    "REJOIN_CLIENT_KEY",
    "REJOIN_HANDLER",
    "REJOIN_RUN",
    "REJOIN_PATH",
    "REJOIN_ATTEMPT",
    "REJOIN_IDEMPOTENCY_KEY",
    "REJOIN_SERVICES_DIR",
    "REJOIN_BIN",
    "REJOIN_FAULT_ROUNDS",
];
/// Variables of tests, which are no settings either: `scripts/services env` prints them.
const TEST_PREFIX: &str = "REJOIN_TEST_";

/// Everything that can be configured; `Default` is what an empty file gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// PostgreSQL.
    pub database: Database,
    /// RabbitMQ.
    pub amqp: Amqp,
    /// The HTTP API.
    pub http: Http,
    /// A coordinator process.
    pub coordinator: Coordinator,
    /// Payloads in the database.
    pub encryption: Encryption,
    /// Runs that have ended.
    pub retention: Retention,
    /// Logs.
    pub log: Log,
    /// Traces.
    pub tracing: Tracing,
    /// What is not to show.
    pub redaction: Redaction,
    /// SPEC 12.
    pub limits: Limits,
}

/// `[database]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgres://user:password@host:port/name`; with `?sslmode=verify-full` encrypted and verified. Example: `postgres://rejoin:secret@db:5432/rejoin?sslmode=verify-full`.
    #[schemars(with = "String")]
    pub url: SecretUrl,
    /// File of the CA certificates (PEM) that the server's certificate must come from; empty: those of the system. With it the connection is encrypted whatever the URL says. Example: `/etc/rejoin/ca.pem`.
    pub tls_ca: String,
    /// File of the certificate that is shown to the server; empty: none. Example: `/etc/rejoin/database.pem`.
    pub tls_cert: String,
    /// File of its key. Example: `/etc/rejoin/database.key`.
    pub tls_key: String,
    /// Most connections of the pool. Example: `16`.
    pub pool_max: usize,
    /// How long to wait for a connection. Example: `5s`.
    #[schemars(with = "String")]
    pub connect_timeout: Span,
}

/// `[amqp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Amqp {
    /// `amqp://user:password@host:port/vhost`; `amqps://` is encrypted and verified. Example: `amqps://rejoin:secret@mq:5671/%2f`.
    #[schemars(with = "String")]
    pub url: SecretUrl,
    /// File of the CA certificates (PEM) that the broker's certificate must come from; empty: those of the system. Example: `/etc/rejoin/ca.pem`.
    pub tls_ca: String,
    /// File of the certificate that is shown to the broker; empty: none. Example: `/etc/rejoin/broker.pem`.
    pub tls_cert: String,
    /// File of its key. Example: `/etc/rejoin/broker.key`.
    pub tls_key: String,
    /// Whether messages name the user who publishes them (AMQP `user-id`), which the broker checks. Off where the broker knows the user by another name than the URL (OAuth).
    pub user_id: bool,
    /// Users of the broker, with commas between them, whose completions and reports a coordinator takes in; empty: everybody's. Example: `worker,gpu_worker`.
    pub worker_users: String,
    /// Users of the other coordinators, where they are not this one's. Example: `coordinator_b`.
    pub coordinator_users: String,
    /// Put before the name of every queue and exchange. Example: `staging.`.
    pub prefix: String,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port. Example: `0.0.0.0:7070`.
    pub listen: String,
    /// Largest body of a request that is no definition. Example: `16777216`.
    pub body_bytes_max: usize,
    /// Largest sum of the names and values of a request's headers. Example: `32768`.
    pub header_bytes_max: usize,
    /// Requests a second of one token (without tokens: of all clients together), and twice as many at once; 0: any number. Example: `100`.
    pub requests_per_second_max: u32,
    /// Refuses every request that writes; runs go on.
    pub read_only: bool,
    /// File of the server's certificate (PEM; with those between it and its CA); with it the API speaks HTTPS only. Read again when it changes. Example: `/etc/rejoin/http.pem`.
    pub tls_cert: String,
    /// File of its key. Example: `/etc/rejoin/http.key`.
    pub tls_key: String,
    /// File of CA certificates; with it only clients that show a certificate of these are admitted. Example: `/etc/rejoin/clients.pem`.
    pub tls_client_ca: String,
    /// `auto` (tokens are needed unless it listens on a loopback address), `tokens`, or `open` (everybody who reaches it may do all). Whoever shows a valid token is held to it in any case.
    #[serde(deserialize_with = "word")]
    pub access: HttpAccess,
    /// Whether the console, a page for browsers, is served at `/console/`. It has no rights of its own: it uses the API as everybody does.
    pub console: bool,
}

/// `[coordinator]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Coordinator {
    /// Stable name of the process; empty: host name and listen address.
    pub name: String,
    /// How long it owns its partitions without a sign of life. Example: `10s`.
    #[schemars(with = "String")]
    pub lease: Span,
    /// Longest hand-over at a stop: what was read is judged and acknowledged, then the partitions are given back. What is left then
    /// is delivered again, and the lease runs out by itself. Example: `10s`.
    #[schemars(with = "String")]
    pub drain: Span,
    /// Key of the tokens that dispatches carry and completions echo, at least 32 characters, the same for all coordinators; empty: there are none.
    #[schemars(with = "String")]
    pub dispatch_key: Secret,
    /// Another key whose tokens count, while one takes the place of the other; empty: none.
    #[schemars(with = "String")]
    pub dispatch_key_older: Secret,
    /// Whether a completion without a token is refused. Turn it off until all that was dispatched before there was a key has ended.
    pub dispatch_token_required: bool,
    /// Bytes of memory for runs that only wait; above, those that have rested longest leave it and are loaded when they are
    /// wanted. Example: `268435456`.
    pub cache_bytes: usize,
}

/// `[redaction]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redaction {
    /// Keys, with commas between them, whose values show neither in answers of the API nor in logs, whatever the case of the key; what is stored stays as it is. Example: `password,card_number`.
    pub keys: String,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    #[serde(deserialize_with = "word")]
    pub format: LogFormat,
    /// A filter such as `info` or `info,rejoin_coordinator=debug`. The AMQP client, `lapin`, is silent unless it is named.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Who may speak to the HTTP API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HttpAccess {
    /// Everybody where only this machine can reach it, else whoever shows a token.
    #[default]
    Auto,
    /// Whoever shows a token.
    Tokens,
    /// Everybody.
    Open,
}

/// A word of a few: whoever writes another one is told which there are.
fn word<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = T::deserialize(StrDeserializer::<serde::de::value::Error>::new(&text));
    read.map_err(D::Error::custom)
}

#[cfg(feature = "amqp")]
impl Database {
    /// What an encrypted connection trusts and shows.
    ///
    /// # Errors
    /// A certificate without key, or a key without certificate.
    pub fn tls(&self) -> Result<ClientTls, &'static str> {
        ClientTls::of(&self.tls_ca, &self.tls_cert, &self.tls_key)
    }
}

#[cfg(feature = "amqp")]
impl Amqp {
    /// What an encrypted connection trusts and shows.
    ///
    /// # Errors
    /// A certificate without key, or a key without certificate.
    pub fn tls(&self) -> Result<ClientTls, &'static str> {
        ClientTls::of(&self.tls_ca, &self.tls_cert, &self.tls_key)
    }
}

#[cfg(feature = "amqp")]
impl Http {
    /// What the server shows and whom it admits; none: it speaks plain HTTP.
    ///
    /// # Errors
    /// What is missing.
    pub fn tls(&self) -> Result<Option<ServerTls>, &'static str> {
        ServerTls::of(&self.tls_cert, &self.tls_key, &self.tls_client_ca)
    }
}

impl Default for Database {
    fn default() -> Database {
        Database {
            url: SecretUrl::new("postgres://rejoin@127.0.0.1:5432/rejoin"),
            tls_ca: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            pool_max: 16,
            connect_timeout: Span(Duration::from_secs(5)),
        }
    }
}

impl Default for Amqp {
    fn default() -> Amqp {
        Amqp {
            url: SecretUrl::new("amqp://127.0.0.1:5672/%2f"),
            tls_ca: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            user_id: true,
            worker_users: String::new(),
            coordinator_users: String::new(),
            prefix: String::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: "127.0.0.1:7070".to_owned(),
            body_bytes_max: 16 * 1024 * 1024,
            header_bytes_max: 32 * 1024,
            requests_per_second_max: 0,
            read_only: false,
            tls_cert: String::new(),
            tls_key: String::new(),
            tls_client_ca: String::new(),
            access: HttpAccess::Auto,
            console: true,
        }
    }
}

impl Default for Coordinator {
    fn default() -> Coordinator {
        Coordinator {
            name: String::new(),
            lease: Span(Duration::from_secs(10)),
            drain: Span(Duration::from_secs(10)),
            dispatch_key: Secret::default(),
            dispatch_key_older: Secret::default(),
            dispatch_token_required: true,
            cache_bytes: 256 * 1024 * 1024,
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error("{file}: {reason}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong in it.
        reason: String,
    },
    /// Places in the file, `file:line:column: what is wrong`, a line each.
    #[error("{0}")]
    Places(String),
    /// A variable.
    #[error("variable {name}: {reason}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that cannot be used.
    #[error("{field} = {value}: {reason}")]
    Value {
        /// `section.key`
        field: &'static str,
        /// As it was given.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
}

impl Settings {
    /// Reads `file` (or, if it is `None`, `rejoin.toml` in the working directory where there is one), then `variables`
    /// (name and value; those that do not begin with `REJOIN_` are passed over).
    ///
    /// # Errors
    /// [`ConfigError`] that names the key or the variable.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        let mut builder = config::Config::builder();
        let default = Path::new("rejoin.toml");
        if let Some(path) = file.or_else(|| default.exists().then_some(default)) {
            builder = builder.add_source(file_source(path)?);
        }
        for (name, value) in variables {
            if let Some(key) = key_of(&name) {
                check_variable(&name, &key, &value)?;
                builder = builder.set_override(&key, value).map_err(|e| variable(&name, &e))?;
            }
        }
        let merged = builder.build().and_then(config::Config::try_deserialize);
        let settings: Settings = merged.map_err(|e| ConfigError::File {
            file: "configuration".to_owned(),
            reason: e.to_string(),
        })?;
        settings.validate()?;
        Ok(settings)
    }

    /// Checks what a type cannot: names field and value.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        require(
            self.database.pool_max >= 2,
            "database.pool_max",
            &self.database.pool_max,
            "at least 2",
        )?;
        let lease = self.coordinator.lease;
        let lease_fits = (1..=600).contains(&lease.0.as_secs());
        require(lease_fits, "coordinator.lease", &lease, "between 1s and 10m")?;
        let keys = [
            ("coordinator.dispatch_key", &self.coordinator.dispatch_key),
            ("coordinator.dispatch_key_older", &self.coordinator.dispatch_key_older),
        ];
        for (field, key) in keys {
            let fits = key.is_empty() || key.reveal().len() >= KEY_BYTES_MIN;
            require(fits, field, key, "at least 32 characters, drawn at random")?;
        }
        let has_key = !self.coordinator.dispatch_key.is_empty() || self.coordinator.dispatch_key_older.is_empty();
        require(
            has_key,
            "coordinator.dispatch_key",
            &"",
            "needed beside coordinator.dispatch_key_older",
        )?;
        self.encryption.validate()?;
        let listen = &self.http.listen;
        require(is_place(listen), "http.listen", listen, "host:port, as 127.0.0.1:7070")?;
        self.tracing.validate()?;
        let window = self.limits.in_flight_per_run_max;
        require(window >= 1, "limits.in_flight_per_run_max", &window, "at least 1")
    }

    /// The configuration as a TOML file, secrets masked.
    #[must_use]
    pub fn printed(&self) -> String {
        toml::to_string_pretty(self).expect("settings are plain tables")
    }
}

/// `host:port`; whether there is such a host shows when it is listened on.
fn is_place(listen: &str) -> bool {
    let place = listen.rsplit_once(':');
    place.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn require(
    holds: bool,
    field: &'static str,
    value: &dyn fmt::Display,
    reason: &'static str,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    let value = value.to_string();
    Err(ConfigError::Value { field, value, reason })
}

/// Read on its own first, so that an error can name the file.
fn file_source(path: &Path) -> Result<config::File<config::FileSourceFile, config::FileFormat>, ConfigError> {
    let source = config::File::new(&path.to_string_lossy(), config::FileFormat::Toml);
    let alone = config::Config::builder().add_source(source.clone()).build();
    match alone.and_then(config::Config::try_deserialize::<Settings>) {
        Ok(_) => Ok(source),
        Err(e) => Err(located(path, &e)),
    }
}

/// What is wrong with a file, with every place that is wrong where that can be said.
fn located(path: &Path, error: &config::ConfigError) -> ConfigError {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let strangers = unknown::keys(&file, &text);
    if !strangers.is_empty() {
        return ConfigError::Places(strangers);
    }
    let typed = toml::from_str::<Settings>(&text).err();
    match typed.and_then(|e| Some((e.span()?, e.message().to_owned()))) {
        Some((span, message)) => {
            let (line, column) = unknown::place(&text, span.start);
            ConfigError::Places(format!("{file}:{line}:{column}: {message}"))
        }
        None => ConfigError::File {
            file,
            reason: error.to_string(),
        },
    }
}

/// The key a variable sets: `REJOIN_DATABASE__URL` is `database.url`.
fn key_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    if OTHER_VARIABLES.contains(&name) || name.starts_with(TEST_PREFIX) {
        return None;
    }
    Some(rest.to_ascii_lowercase().replace("__", "."))
}

/// Each variable is tried alone, so that an error can name it.
fn check_variable(name: &str, key: &str, value: &str) -> Result<(), ConfigError> {
    let alone = config::Config::builder()
        .set_override(key, value)
        .and_then(|builder| builder.build());
    match alone.and_then(config::Config::try_deserialize::<Settings>) {
        Ok(_) => Ok(()),
        Err(e) => {
            let must_be = || unknown::rule(key).map(|rule| format!("`{value}`, but must be {rule}"));
            let reason = unknown::variable(name).or_else(must_be);
            let name = name.to_owned();
            let reason = reason.unwrap_or_else(|| e.to_string());
            Err(ConfigError::Variable { name, reason })
        }
    }
}

fn variable(name: &str, error: &config::ConfigError) -> ConfigError {
    ConfigError::Variable {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunStatus;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn toml_file(name: &str, text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("rejoin-config-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("temporary file");
        path
    }

    #[test]
    fn variables_win_over_the_file() {
        let file = toml_file("wins", "[http]\nlisten = '1.2.3.4:1'\n[coordinator]\nlease = '20s'\n");
        let vars = env(&[
            ("REJOIN_HTTP__LISTEN", "0.0.0.0:9"),
            ("REJOIN_LIMITS__BRANCHES_MAX", "5"),
            ("PATH", "x"),
        ]);
        let settings = Settings::load(Some(&file), vars).expect("valid");
        assert_eq!(settings.http.listen, "0.0.0.0:9");
        assert_eq!(settings.coordinator.lease.0, Duration::from_secs(20));
        assert_eq!(settings.limits.branches_max, 5);
    }

    #[test]
    fn unknown_keys_and_variables_are_errors_that_name_them() {
        let file = toml_file("unknown", "[http]\nlissten = 'x'\n");
        let error = Settings::load(Some(&file), []).expect_err("unknown key").to_string();
        assert!(
            error.ends_with(".toml:2:1: unknown key `http.lissten` (did you mean `http.listen`?)"),
            "{error}"
        );
        for name in [
            "REJOIN_HTTP__LISSTEN",
            "REJOIN_SOMETHING",
            "REJOIN_COORDINATOR__LEASE__X",
        ] {
            let error = Settings::load(None, env(&[(name, "1")])).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
        for (name, value, said) in [
            ("REJOIN_HTTP__LISSTEN", "x", "(did you mean REJOIN_HTTP__LISTEN?)"),
            (
                "REJOIN_LIMITS__BRANCHES_MAX",
                "-1",
                "`-1`, but must be a whole number, 0 or more",
            ),
            ("REJOIN_HTTP__CONSOLE", "si", "`si`, but must be true or false"),
        ] {
            let error = Settings::load(None, env(&[(name, value)])).expect_err(name).to_string();
            assert!(error.ends_with(said), "{error}");
        }
        let error = Settings::load(None, env(&[("REJOIN_COORDINATOR__LEASE", "soon")])).expect_err("no duration");
        assert!(error.to_string().contains("REJOIN_COORDINATOR__LEASE"), "{error}");
        let error = Settings::load(None, env(&[("REJOIN_HTTP__ACCESS", "bogus")])).expect_err("no such access");
        let named = ["REJOIN_HTTP__ACCESS", "`bogus`", "`auto`, `tokens`, `open`"];
        assert!(named.iter().all(|name| error.to_string().contains(name)), "{error}");
    }

    #[test]
    fn every_unknown_key_of_a_file_is_named_with_its_place_and_wrong_values_with_theirs() {
        let error = |name: &str, text: &str| {
            let file = toml_file(name, text);
            let error = Settings::load(Some(&file), []).expect_err("wrong").to_string();
            error.replace(&file.display().to_string(), "F")
        };
        let several = "lissen = 3\n[htpp]\nlisten = 'x'\n[coordinator]\nname = 'a'\n  nmae = 'x'\n";
        let expected = "F:1:1: unknown key `lissen`\nF:2:2: unknown key `htpp` (did you mean `http`?)\n\
            F:6:3: unknown key `coordinator.nmae` (did you mean `coordinator.name`?)";
        assert_eq!(error("several", several), expected);
        let wrong = error("wrong", "[limits]\nbranches_max = -1\n");
        assert!(wrong.starts_with("F:2:16: "), "{wrong}");
        let no_toml = error("syntax", "[limits\n");
        assert!(no_toml.starts_with("F:1:"), "{no_toml}");
    }

    #[test]
    fn ended_runs_are_kept_for_ever_unless_the_configuration_says_how_long() {
        assert!(Settings::default().retention.by_state().is_empty());
        let settings = Settings::load(None, env(&[("REJOIN_RETENTION__FAILED", "90d")])).expect("valid");
        let kept = [(RunStatus::Failed, Duration::from_secs(90 * 86_400))];
        assert_eq!(settings.retention.by_state(), kept);
        assert!(
            settings.printed().contains("failed = \"90d\""),
            "{}",
            settings.printed()
        );
    }

    #[test]
    fn a_key_is_long_enough_and_shows_nowhere() {
        let key = "0123456789abcdef0123456789abcdef";
        let of = |pairs: &[(&str, &str)]| Settings::load(None, env(pairs));
        let settings = of(&[("REJOIN_COORDINATOR__DISPATCH_KEY", key)]).expect("valid");
        assert!(!settings.printed().contains(key) && !format!("{settings:?}").contains(key));
        let short = of(&[("REJOIN_COORDINATOR__DISPATCH_KEY", "geheim")]).expect_err("too short");
        assert!(!short.to_string().contains("geheim"), "{short}");
        assert!(
            of(&[("REJOIN_COORDINATOR__DISPATCH_KEY_OLDER", key)]).is_err(),
            "one without the newest"
        );
    }

    #[test]
    fn a_value_out_of_range_names_field_and_value() {
        let error = Settings::load(None, env(&[("REJOIN_DATABASE__POOL_MAX", "1")])).expect_err("too few");
        assert_eq!(error.to_string(), "database.pool_max = 1: at least 2");
    }

    #[test]
    fn secrets_are_masked_wherever_settings_are_shown() {
        let vars = env(&[("REJOIN_DATABASE__URL", "postgres://me:s3cret@db/x?password=s3cret")]);
        let settings = Settings::load(None, vars).expect("valid");
        for shown in [
            settings.printed(),
            format!("{settings:?}"),
            settings.database.url.to_string(),
        ] {
            assert!(!shown.contains("s3cret") && shown.contains("***"), "{shown}");
        }
        assert!(settings.database.url.reveal().contains("s3cret"));
    }
}
