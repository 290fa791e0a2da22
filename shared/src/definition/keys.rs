//! Every key of the document in one table: the checks read their keys from it and the JSON Schema is built from it.

pub(super) use super::shape::{Percent, Shape};

/// A key of some map of the document.
pub(super) struct Key {
    pub name: &'static str,
    pub required: bool,
    pub shape: Shape,
    /// One line for editors.
    pub doc: &'static str,
}

/// A kind of node.
pub(super) struct KindSpec {
    pub name: &'static str,
    pub keys: &'static [&'static [Key]],
    pub doc: &'static str,
}

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        required: false,
        shape,
        doc,
    }
}

const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        required: true,
        shape,
        doc,
    }
}

pub(super) const MERGES: &[&str] = &["deep_merge", "last_wins", "strict", "collect", "discard"];
pub(super) const REDUCES: &[&str] = &["sum", "min", "max", "count", "append", "concat", "union"];
pub(super) const FINAL_STATES: &[&str] = &["completed", "failed", "compensation_failed", "cancelled"];
pub(super) const INPUT_TYPES: &[&str] = &["approval", "choice", "text", "form"];

pub(super) const DOCUMENT: &[Key] = &[
    required("workflow", Shape::Name, "Name of the workflow."),
    key("description", Shape::Text, "Free text for people."),
    key("input", Shape::JsonSchema, "JSON Schema of the run's input."),
    key(
        "defaults",
        Shape::Object(DEFAULTS),
        "For everything that calls a handler.",
    ),
    key(
        "snapshots",
        Shape::Words(&["full", "delta", "none"]),
        "What is stored with each branch completion.",
    ),
    key(
        "snapshots_after_join",
        Shape::Words(&["keep", "drop"]),
        "Whether branch snapshots go when their join is durable.",
    ),
    key(
        "retention",
        Shape::Object(RETENTION),
        "How long ended runs are kept, by final state.",
    ),
    key("timeout", Shape::Duration, "Of the whole run."),
    key("max_visits", Shape::Int(1), "Most visits of a node; 1000 by default."),
    required("steps", Shape::Nodes, "What the workflow does."),
];

pub(super) const RETENTION: &[Key] = &[
    key("completed", Shape::Duration, "Of completed runs."),
    key("failed", Shape::Duration, "Of failed runs."),
    key(
        "compensation_failed",
        Shape::Duration,
        "Of runs whose compensation failed.",
    ),
    key("cancelled", Shape::Duration, "Of cancelled runs."),
];

pub(super) const DEFAULTS: &[Key] = &[
    key("queue", Shape::Name, "Task queue; `default` if nothing says otherwise."),
    key("timeout", Shape::Duration, "Of one attempt."),
    key("heartbeat", Shape::Duration, "Longest silence of a handler."),
    key(
        "retry",
        Shape::Object(RETRY),
        "What the retries of handlers are completed with.",
    ),
];

pub(super) const RETRY: &[Key] = &[
    key("max_attempts", Shape::Int(1), "Attempts in all; 1 is no retry."),
    key(
        "backoff",
        Shape::Words(&["constant", "linear", "exponential"]),
        "How the delay grows; exponential by default.",
    ),
    key("initial", Shape::Duration, "First delay; 1s by default."),
    key("max", Shape::Duration, "Longest delay; 1h by default."),
    key(
        "multiplier",
        Shape::Number,
        "Growth of the exponential backoff; 2 by default.",
    ),
    key(
        "jitter",
        Shape::Bool,
        "Whether delays are drawn at random; true by default.",
    ),
    key("only", Shape::Patterns, "Error types it is for."),
    key("except", Shape::Patterns, "Error types it is not for."),
];

pub(super) const RETRIES: Shape = Shape::Either(&[Shape::Object(RETRY), Shape::ListOf(&Shape::Object(RETRY))]);

