//! Runs begin: one by one, or several in one append.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rejoin_engine::decision::{Apply, Surroundings};
use rejoin_engine::state::RunState;
use rejoin_engine::{fork, start};
use rejoin_shared::ids::RunId;
use rejoin_shared::run::{Counts, RunStatus};

use super::Owner;
use super::batch::Drafts;
use super::command::{CommandError, PreparedFork, PreparedStart, Reply};
use super::inbound::{Answer, Item};
use super::judge::settle;
use super::run::Run;
use crate::store::{ForkedFrom, RunRow};

impl Owner {
    pub(super) fn begin(&mut self, drafts: &mut Drafts, item: Item, prepared: &PreparedStart) {
        let answer = match self.begun(item.run, prepared) {
            Ok((state, apply)) => {
                let status = self.enter(drafts, item.run, prepared, None, (state, apply));
                Ok(Reply { status, changed: true })
            }
            Err(refused) => Err(refused),
        };
        settle(drafts, item, Answer::Command(answer));
    }

    /// Several runs begin, all or none. What is not there yet of them is an append of its own that is never halved: nothing that
    /// was judged before or after can be refused in their stead, or take one of them out.
    pub(super) fn judge_starts(&mut self, drafts: &mut Drafts, item: Item, starts: &[(RunId, PreparedStart)]) {
        if !self.claims.contains_key(&item.run.partition()) {
            return self.pass_on(item);
        }
        if !drafts.is_empty() {
            drafts.close();
            return self.backlog.push_front(item);
        }
        // After an append of unknown outcome they are all loaded again: only then is it known which are there.
        let loading = starts
            .iter()
            .find_map(|(run, _)| self.loading.get_mut(run).map(|_| *run));
        if let Some(loading) = loading.and_then(|run| self.loading.get_mut(&run)) {
            return loading.parked.push(item);
        }
        let answer = self.starts_begun(starts);
        self.enter_all(drafts, item, answer);
    }

