//! Limits on both sides, cost, and texts made to break things.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn codes(source: &str) -> Vec<&'static str> {
    match compile(source) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|p| p.code).collect(),
    }
}

#[test]
fn size_is_limited_on_both_sides() {
    let of_length = |n: usize| format!("'{}'", "x".repeat(n - 2));
    assert_eq!(codes(&of_length(4096)), [""; 0]);
    assert_eq!(codes(&of_length(4097)), ["too_large"]);
}

#[test]
fn levels_are_limited_on_both_sides() {
    let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for (open, close) in [
        ("[", "]"),
        ("(1 + ", ")"),
        ("{'a': ", "}"),
        ("string(", ")"),
        ("-(", ")"),
        ("[1].map(x, ", ")"),
    ] {
        let levels = if open == "[1].map(x, " { 2 } else { 32 };
        assert_eq!(codes(&nested(open, close, levels)), [""; 0], "{open}");
        assert_ne!(codes(&nested(open, close, levels + 1)), [""; 0], "{open}");
    }
    assert_eq!(codes(&nested("[", "]", 33)), ["too_deep"]);
    assert_eq!(codes(&format!("{}2", "true ? 1 : ".repeat(32))), [""; 0]);
    assert_eq!(codes(&format!("{}2", "true ? 1 : ".repeat(33))), ["too_deep"]);
    assert_eq!(codes(&format!("{}2", "true ? 1 : ".repeat(300))), ["too_deep"]);
    assert_eq!(codes(&"(".repeat(4000)), ["too_deep"]);
}

