//! Where clients come in: TCP, with TLS on it where a certificate is set.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::serve::Listener;
use rejoin_shared::tls::{ServerTls, TlsError};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A client that has not shaken hands by then is hung up on.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way; the next clients wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 256;
/// Pause after a connection that could not be accepted: for want of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Hands encrypted connections to the server. Handshakes run beside each other: one that dawdles holds nobody up.
pub(super) struct TlsListener {
    tcp: TcpListener,
    certificates: Certificates,
    handshakes: JoinSet<Option<Accepted>>,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, tls: ServerTls) -> Result<TlsListener, TlsError> {
        Ok(TlsListener {
            tcp,
            certificates: Certificates::read(tls)?,
            handshakes: JoinSet::new(),
        })
    }

    async fn begin(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, address)) => {
                let acceptor = TlsAcceptor::from(self.certificates.current());
                self.handshakes.spawn(handshake(acceptor, stream, address));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if self.handshakes.len() < HANDSHAKES_MAX => self.begin(accepted).await,
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr) -> Option<Accepted> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "a client hung up");
        return None;
    }
    match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(encrypted)) => Some((encrypted, address)),
        // Everybody who reaches the port can cause it: not worth more than a note.
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a client's handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%address, "a client's handshake took too long");
            None
        }
    }
}

/// What the server shows, read again when its files change.
struct Certificates {
    tls: ServerTls,
    config: Arc<ServerConfig>,
    written_at: Vec<Option<SystemTime>>,
    looked_at: Instant,
}

impl Certificates {
    fn read(tls: ServerTls) -> Result<Certificates, TlsError> {
        Ok(Certificates {
            written_at: written_at(&tls),
            config: Arc::new(tls.config()?),
            looked_at: Instant::now(),
            tls,
        })
    }

    fn current(&mut self) -> Arc<ServerConfig> {
        if self.looked_at.elapsed() >= LOOK_EVERY {
            self.looked_at = Instant::now();
            self.look();
        }
        self.config.clone()
    }

    /// Takes what is in the files now; where that is nothing usable (half of it written yet), what was there before goes on.
    fn look(&mut self) {
        let now = written_at(&self.tls);
        if now == self.written_at {
            return;
        }
        match self.tls.config() {
            Ok(config) => {
                tracing::info!("the server's certificate was read again");
                (self.config, self.written_at) = (Arc::new(config), now);
            }
            Err(error) => tracing::error!(%error, "the server's certificate cannot be read, the one before it stays"),
        }
    }
}

fn written_at(tls: &ServerTls) -> Vec<Option<SystemTime>> {
    let written = |file| std::fs::metadata(file).and_then(|of| of.modified()).ok();
    tls.files().map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rejoin_shared::tls::Identity;

    fn write_pair(identity: &Identity) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let cert = params.self_signed(&key).expect("a certificate");
        std::fs::write(&identity.cert, cert.pem()).expect("written");
        std::fs::write(&identity.key, key.serialize_pem()).expect("written");
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        write_pair(&identity);
        let tls = ServerTls {
            identity: identity.clone(),
            client_ca: None,
        };
        let mut certificates = Certificates::read(tls).expect("read");
        let mut look = || {
            certificates.written_at = Vec::new();
            certificates.look();
            certificates.config.clone()
        };
        let first = look();
        std::fs::write(&identity.cert, "half of it").expect("written");
        assert!(Arc::ptr_eq(&first, &look()));
        write_pair(&identity);
        assert!(!Arc::ptr_eq(&first, &look()));
    }
}
