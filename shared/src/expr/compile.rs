//! From text to a compiled expression, within limits whatever the text holds.

use super::lower::{self, Lowered, lower};
use super::{ExprProblem, Names, parse, scan};
use crate::limits::Limits;

/// Levels beyond which no configuration goes: the evaluation recurses once a level.
const LEVELS_MAX: usize = 64;
/// Text longer than this is parsed on a thread of its own: a chain of thousands of operators makes a tree that deep.
const SHORT_BYTES: usize = 256;
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Compiles `source`.
pub(super) fn compile(source: &str, names: &Names, limits: &Limits) -> Result<Lowered, Vec<ExprProblem>> {
    let mut limits = limits.clone();
    limits.expression_levels_max = limits.expression_levels_max.min(LEVELS_MAX);
    if let Some(problem) = refused(source, &limits) {
        return Err(vec![problem]);
    }
    let compile = || parse::parse(source).and_then(|syntax| lower(&syntax, names, &limits));
    if source.len() <= SHORT_BYTES {
        return compile();
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new()
            .name("expression".into())
            .stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, compile).map(|thread| thread.join()) {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => Err(vec![unreadable("the expression cannot be read")]),
            Err(_no_thread) => Err(vec![unreadable("no memory to read the expression with")]),
        }
    })
}

/// What is wrong with the text before it is parsed.
fn refused(source: &str, limits: &Limits) -> Option<ExprProblem> {
    let bytes_max = limits.expression_bytes_max;
    if source.len() > bytes_max {
        return Some(ExprProblem {
            offset: bytes_max,
            code: "too_large",
            message: format!(
                "the expression is {} bytes long, at most {bytes_max} are possible",
                source.len()
            ),
        });
    }
    if source.trim().is_empty() {
        return Some(unreadable("the expression is empty"));
    }
    let levels_max = limits.expression_levels_max;
    scan::first_too_deep(source, levels_max).map(|offset| ExprProblem {
        offset,
        code: "too_deep",
        message: lower::too_deep(levels_max),
    })
}

fn unreadable(message: &str) -> ExprProblem {
    ExprProblem {
        offset: 0,
        code: "syntax",
        message: message.into(),
    }
}
