//! What expressions give, tables of claims.

use super::*;

mod functions;
mod language;
mod limits;
mod reads;

/// The environment most tests use.
fn env() -> Env {
    let json = |text: &str| Json::parse(text.as_bytes()).expect("test JSON");
    Env {
        names: Vec::new(),
        run: Some(RunInfo {
            id: "r1".into(),
            workflow: "order".into(),
            version: 3,
            started_at: Timestamp::parse("2026-03-04T05:06:07.089Z").expect("test time"),
        }),
    }
    .with(
        "ctx",
        json(
            r#"{"total":999,"price":2.5,"name":"Ada","none":null,"flag":true,"big":9007199254740993,
                "order":{"id":"o-1","lines":[{"sku":"a","n":1},{"sku":"b","n":2},{"sku":"c","n":3}]},
                "a.b":"dotted","tags":["x","y"],"empty":[],"map":{"k":1,"l":2}}"#,
        ),
    )
    .with("input", json(r#"{"who":"world"}"#))
    .with("results", json(r#"{"first":{"ok":true},"my-node":[1,2]}"#))
    .with("item", json("7"))
}

fn names() -> Names {
    let all = ["ctx", "input", "results", "item", "run", "error"];
    all.into_iter().fold(Names::new(), |names, name| names.with(name))
}

fn compile(source: &str) -> Result<Expr, Vec<ExprProblem>> {
    Expr::compile(source, &names(), &Limits::default())
}

/// The result's JSON text, or `error: …` without the expression.
fn run(source: &str) -> String {
    let expr = match compile(source) {
        Ok(expr) => expr,
        Err(problems) => return format!("refused: {}", problems[0].message),
    };
    match expr.eval(&env(), &Limits::default()) {
        Ok(json) => json.to_string(),
        Err(EvalError::Cost) => "cost".into(),
        Err(EvalError::Failed(message)) => {
            let end = message.rfind(", in `").expect("it shows the expression");
            format!("error: {}", &message[..end])
        }
    }
}

/// Each row: an expression and what [`run`] says; all rows that differ are shown.
fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(source, expected)| (source, expected, run(source)))
        .filter(|(_, expected, got)| got != *expected)
        .map(|(source, expected, got)| format!("{source}\n  expected {expected}\n  got      {got}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
