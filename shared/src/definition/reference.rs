//! The page about the keys of a definition, rendered from the table the checks use.

use super::keys::{COMMON, COMPENSATE, DOCUMENT, KINDS, Key, RETRY, Shape};
use super::supported::{Feature, NOT_YET};

const HEAD: &str = "\
# Definition reference

Every key of a workflow definition. This page is generated from the table that the parser checks with
(`shared/src/definition/keys.rs`); the JSON Schema of `rejoin schema` comes from the same table. What the nodes *mean*
is in [spec.md](spec.md), sections 2 to 5.

- A document is YAML 1.2 or JSON. Unknown keys are errors with line, column, a code and a suggestion; all errors come at
  once (`rejoin workflow validate FILE`).
- Exactly one key of a node names its kind; its value is the node's name.
- Names: a letter, then letters, digits, `_` and `-`, at most 64 characters.
- *Not run yet* marks what the parser checks and this release then refuses, so that no run meets it.
";

/// Objects that stand at keys of this name in several places: described once.
const SHARED: &[(&str, &[Key])] = &[("retry", RETRY), ("compensate", COMPENSATE)];

/// The page as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, "The document", "", DOCUMENT.iter(), "workflow");
    section(&mut page, "Keys of every node", "", COMMON.iter(), "");
    for kind in KINDS {
        let mut doc = kind.doc.to_owned();
        if NOT_YET.contains(&Feature::Kind(kind.name)) {
            doc.push_str(" *Not run yet.*");
        }
        let own = kind.keys.iter().copied().flatten();
        section(&mut page, &format!("`{}`", kind.name), &doc, own, kind.name);
    }
    for (name, keys) in SHARED {
        section(&mut page, &format!("`{name}` (its parts)"), "", keys.iter(), "");
    }
    page
}

fn section(page: &mut String, title: &str, doc: &str, keys: impl Iterator<Item = &'static Key>, owner: &str) {
    page.push_str(&format!("\n## {title}\n\n"));
    if !doc.is_empty() {
        page.push_str(&format!("{doc}\n\n"));
    }
    page.push_str("| key | value | meaning |\n|---|---|---|\n");
    for key in keys {
        row(page, "", key, owner);
    }
}

fn row(page: &mut String, prefix: &str, key: &Key, owner: &str) {
    let name = format!("{prefix}{}", key.name);
    let shown = match key.required {
        true => format!("**`{name}`**"),
        false => format!("`{name}`"),
    };
    let doc = format!("{}{}", key.doc, not_yet(owner, key.name));
    page.push_str(&format!("| {shown} | {} | {doc} |\n", form(key.name, key.shape)));
    if is_shared(key.name, key.shape) {
        return;
    }
    for (between, keys) in parts(key.shape) {
        for part in keys {
            row(page, &format!("{name}{between}"), part, "");
        }
    }
}

/// Objects inside a form, with what stands between the key and theirs.
fn parts(shape: Shape) -> Vec<(&'static str, &'static [Key])> {
    match shape {
        Shape::Object(keys) => vec![(".", keys)],
        Shape::MapOf(inner) => parts(*inner).into_iter().map(|(_, keys)| (".*.", keys)).collect(),
        Shape::ListOf(inner) => parts(*inner).into_iter().map(|(_, keys)| ("[].", keys)).collect(),
        Shape::Either(shapes) => shapes.iter().flat_map(|s| parts(*s)).collect(),
        Shape::Template
        | Shape::Text
        | Shape::TextTemplate
        | Shape::Name
        | Shape::Expr
        | Shape::Condition
        | Shape::Duration
        | Shape::DurationTemplate
        | Shape::TimeTemplate
        | Shape::Int(_)
        | Shape::Count(..)
        | Shape::Number
        | Shape::Bool
        | Shape::Words(_)
        | Shape::KeyPath
        | Shape::IntoPath
        | Shape::KeyPaths
        | Shape::Patterns
        | Shape::Names
        | Shape::Nodes
        | Shape::AnyList
        | Shape::JsonSchema => Vec::new(),
    }
}

fn is_shared(name: &str, shape: Shape) -> bool {
    SHARED.iter().any(|(shared, _)| *shared == name) && !parts(shape).is_empty()
}

fn form(name: &str, shape: Shape) -> String {
    if is_shared(name, shape) {
        let anchor = format!("[`{name}`](#{name}-its-parts)");
        return match matches!(shape, Shape::Either(_)) {
            true => format!("{anchor}, or a list of them"),
            false => anchor,
        };
    }
    match shape {
        Shape::Object(_) => "a map with the keys below".to_owned(),
        Shape::MapOf(inner) => format!("a map; each value {}", form(name, *inner)),
        Shape::ListOf(inner) => format!("a list; each {}", form(name, *inner)),
        Shape::Either(shapes) => {
            let forms: Vec<String> = shapes.iter().map(|s| form(name, *s)).collect();
            forms.join(", or ")
        }
        Shape::Words(words) => {
            let words: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
            words.join(", ")
        }
        Shape::Template
        | Shape::Text
        | Shape::TextTemplate
        | Shape::Name
        | Shape::Expr
        | Shape::Condition
        | Shape::Duration
        | Shape::DurationTemplate
        | Shape::TimeTemplate
        | Shape::Int(_)
        | Shape::Count(..)
        | Shape::Number
        | Shape::Bool
        | Shape::KeyPath
        | Shape::IntoPath
        | Shape::KeyPaths
        | Shape::Patterns
        | Shape::Names
        | Shape::Nodes
        | Shape::AnyList
        | Shape::JsonSchema => shape.describe(),
    }
}

fn not_yet(owner: &str, key: &str) -> String {
    let mut note = String::new();
    for feature in NOT_YET {
        match feature {
            Feature::Key(o, k) if *o == owner && *k == key => note.push_str(" *Not run yet.*"),
            Feature::Value(o, k, v) if *o == owner && *k == key => {
                note.push_str(&format!(" *`{v}`: not run yet.*"));
            }
            Feature::Kind(_) | Feature::Key(..) | Feature::Value(..) => {}
        }
    }
    note
}
