//! What is refused of requests: by the place in the body, by size, by kind.

use rejoin_shared::json::Json;

use super::{Reply, Server};

const MIB: usize = 1024 * 1024;

fn pointers(reply: &Reply) -> Vec<String> {
    let json = reply.json();
    let errors = json.get("errors").and_then(Json::as_list).unwrap_or_default();
    let pointer = |error: &Json| {
        error
            .get("pointer")
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    errors.iter().map(pointer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_member_is_told_with_its_pointer() {
    let server = Server::start().await;
    let run = server.started().await;
    let at = |call: &str| format!("POST /v1/runs/{run}/{call}");
    let scopes = format!("PATCH /v1/runs/{run}/scopes");
    let (start, bulk) = ("POST /v1/workflows/w/runs".to_owned(), "POST /v1/runs:bulk".to_owned());
    let schedules = "POST /v1/schedules".to_owned();
    let all = [
        (&start, r#"{"input":{"n":1},"at":"soon"}"#, "/at"),
        (&start, r#"{"input":{"n":1},"version":0}"#, "/version"),
        (&start, r#"{"input":{"n":1},"priority":7}"#, "/priority"),
        (&start, r#"{"input":{"n":1},"priority":"urgent"}"#, "/priority"),
        (&start, r#"{"input":{"n":1},"tags":{"a":1}}"#, "/tags"),
        (&start, r#"{"input":{"n":1},"idempotency_key":""}"#, "/idempotency_key"),
        (&start, r#"{"input":{"n":1},"a/b":1}"#, "/a~1b"),
        (&"POST /v1/runs/batch".to_owned(), r#"{"runs":7}"#, "/runs"),
        (&at("cancel"), r#"{"reason":7}"#, "/reason"),
        (&at("cancel"), r#"{"compensate":"yes"}"#, "/compensate"),
        (&at("fork"), r#"{"at":-1}"#, "/at"),
        (&at("events"), r#"{"payload":1}"#, "/event"),
        (&at("events"), r#"{"event":"e","id":7}"#, "/id"),
        (&at("inputs/ask"), "{}", "/value"),
        (&at("steps/retry"), r#"{"paths":[]}"#, "/paths"),
        (&at("steps/retry"), r#"{"all":true}"#, "/error_type"),
        (&at("steps/fail"), r#"{"path":"/a","error":1}"#, "/error"),
        (&at("steps/fail"), r#"{"path":"/a","error":{"type":1}}"#, "/error/type"),
        (&at("steps/fail"), r#"{"path":"/a","error":{"type":""}}"#, "/error/type"),
        (
            &at("steps/fail"),
            r#"{"path":"/a","error":{"details":1}}"#,
            "/error/details",
        ),
        (&at("steps/fail"), r#"{"path":"/a","error":{"why":1}}"#, "/error/why"),
        (&scopes, r#"{"need":1}"#, "/path"),
        (&scopes, r#"{"path":"/a","retry":{"max":1}}"#, "/retry"),
        (&bulk, r#"{"operation":"cancel"}"#, "/filter"),
        (
            &bulk,
            r#"{"operation":"cancel","filter":{"state":""}}"#,
            "/filter/state",
        ),
        (&bulk, r#"{"operation":"cancel","filter":{"since":"soon"}}"#, "/filter"),
        (&bulk, r#"{"operation":"stop","all":true}"#, "/operation"),
        (&bulk, r#"{"operation":"retry","all":true}"#, "/error_type"),
        (&schedules, r#"{"name":"s"}"#, "/workflow"),
        (&schedules, r#"{"workflow":"w"}"#, "/name"),
        (
            &schedules,
            r#"{"name":"s","workflow":"none","every":"1h"}"#,
            "/workflow",
        ),
        (
            &schedules,
            r#"{"name":"s","workflow":"w","overlap":"maybe"}"#,
            "/overlap",
        ),
    ];
    for (line, body, pointer) in all {
        let refused = server.call(line, "", body).await;
        assert_eq!(
            (refused.status, &*refused.text("code")),
            (422, "invalid_request"),
            "{line} {body}: {}",
            refused.body
        );
        assert_eq!(pointers(&refused), [pointer], "{line} {body}: {}", refused.body);
    }
    // What is wrong with a header stands nowhere in the body.
    let header = server
        .call(&start, "Idempotency-Key: \r\n", r#"{"input":{"n":1}}"#)
        .await;
    assert_eq!((header.status, pointers(&header)), (422, vec![]), "{}", header.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_1000_is_given_and_one_of_1001_or_of_none_is_refused_and_not_cut() {
    let server = Server::start().await;
    let run = server.started().await;
    let of_run = ["steps", "journal"].map(|what| format!("runs/{run}/{what}"));
    let lists = [
        "workflows",
        "runs",
        "inputs",
        "schedules",
        "queues",
        "workers",
        "dead-letters",
    ];
    for list in lists.into_iter().chain(of_run.iter().map(String::as_str)) {
        let asked = async |limit: &str| server.call(&format!("GET /v1/{list}?limit={limit}"), "", "").await;
        assert_eq!(asked("1000").await.status, 200, "{list}");
        for wrong in ["1001", "0", "-1", "all", "99999999999999999999"] {
            let refused = asked(wrong).await;
            assert_eq!(
                (refused.status, &*refused.text("code")),
                (400, "malformed"),
                "{list} {wrong}"
            );
            let detail = refused.text("detail");
            assert!(
                detail.contains("a number from 1 to 1000; `after` gets the next page"),
                "{detail}"
            );
        }
    }
    server.stop().await;
}

/// A JSON text of as many bytes.
fn text(bytes: usize) -> String {
    format!(r#""{}""#, "x".repeat(bytes - 2))
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_and_payloads_of_a_mebibyte_are_taken_and_one_byte_more_is_too_large() {
    let server = Server::start().await;
    let document = "workflow: any\nsteps: [ { wait: w, input: { type: text }, into: w } ]\n";
    let run = server.begun(document, "any", "{}").await;
    let start = "POST /v1/workflows/any/runs".to_owned();
    let batch = "POST /v1/runs/batch".to_owned();
    let (one, all) = (format!("POST /v1/runs/{run}/events"), "POST /v1/events".to_owned());
    let answer = format!("POST /v1/runs/{run}/inputs/w");
    let calls: [(&String, &str, &str, u16, &str); 5] = [
        (&start, r#"{"input":"#, "}", 201, "/input"),
        (
            &batch,
            r#"{"runs":[{"workflow":"any","input":"#,
            "}]}",
            201,
            "/runs/0/input",
        ),
        (&one, r#"{"event":"e","payload":"#, "}", 202, "/payload"),
        (&all, r#"{"event":"e","payload":"#, "}", 202, "/payload"),
        (&answer, r#"{"value":"#, "}", 200, "/value"),
    ];
    for (line, before, behind, status, pointer) in calls {
        let larger = format!("{before}{}{behind}", text(MIB + 1));
        let refused = server.call(line, "", &larger).await;
        assert_eq!(pointers(&refused), [pointer], "{line}: {}", refused.body);
        let code = refused.text("code");
        match line == &batch {
            true => assert_eq!((refused.status, &*code), (422, "invalid_request"), "{}", refused.body),
            false => assert_eq!((refused.status, &*code), (413, "too_large"), "{}", refused.body),
        }
        let taken = server.call(line, "", &format!("{before}{}{behind}", text(MIB))).await;
        assert_eq!(taken.status, status, "{line}: {}", taken.body);
    }
    server.reaches(&run, "completed").await;
    let context = server.call(&format!("GET /v1/runs/{run}/context?path=w"), "", "").await;
    assert_eq!(context.body.len(), MIB);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_and_a_text_refuse_answers_of_another_kind_and_go_on_waiting() {
    let server = Server::start().await;
    let document = "workflow: ask\nsteps:\n  - wait: approve\n    input: { type: approval }\n    into: approve\n  - wait: say\n    \
                    input: { type: text, schema: { maxLength: 3 } }\n    into: say\n";
    let run = server.begun(document, "ask", "{}").await;
    let say = async |name: &str, value: &str| {
        let body = format!(r#"{{"value":{value}}}"#);
        server
            .call(&format!("POST /v1/runs/{run}/inputs/{name}"), "", &body)
            .await
    };
    for unfit in [
        "true",
        r#""yes""#,
        "{}",
        "null",
        "[true]",
        r#"{"approved":"true"}"#,
        r#"{"approved":null}"#,
    ] {
        let refused = say("approve", unfit).await;
        assert_eq!(
            (refused.status, &*refused.text("code")),
            (422, "invalid_input"),
            "{unfit}: {}",
            refused.body
        );
    }
    let approved = say("approve", r#"{"approved":false,"why":"too dear"}"#).await;
    assert_eq!(
        (approved.status, &*approved.text("state")),
        (200, "waiting"),
        "{}",
        approved.body
    );
    for unfit in ["1", "null", r#"{"text":"a"}"#, r#"["a"]"#, r#""long""#] {
        let refused = say("say", unfit).await;
        assert_eq!(
            (refused.status, &*refused.text("code")),
            (422, "invalid_input"),
            "{unfit}: {}",
            refused.body
        );
    }
    let ended = say("say", r#""yes""#).await;
    assert_eq!(ended.text("state"), "completed", "{}", ended.body);
    let context = r#""context":{"approve":{"approved":false,"why":"too dear"},"say":"yes"}"#;
    assert!(ended.body.contains(context), "{}", ended.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_found_by_tags_that_hold_commas_and_colons() {
    let server = Server::start().await;
    server.started().await;
    let tagged = r#"{"input":{"n":1},"tags":{"a:b":"x,y:z\\","c":"1"}}"#;
    let begun = server.call("POST /v1/workflows/w/runs", "", tagged).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let found = async |tag: &str| {
        let line = format!("GET /v1/runs?tag={}", tag.replace('\\', "%5C"));
        let reply = server.call(&line, "", "").await;
        reply.json().get("items").and_then(Json::as_list).map(<[Json]>::len)
    };
    assert_eq!(found(r"a\:b:x\,y:z\").await, Some(1));
    assert_eq!(found(r"c:1,a\:b:x\,y:z\").await, Some(1));
    assert_eq!(found(r"c:2,a\:b:x\,y:z\").await, Some(0));
    assert_eq!(found("c:1,y:z").await, Some(0));
    assert_eq!(found(r"a\:b").await, None, "a key alone");
    let bulk = r#"{"operation":"cancel","dry_run":true,"filter":{"tag":"a\\:b:x\\,y:z\\"}}"#;
    let matched = server.call("POST /v1/runs:bulk", "", bulk).await;
    assert_eq!(matched.json().get("matched"), Some(&Json::Int(1)), "{}", matched.body);
    server.stop().await;
}
