//! Where clients come in: TCP, with TLS on it where a certificate is set.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::serve::Listener;
use rejoin_shared::tls::{ServerTls, TlsError};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Interval;
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
    looks: Interval,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, tls: ServerTls) -> Result<TlsListener, TlsError> {
        Ok(TlsListener {
            tcp,
            certificates: Certificates::read(tls)?,
            handshakes: JoinSet::new(),
            looks: tokio::time::interval(LOOK_EVERY),
        })
    }

    async fn begin(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, address)) => {
                let acceptor = TlsAcceptor::from(self.certificates.config.clone());
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
                // Whoever put other files there learns what is wrong with them before a client comes.
                _ = self.looks.tick() => self.certificates.look().iter().for_each(News::tell),
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
    /// When the files that are in use were written.
    written_at: Vec<Option<SystemTime>>,
    /// The same of those that could not be used and were told of.
    refused: Option<Vec<Option<SystemTime>>>,
}

impl Certificates {
    fn read(tls: ServerTls) -> Result<Certificates, TlsError> {
        Ok(Certificates {
            written_at: written_at(&tls),
            config: Arc::new(tls.config()?),
            refused: None,
            tls,
        })
    }

    /// Takes what is in the files now; where that is nothing usable (half of it written yet), what was there before goes on. There is
    /// news once a change.
    fn look(&mut self) -> Option<News> {
        let now = written_at(&self.tls);
        if now == self.written_at {
            return None;
        }
        match self.tls.config() {
            Ok(config) => {
                (self.config, self.written_at, self.refused) = (Arc::new(config), now, None);
                Some(News::Renewed)
            }
            Err(_) if self.refused.as_ref() == Some(&now) => None,
            Err(error) => {
                self.refused = Some(now);
                Some(News::Unusable(error))
            }
        }
    }
}

/// What became of files that changed.
enum News {
    /// They are in use.
    Renewed,
    /// They are not.
    Unusable(TlsError),
}

impl News {
    fn tell(&self) {
        match self {
            News::Renewed => tracing::info!("the server's certificate was read again"),
            News::Unusable(error) => {
                tracing::warn!(%error, "the server's new certificate cannot be used, the one before it stays");
            }
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

    /// The folder's certificates, as they are once they were read.
    fn certificates(folder: &tempfile::TempDir) -> (Identity, Certificates) {
        let identity = Identity {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        write_pair(&identity);
        let tls = ServerTls {
            identity: identity.clone(),
            client_ca: None,
        };
        (identity, Certificates::read(tls).expect("read"))
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (identity, mut certificates) = certificates(&folder);
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

    #[test]
    fn a_certificate_that_does_not_fit_its_key_is_told_of_once_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let (identity, mut certificates) = certificates(&folder);
        assert!(certificates.look().is_none());
        let mut written_at = SystemTime::now();
        for _ in 0..2 {
            let key = std::fs::read(&identity.key).expect("the key");
            write_pair(&identity);
            std::fs::write(&identity.key, key).expect("written");
            // Told apart on file systems that tell no two times of one second apart.
            written_at += Duration::from_secs(2);
            let cert = std::fs::File::options().write(true).open(&identity.cert);
            let cert = cert.expect("the certificate");
            cert.set_modified(written_at).expect("set");
            let Some(News::Unusable(error)) = certificates.look() else {
                panic!("nothing is told");
            };
            assert!(
                error.to_string().ends_with("the key is not the certificate's"),
                "{error}"
            );
            assert!(certificates.look().is_none(), "it was told before");
        }
    }
}
