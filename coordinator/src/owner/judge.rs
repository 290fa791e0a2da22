//! The one caller of `decide`: each item of the backlog is judged against its run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rejoin_engine::decide;
use rejoin_engine::decision::{Apply, Decision, Ignored, Surroundings};
use rejoin_engine::event::{End, Event};
use rejoin_shared::ids::RunId;
use rejoin_shared::link::Settle;
use rejoin_shared::run::{Outcome, RunStatus};
use rejoin_shared::time::Timestamp;

use uuid::Uuid;

use super::Owner;
use super::batch::Drafts;
use super::command::{CommandError, Reply};
use super::inbound::{Answer, Item, Origin, What};
use super::run::Try;
use crate::dispatcher::Phase;
use crate::inbox::verdict_text;

/// Rows of a batch.
const ROWS_MAX: usize = 4_096;
/// Items of a batch.
const ITEMS_MAX: usize = 4_096;
/// Bytes of a batch.
const BYTES_MAX: usize = 4 * 1024 * 1024;

impl Owner {
    /// Judges what is in the backlog, as far as one batch takes it; it begins with what was judged ahead.
    pub(super) fn judge_backlog(&mut self) -> Drafts {
        let mut drafts = std::mem::take(&mut self.ahead.drafts);
        for (run, reason, items) in std::mem::take(&mut self.broken) {
            for item in items {
                let message = format!("the run cannot be handled: {reason}");
                settle(
                    &mut drafts,
                    item,
                    Answer::Command(Err(CommandError::NotAllowed { message })),
                );
            }
            self.give_up(&mut drafts, run, &reason);
        }
        for (run, origin, error) in std::mem::take(&mut self.refused) {
            let what = What::Event(Event::TimerDue); // never judged: the row is answered as it is
            settle(&mut drafts, Item { run, what, origin }, Answer::Command(Err(error)));
        }
        for item in std::mem::take(&mut self.missing) {
            match drafts.is_closed() {
                true => self.missing.push(item),
                false => self.judge_missing(&mut drafts, item),
            }
        }
        if !drafts.is_closed() {
            for run in std::mem::take(&mut self.stale) {
                drafts.of(run);
            }
        }
        for count in 0..ITEMS_MAX {
            if drafts.is_closed() {
                break;
            }
            if count % 64 == 0 && is_full(&drafts) {
                break;
            }
            let Some(item) = self.backlog.pop_front() else { break };
            self.judge(&mut drafts, item);
        }
        let now = self.parts.clock.now();
        for draft in drafts.iter_mut() {
            if let Some(run) = self.runs.get_mut(&draft.run) {
                draft.close(run, now);
            }
        }
        drafts
    }

    fn judge(&mut self, drafts: &mut Drafts, item: Item) {
        if let What::Starts(starts) = &item.what {
            let starts = starts.clone();
            self.judge_starts(drafts, item, &starts);
        } else if !self.claims.contains_key(&item.run.partition()) {
            self.pass_on(item);
        } else if let Some(loading) = self.loading.get_mut(&item.run) {
            loading.parked.push(item);
        } else if self.runs.contains_key(&item.run) {
            self.judge_known(drafts, item);
        } else if let What::Start(prepared) = &item.what
            && !prepared.start.may_exist
        {
            let prepared = prepared.clone();
            self.begin(drafts, item, &prepared);
        } else if !matches!(item.origin, Origin::Own) || !is_made_anew(&item.what) {
            self.load(item.run, vec![item]);
        }
    }

    /// An item for a run that is not there.
    pub(super) fn judge_missing(&mut self, drafts: &mut Drafts, mut item: Item) {
        // Its partition may have gone since it was looked for.
        if !self.claims.contains_key(&item.run.partition()) {
            return self.pass_on(item);
        }
        // Of several starts by one key that waited together the first has begun it.
        if self.runs.contains_key(&item.run) {
            return self.judge_known(drafts, item);
        }
        match &mut item.what {
            What::Start(prepared) => {
                let prepared = prepared.clone();
                self.begin(drafts, item, &prepared);
            }
            What::Starts(starts) => {
                let starts = starts.clone();
                self.judge_starts(drafts, item, &starts);
            }
            What::Check(question) => {
                let question = question.clone();
                self.drop_all(drafts, item.run, &question);
                settle(drafts, item, Answer::Settled(Settle::Ack));
            }
            What::Fork(prepared) => {
                let prepared = prepared.clone();
                self.begin_fork(drafts, item, &prepared);
            }
            What::Event(Event::GoOn { parent }) => {
                let parent = *parent;
                drafts.of(item.run).tell_parent_it_is_gone(parent);
                settle(drafts, item, Answer::Command(Err(CommandError::NotFound)));
            }
            What::Event(_) | What::HandBack(..) | What::Fetch(..) | What::Stored(..) => {
                self.parts.metrics.events_unknown_run.inc();
                settle(drafts, item, Answer::Command(Err(CommandError::NotFound)));
            }
        }
    }

