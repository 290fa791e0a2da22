//! From syntax to a compiled expression: resolves names and functions, counts levels, and lists every problem.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::function::{self, FUNCTIONS, METHOD_MACROS, PLAIN_MACROS, Signature};
use super::node::{Get, GetPath, Iteration, IterationKind, Node, Path, Step};
use super::pattern::Pattern;
use super::syntax::{At, LinkAt, StepAt, Syntax, SyntaxStep};
use super::value::{Key, Value};
use super::{ExprProblem, Names, ResultsUse};
use crate::keypath::KeyPath;
use crate::limits::Limits;
use crate::suggest::nearest;

/// A compiled expression and what it reads.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) node: Node,
    pub(super) names: BTreeSet<Arc<str>>,
    pub(super) results: ResultsUse,
}

/// Compiles; on any problem, lists all that can be seen.
pub(super) fn lower(syntax: &At, names: &Names, limits: &Limits) -> Result<Lowered, Vec<ExprProblem>> {
    let mut lowering = Lowering {
        names,
        limits,
        variables: Vec::new(),
        levels: 0,
        problems: Vec::new(),
        used: BTreeSet::new(),
        results: ResultsUse::none(),
    };
    let node = lowering.node(syntax);
    if lowering.problems.is_empty() {
        Ok(Lowered {
            node,
            names: lowering.used,
            results: lowering.results,
        })
    } else {
        lowering.problems.sort_by_key(|p| p.offset);
        Err(lowering.problems)
    }
}

struct Lowering<'a> {
    names: &'a Names,
    limits: &'a Limits,
    /// Variables of the iterations around, outermost first.
    variables: Vec<Arc<str>>,
    levels: usize,
    problems: Vec<ExprProblem>,
    used: BTreeSet<Arc<str>>,
    results: ResultsUse,
}

/// What stands where a problem was noted; never evaluated.
fn nothing() -> Node {
    Node::Constant(Value::Null)
}

