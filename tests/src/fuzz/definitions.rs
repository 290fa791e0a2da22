//! Definitions: what is read is stored and read again as the same; what is refused is so at a place.

use rejoin_shared::definition::{DefinitionErrors, Format, compile, load, parse, read};
use rejoin_shared::limits::Limits;

use super::corpus::text;
use super::{Target, sections};
use crate::generate::{Profile, case};

pub(super) struct Definitions;

/// Generated documents in the corpus.
const GENERATED: u64 = 8;
/// Longest message about one mistake: it quotes the author's text in part only.
const MESSAGE_CHARS_MAX: usize = 2_000;

impl Target for Definitions {
    fn name(&self) -> &'static str {
        "definitions"
    }

    fn corpus(&self) -> Vec<Vec<u8>> {
        let own = sections("definitions.txt").into_iter().map(|(_, text)| text);
        let whole = ["shared/tests/every_key.yaml", "shared/tests/order_processing.yaml"].map(text);
        let generated = (0..GENERATED).map(|seed| case(seed, Profile::Any).text);
        own.chain(whole).chain(generated).map(String::into_bytes).collect()
    }

    fn pieces(&self) -> &'static [&'static str] {
        PIECES
    }

    fn check(&mut self, input: &[u8]) -> Result<bool, String> {
        let limits = Limits::default();
        for format in [Format::Yaml, Format::Json, Format::Auto] {
            if let Err(errors) = parse(input, format, &limits) {
                check_errors(&errors, input)?;
            }
        }
        let Ok(tree) = read(input, Format::Auto, &limits) else {
            return Ok(false);
        };
        let stored = tree.canonical_json();
        let again = read(&stored, Format::Json, &limits);
        // What is written shorter in YAML may be too large as JSON.
        let again = match again {
            Err(_) if stored.len() > limits.definition_bytes_max => return Ok(false),
            again => again.map_err(|errors| format!("what is stored is not read: {errors}"))?,
        };
        if again != tree || again.canonical_json() != stored || again.digest() != tree.digest() {
            return Err(format!("stored is {}", String::from_utf8_lossy(&stored)));
        }
        let (first, second) = (compile(&tree, &limits), compile(&again, &limits));
        match (first, second) {
            (Ok(first), Ok(second)) if first.nodes.len() == second.nodes.len() => {
                load(&stored, &limits).map_err(|errors| format!("what is stored is not loaded: {errors}"))?;
                Ok(true)
            }
            (Err(first), Err(second)) if first.0.len() == second.0.len() => Ok(false),
            (first, second) => Err(format!("{:?} and from what is stored {:?}", first.err(), second.err())),
        }
    }
}

fn check_errors(errors: &DefinitionErrors, input: &[u8]) -> Result<(), String> {
    let lines = u32::try_from(String::from_utf8_lossy(input).lines().count()).unwrap_or(u32::MAX - 2) + 2;
    let mut last = (0, 0);
    for error in &errors.0 {
        let place = (error.line, error.column);
        let is_placed = error.line >= 1 && error.line <= lines && error.column >= 1;
        let is_pointed = error.pointer.is_empty() || error.pointer.starts_with('/');
        let is_told = !error.message.is_empty() && error.message.chars().count() <= MESSAGE_CHARS_MAX;
        if !is_placed || !is_pointed || !is_told || error.code.is_empty() || place < last {
            return Err(format!(
                "an error at {place:?} of {lines} lines, after {last:?}: {error:?}"
            ));
        }
        last = place;
    }
    match errors.0.is_empty() {
        true => Err("refused without an error".to_owned()),
        false => Ok(()),
    }
}

const PIECES: &[&str] = &[
    "\n",
    "\n  ",
    "\n- ",
    "\n    - ",
    ": ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "? ",
    "| ",
    ">-\n",
    "&a ",
    "*a ",
    "!!str ",
    "---",
    "...",
    "%YAML 1.2",
    "#",
    "\"",
    "'",
    "~",
    "null",
    "true",
    ".inf",
    "0x1F",
    "0o7",
    "1_000",
    "<<: ",
    "workflow: w\n",
    "steps:\n",
    "step: a",
    "parallel: p",
    "branches:",
    "foreach: f",
    "items: ctx.a",
    "graph: g",
    "nodes:",
    "needs: [a]",
    "decision: d",
    "rules:",
    "goto: a",
    "when: ",
    "= ",
    "= '= ",
    "retry:",
    "branch: b",
    "cases:",
    "on: ctx.a",
    "default:",
    "group: g",
    "try: t",
    "catch: ",
    "finally: ",
    "errors: ['*']",
    "repeat: r",
    "while: 'true'",
    "until: 'true'",
    "max: 3",
    "sleep: s",
    "for: 1s",
    "wait: w",
    "input: { type: approval }",
    "event: e",
    "any: [a, b]",
    "all: [a]",
    "match: payload.ok",
    "on_timeout: { goto: a }",
    "timeout: 1h30m",
    "call: c",
    "workflow: v",
    "version: 1",
    "detached: true",
    "on_parent_close: abandon",
    "emit: e",
    "payload: 1",
    "to: '= run.id'",
    "set: s",
    "values: { a.b: 1 }",
    "unset: [a]",
    "fail: f",
    "error: { type: x }",
    "finish: x",
    "output: 1",
    "need: 80%",
    "tolerate: 1",
    "on_error: complete_all",
    "merge: strict",
    "reduce: { n: sum }",
    "collect_as: a.b",
    "into: a.b",
    "concurrency: 2",
    "snapshots: full",
    "retention: { completed: 1d }",
    "max_visits: 2",
    "compensate: { uses: u }",
    "idempotent: false",
    "on_exhausted: park",
    "total_timeout: 1h",
    "heartbeat: 1s",
    "queue: q",
    "PT5M",
    "9999999d",
    "a\\.b",
];
