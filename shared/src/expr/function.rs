//! The functions of expressions: CEL's own, the widely used string extensions, a few of `math`, and `get`.

use super::temporal::DatePart;

/// A function that evaluates all its arguments first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    ToString,
    ToInt,
    ToUint,
    ToDouble,
    ToBool,
    ToBytes,
    ToInstant,
    ToSpan,
    TypeOf,
    Dyn,
    Part(DatePart),
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    Join,
    Replace,
    Substring,
    IndexOf,
    LastIndexOf,
    CharAt,
    Least,
    Greatest,
    Ceil,
    Floor,
    Round,
    Truncate,
    Absolute,
}

/// How a function is called.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) function: Function,
    /// How many arguments `name(…)` takes: from, to. `None`: it cannot be called so.
    pub(super) plain: Option<(usize, usize)>,
    /// How many arguments `value.name(…)` takes.
    pub(super) method: Option<(usize, usize)>,
}

const fn plain(name: &'static str, function: Function) -> Signature {
    Signature {
        name,
        function,
        plain: Some((1, 1)),
        method: None,
    }
}

const fn method(name: &'static str, function: Function, from: usize, to: usize) -> Signature {
    Signature {
        name,
        function,
        plain: None,
        method: Some((from, to)),
    }
}

const fn part(name: &'static str, part: DatePart) -> Signature {
    method(name, Function::Part(part), 0, 1)
}

const fn math(name: &'static str, function: Function, to: usize) -> Signature {
    Signature {
        name,
        function,
        plain: Some((1, to)),
        method: None,
    }
}

/// Arguments that `math.least` and `math.greatest` take.
const MANY: usize = 256;

/// Every function but `has`, `get` and the iterations, which do not evaluate all their arguments first.
pub(super) const FUNCTIONS: &[Signature] = &[
    Signature {
        name: "size",
        function: Function::Size,
        plain: Some((1, 1)),
        method: Some((0, 0)),
    },
    method("contains", Function::Contains, 1, 1),
    method("startsWith", Function::StartsWith, 1, 1),
    method("endsWith", Function::EndsWith, 1, 1),
    Signature {
        name: "matches",
        function: Function::Matches,
        plain: Some((2, 2)),
        method: Some((1, 1)),
    },
    plain("string", Function::ToString),
    plain("int", Function::ToInt),
    plain("uint", Function::ToUint),
    plain("double", Function::ToDouble),
    plain("bool", Function::ToBool),
    plain("bytes", Function::ToBytes),
    plain("timestamp", Function::ToInstant),
    plain("duration", Function::ToSpan),
    plain("type", Function::TypeOf),
    plain("dyn", Function::Dyn),
    part("getFullYear", DatePart::FullYear),
    part("getMonth", DatePart::Month),
    part("getDate", DatePart::Date),
    part("getDayOfMonth", DatePart::DayOfMonth),
    part("getDayOfWeek", DatePart::DayOfWeek),
    part("getDayOfYear", DatePart::DayOfYear),
    part("getHours", DatePart::Hours),
    part("getMinutes", DatePart::Minutes),
    part("getSeconds", DatePart::Seconds),
    part("getMilliseconds", DatePart::Milliseconds),
    method("lowerAscii", Function::LowerAscii, 0, 0),
    method("upperAscii", Function::UpperAscii, 0, 0),
    method("trim", Function::Trim, 0, 0),
    method("split", Function::Split, 1, 2),
    method("join", Function::Join, 0, 1),
    method("replace", Function::Replace, 2, 3),
    method("substring", Function::Substring, 1, 2),
    method("indexOf", Function::IndexOf, 1, 2),
    method("lastIndexOf", Function::LastIndexOf, 1, 2),
    method("charAt", Function::CharAt, 1, 1),
    math("math.least", Function::Least, MANY),
    math("math.greatest", Function::Greatest, MANY),
    math("math.ceil", Function::Ceil, 1),
    math("math.floor", Function::Floor, 1),
    math("math.round", Function::Round, 1),
    math("math.trunc", Function::Truncate, 1),
    math("math.abs", Function::Absolute, 1),
];

/// Names that are called but stand in no table: they decide which arguments they evaluate.
pub(super) const PLAIN_MACROS: [&str; 2] = ["has", "get"];
/// The iterations, called on a list or a map.
pub(super) const METHOD_MACROS: [&str; 6] = ["all", "exists", "exists_one", "existsOne", "map", "filter"];

/// The function of that name.
pub(super) fn lookup(name: &str) -> Option<&'static Signature> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

/// The type that a plain name stands for, as `type()` gives it.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 12] = [
        "null_type",
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "list",
        "map",
        "type",
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
    ];
    TYPES.into_iter().find(|t| *t == name)
}
