//! Workflows written in Rust: they yield the document that others write as YAML or JSON.
//!
//! ```text
//! functions and methods ──▶ keys, in the order of the calls ──JSON text──▶ read, check ──▶ Document (what is registered)
//! ```
//! Nothing is checked here: the text goes through the parser of all documents, whose errors name the place in it.
//! What types can hold is held by types: a node that needs steps stands in no flow before it has some.
//!
//! - A function for each kind of node ([`step`], [`parallel`], [`foreach`], …) takes what the kind cannot be without; a
//!   method for each other key has the key's name. Other names: `as` is `item_as` and `error_as`; `into` is `into_path` and
//!   `into_nothing`; `match` and `while` are [`Wait::match_`] and [`Repeat::while_`]; maps and lists of the author's own
//!   (`branches`, `nodes`, `cases`, `rules`, `reduce`, `values`, `unset`) have a method that adds one.
//! - A method called again replaces what it said before; one that adds an entry adds another.
//! - [`flow!`](crate::flow) lists nodes. A single node is a flow, and iterators of nodes collect into one.
//! - Where only an expression can stand (`when`, `on`, `items`, …) it is given as text. Elsewhere values are literal, text
//!   whatever it begins with, and [`expr()`] marks what is to be computed.
//! - Values are all that serializes: numbers, text, structs, `json!`, and [`object!`](crate::object), whose keys keep their
//!   order (in `json!` they are sorted; a struct has them as it declares them).
//! - Durations are [`std::time::Duration`], or text as in a document.
//!
//! The order of branches, nodes and cases counts in the digest of a document: give them in the order of a YAML text
//! to get the same version of the workflow.
//!
//! ```
//! use std::time::Duration;
//! use rejoin_shared::definition::builder::*;
//! use serde_json::json;
//!
//! let orders = workflow("orders")
//!     .input(json!({"type": "object", "required": ["items"]}))
//!     .defaults(Defaults::new().timeout(Duration::from_secs(30)).retry(Retry::new().max_attempts(3)))
//!     .steps(flow![
//!         foreach("pick_items", "ctx.items")
//!             .item_as("line")
//!             .concurrency(8)
//!             .merge(Merge::Discard)
//!             .collect_as("picked")
//!             .steps(step("pick").with(object! { "sku" => expr("line.sku") })),
//!         parallel("notify")
//!             .branch("email", step("send_mail").retry(Retry::new().max_attempts(5)))
//!             .branch("analytics", step("update_analytics")),
//!         finish("done").output(expr("ctx.picked")),
//!     ]);
//! let document = orders.to_document()?;
//! assert!(document.json().starts_with(r#"{"workflow":"orders","input":{"#));
//!
//! let wrong = workflow("wrong").steps(step("wait").timeout("soon"));
//! let errors = wrong.to_document().expect_err("no duration");
//! assert!(errors.to_string().starts_with("/steps/0/timeout (wait): `soon` is no duration"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod control;
mod document;
mod ends;
mod flow;
mod keyed;
mod retry;
mod scopes;
mod serialize;
mod step;
mod terms;
mod value;
mod waits;
mod words;
mod workflow;

pub use crate::definition::error::DefinitionError;
pub use crate::definition::model::{Backoff, Merge, OnError, OnExhausted, Reduce, Snapshots, SnapshotsAfterJoin};
pub use crate::{flow, object};

pub use control::{
    Branch, BranchOn, Catch, Decision, DecisionBy, Group, Repeat, Try, branch, branch_on, catch, decision, decision_by,
    group, repeat, try_,
};
pub use document::{Document, InvalidWorkflow};
pub use ends::{Fail, Finish, Set, fail, finish, set};
pub use flow::{Flow, Node};
pub use keyed::{WithSteps, WithoutSteps};
pub use retry::{Retries, Retry};
pub use scopes::{Foreach, Graph, GraphNode, Parallel, foreach, graph, needs, parallel};
pub use step::{Compensate, Step, step};
pub use terms::{AnyDuration, Condition, Count, FixedDuration, Items, Number, Source, Text, Time, Version};
pub use value::{Expr, Value, expr};
pub use waits::{
    Call, Emit, Input, Sleep, Wait, call, emit, sleep_for, sleep_until, wait_all, wait_any, wait_event, wait_input,
};
pub use words::OnParentClose;
pub use workflow::{Defaults, Retention, Workflow, workflow};
