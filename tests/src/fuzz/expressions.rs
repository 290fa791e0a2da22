//! Expressions: they end, come to the same twice, and are refused at a place in their text.

use std::time::Duration;

use rejoin_shared::expr::{Env, EvalError, Expr, Names, RunInfo};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;

use super::Target;
use super::corpus::text;
use crate::simulate::START;

pub(super) struct Expressions {
    names: Names,
    env: Env,
}

const CTX: &str = r#"{"a":1,"b":{"c":[1,2,{"d":null}],"x.y":true},"f":0.5,"s":"ünï 2026-01-31T12:00:00Z","l":["a","b"],"m":{},
    "big":9223372036854775807,"neg":-9223372036854775808,"deep":[[[[[[1]]]]]],"t":"text"}"#;

impl Expressions {
    pub fn new() -> Expressions {
        let words = [
            "input", "ctx", "results", "item", "index", "error", "payload", "output", "attempt", "run",
        ];
        let names = words.iter().fold(Names::new(), |names, word| names.with(word));
        let ctx = Json::parse(CTX.as_bytes()).expect("JSON");
        let run = RunInfo {
            id: "018f6b1e-7a2c-7c3d-8e4f-0123456789ab".into(),
            workflow: "w".into(),
            version: 3,
            started_at: START.plus(Duration::from_millis(1_234)),
        };
        let env = words
            .iter()
            .filter(|word| **word != "run")
            .fold(Env::default(), |env, word| match *word {
                "index" | "attempt" => env.with(word, Json::Int(2)),
                word => env.with(word, ctx.clone()),
            });
        Expressions {
            names,
            env: Env { run: Some(run), ..env },
        }
    }
}

impl Target for Expressions {
    fn name(&self) -> &'static str {
        "expressions"
    }

    fn corpus(&self) -> Vec<Vec<u8>> {
        let all = text("tests/corpus/expressions.txt");
        all.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    fn pieces(&self) -> &'static [&'static str] {
        PIECES
    }

    fn check(&mut self, input: &[u8]) -> Result<bool, String> {
        let text = String::from_utf8_lossy(input);
        let limits = Limits::default();
        let expr = match Expr::compile(&text, &self.names, &limits) {
            Ok(expr) => expr,
            Err(problems) => {
                let mut last = 0;
                for problem in &problems {
                    let is_placed = problem.offset >= last && text.is_char_boundary(problem.offset.min(text.len()));
                    if problem.offset > text.len()
                        || !is_placed
                        || problem.message.is_empty()
                        || problem.code.is_empty()
                    {
                        return Err(format!("a problem of {} bytes: {problem:?}", text.len()));
                    }
                    last = problem.offset;
                }
                return match problems.is_empty() {
                    true => Err("refused without a problem".to_owned()),
                    false => Ok(false),
                };
            }
        };
        let again = Expr::compile(expr.source(), &self.names, &limits);
        let again = again.map_err(|problems| format!("its own text is refused: {problems:?}"))?;
        let (first, second) = (expr.eval(&self.env, &limits), again.eval(&self.env, &limits));
        if first != second {
            return Err(format!("it comes to {first:?} and to {second:?}"));
        }
        match first {
            Ok(value) => stays_itself(&value).map(|()| true),
            Err(EvalError::Failed(why)) if why.is_empty() => Err("it fails without a reason".to_owned()),
            Err(EvalError::Failed(_) | EvalError::Cost) => Ok(true),
        }
    }
}

/// What an expression comes to is recorded, and read again as it was.
fn stays_itself(value: &Json) -> Result<(), String> {
    let written = value.to_string();
    match Json::parse_own(written.as_bytes()) {
        Ok(read) if read == *value => Ok(()),
        other => Err(format!("{written} is read as {other:?}")),
    }
}

const PIECES: &[&str] = &[
    "ctx",
    "ctx.a",
    "ctx.b.c",
    "input",
    "results['x']",
    "item",
    "index",
    "run.id",
    "run.started_at",
    "payload.ok",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ".",
    ",",
    "?",
    ":",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    " in ",
    "null",
    "true",
    "false",
    "''",
    "\"\"",
    "r'\\n'",
    "b'abc'",
    "'''a'''",
    "\\x41",
    "\\u00e9",
    "\\U0001F600",
    "\\",
    "1u",
    "0x1F",
    "1e3",
    ".5",
    "size(",
    "has(ctx.a)",
    "get(ctx, 'a.b', 0)",
    ".map(x, x)",
    ".filter(x, true)",
    ".all(x, x == x)",
    ".exists(x, x > 0)",
    ".exists_one(x, true)",
    "string(",
    "int(",
    "uint(",
    "double(",
    "bool(",
    "bytes(",
    "timestamp(",
    "duration(",
    "type(",
    "dyn(",
    "matches('a', '(a+)+$')",
    ".matches('[')",
    ".contains('a')",
    ".split('')",
    ".join(',')",
    ".replace('', 'xx')",
    ".substring(1)",
    ".indexOf('')",
    ".lastIndexOf('')",
    ".charAt(0)",
    ".trim()",
    "math.least(",
    "math.greatest(1, 2.0)",
    "math.round(0.5)",
    "math.abs(ctx.neg)",
    "duration('1h')",
    "timestamp('9999-12-31T23:59:59Z')",
    ".getFullYear('Europe/Berlin')",
    ".getSeconds()",
    "// x",
    "optional.of(1)",
    "a{b: 1}",
    "as",
    "while",
    "google.protobuf.Value{}",
];
