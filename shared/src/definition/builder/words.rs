//! The words that a document has for the choices of the model.

use super::value::Value;
use crate::definition::model::{Backoff, Merge, OnError, OnExhausted, Reduce, Snapshots, SnapshotsAfterJoin};

/// A choice that is written as a word.
pub(super) trait Word {
    fn word(self) -> &'static str;
}

impl Value {
    pub(super) fn word(word: impl Word) -> Value {
        Value::text(word.word())
    }
}

/// What `input` asks a person for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputType {
    Approval,
    Choice,
    Text,
    Form,
}

/// `on_parent_close`: what happens to a child whose call ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnParentClose {
    /// It is cancelled.
    Cancel,
    /// It lives on.
    Abandon,
}

macro_rules! words {
    ($($of:ident { $($variant:ident => $word:literal),+ $(,)? })+) => {
        $(impl Word for $of {
            fn word(self) -> &'static str {
                match self {
                    $($of::$variant => $word),+
                }
            }
        })+
    };
}

words! {
    Snapshots { Full => "full", Delta => "delta", None => "none" }
    SnapshotsAfterJoin { Keep => "keep", Drop => "drop" }
    Backoff { Constant => "constant", Linear => "linear", Exponential => "exponential" }
    OnExhausted { Fail => "fail", Park => "park" }
    OnError { FailFast => "fail_fast", CompleteAll => "complete_all" }
    Merge {
        DeepMerge => "deep_merge", LastWins => "last_wins", Strict => "strict", Collect => "collect",
        Discard => "discard",
    }
    Reduce {
        Sum => "sum", Min => "min", Max => "max", Count => "count", Append => "append", Concat => "concat",
        Union => "union",
    }
    InputType { Approval => "approval", Choice => "choice", Text => "text", Form => "form" }
    OnParentClose { Cancel => "cancel", Abandon => "abandon" }
}
