use rcgen::{CertificateParams, KeyPair};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rejoin-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, text).expect("written");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A certificate that signed itself, and its key.
fn pair() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let cert = params.self_signed(&key).expect("a certificate");
    (cert.pem(), key.serialize_pem())
}

fn server(cert: PathBuf, key: PathBuf) -> Result<ServerConfig, String> {
    let identity = Identity { cert, key };
    let tls = ServerTls {
        identity,
        client_ca: None,
    };
    tls.config().map_err(|e| e.to_string())
}

#[test]
fn an_error_names_the_file_and_what_is_wrong_with_it() {
    let folder = Folder::new("errors");
    let ((cert, key), (_, other_key)) = (pair(), pair());
    let (cert, key) = (folder.write("cert.pem", &cert), folder.write("key.pem", &key));
    let other_key = folder.write("other.pem", &other_key);
    let (empty, missing) = (folder.write("empty.pem", "nothing\n"), folder.0.join("missing.pem"));
    assert!(server(cert.clone(), key.clone()).is_ok());
    for (cert, key, expected) in [
        (&missing, &key, "missing.pem: No such file or directory (os error 2)"),
        (
            &empty,
            &key,
            "empty.pem: there is no certificate in it (PEM: BEGIN CERTIFICATE)",
        ),
        (
            &cert,
            &empty,
            "empty.pem: there is no private key in it (PEM: BEGIN PRIVATE KEY)",
        ),
        (&cert, &other_key, "other.pem: the key is not the certificate's"),
    ] {
        let told = server(cert.clone(), key.clone()).expect_err(expected);
        assert!(told.ends_with(expected), "{told}");
    }
    let trust = |file: &Path| ClientTls {
        ca: Some(file.to_owned()),
        identity: None,
    };
    let told = trust(&missing).config().expect_err("no file").to_string();
    assert!(told.contains("missing.pem: No such file"), "{told}");
    let garbage = folder.write(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let told = trust(&garbage).config().expect_err("no certificate").to_string();
    assert!(
        told.contains("garbage.pem: a certificate in it cannot be used"),
        "{told}"
    );
}

#[test]
fn certificate_and_key_are_given_together_or_not_at_all() {
    assert_eq!(Identity::of("", ""), Ok(None));
    assert!(Identity::of("c", "").is_err() && Identity::of("", "k").is_err());
    assert!(ServerTls::of("", "", "ca").is_err());
    assert_eq!(ServerTls::of("", "", ""), Ok(None));
    assert!(!ClientTls::of("", "", "").expect("nothing").is_set());
    assert!(ClientTls::of("ca", "", "").expect("a CA").is_set());
}

#[test]
fn a_name_is_a_host_or_an_address() {
    for host in ["db.example", "127.0.0.1", "[::1]", "::1"] {
        assert!(server_name(host).is_ok(), "{host}");
    }
    assert!(server_name("a b").is_err());
}
