//! Schedules, by the API.

use std::collections::BTreeSet;

use super::*;

const HEAR: &str = "workflow: hear\nsteps: [ { wait: a, event: a, into: a } ]\n";
const MAKE: &str = "POST /v1/schedules";

async fn with_workflow() -> Server {
    let server = Server::start().await;
    for document in [HEAR, WORKFLOW] {
        let put = server.call("PUT /v1/workflows", "", document).await;
        assert_eq!(put.status, 201, "{}", put.body);
    }
    server
}

fn items(reply: &Reply) -> Vec<Json> {
    let json = reply.json();
    json.get("items").and_then(Json::as_list).unwrap_or_default().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_made_shown_replaced_and_deleted() {
    let server = with_workflow().await;
    let body = r#"{"name":"s","workflow":"hear","input":{"n":1.0},"cron":"30 2 * * *","timezone":"Europe/Berlin"}"#;
    let made = server.call(MAKE, "", body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let defaults = r#""input":{"n":1.0},"cron":"30 2 * * *","every":null,"timezone":"Europe/Berlin","overlap":"skip","catch_up":"0s","tags":{},"paused":false"#;
    assert!(made.body.contains(defaults), "{}", made.body);
    assert_eq!(server.call(MAKE, "", body).await.text("code"), "conflict");
    let other = "Rejoin-Namespace: other\r\n";
    assert_eq!(server.call("GET /v1/schedules/s", other, "").await.status, 404);
    let body = r#"{"workflow":"hear","every":"1h30m","overlap":"queue","catch_up":"2d","tags":{"a":"b"}}"#;
    let replaced = server.call("PUT /v1/schedules/s", "", body).await;
    assert_eq!(replaced.status, 200, "{}", replaced.body);
    let shown = server.call("GET /v1/schedules/s", "", "").await;
    assert_eq!(shown.body, replaced.body);
    let expected = r#""every":"1h30m","timezone":"UTC","overlap":"queue","catch_up":"2d","tags":{"a":"b"}"#;
    assert!(shown.body.contains(expected), "{}", shown.body);
    let next = server.call("GET /v1/schedules/s/next?n=2", "", "").await;
    let times = items(&next);
    assert_eq!(
        (times.len(), times[0].as_str()),
        (2, Some(&*shown.text("next_at"))),
        "{}",
        next.body
    );
    assert_eq!(server.call("PUT /v1/schedules/none", "", body).await.status, 404);
    let also = r#"{"name":"t","workflow":"hear","every":"1h"}"#;
    assert_eq!(server.call(MAKE, "", also).await.status, 201);
    let page = server.call("GET /v1/schedules?limit=1", "", "").await;
    assert_eq!(
        (items(&page).len(), page.text("next")),
        (1, "s".to_owned()),
        "{}",
        page.body
    );
    let page = server.call("GET /v1/schedules?after=s", "", "").await;
    assert!(
        page.body.contains(r#""name":"t""#) && page.body.contains(r#""next":null"#),
        "{}",
        page.body
    );
    assert_eq!(server.call("DELETE /v1/schedules/s", "", "").await.status, 204);
    for line in [
        "DELETE /v1/schedules/s",
        "GET /v1/schedules/s",
        "GET /v1/schedules/s/next",
        "POST /v1/schedules/s:pause",
    ] {
        assert_eq!(server.call(line, "", "").await.text("code"), "not_found", "{line}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_cannot_be_read_is_named_in_the_list_and_hides_no_other() {
    let server = with_workflow().await;
    for name in ["a", "c"] {
        let body = format!(r#"{{"name":"{name}","workflow":"hear","every":"1h"}}"#);
        assert_eq!(server.call(MAKE, "", &body).await.status, 201);
    }
    let here = rejoin_shared::ids::Namespace::default_name();
    let row = server.store.schedule(&here, "a").await.expect("read").expect("there");
    let broken = crate::store::ScheduleRow {
        name: "b".to_owned(),
        spec: br#"{"weather":"rain"}"#.to_vec().into(),
        ..row
    };
    assert!(server.store.add_schedule(&broken).await.expect("added"));
    let listed = server.call("GET /v1/schedules", "", "").await;
    assert_eq!(listed.status, 200, "{}", listed.body);
    let text = |item: &Json, key: &str| item.get(key).and_then(Json::as_str).map(str::to_owned);
    let shown: Vec<_> = items(&listed)
        .iter()
        .map(|item| (text(item, "name"), text(item, "workflow")))
        .collect();
    let of = |name: &str, workflow: Option<&str>| (Some(name.to_owned()), workflow.map(str::to_owned));
    assert_eq!(shown, [of("a", Some("hear")), of("b", None), of("c", Some("hear"))]);
    let why = text(&items(&listed)[1], "last_error").unwrap_or_default();
    assert!(why.contains("cannot be read"), "{}", listed.body);
    let one = server.call("GET /v1/schedules/b", "", "").await;
    assert_eq!(one.text("code"), "internal", "{}", one.body);
    assert_eq!(server.call("DELETE /v1/schedules/b", "", "").await.status, 204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_schedule_is_named() {
    let server = with_workflow().await;
    for (body, status, part) in [
        (r#"{"name":"s"}"#, 422, "member workflow is missing"),
        (r#"{"workflow":"hear","every":"1h"}"#, 422, "member name is missing"),
        (r#"{"name":"a b","workflow":"hear","every":"1h"}"#, 422, "member name"),
        (
            r#"{"name":"s","workflow":"none","every":"1h"}"#,
            422,
            "member workflow: there is no workflow none",
        ),
        (
            r#"{"name":"s","workflow":"hear","version":9,"every":"1h"}"#,
            422,
            "no workflow hear of version 9",
        ),
        (r#"{"name":"s","workflow":"hear"}"#, 422, "cron"),
        (
            r#"{"name":"s","workflow":"hear","every":"1h","cron":"* * * * *"}"#,
            422,
            "exclude",
        ),
        (
            r#"{"name":"s","workflow":"hear","cron":"0 25 * * *"}"#,
            422,
            r#""pointer":"/cron","line":1,"column":3"#,
        ),
        (
            r#"{"name":"s","workflow":"hear","cron":"0 0 30 2 *"}"#,
            422,
            "never comes",
        ),
        (r#"{"name":"s","workflow":"hear","every":"soon"}"#, 422, "member every"),
        (r#"{"name":"s","workflow":"hear","every":"1ms"}"#, 422, "at least 1s"),
        (
            r#"{"name":"s","workflow":"hear","every":"1h","timezone":"Mars"}"#,
            422,
            "member timezone",
        ),
        (
            r#"{"name":"s","workflow":"hear","every":"1h","overlap":"never"}"#,
            422,
            "member overlap",
        ),
        (
            r#"{"name":"s","workflow":"hear","every":"1h","catch_up":"x"}"#,
            422,
            "member catch_up",
        ),
        (
            r#"{"name":"s","workflow":"hear","every":"1h","tags":{"a":1}}"#,
            422,
            "member tags",
        ),
        (
            r#"{"name":"s","workflow":"hear","every":"1h","what":1}"#,
            422,
            "unknown member",
        ),
        (r#"{"name":"s","workflow":"w","every":"1h"}"#, 422, "invalid_input"),
        (r#"{"name":"s""#, 400, "malformed_json"),
    ] {
        let reply = server.call(MAKE, "", body).await;
        assert_eq!(
            (reply.status, reply.body.contains(part)),
            (status, true),
            "{body}: {}",
            reply.body
        );
    }
    let body = r#"{"name":"t","workflow":"hear","every":"1h"}"#;
    let reply = server.call("PUT /v1/schedules/s", "", body).await;
    assert!(
        reply.status == 422 && reply.body.contains("member name"),
        "{}",
        reply.body
    );
    for (line, status) in [
        ("POST /v1/schedules/s", 404),
        ("POST /v1/schedules/s:jump", 404),
        ("PATCH /v1/schedules/s", 405),
        ("GET /v1/schedules/s/next?n=0", 400),
        ("GET /v1/schedules/s/next?n=1001", 400),
        ("GET /v1/schedules/s/next?m=1", 400),
    ] {
        assert_eq!(server.call(line, "", "").await.status, status, "{line}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_paused_resumed_and_triggered() {
    let server = with_workflow().await;
    let body = r#"{"name":"s","workflow":"hear","input":{"n":1},"every":"1d","tags":{"a":"b"}}"#;
    assert_eq!(server.call(MAKE, "", body).await.status, 201);
    for _ in 0..2 {
        let paused = server.call("POST /v1/schedules/s:pause", "", "").await;
        assert!(
            paused.body.contains(r#""paused":true,"next_at":null"#),
            "{}",
            paused.body
        );
    }
    let run = server
        .call("POST /v1/schedules/s:trigger", "", r#"{"input":{"n":2}}"#)
        .await;
    assert_eq!(run.status, 201, "{}", run.body);
    assert!(
        run.body.contains(r#""input":{"n":2}"#) && run.body.contains(r#""tags":{"a":"b"}"#),
        "{}",
        run.body
    );
    let run = server.call("POST /v1/schedules/s:trigger", "", "").await;
    assert!(run.body.contains(r#""input":{"n":1}"#), "{}", run.body);
    let resumed = server.call("POST /v1/schedules/s:resume", "", "").await;
    assert!(resumed.body.contains(r#""paused":false"#), "{}", resumed.body);
    assert_eq!(resumed.text("last_run"), run.text("id"));
    assert!(!resumed.text("next_at").is_empty());
    let again = server.call("POST /v1/schedules/s:resume", "", "").await;
    assert_eq!(again.body, resumed.body);
    let wrong = server.call("POST /v1/schedules/s:trigger", "", r#"{"what":1}"#).await;
    assert_eq!(wrong.text("code"), "invalid_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_start_one_run_a_tick() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
    let broker = MemoryBroker::new();
    let first = Server::over(store.clone(), &broker, "one").await;
    first.coordinator.owns(usize::from(PARTITIONS)).await;
    let second = Server::over(store, &broker, "two").await;
    assert_eq!(first.call("PUT /v1/workflows", "", HEAR).await.status, 201);
    let body = r#"{"name":"s","workflow":"hear","every":"1s","overlap":"allow"}"#;
    assert_eq!(second.call(MAKE, "", body).await.status, 201);
    let mut runs = Vec::new();
    for _ in 0..600 {
        runs = items(&first.call("GET /v1/runs?workflow=hear", "", "").await);
        if runs.len() >= 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(runs.len() >= 5, "they tick");
    let keys: Vec<String> = runs
        .iter()
        .filter_map(|run| run.get("idempotency_key").and_then(Json::as_str))
        .map(str::to_owned)
        .collect();
    let ticks: BTreeSet<i64> = keys.iter().map(|key| second_of(key)).collect();
    assert_eq!(ticks.len(), runs.len(), "no tick started two: {keys:?}");
    let span = ticks.last().zip(ticks.first()).map(|(last, first)| last - first + 1);
    assert_eq!(span, i64::try_from(runs.len()).ok(), "no tick was lost: {keys:?}");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_schedule_are_cancelled_for_the_next_and_their_failures_are_told() {
    let server = with_workflow().await;
    let fails = "workflow: fails\nsteps: [ { fail: no, error: { type: app.boom, message: it broke } } ]\n";
    assert_eq!(server.call("PUT /v1/workflows", "", fails).await.status, 201);
    let body = r#"{"name":"c","workflow":"hear","every":"1s","overlap":"cancel_previous"}"#;
    assert_eq!(server.call(MAKE, "", body).await.status, 201);
    let body = r#"{"name":"f","workflow":"fails","every":"1s"}"#;
    assert_eq!(server.call(MAKE, "", body).await.status, 201);
    let (mut shown, mut cancelled) = (String::new(), 0);
    for _ in 0..600 {
        shown = server.call("GET /v1/schedules/f", "", "").await.text("last_error");
        cancelled = items(&server.call("GET /v1/runs?workflow=hear&state=cancelled", "", "").await).len();
        if cancelled >= 2 && !shown.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(cancelled >= 2, "the runs before are cancelled");
    assert!(shown.ends_with("failed: app.boom: it broke"), "{shown}");
    let open = server.call("GET /v1/runs?workflow=hear&state=waiting", "", "").await;
    assert!(items(&open).len() <= 1, "{}", open.body);
    server.stop().await;
}

fn second_of(key: &str) -> i64 {
    let tick = key.strip_prefix("schedule/s/").expect("the key of a tick");
    rejoin_shared::time::Timestamp::parse(tick)
        .expect("a time")
        .0
        .div_euclid(1_000_000)
}
