//! Workflows as they are read back.

use rejoin_shared::definition::builder::{Retry, expr, object, step, workflow};
use rejoin_shared::json::Json;

use super::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_listed_and_read_with_its_description_which_makes_a_version() {
    let server = Server::start().await;
    let put = async |description: &str| {
        let document = format!("workflow: told\n{description}steps: [ {{ set: s, values: {{ x: 1 }} }} ]\n");
        let put = server.call("PUT /v1/workflows", "", &document).await;
        assert_eq!(put.status, 201, "{}", put.body);
    };
    put("").await;
    let read = async |what: &str| server.call(&format!("GET /v1/workflows{what}"), "", "").await;
    assert_eq!(read("/told").await.json().get("description"), Some(&Json::Null));
    put("description: \"What it does, and why: ü\"\n").await;
    let described = Some(Json::str("What it does, and why: ü"));
    let newest = read("/told").await.json();
    assert_eq!(newest.get("description").cloned(), described);
    assert_eq!(newest.get("version"), Some(&Json::Int(2)));
    let definition = newest
        .get("definition")
        .and_then(|definition| definition.get("description"));
    assert_eq!(definition.cloned(), described);
    assert_eq!(
        read("/told/versions/1").await.json().get("description"),
        Some(&Json::Null)
    );
    let listed = read("").await.json();
    let items = listed.get("items").and_then(Json::as_list).unwrap_or_default();
    assert_eq!((items.len(), items[0].get("description").cloned()), (1, described));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_built_in_rust_is_the_version_that_its_yaml_made() {
    let server = Server::start().await;
    let yaml = "workflow: greet\ntimeout: 90s\nsteps:\n  - step: say\n    with: { to: \"= ctx.name\", price: 1.0 }\n    retry: { max_attempts: 3 }\n";
    let first = server.call("PUT /v1/workflows", "", yaml).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let greet = |attempts: u32| {
        let say = step("say")
            .with(object! { "to" => expr("ctx.name"), "price" => 1.0 })
            .retry(Retry::new().max_attempts(attempts));
        let built = workflow("greet").timeout("90s").steps(say).to_document();
        built.unwrap_or_else(|e| panic!("{e}"))
    };
    let as_json = "Content-Type: application/json\r\n";
    let same = server.call("PUT /v1/workflows", as_json, greet(3).json()).await;
    let (was, is) = (first.json(), same.json());
    assert_eq!(same.status, 200, "{}", same.body);
    assert_eq!(
        (is.get("version"), is.get("digest")),
        (was.get("version"), was.get("digest"))
    );
    assert_eq!(is.get("digest"), Some(&Json::str(greet(3).digest())));
    let other = server.call("PUT /v1/workflows", as_json, greet(4).json()).await;
    assert_eq!((other.status, other.json().get("version")), (201, Some(&Json::Int(2))));
    server.stop().await;
}

/// Whoever registered a version, and wherever: from then on runs begin with it, whichever coordinator is asked, and whatever it
/// knew before.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_begins_with_the_newest_version_whichever_coordinator_is_asked() {
    let (one, two, _broker) = super::fleet::two().await;
    for version in 1..=20_i64 {
        let wants = if version % 2 == 0 { "integer" } else { "string" };
        let input = if version % 2 == 0 { "1" } else { "\"a\"" };
        let document = format!(
            "workflow: told\ndescription: v{version}\ninput: {{ type: {wants} }}\nsteps: [ {{ set: s, values: {{ x: 1 }} }} ]\n"
        );
        let put = two.call("PUT /v1/workflows", "", &document).await;
        assert_eq!(put.status, 201, "{}", put.body);
        for (server, query) in [(&one, ""), (&one, "?wait=10s"), (&two, "")] {
            let body = format!("{{\"input\":{input}}}");
            let started = server
                .call(&format!("POST /v1/workflows/told/runs{query}"), "", &body)
                .await;
            assert_eq!(started.status, 201, "{}", started.body);
            assert_eq!(started.json().get("version"), Some(&Json::Int(version)));
        }
    }
    // What fits no version is refused by the newest.
    let refused = one.call("POST /v1/workflows/told/runs", "", r#"{"input":[]}"#).await;
    assert_eq!((refused.status, &*refused.text("code")), (422, "invalid_input"));
    one.stop().await;
    two.stop().await;
}

/// A key is bound to no request that is refused, also where the coordinator knows only the version before the one that refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_free_after_a_start_that_the_newest_version_refused() {
    let (one, two, _broker) = super::fleet::two().await;
    let mut runs = std::collections::BTreeSet::new();
    for version in 1..=10_i64 {
        let inputs = [("integer", "1"), ("string", "\"a\"")];
        let [(wanted, fits), (_, misfits)] = if version % 2 == 0 {
            inputs
        } else {
            [inputs[1], inputs[0]]
        };
        let document = format!(
            "workflow: told\ninput: {{ type: {wanted} }}\ndescription: v{version}\nsteps: [ {{ set: s, values: {{ x: 1 }} }} ]\n"
        );
        let put = two.call("PUT /v1/workflows", "", &document).await;
        assert_eq!(put.status, 201, "{}", put.body);
        let start = async |server: &Server, input: &str| {
            let body = format!("{{\"idempotency_key\":\"k{version}\",\"input\":{input}}}");
            server.call("POST /v1/workflows/told/runs", "", &body).await
        };
        let refused = start(&one, misfits).await;
        assert_eq!((refused.status, &*refused.text("code")), (422, "invalid_input"));
        let started = start(&one, fits).await;
        let expected = (201, Some(Json::Int(version)));
        assert_eq!(
            (started.status, started.json().get("version").cloned()),
            expected,
            "{}",
            started.body
        );
        let again = start(&two, fits).await;
        assert_eq!((again.status, again.text("id")), (200, started.text("id")));
        runs.insert(started.text("id"));
        // What one knows by now is the newest once more, if it is asked without a key.
        let plain = format!("{{\"input\":{fits}}}");
        assert_eq!(one.call("POST /v1/workflows/told/runs", "", &plain).await.status, 201);
    }
    assert_eq!(runs.len(), 10);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_cannot_be_used_are_refused_where_they_stand_and_calls_of_nobody_are_warned_of() {
    let server = Server::start().await;
    let document = "workflow: w
input: { type: object, properties: { n: { type: objekt } } }
steps:
  - { wait: w, input: { type: form, schema: { pattern: '(' } } }
";
    let refused = server.call("PUT /v1/workflows", "", document).await;
    assert_eq!((refused.status, &*refused.text("code")), (422, "invalid_definition"));
    let errors = refused.json().get("errors").cloned().unwrap_or_default();
    let told = errors.as_list().unwrap_or_default().iter().map(|error| {
        let text = |key| error.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let number = |key| error.get(key).and_then(Json::as_int).unwrap_or_default();
        (text("code"), text("pointer"), number("line"), number("column"))
    });
    let bad = |pointer: &str, line, column| ("bad_schema".to_owned(), pointer.to_owned(), line, column);
    let expected = [
        bad("/input/properties/n/type", 2, 49),
        bad("/steps/0/input/schema/pattern", 4, 56),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected, "{}", refused.body);
    let calling = "workflow: calls
steps:
  - { call: itself, workflow: calls }
  - { call: other, workflow: nobody }
";
    let taken = server.call("PUT /v1/workflows", "", calling).await;
    let warnings = taken
        .json()
        .get("warnings")
        .map(ToString::to_string)
        .unwrap_or_default();
    assert_eq!(taken.status, 201);
    assert!(
        warnings.contains(r#""code":"unknown_workflow""#) && warnings.contains(r#""line":4"#),
        "{warnings}"
    );
    assert!(!warnings.contains("calls`, which"), "{warnings}");
    let nobody = "workflow: nobody\nsteps: []\n";
    assert_eq!(server.call("PUT /v1/workflows", "", nobody).await.status, 201);
    let dry = server.call("PUT /v1/workflows?dry_run=true", "", calling).await;
    assert_eq!(dry.json().get("warnings"), None, "{}", dry.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_taken_as_yaml_with_all_its_escapes() {
    let server = Server::start().await;
    let document =
        r#"{"workflow":"smile","description":"\ud83d\ude00","steps":[{"set":"s","values":{"a":"\ud83d\ude00"}}]}"#;
    for kind in ["application/yaml", "application/json", "text/plain"] {
        let headers = format!("Content-Type: {kind}\r\n");
        let put = server.call("PUT /v1/workflows", &headers, document).await;
        assert!(matches!(put.status, 200 | 201), "{kind}: {}", put.body);
        assert_eq!(put.json().get("version"), Some(&Json::Int(1)), "{kind}: {}", put.body);
    }
    server.stop().await;
}
