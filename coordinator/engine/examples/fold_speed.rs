//! How much the engine itself costs a branch: `cargo run --release -p rejoin-engine --example fold_speed [BRANCHES]`.
//!
//! Prints the time per no-op branch to take it, build its request, decide its completion, encode the record, and to fold
//! the journal again.
#![allow(clippy::cast_precision_loss, clippy::print_stdout, clippy::disallowed_methods)] // a benchmark reads the clock

use std::sync::Arc;
use std::time::{Duration, Instant};

use rejoin_engine::decision::{Decision, Surroundings};
use rejoin_engine::event::{Completed, End, Event, Start};
use rejoin_engine::record::{Parts, Record};
use rejoin_engine::state::RunState;
use rejoin_shared::definition::{self, Format};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::time::Timestamp;

const DOCUMENT: &[u8] =
    b"workflow: w\nsteps: [{foreach: f, items: input.n, concurrency: unbounded, steps: [{step: s}]}]";

fn main() {
    let branches: i64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let limits = Limits::default();
    let def = Arc::new(definition::parse(DOCUMENT, Format::Yaml, &limits).expect("a valid document"));
    let around = Surroundings {
        now: Timestamp(1_700_000_000_000_000),
        limits: &limits,
    };
    let start = Start {
        run: RunId::new_in(Partition(0)),
        namespace: Namespace::default_name(),
        version: 1,
        input: Json::from_entries([("n", Json::Int(branches))]),
        tags: std::collections::BTreeMap::new(),
        priority: rejoin_shared::run::Priority::Normal,
        parent: None,
        is_awaited: false,
        at: None,
        traceparent: None,
    };
    let (mut state, apply) = rejoin_engine::start(&def, start, around);
    let mut journal: Vec<Parts> = apply.records.iter().map(Record::to_parts).collect();
    let (mut taking, mut asking, mut deciding, mut encoding) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    loop {
        let at = Instant::now();
        let ready = state.take_ready(around.now, 4096);
        taking += at.elapsed();
        if ready.is_empty() {
            break;
        }
        let at = Instant::now();
        for attempt in &ready {
            std::hint::black_box(state.request(attempt.step, attempt.attempt, around).expect("a request"));
        }
        asking += at.elapsed();
        let at = Instant::now();
        let mut records = Vec::with_capacity(ready.len());
        for attempt in &ready {
            let completed = Completed {
                step: attempt.step,
                attempt: attempt.attempt,
                end: End::Ok {
                    output: Json::Null,
                    set: Vec::new(),
                    unset: Vec::new(),
                },
                worker: Some("worker-1".into()),
                started_at: around.now,
                finished_at: around.now,
                logs: Vec::new(),
                random: 1,
            };
            if let Decision::Apply(apply) =
                rejoin_engine::decide(&mut state, Event::Completed(Box::new(completed)), around)
            {
                records.extend(apply.records);
            }
        }
        deciding += at.elapsed();
        let at = Instant::now();
        journal.extend(records.iter().map(Record::to_parts));
        encoding += at.elapsed();
    }
    let at = Instant::now();
    let records: Vec<Record> = journal
        .iter()
        .map(|parts| Record::from_parts(parts).expect("own record"))
        .collect();
    let decoding = at.elapsed();
    let at = Instant::now();
    let mut folded = RunState::begin(&def, &records[0]).expect("a start");
    records[1..]
        .iter()
        .for_each(|record| folded.apply(record).expect("own journal"));
    let folding = at.elapsed();
    let bytes: usize = journal
        .iter()
        .map(|parts| parts.body.len() + parts.path.as_ref().map_or(0, String::len))
        .sum();
    println!(
        "{} branches, {:?}, {} bytes of body and path a record",
        branches,
        state.status(),
        bytes / journal.len()
    );
    for (what, time) in [
        ("take", taking),
        ("request", asking),
        ("decide", deciding),
        ("encode", encoding),
        ("decode", decoding),
        ("fold", folding),
    ] {
        println!(
            "{what:8} {:7.2} µs a branch",
            time.as_secs_f64() * 1e6 / branches as f64
        );
    }
}
