//! What waits for the world, or speaks to it: sleep, wait, call, emit.

use serde::Serialize;

use super::keyed::{Keyed, named, node, output_keys, part, retry_key};
use super::step::Compensate;
use super::terms::{AnyDuration, Condition, Text, Time, Version};
use super::value::{Entries, Value};
use super::words::{InputType, OnParentClose};

part! {
    /// `sleep`: waits for a time. Made by [`sleep_for`] and [`sleep_until`].
    Sleep
}
node!(Sleep);

/// Waits as long as this.
///
/// ```
/// use std::time::Duration;
/// use rejoin_shared::definition::builder::*;
///
/// let pauses = flow![
///     sleep_for("short", Duration::from_secs(2)),
///     sleep_for("as_told", expr("ctx.pause")),
///     sleep_until("new_year", "2030-01-01T00:00:00Z"),
/// ];
/// # let _ = pauses;
/// ```
pub fn sleep_for(name: impl Into<String>, length: impl Into<AnyDuration>) -> Sleep {
    let entries = named("sleep", name);
    Sleep { entries }.with_key("for", length.into().0)
}

/// Waits until then; what is past means now.
pub fn sleep_until(name: impl Into<String>, time: impl Into<Time>) -> Sleep {
    let entries = named("sleep", name);
    Sleep { entries }.with_key("until", time.into().0)
}

part! {
    /// `wait`: waits for a person or for events. Made by [`wait_input`], [`wait_event`], [`wait_any`] and [`wait_all`].
    Wait
}
node!(Wait);
output_keys!(Wait);

/// Waits for a person's answer.
///
/// ```
/// use std::time::Duration;
/// use rejoin_shared::definition::builder::*;
///
/// let manager = wait_input("manager", Input::approval().prompt(expr("'Pay ' + string(ctx.total) + '?'")))
///     .timeout(Duration::from_secs(3 * 86_400))
///     .on_timeout_value(object! { "approved" => false });
/// # let _ = manager;
/// ```
pub fn wait_input(name: impl Into<String>, input: Input) -> Wait {
    waiting(name, "input", input.into())
}

/// Waits for an event of this name.
pub fn wait_event(name: impl Into<String>, event: impl Into<Text>) -> Wait {
    waiting(name, "event", event.into().0)
}

/// Waits for the first of these events. The result is `{event, payload}`.
pub fn wait_any(name: impl Into<String>, events: impl IntoIterator<Item = impl Into<Text>>) -> Wait {
    waiting(name, "any", names(events))
}

/// Waits for all of these events. The result is a map event → payload.
pub fn wait_all(name: impl Into<String>, events: impl IntoIterator<Item = impl Into<Text>>) -> Wait {
    waiting(name, "all", names(events))
}

fn waiting(name: impl Into<String>, key: &str, what: Value) -> Wait {
    let entries = named("wait", name);
    Wait { entries }.with_key(key, what)
}

fn names(events: impl IntoIterator<Item = impl Into<Text>>) -> Value {
    Value::list(events.into_iter().map(|event| event.into().0))
}

impl Wait {
    /// `match`, over `payload`: events for which it is not true are passed over.
    pub fn match_(self, condition: impl Into<Condition>) -> Self {
        self.with_key("match", condition.into().0)
    }

    /// `timeout`: how long it waits.
    pub fn timeout(self, timeout: impl Into<AnyDuration>) -> Self {
        self.with_key("timeout", timeout.into().0)
    }

    /// `on_timeout: fail`, as without: the time-out is the error `rejoin.wait_timeout`.
    pub fn on_timeout_fail(self) -> Self {
        self.with_key("on_timeout", Value::text("fail"))
    }

    /// `on_timeout: {value}`: at the time-out this is the result.
    pub fn on_timeout_value(self, value: impl Serialize) -> Self {
        self.with_key("on_timeout", Value::object([("value", Value::of(value).template())]))
    }

