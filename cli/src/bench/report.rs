//! What was measured, for people and for programs.

use rejoin_shared::json::Json;

use super::versions::Versions;
use crate::args::OutputForm;
use crate::exit::Failure;
use crate::output;
use crate::output::table::{Column, member, render};

/// What a number counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    BranchesPerSecond,
    RunsPerSecond,
    StepsPerSecond,
    Milliseconds,
    Microseconds,
    /// Of messages, log or table.
    Bytes,
    /// Of attempts.
    Attempts,
    /// Of runs.
    Runs,
    /// Of memory.
    Mebibytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::BranchesPerSecond => "branches/s",
            Unit::RunsPerSecond => "runs/s",
            Unit::StepsPerSecond => "steps/s",
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "µs",
            Unit::Bytes => "bytes",
            Unit::Attempts => "attempts",
            Unit::Runs => "runs",
            Unit::Mebibytes => "MiB",
        }
    }

    fn rounded(self, value: f64) -> Json {
        let digits = match self {
            Unit::BranchesPerSecond
            | Unit::RunsPerSecond
            | Unit::StepsPerSecond
            | Unit::Attempts
            | Unit::Runs
            | Unit::Bytes => 0,
            Unit::Milliseconds | Unit::Microseconds | Unit::Mebibytes => 1,
        };
        let text = format!("{value:.digits$}");
        Json::parse(text.as_bytes()).unwrap_or_default()
    }
}

/// The values of one scenario.
pub struct Measure {
    name: String,
    unit: Unit,
    values: Vec<f64>,
}

impl Measure {
    pub fn new(name: String, unit: Unit) -> Measure {
        Measure {
            name,
            unit,
            values: Vec::new(),
        }
    }

    pub fn add(&mut self, value: f64) {
        self.values.push(value);
    }

    fn to_json(&self) -> Json {
        let number = |value| self.unit.rounded(value);
        let values = self.values.iter().map(|value| number(*value)).collect();
        Json::from_entries([
            ("scenario", Json::str(&self.name)),
            ("unit", Json::str(self.unit.name())),
            ("median", number(quantile(&self.values, 0.5))),
            ("least", number(quantile(&self.values, 0.0))),
            ("most", number(quantile(&self.values, 1.0))),
            ("values", Json::list(values)),
        ])
    }
}

/// The value below which this share of all lies; the nearest one that was measured.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    // The smallest place that has at least this share of all at or below it.
    let place = (0..=last).find(|place| share_of(place + 1, sorted.len()) >= share);
    place.and_then(|place| sorted.get(place).copied()).unwrap_or(f64::NAN)
}

fn share_of(count: usize, all: usize) -> f64 {
    let number = |n| u32::try_from(n).map_or(f64::MAX, f64::from);
    number(count) / number(all)
}

/// All of it.
pub struct Report {
    pub versions: Versions,
    pub workers: u32,
    pub concurrency: u32,
    pub coordinators: u32,
    pub repeat: u32,
    pub measures: Vec<Measure>,
}

impl Report {
    /// Prints it.
    pub fn print(&self, form: OutputForm) -> Result<(), Failure> {
        output::value(form, &self.to_json().to_bytes(), || self.table())
    }

    fn to_json(&self) -> Json {
        let number = |n: u32| Json::Int(i64::from(n));
        let settings = Json::from_entries([
            ("coordinators", number(self.coordinators)),
            ("workers", number(self.workers)),
            ("concurrency", number(self.concurrency)),
            ("repeat", number(self.repeat)),
        ]);
        Json::from_entries([
            ("versions", self.versions.to_json()),
            ("settings", settings),
            (
                "measures",
                Json::list(self.measures.iter().map(Measure::to_json).collect()),
            ),
        ])
    }

    fn table(&self) -> String {
        let columns = [
            Column {
                head: "SCENARIO",
                cell: |m| member(m, "scenario"),
            },
            Column {
                head: "MEDIAN",
                cell: |m| member(m, "median"),
            },
            Column {
                head: "UNIT",
                cell: |m| member(m, "unit"),
            },
            Column {
                head: "LEAST",
                cell: |m| member(m, "least"),
            },
            Column {
                head: "MOST",
                cell: |m| member(m, "most"),
            },
        ];
        let items: Vec<Json> = self.measures.iter().map(Measure::to_json).collect();
        let Versions {
            postgresql,
            rabbitmq,
            durability,
            cpus,
        } = &self.versions;
        format!(
            "{}\nrejoin {}, PostgreSQL {postgresql} ({durability}), RabbitMQ {rabbitmq}, {cpus} cpus\n\
             {} coordinator(s), {} worker(s) of {} slots, medians of {} repeats after a warm-up\n",
            render(&columns, &items),
            env!("CARGO_PKG_VERSION"),
            self.coordinators,
            self.workers,
            self.concurrency,
            self.repeat,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        let at = |share| quantile(&values, share);
        assert_eq!([at(0.0), at(0.5), at(0.99), at(1.0)], [1.0, 3.0, 5.0, 5.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn the_table_names_servers_and_settings() {
        let mut measure = Measure::new("fanout 10".to_owned(), Unit::BranchesPerSecond);
        measure.add(1234.5);
        let report = Report {
            versions: Versions {
                postgresql: "15.1".to_owned(),
                rabbitmq: "3.10.8".to_owned(),
                durability: "fsync on".to_owned(),
                cpus: 2,
            },
            workers: 2,
            concurrency: 64,
            coordinators: 1,
            repeat: 5,
            measures: vec![measure],
        };
        let table = report.table();
        assert!(table.contains("fanout 10  1234"), "{table}");
        assert!(
            table.contains("PostgreSQL 15.1 (fsync on), RabbitMQ 3.10.8, 2 cpus"),
            "{table}"
        );
    }
}
