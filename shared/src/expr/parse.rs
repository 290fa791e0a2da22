//! The only file that knows the `cel` crate: its parser makes the tree, this makes it [`Syntax`].
//!
//! The parser is used without macros, so that `map`, `all` and the others arrive as the calls that were written and
//! their evaluation can be ours.

#![allow(clippy::wildcard_enum_match_arm)] // flattening looks for one kind and passes on the others

use cel::common::ast::{CallExpr, EntryExpr, Expr as Cel, LiteralValue, MapExpr, SourceInfo, operators as op};
use cel::{IdedExpr, ParseError, ParseErrors};

use super::ExprProblem;
use super::syntax::{At, Binary, LinkAt, StepAt, Syntax, SyntaxStep};
use super::value::Value;

/// Problems listed for one expression; the parser can find one a character.
const PROBLEMS_MAX: usize = 20;

/// Parses an expression whose size and bracket depth were checked before.
pub(super) fn parse(source: &str) -> Result<At, Vec<ExprProblem>> {
    let env = cel::Env::default().with_optional_support(false);
    let parser = env.parser().enable_ident_escape_syntax(true);
    match parser.parse_with_source_info(source) {
        Ok((tree, info)) => Ok(Translation { source, info: &info }.at(tree)),
        Err(errors) => Err(problems(source, errors)),
    }
}

fn problems(source: &str, errors: ParseErrors) -> Vec<ExprProblem> {
    if errors.errors.iter().any(|e| e.msg.contains("Recursion limit")) {
        return vec![ExprProblem {
            offset: 0,
            code: "too_deep",
            message: "the expression is nested too deep; compute parts of it in a `set` before".into(),
        }];
    }
    let mut out: Vec<_> = errors
        .errors
        .iter()
        .filter(|e| !e.msg.contains("Context"))
        .take(PROBLEMS_MAX)
        .map(|e| syntax_problem(source, e))
        .collect();
    if out.is_empty() {
        out.push(ExprProblem {
            offset: 0,
            code: "syntax",
            message: "this is no complete CEL expression".into(),
        });
    }
    out
}

fn syntax_problem(source: &str, error: &ParseError) -> ExprProblem {
    ExprProblem {
        offset: offset_of(source, error.pos),
        code: "syntax",
        message: format!("syntax error: {}", reworded(&error.msg)),
    }
}

/// The parser's message without its prefix and its list of all tokens that could follow, which helps nobody.
fn reworded(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let cut = [" expecting {", " expecting <EOF>"]
        .iter()
        .find_map(|end| message.find(end));
    let message = &message[..cut.unwrap_or(message.len())];
    message.replace("mismatched input '<EOF>'", "the text ends too early")
}

/// Byte offset of a line and column (from 1, in characters).
fn offset_of(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(0).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(0).saturating_sub(1);
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &source[start..];
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

struct Translation<'a> {
    source: &'a str,
    info: &'a SourceInfo,
}

