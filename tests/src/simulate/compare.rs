//! Whether simulated runs ended as the reference interpreter says.

use std::collections::BTreeSet;

use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;

use super::engine_driver::Driver;
use super::live::Live;
use crate::reference::{Ending, Seen, Told};

/// Compares everything that the reference tells, as far as it does not depend on timing.
///
/// # Errors
/// The first difference.
pub fn with_reference(driver: &Driver<'_>, told: &Told) -> Result<(), String> {
    if driver.was_cancelled || driver.lost_claims || told.log.doubt.is_some() {
        return Ok(());
    }
    end_with_reference(driver, told)?;
    for ((path, attempt), seen) in &driver.executed {
        match told.log.executed.get(&(path.clone(), *attempt)) {
            // How far siblings were undone when one of them failed depends on timing.
            None if path.ends_with("/compensate") && undo_is_loose(told) => {}
            None => {
                return Err(format!(
                    "{path} attempt {attempt} was executed; the reference executes none"
                ));
            }
            Some(expected) => same_sight(path, expected, seen)?,
        }
    }
    for run in &driver.runs {
        let ending = match run.label.is_empty() {
            true => Some(&told.end),
            false => told.log.children.get(&run.label),
        };
        let ending = ending.ok_or_else(|| format!("the run {} is called; the reference calls none", run.label))?;
        child_with_reference(driver, run, ending, told).map_err(|why| format!("run {}: {why}", run.label))?;
    }
    if told.log.may_cancel || undo_is_loose(told) {
        return Ok(());
    }
    if let Some((path, attempt)) = told.log.executed.keys().find(|key| !driver.executed.contains_key(*key)) {
        return Err(format!(
            "{path} attempt {attempt} was not executed; the reference executes it"
        ));
    }
    let of_run = |run: &Live| {
        let paths = run.journal.completed_paths.iter();
        paths.map(|path| format!("{}{path}", run.label)).collect::<Vec<_>>()
    };
    let ours: BTreeSet<String> = driver.runs.iter().flat_map(of_run).collect();
    if ours != told.log.completed {
        return Err(format!(
            "completed are {:?} more and {:?} less than the reference says",
            ours.difference(&told.log.completed).collect::<Vec<_>>(),
            told.log.completed.difference(&ours).collect::<Vec<_>>(),
        ));
    }
    let labels: BTreeSet<&String> = driver
        .runs
        .iter()
        .map(|run| &run.label)
        .filter(|l| !l.is_empty())
        .collect();
    if labels != told.log.children.keys().collect() {
        return Err(format!(
            "called are {labels:?}; the reference calls {:?}",
            told.log.children.keys()
        ));
    }
    emitted_with_reference(driver, told)
}

fn undo_is_loose(told: &Told) -> bool {
    let endings = told.log.children.values().chain([&told.end]);
    let mut undone = endings.filter_map(|ending| ending.undo.as_ref());
    // What was cancelled in time has no compensation that could fail, and stops none.
    undone.any(|undo| undo.is_loose || undo.failed && told.log.may_cancel)
}

fn emitted_with_reference(driver: &Driver<'_>, told: &Told) -> Result<(), String> {
    let of_run = |run: &Live| {
        let all = run.emitted.iter();
        let all = all.map(|(path, (event, payload))| {
            let payload = driver.labelled(payload);
            (format!("{}{path}", run.label), (event.clone(), payload))
        });
        all.collect::<Vec<_>>()
    };
    let ours = driver.runs.iter().flat_map(of_run).collect();
    match told.log.emitted == ours {
        true => Ok(()),
        false => Err(format!(
            "emitted are {ours:?}; the reference emits {:?}",
            told.log.emitted
        )),
    }
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

fn child_with_reference(driver: &Driver<'_>, run: &Live, ending: &Ending, told: &Told) -> Result<(), String> {
    // A call in a branch that is cancelled cancels its child.
    let is_cut_off = run.state.status() == RunStatus::Cancelled && told.log.may_cancel;
    if !is_cut_off {
        ended_as(driver, run, ending, told.log.may_cancel)?;
    }
    let Some(undo) = ending.undo.as_ref().filter(|_| !is_cut_off) else {
        return Ok(());
    };
    let all: BTreeSet<String> = undo.all.iter().cloned().collect();
    let is_same = match told.log.may_cancel {
        true => run.undoable.is_subset(&all),
        false => run.undoable == all,
    };
    if !is_same {
        return Err(format!(
            "to be undone are {:?}; the reference says {all:?}",
            run.undoable
        ));
    }
    for (newer, older) in &undo.order {
        let (Some(begun), true) = (run.undo_begun.get(older), run.undoable.contains(newer)) else {
            continue;
        };
        if run.undo_done.get(newer).is_none_or(|done| done > begun) {
            return Err(format!("{older} is undone before the newer {newer} was"));
        }
    }
    Ok(())
}

/// Compares how the first run ended.
///
/// # Errors
/// The first difference.
pub fn end_with_reference(driver: &Driver<'_>, told: &Told) -> Result<(), String> {
    match told.log.doubt.is_some() || driver.lost_claims {
        true => Ok(()),
        false => ended_as(driver, &driver.runs[0], &told.end, told.log.may_cancel),
    }
}

fn ended_as(driver: &Driver<'_>, run: &Live, told: &Ending, may_cancel: bool) -> Result<(), String> {
    let state = &run.state;
    let (output, error) = state.result();
    let received = error
        .as_ref()
        .and_then(|e| e.details.as_ref()?.get("received").cloned());
    let error = error.map(|e| (e.kind, e.path.unwrap_or_default()));
    let expected = told.error.as_ref().map(|f| (f.kind.clone(), f.path.clone()));
    // A branch that is cancelled in time has not done what cannot be undone.
    let may_have_less =
        may_cancel && told.status == RunStatus::CompensationFailed && state.status() == RunStatus::Failed;
    if state.status() != told.status && !may_have_less || error != expected {
        let (ours, theirs) = (state.status().as_str(), told.status.as_str());
        return Err(format!(
            "it ended {ours} with {error:?}; the reference says {theirs} with {expected:?}"
        ));
    }
    let expected = told.error.as_ref().and_then(|failure| failure.received.clone());
    if expected.is_some() && received != expected {
        return Err(format!("received is told as {received:?}, and was {expected:?}"));
    }
    same_context(&driver.labelled(&state.context()), &told.context)?;
    let output = output.map(|output| driver.labelled(&output));
    if told.status == RunStatus::Completed && output != told.output {
        return Err(format!(
            "the output is {output:?}; the reference gives {:?}",
            told.output
        ));
    }
    Ok(())
}

fn same_context(ours: &Json, theirs: &Json) -> Result<(), String> {
    match ours == theirs {
        true => Ok(()),
        false => Err(format!("the final context is\n{ours}\nthe reference gives\n{theirs}")),
    }
}
