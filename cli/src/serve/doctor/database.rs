//! The database: reachable, migrated, with all rights; who owns what; its clock.

use std::time::Duration;

use rejoin_coordinator::store::postgres::{KeyUse, MigrationState, PostgresStore, migrate_check, read_only};
use rejoin_coordinator::store::{PartitionRow, Store as _, StoreError};
use rejoin_shared::config::Settings;
use rejoin_shared::ids::{PARTITIONS, Partition};
use rejoin_shared::time::Timestamp;

use super::{Finding, Fix};
use crate::serve::{database, store_config};

/// Clocks of one installation are no further apart than this.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Default)]
pub struct Seen {
    pub findings: Vec<Finding>,
    /// Partitions whose event queue is in use.
    pub event_queues: Vec<Partition>,
    /// Whether a coordinator is alive.
    pub is_served: bool,
}

/// Looks at the database.
pub async fn look(settings: &Settings) -> Seen {
    let url = &settings.database.url;
    let mut seen = Seen::default();
    let state = match migrations(settings).await {
        Ok(state) => state,
        Err((why, advice)) => {
            let found = format!("{url}: {why}");
            seen.findings.push(Finding::new("database", false, found, advice));
            return seen;
        }
    };
    seen.findings
        .push(Finding::new("database", true, format!("{url} answers"), ""));
    let found = match (state.pending.as_slice(), state.unknown.as_slice()) {
        ([], []) => format!("{} applied", state.applied.len()),
        ([], newer) => {
            let (applied, newer) = (state.applied.len(), newer.join(", "));
            format!("{applied} applied; newer than this program: {newer}")
        }
        (pending, _) => format!("pending: {}", pending.join(", ")),
    };
    let fix = (!state.pending.is_empty()).then_some(Fix::Migrate);
    let migrated = Finding::new("migrations", fix.is_none(), found, "run `rejoin migrate`");
    let is_migrated = fix.is_none();
    seen.findings.push(migrated.mended_by(fix));
    if let Some(why) = closed(settings).await {
        // What the user may do there, and who lives, follows from that.
        seen.findings.push(why);
        return seen;
    }
    if is_migrated && let Err(e) = inside(settings, &mut seen).await {
        let advice = "check the rights of the database's user";
        seen.findings.push(Finding::new("database", false, e, advice));
    }
    seen
}

/// What ran, or why that cannot be said, and what to do about it.
async fn migrations(settings: &Settings) -> Result<MigrationState, (String, &'static str)> {
    let config = store_config(settings).map_err(|e| (e.to_string(), "correct the section [database]"))?;
    migrate_check(config).await.map_err(|e| {
        let advice = match matches!(e, StoreError::Schema(_)) {
            true => "give the database's user the right to read and write all tables of the schema, or let it own them",
            false => "check that PostgreSQL runs there, and the user, password and name in database.url; with TLS its certificate and database.tls_ca",
        };
        (e.to_string(), advice)
    })
}

