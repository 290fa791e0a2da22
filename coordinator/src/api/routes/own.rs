//! What the process says of itself: probes, and these descriptions.

use rejoin_shared::json::Json;

use super::parameters::flag;
use crate::api::access::Need;
use crate::api::describe::{Route, get};
use crate::api::probes::Readiness;
use crate::api::{docs, openapi, probes};

use crate::store::tokens::Scope;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

pub fn routes() -> Vec<Route> {
    let for_all = |route: Route| match route.path {
        // Names of all namespaces' workflows stand in its labels.
        "/metrics" => route.needing(Need::Fleet(Scope::Viewer)),
        _ => route.needing(Need::Nothing),
    };
    own().into_iter().map(for_all).collect()
}

fn own() -> Vec<Route> {
    vec![
        get("/livez", "live", probes::livez)
            .says("Whether the process answers", "")
            .answers_text(200, "It does.", TEXT),
        get("/readyz", "ready", probes::readyz)
            .says("Whether the process can start and advance runs", "")
            .query([flag("verbose", "Answer with what was looked at: JSON, also with 503.")])
            .answers_text(200, "It can.", TEXT)
            .answers::<Readiness>(200, "")
            .answers::<Readiness>(503, "It cannot."),
        get("/metrics", "metrics", probes::metrics)
            .says("Metrics", "")
            .answers_text(200, "Prometheus text.", "text/plain; version=0.0.4; charset=utf-8"),
        get("/openapi.json", "openapi", openapi::serve)
            .says("This description", "")
            .answers::<Json>(200, "An OpenAPI 3.1 document."),
        get("/docs", "docs", docs::reference)
            .says("This description, to be read", "")
            .answers_text(200, "A page.", HTML),
        get("/docs/{page}", "docsPage", docs::page)
            .says("Pages of the documentation, among them `errors`", "")
            .answers_text(200, "A page.", HTML),
    ]
}
