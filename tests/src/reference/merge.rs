//! How the changes of branches become one context (SPEC 4.2).

use rejoin_shared::definition::model::{Join, Merge};
use rejoin_shared::json::Json;

use super::changes::{Changes, apply, changes, conflict, shown};
use super::reduce::reduce;

/// What a branch that succeeded leaves.
#[derive(Clone)]
pub(super) struct Contribution {
    /// The context it started from.
    pub start: Json,
    /// Its last context.
    pub end: Json,
    pub output: Json,
}

impl Contribution {
    /// Its changes, without the keys that are reduced.
    fn changes(&self, join: &Join) -> Changes {
        let mut end = self.end.clone();
        for (key, _) in &join.reduce {
            match key.read(&self.start) {
                Some(value) => key.write(&mut end, value.clone()),
                None => key.remove(&mut end),
            }
        }
        changes(&self.start, &end)
    }

    /// Its changes as `collect` shows them.
    pub(super) fn shown(&self, join: &Join) -> Json {
        shown(&self.changes(join))
    }
}

/// A merged context.
pub(super) struct Merged {
    pub context: Json,
    /// Two branches of a `last_wins` wrote one top-level key; the later declared one was taken.
    pub depends_on_order: bool,
}

/// Merges the contributions, in their order, into `base`. `are_compared` says which two `strict` compares.
pub(super) fn merge(
    join: &Join,
    base: &Json,
    done: &[&Contribution],
    are_compared: impl Fn(usize, usize) -> bool,
) -> Result<Merged, &'static str> {
    let changed: Vec<Changes> = done.iter().map(|c| c.changes(join)).collect();
    let mut context = base.clone();
    let mut depends_on_order = false;
    match join.merge {
        Merge::Collect | Merge::Discard => {}
        Merge::DeepMerge => changed.iter().for_each(|c| apply(c, &mut context)),
        Merge::Strict => {
            let pairs = (0..changed.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
            for (a, b) in pairs.filter(|(a, b)| are_compared(*a, *b)) {
                if conflict(&changed[a], &changed[b]) {
                    return Err("rejoin.merge_conflict");
                }
            }
            changed.iter().for_each(|c| apply(c, &mut context));
        }
        Merge::LastWins => {
            last_wins(&changed, done, &mut context);
            let share = |a: usize, b: usize| changed[a].keys().any(|key| changed[b].contains_key(key));
            let mut pairs = (0..changed.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
            depends_on_order = pairs.any(|(a, b)| are_compared(a, b) && share(a, b));
        }
    }
    reduce(&join.reduce, base, done, &mut context)?;
    Ok(Merged {
        context,
        depends_on_order,
    })
}

fn last_wins(changed: &[Changes], done: &[&Contribution], context: &mut Json) {
    for (changes, branch) in changed.iter().zip(done) {
        for key in changes.keys() {
            match branch.end.get(key) {
                Some(value) => drop(context.object_mut().insert(key.clone(), value.clone())),
                None => drop(context.object_mut().remove(key)),
            }
        }
    }
}

/// The context a graph's node starts from: the base with what the nodes it needs contribute, in this order.
pub(super) fn start_context(join: &Join, base: &Json, done: &[&Contribution]) -> Result<Json, &'static str> {
    let mut context = base.clone();
    done.iter().for_each(|c| apply(&c.changes(join), &mut context));
    reduce(&join.reduce, base, done, &mut context)?;
    Ok(context)
}
