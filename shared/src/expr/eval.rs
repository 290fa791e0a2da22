//! Evaluates a compiled expression. Recursion is bounded by the expression's levels, time and memory by the budget.

#![allow(clippy::wildcard_enum_match_arm)] // what takes some types refuses all others, new ones too

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::budget::{Budget, Fault, Outcome, fail};
use super::builtin;
use super::convert;
use super::function::Function;
use super::node::{Get, GetPath, Iteration, IterationKind, Node, Path, Step};
use super::operator;
use super::temporal::Instant;
use super::value::{Dict, Key, List, Value};
use super::{Env, RunInfo, number};
use crate::json::Json;
use crate::keypath::KeyPath;

/// Evaluates `node` and makes the result JSON.
pub(super) fn evaluate(node: &Node, env: &Env, budget: &mut Budget) -> Outcome<Json> {
    let mut evaluation = Evaluation {
        env,
        budget,
        variables: Vec::new(),
    };
    let value = evaluation.node(node)?;
    convert::to_json(&value, budget)
}

struct Evaluation<'a> {
    env: &'a Env,
    budget: &'a mut Budget,
    /// Values of the iterations around, outermost first.
    variables: Vec<Value>,
}

impl Evaluation<'_> {
    fn node(&mut self, node: &Node) -> Outcome<Value> {
        self.budget.part()?;
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Name(name) => match self.name(name)? {
                Some(value) => Ok(value),
                None => fail(format!("`{name}` has no value here")),
            },
            Node::Variable(index) => Ok(self.variables[*index].clone()),
            Node::Path(path) => self.path(path),
            Node::Chain(first, links) => {
                let mut value = self.node(first)?;
                for (operator, operand) in links {
                    let operand = self.node(operand)?;
                    value = operator::apply(*operator, &value, &operand, self.budget)?;
                }
                Ok(value)
            }
            Node::And(terms) => self.unless(terms.iter(), false, "&&"),
            Node::Or(terms) => self.unless(terms.iter(), true, "||"),
            Node::Not(operand) => Ok(Value::Bool(!self.truth(operand, "!")?)),
            Node::Negate(operand) => number::negate(&self.node(operand)?),
            Node::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                let chosen = if self.truth(condition, "? :")? { yes } else { no };
                self.node(chosen)
            }
            Node::List(items) => {
                self.budget.charge(1 + items.len())?;
                self.all(items).map(Value::list)
            }
            Node::Map(entries) => self.map(entries),
            Node::Call(function, args) => {
                let args = self.all(args)?;
                builtin::call(*function, &args, self.budget)
            }
            Node::Has(path) => self.has(path).map(Value::Bool),
            Node::Get(get) => self.get(get),
            Node::Matches(subject, pattern) => {
                let subject = self.node(subject)?;
                self.matches(&subject, pattern)
            }
        }
    }

    fn all(&mut self, nodes: &[Node]) -> Outcome<Vec<Value>> {
        nodes.iter().map(|n| self.node(n)).collect()
    }

    fn truth(&mut self, node: &Node, operator: &str) -> Outcome<bool> {
        match self.node(node)? {
            Value::Bool(b) => Ok(b),
            other => fail(format!("`{operator}` needs a bool, not {}", other.kind())),
        }
    }

    /// `&&` and `||`: a term that is `decisive` decides, whatever failed before or would fail after it.
    fn unless<'n>(&mut self, terms: impl Iterator<Item = &'n Node>, decisive: bool, sign: &str) -> Outcome<Value> {
        let mut first_failure = None;
        for term in terms {
            match self.truth(term, sign) {
                Ok(b) if b == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        first_failure.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Outcome<Value> {
        self.budget.charge(1 + entries.len())?;
        let mut out = BTreeMap::new();
        for (key, value) in entries {
            let key = self.node(key)?;
            let Some(key) = Key::of(&key) else {
                return fail(format!(
                    "a map's key is a string, an integer or a bool, not {}",
                    key.kind()
                ));
            };
            let value = self.node(value)?;
            match out.entry(key) {
                Entry::Vacant(free) => free.insert(value),
                Entry::Occupied(taken) => return fail(format!("the key {} stands twice in a map", taken.key().text())),
            };
        }
        Ok(Value::Dict(Dict::Made(Arc::new(out))))
    }

    fn name(&mut self, name: &str) -> Outcome<Option<Value>> {
        match (&self.env.run, name) {
            (Some(run), "run") => run_value(run).map(Some),
            _ => Ok(self.env.get(name).map(Value::from)),
        }
    }

    fn path(&mut self, path: &Path) -> Outcome<Value> {
        let mut at = self.node(&path.root)?;
        for (i, step) in path.steps.iter().enumerate() {
            at = self.step(path, i, step, at)?;
        }
        Ok(at)
    }

    fn step(&mut self, path: &Path, index: usize, step: &Step, at: Value) -> Outcome<Value> {
        match step {
            Step::Field(key) => field(&at, key).map_or_else(|| fail(no_member(path, index, &key.value(), &at)), Ok),
            Step::Index(key) => {
                let key = self.node(key)?;
                member(&at, &key).map_or_else(|| fail(no_member(path, index, &key, &at)), Ok)
            }
            Step::Call(function, args) => {
                let mut values = Vec::with_capacity(args.len() + 1);
                values.push(at);
                for arg in args {
                    values.push(self.node(arg)?);
                }
                self.budget.part()?;
                builtin::call(*function, &values, self.budget)
            }
            Step::Matches(pattern) => self.matches(&at, pattern),
            Step::Iterate(iteration) => self.iterate(iteration, &at),
        }
    }

    fn matches(&mut self, subject: &Value, pattern: &super::pattern::Pattern) -> Outcome<Value> {
        match subject {
            Value::Str(text) => pattern.is_match(text, self.budget).map(Value::Bool),
            other => Err(builtin::mismatch(Function::Matches, &[other.clone(), Value::str("")])),
        }
    }

    /// Whether the last step of `path` finds something; what is missing before it is no error.
    fn has(&mut self, path: &Path) -> Outcome<bool> {
        let mut at = match &path.root {
            Node::Name(name) => match self.name(name)? {
                Some(value) => value,
                None => return Ok(false),
            },
            root => self.node(root)?,
        };
        for (i, step) in path.steps.iter().enumerate() {
            let next = match step {
                Step::Field(key) => field(&at, key),
                Step::Index(key) => {
                    let key = self.node(key)?;
                    member(&at, &key)
                }
                Step::Call(..) | Step::Matches(_) | Step::Iterate(_) => Some(self.step(path, i, step, at)?),
            };
            match next {
                Some(next) => at = next,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn get(&mut self, get: &Get) -> Outcome<Value> {
        let from = self.node(&get.from)?;
        let found = match &get.path {
            GetPath::Known(path) => read(from, path),
            GetPath::Computed(node) => match self.node(node)? {
                Value::Str(text) => match KeyPath::parse(&text) {
                    Some(path) => read(from, &path),
                    None => return fail(format!("`{text}` is no key path; keys are joined by dots: 'a.b'")),
                },
                other => return fail(format!("the key path of `get` is a string, not {}", other.kind())),
            },
        };
        found.map_or_else(|| self.node(&get.default), Ok)
    }

    fn iterate(&mut self, iteration: &Iteration, over: &Value) -> Outcome<Value> {
        let elements = builtin::elements(over, self.budget)?;
        match iteration.kind {
            IterationKind::All => self.quantify(iteration, &elements, false),
            IterationKind::Exists => self.quantify(iteration, &elements, true),
            IterationKind::ExistsOne => {
                let mut count = 0;
                for element in elements.iter() {
                    count += usize::from(self.holds(&iteration.body, element)?);
                }
                Ok(Value::Bool(count == 1))
            }
            IterationKind::Filter => {
                let mut out = Vec::new();
                for element in elements.iter() {
                    if self.holds(&iteration.body, element.clone())? {
                        self.budget.charge(1)?;
                        out.push(element);
                    }
                }
                Ok(Value::list(out))
            }
            IterationKind::Map => self.mapped(iteration, &elements),
        }
    }

    /// Evaluates `body` with one more variable.
    fn with(&mut self, body: &Node, element: Value) -> Outcome<Value> {
        self.budget.visit()?;
        self.variables.push(element);
        let result = self.node(body);
        self.variables.pop();
        result
    }

    fn holds(&mut self, body: &Node, element: Value) -> Outcome<bool> {
        match self.with(body, element)? {
            Value::Bool(b) => Ok(b),
            other => fail(format!(
                "a condition over elements must be a bool, not {}",
                other.kind()
            )),
        }
    }

    /// `all` and `exists`: as `&&` and `||` over the elements.
    fn quantify(&mut self, iteration: &Iteration, elements: &List, decisive: bool) -> Outcome<Value> {
        let mut first_failure = None;
        for element in elements.iter() {
            match self.holds(&iteration.body, element) {
                Ok(b) if b == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        first_failure.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn mapped(&mut self, iteration: &Iteration, elements: &List) -> Outcome<Value> {
        let mut out = Vec::new();
        for element in elements.iter() {
            let wanted = match &iteration.condition {
                Some(condition) => self.holds(condition, element.clone())?,
                None => true,
            };
            if wanted {
                self.budget.charge(1)?;
                out.push(self.with(&iteration.body, element)?);
            }
        }
        Ok(Value::list(out))
    }
}

fn field(at: &Value, key: &Key) -> Option<Value> {
    if let Value::Dict(map) = at { map.get(key) } else { None }
}

fn member(at: &Value, key: &Value) -> Option<Value> {
    match at {
        Value::Dict(map) => map.get(&Key::of(key)?),
        Value::List(list) => match Key::of(key)? {
            Key::Int(n) => list.get(usize::try_from(n).ok()?),
            Key::Bool(_) | Key::Uint(_) | Key::Str(_) => None,
        },
        _ => None,
    }
}

fn read(from: Value, path: &KeyPath) -> Option<Value> {
    path.keys()
        .iter()
        .try_fold(from, |at, key| field(&at, &Key::Str(key.clone())))
}

fn run_value(run: &RunInfo) -> Outcome<Value> {
    let entries = [
        ("id", Value::Str(run.id.clone())),
        ("workflow", Value::Str(run.workflow.clone())),
        ("version", Value::Int(i64::from(run.version))),
        ("started_at", Value::Instant(Instant::of_micros(run.started_at.0)?)),
    ];
    let map = entries.into_iter().map(|(k, v)| (Key::Str(k.into()), v)).collect();
    Ok(Value::Dict(Dict::Made(Arc::new(map))))
}

/// What to say of a step that finds nothing: `no such key 'x' in ctx.order`.
fn no_member(path: &Path, index: usize, key: &Value, at: &Value) -> String {
    let place = describe(path, index);
    let of = if place.is_empty() {
        String::new()
    } else {
        format!(" in {place}")
    };
    let key_text = Key::of(key).map_or_else(|| format!("a {} as index", key.kind()), |key| key.text());
    match at {
        Value::Dict(_) if Key::of(key).is_none() => format!("{key_text} cannot be used{of}"),
        Value::Dict(_) => format!("no such key {key_text}{of}"),
        Value::List(list) if matches!(Key::of(key), Some(Key::Int(_))) => {
            format!("index {key_text} is out of range{of}, a list of {}", list.len())
        }
        Value::List(_) => format!("a list is indexed by an int, not {key_text}{of}"),
        other => {
            let what = if place.is_empty() { "a value" } else { &place };
            format!("cannot read {key_text} of {what}: it is {}", article(other.kind()))
        }
    }
}

fn article(kind: &str) -> String {
    match kind {
        "null" | "bytes" => kind.to_owned(),
        "int" => "an int".to_owned(),
        other => format!("a {other}"),
    }
}

/// How the first `steps` steps of a path are written, as far as that is plain.
fn describe(path: &Path, steps: usize) -> String {
    let mut out = path.label.to_string();
    for step in path.steps.iter().take(steps) {
        match step {
            Step::Field(Key::Str(name)) if !out.is_empty() => {
                out.push('.');
                out.push_str(name);
            }
            Step::Index(Node::Constant(key)) if !out.is_empty() => {
                out.push_str(&format!("[{}]", Key::of(key).map_or_else(String::new, |k| k.text())));
            }
            Step::Index(_) if !out.is_empty() => out.push_str("[…]"),
            Step::Field(_) | Step::Index(_) | Step::Call(..) | Step::Matches(_) | Step::Iterate(_) => {
                return String::new();
            }
        }
    }
    out
}