    pub(super) fn judge_known(&mut self, drafts: &mut Drafts, item: Item) {
        self.touch(item.run);
        let status = self.runs.get(&item.run).map(|run| run.state.status());
        match &item.what {
            What::Event(event) => {
                let (event, id) = (event.clone(), item.run);
                let is_load = matches!(event, Event::Loaded);
                self.decide(drafts, item, event);
                if is_load {
                    self.loaded_and_walked(id);
                }
            }
            What::Start(_) | What::Fork(_) => {
                let status = status.unwrap_or(RunStatus::Running);
                settle(drafts, item, Answer::Command(Ok(Reply { status, changed: false })));
            }
            What::Starts(starts) => {
                let starts = starts.clone();
                self.judge_starts(drafts, item, &starts);
            }
            What::Check(question) => {
                let question = question.clone();
                self.judge_question(drafts, item, question);
            }
            What::HandBack(worker, returned) => {
                let (worker, returned) = (*worker, returned.clone());
                if let Err(panic) = self.return_claims(drafts, item.run, &returned) {
                    return self.panicked(drafts, item, &panic);
                }
                self.take_back(item.run, worker, &returned);
                settle(drafts, item, Answer::Settled(Settle::Ack));
            }
            What::Stored(worker, attempt, value) => {
                let (worker, (step, attempt), value) = (*worker, *attempt, value.clone());
                match self.is_held_by_another(item.run, (step, attempt), worker) {
                    // It was given up, and what it stores is older than what the other one does.
                    true => settle(drafts, item, Answer::Settled(Settle::Ack)),
                    false => self.decide(drafts, item, Event::Checkpoint { step, attempt, value }),
                }
            }
            What::Fetch(worker, seq) => {
                let (worker, seq) = (worker.clone(), *seq);
                self.answer_fetch(drafts, item.run, &worker, seq);
                settle(drafts, item, Answer::Settled(Settle::Ack));
            }
        }
    }

    /// A fold knows what is left to do only once it was walked. Where nothing can be with workers, whatever comes next was never
    /// published by anyone.
    fn loaded_and_walked(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.state.is_quiet() {
            run.loaded_seq = None;
        } else {
            let kept = usize::try_from(run.state.progress().done).unwrap_or(0);
            self.parts
                .metrics
                .branches_kept_on_resume
                .inc_by(crate::metrics::as_f64(kept));
        }
    }

    fn decide(&mut self, drafts: &mut Drafts, item: Item, mut event: Event) {
        let ended = self.stamp(&mut event);
        let times = times_of(&event);
        let has_ended = self
            .runs
            .get(&item.run)
            .is_some_and(|run| run.state.status().is_terminal());
        let revives = has_ended && matches!(event, Event::Resume);
        // An end that comes again, or late, says nothing of what follows it in the outermost flow.
        let ended = ended.map(|attempt| (attempt, attempt.0.scope == 0 && self.is_wanted(item.run, attempt)));
        if let Some(run) = self.runs.get_mut(&item.run)
            && std::mem::take(&mut run.puts_waits)
        {
            let waits = run.state.open_wait_changes();
            drafts.of(item.run).keep_waits(run, waits);
        }
        let decision = match self.decided(item.run, event) {
            Ok(Some(decision)) => decision,
            Ok(None) => return,
            Err(panic) => return self.panicked(drafts, item, &panic),
        };
        if let Some((attempt, passes)) = ended {
            self.attempt_ended(item.run, attempt, passes, times.as_ref());
        }
        if let (Decision::Apply(_), Some((_, finished_at))) = (&decision, times.as_ref().and_then(|times| times.ran)) {
            drafts.of(item.run).ended_at.push(finished_at);
        }
        let answer = match decision {
            Decision::Apply(apply) => {
                self.applied(drafts, item.run, apply);
                if let (true, Some(run)) = (revives, self.runs.get_mut(&item.run)) {
                    run.note_resumed();
                }
                Ok(true)
            }
            Decision::Ignored(ignored) => self.ignored(item.run, ignored),
        };
        let status = self
            .runs
            .get(&item.run)
            .map_or(RunStatus::Failed, |run| run.state.status());
        let answer = answer.map(|changed| Reply { status, changed });
        settle(drafts, item, Answer::Command(answer));
    }

