//! Where the broker is and how long to wait for it.

use std::fmt;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::Amqp;
use crate::tls::{ClientTls, server_name};

/// Settings of an [`super::AmqpLink`].
#[derive(Clone)]
pub struct AmqpConfig {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`; never logged as it is.
    pub url: String,
    /// For `amqps://`.
    pub tls: ClientTls,
    /// Whether messages name the user who publishes them.
    pub names_user: bool,
    /// Whether queues that the broker lost the use of are deleted, to be declared again: whoever may declare them has to.
    pub mends_queues: bool,
    /// Shown in the broker's list of connections, with the direction.
    pub name: String,
    /// For one attempt to connect.
    pub connect_timeout: Duration,
    /// Interval of heartbeats, in whole seconds; a connection that misses two is given up.
    pub heartbeat: Duration,
    /// For a publish, from the call to its confirm.
    pub publish_timeout: Duration,
    /// For a declare, a subscription or a question.
    pub call_timeout: Duration,
    /// Longest pause between two attempts to connect.
    pub reconnect_pause_max: Duration,
}

impl AmqpConfig {
    /// The default times for this address.
    #[must_use]
    pub fn new(url: &str, name: &str) -> AmqpConfig {
        AmqpConfig {
            url: url.to_owned(),
            tls: ClientTls::default(),
            names_user: false,
            mends_queues: false,
            name: name.to_owned(),
            connect_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            reconnect_pause_max: Duration::from_secs(5),
        }
    }

    /// The default times for what is configured.
    ///
    /// # Errors
    /// Which setting is wrong; the text does not repeat the URL, for it may hold a password.
    pub fn of(settings: &Amqp, name: &str) -> Result<AmqpConfig, String> {
        let config = AmqpConfig {
            tls: settings
                .tls()
                .map_err(|e| format!("amqp.tls_cert, amqp.tls_key: {e}"))?,
            names_user: settings.user_id,
            ..AmqpConfig::new(settings.url.reveal(), name)
        };
        config.validate().map_err(|e| format!("amqp.url: {e}"))?;
        Ok(config)
    }

    /// Checks the URL and what TLS needs; the error does not repeat the URL, for it may hold a password.
    ///
    /// # Errors
    /// What was expected.
    pub fn validate(&self) -> Result<(), String> {
        let uri = self.uri()?;
        if self.tls.is_set() && uri.scheme == AMQPScheme::AMQP {
            return Err("amqp.tls_* is set, and the address is not amqps://".to_owned());
        }
        self.tls_to(&uri).map(drop)
    }

    /// The user whom messages name; the broker closes the channel of one who names another than it knows.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let uri = self.uri().ok().filter(|_| self.names_user)?;
        // By another mechanism the broker knows the user from elsewhere: a certificate, a token.
        let is_named = matches!(uri.query.auth_mechanism, None | Some(SASLMechanism::Plain));
        is_named.then_some(uri.authority.userinfo.username)
    }

    /// What an encrypted connection trusts and shows; none for `amqp://`.
    pub(super) fn tls_to(&self, uri: &AMQPUri) -> Result<Option<(ClientConfig, ServerName<'static>)>, String> {
        if uri.scheme == AMQPScheme::AMQP {
            return Ok(None);
        }
        let config = self.tls.config().map_err(|e| e.to_string())?;
        let name = server_name(&uri.authority.host).map_err(|e| e.to_string())?;
        Ok(Some((config, name)))
    }

    /// The address with the heartbeat that we want.
    pub(super) fn uri(&self) -> Result<AMQPUri, &'static str> {
        let mut uri: AMQPUri = self
            .url
            .parse()
            .map_err(|_: String| "expected amqp://user:password@host:port/vhost")?;
        let seconds = self.heartbeat.as_secs().max(1);
        uri.query.heartbeat = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        Ok(uri)
    }

    /// Host, port and virtual host, for logs.
    pub(super) fn place(&self) -> String {
        match self.uri() {
            Ok(uri) => format!("{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost),
            Err(_) => "?".to_owned(),
        }
    }
}

impl fmt::Debug for AmqpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpConfig")
            .field("url", &self.place())
            .field("tls", &self.tls)
            .field("names_user", &self.names_user)
            .field("name", &self.name)
            .field("connect_timeout", &self.connect_timeout)
            .field("heartbeat", &self.heartbeat)
            .field("publish_timeout", &self.publish_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("reconnect_pause_max", &self.reconnect_pause_max)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_show() {
        let config = AmqpConfig::new("amqp://someone:secret@broker.example:5673/prod", "n");
        let shown = format!("{config:?}");
        assert!(shown.contains("broker.example:5673/prod"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("someone"), "{shown}");
    }

    #[test]
    fn settings_of_tls_belong_to_an_encrypted_address() {
        let tls = ClientTls::of("/nowhere/ca.pem", "", "").expect("a CA");
        let of = |url| AmqpConfig {
            tls: tls.clone(),
            ..AmqpConfig::new(url, "n")
        };
        let plain = of("amqp://h").validate().expect_err("not encrypted");
        assert!(plain.contains("amqps://"), "{plain}");
        let encrypted = of("amqps://h").validate().expect_err("no such file");
        assert!(encrypted.contains("/nowhere/ca.pem"), "{encrypted}");
    }

    #[test]
    fn an_invalid_url_is_refused_without_repeating_it() {
        let config = AmqpConfig::new("amqp//someone:secret@x", "n");
        let refused = config.validate().expect_err("not a URL");
        assert!(!refused.contains("secret"));
        assert_eq!(config.place(), "?");
    }
}
