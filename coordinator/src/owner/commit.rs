//! Makes a batch durable, and says what happens if that fails (DESIGN 3).

use std::time::Duration;

use bytes::Bytes;
use rejoin_engine::event::Event;
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::link::Settle;
use rejoin_shared::run::{Counts, ErrorValue, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use super::Owner;
use super::batch::{Draft, Drafts, batch_of, give_rows_back};
use super::command::CommandError;
use super::inbound::{Answer, Item, Origin, What};
use super::judge::settle;
use crate::metrics::as_f64;
use crate::store::{Batch, Claim, NewestVersion, RunChange, RunEnd, StoreError};

/// First pause while the database is away; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// So long without a database, and the consumers close.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Why a batch was not appended.
#[derive(Debug)]
enum Failure {
    /// A partition has another owner; nothing was written.
    NotOwner(Option<Partition>),
    /// It may have been written or not.
    Unknown,
    /// The lease ran out: nothing may be written any more.
    LeaseOver,
    /// These data are refused, now and later.
    Refused(String),
    /// Runs were to begin with this version as the newest, which it is not any more.
    Superseded(NewestVersion),
}

/// An item that is judged anew: a start may have been committed.
pub(super) fn again(mut item: Item) -> Item {
    if let What::Start(prepared) = &mut item.what {
        prepared.start.may_exist = true;
    }
    item
}

impl Owner {
    /// Appends the drafts and acts on them; what was done ahead of that is undone unless all of it succeeds.
    pub(super) async fn commit(&mut self, drafts: Drafts) {
        let is_whole = drafts.is_whole();
        let mut drafts = drafts.into_vec();
        match self.append(&mut drafts, true).await {
            Ok(at) => {
                self.let_packs_go();
                drafts.into_iter().for_each(|draft| self.act(draft, at));
            }
            Err(failure) => {
                self.commit_in_parts(drafts, is_whole, failure).await;
                self.undo_ahead();
            }
        }
    }

    /// What was not appended as one: it is halved where the database refuses, unless it is to stay one.
    async fn commit_in_parts(&mut self, mut drafts: Vec<Draft>, is_whole: bool, failure: Failure) {
        // The packs that were made meanwhile do not leave with it.
        drafts.iter_mut().for_each(|draft| draft.dispatched_before = None);
        let mut parts = vec![drafts];
        let mut failed = Some(failure);
        while let Some(mut part) = parts.pop() {
            let appended = match failed.take() {
                Some(failure) => Err(failure),
                None => self.append(&mut part, false).await,
            };
            match appended {
                Ok(at) => part.into_iter().for_each(|draft| self.act(draft, at)),
                Err(Failure::Refused(reason)) if is_whole || part.len() <= 1 => {
                    part.into_iter().for_each(|draft| self.refuse(draft, &reason));
                }
                Err(Failure::Superseded(version)) => {
                    let (outdated, rest): (Vec<Draft>, _) = part
                        .into_iter()
                        .partition(|draft: &Draft| is_whole || draft.expected.as_ref() == Some(&version));
                    outdated.into_iter().for_each(|draft| self.turn_back(draft));
                    parts.push(rest);
                }
                Err(Failure::Refused(_)) => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(failure @ Failure::NotOwner(Some(partition))) if !is_whole => {
                    let (lost, rest) = part
                        .into_iter()
                        .partition(|draft: &Draft| draft.run.partition() == partition);
                    self.recover(lost, failure).await;
                    parts.push(rest);
                }
                Err(failure) => {
                    part.extend(parts.into_iter().rev().flatten());
                    return self.recover(part, failure).await;
                }
            }
        }
    }

    /// One append of what the drafts write, if they write anything. Where its outcome is unknown, it is found out: what was
    /// written stands, and is judged only once; what was not is appended again.
    ///
    /// `works_ahead`: meanwhile the next batch is begun.
    async fn append(&mut self, drafts: &mut [Draft], mut works_ahead: bool) -> Result<Option<Timestamp>, Failure> {
        if !drafts.iter().any(Draft::writes) {
            return Ok(None);
        }
        loop {
            let batch = batch_of(drafts, |partition| self.claims.get(&partition).copied());
            let mut batch = batch.map_err(|partition| Failure::NotOwner(Some(partition)))?;
            let ahead_of = std::mem::take(&mut works_ahead).then_some(&mut *drafts);
            let appended = self.append_batch(&batch, ahead_of).await;
            give_rows_back(drafts, &mut batch);
            match appended {
                Err(Failure::Unknown) => {
                    self.reclaim().await;
                    if let Some(at) = self.written_at(drafts).await? {
                        return Ok(Some(at));
                    }
                }
                known => return known.map(Some),
            }
        }
    }

    /// When these drafts were written, by the first record among them; none, if they were not, or hold no record: then it does
    /// not matter how often they are. Asked under new epochs, so that nothing can be written any more that was sent before.
    async fn written_at(&self, drafts: &[Draft]) -> Result<Option<Timestamp>, Failure> {
        let is_held = |draft: &&Draft| self.claims.contains_key(&draft.run.partition());
        let first = drafts.iter().filter(is_held).find_map(|draft| draft.rows.first());
        let Some(first) = first else { return Ok(None) };
        loop {
            if !self.parts.lease.is_valid() {
                return Err(Failure::LeaseOver);
            }
            match self.parts.store.journal(first.run, first.seq - 1, 1).await {
                Ok(found) => return Ok(found.first().map(|stored| stored.at)),
                // It is there, and only what it says cannot be read.
                Err(StoreError::Sealed(_) | StoreError::Newer(_)) => return Ok(Some(self.parts.clock.now())),
                Err(error @ (StoreError::Away(_) | StoreError::Unknown(_))) => {
                    tracing::warn!(%error, "whether a batch was written cannot be told yet");
                }
                Err(
                    StoreError::NotOwner(_)
                    | StoreError::Schema(_)
                    | StoreError::Refused(_)
                    | StoreError::Superseded(_),
                ) => {
                    return Err(Failure::Unknown);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Repeats an append while the database is away and nothing was written; works ahead of the first one, if it is to.
    async fn append_batch(&mut self, batch: &Batch, mut ahead_of: Option<&mut [Draft]>) -> Result<Timestamp, Failure> {
        let store = self.parts.store.clone();
        let began_at = self.parts.clock.now();
        let mut pause = PAUSE;
        loop {
            self.parts.lease.mark_move();
            if !self.parts.lease.is_valid() {
                return Err(Failure::LeaseOver);
            }
            let appended = match ahead_of.take() {
                Some(drafts) => self.work_ahead_of(drafts, store.append(batch)).await,
                None => store.append(batch).await,
            };
            match appended {
                Ok(at) => {
                    for claim in &batch.claims {
                        self.claims.entry(claim.partition).and_modify(|own| own.batch += 1);
                    }
                    let took = self.parts.clock.now().since(began_at);
                    self.parts.metrics.journal_append_seconds.observe(took.as_secs_f64());
                    self.parts.metrics.journal_batch_size.observe(as_f64(batch.rows.len()));
                    return Ok(at);
                }
                Err(StoreError::NotOwner(partition)) => return Err(Failure::NotOwner(partition)),
                Err(StoreError::Unknown(reason)) => {
                    tracing::warn!(reason, "outcome of an append is unknown");
                    return Err(Failure::Unknown);
                }
                Err(StoreError::Refused(reason)) => return Err(Failure::Refused(reason)),
                Err(StoreError::Superseded(place)) => {
                    let version = batch.newest.get(place).cloned();
                    return Err(version.map_or_else(
                        || Failure::Refused(format!("it names version {place} of those that it expects")),
                        Failure::Superseded,
                    ));
                }
                Err(
                    error
                    @ (StoreError::Away(_) | StoreError::Schema(_) | StoreError::Sealed(_) | StoreError::Newer(_)),
                ) => {
                    tracing::warn!(%error, "append waits");
                    if self.parts.clock.now().since(began_at) > AWAY_MAX {
                        self.consumers.close_all();
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Drops what was decided since the last confirmed batch, loads those runs again, and judges their events anew.
    async fn recover(&mut self, drafts: Vec<Draft>, failure: Failure) {
        tracing::warn!(
            ?failure,
            runs = drafts.len(),
            "a batch is dropped and its runs are loaded again"
        );
        let mut again_for: Vec<(RunId, Vec<Item>)> = Vec::new();
        for draft in drafts {
            self.forget(draft.run);
            let items = draft.items.into_iter().map(|(item, _)| item);
            let items: Vec<Item> = items
                .filter(|item| !matches!(item.origin, Origin::Own))
                .map(again)
                .collect();
            for item in &items {
                if let What::Starts(starts) = &item.what {
                    self.rest.hold_for(starts);
                }
            }
            again_for.push((draft.run, items));
        }
        match failure {
            Failure::NotOwner(Some(partition)) => self.lose(partition),
            Failure::NotOwner(None) | Failure::Unknown => self.reclaim().await,
            Failure::LeaseOver => self.lose_all(),
            Failure::Refused(_) | Failure::Superseded(_) => {}
        }
        for (run, items) in again_for {
            match self.claims.contains_key(&run.partition()) {
                true => self.load(run, items),
                false => items.into_iter().for_each(|item| self.turn_away(item)),
            }
        }
    }

    /// Takes the own partitions under new epochs: that waits for the orphaned statement, which can then commit no more.
    async fn reclaim(&mut self) {
        let own: Vec<Partition> = self.claims.keys().copied().collect();
        let claims = loop {
            self.parts.lease.mark_move();
            if !self.parts.lease.is_valid() {
                return self.lose_all();
            }
            match self.parts.store.claim(&self.parts.member, &own, None).await {
                Ok(claims) => break claims,
                Err(error) => tracing::warn!(%error, "partitions could not be taken again yet"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        for partition in own {
            let follows = |claim: &&Claim| {
                let before = self.claims.get(&partition);
                claim.partition == partition && before.is_some_and(|old| claim.epoch.count == old.epoch.count + 1)
            };
            // With another epoch in between it may have been somebody else's, and its runs are not what they are here.
            match claims.iter().find(follows).copied() {
                Some(claim) => drop(self.claims.insert(partition, claim)),
                None => self.lose(partition),
            }
        }
        // A load that began before may not have seen what the orphaned statement wrote.
        let loading: Vec<RunId> = self.loading.keys().copied().collect();
        for run in loading {
            let parked = self
                .loading
                .remove(&run)
                .map(|loading| loading.parked)
                .unwrap_or_default();
            self.load(run, parked);
        }
    }

    /// The run did not begin: with which version it can is not known here.
    fn turn_back(&mut self, mut draft: Draft) {
        for (_, answer) in &mut draft.items {
            *answer = Answer::Command(Err(CommandError::Superseded));
        }
        self.void(draft);
    }

    /// Nothing of a draft was written: only its answers leave.
    fn void(&mut self, mut draft: Draft) {
        draft.effects.clear();
        draft.verdicts.clear();
        self.forget(draft.run);
        self.act(draft, None);
    }

    /// The database refuses what this one run writes: it is quarantined, its events go to the dead letters.
    fn refuse(&mut self, mut draft: Draft, reason: &str) {
        let id = draft.run;
        tracing::error!(run = %id, reason, "the database refuses a run's data; it is quarantined");
        let is_new = draft.created.is_some();
        let is_final = draft.rows.is_empty();
        if is_new {
            self.refuse_asked(&mut draft, reason);
        }
        for (item, answer) in &mut draft.items {
            *answer = match item.origin {
                Origin::Delivery(_) => Answer::Settled(Settle::DeadLetter),
                Origin::Caller(_) | Origin::Inbox { .. } | Origin::Own => Answer::Command(Err(CommandError::Refused {
                    message: reason.to_owned(),
                })),
            };
        }
        self.void(draft);
        if is_new || is_final {
            return;
        }
        if !self.quarantined.insert(id) {
            return self.broken.push((id, reason.to_owned(), Vec::new()));
        }
        let quarantine = Item {
            run: id,
            what: What::Event(Event::Quarantine {
                message: reason.to_owned(),
            }),
            origin: Origin::Own,
        };
        self.load(id, vec![quarantine]);
    }

    /// Starts that another coordinator asked for are answered by an append of their own: without one their rows would be read
    /// and refused again for ever.
    fn refuse_asked(&mut self, draft: &mut Draft, reason: &str) {
        let asks = |(item, _): &mut (Item, Answer)| {
            matches!(
                item.origin,
                Origin::Inbox {
                    wants_verdict: true,
                    ..
                }
            )
        };
        for (item, _) in draft.items.extract_if(.., asks) {
            let message = reason.to_owned();
            self.refused
                .push((item.run, item.origin, CommandError::Refused { message }));
        }
    }

    /// A run that cannot even be folded: only its row says that it failed, so that a later version may still resume it.
    pub(super) fn give_up(&mut self, drafts: &mut Drafts, id: RunId, reason: &str) {
        tracing::error!(run = %id, reason, "the run cannot be handled and is given up");
        self.forget(id);
        let error = ErrorValue {
            kind: "rejoin.internal".to_owned(),
            message: reason.to_owned(),
            ..ErrorValue::default()
        };
        drafts.of(id).change = Some(RunChange {
            run: id,
            status: RunStatus::Failed,
            progress: Progress::default(),
            counts: Counts::default(),
            wake_at: None,
            ended: Some(RunEnd {
                context: None,
                output: None,
                error: Some(Bytes::from(error.to_json().to_bytes())),
                compensated: false,
            }),
            reopened: false,
        });
    }

    /// An item for a run whose partition is not owned here any more, and which may have been judged.
    pub(super) fn turn_away(&mut self, item: Item) {
        let moved = CommandError::unavailable("the run has another owner now");
        self.let_go_of(item, moved);
    }

    /// An item for a run whose partition is not owned here any more, before it was judged.
    pub(super) fn pass_on(&mut self, item: Item) {
        self.let_go_of(item, CommandError::Elsewhere);
    }

    fn let_go_of(&mut self, item: Item, told: CommandError) {
        let answer = match item.origin {
            Origin::Delivery(_) => Answer::Settled(Settle::Requeue),
            Origin::Caller(_) => Answer::Command(Err(told)),
            Origin::Inbox { .. } | Origin::Own => Answer::Settled(Settle::Ack),
        };
        let mut drafts = Drafts::default();
        let run = item.run;
        settle(&mut drafts, item, answer);
        if let Some(mut draft) = drafts.remove(run) {
            (draft.received, draft.answered) = (Vec::new(), Vec::new());
            self.act(draft, None);
        }
    }
}