    /// The one call of `decide`; `None`: the run is not here.
    ///
    /// # Errors
    /// The text of its panic.
    pub(super) fn decided(&mut self, id: RunId, event: Event) -> Result<Option<Decision>, String> {
        let surroundings = Surroundings {
            now: self.parts.clock.now(),
            limits: &self.parts.limits,
        };
        let Some(run) = self.runs.get_mut(&id) else {
            return Ok(None);
        };
        let decided = catch_unwind(AssertUnwindSafe(|| decide(&mut run.state, event, surroundings)));
        decided.map(Some).map_err(|panic| panic_text(panic.as_ref()))
    }

    fn is_held_by_another(&self, run: RunId, attempt: Try, worker: Uuid) -> bool {
        let Some(run) = self.runs.get(&run) else { return false };
        let granted = run.marks.get(&attempt).and_then(|mark| mark.granted);
        let held = run.flights.get(&attempt).and_then(|flight| match flight.phase {
            Phase::Held(by) => Some(by),
            Phase::Waiting | Phase::Publishing(_) | Phase::Sent { .. } | Phase::Doubtful => None,
        });
        granted.or(held).is_some_and(|holder| holder != worker)
    }

    /// Puts in what an event needs of chance; returns the attempt that ends with it.
    fn stamp(&self, event: &mut Event) -> Option<Try> {
        match event {
            Event::Completed(completed) => {
                completed.random = self.parts.dice.roll();
                Some((completed.step, completed.attempt))
            }
            Event::Unbuildable { step, attempt, .. } | Event::ClaimLost { step, attempt, .. } => {
                Some((*step, *attempt))
            }
            Event::Claim { .. }
            | Event::ClaimReturned { .. }
            | Event::Checkpoint { .. }
            | Event::TimerDue
            | Event::Begin { .. }
            | Event::Loaded
            | Event::Signal { .. }
            | Event::ChildEnded { .. }
            | Event::GoOn { .. }
            | Event::Operate { .. }
            | Event::Answer { .. }
            | Event::Edit { .. }
            | Event::Cancel { .. }
            | Event::Pause
            | Event::Resume
            | Event::Quarantine { .. } => None,
        }
    }

    /// `passes`: nobody else can have published what comes after it in the outermost flow.
    fn attempt_ended(&mut self, id: RunId, attempt: Try, passes: bool, times: Option<&Times>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.state.is_outstanding(attempt.0, attempt.1) {
            return; // an event that changed nothing: the attempt is still wanted
        }
        if let (Some(times), Some(flight)) = (times, run.flights.get(&attempt)) {
            if let (Some(confirmed_at), Some((started_at, _))) = (flight.confirmed_at, times.ran) {
                let waited = started_at.since(confirmed_at);
                self.parts.metrics.queue_seconds.observe(waited.as_secs_f64());
            }
            let (queue, handler) = (flight.queue.clone(), flight.handler.clone());
            let labels = [&*run.definition.workflow, &*handler, &*queue.name, times.outcome];
            let metrics = &self.parts.metrics;
            metrics.steps_completed.with_label_values(&labels).inc();
            if let Some((started_at, finished_at)) = times.ran {
                let took = finished_at.since(started_at).as_secs_f64();
                metrics
                    .step_duration_seconds
                    .with_label_values(&[&*queue.name])
                    .observe(took);
                self.dispatcher.step_took(&queue, &handler, took * 1_000.0);
            }
        }
        self.dispatcher.land(run, attempt);
        run.marks.remove(&attempt);
        if passes {
            run.root_passed = run.root_passed.max(Some(attempt));
        }
    }

    fn is_wanted(&self, id: RunId, attempt: Try) -> bool {
        let run = self.runs.get(&id);
        run.is_some_and(|run| run.state.is_outstanding(attempt.0, attempt.1))
    }

    pub(super) fn applied(&mut self, drafts: &mut Drafts, id: RunId, apply: Apply) {
        let draft = drafts.of(id);
        if let Some(run) = self.runs.get(&id) {
            apply.records.iter().for_each(|record| draft.keep_join(run, record));
            draft.keep_waits(run, apply.waits);
            draft.send(run, apply.sent);
        }
        apply.records.into_iter().for_each(|record| draft.push(record));
        draft.effects.extend(apply.effects);
    }

