//! JSON text as block YAML, keys in their order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value whose maps keep their order and whose scalars are JSON text.
enum Ordered {
    Scalar(String),
    List(Vec<Ordered>),
    Map(Vec<(String, Ordered)>),
}

struct Items(Vec<Box<RawValue>>);
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Items;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Each)
    }
}

fn read(text: &str) -> Ordered {
    match text.trim_start().bytes().next() {
        Some(b'{') => serde_json::from_str::<Entries>(text).map_or_else(
            |_| Ordered::Scalar(text.to_owned()),
            |map| Ordered::Map(map.0.iter().map(|(k, v)| (k.clone(), read(v.get()))).collect()),
        ),
        Some(b'[') => serde_json::from_str::<Items>(text).map_or_else(
            |_| Ordered::Scalar(text.to_owned()),
            |list| Ordered::List(list.0.iter().map(|v| read(v.get())).collect()),
        ),
        _ => Ordered::Scalar(text.trim().to_owned()),
    }
}

/// The YAML document of JSON text.
pub fn document(text: &[u8]) -> String {
    let mut out = String::new();
    write(&mut out, &read(&String::from_utf8_lossy(text)), 0, true);
    out
}

/// Writes a value after a key or dash (`fresh`: at the start of its line).
fn write(out: &mut String, value: &Ordered, depth: usize, fresh: bool) {
    match value {
        Ordered::Scalar(text) => inline(out, &scalar(text), fresh),
        Ordered::List(items) if items.is_empty() => inline(out, "[]", fresh),
        Ordered::Map(entries) if entries.is_empty() => inline(out, "{}", fresh),
        Ordered::List(items) => {
            if !fresh {
                out.push('\n');
            }
            for item in items {
                indent(out, depth);
                out.push_str("- ");
                write_item(out, item, depth + 1);
            }
        }
        Ordered::Map(entries) => {
            if !fresh {
                out.push('\n');
            }
            for (key, value) in entries {
                indent(out, depth);
                write_entry(out, key, value, depth);
            }
        }
    }
}

/// The first entry of a map in a list stands on the dash's line.
fn write_item(out: &mut String, item: &Ordered, depth: usize) {
    let Ordered::Map(entries) = item else {
        return write(out, item, depth, matches!(item, Ordered::Scalar(_)));
    };
    if entries.is_empty() {
        return inline(out, "{}", true);
    }
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 {
            indent(out, depth);
        }
        write_entry(out, key, value, depth);
    }
}

fn write_entry(out: &mut String, key: &str, value: &Ordered, depth: usize) {
    out.push_str(&scalar(&serde_json::to_string(key).expect("text")));
    out.push(':');
    write(out, value, depth + 1, false);
}

fn inline(out: &mut String, text: &str, fresh: bool) {
    if !fresh {
        out.push(' ');
    }
    out.push_str(text);
    out.push('\n');
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth * 2));
}

/// JSON text is YAML; quotes are left out where the text cannot be taken for anything else.
fn scalar(text: &str) -> String {
    let plain = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    match plain {
        Some(inner) if is_plain(inner) => inner.to_owned(),
        // JSON lets stand what YAML does not: DEL and the controls above it.
        _ => super::escape::line(text),
    }
}

fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.bytes().next().is_some_and(|c| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'/' | b'.'))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_stands_in_a_document() {
        let text = "{\"a\u{9b}b\":\"\\u001b[2J\\n\x7f\u{9b}\"}";
        assert_eq!(
            document(text.as_bytes()),
            "\"a\\u009bb\": \"\\u001b[2J\\n\\u007f\\u009b\"\n"
        );
    }

    #[test]
    fn blocks_keep_order_and_quote_what_could_be_misread() {
        let text = br#"{"b":[{"x":1,"y":[]},"no","a b",[1.0]],"a":{"k":null},"e":{}}"#;
        assert_eq!(
            document(text),
            "b:\n  - x: 1\n    \"y\": []\n  - \"no\"\n  - \"a b\"\n  - \n    - 1.0\na:\n  k: null\ne: {}\n"
        );
    }
}
