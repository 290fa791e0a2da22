//! Which servers are measured.

use std::time::Duration;

use rejoin_shared::json::Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::database::{Connection, failure};
use crate::exit::Failure;

const ANSWER_MAX: Duration = Duration::from_secs(3);
const UNKNOWN: &str = "unknown";

/// Versions and what else numbers depend on.
#[derive(Clone, Debug)]
pub struct Versions {
    pub postgresql: String,
    pub rabbitmq: String,
    /// `fsync` and `synchronous_commit`.
    pub durability: String,
    pub cpus: usize,
}

impl Versions {
    /// Asks the servers.
    pub async fn ask(database: &Connection, amqp_url: &str) -> Result<Versions, Failure> {
        let mut shown = Vec::new();
        for setting in ["server_version", "fsync", "synchronous_commit"] {
            let row = database.client.query_one(&format!("SHOW {setting}"), &[]).await;
            shown.push(row.map_err(|e| failure(&e))?.get::<_, String>(0));
        }
        let broker = tokio::time::timeout(ANSWER_MAX, broker_version(amqp_url)).await;
        Ok(Versions {
            durability: format!("fsync {}, synchronous_commit {}", shown[1], shown[2]),
            postgresql: shown.swap_remove(0),
            rabbitmq: broker.ok().flatten().unwrap_or_else(|| UNKNOWN.to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
        })
    }

    /// As an object.
    pub fn to_json(&self) -> Json {
        Json::from_entries([
            ("rejoin", Json::str(env!("CARGO_PKG_VERSION"))),
            ("postgresql", Json::str(&self.postgresql)),
            ("rabbitmq", Json::str(&self.rabbitmq)),
            ("durability", Json::str(&self.durability)),
            ("cpus", Json::Int(i64::try_from(self.cpus).unwrap_or(i64::MAX))),
        ])
    }
}

/// The version in the first frame that a broker sends: the client library does not show it.
async fn broker_version(url: &str) -> Option<String> {
    let rest = url.strip_prefix("amqp://")?;
    let place = rest.split('/').next()?.rsplit('@').next()?;
    let place = match place.contains(':') {
        true => place.to_owned(),
        false => format!("{place}:5672"),
    };
    let mut stream = TcpStream::connect(place).await.ok()?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
    let mut frame = vec![0_u8; 4096];
    let mut length = 0;
    loop {
        length += stream.read(&mut frame[length..]).await.ok().filter(|n| *n > 0)?;
        if let Some(version) = version_in(&frame[..length]) {
            return Some(version);
        }
    }
}

/// The member `version` of the server's properties: its name, `S`, a length of four bytes, the text.
fn version_in(frame: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\x07versionS";
    let at = frame.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let length = frame.get(at..at + 4)?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let text = frame.get(at + 4..at + 4 + length)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_version_is_read_from_its_first_frame() {
        let frame = b"....\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8....";
        assert_eq!(version_in(frame).as_deref(), Some("3.10.8"));
        assert_eq!(version_in(&frame[..40]), None);
    }
}
