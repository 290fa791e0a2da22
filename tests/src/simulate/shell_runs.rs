//! The runs of a simulated shell as their journals tell: which there are, what may come to them from outside, how they ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use rejoin_coordinator::read::journal::each_record;
use rejoin_coordinator::store::{JournalRow, RunRow, Store};
use rejoin_engine::record::{Fact, Record};
use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;

use super::outside::{Due, Mailbag};
use super::replies::labelled;
use crate::generate::Case;
use crate::reference::{At, Ending, Operation, Outside as _, Told};

/// A run that was called.
#[derive(Clone, Debug)]
struct Called {
    label: String,
    workflow: String,
    version: Option<u32>,
}

/// All runs, as far as the calls of them are committed.
#[derive(Default)]
pub struct Runs {
    called: Mutex<BTreeMap<RunId, Called>>,
    tries: Mutex<BTreeMap<String, u32>>,
    /// Steps for which an operator asked something and got no answer: it may be carried out once more than is known.
    unanswered: Mutex<BTreeSet<String>>,
}

impl Runs {
    /// The run of the case.
    pub fn first(&self, run: RunId) {
        let first = Called {
            label: String::new(),
            workflow: "generated".to_owned(),
            version: None,
        };
        self.called.lock().expect("the runs").insert(run, first);
    }