/// Keys that every node may have.
pub(super) const COMMON: &[Key] = &[
    key("when", Shape::Condition, "The node is skipped unless this is true."),
    key("max_visits", Shape::Int(1), "Most visits of this node."),
];

const HANDLER: &[Key] = &[
    key("uses", Shape::Text, "Name of the handler."),
    key(
        "with",
        Shape::Template,
        "What the handler gets as input; the whole context by default.",
    ),
    key("queue", Shape::Name, "Task queue."),
    key(
        "retry",
        RETRIES,
        "A retry policy, or a list of which the first that matches counts.",
    ),
    key(
        "timeout",
        Shape::Duration,
        "Of one attempt, from its start on the worker.",
    ),
    key("heartbeat", Shape::Duration, "Longest silence of the handler."),
];

const STEP: &[Key] = &[
    key("into", Shape::IntoPath, "Where the output goes; null drops it."),
    key(
        "total_timeout",
        Shape::Duration,
        "Over all attempts, from the first start.",
    ),
    key(
        "on_exhausted",
        Shape::Words(&["fail", "park"]),
        "What follows when retries are used up.",
    ),
    key("compensate", Shape::Object(COMPENSATE), "What undoes it."),
    key(
        "idempotent",
        Shape::Bool,
        "False: claimed before it runs, at most once per attempt.",
    ),
];

pub(super) const COMPENSATE: &[Key] = &[
    required("uses", Shape::Text, "Name of the handler."),
    key(
        "with",
        Shape::Template,
        "What the handler gets; the output of what it undoes by default.",
    ),
    key(
        "retry",
        RETRIES,
        "A retry policy, or a list of which the first that matches counts.",
    ),
    key("timeout", Shape::Duration, "Of one attempt."),
    key("queue", Shape::Name, "Task queue."),
];

const JOIN: &[Key] = &[
    key(
        "need",
        Shape::Count(1, &["all", "any"], Percent::Yes),
        "How many branches must succeed.",
    ),
    key(
        "tolerate",
        Shape::Count(0, &[], Percent::Yes),
        "How many branches may fail.",
    ),
    key(
        "on_error",
        Shape::Words(&["fail_fast", "complete_all", "continue"]),
        "What a failure does to the siblings.",
    ),
    key(
        "merge",
        Shape::Words(MERGES),
        "How the branches' changes become one context.",
    ),
    key(
        "reduce",
        Shape::MapOf(&Shape::Words(REDUCES)),
        "Key paths that branches accumulate.",
    ),
    key("collect_as", Shape::KeyPath, "Where the branches' outputs are put."),
    key(
        "concurrency",
        Shape::Count(1, &["unbounded"], Percent::No),
        "How many branches run at once.",
    ),
    RETRY_OF_NODE,
];

const RETRY_OF_NODE: Key = key("retry", RETRIES, "The whole node runs again from where it began.");

const PARALLEL: &[Key] = &[
    required(
        "branches",
        Shape::MapOf(&Shape::Either(&[Shape::Nodes, Shape::Object(GUARDED)])),
        "Branches by name, in order.",
    ),
    key(
        "into",
        Shape::MapOf(&Shape::Expr),
        "Key path → expression, instead of merging.",
    ),
];

/// A branch of a parallel, in its long form.
pub(super) const GUARDED: &[Key] = &[
    key(
        "when",
        Shape::Condition,
        "Read once at the fork; the branch is skipped unless true.",
    ),
    required("steps", Shape::Nodes, "Its nodes."),
];

const FOREACH: &[Key] = &[
    required(
        "items",
        Shape::Either(&[Shape::Expr, Shape::AnyList]),
        "Expression that gives a list, a map or an integer; or a list.",
    ),
    required("steps", Shape::Nodes, "What is done for each item."),
    key("as", Shape::Name, "Name of the item in expressions; `item` by default."),
    key(
        "index_as",
        Shape::Name,
        "Name of its index in expressions; `index` by default.",
    ),
];

