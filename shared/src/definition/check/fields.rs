//! The entries of one map, checked against their table: unknown, missing and ill-formed ones are noted here.

use super::Checker;
use crate::definition::error::{Problem, shown};
use crate::definition::keys::{Key, Shape};
use crate::definition::source::{Entry, Tree};
use crate::suggest::nearest;

/// A map whose keys have been looked up in their table.
pub(super) struct Fields<'t> {
    pub tree: &'t Tree,
    found: Vec<Field<'t>>,
}

struct Field<'t> {
    key: &'static Key,
    entry: &'t Entry,
    well_formed: bool,
}

impl<'t> Fields<'t> {
    /// The value of `name`, if it is there and of its form.
    pub fn get(&self, name: &str) -> Option<&'t Tree> {
        self.found(name).filter(|f| f.well_formed).map(|f| &f.entry.value)
    }

    /// The value and the shape of `name`, if it is there and of its form.
    pub fn shaped(&self, name: &str) -> Option<(&'t Tree, Shape)> {
        self.found(name)
            .filter(|f| f.well_formed)
            .map(|f| (&f.entry.value, f.key.shape))
    }

    /// Whether `name` is there, in whatever form.
    pub fn has(&self, name: &str) -> bool {
        self.found(name).is_some()
    }

    fn found(&self, name: &str) -> Option<&Field<'t>> {
        self.found.iter().find(|f| f.key.name == name)
    }

    fn entry(&self, name: &str) -> Option<&'t Entry> {
        self.found(name).map(|f| f.entry)
    }
}

impl Checker<'_> {
    /// Reads the map `tree`; `of` names it in messages; `kind_key` is the key of the node's kind, which is no field.
    pub(super) fn fields<'t>(
        &mut self,
        tree: &'t Tree,
        tables: &[&'static [Key]],
        of: &str,
        kind_key: Option<&str>,
    ) -> Option<Fields<'t>> {
        let Some(entries) = tree.entries() else {
            return self.refuse(
                tree,
                "wrong_type",
                format!("{of} is a map; this is {}", tree.kind_name()),
            );
        };
        let known = || tables.iter().copied().flatten();
        let mut found = Vec::new();
        for entry in entries.iter().filter(|e| Some(&*e.key) != kind_key) {
            match known().find(|k| *k.name == *entry.key) {
                Some(key) => found.push(Field {
                    key,
                    entry,
                    well_formed: self.has_form(key, &entry.value),
                }),
                None if self.is_full() => {}
                None => self.unknown_key(entry, of, known().map(|k| k.name)),
            }
        }
        for key in known().filter(|k| k.required && !found.iter().any(|f| f.key.name == k.name)) {
            let (name, shape) = (key.name, key.shape.describe());
            self.note(Problem::at(
                tree,
                "missing_key",
                format!("{of} needs the key `{name}`: {shape}"),
            ));
        }
        Some(Fields { tree, found })
    }

    fn has_form(&mut self, key: &Key, value: &Tree) -> bool {
        let takes = key.shape.takes(value);
        if !takes {
            let message = format!(
                "`{}` takes {}; this is {}",
                key.name,
                key.shape.describe(),
                value.kind_name()
            );
            self.note(Problem::at(value, "wrong_type", message));
        }
        takes
    }

    fn unknown_key(&mut self, entry: &Entry, of: &str, known: impl Iterator<Item = &'static str> + Clone) {
        let meant = nearest(&entry.key, known.clone());
        let all: Vec<_> = known.collect();
        let key = shown(&entry.key);
        let message = format!("{of} has no key `{key}`; it may have {}", all.join(", "));
        let problem = Problem::at(&entry.value, "unknown_key", message);
        self.note(problem.shown_at(entry.key_position).meant(meant));
    }

    /// Notes that the later written of two keys does not go with the other, if both are there.
    pub(super) fn conflict(&mut self, fields: &Fields<'_>, a: &str, b: &str, why: &str) {
        if let (Some(x), Some(y)) = (fields.entry(a), fields.entry(b)) {
            let later = if x.value.id > y.value.id { x } else { y };
            let message = format!("`{a}` and `{b}` do not go together: {why}");
            let problem = Problem::at(&later.value, "conflicting_keys", message);
            self.note(problem.shown_at(later.key_position));
        }
    }

    /// Notes if not exactly one (or, unless `required`, at most one) of `keys` is there.
    pub(super) fn one_of(&mut self, fields: &Fields<'_>, keys: &[&str], of: &str, required: bool) {
        let mut there = keys.iter().filter(|k| fields.has(k));
        match (there.next(), there.next()) {
            (None, _) if required => {
                let message = format!("{of} needs one of the keys {}", keys.join(", "));
                self.note(Problem::at(fields.tree, "missing_key", message));
            }
            (Some(a), Some(b)) => self.conflict(fields, a, b, &format!("{of} takes one of {}", keys.join(", "))),
            (None | Some(_), _) => {}
        }
    }
}
