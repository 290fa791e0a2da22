//! A database of the bench's own on the given server.

use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::AbortOnDropHandle;

use crate::exit::Failure;

/// A connection; dropped, it ends.
pub struct Connection {
    pub client: Client,
    _driver: AbortOnDropHandle<()>,
}

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Connects to the database `name` of the server in `url`; `None`: the one that the address names.
pub async fn connect(url: &str, name: Option<&str>) -> Result<Connection, Failure> {
    let mut config: Config = url.parse().map_err(|e| failure(&e))?;
    if let Some(name) = name {
        config.dbname(name);
    }
    let connected = tokio::time::timeout(CONNECT_MAX, config.connect(NoTls)).await;
    let connected = connected.map_err(|_| {
        let seconds = CONNECT_MAX.as_secs();
        Failure::general(format!("database: no answer within {seconds} s"))
    })?;
    let (client, connection) = connected.map_err(|e| failure(&e))?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "a database connection ended");
        }
    });
    Ok(Connection {
        client,
        _driver: AbortOnDropHandle::new(driver),
    })
}

/// The address of another database of the same server.
pub fn url_of(url: &str, name: &str) -> Result<String, Failure> {
    let (address, parameters) = match url.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let after_host = address.find("://").map_or(0, |at| at + 3);
    let base = match address[after_host..].find('/') {
        Some(slash) => &address[..after_host + slash],
        None => address,
    };
    match after_host {
        0 => Err(Failure::usage("the bench needs database.url as postgres://…")),
        _ => Ok(format!("{base}/{name}{parameters}")),
    }
}

/// What went wrong with a statement.
pub fn failure(error: &tokio_postgres::Error) -> Failure {
    let cause = std::error::Error::source(error);
    let told = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    let told = error.as_db_error().map_or(told, ToString::to_string);
    Failure::general(format!("database: {told}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_another_database_keeps_server_and_parameters() {
        let of = |url| url_of(url, "new").expect("an address");
        assert_eq!(of("postgres://a:b@h:1/old"), "postgres://a:b@h:1/new");
        assert_eq!(of("postgres://h/old?x=/y"), "postgres://h/new?x=/y");
        assert_eq!(of("postgresql://h"), "postgresql://h/new");
        assert!(url_of("host=h dbname=d", "new").is_err());
    }
}
