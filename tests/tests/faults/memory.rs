//! What processes of the fleet hold in memory, as the kernel counts it.

use std::fmt;

use anyhow::{Context, Result, ensure};

use super::fleet::Fleet;
use super::process::Process;

pub const MIB: u64 = 1024 * 1024;

/// The most that one process of each kind holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub coordinator: u64,
    pub worker: u64,
}

impl Memory {
    /// Resident now.
    pub fn resident(fleet: &Fleet) -> Result<Memory> {
        Memory::of(fleet, "VmRSS:")
    }

    /// The most that was ever resident of those that live.
    pub fn peak(fleet: &Fleet) -> Result<Memory> {
        Memory::of(fleet, "VmHWM:")
    }

    fn of(fleet: &Fleet, line: &str) -> Result<Memory> {
        Ok(Memory {
            coordinator: most(fleet.coordinators.iter().map(|(process, _)| process), line)?,
            worker: most(fleet.workers.iter(), line)?,
        })
    }

    /// The larger of both, of each kind.
    #[must_use]
    pub fn max(self, other: Memory) -> Memory {
        Memory {
            coordinator: self.coordinator.max(other.coordinator),
            worker: self.worker.max(other.worker),
        }
    }

    /// Fails where a kind holds more than `most`, or nothing was measured.
    pub fn is_below(self, most: Memory, what: &str) -> Result<()> {
        ensure!(self.coordinator > 0 && self.worker > 0, "{what}: nothing was measured");
        ensure!(
            self.coordinator <= most.coordinator && self.worker <= most.worker,
            "{what} is {self}, above the bound {most}"
        );
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (coordinator, worker) = (self.coordinator / MIB, self.worker / MIB);
        write!(f, "{coordinator} MiB a coordinator, {worker} MiB a worker")
    }
}

fn most<'a>(processes: impl Iterator<Item = &'a Process>, line: &str) -> Result<u64> {
    let mut most = 0;
    for process in processes {
        most = bytes(process, line)?.max(most);
    }
    Ok(most)
}

/// The bytes in a line of the process's status.
fn bytes(process: &Process, line: &str) -> Result<u64> {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(&path).with_context(|| format!("{} has gone", process.name))?;
    let found = status.lines().find_map(|one| one.strip_prefix(line));
    let kib = found.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kib: u64 = kib.with_context(|| format!("{path} says no {line}"))?.trim().parse()?;
    Ok(kib * 1024)
}
