//! Events and answers from outside.

use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;

use crate::decision::Ignored;
use crate::machine::Machine;
use crate::record::{EventReceived, Fact, ThreadKey};
use crate::state::{Leaf, Phase};

/// Events that a run keeps for waits to come.
const KEPT_MAX: usize = 1_000;

impl Machine<'_> {
    /// Gives an event to every open wait that names and matches it; one that is for this run is kept if there is none.
    pub(super) fn signal(
        &mut self,
        event: String,
        payload: Json,
        id: Option<String>,
        is_addressed: bool,
        sender: Option<RunId>,
    ) -> Result<(), Ignored> {
        if matches!(self.state.phase, Phase::Ended { .. }) {
            let text = format!("a run that is {} takes no events", self.state.status().as_str());
            return Err(Ignored::NotAllowed(text));
        }
        if id.as_ref().is_some_and(|id| self.state.event_ids.contains(id)) {
            return Err(Ignored::AlreadySo);
        }
        let waiting = self.state.agenda.waiting.iter().copied();
        let to: Vec<ThreadKey> = waiting.filter(|key| self.takes(*key, &event, &payload)).collect();
        if to.is_empty() && !is_addressed {
            return Err(Ignored::NothingDue);
        }
        if to.is_empty() && self.state.kept.len() >= KEPT_MAX {
            if let Some(sender) = sender {
                self.emit(Fact::EventRefused { event, id, sender });
            }
            return Err(Ignored::Full);
        }
        self.emit(Fact::EventReceived(EventReceived {
            event,
            payload,
            id,
            to: to.clone(),
        }));
        to.into_iter().for_each(|key| self.settle_wait(key));
        Ok(())
    }

    /// Answers the input that waits at `path`.
    pub(super) fn answer(&mut self, path: String, value: Json) -> Result<(), Ignored> {
        let waits_there = |key: &ThreadKey| {
            let leaf = self.state.thread(*key).map(|thread| &thread.leaf);
            let is_here =
                matches!(leaf, Some(Leaf::Wait(wait)) if wait.path == path && wait.awaited.events().is_empty());
            is_here && self.state.is_live(*key)
        };
        let found = self.state.agenda.waiting.iter().copied().find(waits_there);
        let Some(thread) = found.filter(|_| !matches!(self.state.phase, Phase::Ended { .. })) else {
            return Err(Ignored::NotAllowed(format!("no input waits at {path} any more")));
        };
        match self.check_wait_output(thread, &value, &path) {
            Err(error) => Err(Ignored::NotAllowed(error.message)),
            Ok(()) => {
                self.emit(Fact::InputAnswered {
                    thread,
                    value,
                    path,
                    snapshot: None,
                });
                Ok(())
            }
        }
    }
}
