//! Waits, calls, retries, compensation, pause, each with the run's owner killed at a random moment in the middle.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::story::Story;
use super::{ALONE, rounds};

/// Tells one story a round.
async fn tell<F>(name: &str, documents: &[&str], workflow: &str, story: F) -> Result<()>
where
    F: AsyncFn(&mut Story) -> Result<()>,
{
    let _alone = ALONE.lock().await;
    for round in 1..=rounds(name) {
        let mut told = Story::begin(name, round, documents, workflow).await?;
        let outcome = story(&mut told).await;
        outcome.with_context(|| format!("{name}, round {round}; logs in {:?}", told.fleet.keep_logs()))?;
        println!("{name}, round {round}: as it should be");
        told.end().await?;
    }
    Ok(())
}

macro_rules! story {
    ($(#[$doc:meta])* $name:ident, $documents:expr, $workflow:expr, $tell:expr) => {
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<()> {
            tell(stringify!($name), &$documents, $workflow, $tell).await
        }
    };
}

const SAGA: &str = "workflow: saga
defaults: { queue: default }
steps:
  - { step: a, uses: act, with: { ms: 80 }, compensate: { uses: act, with: { ms: 120 } } }
  - parallel: both
    branches:
      left: [ { step: l, uses: act, with: { ms: 80 }, compensate: { uses: act, with: { ms: 120, breaks: broken } } } ]
      right: [ { step: r, uses: act, with: { ms: 80 }, compensate: { uses: act, with: { ms: 120 } } } ]
  - { step: b, uses: act, with: { ms: 80 }, compensate: { uses: act, with: { ms: 120 } } }
  - { step: last, uses: act, with: { ms: 80, fails: 9 } }
";
const UNDONE: [&str; 4] = [
    "/b/compensate",
    "/both/left/l/compensate",
    "/both/right/r/compensate",
    "/a/compensate",
];

/// All four are recorded once, and none began before what is newer was recorded.
async fn assert_undone_newest_first(story: &Story) -> Result<()> {
    let recorded = story.recorded().await?;
    let ended = |path: &str| {
        recorded
            .get(path)
            .copied()
            .with_context(|| format!("{path} is not recorded"))
    };
    for path in UNDONE {
        ended(path)?;
    }
    for sibling in [UNDONE[1], UNDONE[2]] {
        ensure!(
            story.began(sibling)? >= ended(UNDONE[0])?,
            "{sibling} began before /b was undone"
        );
        ensure!(
            story.began(UNDONE[3])? >= ended(sibling)?,
            "/a was undone before {sibling}"
        );
    }
    Ok(())
}

story!(
    what_completed_is_undone_newest_first_when_its_owner_dies,
    [SAGA],
    "saga",
    async |story: &mut Story| {
        story.doom_owner(700).await?;
        let view = story.ended().await?;
        story.doomed().await?;
        ensure!(view["state"] == "failed" && view["compensated"] == true, "{view}");
        ensure!(view["error"]["type"] == "story.failed", "{view}");
        assert_undone_newest_first(story).await
    }
);

story!(
    a_compensation_that_failed_goes_on_where_it_stopped_when_its_owner_dies,
    [SAGA],
    "saga",
    async |story: &mut Story| {
        story.doom_owner(1500).await?;
        story.fleet.write("broken", "")?;
        let view = story.ended().await?;
        ensure!(view["state"] == "compensation_failed", "{view}");
        let undoing = &view["error"]["details"]["compensation"];
        ensure!(undoing["left"].as_array().is_some_and(|left| left.len() == 2), "{view}");
        std::fs::remove_file(story.fleet.dir.path().join("broken"))?;
        let resume = format!("/v1/runs/{}/resume", story.run);
        let status = story.ask_for(&resume, &json!({})).await?;
        // 409: the first went unanswered with its coordinator, and was carried out.
        ensure!(matches!(status, 200 | 409), "resume answered {status}");
        let view = story.until("undone", |view| view["state"] == "failed").await?;
        story.doomed().await?;
        ensure!(view["compensated"] == true, "{view}");
        assert_undone_newest_first(story).await
    }
);

/// The third attempts are seconds away when both have failed twice, and their owner has one second to live.
const BUDGET: &str = "workflow: budget
steps:
  - parallel: both
    on_error: complete_all
    branches:
      flaky:
        - step: flaky
          uses: act
          with: { ms: 20, fails: 2, gives: third }
          retry: { max_attempts: 3, initial: 400ms, multiplier: 10, jitter: false }
      hopeless:
        - step: hopeless
          uses: act
          with: { ms: 20, fails: 9 }
          retry: { max_attempts: 3, initial: 400ms, multiplier: 10, jitter: false }
";

/// Both paths have failed twice.
async fn failed_twice(story: &Story) -> Result<bool> {
    let steps = format!("/v1/runs/{}/steps", story.run);
    let page = story.fleet.insist(Method::GET, &steps, None).await?;
    let failures = |step: &Value| {
        let attempts = step["attempts"].as_array().cloned().unwrap_or_default();
        attempts.iter().filter(|attempt| attempt["outcome"] == "error").count()
    };
    Ok(page["items"]
        .as_array()
        .is_some_and(|all| all.len() == 2 && all.iter().all(|step| failures(step) == 2)))
}

story!(
    the_budget_of_attempts_is_exact_when_the_owner_dies_after_two_failures,
    [BUDGET],
    "budget",
    async |story: &mut Story| {
        while !failed_twice(story).await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        story.doom_owner(1000).await?;
        story.doomed().await?;
        ensure!(failed_twice_at_most(story)?, "a third attempt began before the death");
        let view = story.ended().await?;
        ensure!(view["state"] == "completed", "{view}");
        for path in ["/both/flaky/flaky", "/both/hopeless/hopeless"] {
            ensure!(
                story.attempts(path)? == BTreeSet::from([1, 2, 3]),
                "{:?}",
                story.executions()?
            );
        }
        ensure!(story.recorded().await?.len() == 1, "only the third of /flaky succeeds");
        Ok(())
    }
);

fn failed_twice_at_most(story: &Story) -> Result<bool> {
    Ok(story.executions()?.iter().all(|execution| execution.attempt <= 2))
}

const PARENT: &str = "workflow: parent
steps:
  - { call: kid, workflow: kid, into: kid }
";
const KID: &str = "workflow: kid
steps:
  - { step: work, uses: act, with: { ms: 300, gives: grown } }
";

story!(
    a_child_that_completes_meets_a_cancelled_parent_and_both_end_once,
    [KID, PARENT],
    "parent",
    async |story: &mut Story| {
        story.doom_owner(500).await?;
        let moment = 250 + story.dice.any() % 120;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let cancel = format!("/v1/runs/{}/cancel", story.run);
        let status = story.ask_for(&cancel, &json!({ "reason": "changed our mind" })).await?;
        let parent = story.ended().await?;
        story.doomed().await?;
        let expected = if status == 200 { "cancelled" } else { "completed" };
        ensure!(parent["state"] == expected, "cancel answered {status}: {parent}");
        let children = story
            .fleet
            .insist(Method::GET, &format!("/v1/runs?parent={}", story.run), None)
            .await?;
        let children = children["items"].as_array().context("no list")?;
        ensure!(children.len() <= 1, "called twice: {children:?}");
        for child in children {
            let end = story
                .fleet
                .wait_for_end(child["id"].as_str().context("no id")?, Duration::from_secs(30))
                .await?;
            let fits = match (expected, end["state"].as_str()) {
                ("cancelled", Some("cancelled" | "completed")) | ("completed", Some("completed")) => true,
                (_, _) => false,
            };
            ensure!(fits, "the parent is {expected}, the child {}", end["state"]);
        }
        ensure!(
            expected == "cancelled" || parent["context"]["kid"]["work"] == "grown",
            "{parent}"
        );
        Ok(())
    }
);

const GATHER: &str = "workflow: gather
steps:
  - try: patient
    steps:
      - { wait: both, all: [left, right], timeout: 1500ms }
    catch:
      - errors: [rejoin.wait_timeout]
        steps: [ { set: seen, values: { received: '= error.details.received' } } ]
  - { wait: late, event: right, timeout: 60s, into: late }
";

/// Milliseconds between the opening of the first wait and its time-out, by the database's clock.
async fn waited_ms(story: &Story) -> Result<i64> {
    let statement = "SELECT (extract(epoch FROM min(j.at) FILTER (WHERE k.name = 'wait_timed_out') \
        - min(j.at) FILTER (WHERE k.name = 'wait_opened')) * 1000)::bigint \
        FROM journal j JOIN journal_kinds k ON k.id = j.kind WHERE j.run_id = $1::text::uuid";
    story.fleet.database.value(statement, &[&story.run]).await
}

story!(
    an_event_that_comes_after_its_wait_has_timed_out_is_for_the_next_when_the_owner_dies,
    [GATHER],
    "gather",
    async |story: &mut Story| {
        story.doom_owner(1400).await?;
        let events = format!("/v1/runs/{}/events", story.run);
        let left = json!({ "event": "left", "payload": { "n": 1 }, "id": "first" });
        ensure!(story.ask_for(&events, &left).await? == 202, "left was refused");
        story.doomed().await?;
        story
            .until("timed out", |view| view["context"]["received"].is_object())
            .await?;
        let right = json!({ "event": "right", "payload": { "n": 2 }, "id": "second" });
        ensure!(story.ask_for(&events, &right).await? == 202, "right was refused");
        let view = story.ended().await?;
        ensure!(
            view["context"] == json!({ "received": { "left": { "n": 1 } }, "late": { "n": 2 } }),
            "{view}"
        );
        let waited = waited_ms(story).await?;
        ensure!(waited >= 1500, "the time-out came after {waited} ms");
        Ok(())
    }
);

const VERDICT: &str = "workflow: verdict
steps:
  - { wait: verdict, input: { type: text, prompt: 'Well?' }, into: verdict }
  - { step: after, uses: act, with: { ms: 50 } }
";

story!(
    of_two_answers_to_one_input_one_wins_when_the_owner_dies,
    [VERDICT],
    "verdict",
    async |story: &mut Story| {
        story.doom_owner(400).await?;
        story.until("asks", |view| view["state"] == "waiting").await?;
        tokio::time::sleep(Duration::from_millis(story.dice.any() % 400)).await;
        let path = format!("/v1/runs/{}/inputs/verdict", story.run);
        let (yes, no) = (json!({ "value": "yes" }), json!({ "value": "no" }));
        let (first, second) = tokio::join!(story.ask_for(&path, &yes), story.ask_for(&path, &no));
        let (first, second) = (first?, second?);
        let view = story.ended().await?;
        story.doomed().await?;
        // None is told that it won if the answer to it went down with its coordinator; never are both.
        let winner = match (first, second) {
            (200..=299, 409) => Some("yes"),
            (409, 200..=299) => Some("no"),
            (409, 409) => None,
            (_, _) => return Err(anyhow::anyhow!("the answers were told {first} and {second}")),
        };
        let told = view["context"]["verdict"].as_str().context("no verdict")?;
        ensure!(
            winner.is_none_or(|winner| winner == told),
            "{winner:?} won, recorded is {told}"
        );
        ensure!(story.recorded().await?.len() == 1, "the step after it ran once");
        Ok(())
    }
);

/// More than may be on the wire at once: that goes on while a run is paused, and only that.
const WIDE_BRANCHES: usize = 3000;
const WIDE: &str = "workflow: wide
steps:
  - foreach: each
    items: '3000'
    concurrency: unbounded
    merge: discard
    steps: [ { step: work, uses: act, with: { ms: 5 } } ]
";

/// Waits until the handler has not begun for two seconds, and tells how often it had by then.
async fn quiet(story: &Story) -> Result<usize> {
    let mut before = story.executions()?.len();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = story.executions()?.len();
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    anyhow::bail!("a paused run is not quiet after a minute: {before} executions")
}

story!(
    a_paused_run_dispatches_nothing_and_goes_on_when_resumed_when_its_owner_dies,
    [WIDE],
    "wide",
    async |story: &mut Story| {
        story.doom_owner(600).await?;
        tokio::time::sleep(Duration::from_millis(story.dice.any() % 500)).await;
        let pause = format!("/v1/runs/{}/pause", story.run);
        let status = story.ask_for(&pause, &json!({})).await?;
        // 409: the first went unanswered with its coordinator, and was carried out.
        ensure!(matches!(status, 200 | 409), "pause answered {status}");
        story.doomed().await?;
        story.until("taken over", |view| view["owner"].is_string()).await?;
        let before = quiet(story).await?;
        ensure!(before < WIDE_BRANCHES, "all branches ran in spite of the pause");
        ensure!(
            story.view(&story.run).await?["state"] == "paused",
            "it is not paused any more"
        );
        let resume = format!("/v1/runs/{}/resume", story.run);
        let status = story.ask_for(&resume, &json!({})).await?;
        ensure!(matches!(status, 200 | 409), "resume answered {status}");
        let view = story.ended().await?;
        ensure!(view["state"] == "completed", "{view}");
        ensure!(
            story.recorded().await?.len() == WIDE_BRANCHES,
            "each branch is recorded once"
        );
        Ok(())
    }
);

const SMALL: &str = "workflow: small
steps: [ { set: s, values: { seen: '= ctx.n' } } ]
";
const TOGETHER: usize = 1_000;

/// Sends the batch until it is answered for good; what its runs are called.
async fn start_together(story: &Story, batch: &Value) -> Result<(u16, Vec<String>)> {
    let began = Instant::now();
    loop {
        match story.fleet.ask(Method::POST, "/v1/runs/batch", Some(batch)).await {
            Some((status @ (200 | 201), body)) => {
                let items = body["items"].as_array().context("no items")?;
                let ids = items.iter().filter_map(|item| item["id"].as_str());
                return Ok((status, ids.map(str::to_owned).collect()));
            }
            Some((status, body)) if status < 500 => anyhow::bail!("the batch was answered {status}: {body}"),
            Some(_) | None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "the batch got no answer");
    }
}

/// Ids of all runs of `small`, page by page.
async fn small_runs(story: &Story) -> Result<Vec<String>> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/runs?workflow=small&state=completed&limit=300{after}");
        let page = story.fleet.insist(Method::GET, &path, None).await?;
        let items = page["items"].as_array().context("no items")?;
        ids.extend(items.iter().filter_map(|item| Some(item["id"].as_str()?.to_owned())));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(ids),
        }
    }
}

