//! Handlers and all else outside of a run, as a pure function of seed, place, attempt and context.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rejoin_shared::definition::model::Definition;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::{Mood, Profile, Script};
use crate::dice::{Dice, hash};
use crate::reference::{At, Call, Operation, Outside, Reply};

/// Everything outside of the runs of a case.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    profile: Profile,
    /// Of a hundred step visits, so many fail for good.
    pub failing_percent: u64,
    /// Of a hundred compensations, so many fail for good.
    pub undo_failing_percent: u64,
    workflows: Arc<BTreeMap<String, Arc<Definition>>>,
    mood: Mood,
    /// What handlers answer, in place of what would be drawn.
    script: Option<Arc<Script>>,
    /// Where their answers are written down.
    heard: Option<Arc<Mutex<Script>>>,
}

const ERRORS: &[&str] = &[
    "app.flaky",
    "app.hard",
    "http.status_500",
    "handler.error",
    "rejoin.timeout",
];

impl World {
    /// The world of this seed, with the workflows that may be called.
    #[must_use]
    pub fn new(seed: u64, profile: Profile, workflows: BTreeMap<String, Arc<Definition>>) -> World {
        let mut dice = Dice::of(seed, "failing");
        let (failing_percent, undo_failing_percent) = match profile {
            Profile::Any => ([0, 0, 0, 5, 10, 20][dice.below(6)], [0, 0, 0, 20][dice.below(4)]),
            Profile::Resumable => (0, 0),
        };
        World {
            seed,
            profile,
            failing_percent,
            undo_failing_percent,
            workflows: Arc::new(workflows),
            mood: Mood::AsDrawn,
            script: None,
            heard: None,
        }
    }

    /// The same handlers, of which some fail for good.
    #[must_use]
    pub fn broken(&self) -> World {
        World {
            failing_percent: 15,
            mood: Mood::Broken,
            ..self.clone()
        }
    }

    /// The same handlers, of which all compensate.
    #[must_use]
    pub fn undoing(&self) -> World {
        World {
            undo_failing_percent: 0,
            mood: Mood::Undoing,
            ..self.clone()
        }
    }

    /// The same, with what handlers answer from a script.
    #[must_use]
    pub fn told(&self, script: Script) -> World {
        World {
            script: Some(Arc::new(script)),
            ..self.clone()
        }
    }

    /// The same; what handlers answer is written down.
    #[must_use]
    pub fn heard(&self) -> (World, Arc<Mutex<Script>>) {
        let heard = Arc::<Mutex<Script>>::default();
        let world = World {
            heard: Some(heard.clone()),
            ..self.clone()
        };
        (world, heard)
    }

    /// The workflow, shared.
    #[must_use]
    pub fn definition(&self, name: &str, version: Option<u32>) -> Option<&Arc<Definition>> {
        self.workflows
            .get(name)
            .filter(|_| version.is_none_or(|version| version == 1))
    }

    /// Where something is asked for. A run that is resumed may call anew what was cancelled: that is to go as the first time.
    fn place(&self, run: &str, path: &str) -> String {
        let all = format!("{run}{path}");
        if self.profile == Profile::Any {
            return all;
        }
        let parts = all
            .split('~')
            .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
        parts.collect::<Vec<_>>().join("~")
    }

    fn draw(&self, call: &Call<'_>, place: &str) -> Reply {
        let mut dice = Dice::of(self.seed, place);
        if call.handler == "calm" {
            return Reply::of(Json::Null);
        }
        if let Some(failure) = self.failure(call, place, &mut dice) {
            return failure;
        }
        if is_undo(call) {
            return Reply::of(small(&mut dice));
        }
        if let Some(targets) = call.input.get("targets").and_then(Json::as_list) {
            return decision(targets, &mut dice);
        }
        let mut writes = Writes::default();
        for _ in 0..dice.below(4) {
            write_one(&mut writes, call.ctx, &mut dice);
        }
        if self.profile == Profile::Any && dice.chance(1) {
            writes.set.push((key("zz.inner"), Json::Int(1)));
            writes.unset.push(key("zz"));
        }
        Reply::Ok {
            output: output(call.handler, &mut dice),
            set: writes.set,
            unset: writes.unset,
        }
    }