    /// What begins: those of `starts` that are not in memory, each with its first records.
    fn starts_begun<'a>(&self, starts: &'a [(RunId, PreparedStart)]) -> Result<Vec<Begun<'a>>, CommandError> {
        if starts
            .iter()
            .any(|(run, _)| !self.claims.contains_key(&run.partition()))
        {
            let message = "some of the runs belong to starts that were interrupted, and now to several coordinators; repeat those \
                           starts first, one by one"
                .to_owned();
            return Err(CommandError::NotAllowed { message });
        }
        let absent = starts.iter().filter(|(run, _)| !self.runs.contains_key(run));
        let begun = absent.map(|(run, prepared)| {
            let (state, apply) = self.begun(*run, prepared)?;
            Ok(Begun {
                run: *run,
                prepared,
                state,
                apply,
            })
        });
        begun.collect()
    }

    fn enter_all(&mut self, drafts: &mut Drafts, mut item: Item, begun: Result<Vec<Begun<'_>>, CommandError>) {
        let answer = begun.map(|all| {
            let changed = !all.is_empty();
            if changed {
                drafts.keep_whole();
                // Whoever refuses the append tells the item beside a run that it was to begin.
                item.run = all[0].run;
            }
            for one in all {
                self.enter(drafts, one.run, one.prepared, None, (one.state, one.apply));
            }
            let status = self.runs.get(&item.run).map(|run| run.state.status());
            Reply {
                status: status.unwrap_or(RunStatus::Running),
                changed,
            }
        });
        settle(drafts, item, Answer::Command(answer));
    }

    /// The first records of a run.
    fn begun(&self, id: RunId, prepared: &PreparedStart) -> Result<(RunState, Apply), CommandError> {
        let limits = self.parts.limits.clone();
        let surroundings = Surroundings {
            now: self.parts.clock.now(),
            limits: &limits,
        };
        let begun = catch_unwind(AssertUnwindSafe(|| {
            start(&prepared.definition, prepared.to_engine(id), surroundings)
        }));
        begun.map_err(|_| CommandError::Refused {
            message: "the run could not be begun: rejoin.internal".to_owned(),
        })
    }

    /// A run begins with the past of another one, which was copied into its journal.
    pub(super) fn begin_fork(&mut self, drafts: &mut Drafts, item: Item, prepared: &PreparedFork) {
        let limits = self.parts.limits.clone();
        let surroundings = Surroundings {
            now: self.parts.clock.now(),
            limits: &limits,
        };
        let (wanted, from) = (prepared.fork.to_engine(item.run), prepared.fork.from);
        let forked = catch_unwind(AssertUnwindSafe(|| fork(&prepared.past, wanted, surroundings)));
        let answer = match forked {
            Ok(Ok(begun)) => {
                let prepared = PreparedStart {
                    start: prepared.fork.as_start(),
                    definition: prepared.definition.clone(),
                };
                let status = self.enter(drafts, item.run, &prepared, Some(from), begun);
                Ok(Reply { status, changed: true })
            }
            Ok(Err(ignored)) => self.ignored(item.run, ignored).map(|changed| Reply {
                status: prepared.past.status(),
                changed,
            }),
            Err(_) => Err(CommandError::Refused {
                message: "the run could not be forked: rejoin.internal".to_owned(),
            }),
        };
        settle(drafts, item, Answer::Command(answer));
    }

    /// Takes a run that begins into memory and into the batch.
    fn enter(
        &mut self,
        drafts: &mut Drafts,
        id: RunId,
        prepared: &PreparedStart,
        from: Option<ForkedFrom>,
        (state, apply): (RunState, Apply),
    ) -> RunStatus {
        let (status, now) = (state.status(), self.parts.clock.now());
        let mut run = Run {
            id,
            state,
            definition: prepared.definition.clone(),
            namespace: prepared.start.namespace.clone(),
            version: prepared.start.version,
            priority: prepared.start.priority,
            counts: Counts::default(),
            row_status: RunStatus::Scheduled,
            row_wake_at: None,
            row_at: now,
            row_stale: false,
            loaded_seq: None,
            root_passed: None,
            loaded_moment: 0,
            flights: rejoin_shared::map::HashMap::default(),
            marks: rejoin_shared::map::HashMap::default(),
            due: None,
            fired_at: None,
            rest: None,
            rest_bytes: 0,
            puts_waits: false,
            in_ring: false,
            joined_at: None,
            queue: None,
            base: None,
        };
        let row = RunRow {
            forked_from: from,
            ..row_of(&run, prepared, now)
        };
        // A run that ends at once gets its result by a change beside its row.
        (run.row_status, run.row_wake_at) = (row.status, row.wake_at);
        let draft = drafts.of(id);
        (draft.created, draft.expected) = (Some(row), prepared.start.expected());
        self.runs.insert(id, run);
        self.applied(drafts, id, apply);
        status
    }
}

/// A run that begins together with others.
struct Begun<'a> {
    run: RunId,
    prepared: &'a PreparedStart,
    state: RunState,
    apply: Apply,
}

fn row_of(run: &Run, prepared: &PreparedStart, now: rejoin_shared::time::Timestamp) -> RunRow {
    let start = &prepared.start;
    let status = match run.state.status() {
        ended if ended.is_terminal() => RunStatus::Running,
        status => status,
    };
    RunRow {
        id: run.id,
        namespace: start.namespace.clone(),
        workflow: start.workflow.clone(),
        version: start.version,
        status,
        priority: start.priority,
        input: start.input.to_bytes().into(),
        context: None,
        output: None,
        error: None,
        compensated: false,
        tags: start.tags.clone(),
        idempotency_key: start.idempotency_key.clone(),
        parent: start.parent,
        forked_from: None,
        progress: run.state.progress(),
        counts: run.counts,
        wake_at: if status == run.state.status() {
            run.wake_at(now, false)
        } else {
            None
        },
        created_at: now,
        started_at: (status != RunStatus::Scheduled).then_some(now),
        finished_at: None,
    }
}
