//! `rejoin encryption status`, `rejoin encryption reseal`: in the database itself, beside coordinators that go on.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use rejoin_coordinator::store::postgres::reseal::{Kept, Outcome, Resealing, Seen, Told, Unready};
use rejoin_coordinator::store::seal::SealedBy;
use rejoin_shared::config::Settings;
use rejoin_shared::json::Json;

use super::{settings, store_config};
use crate::args::{EncryptionCommand, Global};
use crate::exit::{self, Failure};
use crate::output;
use crate::output::table::{Column, member};

/// How often it is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// Payloads that do not open, which are named; more are counted.
const NAMED_MAX: u64 = 100;

/// Carries an `encryption` command out.
pub async fn run(global: &Global, command: EncryptionCommand) -> Result<u8, Failure> {
    match command {
        EncryptionCommand::Status { servers } => status(global, &settings(&servers)?).await,
        EncryptionCommand::Reseal { servers, to_plain } => reseal(global, &settings(&servers)?, to_plain).await,
    }
}

async fn status(global: &Global, settings: &Settings) -> Result<u8, Failure> {
    let counting = Resealing::count_only(store_config(settings)?).await;
    let counting = counting.map_err(|e| unready(settings, &e))?;
    let outcome = counting.run(progress()).await.map_err(|e| failed(settings, &e))?;
    let items: Vec<Json> = outcome.tables.iter().flat_map(by_key).collect();
    let columns = [
        Column {
            head: "TABLE",
            cell: |item| member(item, "table"),
        },
        Column {
            head: "KEY",
            cell: |item| match item.get("key") {
                Some(Json::Null) | None => "(plain)".to_owned(),
                Some(_) => member(item, "key"),
            },
        },
        Column {
            head: "PAYLOADS",
            cell: |item| member(item, "payloads"),
        },
    ];
    output::list(global.output, &items, &columns)?;
    Ok(exit::OK)
}

/// An item for each key that a table has payloads of.
fn by_key((kept, seen): &(Kept, Seen)) -> Vec<Json> {
    let item = |(by, payloads): (&SealedBy, &u64)| {
        let key = match by {
            SealedBy::Nobody => Json::Null,
            SealedBy::Key(id) => Json::str(id),
            SealedBy::Nothing => Json::str("(damaged)"),
        };
        Json::from_entries([
            ("table", Json::str(kept.name())),
            ("key", key),
            ("payloads", count(*payloads)),
        ])
    };
    seen.payloads.iter().map(item).collect()
}

async fn reseal(global: &Global, settings: &Settings, to_plain: bool) -> Result<u8, Failure> {
    let newest = settings.encryption.newest();
    match (newest, to_plain) {
        (Some(id), true) => {
            return Err(Failure::usage(format!(
                "--to-plain: encryption.key is {id}: empty it, on all coordinators first, which would go on sealing"
            )));
        }
        (None, false) => {
            return Err(Failure::usage(
                "encryption.key names no key to seal with; --to-plain opens everything",
            ));
        }
        (Some(_), false) | (None, true) => {}
    }
    let resealing = Resealing::begin(store_config(settings)?).await;
    let resealing = resealing.map_err(|e| unready(settings, &e))?;
    let outcome = resealing.run(progress()).await.map_err(|e| failed(settings, &e))?;
    tell(global, &outcome, newest)
}

fn unready(settings: &Settings, why: &Unready) -> Failure {
    match why {
        Unready::Store(error) => failed(settings, error),
        Unready::NotInUse(_) | Unready::NotNewest { .. } | Unready::Outdated { .. } => {
            Failure::new(exit::CONFLICT, why.to_string())
        }
    }
}

fn failed(settings: &Settings, error: &rejoin_coordinator::store::StoreError) -> Failure {
    let url = &settings.database.url;
    Failure::general(format!(
        "database {url}: {error}; what was written is written, and a repetition goes on with the rest"
    ))
}