const GRAPH: &[Key] = &[required(
    "nodes",
    Shape::MapOf(&Shape::Object(GRAPH_NODE)),
    "Nodes by name, in order.",
)];

pub(super) const GRAPH_NODE: &[Key] = &[
    key("needs", Shape::Names, "Nodes that must be done before."),
    key(
        "when",
        Shape::Condition,
        "Read when the needs are done; the node is skipped unless true.",
    ),
    required("steps", Shape::Nodes, "Its nodes."),
];

const BRANCH: &[Key] = &[
    key("on", Shape::Expr, "What is compared with the case keys."),
    required(
        "cases",
        Shape::Either(&[
            Shape::MapOf(&Shape::Nodes),
            Shape::ListOf(&Shape::Object(CONDITION_CASE)),
        ]),
        "Key → nodes, or a list of conditions with steps.",
    ),
    key("default", Shape::Nodes, "Where no case matches."),
];

pub(super) const CONDITION_CASE: &[Key] = &[
    required(
        "when",
        Shape::Condition,
        "The first case whose condition holds is taken.",
    ),
    required("steps", Shape::Nodes, "Its nodes."),
];

const DECISION: &[Key] = &[
    key(
        "rules",
        Shape::ListOf(&Shape::Object(RULE)),
        "The first rule whose condition holds is taken.",
    ),
    key(
        "otherwise",
        Shape::Text,
        "`continue`, or the node to go to when no rule holds.",
    ),
];

pub(super) const RULE: &[Key] = &[
    required("when", Shape::Condition, "Its condition."),
    required("goto", Shape::Name, "The node to go to."),
];

const STEPS: &[Key] = &[required("steps", Shape::Nodes, "Its nodes.")];

const TRY: &[Key] = &[
    key(
        "catch",
        Shape::ListOf(&Shape::Object(CATCH)),
        "The first that matches the error runs.",
    ),
    key("finally", Shape::Nodes, "Runs when control leaves the try."),
];

pub(super) const CATCH: &[Key] = &[
    key(
        "errors",
        Shape::Patterns,
        "Globs over the error's type; all errors by default.",
    ),
    key(
        "as",
        Shape::Name,
        "Name of the error in expressions; `error` by default.",
    ),
    required("steps", Shape::Nodes, "Its nodes."),
];

const REPEAT: &[Key] = &[
    key("while", Shape::Condition, "Read before each round."),
    key("until", Shape::Condition, "Read after each round."),
    key("max", Shape::Int(1), "Most rounds; 1000 by default."),
];

const SLEEP: &[Key] = &[
    key("for", Shape::DurationTemplate, "How long."),
    key("until", Shape::TimeTemplate, "Until when."),
];

const WAIT: &[Key] = &[
    key("input", Shape::Object(INPUT), "Waits for a person's answer."),
    key("event", Shape::TextTemplate, "Waits for one event."),
    key(
        "any",
        Shape::ListOf(&Shape::TextTemplate),
        "Waits for the first of these events.",
    ),
    key(
        "all",
        Shape::ListOf(&Shape::TextTemplate),
        "Waits for all of these events.",
    ),
    key("timeout", Shape::DurationTemplate, "How long it waits."),
    key(
        "on_timeout",
        Shape::Either(&[Shape::Words(&["fail"]), Shape::Object(ON_TIMEOUT)]),
        "What follows the time-out; `fail` by default.",
    ),
    key(
        "match",
        Shape::Condition,
        "Over `payload`; events for which it is not true are passed over.",
    ),
    key("into", Shape::IntoPath, "Where the result goes; null drops it."),
];

pub(super) const INPUT: &[Key] = &[
    required("type", Shape::Words(INPUT_TYPES), "What kind of answer."),
    key("prompt", Shape::TextTemplate, "What is asked."),
    key("choices", Shape::AnyList, "Of a choice."),
    key("schema", Shape::JsonSchema, "JSON Schema of the answer."),
];