impl Translation<'_> {
    fn offset(&self, id: u64) -> usize {
        let start = self.info.offset_for(id).map_or(0, |(start, _)| start);
        usize::try_from(start).unwrap_or(0).min(self.source.len())
    }

    fn at(&self, tree: IdedExpr) -> At {
        let offset = self.offset(tree.id);
        let part = match tree.expr {
            Cel::Call(call) => return self.call(tree.id, call),
            Cel::Select(_) => return self.path(tree),
            Cel::Literal(value) => Syntax::Literal(literal(value)),
            Cel::Ident(name) => Syntax::Name(name),
            Cel::List(list) => Syntax::List(self.all(list.elements)),
            Cel::Map(map) => self.map(map),
            Cel::Struct(_) => Syntax::Unsupported("a message literal `Name{…}`"),
            Cel::Comprehension(_) | Cel::Unspecified => Syntax::Unsupported("this construct"),
        };
        At { offset, part }
    }

    fn all(&self, trees: Vec<IdedExpr>) -> Vec<At> {
        trees.into_iter().map(|t| self.at(t)).collect()
    }

    fn map(&self, map: MapExpr) -> Syntax {
        let entry = |entry: cel::common::ast::IdedEntryExpr| match entry.expr {
            EntryExpr::MapEntry(entry) => Some((self.at(entry.key), self.at(entry.value))),
            EntryExpr::StructField(_) => None,
        };
        Syntax::Map(map.entries.into_iter().filter_map(entry).collect())
    }

    fn call(&self, id: u64, call: CallExpr) -> At {
        let offset = self.offset(id);
        if call.target.is_some() || call.func_name == op::INDEX {
            let expr = Cel::Call(call);
            return self.path(IdedExpr { id, expr });
        }
        let name = call.func_name;
        let part = match name.as_str() {
            op::LOGICAL_AND => Syntax::And(self.terms(&name, call.args)),
            op::LOGICAL_OR => Syntax::Or(self.terms(&name, call.args)),
            op::LOGICAL_NOT | op::NEGATE | op::CONDITIONAL => self.prefix(&name, call.args),
            other if binary(other).is_some() => {
                let args = call.args;
                let (func_name, target) = (name, None);
                return self.chain(IdedExpr {
                    id,
                    expr: Cel::Call(CallExpr {
                        func_name,
                        target,
                        args,
                    }),
                });
            }
            _ => {
                return At {
                    // The parser points at the bracket.
                    offset: before_name(self.source, offset),
                    part: Syntax::Call(name, self.all(call.args)),
                };
            }
        };
        At { offset, part }
    }

    fn prefix(&self, name: &str, args: Vec<IdedExpr>) -> Syntax {
        let parts = self.all(args);
        match (name, <[At; 1]>::try_from(parts)) {
            (op::LOGICAL_NOT, Ok([operand])) => Syntax::Not(Box::new(operand)),
            (_, Ok([operand])) => Syntax::Negate(Box::new(operand)),
            (_, Err(parts)) => match <[At; 3]>::try_from(parts) {
                Ok(parts) => Syntax::Conditional(Box::new(parts)),
                Err(_) => Syntax::Unsupported("this operator"),
            },
        }
    }

    /// The terms of nested `&&` or `||`, which the parser balances into a tree.
    fn terms(&self, name: &str, args: Vec<IdedExpr>) -> Vec<At> {
        let mut out = Vec::new();
        for tree in args {
            match tree.expr {
                Cel::Call(call) if call.func_name == name && call.target.is_none() => {
                    out.extend(self.terms(name, call.args));
                }
                expr => out.push(self.at(IdedExpr { id: tree.id, expr })),
            }
        }
        out
    }

    fn chain(&self, tree: IdedExpr) -> At {
        let mut links = Vec::new();
        let mut rest = tree;
        loop {
            match as_binary(rest) {
                Ok((operator, left, right)) => {
                    let operand = self.at(right);
                    links.push(LinkAt { operator, operand });
                    rest = left;
                }
                Err(first) => {
                    links.reverse();
                    let first = self.at(first);
                    return At {
                        offset: first.offset,
                        part: Syntax::Chain(Box::new(first), links),
                    };
                }
            }
        }
    }

    fn path(&self, tree: IdedExpr) -> At {
        let mut steps = Vec::new();
        let mut rest = tree;
        loop {
            match self.last_step(rest) {
                Ok((step, before)) => {
                    steps.push(step);
                    rest = before;
                }
                Err(root) => {
                    steps.reverse();
                    let root = self.at(root);
                    return At {
                        offset: root.offset,
                        part: Syntax::Path(Box::new(root), steps),
                    };
                }
            }
        }
    }

    /// The last step of a path and the path before it; the tree itself if it is none.
    fn last_step(&self, tree: IdedExpr) -> Result<(StepAt, IdedExpr), IdedExpr> {
        let offset = self.offset(tree.id);
        match tree.expr {
            Cel::Select(select) => {
                let step = SyntaxStep::Field(select.field);
                Ok((StepAt { offset, step }, *select.operand))
            }
            Cel::Call(call) if call.target.is_some() => {
                let target = call.target.expect("checked by the guard");
                let offset = before_name(self.source, offset);
                let step = SyntaxStep::Call(call.func_name, self.all(call.args));
                Ok((StepAt { offset, step }, *target))
            }
            Cel::Call(call) if call.func_name == op::INDEX && call.args.len() == 2 => {
                let [before, index] = <[IdedExpr; 2]>::try_from(call.args).expect("checked by the guard");
                let step = SyntaxStep::Index(self.at(index));
                Ok((StepAt { offset, step }, before))
            }
            expr => Err(IdedExpr { id: tree.id, expr }),
        }
    }
}

/// Where the name that ends before the bracket at `offset` begins.
fn before_name(source: &str, offset: usize) -> usize {
    let before = source.get(..offset).unwrap_or("");
    if source.as_bytes().get(offset) != Some(&b'(') {
        return offset;
    }
    let name = before
        .trim_end()
        .trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    name.len()
}

fn as_binary(tree: IdedExpr) -> Result<(Binary, IdedExpr, IdedExpr), IdedExpr> {
    match tree.expr {
        Cel::Call(call) if call.target.is_none() => match (binary(&call.func_name), call.args.len()) {
            (Some(operator), 2) => {
                let [left, right] = <[IdedExpr; 2]>::try_from(call.args).expect("its length was just read");
                Ok((operator, left, right))
            }
            _ => Err(IdedExpr {
                id: tree.id,
                expr: Cel::Call(call),
            }),
        },
        expr => Err(IdedExpr { id: tree.id, expr }),
    }
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        op::ADD => Binary::Add,
        op::SUBSTRACT => Binary::Subtract,
        op::MULTIPLY => Binary::Multiply,
        op::DIVIDE => Binary::Divide,
        op::MODULO => Binary::Modulo,
        op::EQUALS => Binary::Equal,
        op::NOT_EQUALS => Binary::NotEqual,
        op::LESS => Binary::Less,
        op::LESS_EQUALS => Binary::LessEqual,
        op::GREATER => Binary::Greater,
        op::GREATER_EQUALS => Binary::GreaterEqual,
        op::IN => Binary::In,
        _ => return None,
    })
}

fn literal(value: LiteralValue) -> Value {
    match value {
        LiteralValue::Null => Value::Null,
        LiteralValue::Boolean(b) => Value::Bool(b.into_inner()),
        LiteralValue::Int(n) => Value::Int(n.into_inner()),
        LiteralValue::UInt(n) => Value::Uint(n.into_inner()),
        LiteralValue::Double(x) => Value::Double(x.into_inner()),
        LiteralValue::String(text) => Value::str(text.inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(bytes.into_inner().into()),
    }
}
