//! What the owner does while a batch is on its way into the database: nothing that anybody else could act upon.
//!
//! ```text
//!  append of batch k ───────────────────────────────────▶ durable ─▶ packs leave, effects of k ─▶ append of batch k + 1
//!    └─▶ packs of what k made ready ─▶ completions that come meanwhile are judged into batch k + 1 ─┘
//! ```
//! Packs are made before anything more is judged, so they hold nothing that k does not make durable; they are held until it is.
//! Should the append fail, both are undone: the packs go back into their lines, and what was judged is judged anew by runs that
//! are loaded again.
//!
//! Only what a fan-out consists of is judged ahead: completions, and branches that begin. Whatever else is there, and whatever is
//! due by time, waits for the append as it always did. Who asks what a run waits for may be told of what is not durable yet.

use std::cmp::Reverse;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use rejoin_engine::event::Event;
use rejoin_shared::ids::RunId;
use rejoin_shared::run::RunStatus;

use super::Owner;
use super::batch::{Draft, Drafts};
use super::inbound::{Item, Origin, What};
use super::judge::is_full;
use crate::broker::publisher::{Fate, Purpose};
use crate::dispatcher::{Pumped, Runs};

/// Items judged between two looks at the append.
const SLICE: usize = 64;

/// What was done ahead of an append.
#[derive(Default)]
pub(super) struct Ahead {
    /// The next batch, as far as it was judged.
    pub drafts: Drafts,
    /// Packs of what the batch under way makes ready.
    held: Pumped,
    /// How long after its batch was durable the last of them had left.
    pub took: Duration,
}

impl Owner {
    /// Waits for an append, and works meanwhile. `drafts` are what it appends.
    pub(super) async fn work_ahead_of<T>(&mut self, drafts: &mut [Draft], append: impl Future<Output = T>) -> T {
        let mut append = pin!(append);
        if let Poll::Ready(appended) = poll!(append.as_mut()) {
            return appended;
        }
        // The statement leaves first.
        tokio::task::yield_now().await;
        self.pump_ahead(drafts);
        loop {
            if let Poll::Ready(appended) = poll!(append.as_mut()) {
                return appended;
            }
            self.take_in();
            if self.judge_ahead() {
                tokio::task::yield_now().await;
                continue;
            }
            if !self.may_judge_ahead() || !self.backlog.is_empty() {
                return append.await;
            }
            tokio::select! {
                biased;
                appended = append.as_mut() => return appended,
                () = self.wait_for_input() => {}
            }
        }
    }

    /// Packs what the batch under way makes ready.
    fn pump_ahead(&mut self, drafts: &mut [Draft]) {
        for draft in drafts {
            let Some(run) = self.runs.get_mut(&draft.run) else {
                continue;
            };
            draft.dispatched_before = Some(run.counts.dispatched);
            let status = run.state.status();
            if !status.is_terminal() && status != RunStatus::Paused {
                self.dispatcher.enlist(run);
            }
        }
        self.ahead.held = self.pumped();
    }

    /// Judges a slice of what is there; `false`: there is nothing that may be judged now.
    fn judge_ahead(&mut self) -> bool {
        if !self.may_judge_ahead() || is_full(&self.ahead.drafts) {
            return false;
        }
        let mut drafts = std::mem::take(&mut self.ahead.drafts);
        let mut count = 0;
        while count < SLICE {
            if !self.backlog.front().is_some_and(|item| may_be_ahead(&self.runs, item)) {
                break;
            }
            let Some(item) = self.backlog.pop_front() else { break };
            self.judge_known(&mut drafts, item);
            count += 1;
        }
        self.ahead.drafts = drafts;
        count > 0
    }

    /// What is due by time, or needs all that was decided to be durable, comes first.
    fn may_judge_ahead(&self) -> bool {
        let now = self.parts.clock.now();
        let timer_is_due = self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now);
        now < self.next_tick && !timer_is_due
    }

    /// The batch is durable: what it made ready leaves.
    pub(super) fn let_packs_go(&mut self) {
        let durable_at = self.parts.clock.now();
        let held = std::mem::take(&mut self.ahead.held);
        for pack in &held.outgoing {
            if let Purpose::Pack(number) = pack.purpose {
                self.dispatcher.leaves(number, durable_at);
            }
        }
        self.let_go(held);
        self.ahead.took = self.parts.clock.now().since(durable_at);
    }

    /// The batch is not durable, or not all of it: what was built upon it is undone.
    pub(super) fn undo_ahead(&mut self) {
        for pack in std::mem::take(&mut self.ahead.held).outgoing {
            if let Purpose::Pack(number) = pack.purpose {
                let (dispatcher, runs, around) = self.dispatching();
                dispatcher.published(number, Fate::Withheld, runs, &around);
            }
        }
        for draft in std::mem::take(&mut self.ahead.drafts).into_vec() {
            self.forget(draft.run);
            let items = draft.items.into_iter().map(|(item, _)| item);
            // What is the owner's own is made anew with the run.
            let items = items.filter(|item| !matches!(item.origin, Origin::Own)).collect();
            self.load_or_pass_on(draft.run, items);
        }
    }

    /// Judges items by a run that is read anew, or has whoever owns it now judge them.
    fn load_or_pass_on(&mut self, run: RunId, items: Vec<Item>) {
        match self.claims.contains_key(&run.partition()) {
            true => self.load(run, items),
            false => items.into_iter().for_each(|item| self.pass_on(item)),
        }
    }
}

/// Whether judging an item asks for nothing but its run, which is in memory.
fn may_be_ahead(runs: &Runs, item: &Item) -> bool {
    let What::Event(Event::Completed(_) | Event::Begin { .. }) = &item.what else {
        return false;
    };
    let run = runs.get(&item.run);
    run.is_some_and(|run| !run.state.status().is_terminal())
}
