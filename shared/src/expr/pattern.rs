//! Regular expressions of `matches`: of limited size, so that building and matching stay cheap.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::budget::{Budget, Outcome, fail};

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// Groups nested in a pattern.
const PATTERN_LEVELS_MAX: u32 = 50;
/// What building a pattern while evaluating costs, and each byte of its text.
const BUILD_COST: usize = 5000;
const BUILD_COST_PER_BYTE: usize = 100;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Arc<Regex>);

impl Pattern {
    /// Builds the pattern.
    pub(super) fn new(text: &str) -> Result<Pattern, String> {
        RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .nest_limit(PATTERN_LEVELS_MAX)
            .build()
            .map(|regex| Pattern(Arc::new(regex)))
            .map_err(|error| reason(text, &error))
    }

    /// Builds a pattern that is known only now, and pays for it.
    pub(super) fn computed(text: &str, budget: &mut Budget) -> Outcome<Pattern> {
        budget.charge(BUILD_COST + text.len().saturating_mul(BUILD_COST_PER_BYTE))?;
        Pattern::new(text).or_else(fail)
    }

    /// Whether it matches anywhere in `text`. Linear in the text, and in the pattern.
    pub(super) fn is_match(&self, text: &str, budget: &mut Budget) -> Outcome<bool> {
        budget.charge(1 + text.len().saturating_mul(1 + self.0.as_str().len() / 32))?;
        Ok(self.0.is_match(text))
    }
}

fn reason(text: &str, error: &regex::Error) -> String {
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        return format!("the pattern `{text}` is too large");
    }
    // Only the last line of the library's text says what is wrong; those before draw the place.
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ");
    format!("the pattern is no regular expression: {reason}")
}
