//! Regular expressions of `matches`: of limited size, so that building and matching stay cheap.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::budget::{Budget, Outcome, fail};

/// Sizes a compiled pattern is tried in, in bytes, and what matching one byte of text then costs. Time grows with the
/// states a pattern can be in at once; measured, the worst one of each size took 0.3, 3, 5 and 9 µs a byte.
const SIZES: [(usize, usize); 4] = [(4 * KIB, 1), (16 * KIB, 4), (64 * KIB, 8), (256 * KIB, 12)];
const KIB: usize = 1024;
/// Bytes that matching may use to remember states.
const MEMORY_BYTES_MAX: usize = 256 * KIB;
/// Groups nested in a pattern.
const PATTERN_LEVELS_MAX: u32 = 50;
/// What building a pattern while evaluating costs: a few milliseconds for the largest.
const BUILD_COST: usize = 20_000;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Arc<Regex>,
    cost_per_byte: usize,
}

impl Pattern {
    /// Builds the pattern.
    pub(super) fn new(text: &str) -> Result<Pattern, String> {
        for (size, cost_per_byte) in SIZES {
            match build(text, size) {
                Ok(regex) => {
                    let regex = Arc::new(regex);
                    return Ok(Pattern { regex, cost_per_byte });
                }
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Err(reason(&error)),
            }
        }
        Err(format!(
            "the pattern `{text}` is too large; `[a-z0-9_]` is much smaller than `\\w`, which knows all scripts"
        ))
    }

    /// Builds a pattern that is known only now, and pays for it.
    pub(super) fn computed(text: &str, budget: &mut Budget) -> Outcome<Pattern> {
        budget.charge(BUILD_COST)?;
        budget.charge_text(text.len())?;
        Pattern::new(text).or_else(fail)
    }

    /// Whether it matches anywhere in `text`. Linear in the text, and in the pattern.
    pub(super) fn is_match(&self, text: &str, budget: &mut Budget) -> Outcome<bool> {
        budget.charge(1 + text.len().saturating_mul(self.cost_per_byte))?;
        Ok(self.regex.is_match(text))
    }
}

fn build(text: &str, size: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .size_limit(size)
        .dfa_size_limit(MEMORY_BYTES_MAX)
        .nest_limit(PATTERN_LEVELS_MAX)
        .build()
}

fn reason(error: &regex::Error) -> String {
    // Only the last line of the library's text says what is wrong; those before draw the place.
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ");
    format!("the pattern is no regular expression: {reason}")
}