    fn failure(&self, call: &Call<'_>, place: &str, dice: &mut Dice) -> Option<Reply> {
        let percent = match is_undo(call) {
            true => self.undo_failing_percent,
            false => self.failing_percent,
        };
        let fails_for_good = hash(self.seed, &format!("good {place}")) % 100 < percent;
        let flaky = [0, 0, 0, 0, 0, 0, 1, 1, 2][dice.below(9)];
        let kind = dice.word(ERRORS).to_owned();
        // What is not tried again would fail for good: nothing of the kind where runs are to be mended.
        let retryable = self.profile == Profile::Resumable || !dice.chance(15);
        let is_flaky = self.profile == Profile::Any && (percent > 0 || !is_undo(call));
        let fails = fails_for_good || is_flaky && call.attempt <= flaky;
        fails.then_some(Reply::Err { kind, retryable })
    }
}

pub(super) fn is_undo(call: &Call<'_>) -> bool {
    call.path.ends_with("/compensate")
}

impl Outside for World {
    fn call(&self, call: &Call<'_>) -> Reply {
        let place = self.place(call.run, call.path);
        let reply = match &self.script {
            Some(script) => script.reply(self.mood, &place, call),
            None => self.draw(call, &place),
        };
        if let Some(heard) = &self.heard {
            let mut heard = heard.lock().expect("the script");
            heard.note(self.mood, &place, call.attempt, &reply);
        }
        reply
    }

    fn payload(&self, wait: At<'_>, event: &str, n: usize) -> Option<Json> {
        if event.starts_with("never.") || event.starts_with("self.") {
            return None;
        }
        if event == "gate" {
            return Some(Json::from_entries([("g", Json::Int(1))]));
        }
        let place = format!("{} {event} {n}", self.place(wait.run, wait.path));
        let mut dice = Dice::of(self.seed, &place);
        let is_fit = n >= 3 || dice.chance(60);
        let mut payload = Json::from_entries([("ok", Json::Bool(is_fit)), ("k", small(&mut dice))]);
        if dice.chance(30) {
            payload.object_mut().insert("a".into(), small(&mut dice));
        }
        Some(payload)
    }

    fn first(&self, wait: At<'_>, events: &[String]) -> usize {
        Dice::of(self.seed, &format!("first {}", self.place(wait.run, wait.path))).below(events.len())
    }

    fn answer(&self, wait: At<'_>, prompt: &str) -> Option<Json> {
        let mut dice = Dice::of(self.seed, &format!("answer {}", self.place(wait.run, wait.path)));
        match prompt.split(',').next().unwrap_or_default() {
            "approval" => Some(Json::from_entries([("approved", Json::Bool(dice.chance(50)))])),
            "choice" => Some(Json::str(dice.word(&["yes", "no"]))),
            "text" => Some(Json::str("as you like")),
            "form" => Some(Json::from_entries([("a", small(&mut dice))])),
            _ => None,
        }
    }

    fn operate(&self, step: At<'_>, n: u32) -> Operation {
        let mut dice = Dice::of(self.seed, &format!("operator {} {n}", self.place(step.run, step.path)));
        match dice.below(4) {
            0 if n < 3 => Operation::Retry(None),
            1 if n < 3 => Operation::Retry(Some(Json::from_entries([("v", small(&mut dice))]))),
            2 => Operation::Fail("app.given_up".to_owned()),
            _ => Operation::Skip(output("skipped", &mut dice)),
        }
    }

    fn workflow(&self, name: &str, version: Option<u32>) -> Option<&Definition> {
        self.definition(name, version).map(|def| &**def)
    }
}

fn decision(targets: &[Json], dice: &mut Dice) -> Reply {
    let at = dice.below(targets.len() + 1);
    let goto = targets.get(at).cloned().unwrap_or_default();
    Reply::of(Json::from_entries([("goto", goto)]))
}

