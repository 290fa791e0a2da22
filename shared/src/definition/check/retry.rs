//! Retry policies: each completes the one below it key by key (SPEC 5.1).

use super::Checker;
use super::fields::Fields;
use crate::definition::keys::RETRY;
use crate::definition::model::{Backoff, RetryPolicy};
use crate::definition::source::{Tree, TreeKind};

impl Checker<'_> {
    /// The policies of what calls a handler: never empty, completed by `defaults.retry`.
    pub(super) fn handler_retry(&mut self, fields: &Fields<'_>) -> Option<Vec<RetryPolicy>> {
        let base = self.settings.retry.clone();
        if !fields.has("retry") {
            return Some(vec![base]);
        }
        self.policies(fields.get("retry")?, &base)
    }

    /// The policies of a node as a whole: none unless it says so, and without `defaults.retry`.
    pub(super) fn node_retry(&mut self, fields: &Fields<'_>) -> Option<Vec<RetryPolicy>> {
        if !fields.has("retry") {
            return Some(Vec::new());
        }
        self.policies(fields.get("retry")?, &RetryPolicy::default())
    }

    fn policies(&mut self, tree: &Tree, base: &RetryPolicy) -> Option<Vec<RetryPolicy>> {
        let Some(items) = tree.items() else {
            return self.policy(tree, base).map(|p| vec![p]);
        };
        if items.is_empty() {
            let message = "an empty list of policies; leave `retry` out, or write `max_attempts: 1` for no retry";
            return self.refuse(tree, "bad_value", message);
        }
        let read: Vec<Option<RetryPolicy>> = items.iter().map(|item| self.policy(item, base)).collect();
        read.into_iter().collect()
    }

    /// One policy: what it does not say is taken from `base`.
    pub(super) fn policy(&mut self, tree: &Tree, base: &RetryPolicy) -> Option<RetryPolicy> {
        let fields = self.fields(tree, &[RETRY], "a retry policy", None)?;
        let mut policy = base.clone();
        if let Some(n) = self.int_at(&fields, "max_attempts") {
            policy.max_attempts = n;
        }
        if let Some(word) = self.word_at(&fields, "backoff") {
            policy.backoff = match word {
                "constant" => Backoff::Constant,
                "linear" => Backoff::Linear,
                _ => Backoff::Exponential,
            };
        }
        if let Some(initial) = self.duration_at(&fields, "initial") {
            policy.initial = initial;
        }
        if let Some(max) = self.duration_at(&fields, "max") {
            policy.max = max;
        }
        if let Some(multiplier) = self.multiplier(&fields) {
            policy.multiplier = multiplier;
        }
        if let Some(jitter) = self.bool_at(&fields, "jitter") {
            policy.jitter = jitter;
        }
        if let Some(only) = self.patterns_at(&fields, "only") {
            policy.only = Some(only);
        }
        if let Some(except) = self.patterns_at(&fields, "except") {
            policy.except = except;
        }
        Some(policy)
    }

    fn multiplier(&mut self, fields: &Fields<'_>) -> Option<f64> {
        let tree = fields.get("multiplier")?;
        let value = match (&tree.kind, tree.integer()) {
            (TreeKind::Float(x), _) => *x,
            (_, n) => f64::from(u32::try_from(n?).unwrap_or(0)),
        };
        if value >= 1.0 {
            return Some(value);
        }
        self.refuse(tree, "bad_value", "`multiplier` is a number from 1")
    }
}
