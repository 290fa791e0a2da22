//! Who may do what: tokens, their scopes, and the namespace that each request stays in.
//!
//! ```text
//! request ─▶ token (cached for a few seconds) ─▶ scope of the route ─▶ namespace ─▶ handler ─▶ audit, if it wrote
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use rejoin_shared::ids::Namespace;
use rejoin_shared::time::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::extract::asked_namespace;
use super::problem::{Code, Problem};
use crate::store::StoreError;
use crate::store::tokens::{Scope, TokenHash, TokenRow, TokenStore};

/// What every token begins with, so that one that got into a file is found.
const PREFIX: &str = "rejoin_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// A token that was revoked is refused everywhere after this time.
const CACHED_MAX: Duration = Duration::from_secs(5);
/// Tokens remembered; beyond that the cache begins anew.
const CACHED_TOKENS_MAX: usize = 1_000;

/// Who may speak to the API.
#[derive(Clone)]
pub enum Access {
    /// Everybody.
    Open,
    /// Everybody; but whoever shows a valid token is held to it.
    Offered(Arc<Guard>),
    /// Whoever shows a token.
    Tokens(Arc<Guard>),
}

/// What a route asks of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// None.
    Nothing,
    /// One of this scope.
    Scope(Scope),
    /// One of this scope whose namespace is `default`: what it shows is about all of them.
    Fleet(Scope),
}

/// Who asks, once that is known.
pub struct Caller {
    /// Where the request stays.
    pub namespace: Namespace,
    /// Its token; none was needed without.
    pub token: Option<Arc<TokenRow>>,
}

/// One who is not admitted.
pub struct Refused {
    /// Why.
    pub problem: Problem,
    /// The token that does not reach so far.
    pub token: Option<Arc<TokenRow>>,
}

impl From<Problem> for Box<Refused> {
    fn from(problem: Problem) -> Box<Refused> {
        Box::new(Refused { problem, token: None })
    }
}

impl Access {
    /// By the tokens of this store.
    #[must_use]
    pub fn tokens(store: Arc<dyn TokenStore>) -> Access {
        Access::Tokens(Arc::new(Guard::new(store)))
    }

    /// To everybody, and by the tokens of this store to those who show one.
    #[must_use]
    pub fn offered(store: Arc<dyn TokenStore>) -> Access {
        Access::Offered(Arc::new(Guard::new(store)))
    }

    /// Who asks, if that may be.
    ///
    /// # Errors
    /// 401 without a valid token, 403 for one that does not reach so far.
    pub async fn admit(&self, headers: &HeaderMap, need: Need) -> Result<Caller, Box<Refused>> {
        let asked = asked_namespace(headers)?;
        let token = match (self, need) {
            (_, Need::Nothing) | (Access::Open, _) => None,
            (Access::Offered(guard), _) => guard.offered(headers).await?,
            (Access::Tokens(guard), _) => Some(guard.token(headers).await?),
        };
        let Some(token) = token else {
            let namespace = asked.unwrap_or_else(Namespace::default_name);
            return Ok(Caller { namespace, token: None });
        };
        let forbidden = |detail: String| {
            let problem = Problem::new(Code::Forbidden, detail);
            let token = Some(token.clone());
            Err(Box::new(Refused { problem, token }))
        };
        if let Some(asked) = asked.filter(|asked| *asked != token.namespace) {
            return forbidden(format!(
                "the token speaks for namespace {}, not for {asked}",
                token.namespace
            ));
        }
        let (scope, is_fleet) = match need {
            Need::Scope(scope) => (scope, false),
            Need::Fleet(scope) => (scope, true),
            Need::Nothing => (Scope::Viewer, false),
        };
        if token.scope < scope {
            return forbidden(format!(
                "it takes a token of scope {scope}, and this one has {}",
                token.scope
            ));
        }
        if is_fleet && !token.namespace.is_default() {
            let detail = "it is about all namespaces, and takes a token of namespace default";
            return forbidden(detail.to_owned());
        }
        Ok(Caller {
            namespace: token.namespace.clone(),
            token: Some(token),
        })
    }
}

/// Looks tokens up.
pub struct Guard {
    store: Arc<dyn TokenStore>,
    known: Mutex<HashMap<TokenHash, (Arc<TokenRow>, Instant)>>,
}

impl Guard {
    fn new(store: Arc<dyn TokenStore>) -> Guard {
        let known = Mutex::default();
        Guard { store, known }
    }

    /// The token that is shown, if it is one of ours and valid: where none is needed, no other is worth a refusal.
    async fn offered(&self, headers: &HeaderMap) -> Result<Option<Arc<TokenRow>>, Problem> {
        match shown(headers) {
            Ok(token) if token.starts_with(PREFIX) => self.find(hash_of(token)).await,
            Ok(_) | Err(_) => Ok(None),
        }
    }

    async fn token(&self, headers: &HeaderMap) -> Result<Arc<TokenRow>, Problem> {
        let found = self.find(hash_of(shown(headers)?)).await?;
        found.ok_or_else(|| unauthorized("the token is unknown, revoked, or has expired"))
    }

    async fn find(&self, hash: TokenHash) -> Result<Option<Arc<TokenRow>>, Problem> {
        if let Some(known) = self.known(&hash) {
            return Ok(Some(known));
        }
        let Some(found) = self.store.token(&hash).await? else {
            return Ok(None);
        };
        let token = Arc::new(found);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED_TOKENS_MAX {
            known.clear();
        }
        known.insert(hash, (Arc::clone(&token), Instant::now()));
        Ok(Some(token))
    }

    fn known(&self, hash: &TokenHash) -> Option<Arc<TokenRow>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, since) = known.get(hash)?;
        (since.elapsed() < CACHED_MAX).then(|| Arc::clone(token))
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
}

fn shown(headers: &HeaderMap) -> Result<&str, Problem> {
    let header = headers.get(header::AUTHORIZATION);
    let header = header.ok_or_else(|| unauthorized("show a token: Authorization: Bearer …"))?;
    let parts = header.to_str().ok().and_then(|text| text.split_once(' '));
    match parts {
        Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(unauthorized(
            "the header Authorization must be: Bearer, a space, and a token",
        )),
    }
}

fn hash_of(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// What a new token is to be.
pub struct NewToken {
    /// Whose it is.
    pub name: String,
    /// The only namespace that it speaks for.
    pub namespace: Namespace,
    /// What it allows.
    pub scope: Scope,
    /// For how long; for ever without.
    pub lifetime: Option<Duration>,
}

/// Makes a token and returns its text, which cannot be had again.
///
/// # Errors
/// The store's.
pub async fn create(store: &dyn TokenStore, new: NewToken, now: Timestamp) -> Result<(String, TokenRow), StoreError> {
    let secret: [u8; TOKEN_BYTES] = rand::random();
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{PREFIX}{digits}");
    let row = TokenRow {
        hash: hash_of(&text),
        id: Uuid::now_v7(),
        namespace: new.namespace,
        name: new.name,
        scope: new.scope,
        created_at: now,
        expires_at: new.lifetime.map(|lifetime| now.plus(lifetime)),
    };
    store.add_token(&row).await?;
    Ok((text, row))
}
