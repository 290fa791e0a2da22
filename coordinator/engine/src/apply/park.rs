//! Parked and failed steps, and what operators do about them (SPEC 5.5).

use rejoin_shared::definition::model::NodeKind;
use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use super::Misfit;
use crate::record::ThreadKey;
use crate::state::{Leaf, RunState, Thread, ThreadEnd};

impl RunState {
    /// A parked or failed step is tried again. One that is outstanding only gets its input, and so does one that a `finally` is
    /// run for first: it goes on behind that.
    pub(super) fn retry_step(&mut self, step: StepKey, input: Option<Json>) -> Result<(), Misfit> {
        let key = ThreadKey::of(step);
        self.materialize_thread(key);
        let has_failed = self
            .thread(key)
            .and_then(Thread::step)
            .is_some_and(|state| state.has_failed);
        if has_failed && self.reopened_from(key).is_some() {
            self.reopen(key)?;
        }
        let Some(Leaf::Step(state)) = self.thread_mut(key).map(|thread| &mut thread.leaf) else {
            return Err("not at a step".to_owned());
        };
        state.input = input.or(state.input.take());
        if !state.is_parked {
            return Ok(());
        }
        state.is_parked = false;
        state.attempt += 1;
        (state.allowed, state.first_started, state.not_before) = (Vec::new(), None, None);
        self.agenda.parked.remove(&key);
        self.tally.parked -= 1;
        self.tally.outstanding += 1;
        self.push_ready(key);
        Ok(())
    }

    pub(super) fn skip_step(&mut self, step: StepKey, output: &Json) -> Result<(), Misfit> {
        let key = self.take_over(step)?;
        let def = self.def.clone();
        let node = def.node(self.node_of(key).ok_or("no node")?);
        let NodeKind::Step(step) = &node.kind else {
            return Err("not at a step".to_owned());
        };
        self.write_value(key, output, &step.into, &node.name)?;
        self.go_on(key);
        Ok(())
    }

    pub(super) fn give_step_up(&mut self, step: StepKey, error: &ErrorValue) -> Result<(), Misfit> {
        let key = self.take_over(step)?;
        if let Some(Leaf::Step(state)) = self.thread_mut(key).map(|thread| &mut thread.leaf) {
            (state.has_failed, state.last_error) = (true, Some(error.clone()));
        }
        self.tally.failed += 1;
        self.stop_thread(key, ThreadEnd::Failed(error.clone()));
        Ok(())
    }

    /// Takes a parked or failed step out of the engine's hands: what becomes of it is the operator's word.
    fn take_over(&mut self, step: StepKey) -> Result<ThreadKey, Misfit> {
        let key = ThreadKey::of(step);
        if self
            .thread(key)
            .and_then(Thread::step)
            .is_some_and(|state| state.has_failed)
        {
            self.reopen(key)?;
        }
        if !matches!(self.live(key)?.leaf, Leaf::Step(_)) {
            return Err("not at a step".to_owned());
        }
        self.settle_tally(key);
        let Leaf::Step(state) = &mut self.live(key)?.leaf else {
            return Err("not at a step".to_owned());
        };
        state.is_parked = false;
        self.agenda.parked.remove(&key);
        Ok(key)
    }
}
