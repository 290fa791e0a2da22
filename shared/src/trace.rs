//! Traces (W3C Trace Context): one a run, in it a span for the run and one for each attempt.
//!
//! All ids follow from what they are of, so nothing is stored or passed on for them: a run's trace has the run's own id, and
//! whoever knows run, path and attempt knows the span. After a crash, on any worker, they are the same.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{RunId, mix};

#[cfg(feature = "otlp")]
pub mod export;
#[cfg(test)]
mod tests;

/// The header, of AMQP and of HTTP, that holds a [`TraceParent`].
pub const HEADER: &str = "traceparent";
/// The environment variable that holds one.
pub const VARIABLE: &str = "TRACEPARENT";

// What is hashed for different ends gives different numbers.
const SPAN_OF_RUN: u64 = 1;
const SPAN_OF_ATTEMPT: u64 = 2;
const PLACE_OF_RUN: u64 = 3;
/// The increment of splitmix64: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Bit of the flags that says that the span is kept.
const SAMPLED: u8 = 1;

/// A span, as those name it that are to hang under it. As JSON it is the header's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceParent {
    trace: u128,
    span: NonZeroU64,
    /// Whether somebody keeps the span: what hangs under it should be kept too.
    pub is_sampled: bool,
}

impl TraceParent {
    /// The span of a run, the root of its trace.
    #[must_use]
    pub fn of_run(run: RunId, is_sampled: bool) -> TraceParent {
        TraceParent {
            trace: run.0.as_u128(),
            span: span_id(hash(run, SPAN_OF_RUN, &[], 0)),
            is_sampled,
        }
    }

    /// The span of an attempt, which hangs under its run's. A path names one visit, so no two attempts of a run share a span.
    #[must_use]
    pub fn of_attempt(run: RunId, path: &str, attempt: u32, is_sampled: bool) -> TraceParent {
        TraceParent {
            trace: run.0.as_u128(),
            span: span_id(hash(run, SPAN_OF_ATTEMPT, path.as_bytes(), attempt)),
            is_sampled,
        }
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    /// The span's id.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span.get().to_be_bytes()
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl From<TraceParent> for String {
    fn from(span: TraceParent) -> String {
        span.to_string()
    }
}

impl TryFrom<String> for TraceParent {
    type Error = NoTraceParent;

    fn try_from(text: String) -> Result<TraceParent, NoTraceParent> {
        text.parse()
    }
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no W3C traceparent: version, trace, span and flags in lower-case hex, with `-` between them")]
pub struct NoTraceParent;

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Takes later versions too, as the standard asks: what they add stands behind the flags.
    fn from_str(text: &str) -> Result<TraceParent, NoTraceParent> {
        let mut fields = text.splitn(5, '-');
        let mut number = |digits| fields.next().and_then(|field| hex(field, digits)).ok_or(NoTraceParent);
        let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
        let has_more = fields.next().is_some();
        let span = u64::try_from(span).ok().and_then(NonZeroU64::new);
        match span {
            Some(span) if trace != 0 && version != 0xff && !(version == 0 && has_more) => Ok(TraceParent {
                trace,
                span,
                is_sampled: flags & u128::from(SAMPLED) != 0,
            }),
            Some(_) | None => Err(NoTraceParent),
        }
    }
}

fn hex(field: &str, digits: usize) -> Option<u128> {
    let fits = field.len() == digits && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u128::from_str_radix(field, 16).ok()).flatten()
}

/// Whether a run is among the share `ratio` of all runs; the same everywhere for the same ratio. Of two ratios the larger one
/// takes in all that the smaller one does.
///
/// The id itself does not serve for it: some of its bits are the time, the partition and the kind of UUID.
#[must_use]
pub fn is_in_share(run: RunId, ratio: f64) -> bool {
    let place = u32::try_from(hash(run, PLACE_OF_RUN, &[], 0) >> 32).expect("32 bits are left");
    f64::from(place) < ratio * 4_294_967_296.0
}

/// 0 is no id.
fn span_id(hash: u64) -> NonZeroU64 {
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
}

/// A hash that stays the same for ever: parents and spans of one trace come from processes of different versions.
fn hash(run: RunId, end: u64, text: &[u8], number: u32) -> u64 {
    let (high, low) = run.0.as_u64_pair();
    let add = |state: u64, word: u64| mix(state.wrapping_add(GOLDEN) ^ word);
    let words = text.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let state = words.fold(add(add(end, high), low), add);
    // Paths hold no NUL, so the padding of the last word is told from text.
    add(state, u64::from(number))
}
