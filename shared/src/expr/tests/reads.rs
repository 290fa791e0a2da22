//! What an expression reads, messages, templates.

use super::*;

fn reads(source: &str) -> String {
    match compile(source).expect(source).results_named() {
        ResultsUse::All => "all".into(),
        ResultsUse::Names(names) => names.iter().map(|n| &**n).collect::<Vec<_>>().join(" "),
    }
}

#[test]
fn the_results_an_expression_reads_are_known_from_its_text() {
    for (source, expected) in [
        ("ctx.total", ""),
        ("results.first.ok", "first"),
        ("results['my-node'][0] + results.b", "b my-node"),
        ("has(results.first) && has(results.second.x)", "first second"),
        ("get(results, 'first.ok', false)", "first"),
        ("get(results, ctx.name, results.b)", "all"),
        ("results", "all"),
        ("results.size()", "all"),
        ("results[ctx.name]", "all"),
        ("results.a[results.b]", "a b"),
        ("results.a[string(results)]", "all"),
        ("ctx.tags.map(x, results.first)", "first"),
        ("ctx.tags.map(results, results.first)", ""),
        ("ctx.tags.map(results, .results.first)", "first"),
        ("ctx.results.x", ""),
        ("'results.x'", ""),
    ] {
        assert_eq!(reads(source), expected, "{source}");
    }
}

#[test]
fn the_names_an_expression_uses_are_known() {
    let used = |source: &str| {
        let expr = compile(source).expect(source);
        expr.names_used().iter().map(|n| n.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(used("ctx.a + input.b + ctx.c"), ["ctx", "input"]);
    assert_eq!(used("[1].map(ctx, ctx)"), [""; 0]);
    assert_eq!(
        used("has(error.code) ? run.id : string(item)"),
        ["error", "item", "run"]
    );
}

#[test]
fn a_failure_shows_the_expression() {
    let expr = compile("ctx.nope + 1").expect("compiles");
    assert_eq!(
        expr.eval(&env(), &Limits::default()),
        Err(EvalError::Failed("no such key 'nope' in ctx, in `ctx.nope + 1`".into()))
    );
    assert_eq!(
        compile("ctx.total")
            .expect("compiles")
            .eval_bool(&env(), &Limits::default()),
        Err(EvalError::Failed(
            "the result must be a bool, not int, in `ctx.total`".into()
        ))
    );
    assert_eq!(
        compile("ctx.flag")
            .expect("compiles")
            .eval_bool(&env(), &Limits::default()),
        Ok(true)
    );
}

#[test]
fn a_value_of_the_context_is_shared_not_copied() {
    let env = env();
    let result = compile("ctx.order")
        .expect("compiles")
        .eval(&env, &Limits::default())
        .expect("is there");
    let stored = env.get("ctx").and_then(|c| c.get("order")).expect("is there");
    assert!(result.same_storage(stored));
}

fn template(text: &str) -> Result<Template, Vec<(Vec<String>, ExprProblem)>> {
    let value = Json::parse(text.as_bytes()).expect("test JSON");
    Template::compile(&value, &names(), &Limits::default())
}

fn filled(text: &str) -> String {
    let template = template(text).expect(text);
    template
        .eval(&env(), &Limits::default())
        .map_or_else(|e| e.to_string(), |v| v.to_string())
}

#[test]
fn templates_compute_the_texts_that_are_marked() {
    for (text, expected) in [
        (r#""= ctx.total""#, "999"),
        (r#""=ctx.total""#, r#""=ctx.total""#),
        (r#"" = ctx.total""#, r#"" = ctx.total""#),
        (r#""= '= text'""#, r#""= text""#),
        (
            r#"{"a":["= ctx.total",1],"b":{"c":"= ctx.name"},"d":"x"}"#,
            r#"{"a":[999,1],"b":{"c":"Ada"},"d":"x"}"#,
        ),
        (r#"{"= ctx":1}"#, r#"{"= ctx":1}"#),
        (r#"{"a":"= ctx.nope"}"#, "no such key 'nope' in ctx, in `ctx.nope`"),
    ] {
        assert_eq!(filled(text), expected, "{text}");
    }
}

#[test]
fn a_template_without_expressions_is_a_literal() {
    let text = r#"{"a":[1,{"b":"=x"}]}"#;
    assert_eq!(
        template(text).expect("a literal").literal(),
        Json::parse(text.as_bytes()).ok().as_ref()
    );
    assert_eq!(template(r#"["= 1"]"#).expect("computed").literal(), None);
}

#[test]
fn problems_in_a_template_are_all_found_with_their_place() {
    let problems = template(r#"{"a":["= ctx.x","= nope"],"b":{"c":"= 1 +"}}"#).expect_err("two problems");
    let seen: Vec<_> = problems
        .iter()
        .map(|(path, p)| (path.join("/"), p.code, p.offset))
        .collect();
    assert_eq!(
        seen,
        [("a/1".to_owned(), "unknown_name", 0), ("b/c".to_owned(), "syntax", 3)]
    );
}

#[test]
fn a_template_knows_what_it_reads() {
    let t = template(r#"{"a":"= results.x","b":["= results['y'].z + item"]}"#).expect("compiles");
    let names = ["x", "y"].into_iter().map(Arc::from).collect();
    assert_eq!(t.results_named(), ResultsUse::Names(names));
    assert_eq!(
        t.names_used().iter().map(|n| &**n).collect::<Vec<_>>(),
        ["item", "results"]
    );
}

#[test]
fn one_budget_is_for_the_whole_template() {
    let limits = Limits {
        expression_cost_max: 9,
        ..Limits::default()
    };
    let one = r#"["= [1, 2, 3].all(x, x > 0)"]"#;
    assert!(template(one).expect("compiles").eval(&env(), &limits).is_ok());
    let four = r#"["= [1, 2, 3].all(x, x > 0)","= [1, 2, 3].all(x, x > 0)","= [1, 2, 3].all(x, x > 0)","= [1, 2, 3].all(x, x > 0)"]"#;
    assert_eq!(
        template(four).expect("compiles").eval(&env(), &limits),
        Err(EvalError::Cost)
    );
}
