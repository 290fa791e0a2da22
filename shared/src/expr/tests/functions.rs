//! Functions: conversions, time, strings, math.

use super::check;

#[test]
fn conversions_read_and_round_as_cel_says() {
    check(&[
        ("int(3.9)", "3"),
        ("int(-3.9)", "-3"),
        ("int('42')", "42"),
        ("int('4.2')", "error: '4.2' is no int"),
        ("int(1e19)", "error: beyond the range of int"),
        ("int(9223372036854775807.0)", "error: beyond the range of int"),
        ("int(-9223372036854775808.0)", "-9223372036854775808"),
        ("int(0.0 / 0.0)", "error: beyond the range of int"),
        ("int(18446744073709551615u)", "error: beyond the range of int"),
        ("int(timestamp('1970-01-01T00:01:00Z'))", "60"),
        ("int(true)", "error: cannot make an int of bool"),
        ("uint(5)", "5"),
        ("uint(-5)", "error: beyond the range of uint"),
        ("uint('x')", "error: 'x' is no uint"),
        ("double(2)", "2.0"),
        ("double('1.5e3')", "1500.0"),
        ("double('x')", "error: 'x' is no double"),
        ("double(9007199254740993)", "9007199254740992.0"),
        ("string(12)", r#""12""#),
        ("string(1.5)", r#""1.5""#),
        ("string(1000.0)", r#""1000""#),
        ("string(6.02e23)", r#""6.02e23""#),
        ("string(true)", r#""true""#),
        ("string(7u)", r#""7""#),
        ("string('x')", r#""x""#),
        (r"string(b'\xff')", "error: these bytes are no UTF-8 text"),
        ("string(null)", "error: cannot make a string of null"),
        ("string([1])", "error: cannot make a string of list"),
        ("string(timestamp('2026-01-02T03:04:05Z'))", r#""2026-01-02T03:04:05Z""#),
        ("string(duration('1.5s'))", r#""1.5s""#),
        ("bool('true') && bool('1') && !bool('FALSE')", "true"),
        ("bool('yes')", "error: 'yes' is no bool"),
        ("size(bytes('ä'))", "2"),
        ("dyn(1) == 1", "true"),
        ("type(null) == null_type", "true"),
        ("type(type(1)) == type", "true"),
        ("type(run.started_at) == google.protobuf.Timestamp", "true"),
        ("type(duration('1s')) == google.protobuf.Duration", "true"),
        ("type({}) == map && type([]) == list && type(b'') == bytes", "true"),
    ]);
}

#[test]
fn sizes_count_characters_bytes_and_entries() {
    check(&[
        ("size('äöü')", "3"),
        ("'äöü'.size()", "3"),
        ("size(b'abc')", "3"),
        ("size(ctx.order.lines)", "3"),
        ("ctx.map.size()", "2"),
        ("size({})", "0"),
        ("size(5)", "error: `size` needs a string, a list or a map, not int"),
    ]);
}

#[test]
fn text_is_searched() {
    check(&[
        ("'hello'.contains('ell')", "true"),
        ("'hello'.startsWith('he')", "true"),
        ("'hello'.endsWith('lo')", "true"),
        ("'hello'.endsWith('')", "true"),
        ("'hello'.matches('^h.*o$')", "true"),
        ("'hello'.matches('ell')", "true"),
        ("matches('hello', '^ell')", "false"),
        ("ctx.name.matches('A' + 'da')", "true"),
        (
            "'a'.matches('(')",
            "refused: the pattern is no regular expression: unclosed group",
        ),
        (
            "'a'.matches(ctx.name + '(')",
            "error: the pattern is no regular expression: unclosed group",
        ),
        (
            "ctx.total.contains('9')",
            "error: `contains` does not work on (int, string)",
        ),
        (
            "ctx.total.matches('9')",
            "error: `matches` does not work on (int, string)",
        ),
        ("'a'.contains(1)", "error: `contains` does not work on (string, int)"),
    ]);
}

#[test]
fn text_is_cut_and_joined_by_characters() {
    check(&[
        ("'Äbc'.lowerAscii()", r#""Äbc""#),
        ("'abc'.upperAscii()", r#""ABC""#),
        ("'  a b '.trim()", r#""a b""#),
        ("'a,b,c'.split(',')", r#"["a","b","c"]"#),
        ("'a,b,c'.split(',', 2)", r#"["a","b,c"]"#),
        ("'a,b,c'.split(',', 0)", "[]"),
        ("'a,b'.split(',', -1)", r#"["a","b"]"#),
        ("'aäb'.split('')", r#"["a","ä","b"]"#),
        ("'aäb'.split('', 2)", r#"["a","äb"]"#),
        ("['a', 'b'].join()", r#""ab""#),
        ("['a', 'b'].join('-')", r#""a-b""#),
        ("ctx.tags.join(', ')", r#""x, y""#),
        ("[1].join()", "error: `join` needs a list of strings, not of int"),
        ("'hello hello'.replace('he', 'we')", r#""wello wello""#),
        ("'hello hello'.replace('he', 'we', 1)", r#""wello hello""#),
        ("'hello'.replace('he', 'we', 0)", r#""hello""#),
        ("'ab'.replace('', '_')", r#""_a_b_""#),
        ("'täcocat'.substring(4)", r#""cat""#),
        ("'täcocat'.substring(0, 2)", r#""tä""#),
        (
            "'abc'.substring(2, 1)",
            "error: `substring` out of range: 2 to 1 of 3 characters",
        ),
        (
            "'abc'.substring(4)",
            "error: `substring` out of range: 4 to the end of 3 characters",
        ),
        ("'hellö mellow'.indexOf('ello')", "7"),
        ("'hello mellow'.indexOf('ello')", "1"),
        ("'hello mellow'.indexOf('ello', 2)", "7"),
        ("'hello mellow'.indexOf('jello')", "-1"),
        ("'hello'.indexOf('')", "0"),
        ("'hello'.indexOf('l', 9)", "error: `indexOf` out of range: 9"),
        ("'hello mellow'.lastIndexOf('ello')", "7"),
        ("'hello mellow'.lastIndexOf('ello', 6)", "1"),
        ("'hello mellow'.lastIndexOf('jello')", "-1"),
        ("'ää'.lastIndexOf('ä', 0)", "0"),
        ("'häb'.charAt(1)", r#""ä""#),
        ("'hab'.charAt(3)", r#""""#),
        ("'hab'.charAt(4)", "error: `charAt` out of range: 4 of 3 characters"),
    ]);
}

#[test]
fn time_is_added_and_taken_apart() {
    let t = "timestamp('2026-03-04T05:06:07.089Z')";
    let rows = [
        ("§.getFullYear()", "2026"),
        ("§.getMonth()", "2"),
        ("§.getDate()", "4"),
        ("§.getDayOfMonth()", "3"),
        ("§.getDayOfWeek()", "3"),
        ("§.getDayOfYear()", "62"),
        ("§.getHours()", "5"),
        ("§.getMinutes()", "6"),
        ("§.getSeconds()", "7"),
        ("§.getMilliseconds()", "89"),
        ("§.getHours('+02:30')", "7"),
        ("§.getMinutes('+02:30')", "36"),
        ("§.getDate('-06:00')", "3"),
        ("§.getHours('02:00')", "7"),
        ("§.getHours('UTC')", "5"),
        ("§.getHours('Europe/Berlin')", "6"),
        (
            "§.getHours('+25:00')",
            "error: the time zone `+25:00` is not known: write a name such as `Europe/Berlin`, `UTC` or an offset such as `+02:00`",
        ),
        ("timestamp('2009-02-13T23:31:30Z').getHours('America/New_York')", "18"),
        ("timestamp('2009-07-13T23:31:30Z').getHours('America/New_York')", "19"),
        ("timestamp('2009-02-13T23:31:30Z').getDate('Australia/Sydney')", "14"),
        ("timestamp('2009-02-13T23:31:30Z').getMinutes('Asia/Kathmandu')", "16"),
        ("timestamp('2009-02-13T23:31:30Z').getDayOfYear('US/Central')", "43"),
        ("timestamp('9999-12-31T23:59:59Z').getHours('Europe/London')", "23"),
        ("§.getHours(1)", "error: `getHours` does not work on (timestamp, int)"),
        ("§ + duration('1d') > §", "true"),
        ("§ + duration('1h')", r#""2026-03-04T06:06:07.089Z""#),
        ("duration('1h') + §", r#""2026-03-04T06:06:07.089Z""#),
        ("§ - duration('7s')", r#""2026-03-04T05:06:00.089Z""#),
        ("§ - timestamp('2026-03-04T05:06:00Z')", r#""7.089s""#),
        ("duration('1h') + duration('30m')", r#""5400s""#),
        ("duration('1h') - duration('90m')", r#""-1800s""#),
        ("§ + §", "error: `+` does not work on timestamp and timestamp"),
        ("§ + 1", "error: `+` does not work on timestamp and int"),
        ("§ == run.started_at", "true"),
        ("run.started_at.getFullYear() + run.version", "2029"),
        ("run.id + run.workflow", r#""r1order""#),
        ("run.nope", "error: no such key 'nope' in run"),
        (
            "run",
            r#"{"id":"r1","started_at":"2026-03-04T05:06:07.089Z","version":3,"workflow":"order"}"#,
        ),
    ];
    let rows = rows.map(|(source, expected)| (source.replace('§', t), expected));
    check(&rows.each_ref().map(|(source, expected)| (source.as_str(), *expected)));
}

#[test]
fn timestamps_and_durations_have_bounds() {
    check(&[
        ("timestamp(0)", r#""1970-01-01T00:00:00Z""#),
        ("timestamp('0001-01-01T00:00:00Z')", r#""0001-01-01T00:00:00Z""#),
        (
            "timestamp('9999-12-31T23:59:59.999999999Z')",
            r#""9999-12-31T23:59:59.999999999Z""#,
        ),
        (
            "timestamp('9999-12-31T23:59:59Z') + duration('1s')",
            "error: timestamp out of range: the years 1 to 9999 are possible",
        ),
        (
            "timestamp('0001-01-01T00:00:00Z') - duration('1ns')",
            "error: timestamp out of range: the years 1 to 9999 are possible",
        ),
        (
            "timestamp(9223372036854775807)",
            "error: timestamp out of range: the years 1 to 9999 are possible",
        ),
        (
            "timestamp('2026-01-02')",
            "error: `2026-01-02` is no RFC 3339 timestamp such as `2026-01-31T08:30:00Z`",
        ),
        (
            "timestamp('x')",
            "error: `x` is no RFC 3339 timestamp such as `2026-01-31T08:30:00Z`",
        ),
        ("timestamp(1.5)", "error: cannot make a timestamp of double"),
        ("duration('1h30m15.5s')", r#""5415.5s""#),
        ("duration('-1.5h')", r#""-5400s""#),
        ("duration('0')", r#""0s""#),
        ("duration('100us')", r#""0.0001s""#),
        ("duration('2d')", r#""172800s""#),
        (
            "duration('')",
            "error: `` is no duration such as `90s`, `1h30m` or `250ms`",
        ),
        (
            "duration('-')",
            "error: `-` is no duration such as `90s`, `1h30m` or `250ms`",
        ),
        (
            "duration('5')",
            "error: `5` is no duration such as `90s`, `1h30m` or `250ms`",
        ),
        (
            "duration('1x')",
            "error: `1x` is no duration such as `90s`, `1h30m` or `250ms`",
        ),
        (
            "duration('1..5s')",
            "error: `1..5s` is no duration such as `90s`, `1h30m` or `250ms`",
        ),
        (
            "duration('320000000000s')",
            "error: duration out of range: about 10,000 years either way are possible",
        ),
        ("duration(5)", "error: cannot make a duration of int"),
        ("duration('3h20m').getHours()", "3"),
        ("duration('3h20m').getMinutes()", "200"),
        ("duration('3m2s').getSeconds()", "182"),
        ("duration('123.321456789s').getMilliseconds()", "321"),
        (
            "duration('1h').getFullYear()",
            "error: `getFullYear` does not work on (duration)",
        ),
        (
            "duration('1h').getHours('UTC')",
            "error: `getHours` does not work on (duration, string)",
        ),
    ]);
}

#[test]
fn math_finds_extremes_and_rounds() {
    check(&[
        ("math.least(3, 1.5, 2)", "1.5"),
        ("math.greatest(3, 1.5, 2)", "3"),
        ("math.greatest([1, 5, 2])", "5"),
        ("math.least(ctx.order.lines.map(l, l.n))", "1"),
        ("math.least([])", "error: the least or greatest of nothing"),
        ("math.least('a')", "error: `math.least` does not work on (string)"),
        ("math.ceil(1.2)", "2.0"),
        ("math.floor(-1.2)", "-2.0"),
        ("math.round(2.5)", "3.0"),
        ("math.trunc(-1.9)", "-1.0"),
        ("math.abs(-3)", "3"),
        ("math.abs(-2.5)", "2.5"),
        (
            "math.abs(-9223372036854775808)",
            "error: int overflow: math.abs(-9223372036854775808)",
        ),
        ("math.nope(1)", "refused: unknown function `math.nope`"),
        ("math.least()", "refused: `math.least` takes 1 to 256 arguments, not 0"),
    ]);
}
