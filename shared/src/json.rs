//! JSON exactly as SPEC 3 wants it: 64-bit integers stay integers, doubles stay doubles, copies are cheap.
//!
//! [`Json`] shares structure: a clone copies one pointer, and a write copies only the objects on its way. A branch's
//! context is therefore a whole value that costs what the branch changed, and comparing it with the fork's base skips
//! everything both still share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{JSON_DEPTH_MAX, OWN_DEPTH_MAX};

mod parse;
pub use parse::{JsonError, JsonProblem};

/// An object; key order is that of the keys' code points.
pub type Map = BTreeMap<Arc<str>, Json>;

/// A JSON value.
#[derive(Clone, Default)]
pub enum Json {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number without fraction or exponent, −2^63 … 2^63−1.
    Int(i64),
    /// A number with fraction or exponent; never NaN or infinite.
    Float(f64),
    /// Text, without NUL.
    Str(Arc<str>),
    /// A list.
    List(Arc<Vec<Json>>),
    /// An object.
    Object(Arc<Map>),
}

impl JsonSchema for Json {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Json".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

impl Json {
    /// Reads one JSON value and checks it: syntax, depth, integer range, NUL.
    ///
    /// # Errors
    /// [`JsonError`] with the byte offset of what is wrong.
    pub fn parse(text: &[u8]) -> Result<Json, JsonError> {
        parse::parse(text, JSON_DEPTH_MAX)
    }

    /// Reads one JSON value that Rejoin itself wrote: as [`Json::parse`], with room for what stands around users' values.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn parse_own(text: &[u8]) -> Result<Json, JsonError> {
        parse::parse(text, OWN_DEPTH_MAX)
    }

    /// As [`Json::parse`], of a value of at most 128 levels that stands `levels` deep in `text`.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn parse_enclosed(text: &[u8], levels: usize) -> Result<Json, JsonError> {
        parse::parse(text, JSON_DEPTH_MAX + levels)
    }

    /// How deep lists and objects are nested: 0 for a plain value.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Str(_) => 0,
            Json::List(items) => 1 + items.iter().map(Json::depth).max().unwrap_or(0),
            Json::Object(map) => 1 + map.values().map(Json::depth).max().unwrap_or(0),
        }
    }

    /// An empty object.
    #[must_use]
    pub fn object() -> Json {
        Json::Object(Arc::new(Map::new()))
    }

    /// A text value.
    #[must_use]
    pub fn str(text: &str) -> Json {
        Json::Str(text.into())
    }

    /// A list value.
    #[must_use]
    pub fn list(items: Vec<Json>) -> Json {
        Json::List(Arc::new(items))
    }

    /// An object of the given entries.
    #[must_use]
    pub fn from_entries<const N: usize>(entries: [(&str, Json); N]) -> Json {
        Json::Object(Arc::new(entries.into_iter().map(|(k, v)| (k.into(), v)).collect()))
    }

    /// The object inside, if it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Map> {
        if let Json::Object(map) = self { Some(map) } else { None }
    }

    /// The list inside, if it is one.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Json]> {
        if let Json::List(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The text inside, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Json::Str(text) = self { Some(text) } else { None }
    }

    /// The integer inside, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Json::Int(n) = self { Some(*n) } else { None }
    }

    /// The truth value inside, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Json::Bool(b) = self { Some(*b) } else { None }
    }

    /// Member `key` of an object; `None` for anything else.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.as_object()?.get(key)
    }

    /// The object inside, made one's own; anything else is replaced by an empty object first.
    pub fn object_mut(&mut self) -> &mut Map {
        if !matches!(self, Json::Object(_)) {
            *self = Json::object();
        }
        let Json::Object(map) = self else {
            unreachable!("made an object just above")
        };
        Arc::make_mut(map)
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    /// Whether both are the same stored value, without looking inside. `false` says nothing.
    #[must_use]
    pub fn same_storage(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Str(a), Json::Str(b)) => Arc::ptr_eq(a, b),
            (Json::List(a), Json::List(b)) => Arc::ptr_eq(a, b),
            (Json::Object(a), Json::Object(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The compact JSON text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a Json value has only text keys and finite numbers")
    }

    /// Length of the compact JSON text in bytes, without building it.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let mut counter = ByteCounter(0);
        serde_json::to_writer(&mut counter, self).expect("counting cannot fail");
        counter.0
    }

    /// The kind of value, for messages: `null`, `bool`, `int`, `double`, `string`, `list`, `object`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "bool",
            Json::Int(_) => "int",
            Json::Float(_) => "double",
            Json::Str(_) => "string",
            Json::List(_) => "list",
            Json::Object(_) => "object",
        }
    }
}

struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Two values are equal when their JSON text is (key order aside): `1` and `1.0` differ.
impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        if self.same_storage(other) {
            return true;
        }
        match (self, other) {
            (Json::Null, Json::Null) => true,
            (Json::Bool(a), Json::Bool(b)) => a == b,
            (Json::Int(a), Json::Int(b)) => a == b,
            (Json::Float(a), Json::Float(b)) => a.to_bits() == b.to_bits(),
            (Json::Str(a), Json::Str(b)) => a == b,
            (Json::List(a), Json::List(b)) => a == b,
            (Json::Object(a), Json::Object(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Json {}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::str(text)
    }
}

impl From<i64> for Json {
    fn from(n: i64) -> Json {
        Json::Int(n)
    }
}

/// Reads a document that Rejoin itself wrote. `serde_json` stops at 128 levels, and a user's value alone may have them.
///
/// # Errors
/// Text that is no such document, or deeper than [`OWN_DEPTH_MAX`].
pub fn read_own<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    match serde_json::from_slice(text) {
        Err(e) if e.is_syntax() && (JSON_DEPTH_MAX..=OWN_DEPTH_MAX).contains(&text_depth(text)) => read_unbounded(text),
        read => read,
    }
}

/// Whether a document was refused for a name that an enum of this version lacks: so a newer version's kinds and variants show. Text
/// that is cut off, or of another shape, is not.
#[must_use]
pub fn is_unknown_variant(error: &str) -> bool {
    error.starts_with("unknown variant ")
}

fn read_unbounded<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    reader.disable_recursion_limit();
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Levels of JSON text, without building it.
fn text_depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl From<bool> for Json {
    fn from(b: bool) -> Json {
        Json::Bool(b)
    }
}

impl From<serde_json::Value> for Json {
    /// Integers beyond 64 bits signed become doubles; use [`Json::parse`] where that must be refused.
    fn from(value: serde_json::Value) -> Json {
        serde_json::from_value(value).unwrap_or_default()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(b) => serializer.serialize_bool(*b),
            Json::Int(n) => serializer.serialize_i64(*n),
            Json::Float(x) => serializer.serialize_f64(*x),
            Json::Str(text) => serializer.serialize_str(text),
            Json::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Json::Object(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map.iter() {
                    out.serialize_entry(&**key, value)?;
                }
                out.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        Json::deserialize(deserializer)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Json, E> {
        Ok(Json::Bool(b))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
        Ok(Json::Int(n))
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Json, E> {
        i64::try_from(n)
            .map(Json::Int)
            .map_err(|_| E::custom("an integer beyond 2^63-1"))
    }
    fn visit_f64<E: de::Error>(self, x: f64) -> Result<Json, E> {
        if x.is_finite() {
            Ok(Json::Float(x))
        } else {
            Err(E::custom("a number that is not finite"))
        }
    }
    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Str(text.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::list(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut out = Map::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            out.insert(key.into(), value);
        }
        Ok(Json::Object(Arc::new(out)))
    }
}