    /// `id` need not be in memory: of a run that does not begin there is nothing to count.
    pub(super) fn ignored(&mut self, id: RunId, ignored: Ignored) -> Result<bool, CommandError> {
        let metrics = &self.parts.metrics;
        let run = self.runs.get_mut(&id);
        match ignored {
            Ignored::Duplicate => {
                if let Some(run) = run {
                    run.counts.duplicate += 1;
                    run.row_stale = true;
                }
                metrics.duplicate_completions.inc();
                Ok(false)
            }
            Ignored::Late => {
                if let Some(run) = run {
                    run.counts.late += 1;
                    run.row_stale = true;
                }
                metrics.late_completions.inc();
                Ok(false)
            }
            // Claims are answered by their verdicts.
            Ignored::NothingDue
            | Ignored::AlreadySo
            | Ignored::Granted
            | Ignored::ClaimedElsewhere
            | Ignored::NoSuchClaim => Ok(false),
            Ignored::Full => Err(CommandError::Full),
            Ignored::NotThere(message) => Err(CommandError::Missing { message }),
            Ignored::Unfit(message) => Err(CommandError::Refused { message }),
            Ignored::NotAllowed(message) => Err(CommandError::NotAllowed { message }),
        }
    }

    /// The run's state cannot be trusted any more: it is loaded again and quarantined; what else was judged of it in this
    /// batch is judged again. By way of the backlog, as it is to be read only once the batch under way is durable.
    pub(super) fn panicked(&mut self, drafts: &mut Drafts, item: Item, message: &str) {
        tracing::error!(run = %item.run, message, "deciding panicked; the run is quarantined");
        let id = item.run;
        let judged = drafts.remove(id).map(|draft| draft.items).unwrap_or_default();
        self.forget(id);
        let is_new = matches!(item.what, What::Start(_) | What::Fork(_));
        settle(drafts, item, Answer::Settled(Settle::DeadLetter));
        let quarantine = Item {
            run: id,
            what: What::Event(Event::Quarantine {
                message: message.to_owned(),
            }),
            origin: Origin::Own,
        };
        let mut again: Vec<Item> = judged.into_iter().map(|(item, _)| super::commit::again(item)).collect();
        match self.quarantined.insert(id) || is_new {
            true => again.insert(0, quarantine),
            false => return self.give_up(drafts, id, "it cannot be quarantined"),
        }
        again.into_iter().rev().for_each(|item| self.backlog.push_front(item));
    }
}

/// Whether a batch takes no more.
pub(super) fn is_full(drafts: &Drafts) -> bool {
    let (items, rows, bytes) = drafts.size();
    items >= ITEMS_MAX || rows >= ROWS_MAX || bytes >= BYTES_MAX
}

/// Whether an item of the owner's own comes again by itself once its run is loaded.
fn is_made_anew(what: &What) -> bool {
    match what {
        What::Check(_) | What::Event(Event::Quarantine { .. }) => false,
        What::Event(_)
        | What::Start(_)
        | What::Starts(_)
        | What::Fork(_)
        | What::HandBack(..)
        | What::Fetch(..)
        | What::Stored(..) => true,
    }
}

/// Ends an item: what is told, and to the inbox too.
pub(super) fn settle(drafts: &mut Drafts, item: Item, answer: Answer) {
    let draft = drafts.of(item.run);
    if let Origin::Inbox { id, wants_verdict } = &item.origin {
        match (wants_verdict, &answer) {
            (true, Answer::Command(verdict)) => draft.answered.push((*id, verdict_text(verdict).into())),
            (true, Answer::Settled(_)) | (false, _) => draft.received.push(*id),
        }
    }
    draft.items.push((item, answer));
}

/// What a completion tells beside its effect on the run.
struct Times {
    /// Start and end by the worker's clock; `None`: nobody knows.
    ran: Option<(Timestamp, Timestamp)>,
    outcome: &'static str,
}

fn times_of(event: &Event) -> Option<Times> {
    match event {
        Event::Completed(completed) => Some(Times {
            ran: Some((completed.started_at, completed.finished_at)),
            outcome: match &completed.end {
                End::Ok { .. } => Outcome::Ok.as_str(),
                End::Error(failure) => failure.outcome.as_str(),
            },
        }),
        Event::ClaimLost { .. } => Some(Times {
            ran: None,
            outcome: Outcome::Lost.as_str(),
        }),
        Event::Unbuildable { .. }
        | Event::Claim { .. }
        | Event::ClaimReturned { .. }
        | Event::Checkpoint { .. }
        | Event::TimerDue
        | Event::Begin { .. }
        | Event::Loaded
        | Event::Signal { .. }
        | Event::ChildEnded { .. }
        | Event::GoOn { .. }
        | Event::Operate { .. }
        | Event::Answer { .. }
        | Event::Edit { .. }
        | Event::Cancel { .. }
        | Event::Pause
        | Event::Resume
        | Event::Quarantine { .. } => None,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}
