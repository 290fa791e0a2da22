//! What all parts of a document have in common: keys, put there one by one, in the order of the calls.

use super::value::{Entries, Value};

/// Something with keys.
pub(super) trait Keyed: Sized {
    fn entries(&mut self) -> &mut Entries;

    /// The same with this value at `key`; an earlier one is replaced.
    fn with_key(mut self, key: &str, value: Value) -> Self {
        self.entries().put(key, value);
        self
    }

    /// The same with one more entry in the map at `key`.
    fn with_entry(mut self, key: &str, name: impl Into<String>, value: Value) -> Self {
        self.entries().map_at(key).push(name, value);
        self
    }

    /// The same with one more item in the list at `key`.
    fn with_item(mut self, key: &str, value: Value) -> Self {
        self.entries().list_at(key).push(value);
        self
    }
}

/// Of a part whose `steps` are still to be given: as such it can stand nowhere.
#[derive(Clone, Copy, Debug)]
pub enum WithoutSteps {}

/// Of a part that has its `steps`.
#[derive(Clone, Copy, Debug)]
pub enum WithSteps {}

/// The first entry of a node: its kind, with its name.
pub(super) fn named(kind: &str, name: impl Into<String>) -> Entries {
    Entries(vec![(kind.to_owned(), Value::text(name))])
}

/// A part of a document: a struct over its keys. With `<S>` it has to be given its steps before it can stand anywhere;
/// `always` names the key that a part has even when nothing was put there.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident $(, always $key:literal => $empty:expr)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "it is part of no document before it is given to one"]
        pub struct $name {
            entries: $crate::definition::builder::value::Entries,
        }

        impl $crate::definition::builder::keyed::Keyed for $name {
            fn entries(&mut self) -> &mut $crate::definition::builder::value::Entries {
                &mut self.entries
            }
        }

        impl From<$name> for $crate::definition::builder::Value {
            fn from(part: $name) -> $crate::definition::builder::Value {
                let entries = part.entries;
                $(let entries = entries.with_default($key, $empty);)?
                $crate::definition::builder::Value::map(entries)
            }
        }
    };
    ($(#[$doc:meta])* $name:ident<S>) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "it is part of no document before it is given to one"]
        pub struct $name<S = $crate::definition::builder::WithSteps> {
            entries: $crate::definition::builder::value::Entries,
            state: std::marker::PhantomData<S>,
        }

        impl<S> $crate::definition::builder::keyed::Keyed for $name<S> {
            fn entries(&mut self) -> &mut $crate::definition::builder::value::Entries {
                &mut self.entries
            }
        }

        impl $name<$crate::definition::builder::WithoutSteps> {
            fn new(entries: $crate::definition::builder::value::Entries) -> Self {
                let state = std::marker::PhantomData;
                $name { entries, state }
            }

            /// Its nodes. Without them it can stand nowhere; other keys may be given before and after.
            pub fn steps(self, steps: impl Into<$crate::definition::builder::Flow>) -> $name {
                let entries = self.with_key("steps", steps.into().into()).entries;
                let state = std::marker::PhantomData;
                $name { entries, state }
            }
        }

        impl From<$name> for $crate::definition::builder::Value {
            fn from(part: $name) -> $crate::definition::builder::Value {
                $crate::definition::builder::Value::map(part.entries)
            }
        }
    };
}

/// Lets a part stand in flows, and gives it the keys of every node.
macro_rules! node {
    ($name:ident $(, $state:ident)?) => {
        impl From<$name> for $crate::definition::builder::Node {
            fn from(node: $name) -> $crate::definition::builder::Node {
                $crate::definition::builder::Node(node.into())
            }
        }

        impl From<$name> for $crate::definition::builder::Flow {
            fn from(node: $name) -> $crate::definition::builder::Flow {
                $crate::definition::builder::Flow::from($crate::definition::builder::Node::from(node))
            }
        }

        impl$(<$state>)? $name$(<$state>)? {
            /// `when`: the node is skipped unless this is true.
            pub fn when(self, condition: impl Into<$crate::definition::builder::Condition>) -> Self {
                self.with_key("when", condition.into().0)
            }

            /// `max_visits`: the most visits of this node; beyond them `rejoin.visit_limit`.
            pub fn max_visits(self, most: u32) -> Self {
                self.with_key("max_visits", $crate::definition::builder::Value::int(most))
            }
        }
    };
}

/// `retry` of what runs again as a whole.
macro_rules! retry_key {
    ($name:ident $(, $state:ident)?) => {
        impl$(<$state>)? $name$(<$state>)? {
            /// `retry`: a policy, or a list of which the first that matches an error counts. The whole node runs again
            /// from where it began.
            pub fn retry(self, policies: impl Into<$crate::definition::builder::Retries>) -> Self {
                self.with_key("retry", policies.into().0)
            }
        }
    };
}

/// The keys of everything that calls a handler.
macro_rules! call_keys {
    ($name:ident) => {
        impl $name {
            /// `with`: what the handler gets as its input.
            pub fn with(self, input: impl serde::Serialize) -> Self {
                self.with_key("with", $crate::definition::builder::Value::of(input).template())
            }

            /// `queue`: the task queue, whose workers serve the handler.
            pub fn queue(self, queue: impl Into<String>) -> Self {
                self.with_key("queue", $crate::definition::builder::Value::text(queue))
            }

            /// `retry`: a policy, or a list of which the first that matches an error counts.
            pub fn retry(self, policies: impl Into<$crate::definition::builder::Retries>) -> Self {
                self.with_key("retry", policies.into().0)
            }

            /// `timeout`: of one attempt, from its start on the worker.
            pub fn timeout(self, timeout: impl Into<$crate::definition::builder::FixedDuration>) -> Self {
                self.with_key("timeout", timeout.into().0)
            }
        }
    };
}

/// `heartbeat`
macro_rules! heartbeat_key {
    ($name:ident) => {
        impl $name {
            /// `heartbeat`: the longest silence of the handler, from the start of an attempt on the worker.
            pub fn heartbeat(self, silence: impl Into<$crate::definition::builder::FixedDuration>) -> Self {
                self.with_key("heartbeat", silence.into().0)
            }
        }
    };
}

/// `into` of what has an output.
macro_rules! output_keys {
    ($name:ident) => {
        impl $name {
            /// `into`: the output goes to this key path of the context, whatever it is.
            pub fn into_path(self, path: impl Into<String>) -> Self {
                self.with_key("into", $crate::definition::builder::Value::text(path))
            }

            /// `into: null`: the output goes nowhere.
            pub fn into_nothing(self) -> Self {
                self.with_key("into", $crate::definition::builder::Value::null())
            }
        }
    };
}

pub(super) use {call_keys, heartbeat_key, node, output_keys, part, retry_key};
