//! What the keys of a document take, each as a type that says what it can be made of.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::value::{Expr, Value};
use crate::definition::duration;
use crate::time::Timestamp;

/// A type of argument, with what it is made of.
macro_rules! argument {
    ($(#[$doc:meta])* $name:ident { $($from:ty => $make:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub(super) Value);

        $(impl From<$from> for $name {
            fn from(given: $from) -> $name {
                $name($make(given))
            }
        })+
    };
}

/// Text where only an expression can stand.
fn source(Expr(source): Expr) -> Value {
    Value::text(source)
}

/// Text where an expression could stand, too.
fn literal(text: impl Into<String>) -> Value {
    Value::text(text).template()
}

fn computed(expr: Expr) -> Value {
    Value::from(expr).template()
}

fn length(length: Duration) -> Value {
    Value::text(duration::write(length))
}

fn moment(time: SystemTime) -> Value {
    let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    let since = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => micros(after),
        Err(before) => -micros(before.duration()),
    };
    Value::text(Timestamp(since).to_string())
}

argument! {
    /// An expression, as text: where nothing else can stand, no [`expr`](super::expr()) has to mark it.
    Source { &str => Value::text, String => Value::text, Expr => source }
}
argument! {
    /// An expression that gives true or false, as text; or one of the two.
    Condition { bool => Value::bool, &str => Value::text, String => Value::text, Expr => source }
}
argument! {
    /// Text, taken as it is; or an expression that gives it.
    Text { &str => literal, String => literal, Expr => computed }
}
argument! {
    /// A duration, or its text as a document has it (`"90s"`, `"1h30m"`, `"PT5M"`).
    FixedDuration { Duration => length, &str => Value::text, String => Value::text }
}
argument! {
    /// A duration, or its text as a document has it (`"90s"`, `"PT5M"`), or an expression that gives it.
    AnyDuration { Duration => length, &str => literal, String => literal, Expr => computed }
}
argument! {
    /// A point in time, as RFC 3339 if it is text, or an expression that gives it.
    Time { SystemTime => moment, &str => literal, String => literal, Expr => computed }
}
argument! {
    /// A number of branches; or text: a word (`"all"`, `"any"`, `"unbounded"`) or a share (`"80%"`), where the key takes
    /// such; or an expression that gives one of these.
    Count { u32 => Value::int, &str => literal, String => literal, Expr => computed }
}
argument! {
    /// The version of a workflow, or an expression that gives it.
    Version { u32 => Value::int, Expr => computed }
}
argument! {
    /// A number, with or without a fraction.
    Number { u32 => Value::int, f64 => float }
}
argument! {
    /// What a foreach goes over: an expression, as text, that gives a list, a map or an integer n for 0 … n − 1; such an
    /// integer; or a list of values that are taken as they are.
    Items { &str => Value::text, String => Value::text, Expr => source, u32 => |n: u32| Value::text(n.to_string()) }
}

fn float(x: f64) -> Value {
    Value::of(x)
}

impl<T: Serialize> From<Vec<T>> for Items {
    fn from(list: Vec<T>) -> Items {
        Items(items(&list))
    }
}

impl<T: Serialize, const N: usize> From<[T; N]> for Items {
    fn from(list: [T; N]) -> Items {
        Items(items(&list))
    }
}

fn items<T: Serialize>(list: &[T]) -> Value {
    Value::list(list.iter().map(|item| Value::of(item).plain()))
}
