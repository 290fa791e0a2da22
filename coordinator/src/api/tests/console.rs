//! The console beside the API.

use std::sync::Arc;

use super::{Reply, Server};
use crate::api::Api;
use crate::api::access::Access;
use crate::store::embedded::EmbeddedStore;

async fn get(server: &Server, path: &str, headers: &str) -> Reply {
    server.sent(&format!("GET {path}"), headers, "").await
}

#[tokio::test]
async fn the_console_is_served_with_a_policy_that_lets_nothing_in_from_elsewhere() {
    let server = Server::start().await;
    for (path, kind) in [
        ("/console/", "text/html; charset=utf-8"),
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/views/run/why.js", "text/javascript; charset=utf-8"),
        ("/console/style.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let reply = get(&server, path, "").await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some(kind)),
            "{path}"
        );
        let policy = reply.header("content-security-policy").expect("a policy");
        let parts: Vec<&str> = policy.split("; ").collect();
        for part in ["default-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"] {
            assert!(parts.contains(&part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn a_file_of_the_console_that_is_known_is_not_sent_again() {
    let server = Server::start().await;
    let first = get(&server, "/console/app.js", "").await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    for known in [tag.clone(), format!("\"other\", W/{tag}")] {
        let again = get(&server, "/console/app.js", &format!("If-None-Match: {known}\r\n")).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{known}");
        assert_eq!(again.header("etag"), Some(&*tag));
    }
    let other = get(&server, "/console/app.js", "If-None-Match: \"other\"\r\n").await;
    assert_eq!((other.status, other.body), (200, first.body));
}

#[tokio::test]
async fn the_root_leads_to_the_console() {
    let server = Server::start().await;
    for path in ["/", "/console"] {
        let reply = get(&server, path, "").await;
        assert_eq!(
            (reply.status, reply.header("location")),
            (307, Some("console/")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_the_console_has_not_is_a_problem_as_elsewhere() {
    let server = Server::start().await;
    for path in [
        "/console/nothing.js",
        "/console/../Cargo.toml",
        "/console/%2e%2e/mod.rs",
    ] {
        let reply = get(&server, path, "").await;
        assert_eq!(
            (reply.status, reply.text("code")),
            (404, "no_such_route".to_owned()),
            "{path}"
        );
    }
    let posted = server.sent("POST /console/", "", "").await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("get,head")));
}

#[tokio::test]
async fn a_console_that_is_turned_off_is_not_there() {
    let server = Server::shaped(Api::without_console).await;
    for path in ["/", "/console", "/console/", "/console/app.js"] {
        let reply = get(&server, path, "").await;
        assert_eq!(
            (reply.status, reply.text("code")),
            (404, "no_such_route".to_owned()),
            "{path}"
        );
    }
    assert_eq!(get(&server, "/v1/runs", "").await.status, 200);
}

#[tokio::test]
async fn the_console_needs_no_token_and_shows_nothing_without_one() {
    let tokens = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
    let server = Server::shaped(|api| api.with_access(Access::tokens(tokens))).await;
    assert_eq!(get(&server, "/console/", "").await.status, 200);
    assert_eq!(get(&server, "/v1/runs", "").await.status, 401);
}
