//! The simulator: the real engine under seeded schedules and faults, against the reference interpreter.

pub mod compare;
pub mod edits;
pub mod engine_driver;
pub mod journal;
pub mod kept;
pub mod live;
pub mod messages;
pub mod outside;
pub mod replies;
pub mod script;
pub mod shell;
pub mod shell_database;
pub mod shell_fires;
mod shell_harm;
pub mod shell_link;
pub mod shell_process;
pub mod shell_runs;
pub mod shell_schedules;
pub mod shell_store;
pub mod shorten;
pub mod shrink;

use rejoin_shared::expr::RunInfo;
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use crate::generate::{Case, Profile, case};
use crate::reference::interpret_twisted;
use engine_driver::{Driver, Faults};

/// The id of all simulated runs.
#[must_use]
pub fn run_id() -> RunId {
    RunId::from_uuid_in(uuid::Uuid::nil(), Partition(0))
}

/// When all simulated runs start.
pub const START: Timestamp = Timestamp(1_800_000_000_000_000);

/// What `run` holds in expressions of simulated runs.
#[must_use]
pub fn run_info() -> RunInfo {
    RunInfo {
        id: run_id().to_string().into(),
        workflow: "generated".into(),
        version: 1,
        started_at: START,
    }
}

/// How a simulated run ended that broke nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ended as the reference said.
    Agrees,
    /// Its outcome may depend on timing: only the invariants were checked.
    InvariantsOnly,
    /// It is larger than simulated runs should be.
    TooLarge,
}

/// What went wrong in a simulated run; shown with the case and its history.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The invariant that broke, or the first difference.
    pub why: String,
    /// Turns of the schedule until then.
    pub turns: usize,
    text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the case of `seed` is for.
#[must_use]
pub fn profile_of(seed: u64) -> Profile {
    match seed % 4 == 3 {
        true => Profile::Resumable,
        false => Profile::Any,
    }
}

/// Runs the case of `seed` under a schedule of the same seed.
///
/// # Errors
/// What went wrong, with the definition and the history.
pub fn simulate(seed: u64, faults: &Faults) -> Result<Verdict, Failure> {
    let profile = profile_of(seed);
    simulate_case(&case(seed, profile), profile, faults)
}

/// As [`simulate`], of a case at hand.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_case(case: &Case, profile: Profile, faults: &Faults) -> Result<Verdict, Failure> {
    let told = interpret_twisted(&case.def, &case.input, &case.world, &run_info(), faults.twist);
    if told.log.too_large {
        return Ok(Verdict::TooLarge);
    }
    let mut driver = Driver::new(case, faults.clone());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match profile {
        Profile::Any => driver
            .run_to_end()
            .and_then(|()| compare::with_reference(&driver, &told))
            .and_then(|()| undo_the_rest(&mut driver)),
        Profile::Resumable => driver
            .run_broken_then_mended()
            .and_then(|()| compare::end_with_reference(&driver, &told)),
    }));
    let end = caught.unwrap_or_else(|panic| Err(format!("a panic: {}", text_of(&*panic))));
    match end {
        Ok(()) if told.log.doubt.is_some() || driver.lost_claims => Ok(Verdict::InvariantsOnly),
        Ok(()) => Ok(Verdict::Agrees),
        Err(why) => Err(Failure {
            text: format!(
                "seed {}: {why}\n--- definition\n{}\n--- workflows it calls\n{}\n--- input\n{}\n--- history\n{}",
                case.seed,
                case.text,
                case.children_text(),
                case.input,
                driver.history.join("\n"),
            ),
            why,
            turns: driver.turns,
        }),
    }
}

/// A compensation that failed goes on at a resume.
fn undo_the_rest(driver: &mut Driver<'_>) -> Result<(), String> {
    match driver.state().status() == RunStatus::CompensationFailed {
        true => driver.undo_the_rest(),
        false => Ok(()),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_default()
}
