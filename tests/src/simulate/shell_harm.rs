//! What happens to the processes of a simulated shell: they die, freeze, lose their connections, are told to go, and are replaced.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shell::{Process, Shell};

/// Names of coordinators: more than there are at once, with those that leave.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// After so many turns whoever was told to go is killed.
const TURNS_TO_GO: usize = 4;

impl Process {
    /// Whether it is a coordinator of this name.
    fn is_of(&self, name: &str) -> bool {
        self.name.split('-').next() == Some(name)
    }
}

impl Shell<'_> {
    /// Something goes wrong.
    pub(super) fn harm(&mut self) {
        let processes: Vec<&Process> = self.coordinators.iter().map(|(p, _)| p).chain(&self.workers).collect();
        let calls = i64::try_from(self.dice.below(25)).unwrap_or(0);
        match self.dice.below(16) {
            7 => self.freeze(processes[self.dice.below(processes.len())]),
            8 => self.freeze(&self.coordinators[self.dice.below(self.coordinators.len())].0),
            9 => self.put_off(&self.coordinators[self.dice.below(self.coordinators.len())].0),
            0 | 1 => self.doom(&self.coordinators[self.dice.below(self.coordinators.len())].0, calls),
            2 | 3 => self.doom(&self.workers[self.dice.below(self.workers.len())], calls),
            4 => {
                let name = &processes[self.dice.below(processes.len())].name;
                self.database.tell(name, format_args!("loses its connection"));
                self.broker.disconnect(name);
            }
            5 => {
                self.database.tell("", format_args!("the task queue is purged"));
                self.broker.purge("rejoin.tasks.default");
            }
            6 => {
                self.database.tell("", format_args!("the task queue is deleted"));
                self.broker.delete("rejoin.tasks.default");
            }
            10 => self.retire_coordinator(),
            11 => self.retire_worker(),
            _ => {}
        }
    }

    /// It is told to go; another one takes its place at once, and partitions move while both live.
    fn retire_coordinator(&mut self) {
        let (process, _) = self.coordinators.swap_remove(self.dice.below(self.coordinators.len()));
        let name = NAMES
            .iter()
            .find(|name| !self.has_coordinator(name) && !process.is_of(name));
        self.retire(process);
        self.bear_coordinator(name.expect("there are more names than coordinators"));
    }

    fn retire_worker(&mut self) {
        let process = self.workers.swap_remove(self.dice.below(self.workers.len()));
        self.retire(process);
        self.bear_worker();
    }

    fn retire(&mut self, process: Process) {
        self.database.tell(&process.name, format_args!("is told to go"));
        process.stop.cancel();
        self.leaving.push((process, TURNS_TO_GO));
    }

    fn has_coordinator(&self, name: &str) -> bool {
        let leaving = self.leaving.iter().map(|(process, _)| process);
        let mut all = self.coordinators.iter().map(|(process, _)| process).chain(leaving);
        all.any(|process| process.is_of(name))
    }

    /// What has had its time to go is gone, whatever it still held.
    fn see_off(&mut self) {
        for (process, turns) in std::mem::take(&mut self.leaving) {
            match turns.checked_sub(1) {
                Some(turns) if !process.fuse.is_blown() => self.leaving.push((process, turns)),
                _ => self.see_gone(&process),
            }
        }
    }

    fn see_gone(&self, process: &Process) {
        process.fuse.blow();
        self.bury(process);
    }

    /// Past its lease, most of the time: what it does then comes too late, and is refused.
    fn freeze(&self, process: &Process) {
        let time = Duration::from_millis(500 + u64::try_from(self.dice.below(5_000)).unwrap_or(0));
        self.database
            .tell(&process.name, format_args!("stands still for {time:?}"));
        process.fuse.freeze(time);
    }

    /// Its clock jumps, forward or back.
    fn put_off(&self, process: &Process) {
        let ms = i64::try_from(self.dice.below(20_000)).unwrap_or(0) - 10_000;
        self.database
            .tell(&process.name, format_args!("its clock is off by {ms} ms"));
        self.database.clocks_differ();
        process.clock.set_off(ms);
    }

    fn doom(&self, process: &Process, calls: i64) {
        self.database
            .tell(&process.name, format_args!("dies after {calls} calls"));
        process.fuse.light(calls);
    }

    /// The connections of dead processes end, and others take their places.
    pub(super) fn replace_the_dead(&mut self) {
        self.see_off();
        let (dead, alive) = std::mem::take(&mut self.workers)
            .into_iter()
            .partition::<Vec<_>, _>(|p| p.fuse.is_blown());
        self.workers = alive;
        for process in dead {
            self.bury(&process);
            self.bear_worker();
        }
        let (dead, alive) = std::mem::take(&mut self.coordinators)
            .into_iter()
            .partition::<Vec<_>, _>(|(p, _)| p.fuse.is_blown());
        self.coordinators = alive;
        for (process, coordinator) in dead {
            self.bury(&process);
            // It can reach nothing any more; its tasks end with the runtime.
            drop(coordinator);
            let name = process.name.split('-').next().unwrap_or_default().to_owned();
            self.bear_coordinator(&name);
        }
    }

    fn bury(&self, process: &Process) {
        self.database.tell(&process.name, format_args!("is dead"));
        self.broker.cut(&process.name);
    }

    pub(super) fn heal(&mut self) {
        self.database.tell("", format_args!("all is healed"));
        self.healed.store(true, Ordering::SeqCst);
        for (process, _) in std::mem::take(&mut self.leaving) {
            self.see_gone(&process);
        }
        for process in self.coordinators.iter().map(|(p, _)| p).chain(&self.workers) {
            process.fuse.light(-1);
            // An ack is lost with its connection only: until that ends the broker waits for it.
            self.broker.disconnect(&process.name);
        }
        self.replace_the_dead();
    }
}
