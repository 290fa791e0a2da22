//! Messages between simulated runs: written with the records that they belong to, so never lost; read once, some later than
//! others, those for one run in their order.

use std::collections::{BTreeMap, VecDeque};

use rejoin_engine::decision::Sent;
use rejoin_engine::event::Event;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;

use crate::dice::Dice;

/// A message for a run.
#[derive(Clone, Debug)]
pub enum Message {
    /// It is called.
    #[allow(missing_docs)]
    Start {
        parent: RunId,
        label: String,
        workflow: String,
        version: Option<u32>,
        input: Json,
        is_awaited: bool,
    },
    /// Something happens to it.
    Tell(Event),
}

/// All messages that were not read.
#[derive(Default)]
pub struct Messages {
    of: BTreeMap<RunId, VecDeque<Message>>,
}

impl Messages {
    /// Puts what a run sent. `started` are the labels of the runs that it calls with this, `all` all runs there are.
    pub fn put(&mut self, from: RunId, sent: &[Sent], started: &BTreeMap<RunId, String>, all: &[RunId]) {
        for sent in sent {
            match sent.clone() {
                Sent::Event { to, event, payload, id } => {
                    let signal = Event::Signal {
                        from: Namespace::default_name(),
                        event,
                        payload,
                        id: Some(id),
                        is_addressed: to.is_some(),
                        sender: Some(from),
                    };
                    let everyone = to.map_or_else(|| all.to_vec(), |to| vec![to]);
                    everyone
                        .into_iter()
                        .for_each(|to| self.push(to, Message::Tell(signal.clone())));
                }
                Sent::Start {
                    child,
                    workflow,
                    version,
                    input,
                    is_awaited,
                } => {
                    let message = Message::Start {
                        parent: from,
                        label: started.get(&child).cloned().unwrap_or_default(),
                        workflow,
                        version,
                        input,
                        is_awaited,
                    };
                    self.push(child, message);
                }
                Sent::Cancel { child, compensate } => {
                    let cancel = Event::Cancel {
                        reason: None,
                        compensate,
                    };
                    self.push(child, Message::Tell(cancel));
                }
                Sent::GoOn { child } => self.push(child, Message::Tell(Event::GoOn { parent: from })),
                Sent::Ended { parent, end, .. } => {
                    self.push(parent, Message::Tell(Event::ChildEnded { child: from, end }));
                }
            }
        }
    }

    /// Adds one.
    pub fn push(&mut self, to: RunId, message: Message) {
        self.of.entry(to).or_default().push_back(message);
    }

    /// Whether all were read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The next one for some run.
    pub fn take(&mut self, dice: &mut Dice) -> Option<(RunId, Message)> {
        let runs: Vec<RunId> = self.of.keys().copied().collect();
        if runs.is_empty() {
            return None;
        }
        let run = *dice.pick(&runs);
        let queue = self.of.get_mut(&run)?;
        let message = queue.pop_front();
        if queue.is_empty() {
            self.of.remove(&run);
        }
        Some((run, message?))
    }
}
