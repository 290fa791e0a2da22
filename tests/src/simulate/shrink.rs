//! Makes a failing case small: the definition, its input, what handlers answer and what goes wrong are cut as long as the same kind
//! of difference remains.
//!
//! ```text
//!   failing seed ─▶ write down what handlers answered ─▶ fewer faults ─▶ fewer nodes ─▶ shorter script and input ─▶ YAML
//!                                                             ▲──── as long as it gets smaller, and there is time ────┘
//! ```
//! Schedules are drawn: whatever is cut, another schedule follows from the same number. So of every smaller case some are tried.

use std::cell::Cell;
use std::fmt;
use std::sync::Once;
use std::time::{Duration, Instant};

use rejoin_shared::run::RunStatus;

use super::engine_driver::Faults;
use super::kept::Kept;
use super::shorten::{edited, edits};
use super::{Failure, run_info, simulate_case};
use crate::dice::hash;
use crate::generate::{Case, Doc, Profile, Script};
use crate::reference::interpret_twisted;

/// Schedules that are tried of a smaller case.
const SCHEDULES: u64 = 6;

/// A small case that fails.
#[derive(Clone, Debug)]
pub struct Small {
    /// It.
    pub kept: Kept,
    /// How.
    pub failure: Failure,
    /// Whether nothing more can be cut; else time ran out.
    pub is_smallest: bool,
}

impl fmt::Display for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.to_yaml();
        let end = if self.is_smallest { "" } else { " (time ran out)" };
        let history = self.failure.to_string();
        let history = history.split_once("--- history").map_or("", |(_, history)| history);
        write!(
            f,
            "--- shrunk{end}: {}\n--- history{history}\n--- to keep it as a test: tests/tests/kept/NAME.yaml\n{kept}",
            self.failure.why
        )
    }
}

/// Shrinks a case that fails, for as long as `bound` at most.
///
/// # Panics
/// If the case cannot be written out, which is then a mistake here.
#[must_use]
pub fn shrink(case: &Case, profile: Profile, faults: &Faults, failure: &Failure, bound: Duration) -> Small {
    let kept = Kept::of(case, profile, faults).expect("what the parser took once it takes again");
    let mut shrinker = Shrinker {
        kind: kind_of(&failure.why),
        kept,
        failure: failure.clone(),
        until: Instant::now() + bound,
    };
    let is_smallest = quietly(|| shrinker.run());
    Small {
        kept: shrinker.kept,
        failure: shrinker.failure,
        is_smallest,
    }
}

/// What a failure says, without what names a place or a value in it.
#[must_use]
pub fn kind_of(why: &str) -> String {
    let first = why.lines().next().unwrap_or_default();
    let plain = first.split(['[', '{']).next().unwrap_or_default();
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || ",;:'".contains(c));
    plain.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ")
}

struct Shrinker {
    kind: String,
    /// The smallest so far.
    kept: Kept,
    /// How it fails.
    failure: Failure,
    until: Instant,
}

impl Shrinker {
    /// Whether nothing more can be cut.
    fn run(&mut self) -> bool {
        self.write_down();
        loop {
            let before = self.kept.to_yaml().len();
            self.fewer_faults();
            self.fewer_workflows();
            self.shorten(|kept| &mut kept.definition);
            for at in 0..self.kept.workflows.len() {
                self.shorten(|kept| &mut kept.workflows[at]);
            }
            self.shorten_script();
            self.shorten(|kept| &mut kept.input);
            if self.is_late() {
                return false;
            }
            if self.kept.to_yaml().len() >= before {
                return true;
            }
        }
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Takes a smaller case if it fails in the same way.
    fn take(&mut self, mut smaller: Kept) -> bool {
        let Ok(case) = smaller.case() else { return false };
        // Valid, but nothing that could be compared: it is too large, or waits for what never comes.
        let told = interpret_twisted(&case.def, &case.input, &case.world, &run_info(), smaller.faults.twist);
        if told.log.too_large || told.end.status == RunStatus::Waiting {
            return false;
        }
        let first = smaller.faults.schedule.unwrap_or(smaller.seed);
        for n in 0..SCHEDULES {
            if self.is_late() {
                return false;
            }
            let other = hash(first, &n.to_string()) % 1_000_000;
            smaller.faults.schedule = Some(if n == 0 { first } else { other });
            let failed = simulate_case(&case, smaller.profile, &smaller.faults).err();
            if let Some(failure) = failed.filter(|failure| kind_of(&failure.why) == self.kind) {
                (self.kept, self.failure) = (smaller, failure);
                return true;
            }
        }
        false
    }

    /// Handlers answer from here on what they answered so far, wherever the steps are moved.
    fn write_down(&mut self) {
        if let Some(script) = heard(&self.kept) {
            let scripted = Kept {
                script: Some(script),
                ..self.kept.clone()
            };
            self.take(scripted);
        }
    }

    fn fewer_faults(&mut self) {
        let names = self.kept.faults.shares().map(|(name, _)| name);
        for name in names {
            let mut smaller = self.kept.clone();
            let mut was = 0;
            for (_, share) in smaller.faults.shares().into_iter().filter(|(of, _)| *of == name) {
                was = std::mem::take(share);
            }
            if was > 0 {
                self.take(smaller);
            }
        }
        for part in [0, 1, 2, 3] {
            let turns = self.failure.turns.min(self.kept.faults.turns_max.unwrap_or(usize::MAX));
            let mut smaller = self.kept.clone();
            smaller.faults.turns_max = Some(turns * part / 4);
            if smaller.faults.turns_max != self.kept.faults.turns_max && self.take(smaller) {
                break;
            }
        }
    }

    fn fewer_workflows(&mut self) {
        for at in (0..self.kept.workflows.len()).rev() {
            let mut smaller = self.kept.clone();
            smaller.workflows.remove(at);
            self.take(smaller);
        }
    }

    /// Cuts a document, from its outermost parts inwards.
    fn shorten(&mut self, part: impl Fn(&mut Kept) -> &mut Doc) {
        let mut at = 0;
        while !self.is_late() {
            let mut smaller = self.kept.clone();
            let doc = part(&mut smaller);
            let Some(edit) = edits(doc).into_iter().nth(at) else {
                return;
            };
            *doc = edited(doc, &edit);
            if !self.take(smaller) {
                at += 1;
            }
        }
    }

    fn shorten_script(&mut self) {
        let Some(script) = self.kept.script.clone() else { return };
        if let Some(used) = heard(&self.kept) {
            let script = Some(script.only(&used));
            self.take(Kept {
                script,
                ..self.kept.clone()
            });
        }
        let mut at = 0;
        while !self.is_late() {
            let shorter = self.kept.script.as_ref().map(Script::shorter).unwrap_or_default();
            let Some(script) = shorter.into_iter().nth(at) else {
                return;
            };
            let smaller = Kept {
                script: Some(script),
                ..self.kept.clone()
            };
            if !self.take(smaller) {
                at += 1;
            }
        }
    }
}

/// What handlers answer in a case as it stands.
fn heard(kept: &Kept) -> Option<Script> {
    let mut case = kept.case().ok()?;
    let (world, heard) = case.world.heard();
    case.world = world;
    drop(simulate_case(&case, kept.profile, &kept.faults));
    let script = heard.lock().expect("the script").clone();
    Some(script)
}

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics of this thread tell nothing meanwhile: hundreds of cases may end by one.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                loud(panic);
            }
        }));
    });
    IS_QUIET.set(true);
    let done = work();
    IS_QUIET.set(false);
    done
}
