//! Values while an expression is evaluated: JSON as it is stored, and the types that only CEL has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::temporal::{Instant, Span};
use crate::json::{Json, Map};

/// A value of CEL. Cloning copies at most a pointer.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    List(List),
    Dict(Dict),
    Instant(Instant),
    Span(Span),
    Type(&'static str),
}

/// A list: one of the context, or one that the expression made.
#[derive(Clone, Debug)]
pub(super) enum List {
    Stored(Arc<Vec<Json>>),
    Made(Arc<Vec<Value>>),
}

/// A map: an object of the context, or one that the expression made.
#[derive(Clone, Debug)]
pub(super) enum Dict {
    Stored(Arc<Map>),
    Made(Arc<BTreeMap<Key, Value>>),
}

/// A key of a map. Numbers that are equal are one key, whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Bool(bool),
    Int(i64),
    /// Beyond the range of `Int`.
    Uint(u64),
    Str(Arc<str>),
}

impl Value {
    pub(super) fn str(text: &str) -> Value {
        Value::Str(text.into())
    }

    pub(super) fn list(items: Vec<Value>) -> Value {
        Value::List(List::Made(Arc::new(items)))
    }

    /// The type's name, as `type()` gives it and messages show it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Str(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Dict(_) => "map",
            Value::Instant(_) => "google.protobuf.Timestamp",
            Value::Span(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
        }
    }

    /// The type's name for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Instant(_) => "timestamp",
            Value::Span(_) => "duration",
            Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Str(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Dict(_)
            | Value::Type(_) => self.type_name(),
        }
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Int(n) => Value::Int(*n),
            Json::Float(x) => Value::Double(*x),
            Json::Str(text) => Value::Str(text.clone()),
            Json::List(items) => Value::List(List::Stored(items.clone())),
            Json::Object(map) => Value::Dict(Dict::Stored(map.clone())),
        }
    }
}

impl List {
    pub(super) fn len(&self) -> usize {
        match self {
            List::Stored(items) => items.len(),
            List::Made(items) => items.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Value> {
        match self {
            List::Stored(items) => items.get(index).map(Value::from),
            List::Made(items) => items.get(index).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len()).map_while(|i| self.get(i))
    }
}

impl Dict {
    pub(super) fn len(&self) -> usize {
        match self {
            Dict::Stored(map) => map.len(),
            Dict::Made(map) => map.len(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Value> {
        match (self, key) {
            (Dict::Stored(map), Key::Str(key)) => map.get(key).map(Value::from),
            (Dict::Stored(_), Key::Bool(_) | Key::Int(_) | Key::Uint(_)) => None,
            (Dict::Made(map), key) => map.get(key).cloned(),
        }
    }

    /// The keys in their order, as values.
    pub(super) fn keys(&self) -> Vec<Value> {
        match self {
            Dict::Stored(map) => map.keys().cloned().map(Value::Str).collect(),
            Dict::Made(map) => map.keys().map(Key::value).collect(),
        }
    }
}

impl Key {
    /// The key that `value` stands for; `None` if its type cannot be a key.
    pub(super) fn of(value: &Value) -> Option<Key> {
        match value {
            Value::Bool(b) => Some(Key::Bool(*b)),
            Value::Int(n) => Some(Key::Int(*n)),
            Value::Uint(n) => Some(i64::try_from(*n).map_or(Key::Uint(*n), Key::Int)),
            Value::Double(x) => super::number::exact_int(*x).map(Key::Int),
            Value::Str(text) => Some(Key::Str(text.clone())),
            Value::Null
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Dict(_)
            | Value::Instant(_)
            | Value::Span(_)
            | Value::Type(_) => None,
        }
    }

    /// The key as a value.
    pub(super) fn value(&self) -> Value {
        match self {
            Key::Bool(b) => Value::Bool(*b),
            Key::Int(n) => Value::Int(*n),
            Key::Uint(n) => Value::Uint(*n),
            Key::Str(text) => Value::Str(text.clone()),
        }
    }

    /// The key as an expression would write it.
    pub(super) fn text(&self) -> String {
        match self {
            Key::Bool(b) => b.to_string(),
            Key::Int(n) => n.to_string(),
            Key::Uint(n) => format!("{n}u"),
            Key::Str(text) => format!("'{text}'"),
        }
    }
}
