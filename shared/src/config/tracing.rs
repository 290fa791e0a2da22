//! Where traces go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, SecretUrl, require};
#[cfg(feature = "amqp")]
use crate::tls::ClientTls;

/// Where OTLP over HTTP takes spans.
const TRACES_PATH: &str = "/v1/traces";

/// `[tracing]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// Where spans go: an OpenTelemetry collector that takes OTLP over HTTP. `/v1/traces` is added unless the address ends so. Empty: no spans are made. Example: `http://collector:4318`.
    #[schemars(with = "String")]
    pub otlp_endpoint: SecretUrl,
    /// Share of the runs whose spans are sent, 0 to 1. It follows from the run's id, so that whole runs are sent: the same on coordinators and workers. Example: `0.1`.
    pub sample_ratio: f64,
    /// File of the CA certificates (PEM) that the certificate of an `https://` collector must come from; empty: those of the system. Example: `/etc/rejoin/ca.pem`.
    pub tls_ca: String,
    /// File of the certificate that is shown to the collector; empty: none. Example: `/etc/rejoin/collector.pem`.
    pub tls_cert: String,
    /// File of its key. Example: `/etc/rejoin/collector.key`.
    pub tls_key: String,
}

impl Default for Tracing {
    fn default() -> Tracing {
        Tracing {
            otlp_endpoint: SecretUrl::new(""),
            sample_ratio: 1.0,
            tls_ca: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
        }
    }
}

impl Tracing {
    /// Whether spans are made at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.otlp_endpoint.reveal().is_empty()
    }

    /// The whole address that spans are posted to.
    #[must_use]
    pub fn address(&self) -> String {
        let given = self.otlp_endpoint.reveal().trim_end_matches('/');
        match given.ends_with(TRACES_PATH) {
            true => given.to_owned(),
            false => format!("{given}{TRACES_PATH}"),
        }
    }

    /// What an encrypted connection trusts and shows.
    ///
    /// # Errors
    /// A certificate without key, or a key without certificate.
    #[cfg(feature = "amqp")]
    pub fn tls(&self) -> Result<ClientTls, &'static str> {
        ClientTls::of(&self.tls_ca, &self.tls_cert, &self.tls_key)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let given = self.otlp_endpoint.reveal();
        let is_address = !self.is_on() || given.starts_with("http://") || given.starts_with("https://");
        require(
            is_address,
            "tracing.otlp_endpoint",
            &self.otlp_endpoint,
            "an address that begins with http:// or https://",
        )?;
        let ratio = self.sample_ratio;
        require(
            (0.0..=1.0).contains(&ratio),
            "tracing.sample_ratio",
            &ratio,
            "between 0 and 1",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn the_path_of_traces_is_added_where_it_is_missing() {
        for given in [
            "http://c:4318",
            "http://c:4318/",
            "http://c:4318/v1/traces",
            "http://c:4318/v1/traces/",
        ] {
            let tracing = Tracing {
                otlp_endpoint: SecretUrl::new(given),
                ..Tracing::default()
            };
            assert_eq!(tracing.address(), "http://c:4318/v1/traces");
        }
        assert!(!Tracing::default().is_on());
    }

    #[test]
    fn an_address_without_scheme_and_a_share_above_all_are_refused() {
        let of = |name: &str, value: &str| Settings::load(None, [(name.to_owned(), value.to_owned())]);
        let refused = |name, value| of(name, value).expect_err("refused").to_string();
        let address = refused("REJOIN_TRACING__OTLP_ENDPOINT", "collector:4318");
        assert!(
            address.starts_with("tracing.otlp_endpoint = collector:4318: "),
            "{address}"
        );
        let ratio = refused("REJOIN_TRACING__SAMPLE_RATIO", "1.5");
        assert_eq!(ratio, "tracing.sample_ratio = 1.5: between 0 and 1");
        let settings = of("REJOIN_TRACING__SAMPLE_RATIO", "0.25").expect("valid");
        assert!((settings.tracing.sample_ratio - 0.25).abs() < f64::EPSILON);
    }
}
