//! What handlers answered, written down: a small case says it word for word, not by the seed that it was drawn from.

use std::collections::BTreeMap;

use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::Doc;
use super::handlers::is_undo;
use crate::reference::{Call, Reply};

/// Which of the handlers fail for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Those that the seed says.
    AsDrawn,
    /// More of them, until somebody mends them and resumes the run.
    Broken,
    /// None of those that undo.
    Undoing,
}

/// A place (a run's label and a path in it) and an attempt.
type At = (String, u32);

/// What handlers answer; where nothing is said they return null and write nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    drawn: BTreeMap<At, Reply>,
    /// Errors in place of what stands in `drawn`: a mended handler answers as one that never was broken.
    broken: BTreeMap<At, Reply>,
    undoing: BTreeMap<At, Reply>,
}

impl Script {
    /// What a handler answers.
    #[must_use]
    pub fn reply(&self, mood: Mood, place: &str, call: &Call<'_>) -> Reply {
        let at = (place.to_owned(), call.attempt);
        let special = match mood {
            Mood::AsDrawn => None,
            Mood::Broken => self.broken.get(&at),
            Mood::Undoing => self.undoing.get(&at),
        };
        let drawn = self.drawn.get(&at).filter(|_| mood != Mood::Undoing || !is_undo(call));
        match special.or(drawn) {
            Some(reply) => reply.clone(),
            None if call.input.get("targets").is_some() => Reply::of(Json::from_entries([("goto", Json::Null)])),
            None => Reply::of(Json::Null),
        }
    }

    /// Writes down what a handler answered.
    pub fn note(&mut self, mood: Mood, place: &str, attempt: u32, reply: &Reply) {
        let entries = match (mood, reply) {
            (Mood::Broken, Reply::Err { .. }) => &mut self.broken,
            (Mood::AsDrawn | Mood::Broken, _) => &mut self.drawn,
            (Mood::Undoing, _) => &mut self.undoing,
        };
        entries
            .entry((place.to_owned(), attempt))
            .or_insert_with(|| reply.clone());
    }

    /// Scripts that say a little less than this one.
    #[must_use]
    pub fn shorter(&self) -> Vec<Script> {
        let mut all = Vec::new();
        for part in 0..3 {
            let entries = self.part(part);
            for (at, reply) in entries {
                let less = less_of(reply).into_iter().map(Some);
                for less in [None].into_iter().chain(less) {
                    let mut script = self.clone();
                    match less {
                        Some(less) => drop(script.part_mut(part).insert(at.clone(), less)),
                        None => drop(script.part_mut(part).remove(at)),
                    }
                    all.push(script);
                }
            }
        }
        all
    }

    /// Leaves out what `used` does not know.
    #[must_use]
    pub fn only(&self, used: &Script) -> Script {
        let mut script = self.clone();
        for part in 0..3 {
            script.part_mut(part).retain(|at, _| used.part(part).contains_key(at));
        }
        script
    }

    fn part(&self, part: usize) -> &BTreeMap<At, Reply> {
        [&self.drawn, &self.broken, &self.undoing][part]
    }

    fn part_mut(&mut self, part: usize) -> &mut BTreeMap<At, Reply> {
        match part {
            0 => &mut self.drawn,
            1 => &mut self.broken,
            _ => &mut self.undoing,
        }
    }

    /// As a part of a document.
    #[must_use]
    pub fn to_doc(&self) -> Doc {
        let mut doc = Doc::Map(Vec::new());
        for (part, name) in PARTS.iter().enumerate() {
            let entries = self.part(part).iter();
            let entries = entries.map(|((place, attempt), reply)| (format!("{attempt} {place}"), reply_doc(reply)));
            let entries: Vec<_> = entries.collect();
            if !entries.is_empty() {
                doc.put(name, Doc::Map(entries));
            }
        }
        doc
    }

    /// From a part of a document.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn of(doc: &Doc) -> Result<Script, String> {
        let mut script = Script::default();
        for (name, entries) in doc.entries() {
            let part = PARTS.iter().position(|part| part == name);
            let part = part.ok_or_else(|| format!("a script has no {name}"))?;
            for (at, reply) in entries.entries() {
                let at = at
                    .split_once(' ')
                    .and_then(|(n, place)| Some((place.to_owned(), n.parse().ok()?)));
                let at = at.ok_or("an attempt, a space and a place are expected")?;
                script.part_mut(part).insert(at, reply_of(reply)?);
            }
        }
        Ok(script)
    }
}

const PARTS: [&str; 3] = ["as_drawn", "broken", "undoing"];

/// Replies that do a little less.
fn less_of(reply: &Reply) -> Vec<Reply> {
    let Reply::Ok { output, set, unset } = reply else {
        return Vec::new();
    };
    let mut all = Vec::new();
    if *output != Json::Null {
        all.push(Reply::Ok {
            output: Json::Null,
            set: set.clone(),
            unset: unset.clone(),
        });
    }
    for at in 0..set.len() + unset.len() {
        let (mut set, mut unset) = (set.clone(), unset.clone());
        match at.checked_sub(set.len()) {
            None => drop(set.remove(at)),
            Some(at) => drop(unset.remove(at)),
        }
        let output = output.clone();
        all.push(Reply::Ok { output, set, unset });
    }
    all
}

fn reply_doc(reply: &Reply) -> Doc {
    match reply {
        Reply::Err { kind, retryable } => {
            let mut doc = Doc::one("error", Doc::text(kind));
            doc.put("retryable", Doc::Raw(retryable.to_string()));
            doc
        }
        Reply::Ok { output, set, unset } => {
            let mut doc = Doc::one("output", Doc::of_json(output));
            if !set.is_empty() {
                let set = set.iter().map(|(key, value)| (key.to_string(), Doc::of_json(value)));
                doc.put("set", Doc::Map(set.collect()));
            }
            if !unset.is_empty() {
                doc.put(
                    "unset",
                    Doc::List(unset.iter().map(|key| Doc::Text(key.to_string())).collect()),
                );
            }
            doc
        }
    }
}

fn reply_of(doc: &Doc) -> Result<Reply, String> {
    if let Some(kind) = doc.get("error") {
        return Ok(Reply::Err {
            kind: kind.as_text().ok_or("an error is a text")?.to_owned(),
            retryable: doc.get("retryable") != Some(&Doc::Raw("false".to_owned())),
        });
    }
    let key = |text: &str| KeyPath::parse(text).ok_or_else(|| format!("{text} is no key path"));
    let set = doc.get("set").map(Doc::entries).unwrap_or_default().iter();
    let unset = doc.get("unset").map(Doc::items).unwrap_or_default().iter();
    Ok(Reply::Ok {
        output: doc.get("output").map_or(Ok(Json::Null), json_of)?,
        set: set
            .map(|(text, value)| Ok((key(text)?, json_of(value)?)))
            .collect::<Result<_, String>>()?,
        unset: unset
            .map(|text| key(text.as_text().unwrap_or_default()))
            .collect::<Result<_, _>>()?,
    })
}

/// The value that a part of a document is.
///
/// # Errors
/// What is no JSON.
pub fn json_of(doc: &Doc) -> Result<Json, String> {
    Json::parse(doc.to_json().as_bytes()).map_err(|e| e.to_string())
}
