//! Random definitions, as documents that the parser reads, with inputs and handlers to run them.

use std::sync::Arc;

use rejoin_shared::definition::model::Definition;
use rejoin_shared::definition::{Format, parse};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;

use crate::dice::Dice;

mod document;
mod flows;
mod handlers;
mod outer;
mod scopes;
mod script;

pub use document::Doc;
pub use handlers::World;
pub use script::{Mood, Script, json_of};

/// What a generated definition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Everything of the language.
    Any,
    /// No failure is taken in by a join or tried again by a group or scope: a failed run that is resumed with mended
    /// handlers must then end exactly as one that never failed.
    Resumable,
}

/// A definition with what it runs over.
pub struct Case {
    /// Where it all comes from.
    pub seed: u64,
    /// The document.
    pub text: String,
    /// What the parser makes of it.
    pub def: Arc<Definition>,
    /// The run's input.
    pub input: Json,
    /// The handlers, and all else outside of it.
    pub world: World,
    /// The documents of the workflows that it may call, by name.
    pub children: Vec<(String, String)>,
}

impl Case {
    /// A case of this document and those that it may call, by name (in JSON); handlers and input are drawn from the seed.
    ///
    /// # Panics
    /// If the parser refuses one.
    #[must_use]
    pub fn of(seed: u64, text: String, children: Vec<(String, String)>, profile: Profile) -> Case {
        Case::read(seed, text, children, profile).unwrap_or_else(|why| panic!("seed {seed}: {why}"))
    }

    /// The same.
    ///
    /// # Errors
    /// What the parser refuses.
    pub fn read(seed: u64, text: String, children: Vec<(String, String)>, profile: Profile) -> Result<Case, String> {
        let read = |text: &str| {
            let format = match text.starts_with('{') {
                true => Format::Json,
                false => Format::Yaml,
            };
            let def = parse(text.as_bytes(), format, &Limits::default());
            def.map(Arc::new)
                .map_err(|errors| format!("the parser refuses\n{text}\n{errors}"))
        };
        let workflows = children.iter().map(|(name, text)| Ok((name.clone(), read(text)?)));
        Ok(Case {
            seed,
            def: read(&text)?,
            text,
            input: input(&mut Dice::of(seed, "input")),
            world: World::new(seed, profile, workflows.collect::<Result<_, String>>()?),
            children,
        })
    }

    /// The documents of the workflows that it may call, for people.
    #[must_use]
    pub fn children_text(&self) -> String {
        self.children.iter().map(|(_, text)| format!("{text}\n")).collect()
    }
}

/// A workflow that waits for what never comes.
const STUCK: &str = "stuck";
const STUCK_DOCUMENT: &str =
    r#"{"workflow":"stuck","steps":[{"step":"x","uses":"calm"},{"wait":"w","event":"never.w"}]}"#;

/// The case of this seed.
///
/// # Panics
/// If the parser refuses the document: the generator writes valid ones only.
#[must_use]
pub fn case(seed: u64, profile: Profile) -> Case {
    let mut children = vec![(STUCK.to_owned(), STUCK_DOCUMENT.to_owned())];
    let mut callable = Vec::new();
    for n in 0..Dice::of(seed, "children").below(3) {
        let name = format!("child{n}");
        let mut dice = Dice::of(seed, &name);
        let nodes = 1 + dice.below(6);
        let mut generator = flows::Generator::new(&mut dice, profile, nodes);
        generator.callable.clone_from(&callable);
        let doc = generator.document(&name);
        children.push((name.clone(), doc.to_json()));
        callable.push(name);
    }
    let mut dice = Dice::of(seed, "definition");
    let nodes = 3 + dice.below(18);
    let mut generator = flows::Generator::new(&mut dice, profile, nodes);
    generator.callable = callable;
    let doc = generator.document("generated");
    let text = match seed.is_multiple_of(3) {
        true => doc.to_yaml(),
        false => doc.to_json(),
    };
    Case::of(seed, text, children, profile)
}

fn input(dice: &mut Dice) -> Json {
    let items = ["[]", "[1]", "[1,2,3]", r#"["x","y"]"#, r#"[{"k":1},{"k":2},3]"#];
    let maps = ["{}", r#"{"k":1}"#, r#"{"b":1,"a/b":2,"[c]":3}"#];
    let text = format!(
        r#"{{"a":{},"b":"text","c":true,"o":{{"x":1,"y":{{"z":2}}}},"n":{},"f":0.5,"l":[0],"s":"s","u":[1,2],"m":5,
            "acc":{{"n":0}},"items":{},"map":{}}}"#,
        dice.below(3),
        dice.below(4),
        dice.word(&items),
        dice.word(&maps),
    );
    Json::parse(text.as_bytes()).expect("the input is JSON")
}