/// Tells on standard error which payloads do not open, and on a terminal now and then how far it is.
fn progress() -> impl FnMut(Told<'_>) {
    let (mut named, mut told_at, is_watched) = (0, Instant::now(), std::io::stderr().is_terminal());
    move |told| match told {
        Told::Unreadable(kept, why) => {
            named += 1;
            match named {
                ..=NAMED_MAX => output::note(&format!("{}: {why}", kept.name())),
                _ if named == NAMED_MAX + 1 => output::note("more payloads do not open, and are only counted"),
                _ => {}
            }
        }
        Told::Page(kept, seen) => {
            if is_watched && told_at.elapsed() >= TOLD_EVERY {
                told_at = Instant::now();
                let (rows, written) = (seen.rows, seen.written);
                output::note(&format!("{}: {rows} rows looked at, {written} written", kept.name()));
            }
        }
    }
}

/// What was done: a line a table, and whether that is all; exit code 1 if not.
fn tell(global: &Global, outcome: &Outcome, newest: Option<&str>) -> Result<u8, Failure> {
    output::value(global.output, &json(outcome, newest).to_bytes(), || {
        shown(outcome, newest)
    })?;
    if !outcome.is_done {
        output::note(
            "error: there was something to do in every pass: does a coordinator still write with another key, or none? Restart it with the new encryption.key, and repeat this",
        );
    }
    let unreadable = outcome.unreadable();
    if unreadable > 0 {
        output::note(&format!(
            "error: {unreadable} payloads do not open and were left as they are"
        ));
    }
    Ok(match outcome.is_done && unreadable == 0 {
        true => exit::OK,
        false => exit::ERROR,
    })
}

fn count(count: u64) -> Json {
    Json::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn json(outcome: &Outcome, newest: Option<&str>) -> Json {
    let table = |(kept, seen): &(Kept, Seen)| {
        Json::from_entries([
            ("table", Json::str(kept.name())),
            ("rows", count(seen.rows)),
            ("written", count(seen.written)),
            ("unreadable", count(seen.unreadable)),
        ])
    };
    let retired = outcome.retired.iter().map(|id| Json::str(id)).collect();
    Json::from_entries([
        ("key", newest.map(Json::str).unwrap_or_default()),
        ("is_done", Json::Bool(outcome.is_done)),
        ("tables", Json::list(outcome.tables.iter().map(table).collect())),
        ("retired", Json::list(retired)),
    ])
}

fn shown(outcome: &Outcome, newest: Option<&str>) -> String {
    let verb = match newest {
        Some(id) => format!("sealed with {id}"),
        None => "opened".to_owned(),
    };
    let mut text = String::new();
    for (kept, seen) in &outcome.tables {
        let Seen {
            rows,
            written,
            unreadable,
            ..
        } = seen;
        let wrong = match unreadable {
            0 => String::new(),
            some => format!(", {some} payloads do not open"),
        };
        text.push_str(&format!(
            "{:<10}{rows} rows, {written} {verb} anew{wrong}\n",
            kept.name()
        ));
    }
    for id in &outcome.retired {
        text.push_str(&format!(
            "key {id} seals nothing any more: take it out of encryption.keys; backups made before need it\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_table_tells_what_was_done_and_then_which_keys_are_free() {
        let seen = Seen {
            rows: 9,
            written: 4,
            unreadable: 1,
            ..Seen::default()
        };
        let outcome = Outcome {
            tables: vec![(Kept::Journal, seen), (Kept::Waits, Seen::default())],
            is_done: true,
            retired: vec!["k1".to_owned()],
        };
        assert_eq!(
            shown(&outcome, Some("k2")),
            "journal   9 rows, 4 sealed with k2 anew, 1 payloads do not open\n\
             waits     0 rows, 0 sealed with k2 anew\n\
             key k1 seals nothing any more: take it out of encryption.keys; backups made before need it\n"
        );
        let expected = r#"{"is_done":true,"key":"k2","retired":["k1"],"tables":[{"rows":9,"table":"journal","unreadable":1,"written":4},{"rows":0,"table":"waits","unreadable":0,"written":0}]}"#;
        assert_eq!(json(&outcome, Some("k2")).to_string(), expected);
    }
}
