//! The top of the document.

use std::sync::Arc;
use std::time::Duration;

use super::fields::Fields;
use super::{Around, Checker};
use crate::definition::keys::{DEFAULTS, DOCUMENT, FINAL_STATES};
use crate::definition::model::{
    Definition, Flow, FlowRole, Node, ResultsNamed, RetryPolicy, Snapshots, SnapshotsAfterJoin,
};
use crate::definition::source::Tree;
use crate::definition::supported;
use crate::json::Json;

/// What the top says, beside the nodes.
pub(super) struct Head {
    workflow: Arc<str>,
    description: Option<String>,
    input: Option<Json>,
    snapshots: Snapshots,
    snapshots_after_join: SnapshotsAfterJoin,
    retention: Vec<(String, Duration)>,
    timeout: Option<Duration>,
}

impl Head {
    pub(super) fn with(self, nodes: Vec<Node>, flows: Vec<Flow>, results_named: ResultsNamed) -> Definition {
        Definition {
            workflow: self.workflow,
            description: self.description,
            input: self.input,
            snapshots: self.snapshots,
            snapshots_after_join: self.snapshots_after_join,
            retention: self.retention,
            timeout: self.timeout,
            nodes,
            flows,
            results_named,
        }
    }
}

impl Checker<'_> {
    /// Reads the whole document; `None` if its top cannot be put together.
    pub(super) fn document(&mut self, tree: &Tree) -> Option<Head> {
        let fields = self.fields(tree, &[DOCUMENT], "a workflow", None)?;
        let workflow = self.name_at(&fields, "workflow");
        let description = fields.get("description").and_then(Tree::text).map(ToString::to_string);
        let input = self.schema_at(&fields, "input");
        self.read_settings(&fields);
        let snapshots_after_join = match self.word_at(&fields, "snapshots_after_join") {
            Some("drop") => SnapshotsAfterJoin::Drop,
            _ => SnapshotsAfterJoin::Keep,
        };
        let retention = self.retention(&fields);
        let timeout = self.positive_duration_at(&fields, "timeout");
        if let Some(steps) = fields.get("steps") {
            self.flow(steps, FlowRole::Root, &Around::top());
        }
        self.refuse_unsupported_keys(tree, supported::DOCUMENT);
        Some(Head {
            workflow: workflow?,
            description,
            input,
            snapshots: self.settings.snapshots,
            snapshots_after_join,
            retention,
            timeout,
        })
    }

    /// What nodes are completed with, read before them wherever it stands.
    fn read_settings(&mut self, fields: &Fields<'_>) {
        self.settings.snapshots = match self.word_at(fields, "snapshots") {
            Some("full") => Snapshots::Full,
            Some("none") => Snapshots::None,
            _ => Snapshots::Delta,
        };
        if let Some(n) = self.int_at(fields, "max_visits") {
            self.settings.max_visits = n;
        }
        let Some(tree) = fields.get("defaults") else { return };
        let Some(defaults) = self.fields(tree, &[DEFAULTS], "`defaults`", None) else {
            return;
        };
        if let Some(queue) = self.name_at(&defaults, "queue") {
            self.settings.queue = queue;
        }
        self.settings.timeout = self.positive_duration_at(&defaults, "timeout");
        self.settings.heartbeat = self.positive_duration_at(&defaults, "heartbeat");
        if let Some(retry) = defaults.get("retry")
            && let Some(policy) = self.policy(retry, &RetryPolicy::default())
        {
            self.settings.retry = policy;
        }
    }

    fn retention(&mut self, fields: &Fields<'_>) -> Vec<(String, Duration)> {
        let Some(tree) = fields.get("retention") else {
            return Vec::new();
        };
        let Some(states) = self.fields(tree, &[crate::definition::keys::RETENTION], "`retention`", None) else {
            return Vec::new();
        };
        let mut read = Vec::new();
        for state in FINAL_STATES {
            read.extend(self.duration_at(&states, state).map(|d| ((*state).to_owned(), d)));
        }
        read
    }
}
