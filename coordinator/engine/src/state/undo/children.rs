//! Runs that a run to be undone had called: what they did is newer than what it did before, so they come first (SPEC 5.6).

use std::collections::BTreeMap;

use rejoin_shared::ids::RunId;

use crate::record::UndoneChild;

/// Those that have not ended, or have left something undone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children(BTreeMap<RunId, Child>);

#[derive(Clone, Debug)]
struct Child {
    /// The call's.
    path: String,
    /// It has ended, and something that it did could not be undone.
    is_left_undone: bool,
}

impl Children {
    pub fn of(children: &[UndoneChild]) -> Children {
        let child = |one: &UndoneChild| {
            let (path, is_left_undone) = (one.path.clone(), one.is_left_undone);
            (one.child, Child { path, is_left_undone })
        };
        Children(children.iter().map(child).collect())
    }

    /// The path of the call whose run is awaited.
    pub fn awaited(&self, child: RunId) -> Option<&str> {
        let child = self.0.get(&child).filter(|child| !child.is_left_undone)?;
        Some(&child.path)
    }

    /// Those that are awaited, with the paths of their calls.
    pub fn open(&self) -> impl Iterator<Item = (&str, RunId)> {
        let awaited = self.0.iter().filter(|(_, child)| !child.is_left_undone);
        awaited.map(|(id, child)| (&*child.path, *id))
    }

    pub fn are_awaited(&self) -> bool {
        self.0.values().any(|child| !child.is_left_undone)
    }

    pub fn left_something(&self) -> bool {
        self.0.values().any(|child| child.is_left_undone)
    }

    pub fn paths_left(&self) -> Vec<String> {
        let left = self.0.values().filter(|child| child.is_left_undone);
        left.map(|child| child.path.clone()).collect()
    }

    /// One has ended.
    pub fn ended(&mut self, id: RunId, is_left_undone: bool) -> Result<(), String> {
        let child = self.0.get_mut(&id).filter(|child| !child.is_left_undone);
        child.ok_or("nobody waits for that run")?.is_left_undone = is_left_undone;
        if !is_left_undone {
            self.0.remove(&id);
        }
        Ok(())
    }

    /// Those that left something undone go on with it, and are waited for.
    pub fn again(&mut self) -> Vec<RunId> {
        let left = self.0.iter_mut().filter(|(_, child)| child.is_left_undone);
        left.map(|(id, child)| {
            child.is_left_undone = false;
            *id
        })
        .collect()
    }
}
