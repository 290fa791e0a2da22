//! Where the client finds its server: flags, then `REJOIN_*` variables (both by clap), then a context of
//! `~/.config/rejoin/config.toml`:
//!
//! ```toml
//! current = "staging"
//! [contexts.staging]
//! server = "https://rejoin.staging.example"
//! namespace = "shop"
//! ca_file = "/etc/ssl/staging.pem"    # also client_cert, client_key
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use rejoin_shared::tls::{ClientTls, Identity};
use serde::Deserialize;

use crate::args::Global;
use crate::exit::Failure;

const SERVER_DEFAULT: &str = "http://127.0.0.1:7070";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    current: Option<String>,
    contexts: BTreeMap<String, Context>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Context {
    server: Option<String>,
    token: Option<String>,
    namespace: Option<String>,
    ca_file: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

/// What a client connects with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Without a slash at the end.
    pub server: String,
    pub token: Option<String>,
    pub namespace: Option<String>,
    /// For `https://`.
    pub tls: ClientTls,
}

/// Puts the target together.
pub fn target(global: &Global) -> Result<Target, Failure> {
    let path = file_path();
    let text = path.as_ref().and_then(|p| std::fs::read_to_string(p).ok());
    let shown = path.map(|p| p.display().to_string()).unwrap_or_default();
    resolve(global, text.as_deref().unwrap_or_default(), &shown)
}

fn file_path() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_CONFIG_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(base.join("rejoin").join("config.toml"))
}

fn resolve(global: &Global, text: &str, file: &str) -> Result<Target, Failure> {
    let read: File = toml::from_str(text).map_err(|e| Failure::usage(format!("{file}: {e}")))?;
    let named = global.context.as_ref().or(read.current.as_ref());
    let context = match named {
        None => Context::default(),
        Some(name) => match read.contexts.get(name) {
            Some(context) => context.clone(),
            None => return Err(Failure::usage(format!("{file} has no context {name}"))),
        },
    };
    let server = match (&global.server, context.server) {
        (Some(server), _) => checked(server, "--server or REJOIN_SERVER")?,
        (None, Some(server)) => {
            let name = named.map(String::as_str).unwrap_or_default();
            checked(&server, &format!("context {name} of {file}"))?
        }
        (None, None) => SERVER_DEFAULT.to_owned(),
    };
    let identity = match (&global.client_cert, &global.client_key) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        _ => context.client_cert.zip(context.client_key),
    };
    Ok(Target {
        tls: ClientTls {
            ca: global.ca_file.clone().or(context.ca_file),
            identity: identity.map(|(cert, key)| Identity { cert, key }),
        },
        server,
        token: global.token.clone().or(context.token),
        namespace: global.namespace.clone().or(context.namespace),
    })
}

/// The address without a slash at its end. One that is none would fail with every request, as if the server were away.
fn checked(server: &str, origin: &str) -> Result<String, Failure> {
    let scheme = reqwest::Url::parse(server).map(|url| url.scheme().to_owned());
    match scheme.as_deref() {
        Ok("http" | "https") => Ok(server.trim_end_matches('/').to_owned()),
        Ok(_) | Err(_) => Err(Failure::usage(format!(
            "{server:?} (of {origin}) is no address of a server: expected http://HOST:PORT or https://HOST:PORT"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "current = 'a'\n[contexts.a]\nserver = 'http://a/'\nnamespace = 'n'\n[contexts.b]\nserver = 'http://b'\n";

    #[test]
    fn flags_win_over_the_context_and_the_context_over_the_default() {
        let none = Global::default();
        assert_eq!(resolve(&none, "", "f").expect("empty").server, SERVER_DEFAULT);
        let of_a = resolve(&none, FILE, "f").expect("current");
        assert_eq!(
            (of_a.server.as_str(), of_a.namespace.as_deref()),
            ("http://a", Some("n"))
        );
        let flags = Global {
            context: Some("b".to_owned()),
            namespace: Some("m".to_owned()),
            ..Global::default()
        };
        let of_b = resolve(&flags, FILE, "f").expect("named");
        assert_eq!(
            (of_b.server.as_str(), of_b.namespace.as_deref()),
            ("http://b", Some("m"))
        );
    }

    #[test]
    fn an_address_that_is_none_is_a_usage_error_wherever_it_comes_from() {
        for server in [
            "foo",
            "localhost:7070",
            "127.0.0.1:7070",
            "ftp://a",
            "http://",
            "http://a:99999",
            "",
        ] {
            let flag = Global {
                server: Some(server.to_owned()),
                ..Global::default()
            };
            let of_flag = resolve(&flag, "", "f").expect_err(server);
            let text = format!("current = 'a'\n[contexts.a]\nserver = '{server}'\n");
            let of_context = resolve(&Global::default(), &text, "f").expect_err(server);
            for (failure, origin) in [(of_flag, "--server or REJOIN_SERVER"), (of_context, "context a of f")] {
                let expected = format!(
                    "{server:?} (of {origin}) is no address of a server: expected http://HOST:PORT or https://HOST:PORT"
                );
                assert_eq!((failure.code(), failure.to_string()), (2, expected));
            }
        }
        let flag = Global {
            server: Some("https://a:1/base/".to_owned()),
            ..Global::default()
        };
        assert_eq!(
            resolve(&flag, FILE, "f").expect("an address").server,
            "https://a:1/base"
        );
    }

    #[test]
    fn an_unknown_context_is_a_usage_error() {
        let global = Global {
            context: Some("zzz".to_owned()),
            ..Global::default()
        };
        assert_eq!(resolve(&global, FILE, "f").expect_err("unknown").code(), 2);
    }
}
