//! Nodes one after another, and those that are no steps and no scopes.

use std::sync::Arc;

use rejoin_shared::definition::duration::parse_computed;
use rejoin_shared::definition::model::{
    Branch, Cases, Decision, Fail, Finish, FlowId, Group, Node, NodeId, NodeKind, Repeat, RepeatCondition, Set, Sleep,
    Try,
};
use rejoin_shared::expr::Expr;
use rejoin_shared::json::Json;
use rejoin_shared::path;
use rejoin_shared::time::Timestamp;

use super::retry::Budget;
use super::{Control, Failure, Place, Thread, Walker};

impl Walker<'_> {
    pub(super) fn flow(&mut self, flow: FlowId, place: &Place, thread: &mut Thread) -> Control {
        let def = self.def;
        let nodes = &def.flow(flow).nodes;
        let mut at = 0;
        while let Some(id) = nodes.get(at) {
            match self.node(*id, place, thread) {
                Control::Done => at += 1,
                Control::Goto(target) => match nodes.iter().position(|id| *id == target) {
                    Some(here) => at = here,
                    None => return Control::Goto(target),
                },
                end @ (Control::Failed(_) | Control::Finished(_)) => return end,
            }
        }
        Control::Done
    }

    fn node(&mut self, id: NodeId, place: &Place, thread: &mut Thread) -> Control {
        self.try_node(id, place, thread).unwrap_or_else(Control::Failed)
    }

    fn try_node(&mut self, id: NodeId, place: &Place, thread: &mut Thread) -> Result<Control, Failure> {
        let def = self.def;
        let node = def.node(id);
        let path = self.visit(node, place);
        let count = thread.counts.entry((place.prefix.clone(), id)).or_default();
        *count += 1;
        if *count > node.max_visits {
            return Err(Failure::new("rejoin.visit_limit", &path));
        }
        if let Some(when) = &node.when
            && !self.condition(when, place, thread, &path)?
        {
            return Ok(Control::Done);
        }
        match &node.kind {
            NodeKind::Step(step) => self.step(node, step, &path, place, thread).map(|()| Control::Done),
            NodeKind::Decision(decision) => self.decision(node, decision, &path, place, thread),
            NodeKind::Parallel(_) | NodeKind::Foreach(_) | NodeKind::Graph(_) => {
                self.scope(id, &path, place, thread).map(|()| Control::Done)
            }
            NodeKind::Branch(branch) => self.branch(branch, &path, place, thread),
            NodeKind::Group(group) => self.group(group, &path, place, thread),
            NodeKind::Set(set) => self.set(set, &path, place, thread).map(|()| Control::Done),
            NodeKind::Fail(fail) => Err(self.fail(fail, &path, place, thread)),
            NodeKind::Finish(finish) => self.finish(finish, &path, place, thread),
            NodeKind::Repeat(repeat) => self.repeat(repeat, &path, place, thread),
            NodeKind::Sleep(sleep) => self.sleep(sleep, &path, place, thread).map(|()| Control::Done),
            NodeKind::Try(guarded) => self.guarded(guarded, &path, place, thread),
            NodeKind::Wait(wait) => self.wait(node, wait, &path, place, thread),
            NodeKind::Call(call) => self.call(node, call, &path, place, thread).map(|()| Control::Done),
            NodeKind::Emit(emit) => self.emit(emit, &path, place, thread).map(|()| Control::Done),
        }
    }

    /// The path of this visit.
    fn visit(&mut self, node: &Node, place: &Place) -> String {
        let bare = path::child(&place.prefix, &node.name, 1).expect("tests have short paths");
        let visit = self.visits.entry(bare).or_default();
        *visit += 1;
        path::child(&place.prefix, &node.name, *visit).expect("tests have short paths")
    }

    pub(super) fn condition(&self, expr: &Expr, place: &Place, thread: &Thread, path: &str) -> Result<bool, Failure> {
        let value = expr.eval(&self.env(place, thread), &self.limits);
        value
            .ok()
            .and_then(|v| v.as_bool())
            .ok_or_else(|| Failure::expression(path))
    }

    fn branch(&mut self, branch: &Branch, path: &str, place: &Place, thread: &mut Thread) -> Result<Control, Failure> {
        let Some((segment, flow)) = self.choose(branch, path, place, thread)? else {
            return Ok(Control::Done);
        };
        let inner = super::fork::below(place, format!("{path}/{segment}"));
        Ok(self.flow(flow, &inner, thread))
    }

    fn choose(
        &self,
        branch: &Branch,
        path: &str,
        place: &Place,
        thread: &Thread,
    ) -> Result<Option<(String, FlowId)>, Failure> {
        match &branch.cases {
            Cases::Keyed { on, cases } => {
                let value = on.eval(&self.env(place, thread), &self.limits);
                let value = value.map_err(|_| Failure::expression(path))?;
                if matches!(value, Json::List(_) | Json::Object(_)) {
                    return Err(Failure::expression(path));
                }
                for (key, flow) in cases {
                    if case_fits(key, &value) {
                        return Ok(Some((path::case_segment(key), *flow)));
                    }
                }
            }
            Cases::Conditions(cases) => {
                for (i, (when, flow)) in cases.iter().enumerate() {
                    if self.condition(when, place, thread, path)? {
                        return Ok(Some((format!("[{i}]"), *flow)));
                    }
                }
            }
        }
        Ok(branch.default.map(|flow| ("default".to_owned(), flow)))
    }

    fn decision(
        &mut self,
        node: &Node,
        decision: &Decision,
        path: &str,
        place: &Place,
        thread: &mut Thread,
    ) -> Result<Control, Failure> {
        let target = match decision {
            Decision::Rules { rules, otherwise } => {
                let mut target = *otherwise;
                for (when, goto) in rules {
                    if self.condition(when, place, thread, path)? {
                        target = Some(*goto);
                        break;
                    }
                }
                target
            }
            Decision::Handler(call) => self.decide_by_handler(node, call, path, place, thread)?,
        };
        Ok(target.map_or(Control::Done, Control::Goto))
    }

    /// A group adds nothing but its name to paths; each try begins with the context, results and visit counts it was
    /// entered with.
    fn group(&mut self, group: &Group, path: &str, place: &Place, thread: &mut Thread) -> Result<Control, Failure> {
        let place = &super::fork::below(place, path.to_owned());
        let entered = thread.clone();
        let mut budget = Budget::new(&group.retry);
        loop {
            match self.flow(group.flow, place, thread) {
                Control::Failed(failure) if self.may_retry(&mut budget, &failure) => *thread = entered.clone(),
                end @ (Control::Done | Control::Goto(_) | Control::Failed(_) | Control::Finished(_)) => return Ok(end),
            }
        }
    }

    /// The finally's way out replaces the one under way, if it has one of its own.
    fn guarded(&mut self, guarded: &Try, path: &str, place: &Place, thread: &mut Thread) -> Result<Control, Failure> {
        let mut end = self.flow(guarded.flow, &super::fork::below(place, path.to_owned()), thread);
        if let Control::Failed(failure) = &end
            && let Some((index, catch)) = self.catching(&guarded.catches, failure)
        {
            let mut inner = super::fork::below(place, format!("{path}/catch[{index}]"));
            let error = Json::from_entries([("type", Json::Str(failure.kind.as_str().into()))]);
            inner.items.push((catch.error_name.clone(), error));
            inner.errors.push((catch.error_name.clone(), failure.clone()));
            end = self.flow(catch.flow, &inner, thread);
        }
        if let Some(finally) = guarded.finally {
            let output = thread.output.clone();
            match self.flow(finally, &super::fork::below(place, format!("{path}/finally")), thread) {
                Control::Done => {}
                other @ (Control::Goto(_) | Control::Failed(_) | Control::Finished(_)) => end = other,
            }
            thread.output = output;
        }
        Ok(end)
    }

    fn repeat(&mut self, repeat: &Repeat, path: &str, place: &Place, thread: &mut Thread) -> Result<Control, Failure> {
        let below = super::fork::below(place, path.to_owned());
        let inside = format!("{path}/");
        let mut rounds = 0;
        loop {
            let wants = match &repeat.condition {
                RepeatCondition::Always => rounds < repeat.max,
                RepeatCondition::While(condition) => self.condition(condition, place, thread, path)?,
                RepeatCondition::Until(condition) => rounds == 0 || !self.condition(condition, place, thread, path)?,
            };
            if !wants {
                return Ok(Control::Done);
            }
            if rounds == repeat.max {
                return Err(Failure::new("rejoin.repeat_limit", path));
            }
            rounds += 1;
            thread
                .counts
                .retain(|(prefix, _), _| prefix != path && !prefix.starts_with(&inside));
            match self.flow(repeat.flow, &below, thread) {
                Control::Done => {}
                end @ (Control::Goto(_) | Control::Failed(_) | Control::Finished(_)) => return Ok(end),
            }
        }
    }

    /// Time does not matter here; only what is no time or duration does.
    fn sleep(&mut self, sleep: &Sleep, path: &str, place: &Place, thread: &Thread) -> Result<(), Failure> {
        let (Sleep::For(template) | Sleep::Until(template)) = sleep;
        let value = template.eval(&self.env(place, thread), &self.limits);
        let value = value.map_err(|_| Failure::expression(path))?;
        let text = value.as_str();
        let fits = match sleep {
            Sleep::For(_) => text.and_then(parse_computed).is_some(),
            Sleep::Until(_) => text.and_then(Timestamp::parse).is_some(),
        };
        fits.then_some(()).ok_or_else(|| Failure::expression(path))
    }

    fn set(&mut self, set: &Set, path: &str, place: &Place, thread: &mut Thread) -> Result<(), Failure> {
        let env = self.env(place, thread);
        let mut writes = Vec::new();
        for (key, template) in &set.values {
            let value = template.eval(&env, &self.limits);
            writes.push((key, value.map_err(|_| Failure::expression(path))?));
        }
        for key in &set.unset {
            key.remove(&mut thread.ctx);
        }
        for (key, value) in writes {
            key.write(&mut thread.ctx, value);
        }
        Ok(())
    }

    fn fail(&self, fail: &Fail, path: &str, place: &Place, thread: &Thread) -> Failure {
        let env = self.env(place, thread);
        let raised = |expr: &Expr| place.errors.iter().rev().find(|(name, _)| **name == *expr.source());
        if let Fail::Value(expr) = fail
            && let Some((_, failure)) = raised(expr)
        {
            return failure.clone();
        }
        let kind: Option<Arc<str>> = match fail {
            Fail::Parts { kind: None, .. } => Some("rejoin.failed".into()),
            Fail::Parts { kind: Some(kind), .. } => {
                let value = kind.eval(&env, &self.limits);
                value.ok().and_then(|v| v.as_str().map(Into::into))
            }
            Fail::Value(expr) => {
                let value = expr.eval(&env, &self.limits).unwrap_or_default();
                value.get("type").and_then(|t| t.as_str().map(Into::into))
            }
        };
        kind.map_or_else(|| Failure::expression(path), |kind| Failure::new(&kind, path))
    }

    fn finish(&mut self, finish: &Finish, path: &str, place: &Place, thread: &Thread) -> Result<Control, Failure> {
        match &finish.output {
            None => Ok(Control::Finished(thread.ctx.clone())),
            Some(template) => {
                let value = template.eval(&self.env(place, thread), &self.limits);
                value.map(Control::Finished).map_err(|_| Failure::expression(path))
            }
        }
    }
}

/// Case keys are compared by text; a number fits a key that reads as the same number.
fn case_fits(key: &str, value: &Json) -> bool {
    match value {
        Json::Null => key == "null",
        Json::Bool(b) => key == if *b { "true" } else { "false" },
        Json::Str(text) => key == &**text,
        Json::Int(n) => key.parse::<i64>() == Ok(*n) || key.parse::<f64>().is_ok_and(|k| k == to_double(*n)),
        Json::Float(x) => key.parse::<f64>().is_ok_and(|k| k == *x),
        Json::List(_) | Json::Object(_) => false,
    }
}

fn to_double(n: i64) -> f64 {
    n.to_string().parse().expect("an integer reads as a double")
}
