//! The top of the document.

use serde::Serialize;

use super::document::{Document, InvalidWorkflow};
use super::keyed::{Keyed, WithoutSteps, part};
use super::retry::Retry;
use super::terms::FixedDuration;
use super::value::{Entries, Value};
use crate::definition::model::{Snapshots, SnapshotsAfterJoin};
use crate::limits::Limits;

part! {
    /// A workflow. Made by [`workflow`].
    Workflow<S>
}

/// A workflow of this name.
///
/// ```
/// use rejoin_shared::definition::builder::*;
/// use serde_json::json;
///
/// let hello = workflow("hello")
///     .input(json!({"type": "object", "required": ["name"]}))
///     .steps(flow![
///         step("say").with(json!({"text": expr("'hello ' + ctx.name")})).into_path("said"),
///         finish("done").output(expr("ctx.said")),
///     ]);
/// let document = hello.to_document()?;
/// assert_eq!(
///     serde_json::to_value(&document)?["steps"][0],
///     json!({"step": "say", "with": {"text": "= 'hello ' + ctx.name"}, "into": "said"})
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn workflow(name: impl Into<String>) -> Workflow<WithoutSteps> {
    Workflow::new(Entries(vec![("workflow".to_owned(), Value::text(name))]))
}

impl<S> Workflow<S> {
    /// `description`: free text for people.
    pub fn description(self, description: impl Into<String>) -> Self {
        self.with_key("description", Value::text(description))
    }

    /// `input`: the JSON Schema of the run's input.
    pub fn input(self, schema: impl Serialize) -> Self {
        self.with_key("input", Value::of(schema).plain())
    }

    /// `defaults`: for everything that calls a handler.
    pub fn defaults(self, defaults: Defaults) -> Self {
        self.with_key("defaults", defaults.into())
    }

    /// `snapshots`: what is stored with each branch completion.
    pub fn snapshots(self, snapshots: Snapshots) -> Self {
        self.with_key("snapshots", Value::word(snapshots))
    }

    /// `snapshots_after_join`: whether branch snapshots go when their join is durable.
    pub fn snapshots_after_join(self, what: SnapshotsAfterJoin) -> Self {
        self.with_key("snapshots_after_join", Value::word(what))
    }

    /// `retention`: how long ended runs are kept.
    pub fn retention(self, retention: Retention) -> Self {
        self.with_key("retention", retention.into())
    }

    /// `timeout`: of the whole run.
    pub fn timeout(self, timeout: impl Into<FixedDuration>) -> Self {
        self.with_key("timeout", timeout.into().0)
    }

    /// `max_visits`: the most visits of a node, 1,000 by default.
    pub fn max_visits(self, most: u32) -> Self {
        self.with_key("max_visits", Value::int(most))
    }
}

impl Workflow {
    /// The document that `PUT /v1/workflows` takes, read and checked as a server does it, under the default limits.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place in the document.
    pub fn to_document(&self) -> Result<Document, InvalidWorkflow> {
        self.to_document_within(&Limits::default())
    }

    /// The same under the limits of a server that has others.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place in the document.
    pub fn to_document_within(&self, limits: &Limits) -> Result<Document, InvalidWorkflow> {
        Document::check(Value::from(self.clone()), limits)
    }
}

part! {
    /// `defaults`: for everything that calls a handler and does not say otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rejoin_shared::definition::builder::*;
    ///
    /// let defaults = Defaults::new().timeout(Duration::from_secs(30)).retry(Retry::new().max_attempts(3));
    /// # let _ = defaults;
    /// ```
    Defaults
}

impl Defaults {
    /// Defaults that say nothing yet.
    pub fn new() -> Defaults {
        let entries = Entries::default();
        Defaults { entries }
    }

    /// `queue`: the task queue.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with_key("queue", Value::text(queue))
    }

    /// `timeout`: of one attempt.
    pub fn timeout(self, timeout: impl Into<FixedDuration>) -> Self {
        self.with_key("timeout", timeout.into().0)
    }

    /// `heartbeat`: the longest silence of a handler.
    pub fn heartbeat(self, silence: impl Into<FixedDuration>) -> Self {
        self.with_key("heartbeat", silence.into().0)
    }

    /// `retry`: what the policies of steps are completed with.
    pub fn retry(self, policy: Retry) -> Self {
        self.with_key("retry", policy.into())
    }
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults::new()
    }
}

part! {
    /// `retention`: how long ended runs are kept, by final state.
    Retention
}

impl Retention {
    /// A retention that says nothing yet: then the coordinator's configuration counts.
    pub fn new() -> Retention {
        let entries = Entries::default();
        Retention { entries }
    }

    /// `completed`: of completed runs.
    pub fn completed(self, time: impl Into<FixedDuration>) -> Self {
        self.with_key("completed", time.into().0)
    }

    /// `failed`: of failed runs.
    pub fn failed(self, time: impl Into<FixedDuration>) -> Self {
        self.with_key("failed", time.into().0)
    }

    /// `compensation_failed`: of runs whose compensation failed.
    pub fn compensation_failed(self, time: impl Into<FixedDuration>) -> Self {
        self.with_key("compensation_failed", time.into().0)
    }

    /// `cancelled`: of cancelled runs.
    pub fn cancelled(self, time: impl Into<FixedDuration>) -> Self {
        self.with_key("cancelled", time.into().0)
    }
}

impl Default for Retention {
    fn default() -> Retention {
        Retention::new()
    }
}
