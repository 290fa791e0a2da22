//! Values as a document has them: the keys of a map in the order they were given, expressions apart from text.

use std::sync::LazyLock;

use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

use super::serialize;

/// A value to be written into a document; [`object!`](crate::object) makes one whose keys keep their order.
///
/// Text is taken as it is, whatever it begins with; what is to be computed is an [`Expr`].
#[derive(Clone, Debug, PartialEq)]
pub struct Value(pub(super) Written);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Written {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Expr(Expr),
    List(Vec<Value>),
    Map(Entries),
    /// Has no place in a document, for this reason.
    Unfit(String),
}

/// An expression in CEL (SPEC 2), where a literal value might stand as well: [`expr`] makes one.
///
/// It may stand anywhere inside what is serialized: in a field of a struct, in `json!`, in [`object!`](crate::object).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr(pub(super) String);

/// Marks CEL as such; what it may name and do is in SPEC 2.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let greeting = step("greet").with(object! { "text" => expr("'hello ' + ctx.name"), "times" => 2 });
/// # let _ = greeting;
/// ```
#[must_use]
pub fn expr(source: impl Into<String>) -> Expr {
    Expr(source.into())
}

/// What stands before an expression while it is serialized: by this it is told from text on its way through any
/// serializer, also that of `json!`. Drawn by each process, so that no text from elsewhere is taken for an expression.
static MARK: LazyLock<String> = LazyLock::new(|| format!("\0expression {:032x} ", rand::random::<u128>()));

/// The expression that `text` was before it was serialized.
pub(super) fn marked(text: &str) -> Option<Expr> {
    text.strip_prefix(&**MARK).map(expr)
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}{}", *MARK, self.0))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Written::Null => serializer.serialize_unit(),
            Written::Bool(b) => serializer.serialize_bool(*b),
            Written::Int(n) => serializer.serialize_i64(*n),
            Written::Float(x) => serializer.serialize_f64(*x),
            Written::Text(text) => serializer.serialize_str(text),
            Written::Expr(expr) => expr.serialize(serializer),
            Written::List(items) => items.serialize(serializer),
            Written::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.0.len()))?;
                for (key, value) in &entries.0 {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Written::Unfit(why) => Err(S::Error::custom(why)),
        }
    }
}

impl Value {
    /// What `given` serializes to. Where it does not, building the document says why and where.
    pub fn of(given: impl Serialize) -> Value {
        serialize::value_of(&given).unwrap_or_else(|why| Value(Written::Unfit(why.to_string())))
    }

    /// A map of these entries, in their order.
    pub fn object<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
        Value::map(Entries(entries.collect()))
    }

    pub(super) fn text(text: impl Into<String>) -> Value {
        Value(Written::Text(text.into()))
    }

    pub(super) fn texts(items: impl IntoIterator<Item = impl Into<String>>) -> Value {
        Value::list(items.into_iter().map(Value::text))
    }

    pub(super) fn null() -> Value {
        Value(Written::Null)
    }

    pub(super) fn map(entries: Entries) -> Value {
        Value(Written::Map(entries))
    }

    pub(super) fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value(Written::List(items.into_iter().collect()))
    }

    pub(super) fn int(n: u32) -> Value {
        Value(Written::Int(i64::from(n)))
    }

    pub(super) fn bool(b: bool) -> Value {
        Value(Written::Bool(b))
    }

    pub(super) fn empty_map() -> Value {
        Value(Written::Map(Entries::default()))
    }

    pub(super) fn empty_list() -> Value {
        Value(Written::List(Vec::new()))
    }

    /// As it is written where text after `= ` is an expression (SPEC 2, templates).
    pub(super) fn template(self) -> Value {
        self.map_texts(
            &|Expr(source)| Written::Text(format!("{COMPUTED}{source}")),
            &|text| match text.starts_with(COMPUTED) {
                true => format!("{COMPUTED}{}", quoted(&text)),
                false => text,
            },
        )
    }

    /// As it is written where nothing is an expression.
    pub(super) fn plain(self) -> Value {
        let refuse = |Expr(source)| {
            let why = format!("no expression can stand here, values are taken as they are: `{source}`");
            Written::Unfit(why)
        };
        self.map_texts(&refuse, &|text| text)
    }

    fn map_texts(self, expr: &impl Fn(Expr) -> Written, text: &impl Fn(String) -> String) -> Value {
        Value(match self.0 {
            Written::Expr(source) => expr(source),
            Written::Text(plain) => Written::Text(text(plain)),
            Written::List(items) => Written::List(items.into_iter().map(|item| item.map_texts(expr, text)).collect()),
            Written::Map(Entries(entries)) => {
                let inner = entries
                    .into_iter()
                    .map(|(key, value)| (key, value.map_texts(expr, text)));
                Written::Map(Entries(inner.collect()))
            }
            kept @ (Written::Null | Written::Bool(_) | Written::Int(_) | Written::Float(_) | Written::Unfit(_)) => kept,
        })
    }
}

impl From<Expr> for Value {
    fn from(expr: Expr) -> Value {
        Value(Written::Expr(expr))
    }
}

/// What a computed text begins with.
const COMPUTED: &str = "= ";

/// `text` as a literal of CEL.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\\' | '\'' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "'"
}

/// A map in the order of its entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entries(pub Vec<(String, Value)>);

impl Entries {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The same with `empty` at `key`, if nothing is there.
    pub fn with_default(mut self, key: &str, empty: Value) -> Entries {
        self.slot(key, || empty);
        self
    }

    /// Sets the only value of `key`: where it stands, or at the end.
    pub fn put(&mut self, key: &str, value: Value) {
        *self.slot(key, Value::null) = value;
    }

    /// Adds an entry of a name that the author chose: one given twice is for the parser to refuse.
    pub fn push(&mut self, key: impl Into<String>, value: Value) {
        self.0.push((key.into(), value));
    }

    /// The map at `key`, made where there is none yet.
    pub fn map_at(&mut self, key: &str) -> &mut Entries {
        let slot = self.slot(key, Value::empty_map);
        if !matches!(slot.0, Written::Map(_)) {
            *slot = Value::empty_map();
        }
        let Written::Map(entries) = &mut slot.0 else {
            unreachable!("a map was put there just now")
        };
        entries
    }

    /// The list at `key`, made where there is none yet.
    pub fn list_at(&mut self, key: &str) -> &mut Vec<Value> {
        let slot = self.slot(key, Value::empty_list);
        if !matches!(slot.0, Written::List(_)) {
            *slot = Value::empty_list();
        }
        let Written::List(items) = &mut slot.0 else {
            unreachable!("a list was put there just now")
        };
        items
    }

    fn slot(&mut self, key: &str, empty: impl FnOnce() -> Value) -> &mut Value {
        let at = self.0.iter().position(|(k, _)| k == key).unwrap_or_else(|| {
            self.0.push((key.to_owned(), empty()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

/// A map whose keys keep their order; each value is anything that serializes, also an [`expr`] or another `object!`.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let with = object! { "sku" => expr("line.sku"), "options" => object! { "gift" => true } };
/// # let _ = with;
/// ```
#[macro_export]
macro_rules! object {
    ($($key:expr => $value:expr),* $(,)?) => {{
        let entries: ::std::vec::Vec<(::std::string::String, $crate::definition::builder::Value)> = ::std::vec![
            $((::std::string::String::from($key), $crate::definition::builder::Value::of(&$value))),*
        ];
        $crate::definition::builder::Value::object(entries)
    }};
}
