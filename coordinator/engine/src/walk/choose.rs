//! Branches and decisions.

use rejoin_shared::definition::model::{Branch, Cases, NodeId};
use rejoin_shared::expr::Expr;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use super::entry_error;
use crate::apply::case_of;
use crate::env::{eval, eval_bool, wrong_type};
use crate::machine::Machine;
use crate::record::{Choice, Fact, ThreadKey};
use crate::state::thread::EntryProblem;

impl Machine<'_> {
    pub(super) fn choose_case(&mut self, thread: ThreadKey, path: String, branch: &Branch) {
        let chosen = match &branch.cases {
            Cases::Keyed { on, cases } => self.keyed_case(thread, &path, on, cases.iter().map(|(key, _)| &**key)),
            Cases::Conditions(cases) => self.first_true(thread, &path, cases.iter().map(|(when, _)| when)),
        };
        let choice = match chosen {
            Err(error) => return self.fail_node(thread, error),
            Ok(Some(index)) => Choice::Case(index),
            Ok(None) if branch.default.is_some() => Choice::Default,
            Ok(None) => Choice::Continue,
        };
        let is_case = matches!(choice, Choice::Case(_) | Choice::Default);
        if is_case && case_of(branch, &choice, &path).is_ok_and(|(below, _)| below.is_none()) {
            return self.fail_node(thread, entry_error(EntryProblem::PathTooLong, &path));
        }
        self.emit(Fact::Chosen {
            thread,
            choice,
            path,
            snapshot: None,
        });
    }

    fn keyed_case<'k>(
        &self,
        thread: ThreadKey,
        path: &str,
        on: &Expr,
        mut keys: impl Iterator<Item = &'k str>,
    ) -> Result<Option<u32>, ErrorValue> {
        let value = eval(on, &self.state.env(thread), self.around.limits, path)?;
        if matches!(value, Json::List(_) | Json::Object(_)) {
            return Err(wrong_type(on, "a string, a number, true, false or null", &value, path));
        }
        Ok(keys.position(|key| case_matches(key, &value)).map(as_index))
    }

    fn first_true<'e>(
        &self,
        thread: ThreadKey,
        path: &str,
        conditions: impl Iterator<Item = &'e Expr>,
    ) -> Result<Option<u32>, ErrorValue> {
        let env = self.state.env(thread);
        for (index, when) in conditions.enumerate() {
            if eval_bool(when, &env, self.around.limits, path)? {
                return Ok(Some(as_index(index)));
            }
        }
        Ok(None)
    }

    pub(super) fn choose_target(
        &mut self,
        thread: ThreadKey,
        path: String,
        rules: &[(Expr, NodeId)],
        otherwise: Option<NodeId>,
    ) {
        let target = match self.first_true(thread, &path, rules.iter().map(|(when, _)| when)) {
            Err(error) => return self.fail_node(thread, error),
            Ok(Some(index)) => Some(rules[index as usize].1),
            Ok(None) => otherwise,
        };
        let choice = match target {
            Some(node) => Choice::Goto(self.state.def.node(node).name.to_string()),
            None => Choice::Continue,
        };
        self.emit(Fact::Chosen {
            thread,
            choice,
            path,
            snapshot: None,
        });
    }
}

fn as_index(index: usize) -> u32 {
    u32::try_from(index).expect("a definition has fewer cases than 2^32")
}

/// Compares by text (SPEC 2): a string with the equal key, a number with a key that reads as the same number.
fn case_matches(key: &str, value: &Json) -> bool {
    match value {
        Json::Str(text) => &**text == key,
        Json::Bool(true) => key == "true",
        Json::Bool(false) => key == "false",
        Json::Null => key == "null",
        Json::Int(n) => match number(key) {
            Some(Json::Int(k)) => k == *n,
            Some(Json::Float(k)) => same_number(k, *n),
            _ => false,
        },
        Json::Float(x) => match number(key) {
            Some(Json::Int(k)) => same_number(*x, k),
            Some(Json::Float(k)) => k == *x,
            _ => false,
        },
        Json::List(_) | Json::Object(_) => false,
    }
}

fn number(key: &str) -> Option<Json> {
    Json::parse(key.as_bytes())
        .ok()
        .filter(|json| matches!(json, Json::Int(_) | Json::Float(_)))
}

#[allow(clippy::cast_precision_loss)] // SPEC 2: integers convert to double
fn same_number(double: f64, whole: i64) -> bool {
    double == whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_keys_are_compared_by_text() {
        let json = |text: &str| Json::parse(text.as_bytes()).expect("test JSON");
        for (key, value) in [
            ("a", "\"a\""),
            ("1", "1"),
            ("1", "1.0"),
            ("1.50", "1.5"),
            ("true", "true"),
            ("null", "null"),
            ("1", "\"1\""),
        ] {
            assert!(case_matches(key, &json(value)), "{key} {value}");
        }
        for (key, value) in [
            ("a", "\"b\""),
            ("1", "2"),
            ("true", "false"),
            ("null", "0"),
            ("01", "1"),
            ("1.0", "\"1\""),
        ] {
            assert!(!case_matches(key, &json(value)), "{key} {value}");
        }
    }
}