impl Lowering<'_> {
    fn problem(&mut self, offset: usize, code: &'static str, message: impl Into<String>) -> Node {
        let message = message.into();
        self.problems.push(ExprProblem { offset, code, message });
        nothing()
    }

    fn node(&mut self, at: &At) -> Node {
        let is_leaf = matches!(at.part, Syntax::Literal(_) | Syntax::Name(_) | Syntax::Unsupported(_));
        if is_leaf {
            return self.part(at);
        }
        let levels_max = self.limits.expression_levels_max;
        if self.levels == levels_max {
            if self.problems.iter().all(|p| p.code != "too_deep") {
                self.problem(at.offset, "too_deep", too_deep(levels_max));
            }
            return nothing();
        }
        self.levels += 1;
        let node = self.part(at);
        self.levels -= 1;
        node
    }

    fn part(&mut self, at: &At) -> Node {
        match &at.part {
            Syntax::Literal(value) => Node::Constant(value.clone()),
            Syntax::Name(name) => self.name(at.offset, name),
            Syntax::Path(root, steps) => self.path(root, steps),
            Syntax::Chain(first, links) => self.chain(first, links),
            Syntax::And(terms) => Node::And(self.all(terms)),
            Syntax::Or(terms) => Node::Or(self.all(terms)),
            Syntax::Not(operand) => Node::Not(Box::new(self.node(operand))),
            Syntax::Negate(operand) => Node::Negate(Box::new(self.node(operand))),
            Syntax::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                Node::Conditional(Box::new([self.node(condition), self.node(yes), self.node(no)]))
            }
            Syntax::List(items) => Node::List(self.all(items)),
            Syntax::Map(entries) => self.map(entries),
            Syntax::Call(name, args) => self.call(at.offset, name, args),
            Syntax::Unsupported(what) => self.problem(at.offset, "unsupported", format!("{what} is not supported")),
        }
    }

    fn all(&mut self, parts: &[At]) -> Box<[Node]> {
        parts.iter().map(|p| self.node(p)).collect()
    }

    fn chain(&mut self, first: &At, links: &[LinkAt]) -> Node {
        let first = Box::new(self.node(first));
        let links = links.iter().map(|l| (l.operator, self.node(&l.operand))).collect();
        Node::Chain(first, links)
    }

    fn map(&mut self, entries: &[(At, At)]) -> Node {
        let mut keys = BTreeSet::new();
        let mut out = Vec::with_capacity(entries.len());
        for (key_at, value) in entries {
            let key = self.node(key_at);
            if let Node::Constant(constant) = &key {
                match Key::of(constant) {
                    Some(key) if keys.contains(&key) => {
                        self.problem(
                            key_at.offset,
                            "duplicate_key",
                            format!("the key {} stands twice", key.text()),
                        );
                    }
                    Some(key) => {
                        keys.insert(key);
                    }
                    None => {
                        let message = format!("a map's key is a string, an integer or a bool, not {}", constant.kind());
                        self.problem(key_at.offset, "bad_key", message);
                    }
                }
            }
            out.push((key, self.node(value)));
        }
        Node::Map(out.into())
    }

    fn name(&mut self, offset: usize, written: &str) -> Node {
        let plain = written.strip_prefix('.');
        if plain.is_none()
            && let Some(variable) = self.variables.iter().rposition(|v| **v == *written)
        {
            return Node::Variable(variable);
        }
        let name = plain.unwrap_or(written);
        if self.names.has(name) {
            let name: Arc<str> = name.into();
            self.used.insert(name.clone());
            if &*name == "results" {
                self.results = ResultsUse::All;
            }
            return Node::Name(name);
        }
        match function::type_named(name) {
            Some(type_name) => Node::Constant(Value::Type(type_name)),
            None => self.unknown_name(offset, name),
        }
    }

    fn unknown_name(&mut self, offset: usize, name: &str) -> Node {
        let known: Vec<String> = self.names.iter().map(str::to_owned).collect();
        let variables: Vec<String> = self.variables.iter().map(|v| v.to_string()).collect();
        let near = nearest(name, known.iter().chain(&variables).map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "no names are known here".to_owned(),
            None => format!("known here: {}", known.join(", ")),
        };
        self.problem(offset, "unknown_name", format!("unknown name `{name}`; {hint}"))
    }

    fn path(&mut self, root: &At, steps: &[StepAt]) -> Node {
        if let Some(node) = self.qualified(root, steps) {
            return node;
        }
        Node::Path(Box::new(self.path_of(root, steps)))
    }

    /// `math.least(…)`, `google.protobuf.Timestamp`: names with dots that are no way into a value.
    fn qualified(&mut self, root: &At, steps: &[StepAt]) -> Option<Node> {
        let Syntax::Name(first) = &root.part else { return None };
        if self.names.has(first) || self.variables.iter().any(|v| **v == **first) {
            return None;
        }
        match steps {
            [
                StepAt {
                    offset,
                    step: SyntaxStep::Call(name, args),
                },
            ] if first == "math" => Some(self.plain_call(*offset, &format!("math.{name}"), args)),
            [
                StepAt {
                    step: SyntaxStep::Field(second),
                    ..
                },
                StepAt {
                    step: SyntaxStep::Field(third),
                    ..
                },
            ] => function::type_named(&format!("{first}.{second}.{third}")).map(|t| Node::Constant(Value::Type(t))),
            _ => None,
        }
    }

    fn path_of(&mut self, root: &At, steps: &[StepAt]) -> Path {
        let label: Arc<str> = if let Syntax::Name(name) = &root.part {
            name.trim_start_matches('.').into()
        } else {
            "".into()
        };
        let node = self.root(root, steps.first().and_then(first_key));
        let steps = steps.iter().map(|s| self.step(s)).collect();
        Path {
            label,
            root: node,
            steps,
        }
    }

    /// What a path starts with. Of `results` only the member `key` is read, if that is plain to see.
    fn root(&mut self, root: &At, key: Option<&str>) -> Node {
        let (Syntax::Name(_), Some(key)) = (&root.part, key) else {
            return self.node(root);
        };
        let before = std::mem::replace(&mut self.results, ResultsUse::none());
        let node = self.node(root);
        let read_here = std::mem::replace(&mut self.results, before);
        if let (ResultsUse::All, ResultsUse::Names(names)) = (read_here, &mut self.results) {
            names.insert(key.into());
        }
        node
    }

    fn step(&mut self, at: &StepAt) -> Step {
        match &at.step {
            SyntaxStep::Field(name) => Step::Field(Key::Str(name.as_str().into())),
            SyntaxStep::Index(index) => Step::Index(self.node(index)),
            SyntaxStep::Call(name, args) => match iteration_kind(name) {
                Some(kind) => self.iteration(at.offset, name, kind, args),
                None => self.method_call(at.offset, name, args),
            },
        }
    }

    fn iteration(&mut self, offset: usize, name: &str, kind: IterationKind, args: &[At]) -> Step {
        let (variable, condition, body) = match (kind, args) {
            (_, [variable, body]) => (variable, None, body),
            (IterationKind::Map, [variable, condition, body]) => (variable, Some(condition), body),
            _ => {
                let message = format!("`{name}` is written `list.{name}(x, …)` with a variable and an expression");
                return Step::Index(self.problem(offset, "wrong_arguments", message));
            }
        };
        let Syntax::Name(variable_name) = &variable.part else {
            let message = format!("the first argument of `{name}` must be a plain name: its variable");
            return Step::Index(self.problem(variable.offset, "wrong_arguments", message));
        };
        let iterations_max = self.limits.expression_iterations_max;
        if self.variables.len() == iterations_max {
            let message = format!("more than {iterations_max} iterations inside each other");
            return Step::Index(self.problem(offset, "too_many_iterations", message));
        }
        self.variables.push(variable_name.as_str().into());
        let condition = condition.map(|c| self.node(c));
        let body = self.node(body);
        self.variables.pop();
        Step::Iterate(Box::new(Iteration { kind, body, condition }))
    }

    fn method_call(&mut self, offset: usize, name: &str, args: &[At]) -> Step {
        let arguments = self.all(args);
        let Some(signature) = function::lookup(name) else {
            return Step::Index(self.unknown_function(offset, name, true));
        };
        let Some(wanted) = signature.method else {
            return Step::Index(self.problem(
                offset,
                "wrong_arguments",
                format!("`{name}` is called as `{name}(…)`, not on a value"),
            ));
        };
        if let Some(node) = self.check_count(offset, signature, wanted, arguments.len()) {
            return Step::Index(node);
        }
        match (signature.function, &*arguments) {
            (function::Function::Matches, [Node::Constant(Value::Str(pattern))]) => {
                match self.pattern(args[0].offset, pattern) {
                    Some(pattern) => Step::Matches(pattern),
                    None => Step::Index(nothing()),
                }
            }
            _ => Step::Call(signature.function, arguments),
        }
    }

    fn call(&mut self, offset: usize, name: &str, args: &[At]) -> Node {
        match (name, args) {
            ("has", [path]) => self.has(path),
            ("get", [from, path, default]) => self.get(from, path, default),
            ("has", _) => self.problem(offset, "wrong_arguments", "`has` takes one path: `has(ctx.a.b)`"),
            ("get", _) => self.problem(
                offset,
                "wrong_arguments",
                "`get` takes a value, a key path and a default: `get(ctx, 'a.b', 0)`",
            ),
            _ => self.plain_call(offset, name, args),
        }
    }

    fn plain_call(&mut self, offset: usize, name: &str, args: &[At]) -> Node {
        let arguments = self.all(args);
        let name = name.strip_prefix('.').unwrap_or(name);
        let Some(signature) = function::lookup(name) else {
            return self.unknown_function(offset, name, false);
        };
        let Some(wanted) = signature.plain else {
            let message = format!("`{name}` is called on a value: `text.{name}(…)`");
            return self.problem(offset, "wrong_arguments", message);
        };
        if let Some(node) = self.check_count(offset, signature, wanted, arguments.len()) {
            return node;
        }
        if signature.function == function::Function::Matches
            && let Some(Node::Constant(Value::Str(text))) = arguments.get(1)
        {
            let pattern = self.pattern(args[1].offset, text);
            let subject = arguments.into_vec().swap_remove(0);
            return pattern.map_or_else(nothing, |p| Node::Matches(Box::new(subject), p));
        }
        Node::Call(signature.function, arguments)
    }

    fn pattern(&mut self, offset: usize, text: &str) -> Option<Pattern> {
        match Pattern::new(text) {
            Ok(pattern) => Some(pattern),
            Err(message) => {
                self.problem(offset, "bad_pattern", message);
                None
            }
        }
    }

    fn has(&mut self, path: &At) -> Node {
        if let Syntax::Path(root, steps) = &path.part
            && let Some(StepAt {
                step: SyntaxStep::Field(_) | SyntaxStep::Index(_),
                ..
            }) = steps.last()
        {
            return Node::Has(Box::new(self.path_of(root, steps)));
        }
        self.problem(path.offset, "wrong_arguments", "`has` takes a path: `has(ctx.a.b)`")
    }

    fn get(&mut self, from: &At, path: &At, default: &At) -> Node {
        let known = match literal_text(path) {
            None => None,
            Some(text) => match KeyPath::parse(text) {
                Some(path) => Some(path),
                None => {
                    let message = format!("`{text}` is no key path; keys are joined by dots: 'a.b'");
                    return self.problem(path.offset, "bad_key_path", message);
                }
            },
        };
        let first = known.as_ref().and_then(|p| p.keys().first());
        let from = self.root(from, first.map(|key| &**key));
        let path = known.map_or_else(|| GetPath::Computed(self.node(path)), GetPath::Known);
        let default = self.node(default);
        Node::Get(Box::new(Get { from, path, default }))
    }

    fn check_count(
        &mut self,
        offset: usize,
        signature: &Signature,
        wanted: (usize, usize),
        got: usize,
    ) -> Option<Node> {
        let (from, to) = wanted;
        if (from..=to).contains(&got) {
            return None;
        }
        let counts = match wanted {
            (0, 0) => "no argument".to_owned(),
            (1, 1) => "one argument".to_owned(),
            (from, to) if from == to => format!("{from} arguments"),
            (from, to) => format!("{from} to {to} arguments"),
        };
        let message = format!("`{}` takes {counts}, not {got}", signature.name);
        Some(self.problem(offset, "wrong_arguments", message))
    }

    fn unknown_function(&mut self, offset: usize, name: &str, is_method: bool) -> Node {
        let macros: &[&str] = if is_method { &METHOD_MACROS } else { &PLAIN_MACROS };
        let other_macros: &[&str] = if is_method { &PLAIN_MACROS } else { &METHOD_MACROS };
        if other_macros.contains(&name) {
            let right = if is_method {
                format!("{name}(…)")
            } else {
                format!("list.{name}(x, …)")
            };
            return self.problem(offset, "wrong_arguments", format!("`{name}` is written `{right}`"));
        }
        let callable = |s: &&Signature| {
            if is_method {
                s.method.is_some()
            } else {
                s.plain.is_some()
            }
        };
        let known = FUNCTIONS.iter().filter(callable).map(|s| s.name);
        let hint = nearest(name, known.chain(macros.iter().copied()))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        self.problem(offset, "unknown_function", format!("unknown function `{name}`{hint}"))
    }
}

/// What a text that nests too deep is told.
pub(super) fn too_deep(levels_max: usize) -> String {
    format!("nested deeper than {levels_max} levels; compute parts of it in a `set` before")
}

fn iteration_kind(name: &str) -> Option<IterationKind> {
    Some(match name {
        "all" => IterationKind::All,
        "exists" => IterationKind::Exists,
        "exists_one" | "existsOne" => IterationKind::ExistsOne,
        "map" => IterationKind::Map,
        "filter" => IterationKind::Filter,
        _ => return None,
    })
}

/// The member that a path's first step reads, if that is plain to see.
fn first_key(at: &StepAt) -> Option<&str> {
    match &at.step {
        SyntaxStep::Field(key) => Some(key),
        SyntaxStep::Index(index) => literal_text(index),
        SyntaxStep::Call(..) => None,
    }
}

fn literal_text(at: &At) -> Option<&str> {
    if let Syntax::Literal(Value::Str(text)) = &at.part {
        Some(text)
    } else {
        None
    }
}
