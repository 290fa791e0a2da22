//! What a builder yields: a document that has been read and checked by the parser of all others.

use std::fmt;

use serde::{Serialize, Serializer};

use super::value::{Entries, Value, Written};
use crate::definition::error::DefinitionError;
use crate::definition::keys::kind_of;
use crate::definition::{Format, compile, read};
use crate::limits::Limits;

/// A valid document, as `PUT /v1/workflows` takes it: it serializes to it, and shows itself as its JSON text.
#[derive(Clone, Debug)]
pub struct Document {
    value: Value,
    json: String,
    digest: String,
}

impl Document {
    /// The text of the document: compact JSON, its keys in the order they were given.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// SHA-256 in hex: what a server names this version's content by.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Reads and checks what has been built.
    pub(super) fn check(built: Value, limits: &Limits) -> Result<Document, InvalidWorkflow> {
        let mut errors = Vec::new();
        let value = without_unfit(&built, &mut String::new(), &mut errors);
        let json = serde_json::to_string(&value).expect("what has a place in a document has a JSON text");
        let checked =
            read(json.as_bytes(), Format::Json, limits).and_then(|tree| compile(&tree, limits).map(|_| tree.digest()));
        match checked {
            Ok(digest) if errors.is_empty() => Ok(Document { value, json, digest }),
            Ok(_) => Err(InvalidWorkflow::new(&built, errors)),
            Err(others) => {
                let known: Vec<String> = errors.iter().map(|e| e.pointer.clone()).collect();
                errors.extend(others.0.into_iter().filter(|e| !known.contains(&e.pointer)));
                Err(InvalidWorkflow::new(&built, errors))
            }
        }
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

/// The code of what does not serialize to what a document can hold.
const CODE_UNFIT: &str = "unfit_value";

/// The same with null in place of what does not fit, which is noted.
fn without_unfit(value: &Value, pointer: &mut String, errors: &mut Vec<DefinitionError>) -> Value {
    let length = pointer.len();
    let mut inside = |key: &str, inner: &Value| {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let kept = without_unfit(inner, pointer, errors);
        pointer.truncate(length);
        kept
    };
    match &value.0 {
        Written::List(items) => Value::list(
            (0..)
                .zip(items)
                .map(|(i, item): (usize, _)| inside(&i.to_string(), item)),
        ),
        Written::Map(Entries(entries)) => {
            let kept = entries.iter().map(|(key, inner)| (key.clone(), inside(key, inner)));
            Value::map(Entries(kept.collect()))
        }
        Written::Unfit(why) => {
            errors.push(DefinitionError {
                pointer: pointer.clone(),
                line: 1,
                column: 1,
                code: CODE_UNFIT,
                message: why.clone(),
                suggestion: None,
            });
            Value::null()
        }
        Written::Null
        | Written::Bool(_)
        | Written::Int(_)
        | Written::Float(_)
        | Written::Text(_)
        | Written::Expr(_) => value.clone(),
    }
}

/// Everything that is wrong with a workflow that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidWorkflow {
    /// As the check of a document tells it. Lines and columns are those of its compact JSON text; pointers are the
    /// better guide.
    pub errors: Vec<DefinitionError>,
    /// For each error the names of the nodes around its place, from the outermost inwards.
    names: Vec<String>,
}

impl InvalidWorkflow {
    fn new(built: &Value, errors: Vec<DefinitionError>) -> InvalidWorkflow {
        let names = errors.iter().map(|e| names_at(built, &e.pointer)).collect();
        InvalidWorkflow { errors, names }
    }
}

impl fmt::Display for InvalidWorkflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (error, names)) in self.errors.iter().zip(&self.names).enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            let place = if error.pointer.is_empty() { "/" } else { &error.pointer };
            write!(f, "{end}{place}{names}: {} [{}]", error.message, error.code)?;
            if let Some(meant) = &error.suggestion {
                write!(f, " (did you mean `{meant}`?)")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for InvalidWorkflow {}

/// ` (prepare › pick)`: the names of the nodes that `pointer` leads through.
fn names_at(built: &Value, pointer: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut at = built;
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        let inner = match &at.0 {
            Written::List(items) => key.parse::<usize>().ok().and_then(|i| items.get(i)),
            Written::Map(entries) => entries.get(&key),
            Written::Null
            | Written::Bool(_)
            | Written::Int(_)
            | Written::Float(_)
            | Written::Text(_)
            | Written::Expr(_)
            | Written::Unfit(_) => None,
        };
        let Some(inner) = inner else { break };
        if matches!(at.0, Written::List(_)) {
            names.extend(node_name(inner));
        }
        at = inner;
    }
    match names.is_empty() {
        true => String::new(),
        false => format!(" ({})", names.join(" › ")),
    }
}

/// The name of a node, whose kind is its first key.
fn node_name(value: &Value) -> Option<&str> {
    let Written::Map(Entries(entries)) = &value.0 else {
        return None;
    };
    let (kind, name) = entries.first()?;
    kind_of(kind)?;
    let Written::Text(name) = &name.0 else {
        return None;
    };
    Some(name)
}