#[derive(Default)]
struct Writes {
    set: Vec<(KeyPath, Json)>,
    unset: Vec<KeyPath>,
}

impl Writes {
    fn is_free(&self, path: &KeyPath) -> bool {
        let mut taken = self.set.iter().map(|(key, _)| key).chain(&self.unset);
        !taken.any(|other| other.overlaps(path))
    }

    fn set(&mut self, text: &str, value: Json) {
        let path = key(text);
        if self.is_free(&path) {
            self.set.push((path, value));
        }
    }
}

fn key(text: &str) -> KeyPath {
    KeyPath::parse(text).expect("a key path")
}

fn small(dice: &mut Dice) -> Json {
    Json::Int(i64::try_from(dice.below(4)).expect("small"))
}

fn write_one(writes: &mut Writes, ctx: &Json, dice: &mut Dice) {
    match dice.below(18) {
        0..=3 => accumulate(writes, ctx, dice),
        4 => writes.set("a", small(dice)),
        5 => writes.set("b", Json::str(dice.word(&["text", "other", "ü \u{1F600} \" \\"]))),
        6 => writes.set("o.x", small(dice)),
        7 => writes.set("o.y.z", small(dice)),
        8 => writes.set("o.w", Json::from_entries([("v", small(dice))])),
        9 => writes.set("p.q", small(dice)),
        10 => writes.set("p.r.deep", small(dice)),
        11 => writes.set("o", small(dice)),
        12 => writes.set("f", Json::Float(1.0)),
        13..=14 => accumulate(writes, ctx, dice),
        _ => {
            let path = key(dice.word(&["a", "b", "c", "o.x", "o.y", "o.w", "p", "not.there", "o"]));
            if writes.is_free(&path) {
                writes.unset.push(path);
            }
        }
    }
}

/// Writes that `reduce` may gather.
fn accumulate(writes: &mut Writes, ctx: &Json, dice: &mut Dice) {
    let step = i64::try_from(dice.below(3)).expect("small");
    let read = |text: &str| key(text).read(ctx).cloned();
    match dice.below(8) {
        0 | 1 => {
            if let Json::Int(n) = read("n").unwrap_or(Json::Int(0)) {
                writes.set("n", Json::Int(n + step));
            }
        }
        2 => {
            if let Json::Int(n) = read("acc.n").unwrap_or(Json::Int(0)) {
                writes.set("acc.n", Json::Int(n + step));
            }
        }
        3 => {
            // Halves add up exactly in any order.
            if let Some(Json::Float(x)) = read("f") {
                writes.set(
                    "f",
                    Json::Float(x + f64::from(u32::try_from(step).expect("small")) * 0.5),
                );
            }
        }
        4 => {
            if let Some(Json::List(list)) = read("l") {
                let mut list = list.to_vec();
                list.push(small(dice));
                writes.set("l", Json::list(list));
            } else {
                writes.set("l", small(dice));
            }
        }
        5 => {
            if let Some(Json::Str(text)) = read("s") {
                writes.set("s", Json::str(&format!("{text}{step}")));
            }
        }
        6 => {
            if let Some(Json::List(list)) = read("u") {
                let mut list = list.to_vec();
                list.push(small(dice));
                writes.set("u", Json::list(list));
            }
        }
        _ => writes.set("m", small(dice)),
    }
}

fn output(handler: &str, dice: &mut Dice) -> Json {
    match dice.below(12) {
        0..=4 => Json::Null,
        5 => small(dice),
        6 => Json::str("done"),
        7 => Json::list(vec![small(dice), Json::Null]),
        8 => Json::from_entries([("a", small(dice)), ("d", Json::str(handler))]),
        9 => Json::from_entries([("p", Json::from_entries([("q", small(dice))]))]),
        10 => Json::from_entries([("o", Json::from_entries([("x", small(dice))]))]),
        _ => Json::from_entries([("d", Json::Float(1.0)), ("e", small(dice))]),
    }
}