pub(super) const ON_TIMEOUT: &[Key] = &[
    key("value", Shape::Template, "This is the result."),
    key("goto", Shape::Name, "The node to go to."),
];

const CALL: &[Key] = &[
    required("workflow", Shape::Name, "Name of the child's workflow."),
    key(
        "version",
        Shape::Count(1, &[], Percent::No),
        "Its version; the newest by default.",
    ),
    key("with", Shape::Template, "Its input; the context by default."),
    key("into", Shape::IntoPath, "Where its output goes; null drops it."),
    key("detached", Shape::Bool, "Whether the parent goes on at once."),
    key(
        "on_parent_close",
        Shape::Words(&["cancel", "abandon"]),
        "What happens to a child whose call ends before it.",
    ),
    key("timeout", Shape::DurationTemplate, "How long the call may take."),
    RETRY_OF_NODE,
    key(
        "compensate",
        Shape::Object(COMPENSATE),
        "What undoes the completed child.",
    ),
];

const EMIT: &[Key] = &[
    required("event", Shape::TextTemplate, "Name of the event."),
    key("payload", Shape::Template, "What it carries."),
    key(
        "to",
        Shape::TextTemplate,
        "Id of the run it is for; every run that waits for it by default.",
    ),
];

const SET: &[Key] = &[
    key("values", Shape::MapOf(&Shape::Template), "Key path → value."),
    key(
        "unset",
        Shape::KeyPaths,
        "Key paths to remove, before the values are written.",
    ),
];

const FAIL: &[Key] = &[key(
    "error",
    Shape::Either(&[Shape::TextTemplate, Shape::Object(ERROR)]),
    "Its parts, or `= error`, an error value raised as it is.",
)];

pub(super) const ERROR: &[Key] = &[
    key("type", Shape::TextTemplate, "`rejoin.failed` by default."),
    key("message", Shape::TextTemplate, "What a person reads."),
    key(
        "details",
        Shape::Either(&[Shape::MapOf(&Shape::Template), Shape::TextTemplate]),
        "An object.",
    ),
];

const FINISH: &[Key] = &[key(
    "output",
    Shape::Template,
    "The run's output; the context by default.",
)];

/// All kinds of nodes.
pub(super) const KINDS: &[KindSpec] = &[
    kind("step", &[HANDLER, STEP], "Calls a handler on a worker."),
    kind(
        "parallel",
        &[PARALLEL, JOIN],
        "Runs branches side by side and joins them.",
    ),
    kind("foreach", &[FOREACH, JOIN], "Runs its steps for each item."),
    kind("graph", &[GRAPH, JOIN], "Runs nodes in the order of their needs."),
    kind("branch", &[BRANCH], "Takes one of several ways."),
    kind("decision", &[DECISION, HANDLER], "Moves control to another node."),
    kind("group", &[STEPS, &[RETRY_OF_NODE]], "Nodes under one name."),
    kind("try", &[STEPS, TRY], "Catches errors."),
    kind("repeat", &[STEPS, REPEAT], "Runs its steps again and again."),
    kind("sleep", &[SLEEP], "Waits for a time."),
    kind("wait", &[WAIT], "Waits for a person or an event."),
    kind("call", &[CALL], "Runs another workflow."),
    kind("emit", &[EMIT], "Sends an event."),
    kind("set", &[SET], "Changes the context."),
    kind("fail", &[FAIL], "Fails with an error."),
    kind("finish", &[FINISH], "Ends the run successfully."),
];

const fn kind(name: &'static str, keys: &'static [&'static [Key]], doc: &'static str) -> KindSpec {
    KindSpec { name, keys, doc }
}

/// The kind of node named `name`.
pub(super) fn kind_of(name: &str) -> Option<&'static KindSpec> {
    KINDS.iter().find(|k| k.name == name)
}

impl KindSpec {
    /// The keys of this kind, and those every node may have.
    pub fn all_keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().copied().chain([COMMON]).flatten()
    }
}
