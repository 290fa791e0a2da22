//! Stored base contexts: fetched once over the broker, in chunks, and kept as long as there is room.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::link::Message;
use rejoin_shared::map::HashMap;
use rejoin_shared::wire::{ContextChunk, FetchContext, WorkerId, kind};
use tokio::time::Instant;

use super::Runner;
use crate::attempt::Base;

/// Bytes of contexts kept.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A context that has not come after so long without a chunk is asked for again.
const FETCH_AGAIN: Duration = Duration::from_secs(5);
/// Most parts of one context; beyond it a chunk is not believed.
const PARTS_MAX: u32 = 4096;

type Name = (RunId, u64);

struct Kept {
    base: Arc<Base>,
    used: u64,
}

struct Fetch {
    reply_to: Arc<str>,
    parts: Vec<Option<String>>,
    waiting: Vec<AttemptKey>,
    asked: Instant,
}

/// The contexts kept, and those under way.
#[derive(Default)]
pub(super) struct Contexts {
    kept: HashMap<Name, Kept>,
    bytes: usize,
    clock: u64,
    fetches: HashMap<Name, Fetch>,
}

/// What a chunk brought.
enum Arrived {
    Nothing,
    Whole(Arc<Base>, Vec<AttemptKey>),
    Gone(Vec<AttemptKey>),
}

impl Contexts {
    /// A context that is kept.
    pub fn get(&mut self, run: RunId, seq: u64) -> Option<Arc<Base>> {
        self.clock += 1;
        let kept = self.kept.get_mut(&(run, seq))?;
        kept.used = self.clock;
        Some(kept.base.clone())
    }

    /// `key` waits for a context. Returns whether it has to be asked for: it is not if somebody waits already.
    pub fn want(&mut self, run: RunId, seq: u64, key: AttemptKey, reply_to: &Arc<str>) -> bool {
        if let Some(fetch) = self.fetches.get_mut(&(run, seq)) {
            fetch.waiting.push(key);
            return false;
        }
        let fetch = Fetch {
            reply_to: reply_to.clone(),
            parts: Vec::new(),
            waiting: vec![key],
            asked: Instant::now(),
        };
        self.fetches.insert((run, seq), fetch);
        true
    }

    /// The connection is gone: what was under way will not come.
    pub fn drop_fetches(&mut self) {
        self.fetches.clear();
    }

    /// When a context is to be asked for again.
    pub fn due(&self) -> Option<Instant> {
        self.fetches.values().map(|fetch| fetch.asked + FETCH_AGAIN).min()
    }

    /// Forgets what nobody waits for any more.
    pub fn retain(&mut self, mut is_waiting: impl FnMut(&AttemptKey) -> bool) {
        self.fetches.retain(|_, fetch| {
            fetch.waiting.retain(&mut is_waiting);
            !fetch.waiting.is_empty()
        });
    }

    /// The questions to repeat.
    pub fn take_due(&mut self, worker: &WorkerId, now: Instant) -> Vec<(Arc<str>, Message)> {
        let due = self
            .fetches
            .iter_mut()
            .filter(|(_, fetch)| fetch.asked + FETCH_AGAIN <= now);
        let due = due.map(|((run, seq), fetch)| {
            fetch.asked = now;
            (fetch.reply_to.clone(), question(worker, *run, *seq))
        });
        due.collect()
    }

    fn take_chunk(&mut self, chunk: ContextChunk) -> Arrived {
        let name = (chunk.run, chunk.seq);
        let Some(fetch) = self.fetches.get_mut(&name) else {
            return Arrived::Nothing;
        };
        if chunk.parts == 0 {
            return self
                .fetches
                .remove(&name)
                .map_or(Arrived::Nothing, |fetch| Arrived::Gone(fetch.waiting));
        }
        if !fetch.put(chunk) {
            return Arrived::Nothing;
        }
        let Some(fetch) = self.fetches.remove(&name) else {
            return Arrived::Nothing;
        };
        let text: String = fetch.parts.into_iter().flatten().collect();
        let base = Arc::new(Base::of_text(text.into()));
        self.keep(name, base.clone());
        Arrived::Whole(base, fetch.waiting)
    }

    fn keep(&mut self, name: Name, base: Arc<Base>) {
        self.bytes += base.text().len();
        self.clock += 1;
        let used = self.clock;
        self.kept.insert(name, Kept { base, used });
        while self.bytes > KEPT_BYTES_MAX && self.kept.len() > 1 {
            let oldest = self
                .kept
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(name, _)| *name);
            let Some(dropped) = oldest.and_then(|name| self.kept.remove(&name)) else {
                break;
            };
            self.bytes -= dropped.base.text().len();
        }
    }
}

impl Fetch {
    /// Puts a chunk in its place; returns whether all are there. A repeated question brings the same chunks again.
    fn put(&mut self, chunk: ContextChunk) -> bool {
        if chunk.parts > PARTS_MAX || chunk.part >= chunk.parts {
            return false;
        }
        let parts = chunk.parts as usize;
        if self.parts.len() != parts {
            self.parts = vec![None; parts];
        }
        self.parts[chunk.part as usize] = Some(chunk.text);
        self.asked = Instant::now();
        self.parts.iter().all(Option::is_some)
    }
}

/// Asks for a context.
pub(super) fn question(worker: &WorkerId, run: RunId, seq: u64) -> Message {
    let fetch = FetchContext {
        worker: worker.clone(),
        run,
        seq,
    };
    let body = serde_json::to_vec(&fetch).expect("a question is plain data");
    Message::new(kind::FETCH_CONTEXT, true, body)
}

impl Runner {
    /// Takes a part of a context that was asked for.
    pub(super) fn take_chunk(&mut self, chunk: ContextChunk) {
        match self.contexts.take_chunk(chunk) {
            Arrived::Nothing => {}
            Arrived::Whole(base, waiting) => {
                for key in waiting {
                    self.ledger.supply(key, base.clone());
                }
            }
            Arrived::Gone(waiting) => {
                for key in waiting {
                    let settled = self.ledger.forget(key);
                    self.settle(settled);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::Partition;

    use super::*;

    #[tokio::test]
    async fn the_contexts_least_lately_used_make_room() {
        let run = RunId::from_uuid_in(uuid::Uuid::nil(), Partition(1));
        let mut contexts = Contexts::default();
        let base = || Arc::new(Base::of_text(" ".repeat(KEPT_BYTES_MAX / 2).into()));
        contexts.keep((run, 1), base());
        contexts.keep((run, 2), base());
        assert!(contexts.get(run, 1).is_some());
        contexts.keep((run, 3), base());
        let kept = [1, 2, 3].map(|seq| contexts.get(run, seq).is_some());
        assert_eq!(kept, [true, false, true]);
    }
}
