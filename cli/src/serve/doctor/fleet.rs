//! What a coordinator says: whether it is ready, and which steps nobody can run.

use rejoin_shared::json::Json;

use super::Finding;
use crate::args::Global;
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::output::table::member;

/// Of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Runs counted.
const RUNS_SHOWN_MAX: usize = 1_000;

/// Asks the coordinator that client commands would ask. Workers are heard of by way of the broker, if that works.
pub async fn look(global: &Global, has_broker: bool) -> Vec<Finding> {
    match ask(global, has_broker).await {
        Ok(findings) => findings,
        Err(failure) => vec![Finding::new("api", false, failure.to_string(), advice(&failure))],
    }
}

/// What helps depends on whether somebody answered, and what.
fn advice(failure: &Failure) -> &'static str {
    match (failure.status(), failure.code()) {
        (Some(401), _) => "name a token: --token or REJOIN_TOKEN; `rejoin token create` makes one",
        (Some(403), _) => "name a token that may read this namespace: --token, --namespace",
        (Some(502..=504), _) => "it serves again by itself once it has what it lacks: see above, and its log",
        (None, exit::SERVER_AWAY) => "name a coordinator's address: --server or REJOIN_SERVER",
        (_, _) => "see the coordinator's log; is --server the address of a coordinator?",
    }
}

async fn ask(global: &Global, has_broker: bool) -> Result<Vec<Finding>, Failure> {
    let client = Client::of(global)?;
    let ready = client.get("/readyz", &[("verbose", "true".to_owned())]).await?;
    let workers = client.list("/v1/workers", &[], RUNS_SHOWN_MAX).await?;
    let queues = client.list("/v1/queues", &[], RUNS_SHOWN_MAX).await?;
    let waiting = [("waiting", "worker".to_owned())];
    let stuck = client.list("/v1/runs", &waiting, RUNS_SHOWN_MAX).await?;
    let failed = [("state", "failed".to_owned())];
    let failed = client.list("/v1/runs", &failed, RUNS_SHOWN_MAX).await?;
    Ok(vec![
        Finding::new("api", true, "the coordinator is ready", ""),
        handlers(&workers, &queues, stuck.len(), has_broker),
        versions(&member(&ready.json, "version"), &workers),
        quarantined(&failed),
    ])
}

/// Steps whose handler no worker serves.
fn handlers(workers: &[Json], queues: &[Json], stuck: usize, has_broker: bool) -> Finding {
    let lacking = queues.iter().flat_map(|queue| {
        let handlers = queue.get("unserved").and_then(Json::as_list).unwrap_or_default();
        let name = member(queue, "name");
        handlers
            .iter()
            .map(move |handler| format!("{} on queue {name}", handler.as_str().unwrap_or_default()))
    });
    let lacking: Vec<String> = lacking.collect();
    let found = match lacking.as_slice() {
        [] => format!("{} workers; every step that is ready has one", workers.len()),
        some => format!("{stuck} runs wait for: {}", some.join(", ")),
    };
    let advice = match has_broker {
        true => "start a worker that serves them: `rejoin worker --handlers FILE`",
        false => "mend the broker first (above): without it no worker is heard of, though it may be there",
    };
    Finding::new("workers", lacking.is_empty(), found, advice)
}

/// Programs of other versions than the coordinator that was asked. Old and new serve together, but not for long.
fn versions(coordinator: &str, workers: &[Json]) -> Finding {
    let mut others = std::collections::BTreeMap::<String, Vec<String>>::new();
    let told = workers.iter().filter(|worker| worker.get("version").is_some());
    for worker in told.filter(|worker| member(worker, "version") != coordinator) {
        others
            .entry(member(worker, "version"))
            .or_default()
            .push(member(worker, "name"));
    }
    if coordinator != VERSION {
        others
            .entry(VERSION.to_owned())
            .or_default()
            .push("this program".to_owned());
    }
    let apart = others
        .iter()
        .map(|(version, names)| format!("{version}: {}", names.join(", ")));
    let apart: Vec<String> = apart.collect();
    let found = match apart.as_slice() {
        [] => format!("all are {coordinator}"),
        some => format!("the coordinator is {coordinator}; {}", some.join("; ")),
    };
    Finding::new(
        "versions",
        apart.is_empty(),
        found,
        "finish the upgrade: docs/upgrading.md",
    )
}

/// Runs that could not be handled.
fn quarantined(failed: &[Json]) -> Finding {
    let error_of = |run: &Json| run.get("error").map(|error| member(error, "type"));
    let ids: Vec<String> = failed
        .iter()
        .filter(|run| error_of(run).as_deref() == Some("rejoin.internal"))
        .map(|run| member(run, "id"))
        .collect();
    let found = match ids.as_slice() {
        [] => "none is quarantined".to_owned(),
        some => format!("quarantined: {}", some.join(", ")),
    };
    let advice = "the coordinator's log says why; `rejoin run resume` goes on with one";
    Finding::new("runs", ids.is_empty(), found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_the_answer() {
        for (failure, expected) in [
            (Failure::answered(401, "who?"), "name a token"),
            (Failure::answered(403, "no"), "name a token that may read"),
            (
                Failure::answered(503, "no broker"),
                "by itself once it has what it lacks",
            ),
            (
                Failure::new(exit::SERVER_AWAY, "refused"),
                "name a coordinator's address",
            ),
            (
                Failure::answered(404, "what?"),
                "is --server the address of a coordinator?",
            ),
        ] {
            assert!(advice(&failure).contains(expected), "{failure}");
        }
    }

    #[test]
    fn handlers_that_nobody_serves_and_quarantined_runs_are_wrong() {
        let json = |text: &str| Json::parse(text.as_bytes()).expect("JSON");
        let queue = json(r#"{"name":"gpu","unserved":["render"]}"#);
        let found = handlers(&[], std::slice::from_ref(&queue), 2, true);
        assert!(
            !found.ok && found.found.contains("2 runs wait for: render on queue gpu"),
            "{}",
            found.found
        );
        assert!(found.advice.contains("start a worker"));
        let found = handlers(&[], &[queue], 2, false);
        assert!(!found.ok && found.advice.contains("mend the broker first"));
        assert!(handlers(&[], &[json(r#"{"name":"gpu","unserved":[]}"#)], 0, true).ok);
        let workers = [r#"{"name":"w1","version":"0.0.1"}"#, r#"{"name":"w2"}"#].map(json);
        assert_eq!(
            versions(VERSION, &workers).found,
            format!("the coordinator is {VERSION}; 0.0.1: w1")
        );
        assert!(versions(VERSION, &workers[1..]).ok && !versions("0.0.1", &[]).ok);
        let broken = json(r#"{"id":"r1","error":{"type":"rejoin.internal"}}"#);
        let usual = json(r#"{"id":"r2","error":{"type":"app.bad"}}"#);
        assert_eq!(quarantined(&[broken, usual.clone()]).found, "quarantined: r1");
        assert!(quarantined(&[usual]).ok);
    }
}
