//! `merge: strict`: two branches that changed one leaf to different values are a conflict.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_shared::delta::{Change, Delta};
use rejoin_shared::json::Json;

/// Two branches that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Keys down to the place.
    pub path: Vec<Arc<str>>,
    /// The two branches, in declared order.
    pub branches: (u32, u32),
    /// What each wants there; `None`: it deleted it.
    pub values: (Option<Json>, Option<Json>),
}

/// What one branch did at one place.
#[derive(Clone)]
enum Mark {
    Leaf(u32, Option<Json>),
    /// It changed something below.
    Below(u32),
}

/// Collects the branches' marks; the first conflict in declared order of branches is reported.
#[derive(Default)]
pub(crate) struct Strict {
    root: Place,
}

#[derive(Default)]
struct Place {
    marks: Vec<Mark>,
    below: BTreeMap<Arc<str>, Place>,
}

impl Strict {
    /// Adds a branch's changes, unless they conflict with what another branch of `others` left.
    pub fn add(&mut self, branch: u32, changes: &Delta, others: Others<'_>) -> Result<(), Conflict> {
        let mut path = Vec::new();
        self.root.add_delta(branch, changes, &mut path, others)
    }
}

/// The branches that one is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Others<'a> {
    /// All: then one mark of a kind stands for all that left it, however many they are.
    All,
    /// Some, each with others of its own: every mark counts.
    Some(&'a dyn Fn(u32) -> bool),
}

impl Others<'_> {
    fn have(self, branch: u32) -> bool {
        match self {
            Others::All => true,
            Others::Some(has) => has(branch),
        }
    }

    fn are_all(self) -> bool {
        matches!(self, Others::All)
    }
}

impl Place {
    fn add_delta(
        &mut self,
        branch: u32,
        changes: &Delta,
        path: &mut Vec<Arc<str>>,
        others: Others<'_>,
    ) -> Result<(), Conflict> {
        for (key, change) in &changes.0 {
            path.push(key.clone());
            let place = self.below.entry(key.clone()).or_default();
            match change {
                Change::Set(value) => place.add_value(branch, value, path, others)?,
                Change::Deleted => place.add_leaf(branch, None, path, others)?,
                Change::Nested(inner) => {
                    place.add_below(branch, path, others)?;
                    place.add_delta(branch, inner, path, others)?;
                }
            }
            path.pop();
        }
        Ok(())
    }

    /// An object is what stands in it; an empty one is a leaf.
    fn add_value(
        &mut self,
        branch: u32,
        value: &Json,
        path: &mut Vec<Arc<str>>,
        others: Others<'_>,
    ) -> Result<(), Conflict> {
        let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
            return self.add_leaf(branch, Some(value.clone()), path, others);
        };
        self.add_below(branch, path, others)?;
        for (key, inner) in map {
            path.push(key.clone());
            self.below
                .entry(key.clone())
                .or_default()
                .add_value(branch, inner, path, others)?;
            path.pop();
        }
        Ok(())
    }

    fn add_leaf(
        &mut self,
        branch: u32,
        value: Option<Json>,
        path: &[Arc<str>],
        others: Others<'_>,
    ) -> Result<(), Conflict> {
        for mark in &self.marks {
            let (other, theirs) = match mark {
                Mark::Leaf(other, theirs) if *theirs != value => (*other, theirs.clone()),
                Mark::Below(other) => (*other, Some(Json::object())),
                Mark::Leaf(..) => continue,
            };
            if others.have(other) {
                return Err(conflict(path, (other, theirs), (branch, value)));
            }
        }
        let mut marks = self.marks.iter();
        let is_known = others.are_all() && marks.any(|mark| matches!(mark, Mark::Leaf(_, theirs) if *theirs == value));
        if !is_known {
            self.marks.push(Mark::Leaf(branch, value));
        }
        Ok(())
    }

    fn add_below(&mut self, branch: u32, path: &[Arc<str>], others: Others<'_>) -> Result<(), Conflict> {
        for mark in &self.marks {
            if let Mark::Leaf(other, theirs) = mark
                && others.have(*other)
            {
                return Err(conflict(path, (*other, theirs.clone()), (branch, Some(Json::object()))));
            }
        }
        let is_known = others.are_all() && self.marks.iter().any(|mark| matches!(mark, Mark::Below(_)));
        if !is_known {
            self.marks.push(Mark::Below(branch));
        }
        Ok(())
    }
}

fn conflict(path: &[Arc<str>], first: (u32, Option<Json>), second: (u32, Option<Json>)) -> Conflict {
    Conflict {
        path: path.to_vec(),
        branches: (first.0, second.0),
        values: (first.1, second.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict_of(base: &str, branches: &[&str]) -> Option<(String, (u32, u32))> {
        let json = |text: &str| Json::parse(text.as_bytes()).expect("test JSON");
        let mut strict = Strict::default();
        for (branch, after) in (0..).zip(branches) {
            let changes = Delta::between(&json(base), &json(after));
            if let Err(conflict) = strict.add(branch, &changes, Others::All) {
                return Some((conflict.path.join("."), conflict.branches));
            }
        }
        None
    }

    #[test]
    fn different_values_of_one_leaf_conflict_and_equal_ones_do_not() {
        let base = r#"{"a":1,"o":{"x":1,"y":1}}"#;
        assert_eq!(
            conflict_of(base, &[r#"{"a":2,"o":{"x":1,"y":1}}"#, r#"{"a":2,"o":{"x":1,"y":1}}"#]),
            None
        );
        let got = conflict_of(
            base,
            &[r#"{"a":1,"o":{"x":2,"y":1}}"#, base, r#"{"a":1,"o":{"x":3,"y":1}}"#],
        );
        assert_eq!(got, Some(("o.x".to_owned(), (0, 2))));
        assert_eq!(
            conflict_of(base, &[r#"{"a":1,"o":{"x":2,"y":1}}"#, r#"{"a":1,"o":{"x":1,"y":2}}"#]),
            None
        );
    }

    #[test]
    fn a_deletion_conflicts_with_a_change_at_or_below_it() {
        let base = r#"{"o":{"x":1}}"#;
        assert_eq!(
            conflict_of(base, &["{}", r#"{"o":{"x":2}}"#]),
            Some(("o".to_owned(), (0, 1)))
        );
        assert_eq!(
            conflict_of(base, &[r#"{"o":{"x":2}}"#, "{}"]),
            Some(("o".to_owned(), (0, 1)))
        );
        assert_eq!(conflict_of(base, &["{}", "{}"]), None);
        assert_eq!(conflict_of("{}", &[r#"{"n":{"a":1}}"#, r#"{"n":{"b":1}}"#]), None);
        assert_eq!(
            conflict_of("{}", &[r#"{"n":{"a":1}}"#, r#"{"n":5}"#]),
            Some(("n".to_owned(), (0, 1)))
        );
    }
}
