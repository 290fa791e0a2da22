//! Keys of a handlers file that mean nothing, all of them with their places: the reader of the file names the first one only.

use rejoin_shared::definition::{Entry, Format, Tree, read};
use rejoin_shared::limits::Limits;
use rejoin_shared::suggest::nearest;

const TOP: &[&str] = &[
    "queue",
    "queues",
    "concurrency",
    "name",
    "namespace",
    "drain",
    "handlers",
];
const HANDLER: &[&str] = &["exec", "mode", "http", "context"];
const HTTP: &[&str] = &["url", "timeout", "headers", "ca", "identity"];
const IDENTITY: &[&str] = &["cert", "key"];

/// A line each: `handlers.yaml:3:8: unknown key …`. Empty if there are none, or if the text is no YAML.
pub(super) fn strangers(file: &str, text: &str) -> String {
    let Ok(tree) = read(text.as_bytes(), Format::Yaml, &Limits::default()) else {
        return String::new();
    };
    let line = |(entry, known): (&Entry, &[&str])| {
        let (at, key) = (entry.key_position, &entry.key);
        let hint = match nearest(key, known.iter().copied()) {
            Some(meant) => format!(" (did you mean `{meant}`?)"),
            None => format!(", expected one of {}", known.join(", ")),
        };
        format!("{file}:{}:{}: unknown key `{key}`{hint}", at.line, at.column)
    };
    unknown(&tree).into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Each with the keys that may stand in its place, in the order of the text.
fn unknown(file: &Tree) -> Vec<(&Entry, &'static [&'static str])> {
    let mut found = among(file, TOP);
    for handler in value(file, "handlers").and_then(Tree::entries).unwrap_or_default() {
        found.extend(among(&handler.value, HANDLER));
        if let Some(http) = value(&handler.value, "http") {
            found.extend(among(http, HTTP));
            found.extend(
                value(http, "identity")
                    .map(|identity| among(identity, IDENTITY))
                    .unwrap_or_default(),
            );
        }
    }
    found.sort_by_key(|(entry, _)| (entry.key_position.line, entry.key_position.column));
    found
}

fn among<'a>(map: &'a Tree, known: &'static [&'static str]) -> Vec<(&'a Entry, &'static [&'static str])> {
    let entries = map.entries().unwrap_or_default().iter();
    let strangers = entries.filter(|entry| !known.contains(&&*entry.key));
    strangers.map(|entry| (entry, known)).collect()
}

fn value<'a>(map: &'a Tree, key: &str) -> Option<&'a Tree> {
    let entry = map.entries()?.iter().find(|entry| &*entry.key == key);
    entry.map(|entry| &entry.value)
}

#[cfg(test)]
mod tests {
    use super::super::config::HandlersFile;
    use super::*;

    #[test]
    fn the_keys_are_those_that_the_reader_of_the_file_takes() {
        for (text, known) in [
            ("zebra: 1\nhandlers: {}", TOP),
            ("handlers: { a: { exec: [sh], zebra: 1 } }", HANDLER),
            ("handlers: { a: { http: { url: 'http://h/', zebra: 1 } } }", HTTP),
            (
                "handlers: { a: { http: { url: 'http://h/', identity: { cert: c, key: k, zebra: 1 } } } }",
                IDENTITY,
            ),
        ] {
            let error = serde_saphyr::from_str::<HandlersFile>(text).expect_err("a stranger");
            let told = error.to_string();
            let told = told.lines().next().unwrap_or_default();
            assert!(told.contains("zebra"), "{told}");
            assert!(known.iter().all(|key| told.contains(key)), "{told}");
            let expected = told.split("expected").nth(1).expect("what it takes");
            let expected = expected.split(" at line").next().unwrap_or_default();
            let named = expected
                .split([',', ' ', '`'])
                .filter(|word| !["", "one", "of", "or"].contains(word));
            assert_eq!(named.count(), known.len(), "{told}");
        }
    }
}
