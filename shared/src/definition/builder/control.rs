//! Ways through a flow: branch, decision, group, try, repeat.

use super::flow::Flow;
use super::keyed::{Keyed, WithSteps, WithoutSteps, call_keys, heartbeat_key, named, node, part, retry_key};
use super::terms::{Condition, Source};
use super::value::{Entries, Value};

part! {
    /// `branch` by conditions. Made by [`branch`].
    Branch, always "cases" => Value::empty_list()
}
node!(Branch);

/// Takes the first case whose condition holds.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let verdict = branch("verdict")
///     .case("ctx.approved", set("approve").value("decision", "approved"))
///     .default(set("reject").value("decision", "rejected"));
/// # let _ = verdict;
/// ```
pub fn branch(name: impl Into<String>) -> Branch {
    let entries = named("branch", name);
    Branch { entries }
}

impl Branch {
    /// One more case. The first whose condition holds is taken.
    pub fn case(self, when: impl Into<Condition>, steps: impl Into<Flow>) -> Self {
        let case = [("when", when.into().0), ("steps", steps.into().into())];
        self.with_item("cases", Value::object(case))
    }

    /// `default`: where no case is taken. Without it the flow goes on.
    pub fn default(self, steps: impl Into<Flow>) -> Self {
        self.with_key("default", steps.into().into())
    }
}

part! {
    /// `branch` by a value. Made by [`branch_on`].
    BranchOn, always "cases" => Value::empty_map()
}
node!(BranchOn);

/// Takes the case whose key equals what the expression gives.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let route = branch_on("route", "ctx.order_type")
///     .case("physical", step("print_label"))
///     .case("digital", step("grant_download"))
///     .default(fail("unknown_type").error_type("order.unknown_type"));
/// let by_number = branch_on("tries", "ctx.tries").case(1, step("first")).case(true, step("never"));
/// # let _ = (route, by_number);
/// ```
pub fn branch_on(name: impl Into<String>, on: impl Into<Source>) -> BranchOn {
    let entries = named("branch", name);
    BranchOn { entries }.with_key("on", on.into().0)
}

impl BranchOn {
    /// One more case, under text, a number, true or false; `"null"` is the case of null.
    pub fn case(self, key: impl ToString, steps: impl Into<Flow>) -> Self {
        self.with_entry("cases", key.to_string(), steps.into().into())
    }

    /// `default`: where no case is taken. Without it the flow goes on.
    pub fn default(self, steps: impl Into<Flow>) -> Self {
        self.with_key("default", steps.into().into())
    }
}

part! {
    /// `decision` by rules. Made by [`decision`].
    Decision, always "rules" => Value::empty_list()
}
node!(Decision);

/// Moves control to another node of this flow or of one around it: by the first rule whose condition holds.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let small_order = decision("small_order").rule("ctx.total < 1000", "finalize");
/// # let _ = small_order;
/// ```
pub fn decision(name: impl Into<String>) -> Decision {
    let entries = named("decision", name);
    Decision { entries }
}

impl Decision {
    /// One more rule: where the condition holds, control goes to the node of that name.
    pub fn rule(self, when: impl Into<Condition>, goto: impl Into<String>) -> Self {
        let rule = [("when", when.into().0), ("goto", Value::text(goto))];
        self.with_item("rules", Value::object(rule))
    }

    /// `otherwise`: the node to go to when no rule holds; `"continue"` goes on.
    pub fn otherwise(self, goto: impl Into<String>) -> Self {
        self.with_key("otherwise", Value::text(goto))
    }
}

part! {
    /// `decision` by handler. Made by [`decision_by`].
    DecisionBy
}
node!(DecisionBy);
call_keys!(DecisionBy);
heartbeat_key!(DecisionBy);

/// Moves control to where a handler says: its output is `{"goto": name}`, or `{"goto": null}` to go on.
pub fn decision_by(name: impl Into<String>, handler: impl Into<String>) -> DecisionBy {
    let entries = named("decision", name);
    DecisionBy { entries }.with_key("uses", Value::text(handler))
}

part! {
    /// `group`: nodes under one name. Made by [`group`].
    Group<S>
}
node!(Group, S);
retry_key!(Group, S);

/// Nodes that can be skipped, or tried again, as one.
pub fn group(name: impl Into<String>) -> Group<WithoutSteps> {
    Group::new(named("group", name))
}

part! {
    /// `try`: catches errors. Made by [`try_`].
    Try<S>
}
node!(Try, S);

/// Nodes whose errors are caught.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let careful = try_("careful")
///     .steps(step("charge"))
///     .catch(catch(["payment.*", "!payment.fraud"]).error_as("problem").steps(
///         set("note").value("why", expr("problem.message")),
///     ))
///     .finally(step("close_session"));
/// # let _ = careful;
/// ```
pub fn try_(name: impl Into<String>) -> Try<WithoutSteps> {
    Try::new(named("try", name))
}

impl<S> Try<S> {
    /// One more `catch`: what begins with [`catch`], or a flow, which catches all errors. The first that matches runs.
    pub fn catch(self, catch: impl Into<Catch>) -> Self {
        self.with_item("catch", catch.into().into())
    }

    /// `finally`: runs once when control leaves the try, however it does.
    pub fn finally(self, steps: impl Into<Flow>) -> Self {
        self.with_key("finally", steps.into().into())
    }
}

part! {
    /// A `catch` of a try. Made by [`catch`], or of a flow.
    Catch<S>
}

/// Catches errors whose type matches these globs; a leading `!` excludes.
pub fn catch(errors: impl IntoIterator<Item = impl Into<String>>) -> Catch<WithoutSteps> {
    Catch::new(Entries::default()).with_key("errors", Value::texts(errors))
}

impl<S> Catch<S> {
    /// `as`: the name of the error in expressions, `error` by default.
    pub fn error_as(self, name: impl Into<String>) -> Self {
        self.with_key("as", Value::text(name))
    }
}

impl<F: Into<Flow>> From<F> for Catch<WithSteps> {
    fn from(steps: F) -> Catch {
        Catch::new(Entries::default()).steps(steps)
    }
}

part! {
    /// `repeat`: runs its steps again and again. Made by [`repeat`].
    Repeat<S>
}
node!(Repeat, S);

/// Rounds: while a condition holds, until one does, or exactly [`Repeat::max`] of them.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let poll = repeat("poll").until("ctx.ready").max(100).steps(flow![
///     step("check"),
///     sleep_for("pause", "2s"),
/// ]);
/// # let _ = poll;
/// ```
pub fn repeat(name: impl Into<String>) -> Repeat<WithoutSteps> {
    Repeat::new(named("repeat", name))
}

impl<S> Repeat<S> {
    /// `while`: read before each round.
    pub fn while_(self, condition: impl Into<Condition>) -> Self {
        self.with_key("while", condition.into().0)
    }

    /// `until`: read after each round.
    pub fn until(self, condition: impl Into<Condition>) -> Self {
        self.with_key("until", condition.into().0)
    }

    /// `max`: the most rounds, 1,000 by default; `rejoin.repeat_limit` if the condition still asks for more.
    pub fn max(self, rounds: u32) -> Self {
        self.with_key("max", Value::int(rounds))
    }
}
