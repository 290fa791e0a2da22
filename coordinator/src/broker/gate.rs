//! Which messages of event queues and of the reports exchange are taken in: those of users who may send such.
//!
//! The broker checks that a message names the user who published it, or none. So a user who may publish to an exchange of ours, or
//! to any queue, but who is no worker, can neither complete a step nor report as a worker. And a completion shows the token of its
//! dispatch, where there are keys for these: a worker completes only what it, or the queue it reads, was given.

use std::collections::HashSet;

use rejoin_shared::ids::{RunId, StepKey};
use rejoin_shared::link::Message;
use rejoin_shared::wire::{Checkpoint, Completion, Completions, kind};

use super::decode::to_bytes;
use super::tokens::Tokens;

/// Whose messages are taken in.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    senders: Option<Senders>,
    tokens: Option<Tokens>,
}

#[derive(Clone, Debug)]
struct Senders {
    workers: HashSet<String>,
    coordinators: HashSet<String>,
}

impl Gate {
    /// Everybody's.
    #[must_use]
    pub fn open() -> Gate {
        Gate::default()
    }

    /// Only those of these users of the broker; without workers everybody's.
    #[must_use]
    pub fn of_users(workers: Vec<String>, coordinators: Vec<String>) -> Gate {
        let senders = (!workers.is_empty()).then(|| Senders {
            workers: workers.into_iter().collect(),
            coordinators: coordinators.into_iter().collect(),
        });
        Gate { senders, tokens: None }
    }

    /// Of completions only those that show a token.
    #[must_use]
    pub fn with_tokens(self, tokens: Option<Tokens>) -> Gate {
        Gate { tokens, ..self }
    }

    /// The keys of tokens; none where completions need none.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// Whether a completion is of an attempt that was dispatched, as far as can be told.
    #[must_use]
    pub fn believes(&self, completion: &Completion) -> bool {
        let of = completion;
        self.admits_attempt(of.run, of.step, of.attempt, of.token.as_deref())
    }

    /// Whether a checkpoint is.
    #[must_use]
    pub fn believes_checkpoint(&self, checkpoint: &Checkpoint) -> bool {
        let of = checkpoint.attempt;
        self.admits_attempt(of.run, of.step, of.attempt, checkpoint.token.as_deref())
    }

    fn admits_attempt(&self, run: RunId, step: StepKey, attempt: u32, token: Option<&str>) -> bool {
        let tokens = self.tokens.as_ref();
        tokens.is_none_or(|tokens| tokens.admits(run, step, attempt, token))
    }

    /// Takes the completions apart that are not believed: what is left of the message, and a message of those. `None`: none.
    #[must_use]
    pub fn sift(&self, message: &Message, body: Completions) -> (Option<Message>, Option<Message>) {
        let worker = body.worker;
        let (believed, strange): (Vec<Completion>, Vec<Completion>) =
            body.items.into_iter().partition(|item| self.believes(item));
        let part = |items: Vec<Completion>| {
            let worker = worker.clone();
            (!items.is_empty()).then(|| Message {
                body: to_bytes(&Completions { worker, items }).into(),
                ..message.clone()
            })
        };
        (part(believed), part(strange))
    }

    /// Whether its sender may send such a message. Coordinators pass on what came from workers.
    #[must_use]
    pub fn admits(&self, message: &Message) -> bool {
        let Some(senders) = &self.senders else { return true };
        let Some(user) = &message.user else { return false };
        let is_coordinators_own = matches!(message.kind.as_str(), kind::FENCE | kind::NUDGE);
        senders.coordinators.contains(user) || (!is_coordinators_own && senders.workers.contains(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_workers_and_coordinators_send_events_and_only_coordinators_fences() {
        let gate = Gate::of_users(vec!["worker".to_owned()], vec!["coordinator".to_owned()]);
        let admits = |kind: &str, user: Option<&str>| {
            let mut message = Message::new(kind, true, Vec::new());
            message.user = user.map(str::to_owned);
            gate.admits(&message)
        };
        for (kind, user, expected) in [
            (kind::COMPLETIONS, Some("worker"), true),
            (kind::COMPLETIONS, Some("coordinator"), true),
            (kind::COMPLETIONS, Some("other"), false),
            (kind::COMPLETIONS, None, false),
            (kind::REPORT, Some("worker"), true),
            (kind::REPORT, Some("other"), false),
            (kind::FENCE, Some("worker"), false),
            (kind::FENCE, Some("coordinator"), true),
            (kind::NUDGE, Some("worker"), false),
        ] {
            assert_eq!(admits(kind, user), expected, "{kind} of {user:?}");
        }
        assert!(Gate::open().admits(&Message::new(kind::FENCE, true, Vec::new())));
    }
}
