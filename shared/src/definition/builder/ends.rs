//! What changes the context or ends something: set, fail, finish.

use serde::Serialize;

use super::keyed::{Keyed, named, node, part};
use super::terms::Text;
use super::value::{Expr, Value};

part! {
    /// `set`: changes the context. Made by [`set`].
    Set
}
node!(Set);

/// Writes and removes values of the context.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let begin = set("begin").value("rows.done", 0).value("rows.left", expr("size(ctx.rows)")).unset("draft");
/// # let _ = begin;
/// ```
pub fn set(name: impl Into<String>) -> Set {
    let entries = named("set", name);
    Set { entries }
}

impl Set {
    /// `values`: what is written at this key path. To be called once a path.
    pub fn value(self, path: impl Into<String>, value: impl Serialize) -> Self {
        self.with_entry("values", path, Value::of(value).template())
    }

    /// `unset`: a key path to remove, before the values are written. To be called once a path.
    pub fn unset(self, path: impl Into<String>) -> Self {
        self.with_item("unset", Value::text(path))
    }
}

part! {
    /// `fail`: fails with an error. Made by [`fail`].
    Fail
}
node!(Fail);

/// Fails, with an error of type `rejoin.failed` unless it says more.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let unknown = fail("unknown_type")
///     .error_type("order.unknown_type")
///     .message(expr("'no route for ' + ctx.order_type"))
///     .details(object! { "order_type" => expr("ctx.order_type") });
/// let again = try_("attempt").steps(step("charge")).catch(fail("again").error(expr("error")));
/// # let _ = (unknown, again);
/// ```
pub fn fail(name: impl Into<String>) -> Fail {
    let entries = named("fail", name);
    Fail { entries }
}

impl Fail {
    /// `error` as a whole: an error value that the expression gives, raised as it is.
    pub fn error(self, error: Expr) -> Self {
        self.with_key("error", Value::from(error).template())
    }

    /// `error.type`
    pub fn error_type(self, error_type: impl Into<Text>) -> Self {
        self.with_part("type", error_type.into().0)
    }

    /// `error.message`: what a person reads.
    pub fn message(self, message: impl Into<Text>) -> Self {
        self.with_part("message", message.into().0)
    }

    /// `error.details`: a map, or an expression that gives one.
    pub fn details(self, details: impl Serialize) -> Self {
        self.with_part("details", Value::of(details).template())
    }

    fn with_part(mut self, part: &str, value: Value) -> Self {
        self.entries.map_at("error").put(part, value);
        self
    }
}

part! {
    /// `finish`: ends the run successfully. Made by [`finish`].
    Finish
}
node!(Finish);

/// Ends the run successfully.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let done = finish("done").output(object! { "paid" => true, "shipment" => expr("ctx.shipment") });
/// # let _ = done;
/// ```
pub fn finish(name: impl Into<String>) -> Finish {
    let entries = named("finish", name);
    Finish { entries }
}

impl Finish {
    /// `output`: the run's output, the context by default.
    pub fn output(self, output: impl Serialize) -> Self {
        self.with_key("output", Value::of(output).template())
    }
}
