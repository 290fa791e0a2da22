//! CEL's own language: literals, operators, macros, conversions. The facts are those of the CEL specification.

use super::check;

#[test]
fn literals_stand_for_themselves() {
    check(&[
        ("42", "42"),
        ("-42", "-42"),
        ("0x7F", "127"),
        ("-0x80", "-128"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("7u", "7"),
        ("1.5", "1.5"),
        ("1.0", "1.0"),
        ("-2.5e-3", "-0.0025"),
        (".5", "0.5"),
        ("true", "true"),
        ("null", "null"),
        ("'it''s'", "refused: syntax error: extraneous input ''s''"),
        (r#"'a' + "b""#, r#""ab""#),
        (r"'\u00e4\n\x41\101'", r#""ä\nAA""#),
        (r"r'\d'", r#""\\d""#),
        ("'''a'b'''", r#""a'b""#),
        ("[1, 'a', [null]]", r#"[1,"a",[null]]"#),
        ("[]", "[]"),
        ("{}", "{}"),
        ("{'b': 1, 'a': {'c': []}}", r#"{"a":{"c":[]},"b":1}"#),
        ("[1, 2,]", "[1,2]"),
        ("1 // a comment", "1"),
    ]);
}

#[test]
fn integers_keep_64_bits_and_never_wrap() {
    check(&[
        (
            "9223372036854775807 + 1",
            "error: int overflow: 9223372036854775807 + 1",
        ),
        (
            "-9223372036854775808 - 1",
            "error: int overflow: -9223372036854775808 - 1",
        ),
        (
            "9223372036854775807 * 2",
            "error: int overflow: 9223372036854775807 * 2",
        ),
        (
            "-9223372036854775808 / -1",
            "error: int overflow: -9223372036854775808 / -1",
        ),
        (
            "-(-9223372036854775808)",
            "error: int overflow: -(-9223372036854775808)",
        ),
        ("1 / 0", "error: division by zero: 1 / 0"),
        ("1 % 0", "error: division by zero: 1 % 0"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("7 % -2", "1"),
        ("0u - 1u", "error: uint overflow: 0u - 1u"),
        ("5u / 2u", "2"),
        (
            "18446744073709551615u",
            "error: 18446744073709551615u is beyond the integers of JSON here (2^63-1)",
        ),
        ("ctx.big + 0", "9007199254740993"),
        ("1 + 2 * 3 - 4", "3"),
        ("(1 + 2) * 3", "9"),
        ("10 - 2 - 3", "5"),
        ("- -3", "3"),
        ("-ctx.total", "-999"),
    ]);
}

#[test]
fn an_int_that_meets_a_double_becomes_one() {
    check(&[
        ("1 + 1.5", "2.5"),
        ("1.5 + 1", "2.5"),
        ("ctx.total * ctx.price", "2497.5"),
        ("3 / 2.0", "1.5"),
        ("1 - 0.5", "0.5"),
        ("1.0 / 0.0", "error: +Inf is no JSON number"),
        ("-1 / 0.0", "error: -Inf is no JSON number"),
        ("0.0 / 0.0", "error: NaN is no JSON number"),
        ("1.0 / 0.0 > 5", "true"),
        ("5.0 % 2.0", "error: `%` does not work on double and double"),
        ("5 % 2.0", "error: `%` does not work on int and double"),
        ("1 == 1.0", "true"),
        ("1 != 1.0", "false"),
        ("1 < 1.5", "true"),
        ("2.5 >= 3", "false"),
        ("1u == 1", "true"),
        ("1u < 2", "true"),
        ("-1 < 0u", "true"),
        (
            "1u + 1",
            "error: `+` does not work on uint and int; convert with `int(…)` or `uint(…)`",
        ),
        ("1u + 1.5", "2.5"),
        ("9007199254740993 == 9007199254740992.0", "true"),
        ("0.0 / 0.0 == 0.0 / 0.0", "false"),
        ("0.0 / 0.0 < 1.0", "false"),
        ("1 in [1.0]", "true"),
        ("[1, 2] == [1.0, 2u]", "true"),
        ("{'a': 1} == {'a': 1.0}", "true"),
        ("{1: 'x'}[1.0] + {1u: 'y'}[1]", r#""xy""#),
    ]);
}

#[test]
fn equality_looks_inside_and_never_fails() {
    check(&[
        ("'a' == 'a'", "true"),
        ("'1' == 1", "false"),
        ("null == null", "true"),
        ("ctx.none == null", "true"),
        ("null == false", "false"),
        ("[1, [2]] == [1, [2]]", "true"),
        ("[1] == [1, 2]", "false"),
        ("{'a': [1]} == {'a': [1]}", "true"),
        ("{'a': 1} == {'b': 1}", "false"),
        ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "true"),
        ("ctx.order == ctx.order", "true"),
        ("ctx.order.lines[0] == {'sku': 'a', 'n': 1}", "true"),
        ("ctx == input", "false"),
        ("b'ab' == b'ab'", "true"),
        ("type(1) == int", "true"),
        ("type(1) == type(1.0)", "false"),
        (
            "timestamp('2026-01-01T00:00:00Z') == timestamp('2026-01-01T01:00:00+01:00')",
            "true",
        ),
        ("[0.0 / 0.0] == [0.0 / 0.0]", "false"),
    ]);
}

#[test]
fn order_is_only_between_values_of_one_type() {
    check(&[
        ("'a' < 'b'", "true"),
        ("'Z' < 'a'", "true"),
        ("'ä' > 'z'", "true"),
        ("false < true", "true"),
        ("b'a' < b'b'", "true"),
        ("duration('1m') > duration('59s')", "true"),
        (
            "timestamp('2026-01-01T00:00:00Z') < timestamp('2026-01-02T00:00:00Z')",
            "true",
        ),
        ("'a' < 1", "error: `<` does not work on string and int"),
        ("[1] < [2]", "error: `<` does not work on list and list"),
        ("null < 1", "error: `<` does not work on null and int"),
        ("ctx.name >= ctx.total", "error: `>=` does not work on string and int"),
    ]);
}

#[test]
fn and_or_absorb_what_does_not_decide() {
    check(&[
        ("true && false", "false"),
        ("true || false", "true"),
        ("!true", "false"),
        ("!!ctx.flag", "true"),
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 && false", "false"),
        ("true || ctx.missing", "true"),
        ("ctx.missing || true", "true"),
        ("ctx.missing && true", "error: no such key 'missing' in ctx"),
        ("1 / 0 == 1 || false", "error: division by zero: 1 / 0"),
        ("1 && true", "error: `&&` needs a bool, not int"),
        ("1 && false", "false"),
        ("'x' || true", "true"),
        ("!1", "error: `!` needs a bool, not int"),
        ("true ? 1 : 1 / 0", "1"),
        ("false ? ctx.x.y.z : 'no'", r#""no""#),
        ("1 ? 2 : 3", "error: `? :` needs a bool, not int"),
        (
            "ctx.total > 500 ? ctx.total > 900 ? 'a' : 'b' : 'c'",
            "refused: syntax error: mismatched input '?'",
        ),
        ("ctx.total > 500 ? (ctx.total > 900 ? 'a' : 'b') : 'c'", r#""a""#),
        ("false ? 1 : false ? 2 : 3", "3"),
    ]);
}

#[test]
fn members_are_reached_by_name_and_index() {
    check(&[
        ("ctx.order.id", r#""o-1""#),
        ("ctx['order']['id']", r#""o-1""#),
        ("ctx.`a.b`", r#""dotted""#),
        ("results.`my-node`[0]", "1"),
        ("{'type': 1, 'function': 2, 'package': 3, 'loop': 4}.function", "2"),
        ("{'import': 1}.import + {'as': 2}.as + {'while': 3}.while", "6"),
        ("ctx['a.b']", r#""dotted""#),
        ("results['my-node'][1]", "2"),
        ("ctx.order.lines[2].sku", r#""c""#),
        ("ctx.order.lines[2u].sku", r#""c""#),
        ("ctx.order.lines[1.0].sku", r#""b""#),
        (
            "ctx.order.lines[3]",
            "error: index 3 is out of range in ctx.order.lines, a list of 3",
        ),
        (
            "ctx.order.lines[-1]",
            "error: index -1 is out of range in ctx.order.lines, a list of 3",
        ),
        (
            "ctx.order.lines['a']",
            "error: a list is indexed by an int, not 'a' in ctx.order.lines",
        ),
        ("ctx.order.lines[0].x", "error: no such key 'x' in ctx.order.lines[0]"),
        (
            "ctx.order.lines.x",
            "error: a list is indexed by an int, not 'x' in ctx.order.lines",
        ),
        ("ctx.nope", "error: no such key 'nope' in ctx"),
        ("ctx.none.x", "error: cannot read 'x' of ctx.none: it is null"),
        ("ctx.total.x", "error: cannot read 'x' of ctx.total: it is an int"),
        ("ctx[1]", "error: no such key 1 in ctx"),
        ("ctx[null]", "error: a null as index cannot be used in ctx"),
        ("{'a': {'b': 5}}.a.b", "5"),
        ("[1, 2][1]", "2"),
        ("{true: 'yes'}[true]", r#""yes""#),
        ("error.code", "error: `error` has no value here"),
        ("item + 1", "8"),
    ]);
}

#[test]
fn maps_have_each_key_once_and_json_has_text_keys() {
    check(&[
        ("{'a': 1, 'a': 2}", "refused: the key 'a' stands twice"),
        ("{1: 1, 1u: 2}", "refused: the key 1 stands twice"),
        ("{ctx.name: 1, 'Ada': 2}", "error: the key 'Ada' stands twice in a map"),
        (
            "{null: 1}",
            "refused: a map's key is a string, an integer or a bool, not null",
        ),
        (
            "{[1]: 1}",
            "error: a map's key is a string, an integer or a bool, not list",
        ),
        ("{1: 2}", "error: the key 1 of a result's map is no string"),
        ("{true: 2}", "error: the key true of a result's map is no string"),
        ("{1: 2}[1]", "2"),
        ("{'x' + 'y': 1}", r#"{"xy":1}"#),
    ]);
}

#[test]
fn in_looks_for_elements_and_keys() {
    check(&[
        ("'x' in ctx.tags", "true"),
        ("'z' in ctx.tags", "false"),
        ("'name' in ctx", "true"),
        ("'nope' in ctx", "false"),
        ("1 in ctx", "false"),
        ("null in [null]", "true"),
        ("{'sku': 'b', 'n': 2} in ctx.order.lines", "true"),
        (
            "'a' in 'abc'",
            "error: `in` needs a list or a map on its right, not string",
        ),
        ("!('z' in ctx.tags)", "true"),
    ]);
}

#[test]
fn has_and_get_ask_without_failing() {
    check(&[
        ("has(ctx.name)", "true"),
        ("has(ctx.none)", "true"),
        ("has(ctx.nope)", "false"),
        ("has(ctx.nope.deeper)", "false"),
        ("has(ctx.none.deeper)", "false"),
        ("has(ctx.total.deeper)", "false"),
        ("has(ctx.order.lines.x)", "false"),
        ("has(ctx.order.lines[0].sku)", "true"),
        ("has(ctx.order.lines[9].sku)", "false"),
        ("has(ctx['a.b'])", "true"),
        ("has(results['my-node'])", "true"),
        ("has(error.code)", "false"),
        ("has({'a': 1}.a)", "true"),
        ("has(ctx)", "refused: `has` takes a path: `has(ctx.a.b)`"),
        ("has(1 + 1)", "refused: `has` takes a path: `has(ctx.a.b)`"),
        ("has(ctx[1 / 0].x)", "error: division by zero: 1 / 0"),
        ("get(ctx, 'order.id', 'none')", r#""o-1""#),
        ("get(ctx, 'order.nope', 'none')", r#""none""#),
        ("get(ctx, 'nope.deeper', 0)", "0"),
        ("get(ctx, 'total.deeper', 0)", "0"),
        ("get(ctx, 'none', 1)", "null"),
        (r"get(ctx, 'a\\.b', 0)", r#""dotted""#),
        ("get(ctx, 'order.lines', 1 / 0).size()", "3"),
        ("get(ctx, ctx.name, 'd')", r#""d""#),
        ("get(ctx, 1, 'd')", "error: the key path of `get` is a string, not int"),
        (
            "get(ctx, 'a..b', 'd')",
            "refused: `a..b` is no key path; keys are joined by dots: 'a.b'",
        ),
        (
            "get(ctx, 'a')",
            "refused: `get` takes a value, a key path and a default: `get(ctx, 'a.b', 0)`",
        ),
        ("get({'a': {'b': 2}}, 'a.b', 0)", "2"),
        ("get(7, 'a', 'd')", r#""d""#),
    ]);
}

#[test]
fn macros_iterate_lists_and_keys() {
    check(&[
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[1, 2, 3].all(x, x > 1)", "false"),
        ("[].all(x, x > 1)", "true"),
        ("[1, 2, 3].exists(x, x == 2)", "true"),
        ("[].exists(x, true)", "false"),
        ("[1, 2, 3].exists_one(x, x > 2)", "true"),
        ("[1, 2, 3].exists_one(x, x > 1)", "false"),
        ("[1, 2, 3].existsOne(x, x > 2)", "true"),
        ("[1, 2, 3].map(x, x * x)", "[1,4,9]"),
        ("[1, 2, 3].map(x, x > 1, x * x)", "[4,9]"),
        ("[1, 2, 3].filter(x, x % 2 == 1)", "[1,3]"),
        ("ctx.order.lines.filter(l, l.n > 1).map(l, l.sku)", r#"["b","c"]"#),
        ("ctx.map.map(k, k)", r#"["k","l"]"#),
        ("ctx.map.filter(k, ctx.map[k] > 1)", r#"["l"]"#),
        ("ctx.map.all(k, ctx.map[k] > 0)", "true"),
        ("[[1, 2], [3]].map(x, x.map(y, y + 1))", "[[2,3],[4]]"),
        ("[1, 2].map(x, [10, 20].map(y, x * y))", "[[10,20],[20,40]]"),
        ("[1].map(x, [2].map(x, x))", "[[2]]"),
        ("[1, 2].map(ctx, ctx)", "[1,2]"),
        ("[1].map(item, item + .item)", "[8]"),
        ("[1, 0].exists(x, 1 / x == 1)", "true"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 2].exists(x, 1 / x == 1)", "error: division by zero: 1 / 0"),
        ("[0, 2].all(x, 1 / x == 1)", "false"),
        ("[0, 1].all(x, 1 / x == 1)", "error: division by zero: 1 / 0"),
        ("[0, 1].exists_one(x, 1 / x == 1)", "error: division by zero: 1 / 0"),
        ("[0, 1].map(x, 1 / x)", "error: division by zero: 1 / 0"),
        (
            "[1].filter(x, x)",
            "error: a condition over elements must be a bool, not int",
        ),
        (
            "'abc'.map(c, c)",
            "error: only a list or a map can be iterated, not string",
        ),
        (
            "[1].map(1, 2)",
            "refused: the first argument of `map` must be a plain name: its variable",
        ),
        (
            "[1].all(x)",
            "refused: `all` is written `list.all(x, …)` with a variable and an expression",
        ),
        ("map(x, 1)", "refused: `map` is written `list.map(x, …)`"),
    ]);
}

#[test]
fn strings_lists_and_bytes_join_with_plus() {
    check(&[
        ("'a' + 'b' + 'c'", r#""abc""#),
        ("[1] + [2] + []", "[1,2]"),
        ("ctx.tags + ['z']", r#"["x","y","z"]"#),
        ("string(b'a' + b'b')", r#""ab""#),
        (
            "'n: ' + 1",
            "error: `+` does not work on string and int; `string(…)` makes text of a value",
        ),
        ("'n: ' + string(ctx.total)", r#""n: 999""#),
        ("{} + {}", "error: `+` does not work on map and map"),
        ("'a' - 'b'", "error: `-` does not work on string and string"),
        ("-'a'", "error: `-` needs a number, not string"),
    ]);
}

#[test]
fn results_are_json_or_say_why_not() {
    check(&[
        ("ctx.tags", r#"["x","y"]"#),
        ("b'a'", "error: a result cannot be bytes"),
        ("[type(1)]", "error: a result cannot be type"),
        ("int", "error: a result cannot be type"),
        (
            "timestamp('2026-01-02T03:04:05.5+02:00')",
            r#""2026-01-02T01:04:05.5Z""#,
        ),
        ("duration('1m30s')", r#""90s""#),
        ("[duration('1h'), duration('-250ms')]", r#"["3600s","-0.25s"]"#),
        (r"'a\u0000'", "error: the result holds a NUL character"),
        (r"{'a\u0000': 1}", "error: the result holds a NUL character"),
    ]);
}
