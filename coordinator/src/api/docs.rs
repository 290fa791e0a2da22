//! The documentation, as pages that need nothing from elsewhere.

mod markdown;
mod reference;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::find::Segments;
use super::openapi;
use super::problem::Problem;

macro_rules! pages {
    ($($name:literal)*) => {
        /// Pages of `docs/`, each with its text.
        const PAGES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/", $name, ".md")))),*
        ];
    };
}
pages! { "concepts" "definition" "http" "errors" "cli" "workers" "configuration" "security" "access" "guarantees" "reliability" "metrics" "performance" "spec" "interface" }

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
nav { border-bottom: 1px solid var(--line); padding-bottom: .5rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
code, pre { font: .9em/1.4 ui-monospace, monospace; }
code { background: var(--soft); padding: .1em .25em; border-radius: 3px; }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; border-radius: 4px; }
pre code { background: none; padding: 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top; }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
h3 { margin-top: 2rem; }
:target { background: #fc06; }
";

static REFERENCE: LazyLock<String> = LazyLock::new(|| around("HTTP API", &reference::html(&openapi::document())));

/// `GET /docs`
pub async fn reference() -> Response {
    html(&REFERENCE)
}

/// `GET /docs/{page}`
pub async fn page(Segments(name): Segments<String>) -> Result<Response, Problem> {
    let found = PAGES.iter().find(|(known, _)| *known == name);
    let (name, text) = found.ok_or_else(|| {
        let known: Vec<&str> = PAGES.iter().map(|(known, _)| *known).collect();
        Problem::not_found("page", &format!("{name}; there are {}", known.join(", ")))
    })?;
    Ok(html(&around(name, &markdown::html(text))))
}

fn html(text: &str) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text.to_owned()).into_response()
}

/// A whole page.
fn around(title: &str, body: &str) -> String {
    let links = PAGES
        .iter()
        .map(|(name, _)| format!("<a href=\"/docs/{name}\">{name}</a>"));
    let links: String = links.collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} · Rejoin</title>\
         <style>{STYLE}</style></head><body><nav><a href=\"/docs\"><b>HTTP API</b></a>{links}</nav>{body}</body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::Code;

    #[test]
    fn every_code_has_its_place_on_the_page_of_errors() {
        let (_, text) = PAGES.iter().find(|(name, _)| *name == "errors").expect("a page");
        let page = markdown::html(text);
        for code in Code::ALL {
            let place = format!("<h3 id=\"{}\">", code.row().0);
            assert!(page.contains(&place), "{place}");
        }
    }

    #[test]
    fn pages_load_nothing_from_elsewhere() {
        let pages = PAGES.iter().map(|(name, text)| around(name, &markdown::html(text)));
        for page in pages.chain([REFERENCE.clone()]) {
            for loading in ["<script", "<link", "<img", "@import", "url(", " src="] {
                assert!(!page.contains(loading), "{loading}");
            }
        }
    }

    #[test]
    fn links_between_pages_lead_to_pages_that_are_served() {
        for (name, text) in PAGES {
            for target in markdown::html(text).split("href=\"/docs/").skip(1) {
                let page = target.split(['"', '#']).next().expect("a target");
                assert!(PAGES.iter().any(|(known, _)| known == &page), "{name} links to {page}");
            }
        }
    }
}