    /// `on_timeout: {goto}`: at the time-out control goes to the node of this name.
    pub fn on_timeout_goto(self, node: impl Into<String>) -> Self {
        self.with_key("on_timeout", Value::object([("goto", Value::text(node))]))
    }
}

part! {
    /// `input` of a wait: what a person is asked for.
    Input
}

impl Input {
    /// An object with a boolean `approved`.
    pub fn approval() -> Input {
        Input::of_type(InputType::Approval)
    }

    /// One of these values.
    pub fn choice(choices: impl IntoIterator<Item = impl Serialize>) -> Input {
        let choices = choices.into_iter().map(|choice| Value::of(choice).plain());
        Input::of_type(InputType::Choice).with_key("choices", Value::list(choices))
    }

    /// Free text.
    pub fn text() -> Input {
        Input::of_type(InputType::Text)
    }

    /// Any value that fits [`Input::schema`].
    pub fn form() -> Input {
        Input::of_type(InputType::Form)
    }

    fn of_type(of: InputType) -> Input {
        let entries = Entries(vec![("type".to_owned(), Value::word(of))]);
        Input { entries }
    }

    /// `prompt`: what is asked.
    pub fn prompt(self, prompt: impl Into<Text>) -> Self {
        self.with_key("prompt", prompt.into().0)
    }

    /// `schema`: the JSON Schema of the answer.
    pub fn schema(self, schema: impl Serialize) -> Self {
        self.with_key("schema", Value::of(schema).plain())
    }
}

part! {
    /// `call`: runs another workflow. Made by [`call`].
    Call
}
node!(Call);
output_keys!(Call);
retry_key!(Call);

/// Runs another workflow and waits for its end, unless [`Call::detached`].
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let invoice = call("invoice", "invoicing")
///     .with(object! { "order" => expr("ctx.order_id") })
///     .into_path("invoice")
///     .timeout("1h")
///     .compensate(Compensate::by("cancel_invoice"));
/// # let _ = invoice;
/// ```
pub fn call(name: impl Into<String>, workflow: impl Into<String>) -> Call {
    let entries = named("call", name);
    Call { entries }.with_key("workflow", Value::text(workflow))
}

impl Call {
    /// `version`: of the workflow, the newest by default.
    pub fn version(self, version: impl Into<Version>) -> Self {
        self.with_key("version", version.into().0)
    }

    /// `with`: the child's input, the context by default.
    pub fn with(self, input: impl Serialize) -> Self {
        self.with_key("with", Value::of(input).template())
    }

    /// `detached`: if true the parent goes on at once, and the output is `{run: id}`.
    pub fn detached(self, detached: bool) -> Self {
        self.with_key("detached", Value::bool(detached))
    }

    /// `on_parent_close`: what happens to a child whose call ends before it.
    pub fn on_parent_close(self, what: OnParentClose) -> Self {
        self.with_key("on_parent_close", Value::word(what))
    }

    /// `timeout`: how long the call may take.
    pub fn timeout(self, timeout: impl Into<AnyDuration>) -> Self {
        self.with_key("timeout", timeout.into().0)
    }

    /// `compensate`: what undoes the completed child.
    pub fn compensate(self, compensate: Compensate) -> Self {
        self.with_key("compensate", compensate.into())
    }
}

part! {
    /// `emit`: sends an event. Made by [`emit`].
    Emit
}
node!(Emit);

/// Sends an event to every run that waits for it, or [to one](Emit::to).
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let tell = emit("tell", "order.ready").payload(expr("ctx.order")).to(expr("ctx.parent_run"));
/// # let _ = tell;
/// ```
pub fn emit(name: impl Into<String>, event: impl Into<Text>) -> Emit {
    let entries = named("emit", name);
    Emit { entries }.with_key("event", event.into().0)
}

impl Emit {
    /// `payload`: what it carries.
    pub fn payload(self, payload: impl Serialize) -> Self {
        self.with_key("payload", Value::of(payload).template())
    }

    /// `to`: the id of the run it is for.
    pub fn to(self, run: impl Into<Text>) -> Self {
        self.with_key("to", run.into().0)
    }
}
