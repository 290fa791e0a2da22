//! Journals as they were written once, kept as files: whatever changes, they fold to what they folded to (docs/upgrading.md).
//!
//! A file under `tests/golden/journals` is the document of a workflow as it was registered, the rows of one run of it, and what
//! the run looked like behind each row. A file that is there is never changed: databases hold such rows. `REJOIN_GOLDEN=write`
//! writes the files of stories that have none yet, and of simulated runs for the kinds of records that no file has.

mod seen;
mod stories;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rejoin_engine::record::{Fact, Parts, Record};
use rejoin_engine::state::RunState;
use rejoin_shared::definition::{Format, load, read};
use rejoin_shared::limits::Limits;
use rejoin_shared::run::Outcome;
use rejoin_tests::generate::{Profile, case};
use rejoin_tests::simulate::engine_driver::{Driver, Faults};
use seen::seen;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Seeds that are searched for a kind of record that no story has.
const SEEDS: u64 = 3_000;
/// Rows of a simulated run at most.
const ROWS_MAX: usize = 60;

/// A file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    document: String,
    rows: Vec<Row>,
}

/// A row of the journal, its texts as they stand in their columns.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    seq: u64,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logs: Option<String>,
    /// What the run looks like behind it.
    then: Value,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

impl Row {
    fn of(parts: &Parts, then: Value) -> Row {
        let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text);
        Row {
            seq: parts.seq,
            kind: parts.kind.to_owned(),
            path: parts.path.clone(),
            attempt: parts.attempt,
            outcome: parts.outcome,
            worker: parts.worker.as_deref().map(str::to_owned),
            body: self::text(&parts.body),
            output: text(&parts.output),
            snapshot: text(&parts.snapshot),
            logs: text(&parts.logs),
            then,
        }
    }

    fn record(&self) -> Record {
        let bytes = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let parts = Parts {
            seq: self.seq,
            kind: "",
            path: self.path.clone(),
            attempt: self.attempt,
            outcome: self.outcome,
            worker: self.worker.as_deref().map(Arc::from),
            body: self.body.as_bytes().to_vec(),
            output: bytes(&self.output),
            snapshot: bytes(&self.snapshot),
            logs: bytes(&self.logs),
        };
        Record::from_parts(&parts).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The kind by which its body is read; the API's has a few more. Since format 2 a completed step names none.
    fn kind_of_body(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        match body["done"].is_array() {
            true => SHORT.to_owned(),
            false => body["k"].as_str().expect("a kind").to_owned(),
        }
    }
}

/// What the run looks like behind each of the rows.
fn folded(document: &str, records: impl Iterator<Item = Record>) -> Vec<Value> {
    let def = load(document.as_bytes(), &Limits::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let (def, mut state, mut all) = (Arc::new(def), None::<RunState>, Vec::new());
    for record in records {
        match &mut state {
            Some(state) => state.apply(&record).unwrap_or_else(|why| panic!("{why}")),
            None => state = Some(RunState::begin(&def, &record).unwrap_or_else(|why| panic!("{why}"))),
        }
        all.extend(state.as_ref().map(seen));
    }
    all
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journals")
}

/// The files, by name.
fn committed() -> Vec<(String, Golden)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a file");
        let golden = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        found.push((path.display().to_string(), golden));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Every kind that a body may have: what serde expects in the place of one that is none.
fn kinds() -> BTreeSet<String> {
    let error = serde_json::from_str::<Fact>(r#"{"k":"?"}"#).expect_err("no kind");
    let error = error.to_string();
    let names = error.split('`').skip(3).step_by(2);
    names.chain([SHORT]).map(str::to_owned).collect()
}

/// Stands for a completed step with a short body.
const SHORT: &str = "step_completed, short";

fn lacking() -> Vec<String> {
    let mut kinds = kinds();
    assert!(kinds.len() > 40 && kinds.contains("run_started"), "{kinds:?}");
    for (_, golden) in committed() {
        golden.rows.iter().for_each(|row| {
            kinds.remove(&row.kind_of_body());
        });
    }
    kinds.into_iter().collect()
}

#[test]
fn journals_of_the_past_fold_to_what_they_folded_to() {
    write_new();
    let committed = committed();
    assert!(committed.len() >= stories::all().len(), "{}", committed.len());
    for (name, golden) in committed {
        let told = folded(&golden.document, golden.rows.iter().map(Row::record));
        assert_eq!(told.len(), golden.rows.len(), "{name}");
        for (row, told) in golden.rows.iter().zip(told) {
            assert_eq!(told, row.then, "{name}: behind record {}", row.seq);
        }
        let last = &golden.rows.last().expect("a row").then;
        assert_ne!(last["status"], Value::Null, "{name}");
    }
}

#[test]
fn every_kind_of_record_stands_in_a_journal_of_the_past() {
    write_new();
    let lacking = lacking();
    assert!(
        lacking.is_empty(),
        "no golden journal has {lacking:?}: tell a story in stories.rs, and write its file with REJOIN_GOLDEN=write"
    );
}

/// Each file once, whichever test comes first.
fn write_new() {
    static WRITTEN: std::sync::Once = std::sync::Once::new();
    if std::env::var("REJOIN_GOLDEN").is_ok_and(|what| what == "write") {
        WRITTEN.call_once(|| {
            std::fs::create_dir_all(folder()).expect("the folder");
            for (name, document, run) in stories::all() {
                let document = read(document.as_bytes(), Format::Yaml, &Limits::default()).expect("a document");
                write(name, &text(&document.canonical_json()), run.journal.rows());
            }
            write_simulated();
        });
    }
}

fn write(name: &str, document: &str, rows: &[Parts]) {
    let file = folder().join(format!("{name}.json"));
    if file.exists() {
        return;
    }
    let records = rows.iter().map(|parts| Record::from_parts(parts).expect("a record"));
    let then = folded(document, records);
    let rows = rows
        .iter()
        .zip(then)
        .map(|(parts, then)| Row::of(parts, then))
        .collect();
    let golden = Golden {
        document: document.to_owned(),
        rows,
    };
    let text = serde_json::to_string_pretty(&golden).expect("plain data");
    std::fs::write(&file, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// Simulated runs with kinds that stand nowhere yet.
fn write_simulated() {
    for seed in 0..SEEDS {
        let lacking = lacking();
        if lacking.is_empty() {
            return;
        }
        let case = case(seed, Profile::Any);
        let mut driver = Driver::new(&case, Faults::all());
        // How the run ends is not asked here.
        let _end = driver.run_to_end();
        let rows = driver.runs[0].journal.rows();
        let has = |kind: &String| {
            rows.iter()
                .any(|row| text(&row.body).contains(&format!("\"k\":\"{kind}\"")))
        };
        if rows.len() <= ROWS_MAX && lacking.iter().any(has) {
            let format = if case.text.starts_with('{') {
                Format::Json
            } else {
                Format::Yaml
            };
            let document = read(case.text.as_bytes(), format, &Limits::default()).expect("a document");
            write(&format!("simulated_{seed}"), &text(&document.canonical_json()), rows);
        }
    }
}
