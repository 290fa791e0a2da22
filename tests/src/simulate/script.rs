//! A run driven by hand, for tests that say what happens one event at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rejoin_engine::decision::{Apply, ChildEnd, Decision, Effect, Ignored, Sent, Surroundings, WaitChange};
use rejoin_engine::event::{Event, Fork, Start};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::Request;
use rejoin_engine::{decide, start};
use rejoin_shared::definition::model::Definition;
use rejoin_shared::definition::{Format, parse};
use rejoin_shared::ids::{ClaimId, ClaimKey, Namespace, RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::{Priority, RunStatus};
use rejoin_shared::time::Timestamp;

use super::journal::Journal;
use super::replies::completion;
use super::{START, run_id};
use crate::reference::Reply;

/// A run, and the attempts that it has dispatched, by path.
pub struct Script {
    def: Arc<Definition>,
    limits: Limits,
    now: Timestamp,
    /// Its state.
    pub state: RunState,
    /// Its rows.
    pub journal: Journal,
    open: BTreeMap<String, (StepKey, u32)>,
    /// What it sent to other runs.
    pub sent: Vec<Sent>,
    waits: Vec<WaitChange>,
}

impl Script {
    /// Starts a run of a document (YAML) over an input (JSON).
    ///
    /// # Panics
    /// If either cannot be read.
    #[must_use]
    pub fn start(document: &str, input: &str) -> Script {
        Script::begin((None, None), Limits::default(), document, input)
    }

    /// The same within other limits.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn within(limits: Limits, document: &str, input: &str) -> Script {
        Script::begin((None, None), limits, document, input)
    }

    /// The same, called by another run that waits for its end.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn called_by(parent: RunId, document: &str, input: &str) -> Script {
        Script::begin((Some(parent), None), Limits::default(), document, input)
    }

    /// The same, to begin at a time.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn later(at: Timestamp, document: &str, input: &str) -> Script {
        Script::begin((None, Some(at)), Limits::default(), document, input)
    }

    fn begin((parent, at): (Option<RunId>, Option<Timestamp>), limits: Limits, document: &str, input: &str) -> Script {
        let def = parse(document.as_bytes(), Format::Yaml, &limits).unwrap_or_else(|e| panic!("{e}\n{document}"));
        let def = Arc::new(def);
        let begin = Start {
            run: run_id(),
            namespace: Namespace::default_name(),
            version: 1,
            input: json(input),
            tags: BTreeMap::new(),
            priority: Priority::Normal,
            parent,
            is_awaited: parent.is_some(),
            at,
            traceparent: None,
        };
        let around = Surroundings {
            now: START,
            limits: &limits,
        };
        let (state, apply) = start(&def, begin, around);
        let mut script = Script {
            def,
            limits,
            now: START,
            state,
            journal: Journal::default(),
            open: BTreeMap::new(),
            sent: Vec::new(),
            waits: Vec::new(),
        };
        script.append(&apply);
        script.dispatch();
        script
    }

    /// Forks the run at a journal position, with another input if one is given.
    ///
    /// # Panics
    /// If the past cannot be folded.
    pub fn fork(&self, at: u64, input: Option<&str>) -> Result<Script, Ignored> {
        let journal = self.journal.up_to(at);
        let past = journal.fold(&self.def).unwrap_or_else(|why| panic!("{why}"));
        let fork = Fork {
            run: RunId::child_of(self.state.id(), at, self.now),
            version: 1,
            input: input.map(json),
            traceparent: None,
        };
        let around = Surroundings {
            now: self.now,
            limits: &self.limits,
        };
        let (state, apply) = rejoin_engine::fork(&past, fork, around)?;
        let mut script = Script {
            def: self.def.clone(),
            limits: self.limits.clone(),
            now: self.now,
            state,
            journal,
            open: BTreeMap::new(),
            sent: Vec::new(),
            waits: Vec::new(),
        };
        script.append(&apply);
        script.dispatch();
        Ok(script)
    }

    fn append(&mut self, apply: &Apply) {
        self.journal
            .append(&apply.records)
            .unwrap_or_else(|why| panic!("{why}"));
        for effect in &apply.effects {
            if let Effect::Revoke(attempts) = effect {
                let wanted = attempts.iter().find(|(step, n)| self.state.is_outstanding(*step, *n));
                assert_eq!(wanted, None, "an attempt that is wanted is taken from its worker");
            }
        }
        self.sent.extend(apply.sent.iter().cloned());
        self.waits.clone_from(&apply.waits);
    }

    /// Tells the run of an event; why it was ignored, if it was.
    pub fn tell(&mut self, event: Event) -> Option<Ignored> {
        self.now = self.now.plus(Duration::from_millis(1));
        let around = Surroundings {
            now: self.now,
            limits: &self.limits,
        };
        let ignored = match decide(&mut self.state, event, around) {
            Decision::Apply(apply) => {
                self.append(&apply);
                None
            }
            Decision::Ignored(why) => Some(why),
        };
        self.dispatch();
        ignored
    }

    /// Takes all that is ready.
    fn dispatch(&mut self) {
        loop {
            let ready = self.state.take_ready(self.now, usize::MAX);
            for attempt in &ready {
                let path = self.path(attempt.step, attempt.attempt);
                self.open.insert(path, (attempt.step, attempt.attempt));
            }
            if self.state.wants_begin() {
                let around = Surroundings {
                    now: self.now,
                    limits: &self.limits,
                };
                if let Decision::Apply(apply) = decide(&mut self.state, Event::Begin { room: usize::MAX }, around) {
                    self.append(&apply);
                }
            } else if ready.is_empty() {
                return;
            }
        }
    }

    fn path(&self, step: StepKey, attempt: u32) -> String {
        let around = Surroundings {
            now: self.now,
            limits: &self.limits,
        };
        let request = self.state.request(step, attempt, around);
        request.map_or_else(|error| panic!("{error:?}"), |request| request.path)
    }

    /// Paths of the attempts that are dispatched and not ended.
    #[must_use]
    pub fn outstanding(&self) -> Vec<String> {
        let wanted = |(_, (step, attempt)): &(&String, &(StepKey, u32))| self.state.is_outstanding(*step, *attempt);
        self.open.iter().filter(wanted).map(|(path, _)| path.clone()).collect()
    }

    /// Forgets the attempts that have ended, so that long scripts stay short.
    pub fn forget_dispatched(&mut self) {
        let state = &self.state;
        self.open
            .retain(|_, (step, attempt)| state.is_outstanding(*step, *attempt));
    }

    /// The context that the handler at `path` sees.
    ///
    /// # Panics
    /// If nothing is dispatched there.
    #[must_use]
    pub fn sees(&self, path: &str) -> Json {
        let request = self.request(path);
        let mut ctx = request.base;
        request.changes.apply(&mut ctx);
        ctx
    }

    /// What the handler at `path` gets as its input.
    ///
    /// # Panics
    /// If nothing is dispatched there, or the step has no `with`.
    #[must_use]
    pub fn input(&self, path: &str) -> Json {
        self.request(path).input.expect("a step with `with`")
    }

    /// How long the handler at `path` may take.
    #[must_use]
    pub fn timeout(&self, path: &str) -> Option<Duration> {
        self.request(path).timeout
    }

    /// How long the handler at `path` may be silent.
    #[must_use]
    pub fn heartbeat(&self, path: &str) -> Option<Duration> {
        self.request(path).heartbeat
    }

    /// The task queue that the attempt at `path` goes to.
    #[must_use]
    pub fn queue(&self, path: &str) -> String {
        self.request(path).queue.to_string()
    }

    /// What the attempt at `path` gets of those before it, and of itself on another worker.
    ///
    /// # Panics
    /// If nothing is dispatched there.
    #[must_use]
    pub fn checkpoint(&self, path: &str) -> Option<Json> {
        self.request(path).checkpoint
    }

    fn request(&self, path: &str) -> Request {
        let (step, attempt) = self.open[path];
        let around = Surroundings {
            now: self.now,
            limits: &self.limits,
        };
        self.state.request(step, attempt, around).expect("a request")
    }

    /// The handler at `path` returns `output` and writes `set` (an object key path → value) and `unset`.
    ///
    /// # Panics
    /// If nothing is dispatched there.
    pub fn reply(&mut self, path: &str, output: &str, set: &str, unset: &[&str]) -> Option<Ignored> {
        let key = |text: &str| KeyPath::parse(text).expect("a key path");
        let set = json(set);
        let set = set
            .as_object()
            .expect("an object")
            .iter()
            .map(|(k, v)| (key(k), v.clone()));
        self.complete(
            path,
            Reply::Ok {
                output: json(output),
                set: set.collect(),
                unset: unset.iter().map(|k| key(k)).collect(),
            },
        )
    }

    /// The handler at `path` returns null and writes nothing.
    pub fn done(&mut self, path: &str) -> Option<Ignored> {
        self.reply(path, "null", "{}", &[])
    }

    /// The handler at `path` sets keys.
    pub fn sets(&mut self, path: &str, set: &str) -> Option<Ignored> {
        self.reply(path, "null", set, &[])
    }

    /// The handler at `path` fails with an error of this type.
    pub fn fails(&mut self, path: &str, kind: &str) -> Option<Ignored> {
        self.complete(
            path,
            Reply::Err {
                kind: kind.to_owned(),
                retryable: true,
            },
        )
    }

    /// The same on a worker whose clock is off by so many seconds.
    ///
    /// # Panics
    /// If nothing is dispatched there.
    pub fn fails_on_clock(&mut self, path: &str, kind: &str, off_s: i64) -> Option<Ignored> {
        let (step, attempt) = self.open[path];
        let reply = Reply::Err {
            kind: kind.to_owned(),
            retryable: true,
        };
        let told = Timestamp(self.now.0 + off_s * 1_000_000);
        self.tell(Event::Completed(Box::new(completion(step, attempt, reply, told, 1))))
    }

    fn complete(&mut self, path: &str, reply: Reply) -> Option<Ignored> {
        let (step, attempt) = *self
            .open
            .get(path)
            .unwrap_or_else(|| panic!("{path} of {:?}", self.open.keys()));
        self.tell(Event::Completed(Box::new(completion(
            step, attempt, reply, self.now, 1,
        ))))
    }

    /// The handler at `path` stores a checkpoint and goes on.
    ///
    /// # Panics
    /// If nothing is dispatched there.
    pub fn stores(&mut self, path: &str, value: &str) -> Option<Ignored> {
        let ((step, attempt), value) = (self.open[path], json(value));
        self.tell(Event::Checkpoint { step, attempt, value })
    }

    /// A worker asks for the claim on the attempt at `path`; `asker` names worker and delivery.
    ///
    /// # Panics
    /// If nothing is dispatched there.
    pub fn claim(&mut self, path: &str, asker: u128) -> Option<Ignored> {
        let (step, attempt) = self.open[path];
        self.tell(Event::Claim {
            step,
            attempt,
            worker: format!("w{asker}"),
            key: ClaimKey {
                incarnation: uuid::Uuid::from_u128(asker),
                id: claim_id(asker),
            },
        })
    }

    /// The claim of this asker comes back unused.
    ///
    /// # Panics
    /// If nothing is dispatched at `path`.
    pub fn return_claim(&mut self, path: &str, asker: u128) -> Option<Ignored> {
        let ((step, attempt), claim) = (self.open[path], claim_id(asker));
        self.tell(Event::ClaimReturned { step, attempt, claim })
    }

    /// The claim of this asker is lost with its worker.
    ///
    /// # Panics
    /// If nothing is dispatched at `path`.
    pub fn lose_claim(&mut self, path: &str, asker: u128) -> Option<Ignored> {
        let ((step, attempt), claim) = (self.open[path], claim_id(asker));
        self.tell(Event::ClaimLost { step, attempt, claim })
    }

    /// The attempt that is open at `path`.
    #[must_use]
    pub fn attempt(&self, path: &str) -> Option<u32> {
        self.open.get(path).map(|(_, attempt)| *attempt)
    }

    /// Lets the next timer fire.
    ///
    /// # Panics
    /// If there is none.
    pub fn wait(&mut self) {
        self.now = self.now.max(self.state.next_due().expect("a timer"));
        self.tell(Event::TimerDue);
    }

    /// Lets time pass, and what is due by then fire.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.tell(Event::TimerDue);
    }

    /// Folds the journal anew and goes on from there.
    ///
    /// # Panics
    /// If it cannot be folded.
    pub fn restart(&mut self) {
        self.state = self.journal.fold(&self.def).unwrap_or_else(|why| panic!("{why}"));
        self.open.clear();
        self.tell(Event::Loaded);
        self.dispatch();
    }

    /// What workers hold of it: they do not know of restarts.
    #[must_use]
    pub fn held(&self) -> BTreeMap<String, (StepKey, u32)> {
        self.open.clone()
    }

    /// Workers hold these still.
    pub fn hold(&mut self, held: BTreeMap<String, (StepKey, u32)>) {
        self.open.extend(held);
    }

    /// An event comes for this run.
    pub fn signal(&mut self, event: &str, payload: &str, id: Option<&str>) -> Option<Ignored> {
        self.event(event, payload, id, true)
    }

    /// An event comes for all runs that wait for it.
    pub fn broadcast(&mut self, event: &str, payload: &str) -> Option<Ignored> {
        self.event(event, payload, None, false)
    }

    fn event(&mut self, event: &str, payload: &str, id: Option<&str>, is_addressed: bool) -> Option<Ignored> {
        self.tell(Event::Signal {
            from: Namespace::default_name(),
            event: event.to_owned(),
            payload: json(payload),
            id: id.map(str::to_owned),
            is_addressed,
            sender: None,
        })
    }

    /// Somebody answers the input at `path`.
    pub fn answer(&mut self, path: &str, value: &str) -> Option<Ignored> {
        self.tell(Event::Answer {
            path: path.to_owned(),
            value: json(value),
        })
    }

    /// Waits that the last event opened or ended.
    #[must_use]
    pub fn wait_changes(&self) -> &[WaitChange] {
        &self.waits
    }

    /// A run that it called has ended.
    pub fn child_ends(&mut self, child: RunId, end: ChildEnd) -> Option<Ignored> {
        self.tell(Event::ChildEnded { child, end })
    }

    /// The runs that it waits for, each with the path of its call.
    #[must_use]
    pub fn called(&self) -> Vec<(String, RunId)> {
        let calls = self.state.open_calls();
        calls.map(|(path, child, _)| (path.to_owned(), child)).collect()
    }

    /// An operator resumes the run.
    ///
    /// # Panics
    /// If it cannot be resumed.
    pub fn resume(&mut self) {
        assert_eq!(self.tell(Event::Resume), None);
    }

    /// An operator cancels the run.
    ///
    /// # Panics
    /// If it cannot be cancelled.
    pub fn cancel(&mut self) {
        assert_eq!(
            self.tell(Event::Cancel {
                reason: None,
                compensate: false
            }),
            None
        );
    }

    /// Its state.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.state.status()
    }

    /// What it gave, once it has completed.
    #[must_use]
    pub fn output(&self) -> Option<Json> {
        self.state.result().0
    }

    /// The outermost context.
    #[must_use]
    pub fn context(&self) -> Json {
        self.state.context()
    }

    /// Asserts that the run has completed with this context.
    ///
    /// # Panics
    /// If not.
    pub fn assert_completed(&self, context: &str) {
        let (_, error) = self.state.result();
        assert_eq!(
            (self.state.status(), error),
            (RunStatus::Completed, None),
            "{:?}",
            self.outstanding()
        );
        assert_eq!(self.context(), json(context));
    }

    /// Asserts that the run has failed with an error of this type at this path, and returns its details.
    ///
    /// # Panics
    /// If not.
    pub fn assert_failed(&self, kind: &str, path: &str) -> Json {
        let (_, error) = self.state.result();
        let error = error.unwrap_or_else(|| panic!("no error but {:?}, {:?}", self.state.status(), self.outstanding()));
        assert_eq!(
            (&*error.kind, error.path.as_deref()),
            (kind, Some(path)),
            "{}",
            error.message
        );
        error.details.unwrap_or_default()
    }
}

fn claim_id(asker: u128) -> ClaimId {
    ClaimId(uuid::Uuid::from_u128(1_000 + asker))
}

/// A JSON value of a test.
///
/// # Panics
/// If the text is none.
#[must_use]
pub fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e:?} in {text}"))
}
