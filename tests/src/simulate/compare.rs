//! Whether a simulated run ended as the reference interpreter says.

use rejoin_shared::run::RunStatus;

use super::engine_driver::Driver;
use crate::reference::{Seen, Told};

/// Compares everything that the reference tells, as far as it does not depend on timing.
///
/// # Errors
/// The first difference.
pub fn with_reference(driver: &Driver<'_>, told: &Told) -> Result<(), String> {
    if driver.was_cancelled || told.doubt.is_some() {
        return Ok(());
    }
    end_with_reference(driver, told)?;
    for ((path, attempt), seen) in &driver.executed {
        match told.executed.get(&(path.clone(), *attempt)) {
            None => {
                return Err(format!(
                    "{path} attempt {attempt} was executed; the reference executes none"
                ));
            }
            Some(expected) => same_sight(path, expected, seen)?,
        }
    }
    if told.may_cancel {
        return Ok(());
    }
    if let Some((path, attempt)) = told.executed.keys().find(|key| !driver.executed.contains_key(*key)) {
        return Err(format!(
            "{path} attempt {attempt} was not executed; the reference executes it"
        ));
    }
    if driver.journal.completed_paths != told.completed {
        let (ours, theirs) = (&driver.journal.completed_paths, &told.completed);
        return Err(format!(
            "completed are {:?} more and {:?} less than the reference says",
            ours.difference(theirs).collect::<Vec<_>>(),
            theirs.difference(ours).collect::<Vec<_>>(),
        ));
    }
    Ok(())
}

fn same_sight(path: &str, expected: &Seen, seen: &Seen) -> Result<(), String> {
    if expected.ctx != seen.ctx {
        return Err(format!(
            "{path} saw the context\n{}\nthe reference gives\n{}",
            seen.ctx, expected.ctx
        ));
    }
    if expected.input != seen.input {
        return Err(format!(
            "{path} got the input\n{}\nthe reference gives\n{}",
            seen.input, expected.input
        ));
    }
    Ok(())
}

/// Compares how the run ended.
///
/// # Errors
/// The first difference.
pub fn end_with_reference(driver: &Driver<'_>, told: &Told) -> Result<(), String> {
    if told.doubt.is_some() {
        return Ok(());
    }
    let state = &driver.state;
    let (output, error) = state.result();
    let error = error.map(|e| (e.kind, e.path.unwrap_or_default()));
    let expected = told.error.as_ref().map(|f| (f.kind.clone(), f.path.clone()));
    if state.status() != told.status || error != expected {
        let (ours, theirs) = (state.status().as_str(), told.status.as_str());
        return Err(format!(
            "it ended {ours} with {error:?}; the reference says {theirs} with {expected:?}"
        ));
    }
    if state.context() != told.context {
        return Err(format!(
            "the final context is\n{}\nthe reference gives\n{}",
            state.context(),
            told.context
        ));
    }
    if told.status == RunStatus::Completed && output != told.output {
        return Err(format!(
            "the output is {output:?}; the reference gives {:?}",
            told.output
        ));
    }
    Ok(())
}
