//! Rounds of a repeat. Between two rounds the thread stands at the repeat itself, with what the next one must know.

use std::sync::Arc;

use rejoin_shared::definition::model::NodeKind;

use super::Misfit;
use crate::record::ThreadKey;
use crate::state::thread::{Entered, Frame, FrameKind, Rounds};
use crate::state::{Leaf, RunState, Todo};

impl RunState {
    /// Enters the body, for the first or the next time.
    pub(super) fn begin_round(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        let thread = self.ready(key)?;
        let Leaf::Ready(entered) = std::mem::replace(&mut thread.leaf, Leaf::Done) else {
            return Err("not at a node".to_owned());
        };
        let node = self.node_at(self.thread(key).expect("checked")).ok_or("no node")?;
        let NodeKind::Repeat(repeat) = &self.def.node(node).kind else {
            return Err("not at a repeat".to_owned());
        };
        let flow = repeat.flow;
        let rounds = entered.rounds.map(|rounds| *rounds).unwrap_or_default();
        let mut body = Frame {
            flow,
            at: 0,
            path: Arc::from(entered.path),
            visits: rounds.visits,
            kind: FrameKind::Round(rounds.begun + 1),
        };
        body.forget_counts();
        self.live(key)?.frames.push(body);
        self.enter(key);
        Ok(())
    }

    /// At the end of a round: back at the repeat, which decides whether another follows.
    pub(super) fn end_round(&mut self, key: ThreadKey, body: Frame) {
        let FrameKind::Round(begun) = body.kind else { return };
        let thread = self.thread_mut(key).expect("checked by the caller");
        thread.leaf = Leaf::Ready(Entered {
            path: body.path.to_string(),
            problem: None,
            carried: None,
            rounds: Some(Box::new(Rounds {
                begun,
                visits: body.visits,
            })),
        });
        self.push_todo(Todo::Walk(key));
    }

    pub(super) fn end_repeat(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        self.ready(key)?;
        self.go_on(key);
        Ok(())
    }
}
