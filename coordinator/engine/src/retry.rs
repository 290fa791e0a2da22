//! Which retry policy allows another try, and when (SPEC 5.1).

use std::time::Duration;

use rejoin_shared::definition::model::{Backoff, RetryPolicy};
use rejoin_shared::run::ErrorValue;
use rejoin_shared::time::Timestamp;

use crate::join::failure::BRANCHES_FAILED;
use crate::patterns::{branch_errors, branch_types, matches_list};
use crate::record::NodeRetry;

/// The policy that takes this error, if it still allows a try. `allowed` counts what each policy allowed so far.
pub(crate) fn next_try(
    policies: &[RetryPolicy],
    allowed: &[u32],
    error: &ErrorValue,
    retry_after: Option<Duration>,
    random: u64,
    now: Timestamp,
) -> Option<NodeRetry> {
    let policy = policies.iter().position(|policy| takes(policy, error))?;
    let used = allowed.get(policy).copied().unwrap_or(0);
    let rule = &policies[policy];
    if used + 1 >= rule.max_attempts {
        return None;
    }
    let delay = delay(rule, used + 1, random).max(retry_after.unwrap_or_default());
    Some(NodeRetry {
        policy,
        at: now.plus(delay),
    })
}

/// Whether an error comes to this policy.
fn takes(policy: &RetryPolicy, error: &ErrorValue) -> bool {
    let wanted = match &policy.only {
        Some(patterns) => matches_list(patterns, error),
        None => is_retried_by_default(error),
    };
    wanted && !matches_list(&policy.except, error)
}

/// All errors that are not the engine's own, and those of the engine's that another try may help.
fn is_retried_by_default(error: &ErrorValue) -> bool {
    match error.kind.as_str() {
        "rejoin.timeout" | "rejoin.heartbeat_lost" => true,
        BRANCHES_FAILED => {
            let listed = branch_errors(error);
            // Listed in short, it has no list: its counts by type tell.
            let is_short = error.details.as_ref().is_some_and(|d| d.get("branches").is_none());
            (is_short || !listed.is_empty())
                && listed.iter().all(is_retried_by_default)
                && branch_types(error).is_some_and(|types| types.iter().all(|kind| is_type_retried(kind)))
        }
        kind => is_type_retried(kind),
    }
}

fn is_type_retried(kind: &str) -> bool {
    !kind.starts_with("rejoin.") || matches!(kind, "rejoin.timeout" | "rejoin.heartbeat_lost" | BRANCHES_FAILED)
}

/// Delay before retry number `n` (from 1). With jitter it is drawn between half and all of itself.
fn delay(policy: &RetryPolicy, n: u32, random: u64) -> Duration {
    let factor = match policy.backoff {
        Backoff::Constant => 1.0,
        Backoff::Linear => f64::from(n),
        Backoff::Exponential => policy.multiplier.powf(f64::from(n - 1)),
    };
    let seconds = (policy.initial.as_secs_f64() * factor).min(policy.max.as_secs_f64());
    let full = Duration::try_from_secs_f64(seconds).unwrap_or(policy.max);
    if !policy.jitter {
        return full;
    }
    let micros = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros / 2 + random % (micros - micros / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(backoff: Backoff) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 10,
            backoff,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(6),
            jitter: false,
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn delays_grow_as_the_backoff_says_and_stay_below_the_maximum() {
        let seconds = |backoff| {
            (1..=5)
                .map(|n| delay(&policy(backoff), n, 0).as_secs())
                .collect::<Vec<_>>()
        };
        assert_eq!(seconds(Backoff::Constant), [1, 1, 1, 1, 1]);
        assert_eq!(seconds(Backoff::Linear), [1, 2, 3, 4, 5]);
        assert_eq!(seconds(Backoff::Exponential), [1, 2, 4, 6, 6]);
    }

    #[test]
    fn jitter_draws_between_half_and_all() {
        let jittery = RetryPolicy {
            jitter: true,
            ..policy(Backoff::Constant)
        };
        for random in 0..5000 {
            let delay = delay(&jittery, 1, random * 7_919);
            assert!(delay >= Duration::from_millis(500) && delay <= Duration::from_secs(1));
        }
    }

    #[test]
    fn the_first_policy_that_takes_an_error_counts_alone() {
        let only = |pattern: &str, max_attempts| RetryPolicy {
            only: Some(vec![pattern.to_owned()]),
            max_attempts,
            ..policy(Backoff::Constant)
        };
        let policies = [only("http.*", 2), only("*", 5)];
        let http = ErrorValue::new("http.status_500", "", "/a");
        let other = ErrorValue::new("x", "", "/a");
        let at = |allowed: &[u32], error| {
            next_try(&policies, allowed, error, None, 0, Timestamp(0)).map(|retry| retry.policy)
        };
        assert_eq!(at(&[], &http), Some(0));
        assert_eq!(at(&[1], &http), None);
        assert_eq!(at(&[1], &other), Some(1));
        assert_eq!(at(&[0, 4], &other), None);
    }

    #[test]
    fn the_engines_own_errors_are_retried_only_where_named() {
        let plain = [policy(Backoff::Constant)];
        let named = [RetryPolicy {
            only: Some(vec!["rejoin.too_large".to_owned()]),
            ..policy(Backoff::Constant)
        }];
        let own = ErrorValue::new("rejoin.too_large", "", "/a");
        assert!(next_try(&plain, &[], &own, None, 0, Timestamp(0)).is_none());
        assert!(next_try(&named, &[], &own, None, 0, Timestamp(0)).is_some());
        assert!(
            next_try(
                &plain,
                &[],
                &ErrorValue::new("rejoin.timeout", "", "/a"),
                None,
                0,
                Timestamp(0)
            )
            .is_some()
        );
    }
}
