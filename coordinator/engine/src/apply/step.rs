//! Ends of attempts.

use rejoin_shared::definition::model::{Into, NodeKind};
use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::Misfit;
use crate::record::{CheckpointStored, StepCompleted, StepFailed, ThreadKey};
use crate::state::undo::is_undo;
use crate::state::{Leaf, RunState, ThreadEnd};

pub(crate) fn key_of(thread: ThreadKey, pos: u32) -> StepKey {
    StepKey {
        scope: thread.scope,
        branch: thread.branch,
        pos,
    }
}

impl RunState {
    /// Begins the branch of a step that nobody took yet: its records came from a message of an earlier owner.
    pub(crate) fn materialize(&mut self, step: StepKey) {
        let key = ThreadKey::of(step);
        let begins = self
            .scopes
            .get(&key.scope)
            .is_some_and(|scope| key.branch < scope.total && !scope.is_begun(key.branch));
        if begins && self.is_scope_live(key.scope) && self.starts_plain(key) && self.may_have_begun(key) {
            self.begin_branch(key);
        }
    }

    /// Begins the branch that a record is about, if it was begun without a record of its own.
    pub(crate) fn materialize_thread(&mut self, key: ThreadKey) {
        let begins = self
            .scopes
            .get(&key.scope)
            .is_some_and(|scope| key.branch < scope.total && !scope.is_begun(key.branch));
        if begins && self.is_scope_live(key.scope) && self.may_have_begun(key) {
            self.begin_branch(key);
        }
    }

    pub(super) fn outstanding_step(&mut self, step: StepKey, attempt: u32) -> Result<ThreadKey, Misfit> {
        self.materialize(step);
        match self.is_outstanding(step, attempt) {
            true => Ok(ThreadKey::of(step)),
            false => Err(format!("attempt {attempt} of step {step} is not outstanding")),
        }
    }

    pub(super) fn complete_step(&mut self, done: &StepCompleted) -> Result<(), Misfit> {
        if is_undo(done.step) {
            return self.undone(done.step, done.attempt);
        }
        let key = self.outstanding_step(done.step, done.attempt)?;
        self.settle_tally(key);
        self.tally.done += 1;
        if let Some(choice) = &done.choice {
            return self.follow(key, choice);
        }
        let node = self.node_at(self.thread(key).expect("outstanding")).ok_or("no node")?;
        let def = self.def.clone();
        let NodeKind::Step(step) = &def.node(node).kind else {
            return Err("not at a step".to_owned());
        };
        let thread = self.thread_mut(key).expect("outstanding");
        let grown = write_output(
            &mut thread.ctx,
            &done.set,
            &done.unset,
            &done.output,
            &step.into,
            &def.node(node).name,
        );
        if grown {
            let added = done.output.text_len()
                + done
                    .set
                    .iter()
                    .map(|(p, v)| v.text_len() + 8 + p.keys().len() * 70)
                    .sum::<usize>();
            thread.ctx_bytes_max = thread.ctx_bytes_max.saturating_add(added + 80);
        }
        thread.output = done.output.clone();
        self.note_done(key, Some(done.step), &done.path, &done.output);
        self.go_on(key);
        Ok(())
    }

    /// An attempt is no longer outstanding.
    pub(crate) fn settle_tally(&mut self, key: ThreadKey) {
        let step = self.thread(key).and_then(|t| t.step());
        match step.map(|step| (step.is_parked, step.not_before.is_some())) {
            Some((true, _)) => self.tally.parked -= 1,
            Some((false, true)) => self.tally.backing_off -= 1,
            Some((false, false)) | None => self.tally.outstanding -= 1,
        }
    }

    pub(super) fn store_checkpoint(&mut self, stored: &CheckpointStored) -> Result<(), Misfit> {
        let (step, value) = (stored.step, || Some(Box::new(stored.value.clone())));
        if is_undo(step) {
            let begun = self.undo.as_mut().and_then(|undo| undo.begun.get_mut(&step));
            begun.ok_or("no such compensation")?.checkpoint = value();
            return Ok(());
        }
        let key = self.outstanding_step(step, stored.attempt)?;
        let Leaf::Step(step) = &mut self.thread_mut(key).expect("outstanding").leaf else {
            return Err("not at a step".to_owned());
        };
        step.checkpoint = value();
        Ok(())
    }

    pub(super) fn fail_step(&mut self, failed: &StepFailed) -> Result<(), Misfit> {
        if is_undo(failed.step) {
            return self.undo_failed(failed);
        }
        let key = self.outstanding_step(failed.step, failed.attempt)?;
        self.settle_tally(key);
        let Leaf::Step(step) = &mut self.thread_mut(key).expect("outstanding").leaf else {
            return Err("not at a step".to_owned());
        };
        step.last_error = Some(failed.error.clone());
        step.claim = None;
        step.first_started = step.first_started.or(failed.started_at);
        if let Some(checkpoint) = &failed.checkpoint {
            step.checkpoint = Some(Box::new(checkpoint.clone()));
        }
        match failed.retry {
            None if failed.is_parked => {
                step.is_parked = true;
                self.tally.parked += 1;
                self.agenda.parked.insert(key);
            }
            Some(retry) => {
                count(&mut step.allowed, retry.policy);
                step.attempt += 1;
                step.not_before = Some(retry.at);
                self.tally.backing_off += 1;
                self.push_ready(key);
            }
            None => {
                step.has_failed = true;
                self.tally.failed += 1;
                self.stop_thread(key, ThreadEnd::Failed(failed.error.clone()));
            }
        }
        Ok(())
    }
}

/// Counts one more retry that policy `index` allowed.
pub(crate) fn count(allowed: &mut Vec<u32>, index: usize) {
    if allowed.len() <= index {
        allowed.resize(index + 1, 0);
    }
    allowed[index] += 1;
}

/// Puts what a step returned into the context (SPEC 3): removals, writes, then the output. Whether anything was written.
pub(crate) fn write_output(
    ctx: &mut Json,
    set: &[(KeyPath, Json)],
    unset: &[KeyPath],
    output: &Json,
    into: &Into,
    name: &str,
) -> bool {
    unset.iter().for_each(|path| path.remove(ctx));
    set.iter().for_each(|(path, value)| path.write(ctx, value.clone()));
    let wrote_output = match (into, output) {
        (Into::Drop, _) | (Into::Merge, Json::Null) => false,
        (Into::At(path), value) => {
            path.write(ctx, value.clone());
            true
        }
        (Into::Merge, Json::Object(new)) => {
            ctx.object_mut()
                .extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
            !new.is_empty()
        }
        (Into::Merge, value) => {
            ctx.object_mut().insert(name.into(), value.clone());
            true
        }
    };
    wrote_output || !set.is_empty()
}