#[test]
fn no_configured_depth_overflows_a_small_stack() {
    let limits = Limits {
        expression_levels_max: 100_000,
        ..Limits::default()
    };
    let work = move || {
        for (open, close) in [
            ("[", "]"),
            ("(1 + ", ")"),
            ("f ? 1 : ", ""),
            ("{'a': ", "}"),
            ("string(", ")"),
            ("!(", ")"),
        ] {
            let source = |n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
            let names = Names::new().with("f");
            let deepest = (1..200)
                .take_while(|n| Expr::compile(&source(*n), &names, &limits).is_ok())
                .last();
            assert_eq!(deepest, Some(64), "{open}");
            let expr = Expr::compile(&source(64), &names, &limits).expect("just compiled");
            drop(expr.eval(&Env::default().with("f", Json::Bool(false)), &limits));
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(work)
        .expect("a thread");
    thread.join().expect("it neither overflows nor fails");
}

#[test]
fn nested_iterations_are_limited_on_both_sides() {
    assert_eq!(codes("[1].map(x, [2].map(y, x + y))"), [""; 0]);
    assert_eq!(codes("[1].map(x, [2].map(y, [3].map(z, z)))"), ["too_many_iterations"]);
    assert_eq!(codes("[1].map(x, x).map(x, x).map(x, x).all(x, true)"), [""; 0]);
    assert_eq!(codes("[1].map(a, a).filter(b, [b].exists(c, c == b))"), [""; 0]);
}

#[test]
fn long_chains_are_no_nesting() {
    assert_eq!(run(&format!("0{}", "+1".repeat(2040))), "2040");
    assert_eq!(run(&format!("true{}", "&&true".repeat(600))), "true");
    assert_eq!(run(&format!("false{}", " || false".repeat(400))), "false");
    assert_eq!(run(&format!("'a'{}", ".trim()".repeat(500))), r#""a""#);
    assert_eq!(run(&format!("{}1", "-".repeat(4000))), "1");
    assert_eq!(run(&format!("[{}]", "1,".repeat(2040))).len(), 2040 * 2 + 1);
}

#[test]
fn all_problems_are_listed_with_their_place() {
    let problems = compile("contxt.a + foo(1) + 'x'.trim(2) + resutls.b").expect_err("four problems");
    let seen: Vec<_> = problems.iter().map(|p| (p.offset, p.code)).collect();
    assert_eq!(
        seen,
        [
            (0, "unknown_name"),
            (11, "unknown_function"),
            (24, "wrong_arguments"),
            (34, "unknown_name")
        ]
    );
    assert_eq!(problems[3].message, "unknown name `resutls`; did you mean `results`?");
    let syntax = compile("'ä' + $ + 1").expect_err("a character that is none of CEL's");
    assert_eq!((syntax[0].offset, syntax[0].code), (7, "syntax"), "{syntax:?}");
    let late = compile("1 +\n 2 $").expect_err("in the second line");
    assert_eq!(late[0].offset, 7);
    assert_eq!(codes(""), ["syntax"]);
    assert_eq!(codes("  \n"), ["syntax"]);
    assert_eq!(codes("a b"), ["syntax"]);
}

#[test]
fn what_cel_has_and_rejoin_has_not_is_refused_at_once() {
    for (source, code) in [
        ("Msg{a: 1}", "unsupported"),
        ("ctx.?a", "syntax"),
        ("now()", "unknown_function"),
        ("ctx.sze()", "unknown_function"),
        ("ctx.has(a)", "wrong_arguments"),
        ("startsWith('a', 'b')", "wrong_arguments"),
        ("'a'.string()", "wrong_arguments"),
        ("size()", "wrong_arguments"),
        ("x", "unknown_name"),
        ("[1].map(x, y)", "unknown_name"),
        ("[1].map(x, x) + x", "unknown_name"),
    ] {
        assert_eq!(codes(source).first(), Some(&code), "{source}");
    }
    let hint = compile("ctx.sze()").expect_err("unknown");
    assert_eq!(hint[0].message, "unknown function `sze`; did you mean `size`?");
}

fn ends_quickly(source: &str, env: &Env) -> Result<Json, EvalError> {
    let expr = compile(source).expect(source);
    let begun = Instant::now();
    let result = expr.eval(env, &Limits::default());
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{source}: {:?}",
        begun.elapsed()
    );
    result
}

#[test]
fn what_visits_too_much_ends_with_cost() {
    let big = Json::list((0..10_000).map(Json::Int).collect());
    let text = Json::str(&"ab".repeat(500_000));
    let env = Env::default().with("ctx", Json::from_entries([("big", big), ("text", text)]));
    for source in [
        "ctx.big.map(x, ctx.big.map(y, x + y)).size()",
        "ctx.big.all(x, ctx.big.all(y, x + y >= 0))",
        "ctx.big.all(x, ctx.big.exists(y, y < 0) || true)",
        "ctx.big.filter(x, x in ctx.big.filter(y, y > x)).size()",
        "ctx.big.all(x, !(-1 in ctx.big))",
        "ctx.big.all(x, ctx.big + [x] != ctx.big)",
        "ctx.big.all(x, (ctx.text + 'x').size() > 0)",
        "ctx.big.all(x, !ctx.text.contains('bb'))",
        "ctx.big.all(x, !ctx.text.matches('b{3}'))",
        "ctx.big.all(x, 'a'.matches('a' + string(x)) || true)",
        "ctx.text.matches('a[ab]{1000}c')",
        "ctx.big.all(x, ctx.text.split('').size() > 0)",
        "ctx.big.map(x, ctx.text.replace('a', 'bbbbbbbb')).size()",
        "ctx.text.replace('', ctx.text)",
        "ctx.big.map(x, ctx.big)",
    ] {
        assert_eq!(ends_quickly(source, &env), Err(EvalError::Cost), "{source}");
    }
    let linear = ends_quickly("ctx.big.map(x, x * 2).filter(x, x % 3 == 0).size()", &env);
    assert_eq!(linear, Ok(Json::Int(3334)));
}

#[test]
fn cost_is_the_same_each_time_and_meets_its_limit_on_both_sides() {
    let expr = compile("[1, 2, 3].map(x, [x, x + 1].map(y, y * y))").expect("compiles");
    let with = |expression_cost_max: u64| Limits {
        expression_cost_max,
        ..Limits::default()
    };
    let needed = (1..1000)
        .find(|n| expr.eval(&env(), &with(*n)).is_ok())
        .expect("it is cheap");
    assert_eq!(expr.eval(&env(), &with(needed - 1)), Err(EvalError::Cost));
    for _ in 0..3 {
        assert_eq!(
            expr.eval(&env(), &with(needed)).expect("enough").to_string(),
            "[[1,4],[4,9],[9,16]]"
        );
    }
}

#[test]
fn as_many_elements_as_the_limit_says_are_visited_and_one_more_is_too_much() {
    let limits = Limits {
        expression_cost_max: 10_100,
        ..Limits::default()
    };
    for body in ["true", "y >= 0", "x + y >= 0"] {
        let source = format!("ctx.few.all(x, ctx.many.all(y, {body}))");
        let expr = compile(&source).expect("compiles");
        let visiting = |many: i64| {
            let list = |n: i64| Json::list((0..n).map(Json::Int).collect());
            let env = Env::default().with("ctx", Json::from_entries([("few", list(100)), ("many", list(many))]));
            expr.eval(&env, &limits)
        };
        // The hundred themselves, and a hundred times the others.
        assert_eq!(visiting(100), Ok(Json::Bool(true)), "{body}");
        assert_eq!(visiting(101), Err(EvalError::Cost), "{body}");
    }
}

#[test]
fn a_result_may_be_as_deep_as_json_and_no_deeper() {
    let deep = |levels: usize| {
        let text = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        Env::default().with("ctx", Json::parse(text.as_bytes()).expect("JSON within its limit"))
    };
    let expr = compile("[[ctx]]").expect("compiles");
    assert!(expr.eval(&deep(126), &Limits::default()).is_ok());
    let error = expr.eval(&deep(127), &Limits::default()).expect_err("129 levels");
    assert_eq!(
        error.to_string(),
        "the result is nested deeper than 128 levels, in `[[ctx]]`"
    );
}

#[test]
fn patterns_are_limited_on_both_sides() {
    for (pattern, allowed) in [
        (r"^[\\w.+-]+@[\\w-]+\\.[\\w.-]+$", true),
        (r"^\\pL[\\pL -]*$", true),
        ("(a{30}){30}", true),
        ("(a{100}){100}", false),
        (r"\\w{2,64}", false),
    ] {
        assert_eq!(
            codes(&format!("ctx.name.matches('{pattern}')")).is_empty(),
            allowed,
            "{pattern}"
        );
    }
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("ctx".to_owned()),
        Just("ctx.order.lines".to_owned()),
        Just("x".to_owned()),
        Just("'a'".to_owned()),
        Just("b'a'".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("7u".to_owned()),
        Just("run.started_at".to_owned()),
        Just("duration('1h')".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(|x| format!("{x:?}")),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let operators = prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", ">=", "in", "&&", "||", "!="]);
        let methods = prop::sample::select(vec![
            "size",
            "trim",
            "getHours",
            "join",
            "split",
            "map",
            "all",
            "filter",
            "contains",
            "indexOf",
            "substring",
            "replace",
            "matches",
            "charAt",
            "lastIndexOf",
        ]);
        let functions = prop::sample::select(vec![
            "int",
            "string",
            "double",
            "uint",
            "bytes",
            "type",
            "timestamp",
            "duration",
            "bool",
            "math.abs",
            "has",
            "math.least",
            "size",
            "dyn",
        ]);
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), methods, prop::collection::vec(inner.clone(), 0..3))
                .prop_map(|(a, m, args)| format!("{a}.{m}({})", args.join(", "))),
            (functions, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}.map(x, {b})")),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.prop_map(|a| format!("!{a}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_breaks_the_compiler(text in ".{0,80}") {
        drop(compile(&text));
    }

    #[test]
    fn no_text_of_cel_characters_breaks_the_compiler(
        text in "[a-c0-9.,:?!'\"()\\[\\]{}+*/%<>=&| \\\\\n-]{0,120}"
    ) {
        if let Err(problems) = compile(&text) {
            for problem in problems {
                prop_assert!(text.is_char_boundary(problem.offset), "{problem:?}");
            }
        }
    }

    #[test]
    fn every_expression_ends_the_same_way_twice(source in any_expression()) {
        let names = names().with("x");
        if let Ok(expr) = Expr::compile(&source, &names, &Limits::default()) {
            let env = env().with("x", Json::Int(3));
            let limits = Limits { expression_cost_max: 100_000, ..Limits::default() };
            prop_assert_eq!(expr.eval(&env, &limits), expr.eval(&env, &limits));
        }
    }
}
