//! Partitions come and go: claims, loads of what is taken over, hand-over (DESIGN 3).

use std::time::Duration;

use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::link::Settle;

use super::command::CommandError;
use super::inbound::{Answer, Inbound, Item, Origin, What};
use super::load::{Found, Lack, Loaded};
use super::run::Run;
use super::{Loading, Owner};
use crate::members::plan;
use crate::store::{Claim, LOOK_AT_ONCE};

/// Part of a hand-over that is kept for giving the partitions back, if there is as much.
const LEAVE_MAX: Duration = Duration::from_secs(2);

impl Owner {
    /// Acts on members and partitions as they were read last.
    pub(super) async fn share_out(&mut self) {
        if !self.parts.lease.is_valid() {
            return self.lose_all();
        }
        let plan = plan(&self.parts.member, &self.membership, &self.claims);
        plan.lost.into_iter().for_each(|partition| self.lose(partition));
        if !plan.release.is_empty()
            && let Err(error) = self.parts.store.release(&self.parts.member, &plan.release).await
        {
            tracing::warn!(%error, "partitions could not be released yet");
        }
        if !plan.take.is_empty() && !self.is_draining {
            match self
                .parts
                .store
                .claim(&self.parts.member, &plan.take, self.earlier)
                .await
            {
                Ok(claims) => self.gain(&claims),
                Err(error) => tracing::warn!(%error, "partitions could not be taken"),
            }
        }
        for partition in plan.give {
            if self.handing_over.insert(partition) {
                self.consumers.stop(partition);
            }
        }
        self.settle_home().await;
        let used = self
            .membership
            .partitions
            .iter()
            .filter(|row| row.has_events)
            .map(|row| row.partition);
        for partition in used.collect::<Vec<_>>() {
            if self.claims.contains_key(&partition) && !self.handing_over.contains(&partition) {
                self.consumers.open(partition);
            }
        }
        self.release_drained().await;
        self.show_owned();
    }

    fn show_owned(&self) {
        let owned = self
            .claims
            .keys()
            .filter(|partition| !self.handing_over.contains(partition));
        self.parts.owned.send_replace(owned.copied().collect());
        self.parts
            .metrics
            .partitions_owned
            .set(crate::metrics::as_f64(self.claims.len()));
    }

