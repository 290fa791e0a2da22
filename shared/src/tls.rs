//! TLS (rustls): whom to trust, and what to show, read from PEM files.
//!
//! A side that speaks TLS verifies the other one: there is no setting that turns it off. Files are read whenever a connection is
//! made, so that a certificate that was renewed needs no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

/// Why there is no TLS: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("{}: {reason}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not go together.
    #[error("{} and {}: {reason}", cert.display(), key.display())]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// Without a file of CA certificates those of the system count, and there is none.
    #[error("no CA certificate: {0}; name a file of them")]
    NoRoots(String),
    /// What cannot be a name on a certificate.
    #[error("{0:?} is no name of a host")]
    Name(String),
    /// What the library says.
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// Certificate (with those between it and its CA) and key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificates, own first.
    pub cert: PathBuf,
    /// The key of the first one.
    pub key: PathBuf,
}

impl Identity {
    /// Of two settings, of which both or none are given.
    ///
    /// # Errors
    /// What is missing.
    pub fn of(cert: &str, key: &str) -> Result<Option<Identity>, &'static str> {
        match (cert, key) {
            ("", "") => Ok(None),
            (_, "") => Err("a certificate needs its key"),
            ("", _) => Err("a key needs its certificate"),
            (cert, key) => Ok(Some(Identity {
                cert: cert.into(),
                key: key.into(),
            })),
        }
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unreadable(&self.key, "private key", &e))?;
        Ok((certificates(&self.cert)?, key))
    }

    fn wrong(&self, error: &rustls::Error) -> TlsError {
        TlsError::Identity {
            cert: self.cert.clone(),
            key: self.key.clone(),
            reason: match matches!(error, rustls::Error::InconsistentKeys(_)) {
                true => "the key is not the certificate's".to_owned(),
                false => error.to_string(),
            },
        }
    }
}

/// What a client trusts and shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The CAs that count; without a file the system's.
    pub ca: Option<PathBuf>,
    /// Shown to servers that ask for it.
    pub identity: Option<Identity>,
}

impl ClientTls {
    /// Of three settings; an empty one is not given.
    ///
    /// # Errors
    /// A certificate without key, or a key without certificate.
    pub fn of(ca: &str, cert: &str, key: &str) -> Result<ClientTls, &'static str> {
        Ok(ClientTls {
            ca: (!ca.is_empty()).then(|| ca.into()),
            identity: Identity::of(cert, key)?,
        })
    }

    /// Whether anything is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != ClientTls::default()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn config(&self) -> Result<ClientConfig, TlsError> {
        let roots = match &self.ca {
            Some(file) => roots_of(file)?,
            None => system_roots()?,
        };
        let builder: ConfigBuilder<ClientConfig, WantsClientCert> = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => {
                let (certs, key) = identity.read()?;
                builder
                    .with_client_auth_cert(certs, key)
                    .map_err(|e| identity.wrong(&e))
            }
        }
    }
}

/// What a server shows and whom it admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Shown to every client.
    pub identity: Identity,
    /// Where it is set, only clients with a certificate of these CAs are admitted.
    pub client_ca: Option<PathBuf>,
}

impl ServerTls {
    /// Of three settings; none without a certificate.
    ///
    /// # Errors
    /// What is missing.
    pub fn of(cert: &str, key: &str, client_ca: &str) -> Result<Option<ServerTls>, &'static str> {
        let client_ca = (!client_ca.is_empty()).then(|| PathBuf::from(client_ca));
        match (Identity::of(cert, key)?, client_ca) {
            (Some(identity), client_ca) => Ok(Some(ServerTls { identity, client_ca })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err("clients show certificates to a server that has one only"),
        }
    }

    /// All files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let own = [&*self.identity.cert, &*self.identity.key];
        own.into_iter().chain(self.client_ca.as_deref())
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn config(&self) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(roots_of(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| wrong(file, e.to_string()))?)
            }
        };
        let (certs, key) = self.identity.read()?;
        let mut config = builder
            .with_single_cert(certs, key)
            .map_err(|e| self.identity.wrong(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// For a client that encrypts nothing: trusts nobody, reads no file.
///
/// # Panics
/// Never: the provider knows the usual versions.
#[must_use]
pub fn of_nobody() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider knows the usual versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// The name that a server's certificate must hold.
///
/// # Errors
/// [`TlsError::Name`].
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    // Brackets belong to an address in a URL, not to the address.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// One provider of cryptography for all: two of them in one program make rustls panic.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots_of(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let added = roots.add(certificate);
        added.map_err(|e| wrong(file, format!("a certificate in it cannot be used: {e}")))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    match (roots.is_empty(), found.errors.first()) {
        (false, _) => Ok(roots),
        (true, Some(error)) => Err(TlsError::NoRoots(error.to_string())),
        (true, None) => Err(TlsError::NoRoots("the system has none".to_owned())),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| unreadable(file, "certificate", &e))?;
    match found.is_empty() {
        true => Err(unreadable(file, "certificate", &pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}

fn unreadable(file: &Path, what: &str, error: &pem::Error) -> TlsError {
    let reason = if let pem::Error::Io(error) = error {
        error.to_string()
    } else if matches!(error, pem::Error::NoItemsFound) {
        format!("there is no {what} in it (PEM: BEGIN {})", what.to_uppercase())
    } else {
        format!("it is no PEM file: {error}")
    };
    wrong(file, reason)
}

fn wrong(file: &Path, reason: String) -> TlsError {
    TlsError::File {
        file: file.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests;
