//! Runs of every sort, and what each must come to.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::fleet::Fleet;

/// Sorts whose steps all workers have built in.
pub const SORTS: [Sort; 7] = [
    Sort {
        workflow: "fan",
        document: "workflow: fan
snapshots_after_join: drop
steps:
  - foreach: each
    items: '5'
    steps: [ { step: work, uses: rejoin.echo, with: { n: '= index' } } ]
",
        context: r#"{"n": 4}"#,
        steps: 5,
        failure: None,
    },
    Sort {
        workflow: "nap",
        document: "workflow: nap
steps:
  - { sleep: nap, for: 700ms }
  - { step: work, uses: rejoin.noop }
",
        context: "{}",
        steps: 1,
        failure: None,
    },
    Sort {
        workflow: "parent",
        document: "workflow: parent
steps:
  - parallel: both
    branches:
      waits: [ { call: child, workflow: fan } ]
      leaves: [ { call: free, workflow: nap, detached: true } ]
",
        context: r#"{"n": 4}"#,
        steps: 0,
        failure: None,
    },
    Sort {
        workflow: "impatient",
        document: "workflow: impatient
steps:
  - { wait: event, event: never, timeout: 400ms, on_timeout: { value: nothing } }
  - { step: work, uses: rejoin.noop }
",
        context: r#"{"event": "nothing"}"#,
        steps: 1,
        failure: None,
    },
    Sort {
        workflow: "undone",
        document: "workflow: undone
steps:
  - { step: work, uses: rejoin.noop, compensate: { uses: rejoin.noop } }
  - { fail: no, error: { type: mixed.no } }
",
        context: "{}",
        steps: 2,
        failure: Some(Failure::Always("mixed.no")),
    },
    Sort {
        workflow: "retried",
        document: "workflow: retried
steps:
  - step: work
    uses: rejoin.fail
    with: { type: mixed.busy, times: 2 }
    retry: { max_attempts: 3, backoff: constant, initial: 300ms, jitter: false }
",
        context: "{}",
        steps: 1,
        failure: None,
    },
    Sort {
        workflow: "claimed",
        document: "workflow: claimed
steps:
  - { step: work, uses: rejoin.sleep, with: { ms: 5 }, idempotent: false }
",
        context: "{}",
        steps: 1,
        failure: Some(Failure::WithItsWorker("rejoin.outcome_unknown")),
    },
];

/// One whose steps are those of the story's handler, which notes each start.
pub const NOTED: Sort = Sort {
    workflow: "noted",
    document: "workflow: noted
steps:
  - foreach: each
    items: '6'
    concurrency: unbounded
    merge: discard
    collect_as: out
    steps: [ { step: work, uses: act, with: { ms: 20, gives: '= index * 2' } } ]
  - step: last
    uses: act
    with: { ms: 5, fails: 1, gives: done }
    retry: { max_attempts: 3, backoff: constant, initial: 200ms, jitter: false }
",
    context: r#"{"out": [0, 2, 4, 6, 8, 10], "last": "done"}"#,
    steps: 7,
    failure: None,
};

/// A workflow, and what a run of it that nobody cancels comes to.
#[derive(Clone, Copy)]
pub struct Sort {
    pub workflow: &'static str,
    pub document: &'static str,
    /// The last context; the id of a run that was started is left out.
    context: &'static str,
    /// Successes that are recorded.
    steps: i64,
    failure: Option<Failure>,
}

/// How runs may fail.
#[derive(Clone, Copy)]
enum Failure {
    /// All do, and are compensated.
    Always(&'static str),
    /// One does whose worker died with its claim.
    WithItsWorker(&'static str),
}

/// Runs that came to the same.
struct Outcome {
    state: String,
    context: Value,
    error: Option<String>,
    is_compensated: bool,
    steps: i64,
    runs: i64,
}

impl Sort {
    fn is_met_by(&self, outcome: &Outcome) -> Result<bool> {
        let context: Value = serde_json::from_str(self.context)?;
        let is_whole = outcome.steps == self.steps && outcome.context == context;
        Ok(match (outcome.state.as_str(), outcome.error.as_deref(), self.failure) {
            ("cancelled", None, _) => true,
            ("completed", None, None | Some(Failure::WithItsWorker(_))) => is_whole,
            ("failed", Some(error), Some(Failure::Always(expected))) => {
                error == expected && is_whole && outcome.is_compensated
            }
            ("failed", Some(error), Some(Failure::WithItsWorker(expected))) => error == expected && outcome.steps == 0,
            _ => false,
        })
    }
}

const OUTCOMES: &str = "SELECT r.workflow, r.state, coalesce((r.context::jsonb - 'run')::text, '{}'), r.error ->> 'type', \
    r.compensated, c.steps, count(*) FROM rejoin_runs r, LATERAL (SELECT count(*) AS steps FROM rejoin_completions c \
        WHERE c.run_id = r.id AND c.outcome = 'ok') c GROUP BY 1, 2, 3, 4, 5, 6";

/// How many runs ended in each state, if each came to what its sort says.
pub async fn outcomes(fleet: &Fleet, sorts: &[Sort]) -> Result<BTreeMap<String, i64>> {
    let mut states = BTreeMap::new();
    for row in fleet.database.query(OUTCOMES, &[]).await? {
        let workflow: String = row.get(0);
        let outcome = Outcome {
            state: row.get(1),
            context: serde_json::from_str(row.get(2))?,
            error: row.get(3),
            is_compensated: row.get(4),
            steps: row.get(5),
            runs: row.get(6),
        };
        let sort = sorts.iter().find(|sort| sort.workflow == workflow);
        let sort = sort.with_context(|| format!("a run of {workflow}, which is none of ours"))?;
        ensure!(
            sort.is_met_by(&outcome)?,
            "{} runs of {workflow} are {} (error {:?}, compensated {}) with {} steps recorded and the context {}; logs in {:?}",
            outcome.runs,
            outcome.state,
            outcome.error,
            outcome.is_compensated,
            outcome.steps,
            outcome.context,
            fleet.keep_logs()
        );
        *states.entry(outcome.state).or_default() += outcome.runs;
    }
    Ok(states)
}

/// The body of a batch: the runs `from` to `to`, a sort each in turn, each with a key of its own.
pub fn batch(sorts: &[Sort], name: &str, from: usize, to: usize) -> Value {
    let runs = (from..to)
        .map(|n| json!({ "workflow": sorts[n % sorts.len()].workflow, "idempotency_key": format!("{name}-{n}") }));
    json!({ "runs": runs.collect::<Vec<Value>>() })
}

/// The ids in the answer to a batch of so many.
pub fn ids(answer: &Value, wanted: usize) -> Result<Vec<String>> {
    let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    let ids: Vec<String> = items
        .iter()
        .filter_map(|item| item["id"].as_str().map(str::to_owned))
        .collect();
    ensure!(
        ids.len() == wanted,
        "{} of {wanted} runs were started: {answer}",
        ids.len()
    );
    Ok(ids)
}