    fn gain(&mut self, claims: &[Claim]) {
        let partitions: Vec<Partition> = claims.iter().map(|claim| claim.partition).collect();
        tracing::info!(partitions = partitions.len(), "partitions taken");
        for claim in claims {
            self.claims.insert(claim.partition, *claim);
        }
        self.put_fences_up();
        self.mail.begin_anew();
        self.look_at_rows_now();
        let (store, own) = (self.parts.store.clone(), self.own.clone());
        self.parts.tasks.spawn(async move {
            while !own.is_closed() {
                match store.open_runs(&partitions).await {
                    Ok(runs) => return drop(own.send(Inbound::OpenRuns(runs))),
                    Err(error) => tracing::warn!(%error, "open runs could not be listed yet"),
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }

    /// The lowest owned partition's event queue is the one that workers reply to.
    async fn settle_home(&mut self) {
        let lowest = self
            .claims
            .keys()
            .find(|partition| !self.handing_over.contains(partition))
            .copied();
        let Some(home) = lowest.filter(|lowest| Some(*lowest) != self.home) else {
            if lowest.is_none() {
                self.home = None;
            }
            return;
        };
        let declared = self.parts.link.declare(&self.parts.topology.event_queue(home.0)).await;
        if let Err(error) = declared {
            return tracing::debug!(%error, "event queue is not declared yet");
        }
        match self.parts.store.mark_events(home).await {
            Ok(()) => {
                self.home = Some(home);
                self.consumers.open(home);
                self.put_fences_up();
            }
            Err(error) => tracing::warn!(%error, "event queue could not be marked as used"),
        }
    }

    async fn release_drained(&mut self) {
        let busy = |owner: &Owner, partition: Partition| {
            owner.tickets.any_from(partition)
                || owner.loading.keys().any(|run| run.partition() == partition)
                || owner.backlog.iter().any(|item| item.run.partition() == partition)
                || owner.missing.iter().any(|item| item.run.partition() == partition)
        };
        let drained: Vec<Partition> = self.handing_over.iter().copied().filter(|p| !busy(self, *p)).collect();
        for partition in drained {
            let Some(claim) = self.claims.get(&partition).copied() else {
                self.handing_over.remove(&partition);
                continue;
            };
            match self.parts.store.release(&self.parts.member, &[claim]).await {
                Ok(()) => self.lose(partition),
                Err(error) => tracing::warn!(%error, "partition could not be released yet"),
            }
        }
    }

    /// A partition is not ours any more: its runs leave memory, its events are read by others.
    pub(super) fn lose(&mut self, partition: Partition) {
        if self.claims.remove(&partition).is_none() {
            return;
        }
        self.handing_over.remove(&partition);
        self.consumers.close(partition);
        if self.home == Some(partition) {
            self.home = None;
        }
        self.left.retain(|run, _| run.partition() != partition);
        self.mail.lose(partition);
        let runs: Vec<RunId> = self
            .runs
            .keys()
            .copied()
            .filter(|run| run.partition() == partition)
            .collect();
        runs.into_iter().for_each(|run| self.forget(run));
        let loading: Vec<RunId> = self
            .loading
            .keys()
            .copied()
            .filter(|run| run.partition() == partition)
            .collect();
        for run in loading {
            let parked = self
                .loading
                .remove(&run)
                .map(|loading| loading.parked)
                .unwrap_or_default();
            parked.into_iter().for_each(|item| self.turn_away(item));
        }
    }

    /// The lease ran out: stops at once.
    pub(super) fn lose_all(&mut self) {
        self.drop_partitions("the lease ran out");
    }

    /// Stops at once.
    pub(super) fn drop_partitions(&mut self, why: &str) {
        if self.claims.is_empty() {
            return;
        }
        tracing::error!(partitions = self.claims.len(), why, "all partitions are dropped");
        self.consumers.close_all();
        let all: Vec<Partition> = self.claims.keys().copied().collect();
        all.into_iter().for_each(|partition| self.lose(partition));
        self.show_owned();
    }

    /// Drops a run from memory.
    pub(super) fn forget(&mut self, id: RunId) {
        if let Some(mut run) = self.runs.remove(&id) {
            self.rest.touch(&mut run);
            self.dispatcher.forget(&mut run);
        }
    }

    /// Loads a run; the items are judged after it.
    pub(super) fn load(&mut self, run: RunId, parked: Vec<Item>) {
        if let Some(loading) = self.loading.get_mut(&run) {
            return loading.parked.extend(parked);
        }
        if let Some((_, why)) = self.left.get(&run).cloned() {
            return self.leave(parked, &why);
        }
        self.loads += 1;
        let number = self.loads;
        self.loading.insert(run, Loading { number, parked });
        self.parts.tasks.spawn(self.loader.load(run, number));
    }

    /// A run was loaded.
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        let id = loaded.run;
        let Some(loading) = self.loading.remove(&id) else {
            return;
        };
        if loading.number != loaded.number {
            self.loading.insert(id, loading);
            return;
        }
        match loaded.found {
            Found::Run(found) => {
                let now = self.parts.clock.now();
                let is_ended = found.state.status().is_terminal();
                let run = Run {
                    id,
                    loaded_seq: Some(found.state.last_seq()),
                    root_passed: None,
                    state: found.state,
                    definition: found.definition,
                    namespace: found.row.namespace,
                    version: found.row.version,
                    priority: found.row.priority,
                    counts: found.row.counts,
                    row_status: found.row.status,
                    row_wake_at: found.row.wake_at,
                    row_at: now,
                    row_stale: false,
                    loaded_moment: self.dispatcher.next_moment(),
                    flights: rejoin_shared::map::HashMap::default(),
                    marks: rejoin_shared::map::HashMap::default(),
                    due: None,
                    fired_at: None,
                    rest: None,
                    rest_bytes: 0,
                    puts_waits: found.row.wake_at == Some(LOOK_AT_ONCE),
                    in_ring: false,
                    joined_at: None,
                    queue: None,
                    base: None,
                };
                self.woke(run.row_status);
                self.runs.insert(id, run);
                match is_ended {
                    true => self.keep_ended(id),
                    false => {
                        self.push_own(id, rejoin_engine::event::Event::Loaded);
                    }
                }
                self.expect_claimants(id);
                self.backlog.extend(loading.parked);
                self.follow_up(id);
            }
            Found::Nothing => self.missing.extend(loading.parked),
            Found::Broken { row, reason } => {
                if row.status.is_terminal() {
                    self.missing.extend(loading.parked);
                } else {
                    self.broken.push((id, reason, loading.parked));
                }
            }
            Found::Left { lack, why } => {
                match lack {
                    Lack::Key => tracing::error!(run = %id, why, "run cannot be read here; it stays as it is"),
                    // The coordinator that replaces this one goes on with it.
                    Lack::Version => tracing::warn!(run = %id, why, "run is for a newer version; it stays as it is"),
                }
                self.leave(loading.parked, &why);
                self.left.insert(id, (lack, why.into()));
            }
        }
    }

    /// Items for a run that this process cannot read: nothing of them is lost, and nobody waits for them. What stands in the inbox
    /// stays there, seen; what workers completed goes to the dead letters, from where it can be replayed.
    fn leave(&mut self, items: Vec<Item>, why: &str) {
        for item in items {
            let answer = match (&item.origin, &item.what) {
                (Origin::Inbox { id, .. }, _) => {
                    if self.mail.leave(*id, item.run.partition()) {
                        self.own.send(Inbound::Nudge).ok();
                    }
                    continue;
                }
                (Origin::Delivery(_), What::Event(_)) => Answer::Settled(Settle::DeadLetter),
                (Origin::Delivery(_) | Origin::Own, _) => Answer::Settled(Settle::Ack),
                (Origin::Caller(_), _) => Answer::Command(Err(CommandError::unavailable(why))),
            };
            self.tell(item, answer);
        }
    }

    /// Runs at work of partitions that were taken: loaded in the order given, newest activity first.
    pub(super) fn load_open(&mut self, runs: Vec<RunId>) {
        for run in runs {
            if self.claims.contains_key(&run.partition()) && !self.runs.contains_key(&run) {
                self.load(run, Vec::new());
            }
        }
    }

    /// At shutdown: stops consuming, judges what was read, acknowledges, releases, leaves.
    pub(super) async fn hand_everything_over(&mut self) {
        self.is_draining = true;
        let longest = self.parts.drain;
        let leave_max = LEAVE_MAX.min(longest / 2);
        self.claims.keys().for_each(|partition| self.consumers.stop(*partition));
        let drain = async {
            while self.tickets.len() > 0 || !self.backlog.is_empty() || !self.ahead.drafts.is_empty() {
                self.run_once().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(longest - leave_max, drain).await.is_err() {
            tracing::warn!("not everything was drained in time; it will be delivered again");
        }
        // What was handed to the settler is on its way before the subscriptions end.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.consumers.close_all();
        let claims: Vec<Claim> = self.claims.values().copied().collect();
        let leave = async {
            self.parts.store.release(&self.parts.member, &claims).await?;
            self.parts.store.leave(&self.parts.member).await
        };
        match tokio::time::timeout(leave_max, leave).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "partitions could not be released; the lease will run out"),
            Err(_) => tracing::warn!("the database did not answer; the lease will run out"),
        }
    }
}