/// That the database takes no writes, if so: nothing can go on there.
async fn closed(settings: &Settings) -> Option<Finding> {
    let url = &settings.database.url;
    let asked = match store_config(settings) {
        Ok(config) => read_only(config).await.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let found = match asked {
        Ok(None) => return None,
        Ok(Some(why)) => format!("{url} takes no writes: {why}"),
        Err(e) => format!("{url}: {e}"),
    };
    let advice = "let database.url name the primary, or let it take writes again (`alter database … reset default_transaction_read_only`); \
                  coordinators cannot work before";
    Some(Finding::new("database", false, found, advice))
}

async fn inside(settings: &Settings, seen: &mut Seen) -> Result<(), String> {
    let store = database(settings).await.map_err(|e| e.to_string())?;
    let text = |e: StoreError| e.to_string();
    seen.findings.push(rights(&store).await.map_err(text)?);
    seen.findings.push(clock(&store).await.map_err(text)?);
    seen.findings.extend(keys(settings, &store).await);
    owners(&store, seen).await.map_err(text)
}

async fn rights(store: &PostgresStore) -> Result<Finding, StoreError> {
    let lacking = store.rights_lacking().await?;
    let found = match lacking.as_slice() {
        [] => "the user may read and write all tables".to_owned(),
        some => format!("the user may not {}", some.join(", ")),
    };
    let advice = "grant select, insert, update and delete on all tables of the schema, or let the user own them";
    Ok(Finding::new("rights", lacking.is_empty(), found, advice))
}

/// Which keys payloads are sealed with; nothing where there are none.
async fn keys(settings: &Settings, store: &PostgresStore) -> Option<Finding> {
    let used = match store.keys_in_use().await {
        Ok(used) => used,
        // It goes over all runs, which may take longer than a statement may.
        Err(error) => {
            let found = format!("which keys are in use could not be counted: {error}");
            return Some(Finding::new("encryption", true, found, ""));
        }
    };
    let ours = &settings.encryption;
    let (newest, mut told) = (ours.newest(), Vec::new());
    told.extend(newest.map(|id| format!("key {id} is written with")));
    for key in &used {
        let lacks = if ours.keys.contains_key(&key.id) {
            ""
        } else {
            " and is not in encryption.keys"
        };
        let KeyUse { id, runs, schedules } = key;
        told.push(format!(
            "key {id} is in use by {runs} runs and {schedules} schedules{lacks}"
        ));
    }
    let known = store
        .keys_known()
        .await
        .unwrap_or_else(|_| ours.keys.keys().cloned().collect());
    let needs = |id: &String| known.contains(id) || newest == Some(id.as_str()) || used.iter().any(|key| key.id == *id);
    for id in ours.keys.keys().filter(|id| !needs(id)) {
        told.push(format!(
            "key {id} seals nothing here: it is new, or can be taken out of encryption.keys"
        ));
    }
    let is_ok = used.iter().all(|key| ours.keys.contains_key(&key.id));
    let advice = "add the key to encryption.keys of every coordinator; what is sealed with it cannot be read without";
    (!told.is_empty()).then(|| Finding::new("encryption", is_ok, told.join("; "), advice))
}

/// The database's time was read somewhere between two looks at our own.
async fn clock(store: &PostgresStore) -> Result<Finding, StoreError> {
    let before = Timestamp::now();
    let theirs = store.now().await?;
    let after = Timestamp::now();
    let apart = before.since(theirs).max(theirs.since(after));
    let found = match apart.is_zero() {
        true => "agree with the database's".to_owned(),
        false => format!("{} ms apart from the database's", apart.as_millis()),
    };
    let advice = "synchronise the clocks (NTP): times of schedules, waits and logs are told by the database's";
    Ok(Finding::new("clocks", apart <= CLOCKS_APART_MAX, found, advice))
}

async fn owners(store: &PostgresStore, seen: &mut Seen) -> Result<(), StoreError> {
    let (members, partitions) = (store.members().await?, store.partitions().await?);
    let alive: Vec<&str> = members
        .iter()
        .filter(|m| m.lease_left_ms > 0)
        .map(|m| m.member.name.as_str())
        .collect();
    seen.is_served = !alive.is_empty();
    seen.event_queues = partitions
        .iter()
        .filter(|p| p.has_events)
        .map(|p| p.partition)
        .collect();
    let found = match alive.as_slice() {
        [] => "none is alive".to_owned(),
        names => names.join(", "),
    };
    let advice = "start one with `rejoin coordinator`";
    seen.findings
        .push(Finding::new("coordinators", !alive.is_empty(), found, advice));
    let orphaned = partitions
        .iter()
        .filter(|p: &&PartitionRow| p.owner.is_none() || !p.is_live);
    let orphaned: Vec<Partition> = orphaned.map(|p| p.partition).collect();
    let total = usize::from(PARTITIONS);
    let mut found = format!("{} of {total} have a live owner", total - orphaned.len());
    if !orphaned.is_empty() {
        let waiting = store.open_runs(&orphaned).await?.len();
        found.push_str(&format!("; {waiting} open runs wait in the others"));
    }
    let advice = "with a coordinator alive this heals within its lease; runs of the others wait until then";
    seen.findings
        .push(Finding::new("partitions", orphaned.is_empty(), found, advice));
    Ok(())
}
