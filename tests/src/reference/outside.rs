//! What surrounds a run: handlers, people, senders of events, operators, other workflows. All of it a pure function of where
//! in which run it is asked for, so that an interpreter and an engine under any schedule are told the same.

use rejoin_shared::definition::model::Definition;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

/// What a handler is called with.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // INTERFACE 10
pub struct Call<'a> {
    /// The run's label: empty for the first run; of a called one its caller's, the path of the call and the number of the try.
    pub run: &'a str,
    pub path: &'a str,
    pub attempt: u32,
    pub handler: &'a str,
    pub input: &'a Json,
    pub ctx: &'a Json,
}

/// What a handler answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It returned.
    #[allow(missing_docs)]
    Ok {
        output: Json,
        set: Vec<(KeyPath, Json)>,
        unset: Vec<KeyPath>,
    },
    /// It failed.
    #[allow(missing_docs)]
    Err { kind: String, retryable: bool },
}

impl Reply {
    /// It returned this, and wrote nothing.
    #[must_use]
    pub fn of(output: Json) -> Reply {
        Reply::Ok {
            output,
            set: Vec::new(),
            unset: Vec::new(),
        }
    }
}

/// What an operator does about a parked step.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Tries it again, perhaps with another input.
    Retry(Option<Json>),
    /// Goes on with this value.
    Skip(Json),
    /// Lets it fail with an error of this type.
    Fail(String),
}

/// Where something is asked for: a run's label and a path in it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct At<'a> {
    pub run: &'a str,
    pub path: &'a str,
}

/// Everything outside of a run.
pub trait Outside {
    /// What the handler answers to this call.
    fn call(&self, call: &Call<'_>) -> Reply;

    /// The payload of the `n`th event (from 0) of this name that is sent for the wait there; `None`: none ever comes.
    fn payload(&self, wait: At<'_>, event: &str, n: usize) -> Option<Json>;

    /// Which of several events comes first.
    fn first(&self, wait: At<'_>, events: &[String]) -> usize;

    /// What somebody answers to the input that waits there; `None`: nobody ever does.
    fn answer(&self, wait: At<'_>, prompt: &str) -> Option<Json>;

    /// What an operator does about the step that was parked there for the `n`th time (from 1).
    fn operate(&self, step: At<'_>, n: u32) -> Operation;

    /// The definition of a workflow that may be called.
    fn workflow(&self, name: &str, version: Option<u32>) -> Option<&Definition>;
}

/// Events whose names begin so are sent in the order of their numbers, also before anything waits for them.
pub const EARLY: &str = "early.";

/// Where the events of this name are counted: those that may come early once a run, the others anew for each wait.
#[must_use]
pub fn sender<'a>(wait: At<'a>, event: &str) -> At<'a> {
    match event.starts_with(EARLY) {
        true => At { path: "", ..wait },
        false => wait,
    }
}
