//! From text to a compiled expression, within limits whatever the text holds.

use std::panic::AssertUnwindSafe;

use super::lower::{self, Lowered, lower};
use super::{ExprProblem, Names, parse, scan};
use crate::limits::Limits;

/// Levels beyond which no configuration goes: the evaluation recurses once a level.
const LEVELS_MAX: usize = 64;
/// Text longer than this is parsed on a thread of its own: a chain of thousands of operators makes a tree that deep.
const SHORT_BYTES: usize = 256;
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// What compiling came to, or the parser's panic.
type Compiled<T> = std::thread::Result<Result<T, Vec<ExprProblem>>>;

/// Compiles `source`.
pub(super) fn compile(source: &str, names: &Names, limits: &Limits) -> Result<Lowered, Vec<ExprProblem>> {
    let mut limits = limits.clone();
    limits.expression_levels_max = limits.expression_levels_max.min(LEVELS_MAX);
    if let Some(problem) = refused(source, &limits) {
        return Err(vec![problem]);
    }
    let compile = || parse::parse(source).and_then(|syntax| lower(&syntax, names, &limits));
    let compiled = if source.len() <= SHORT_BYTES {
        // The parser is generated code of others: should it ever panic, that is a problem of this text alone.
        std::panic::catch_unwind(AssertUnwindSafe(compile))
    } else {
        on_large_stack(compile)
    };
    compiled.unwrap_or_else(|_panic| Err(vec![unreadable("the expression cannot be read")]))
}

fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Vec<ExprProblem>> + Send) -> Compiled<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => thread.join(),
            Err(error) => Ok(Err(vec![unreadable(&format!(
                "no thread to read the expression: {error}"
            ))])),
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
