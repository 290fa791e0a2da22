//! The console: a page that shows and operates everything (INTERFACE 9). It lies in the binary, loads nothing from elsewhere, and
//! speaks the public API only, so it has no rights of its own and needs no token to be loaded.
//!
//! ```text
//! / ─▶ /console/ ─▶ index.html ─▶ app.js ─▶ views ──fetch──▶ /v1
//! ```

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::api::problem::{Code, Problem};

/// Where it is served.
pub const PATH: &str = "/console/";
/// Its address as seen from `/` and from `/console`, also behind a proxy that puts something before both.
const RELATIVE: &str = "console/";
const INDEX: &str = "index.html";

/// Scripts, styles and answers come from this server only, no script stands in a page, and no text becomes markup, whatever a
/// workflow calls itself: `trusted-types 'none'` makes browsers refuse that even from our own scripts.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Hex digits of a file's digest that tell its versions apart.
const TAG_BYTES: usize = 16;

macro_rules! assets {
    ($($path:literal)*) => {
        /// Every file of `assets/`.
        const ASSETS: &[(&str, &[u8])] = &[$(($path, include_bytes!(concat!("assets/", $path)))),*];
    };
}
assets! {
    "index.html" "icon.svg" "style.css" "structure.css"
    "api.js" "app.js" "dialog.js" "dom.js" "format.js" "forms.js" "icons.js" "json.js" "live.js" "router.js" "tree.js" "ui.js" "yaml.js"
    "views/fleet.js" "views/inputs.js" "views/layers.js" "views/run.js" "views/runs.js" "views/schedules.js" "views/start.js"
    "views/structure.js" "views/workflow.js" "views/workflows.js"
    "views/run/context.js" "views/run/journal.js" "views/run/operations.js" "views/run/steps.js" "views/run/why.js"
}

/// A file as it is served.
struct Asset {
    body: &'static [u8],
    kind: HeaderValue,
    tag: HeaderValue,
}

static BY_PATH: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let asset = |(path, body): &(&'static str, &'static [u8])| (*path, Asset::of(path, body));
    ASSETS.iter().map(asset).collect()
});

impl Asset {
    fn of(path: &str, body: &'static [u8]) -> Asset {
        let digest = Sha256::digest(body);
        let digits: String = digest
            .iter()
            .take(TAG_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let tag = HeaderValue::from_str(&format!("\"{digits}\"")).expect("hex digits are text");
        let kind = HeaderValue::from_static(kind_of(path));
        Asset { body, kind, tag }
    }

    /// Whether the client has this version already.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let tag = self.tag.to_str().unwrap_or_default();
        known.is_some_and(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let status = match self.is_known(asked) {
            true => StatusCode::NOT_MODIFIED,
            false => StatusCode::OK,
        };
        let body = if status == StatusCode::OK { self.body } else { &[] };
        let mut answer = (status, body).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        headers.insert(header::ETAG, self.tag.clone());
        // Kept, and asked for each time: another release is seen at once.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        answer
    }
}

fn kind_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}

/// Its addresses, beside those of the API.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let here = || async { Redirect::temporary(RELATIVE) };
    Router::new()
        .route("/", get(here))
        .route(PATH.trim_end_matches('/'), get(here))
        .route(PATH, get(index))
        .route("/console/{*file}", get(file))
}

async fn index(uri: Uri, asked: HeaderMap) -> Result<Response, Problem> {
    found(INDEX, &uri, &asked)
}

async fn file(Path(path): Path<String>, uri: Uri, asked: HeaderMap) -> Result<Response, Problem> {
    found(&path, &uri, &asked)
}

fn found(path: &str, uri: &Uri, asked: &HeaderMap) -> Result<Response, Problem> {
    let asset = BY_PATH.get(path);
    let missing = || Problem::new(Code::NoSuchRoute, format!("there is nothing at {}", uri.path()));
    Ok(asset.ok_or_else(missing)?.answer(asked))
}

#[cfg(test)]
mod tests;
