//! Which failures are tried again (SPEC 5.1), and patterns of error types (SPEC 4.1, 5.8).

use std::time::Duration;

use rejoin_shared::definition::model::{Backoff, Catch, RetryPolicy};

use super::{Failure, Walker};

/// The retries that a node's policies have left.
pub(super) struct Budget<'a> {
    policies: &'a [RetryPolicy],
    used: Vec<u32>,
}

impl<'a> Budget<'a> {
    pub(super) fn new(policies: &'a [RetryPolicy]) -> Budget<'a> {
        Budget {
            policies,
            used: vec![0; policies.len()],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Takes a retry from the first policy that matches, if it has one left: the shortest delay before it.
    pub(super) fn take(&mut self, failure: &Failure) -> Option<Duration> {
        let at = self.policies.iter().position(|policy| is_for(policy, failure))?;
        self.used[at] += 1;
        let policy = &self.policies[at];
        (self.used[at] < policy.max_attempts).then(|| shortest_delay(policy, self.used[at]))
    }
}

impl Walker<'_> {
    /// Whether a group or scope that failed so is tried again.
    pub(super) fn may_retry(&mut self, budget: &mut Budget<'_>, failure: &Failure) -> bool {
        if budget.policies.is_empty() || self.log.too_large {
            return false;
        }
        // What was cancelled, and with it which errors there are and which nodes count as met, depends on timing.
        if self.log.may_cancel {
            self.doubt("a retry around cancelled branches", &failure.path);
        }
        let flat = |inner: &Failure| Failure {
            branches: Vec::new(),
            ..inner.clone()
        };
        let shallow = Failure {
            branches: failure.branches.iter().map(flat).collect(),
            ..failure.clone()
        };
        // Whether "matched" reaches through a branch that failed with `rejoin.branches_failed` itself is left open.
        let lists = |policy: &RetryPolicy| [policy.only.clone().unwrap_or_default(), policy.except.clone()];
        let differs = |policy: &RetryPolicy| {
            let mut lists = lists(policy).into_iter();
            lists.any(|list| list_matches(&list, failure) != list_matches(&list, &shallow))
        };
        if budget.policies.iter().any(differs) {
            self.doubt("a pattern against nested failed branches", &failure.path);
        }
        budget.take(failure).is_some()
    }
}

impl Walker<'_> {
    /// The first catch that matches.
    pub(super) fn catching<'c>(&mut self, catches: &'c [Catch], failure: &Failure) -> Option<(usize, &'c Catch)> {
        let mut all = catches.iter().enumerate();
        // Which errors there are among cancelled branches depends on timing; a catch of everything does not look at them.
        let is_for_all = catches.first().is_some_and(|first| first.errors == ["*"]);
        if self.log.may_cancel && !failure.branches.is_empty() && !is_for_all {
            self.doubt("a catch around cancelled branches", &failure.path);
        }
        all.find(|(_, catch)| list_matches(&catch.errors, failure))
    }
}

/// Before retry number `n`, from 1.
fn shortest_delay(policy: &RetryPolicy, n: u32) -> Duration {
    let factor = match policy.backoff {
        Backoff::Constant => 1.0,
        Backoff::Linear => f64::from(n),
        Backoff::Exponential => policy.multiplier.powf(f64::from(n - 1)),
    };
    let full = policy.initial.mul_f64(factor).min(policy.max);
    match policy.jitter {
        true => full / 2,
        false => full,
    }
}

fn is_for(policy: &RetryPolicy, failure: &Failure) -> bool {
    let wanted = match &policy.only {
        Some(patterns) => list_matches(patterns, failure),
        None => is_retryable(failure),
    };
    wanted && !list_matches(&policy.except, failure)
}

const BRANCHES_FAILED: &str = "rejoin.branches_failed";

fn is_retryable(failure: &Failure) -> bool {
    match failure.kind.as_str() {
        "rejoin.timeout" | "rejoin.heartbeat_lost" => true,
        BRANCHES_FAILED => !failure.branches.is_empty() && failure.branches.iter().all(is_retryable),
        other => !other.starts_with("rejoin."),
    }
}

fn list_matches(patterns: &[String], failure: &Failure) -> bool {
    let (excluding, including): (Vec<&str>, Vec<&str>) =
        patterns.iter().map(String::as_str).partition(|p| p.starts_with('!'));
    let excluding: Vec<&str> = excluding.iter().map(|p| &p[1..]).collect();
    any_hits(&including, failure) && !any_hits(&excluding, failure)
}

fn any_hits(patterns: &[&str], failure: &Failure) -> bool {
    patterns
        .iter()
        .any(|pattern| glob(pattern.as_bytes(), failure.kind.as_bytes()))
        || failure.kind == BRANCHES_FAILED
            && !failure.branches.is_empty()
            && failure.branches.iter().all(|branch| any_hits(patterns, branch))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|n| glob(rest, &text[n..])),
        Some((c, rest)) => text.first() == Some(c) && glob(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_exclusions_alone_matches_nothing_and_all_branches_must_match() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let failure = Failure::new("a.b.c", "/x");
        assert!(list_matches(&list("a.*"), &failure));
        assert!(!list_matches(&list("!z"), &failure));
        assert!(!list_matches(&list("* !a.b.*"), &failure));
        let joined = Failure {
            branches: vec![failure.clone(), Failure::new("d", "/y")],
            ..Failure::new(BRANCHES_FAILED, "/p")
        };
        assert!(!list_matches(&list("a.*"), &joined));
        assert!(list_matches(&list("a.* d"), &joined));
        assert!(!list_matches(&list("* !a.* !d"), &joined));
    }
}