    /// A row is committed.
    pub fn note(&self, row: &JournalRow) {
        if row.kind != "child_started" {
            return;
        }
        let body: serde_json::Value = serde_json::from_slice(&row.body).unwrap_or_default();
        let child = body.get("child").and_then(|id| id.as_str()?.parse::<RunId>().ok());
        let Some(child) = child else { return };
        let place = format!("{}{}", self.label(row.run), row.path.as_deref().unwrap_or_default());
        let mut tries = self.tries.lock().expect("the tries");
        let tries = tries.entry(place.clone()).or_default();
        *tries += 1;
        let text = |key: &str| {
            body.get(key)
                .and_then(|text| text.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let called = Called {
            label: format!("{place}~{tries}:"),
            workflow: text("workflow"),
            version: body.get("version").and_then(|n| u32::try_from(n.as_u64()?).ok()),
        };
        self.called.lock().expect("the runs").insert(child, called);
    }

    /// What its paths stand behind.
    #[must_use]
    pub fn label(&self, run: RunId) -> String {
        let called = self.called.lock().expect("the runs");
        called.get(&run).map(|called| called.label.clone()).unwrap_or_default()
    }

    fn all(&self) -> Vec<(RunId, Called)> {
        let called = self.called.lock().expect("the runs");
        called.iter().map(|(run, called)| (*run, called.clone())).collect()
    }

    fn labels(&self) -> BTreeMap<RunId, String> {
        self.all()
            .into_iter()
            .map(|(run, called)| (run, called.label))
            .collect()
    }

    /// Whether all runs have ended, but those that wait for what never comes and that nobody waits for.
    ///
    /// # Errors
    /// The store's.
    pub async fn have_ended(&self, store: &dyn Store, case: &Case) -> Result<bool, String> {
        for (run, called) in self.all() {
            let is_known = called.label.is_empty() || definition(case, &called).is_some();
            if !is_known && called.workflow != "stuck" {
                continue;
            }
            let row = store.run(run).await.map_err(|e| e.to_string())?;
            // Those that wait for what never comes have ended, as far as they can, when they wait.
            let waits = called.workflow == "stuck" && row.as_ref().is_none_or(|row| row.status == RunStatus::Waiting);
            if !waits && row.is_none_or(|row| !row.status.is_terminal()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All that may come to a run now.
    ///
    /// # Errors
    /// A journal that cannot be folded.
    pub async fn due(&self, store: &dyn Store, case: &Case) -> Result<Vec<(RunId, Due)>, String> {
        let mut all = Vec::new();
        for (run, called) in self.all() {
            let Some(def) = definition(case, &called) else { continue };
            let records = records_of(store, run).await?;
            let Some(state) = fold(&records, &def)? else { continue };
            let mut mailbag = Mailbag::default();
            records
                .iter()
                .for_each(|record| note(&mut mailbag, record, &called.label));
            let due = mailbag.due(&state, &called.label, &case.world);
            all.extend(due.into_iter().map(|due| (run, due)));
        }
        Ok(all)
    }

    /// An operator got no answer about the step there.
    pub fn note_unanswered(&self, place: &str) {
        self.unanswered.lock().expect("the steps").insert(place.to_owned());
    }

    /// Whether operators did what the reference has them do. Asked again for want of an answer, an operation may be carried out
    /// twice: the second time on a step that has failed again, of which the operator would have wanted something else.
    ///
    /// # Errors
    /// An operation that nobody asked for.
    pub async fn operators_did_as_told(&self, store: &dyn Store, case: &Case) -> Result<bool, String> {
        for (run, called) in self.all() {
            let records = records_of(store, run).await?;
            let mut done = BTreeMap::<&str, u32>::new();
            for (path, what) in records.iter().filter_map(|record| operation_of(&record.fact)) {
                let n = done.entry(path).or_default();
                *n += 1;
                let run = &called.label;
                let told = case.world.operate(At { run, path }, *n);
                if told == what {
                    continue;
                }
                let place = format!("{run}{path}");
                return match self.unanswered.lock().expect("the steps").contains(&place) {
                    true => Ok(false),
                    false => Err(format!(
                        "operation {n} at {place} is {what:?}; the operator wanted {told:?}"
                    )),
                };
            }
        }
        Ok(true)
    }

    /// Compares how all runs ended.
    ///
    /// # Errors
    /// The first difference.
    pub async fn with_reference(&self, store: &dyn Store, case: &Case, told: &Told) -> Result<(), String> {
        let labels = self.labels();
        let mut met = BTreeSet::new();
        for (run, called) in self.all() {
            let ending = match called.label.is_empty() {
                true => Some(&told.end),
                false => told.log.children.get(&called.label),
            };
            if definition(case, &called).is_none() && !called.label.is_empty() {
                continue;
            }
            let label = called.label.clone();
            let Some(ending) = ending else {
                return Err(format!("the run {label} is called; the reference calls none"));
            };
            met.insert(label.clone());
            let row = store.run(run).await.map_err(|e| e.to_string())?;
            // What is cancelled may be so before it began.
            let Some(row) = row else { continue };
            ended_as(&row, ending, &labels, told).map_err(|why| format!("run {label}: {why}"))?;
        }
        let missing = told.log.children.keys().find(|label| !met.contains(*label));
        match missing.filter(|_| !told.log.may_cancel) {
            None => Ok(()),
            Some(label) => Err(format!("the run {label} is not called; the reference calls it")),
        }
    }
}

fn definition(case: &Case, called: &Called) -> Option<Arc<Definition>> {
    match called.label.is_empty() {
        true => Some(case.def.clone()),
        false => case.world.definition(&called.workflow, called.version).cloned(),
    }
}

fn fold(records: &[Record], def: &Arc<Definition>) -> Result<Option<RunState>, String> {
    let Some((first, rest)) = records.split_first() else {
        return Ok(None);
    };
    let mut state = RunState::begin(def, first)?;
    rest.iter().try_for_each(|record| state.apply(record))?;
    Ok(Some(state))
}

#[allow(clippy::wildcard_enum_match_arm)] // it asks for three kinds
fn operation_of(fact: &Fact) -> Option<(&str, Operation)> {
    match fact {
        Fact::StepRetried { path, input, .. } => Some((path, Operation::Retry(input.clone()))),
        Fact::StepSkipped { path, output, .. } => Some((path, Operation::Skip(output.clone()))),
        Fact::StepGivenUp { path, error, .. } => Some((path, Operation::Fail(error.kind.clone()))),
        _ => None,
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // it asks for two kinds
fn note(mailbag: &mut Mailbag, record: &Record, label: &str) {
    match &record.fact {
        Fact::EventReceived(received) => {
            let counted = received
                .id
                .as_deref()
                .and_then(|id| id.rsplit_once(':')?.0.rsplit_once(':'));
            if let Some((place, event)) = counted {
                mailbag.count_event(place, event);
            }
        }
        Fact::StepRetried { path, .. } => mailbag.count_operation(&format!("{label}{path}")),
        _ => {}
    }
}

fn ended_as(row: &RunRow, told: &Ending, labels: &BTreeMap<RunId, String>, log: &Told) -> Result<(), String> {
    let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| Json::parse(bytes).ok()).unwrap_or_default();
    if row.status == RunStatus::Cancelled && log.log.may_cancel {
        return Ok(());
    }
    let error = text(row.error.as_deref());
    let kind = error.get("type").and_then(Json::as_str);
    let may_have_less = log.log.may_cancel && told.status == RunStatus::CompensationFailed;
    let is_same = row.status == told.status || may_have_less && row.status == RunStatus::Failed;
    if !is_same || kind != told.error.as_ref().map(|f| f.kind.as_str()) {
        let (ours, theirs) = (row.status.as_str(), told.status.as_str());
        return Err(format!(
            "it ended {ours} with {error}; the reference says {theirs} with {:?}",
            told.error
        ));
    }
    let context = labelled(&text(row.context.as_deref()), labels);
    // What never ends tells its context when somebody looks.
    if row.status.is_terminal() && context != told.context {
        return Err(format!(
            "the final context is\n{context}\nthe reference gives\n{}",
            told.context
        ));
    }
    Ok(())
}

/// All records of a run.
async fn records_of(store: &dyn Store, run: RunId) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let keep = |record| {
        records.push(record);
        Ok(())
    };
    each_record(store, run, None, keep).await.map_err(|e| e.to_string())?;
    Ok(records)
}
