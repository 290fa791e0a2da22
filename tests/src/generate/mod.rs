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
mod scopes;

pub use document::Doc;
pub use handlers::World;

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
    /// The handlers.
    pub world: World,
}

/// The case of this seed.
///
/// # Panics
/// If the parser refuses the document: the generator writes valid ones only.
#[must_use]
pub fn case(seed: u64, profile: Profile) -> Case {
    let mut dice = Dice::of(seed, "definition");
    let nodes = 3 + dice.below(18);
    let doc = flows::Generator::new(&mut dice, profile, nodes).document();
    let is_yaml = seed.is_multiple_of(3);
    let (text, format) = match is_yaml {
        true => (doc.to_yaml(), Format::Yaml),
        false => (doc.to_json(), Format::Json),
    };
    let def = parse(text.as_bytes(), format, &Limits::default());
    let def = def.unwrap_or_else(|errors| panic!("seed {seed}: the parser refuses\n{text}\n{errors}"));
    Case {
        seed,
        text,
        def: Arc::new(def),
        input: input(&mut Dice::of(seed, "input")),
        world: World::new(seed, profile),
    }
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
