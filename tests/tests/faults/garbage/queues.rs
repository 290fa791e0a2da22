//! Messages for the task and event queues that are not what they seem.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rejoin_shared::ids::Namespace;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Address, Link, LinkState, Message, Published};
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::{PROTOCOL, kind};
use rejoin_tests::dice::Dice;

use super::super::fleet::Fleet;
use super::noise;

/// For the last of it to be looked at.
const BURIED_WITHIN: Duration = Duration::from_secs(120);

/// Messages as the contract shows them, with the queues that they are for. No fence: one is passed on to the queue that it names,
/// which may be nobody's.
const EVENTS: [(&str, &str); 4] = [
    (
        kind::COMPLETIONS,
        include_str!("../../../../shared/tests/golden/wire/completions.json"),
    ),
    (
        kind::CHECK,
        include_str!("../../../../shared/tests/golden/wire/check.json"),
    ),
    (
        kind::HAND_BACK,
        include_str!("../../../../shared/tests/golden/wire/hand_back.json"),
    ),
    (
        kind::FETCH_CONTEXT,
        include_str!("../../../../shared/tests/golden/wire/fetch_context.json"),
    ),
];
const TASKS: [(&str, &str); 2] = [
    (
        kind::PACK,
        include_str!("../../../../shared/tests/golden/wire/pack.json"),
    ),
    (
        kind::PACK,
        include_str!("../../../../shared/tests/golden/wire/pack_claim.json"),
    ),
];

/// What was published.
#[derive(Default)]
pub struct Sent {
    /// To be given up.
    unreadable: u64,
    /// Well formed, of runs that are not there: to be taken and forgotten.
    lies: u64,
    bytes: usize,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sent {
            unreadable,
            lies,
            bytes,
        } = self;
        write!(
            f,
            "{unreadable} unreadable messages buried and {lies} of unknown runs taken in ({} kB)",
            bytes / 1000
        )
    }
}

fn topology(fleet: &Fleet) -> Topology {
    Topology {
        prefix: fleet.prefix.clone(),
    }
}

async fn connect(fleet: &Fleet) -> Result<Arc<AmqpLink>> {
    let link = AmqpLink::connect(AmqpConfig::new(&fleet.routes.amqp_url, "garbage"));
    let mut state = link.state();
    let up = state.wait_for(|state| matches!(state, LinkState::Up(_)));
    tokio::time::timeout(Duration::from_secs(30), up).await??;
    Ok(link)
}

/// Publishes about so many bytes of messages, to the task queue and to the event queues that owners have declared.
pub async fn throw(fleet: &Fleet, mut dice: Dice, bytes: u64, sent: &mut Sent) -> Result<()> {
    let (link, events) = (connect(fleet).await?, fleet.event_queues()?);
    ensure!(!events.is_empty(), "there are no event queues");
    let tasks = topology(fleet).tasks(&Namespace::default_name(), "default");
    while (sent.bytes as u64) < bytes {
        let is_task = dice.chance(50);
        let queue = if is_task { &tasks } else { dice.pick(&events) };
        let is_lie = !is_task && dice.chance(20);
        let message = match is_lie {
            true => lie(&mut dice),
            false => unreadable(&mut dice, is_task),
        };
        sent.bytes += message.body.len();
        let published = link.publish(&Address::Queue(queue.clone()), message).await?;
        ensure!(published == Published::Accepted, "{queue}: {published:?}");
        sent.lies += u64::from(is_lie);
        sent.unreadable += u64::from(!is_lie);
    }
    link.close().await;
    Ok(())
}

/// A message of the contract, about a run that never was.
fn lie(dice: &mut Dice) -> Message {
    let (kind, text) = *dice.pick(&EVENTS);
    Message::new(kind, true, text.as_bytes().to_vec())
}

/// One that nobody can make anything of, in one of seven ways.
fn unreadable(dice: &mut Dice, is_task: bool) -> Message {
    let (kind, text) = if is_task {
        *dice.pick(&TASKS)
    } else {
        *dice.pick(&EVENTS)
    };
    let of_kind = |body| Message::new(kind, true, body);
    let whole = text.trim_end().as_bytes();
    match dice.below(7) {
        // A kind that is none, or none of this queue.
        0 => Message::new(
            dice.word(&["", "rejoin.packs", "rejoin.report", "\u{1F4A3}"]),
            true,
            whole.to_vec(),
        ),
        // Another version of the contract, or none at all.
        1 => Message {
            protocol: *dice.pick(&[0, PROTOCOL + 1, u32::MAX]),
            ..of_kind(whole.to_vec())
        },
        // Cut off; the last byte closes the object.
        2 => of_kind(whole[..dice.below(whole.len())].to_vec()),
        3 => {
            let bytes = 1 + dice.below(8192);
            of_kind([b"\xFF".to_vec(), noise(dice, bytes)].concat())
        }
        // Of another form: a value that is no object, or an object with nothing in it.
        4 => of_kind(
            dice.word(&["null", "[]", "{}", "\"\"", "0", "{\"worker\":0}"])
                .as_bytes()
                .to_vec(),
        ),
        // Deeper than anything that is read.
        5 => of_kind(b"[".repeat(1 + dice.below(100_000))),
        _ => of_kind([whole, &noise(dice, 64), b"\0"].concat()),
    }
}

/// Waits until the dead letters are as many as were sent to be.
pub async fn all_are_buried(fleet: &Fleet, sent: &Sent) -> Result<()> {
    let (link, began) = (connect(fleet).await?, Instant::now());
    let dead = topology(fleet).dead();
    loop {
        let depth = link.depth(&dead).await?.unwrap_or_default();
        if depth.messages == sent.unreadable {
            break;
        }
        ensure!(
            depth.messages < sent.unreadable && began.elapsed() < BURIED_WITHIN,
            "{} messages are buried, {} were unreadable; logs in {:?}",
            depth.messages,
            sent.unreadable,
            fleet.keep_logs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    link.close().await;
    // What was taken in is gone.
    loop {
        let left = fleet.messages()?;
        let left: Vec<&String> = left.iter().filter(|line| !line.starts_with(&dead)).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < BURIED_WITHIN, "messages are left: {left:?}");
    }
}
