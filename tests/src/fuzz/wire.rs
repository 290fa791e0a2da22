//! Messages of the wire contract. An input is a line with a kind, and a body.

use std::fmt::Debug;

use rejoin_coordinator::broker::decode;
use rejoin_coordinator::broker::gate::Gate;
use rejoin_shared::json::read_own;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::Message;
use rejoin_shared::wire::{
    Cancel, Check, Completions, ContextChunk, Fence, FetchContext, HandBack, Pack, Report, Survey, Surveyed, Verdicts,
    kind,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Target;
use super::corpus::text;

pub(super) struct Wire;

/// The golden messages, each with its kind.
const GOLDEN: &[(&str, &str)] = &[
    ("pack", kind::PACK),
    ("pack_probe", kind::PACK),
    ("pack_claim", kind::PACK),
    ("pack_common", kind::PACK),
    ("completions", kind::COMPLETIONS),
    ("completion_error", kind::COMPLETIONS),
    ("completions_common", kind::COMPLETIONS),
    ("check", kind::CHECK),
    ("verdicts", kind::VERDICTS),
    ("hand_back", kind::HAND_BACK),
    ("hand_back_claim", kind::HAND_BACK),
    ("fetch_context", kind::FETCH_CONTEXT),
    ("context_chunk", kind::CONTEXT_CHUNK),
    ("cancel", kind::CANCEL),
    ("report", kind::REPORT),
    ("report_claim", kind::REPORT),
    ("fence", kind::FENCE),
    ("survey", kind::SURVEY),
    ("surveyed", kind::SURVEYED),
];

impl Target for Wire {
    fn name(&self) -> &'static str {
        "wire"
    }

    fn corpus(&self) -> Vec<Vec<u8>> {
        let message = |(file, kind): &(&str, &str)| {
            let body = text(&format!("shared/tests/golden/wire/{file}.json"));
            format!("{kind}\n{body}").into_bytes()
        };
        GOLDEN.iter().map(message).collect()
    }

    fn pieces(&self) -> &'static [&'static str] {
        PIECES
    }

    fn check(&mut self, input: &[u8]) -> Result<bool, String> {
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let (kind, body) = input.split_at(end);
        let kind = String::from_utf8_lossy(kind).into_owned();
        let body = body.get(1..).unwrap_or_default();
        self.as_coordinators_do(&kind, body);
        match &*kind {
            kind::PACK => round::<Pack>(body),
            kind::COMPLETIONS => round::<Completions>(body),
            kind::CHECK => round::<Check>(body),
            kind::VERDICTS => round::<Verdicts>(body),
            kind::HAND_BACK => round::<HandBack>(body),
            kind::FETCH_CONTEXT => round::<FetchContext>(body),
            kind::CONTEXT_CHUNK => round::<ContextChunk>(body),
            kind::CANCEL => round::<Cancel>(body),
            kind::REPORT => round::<Report>(body),
            kind::FENCE => round::<Fence>(body),
            kind::SURVEY => round::<Survey>(body),
            kind::SURVEYED => round::<Surveyed>(body),
            _ => Ok(false),
        }
    }
}

impl Wire {
    /// What a message does before anybody looks into it.
    fn as_coordinators_do(&self, kind: &str, body: &[u8]) {
        let message = Message::new(kind, true, body.to_vec());
        drop(decode::event(&message, &Limits::default(), &Gate::open()));
        drop(decode::notice(&message));
        drop(decode::part_for(&message, |_| true));
    }
}

/// What is read is written, and read again as the same.
fn round<T: DeserializeOwned + Serialize + Debug>(body: &[u8]) -> Result<bool, String> {
    let Ok(read) = read_own::<T>(body) else {
        return Ok(false);
    };
    let written = serde_json::to_string(&read).map_err(|e| format!("it cannot be written: {e}"))?;
    let again: T = read_own(written.as_bytes()).map_err(|e| format!("{written} is not read: {e}"))?;
    let (first, second) = (format!("{read:?}"), format!("{again:?}"));
    match first == second {
        true => Ok(true),
        false => Err(format!("{first}\nis written as\n{written}\nand read as\n{second}")),
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "false",
    "\"\"",
    "{}",
    "[]",
    "\"common\":{",
    "\"run\":",
    "\"step\":",
    "\"scope\":",
    "\"branch\":",
    "\"pos\":",
    "\"attempt\":",
    "\"attempts\":[",
    "\"items\":[",
    "\"worker\":",
    "\"incarnation\":",
    "\"outcome\":\"ok\"",
    "\"outcome\":\"error\"",
    "\"output\":",
    "\"error\":{\"type\":\"x\",\"message\":\"\"}",
    "\"set\":{\"a.b\":1}",
    "\"unset\":[\"a\"]",
    "\"set\":{\"a\":1,\"a.b\":2}",
    "\"started_at\":\"2026-01-31T12:00:00Z\"",
    "\"finished_at\":\"0000\"",
    "\"at\":\"2026-01-31T12:00:00Z\"",
    "\"ran\":[0,1]",
    "\"ran\":[0,-9223372036854775808]",
    "\"retry_after\":\"9999999h\"",
    "\"logs\":[",
    "\"held\":[",
    "\"claims\":[",
    "\"probe\":",
    "\"check\":true",
    "\"suspect\":true",
    "\"token\":\"\"",
    "\"payload_encoding\":\"zstd\"",
    "\"of_a_later_version\":1,",
    "018f6b1e-7a2c-7c3d-8e4f-0123456789ab",
    "[0,1]",
    "\\u0000",
    "\\ud800",
    "1e999",
    "-0.0",
];