story!(
    /// The request is sent until it is answered; each of its runs is there once, and what a key names stays the same.
    a_thousand_runs_that_start_together_start_once_when_a_coordinator_dies,
    [SMALL, VERDICT],
    "verdict",
    async |story: &mut Story| {
        story.doom_owner(300).await?;
        let start = |n: usize| json!({ "workflow": "small", "input": { "n": n }, "idempotency_key": format!("k{n}") });
        let batch = json!({ "runs": (0..TOGETHER).map(start).collect::<Vec<Value>>() });
        let began = Instant::now();
        let (_, first) = start_together(story, &batch).await?;
        println!("{TOGETHER} runs were started after {:?}", began.elapsed());
        story.doomed().await?;
        let (status, again) = start_together(story, &batch).await?;
        ensure!(status == 200 && again == first, "{status}: the same request names other runs");
        ensure!(first.iter().collect::<BTreeSet<_>>().len() == TOGETHER, "an id was given twice");
        let mut ended = small_runs(story).await?;
        while ended.len() < TOGETHER && began.elapsed() < Duration::from_secs(90) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ended = small_runs(story).await?;
        }
        ensure!(
            ended.iter().collect::<BTreeSet<_>>() == first.iter().collect::<BTreeSet<_>>() && ended.len() == TOGETHER,
            "{} runs have completed",
            ended.len()
        );
        let verdict = format!("/v1/runs/{}/cancel", story.run);
        story.ask_for(&verdict, &json!({})).await?;
        story.ended().await.map(drop)
    }
);
