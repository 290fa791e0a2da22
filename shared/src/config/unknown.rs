//! Which keys and variables nobody knows, and where they stand: the readers of files name the first one only, without its place.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{PREFIX, Settings};
use crate::suggest::nearest;

/// The keys of a file that nobody knows, in the order of the text, a line each: `rejoin.toml:3:1: unknown key …`. Empty if there are none, or
/// if the text is no TOML.
pub(super) fn keys(name: &str, text: &str) -> String {
    let Ok(file) = DeTable::parse(text) else {
        return String::new();
    };
    let mut unknown = Vec::new();
    for (section, value) in file.get_ref() {
        let keys = known(section.get_ref());
        match (&keys, value.get_ref()) {
            (None, _) => {
                let sections = sections();
                let meant = nearest(section.get_ref(), sections.iter().map(String::as_str));
                unknown.push((section.span().start, section.get_ref().to_string(), meant));
            }
            (Some(keys), DeValue::Table(table)) => {
                let strangers = table.keys().filter(|key| !keys.iter().any(|k| k == key.get_ref()));
                unknown.extend(strangers.map(|key| {
                    let meant = nearest(key.get_ref(), keys.iter().map(String::as_str));
                    let within = |key: &str| format!("{}.{key}", section.get_ref());
                    (
                        key.span().start,
                        within(key.get_ref()),
                        meant.map(|meant| within(&meant)),
                    )
                }));
            }
            (Some(_), _) => {}
        }
    }
    unknown.sort_unstable();
    let line = |(at, key, meant): (usize, String, Option<String>)| {
        let (line, column) = place(text, at);
        let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
        format!("{name}:{line}:{column}: unknown key `{key}`{meant}")
    };
    unknown.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The variable that one which nobody knows was probably meant to be; `None` if it is known.
pub(super) fn variable(name: &str) -> Option<String> {
    let of = |section: &String| {
        let upper = section.to_uppercase();
        let keys = known(section).unwrap_or_default().into_iter();
        keys.map(move |key| format!("{PREFIX}{upper}__{}", key.to_uppercase()))
    };
    let all: Vec<String> = sections().iter().flat_map(of).collect();
    let is_known = |known: &String| {
        name.strip_prefix(&**known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
    };
    if all.iter().any(is_known) {
        return None;
    }
    let meant = nearest(name, all.iter().map(String::as_str));
    Some(match meant {
        Some(meant) => format!("no setting has this name (did you mean {meant}?)"),
        None => "no setting has this name: `rejoin coordinator --print-config` lists them".to_owned(),
    })
}

/// What the value of this key must be, where its type alone says so.
pub(super) fn rule(key: &str) -> Option<&'static str> {
    let (section, key) = key.split_once('.')?;
    match defaults().get(section)?.get(key)? {
        Value::Number(number) if number.is_u64() => Some("a whole number, 0 or more"),
        Value::Number(_) => Some("a number"),
        Value::Bool(_) => Some("true or false"),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn sections() -> Vec<String> {
    let all = defaults();
    all.as_object()
        .into_iter()
        .flat_map(|all| all.keys().cloned())
        .collect()
}

fn known(section: &str) -> Option<Vec<String>> {
    let keys = defaults().get(section)?.as_object()?.keys().cloned().collect();
    Some(keys)
}

fn defaults() -> Value {
    serde_json::to_value(Settings::default()).expect("settings are plain tables")
}

/// Line and column, from 1, of a byte.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
