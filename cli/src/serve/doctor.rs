//! `rejoin doctor`: what is wrong with an installation, and what to do.

use std::time::Duration;

use rejoin_coordinator::store::postgres::migrate_check;
use rejoin_coordinator::store::{PartitionRow, Store};
use rejoin_shared::config::Settings;
use rejoin_shared::ids::PARTITIONS;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Link, LinkState};
use rejoin_shared::topology::Topology;
use tokio::time::timeout;

use super::{database, settings};
use crate::args::ServerArgs;
use crate::exit::{self, Failure};
use crate::output;

/// Longest wait for the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(8);

/// Outcome of one look.
struct Finding {
    ok: bool,
    what: &'static str,
    found: String,
    /// What to do about it.
    advice: &'static str,
}

/// Looks at everything and tells; exit code 1 if anything is wrong.
pub async fn run(args: ServerArgs) -> Result<u8, Failure> {
    let settings = settings(&args)?;
    let mut findings = of_database(&settings).await;
    findings.extend(of_broker(&settings).await);
    let mut wrong = 0;
    for finding in &findings {
        let mark = if finding.ok { "ok   " } else { "WRONG" };
        output::line(&format!("{mark}  {:<14}{}", finding.what, finding.found))?;
        if !finding.ok {
            wrong += 1;
            output::line(&format!("       {:<14}→ {}", "", finding.advice))?;
        }
    }
    Ok(if wrong == 0 { exit::OK } else { exit::ERROR })
}

async fn of_database(settings: &Settings) -> Vec<Finding> {
    let url = &settings.database.url;
    let mut findings = Vec::new();
    let migrations = migrate_check(url.reveal()).await;
    let reached = migrations.is_ok();
    findings.push(Finding {
        ok: reached,
        what: "database",
        found: match &migrations {
            Ok(_) => format!("{url} answers"),
            Err(e) => format!("{url}: {e}"),
        },
        advice: "check that PostgreSQL runs there, and the user, password and name in database.url",
    });
    let Ok(state) = migrations else {
        return findings;
    };
    findings.push(Finding {
        ok: state.pending.is_empty(),
        what: "migrations",
        found: match state.pending.as_slice() {
            [] => format!("{} applied", state.applied.len()),
            pending => format!("pending: {}", pending.join(", ")),
        },
        advice: "run `rejoin migrate`",
    });
    if state.pending.is_empty() {
        findings.extend(of_owners(settings).await);
    }
    findings
}

async fn of_owners(settings: &Settings) -> Vec<Finding> {
    let looked = async {
        let store = database(settings).await?;
        let away = |e: rejoin_coordinator::store::StoreError| Failure::general(e.to_string());
        let members = store.members().await.map_err(away)?;
        let partitions = store.partitions().await.map_err(away)?;
        Ok::<_, Failure>((members, partitions))
    };
    let (members, partitions) = match looked.await {
        Ok(found) => found,
        Err(e) => {
            return vec![Finding {
                ok: false,
                what: "coordinators",
                found: e.to_string(),
                advice: "check the rights of the database's user",
            }];
        }
    };
    let alive: Vec<&str> = members
        .iter()
        .filter(|m| m.lease_left_ms > 0)
        .map(|m| m.member.name.as_str())
        .collect();
    let owned = partitions
        .iter()
        .filter(|p: &&PartitionRow| p.owner.is_some() && p.is_live)
        .count();
    let total = usize::from(PARTITIONS);
    vec![
        Finding {
            ok: !alive.is_empty(),
            what: "coordinators",
            found: match alive.as_slice() {
                [] => "none is alive".to_owned(),
                names => names.join(", "),
            },
            advice: "start one with `rejoin coordinator`",
        },
        Finding {
            ok: owned == total,
            what: "partitions",
            found: format!("{owned} of {total} have a live owner"),
            advice: "with a coordinator alive this heals within its lease; runs of the others wait until then",
        },
    ]
}

async fn of_broker(settings: &Settings) -> Vec<Finding> {
    let url = &settings.amqp.url;
    let config = AmqpConfig::new(url.reveal(), "rejoin doctor");
    if let Err(reason) = config.validate() {
        return vec![Finding {
            ok: false,
            what: "broker",
            found: format!("amqp.url: {reason}"),
            advice: "correct amqp.url",
        }];
    }
    let link = AmqpLink::connect(config);
    let mut state = link.state();
    let up = timeout(BROKER_TIMEOUT, state.wait_for(|s| *s != LinkState::Down)).await;
    let seen = up.ok().and_then(Result::ok).map(|s| *s);
    let mut findings = vec![match seen {
        Some(LinkState::Up(_)) => Finding {
            ok: true,
            what: "broker",
            found: format!("{url} answers"),
            advice: "",
        },
        Some(LinkState::Blocked(_)) => Finding {
            ok: false,
            what: "broker",
            found: format!("{url} blocks publishers"),
            advice: "RabbitMQ has a memory or disk alarm: `rabbitmq-diagnostics alarms`",
        },
        Some(LinkState::Down) | None => Finding {
            ok: false,
            what: "broker",
            found: format!("{url}: no connection within {} s", BROKER_TIMEOUT.as_secs()),
            advice: "check that RabbitMQ runs there, and the user, password and vhost in amqp.url",
        },
    }];
    if matches!(seen, Some(LinkState::Up(_))) {
        findings.push(of_topology(settings, &*link).await);
    }
    link.close().await;
    findings
}

/// Declares the dead letter queue, which everything else needs: finds missing rights and queues of other arguments.
async fn of_topology(settings: &Settings, link: &dyn Link) -> Finding {
    let topology = Topology {
        prefix: settings.amqp.prefix.clone(),
    };
    let declared = link.declare(&topology.dead_queue()).await;
    let dead = link
        .depth(&topology.dead())
        .await
        .ok()
        .flatten()
        .map_or(0, |d| d.messages);
    Finding {
        ok: declared.is_ok() && dead == 0,
        what: "topology",
        found: match declared {
            Ok(()) if dead == 0 => "queues can be declared".to_owned(),
            Ok(()) => format!("{dead} dead letters in {}", topology.dead()),
            Err(e) => e.to_string(),
        },
        advice: "give the user configure, write and read rights on its vhost; look at dead letters before they pile up",
    }
}
