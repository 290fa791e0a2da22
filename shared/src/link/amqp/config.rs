//! Where the broker is and how long to wait for it.

use std::fmt;
use std::time::Duration;

use lapin::uri::AMQPUri;

/// Settings of an [`super::AmqpLink`].
#[derive(Clone)]
pub struct AmqpConfig {
    /// `amqp://user:password@host:port/vhost`; never logged as it is.
    pub url: String,
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
            name: name.to_owned(),
            connect_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            reconnect_pause_max: Duration::from_secs(5),
        }
    }

    /// Checks the URL; the error does not repeat it, for it may hold a password.
    ///
    /// # Errors
    /// What was expected.
    pub fn validate(&self) -> Result<(), &'static str> {
        self.uri().map(drop)
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
    fn an_invalid_url_is_refused_without_repeating_it() {
        let config = AmqpConfig::new("amqp//someone:secret@x", "n");
        let refused = config.validate().expect_err("not a URL");
        assert!(!refused.contains("secret"));
        assert_eq!(config.place(), "?");
    }
}
