//! A case written out in full: definition, workflows that it calls, input, what handlers answer, and the schedule. As YAML it can be
//! kept as a test; `tests/tests/kept` holds those that were.

use super::engine_driver::Faults;
use super::{Failure, Verdict, simulate_case};
use crate::generate::{Case, Doc, Profile, Script, json_of};

/// A case and its schedule.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What comes from outside but is no handler's answer (events, answers of people, operators) follows from it.
    pub seed: u64,
    /// What it is for.
    pub profile: Profile,
    /// The definition.
    pub definition: Doc,
    /// Those that it may call.
    pub workflows: Vec<Doc>,
    /// The run's input.
    pub input: Doc,
    /// What handlers answer; by the seed where nothing is written down.
    pub script: Option<Script>,
    /// What goes wrong.
    pub faults: Faults,
}

impl Kept {
    /// A case as it was drawn.
    ///
    /// # Errors
    /// Documents that cannot be read, which cannot be: they were.
    pub fn of(case: &Case, profile: Profile, faults: &Faults) -> Result<Kept, String> {
        let workflows = case.children.iter().map(|(_, text)| Doc::read(text));
        Ok(Kept {
            seed: case.seed,
            profile,
            definition: Doc::read(&case.text)?,
            workflows: workflows.collect::<Result<_, _>>()?,
            input: Doc::of_json(&case.input),
            script: None,
            faults: Faults {
                schedule: Some(faults.schedule.unwrap_or(case.seed)),
                ..faults.clone()
            },
        })
    }

    /// What the simulator runs.
    ///
    /// # Errors
    /// What the parser refuses.
    pub fn case(&self) -> Result<Case, String> {
        let name = |doc: &Doc| Some(doc.get("workflow")?.as_text()?.to_owned());
        let children = self.workflows.iter();
        let children = children.map(|doc| Some((name(doc)?, doc.to_json())));
        let children = children.collect::<Option<_>>().ok_or("a workflow without a name")?;
        let mut case = Case::read(self.seed, self.definition.to_json(), children, self.profile)?;
        case.input = json_of(&self.input)?;
        if let Some(script) = &self.script {
            case.world = case.world.told(script.clone());
        }
        Ok(case)
    }

    /// Runs it.
    ///
    /// # Errors
    /// As [`simulate_case`].
    ///
    /// # Panics
    /// If the parser refuses it.
    pub fn simulate(&self) -> Result<Verdict, Failure> {
        let case = self.case().unwrap_or_else(|why| panic!("{why}"));
        simulate_case(&case, self.profile, &self.faults)
    }

    /// As text; planted bugs are left out.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut doc = Doc::one("seed", Doc::number(self.seed));
        doc.put("profile", Doc::text(profile_name(self.profile)));
        let mut faults = Doc::Map(Vec::new());
        for (name, share) in self.faults.clone().shares() {
            if *share > 0 {
                faults.put(name, Doc::number(share));
            }
        }
        let (schedule, turns) = (self.faults.schedule, self.faults.turns_max);
        schedule
            .into_iter()
            .for_each(|n| faults.put("schedule", Doc::number(n)));
        turns.into_iter().for_each(|n| faults.put("turns", Doc::number(n)));
        doc.put("faults", faults);
        doc.put("definition", self.definition.clone());
        doc.put("workflows", Doc::List(self.workflows.clone()));
        doc.put("input", self.input.clone());
        if let Some(script) = &self.script {
            doc.put("script", script.to_doc());
        }
        doc.to_yaml().trim_start().to_owned()
    }

    /// Reads what [`Kept::to_yaml`] wrote.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(text: &str) -> Result<Kept, String> {
        let doc = Doc::read(text)?;
        let get = |key: &str| doc.get(key).ok_or_else(|| format!("{key} is missing"));
        let mut faults = Faults::default();
        let given = get("faults")?;
        let number = |key: &str| given.get(key).and_then(Doc::as_number);
        for (name, share) in faults.shares() {
            *share = number(name).map_or(Ok(0), usize::try_from).map_err(|e| e.to_string())?;
        }
        faults.schedule = number("schedule");
        faults.turns_max = number("turns").and_then(|n| usize::try_from(n).ok());
        Ok(Kept {
            seed: get("seed")?.as_number().ok_or("the seed is a number")?,
            profile: profile_of(get("profile")?)?,
            definition: get("definition")?.clone(),
            workflows: get("workflows")?.items().to_vec(),
            input: get("input")?.clone(),
            script: doc.get("script").map(Script::of).transpose()?,
            faults,
        })
    }
}

fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Any => "any",
        Profile::Resumable => "resumable",
    }
}

fn profile_of(doc: &Doc) -> Result<Profile, String> {
    let all = [Profile::Any, Profile::Resumable];
    let named = all
        .into_iter()
        .find(|profile| doc.as_text() == Some(profile_name(*profile)));
    named.ok_or_else(|| format!("there is no profile {doc:?}"))
}
