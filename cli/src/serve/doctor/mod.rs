//! `rejoin doctor`: what is wrong with an installation, what to do, and with `--fix` what can be mended at once.

mod broker;
mod database;
mod fleet;

use rejoin_coordinator::store::postgres::migrate;
use rejoin_shared::config::Settings;
use rejoin_shared::link::QueueSpec;

use super::{settings, store_config};
use crate::args::{DoctorArgs, Global};
use crate::exit::{self, Failure};
use crate::output;

/// Outcome of one look.
struct Finding {
    ok: bool,
    what: &'static str,
    found: String,
    /// What to do about it.
    advice: &'static str,
    /// What `--fix` does about it.
    fix: Option<Fix>,
}

/// What can be mended without asking: nothing of it loses a run.
enum Fix {
    Migrate,
    Declare(Vec<QueueSpec>),
    /// Queues that exist with other arguments are deleted first; what was in them is published again.
    Redeclare(Vec<QueueSpec>),
}

impl Finding {
    fn new(what: &'static str, ok: bool, found: impl Into<String>, advice: &'static str) -> Finding {
        Finding {
            ok,
            what,
            found: found.into(),
            advice,
            fix: None,
        }
    }

    fn mended_by(self, fix: Option<Fix>) -> Finding {
        Finding { fix, ..self }
    }
}

/// Looks at everything and tells; exit code 1 if anything is wrong.
pub async fn run(global: &Global, args: DoctorArgs) -> Result<u8, Failure> {
    let settings = settings(&args.servers)?;
    let mut findings = look(&settings, global).await;
    if args.fix && mend(&settings, &findings).await? {
        findings = look(&settings, global).await;
    }
    let mut wrong = 0;
    for finding in &findings {
        let mark = if finding.ok { "ok   " } else { "WRONG" };
        output::line(&format!("{mark}  {:<14}{}", finding.what, finding.found))?;
        if !finding.ok {
            wrong += 1;
            output::line(&format!("       {:<14}→ {}", "", finding.advice))?;
        }
        if finding.fix.is_some() && !args.fix {
            output::line(&format!("       {:<14}→ `rejoin doctor --fix` does it", ""))?;
        }
    }
    Ok(if wrong == 0 { exit::OK } else { exit::ERROR })
}

async fn look(settings: &Settings, global: &Global) -> Vec<Finding> {
    let seen = database::look(settings).await;
    let mut findings = seen.findings;
    let at_broker = broker::look(settings, &seen.event_queues).await;
    let has_broker = at_broker
        .iter()
        .all(|finding| finding.ok || finding.what != broker::WHAT);
    findings.extend(at_broker);
    if seen.is_served {
        findings.extend(fleet::look(global, has_broker).await);
    }
    findings
}

/// Does what the findings say can be done; whether anything was done.
async fn mend(settings: &Settings, findings: &[Finding]) -> Result<bool, Failure> {
    let mut done = false;
    for finding in findings {
        match &finding.fix {
            None => continue,
            Some(Fix::Migrate) => {
                let migrated = migrate(store_config(settings)?).await;
                let state = migrated.map_err(|e| Failure::general(format!("migrations: {e}")))?;
                output::line(&format!("mended {:<14}{} applied", finding.what, state.applied.len()))?;
            }
            Some(Fix::Declare(queues)) => {
                broker::declare(settings, queues, false).await?;
                output::line(&format!("mended {:<14}declared {}", finding.what, names(queues)))?;
            }
            Some(Fix::Redeclare(queues)) => {
                broker::declare(settings, queues, true).await?;
                output::line(&format!(
                    "mended {:<14}deleted and declared {}",
                    finding.what,
                    names(queues)
                ))?;
            }
        }
        done = true;
    }
    Ok(done)
}

fn names(queues: &[QueueSpec]) -> String {
    let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
    names.join(", ")
}
