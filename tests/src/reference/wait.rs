//! `wait` and `emit` (SPEC 2, 5.10).

use std::time::Duration;

use rejoin_shared::definition::duration::parse_computed;
use rejoin_shared::definition::model::{Emit, Into, Node, OnTimeout, Wait, WaitFor};
use rejoin_shared::expr::Template;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::outside::{At, EARLY, sender};
use super::step::write_output;
use super::{Control, Failure, Place, STUCK, Thread, Walker};

/// What came for a wait.
enum Came {
    /// This is its value.
    Value(Json),
    /// Nothing, or of several events only these.
    Late(Json),
}

impl Walker<'_> {
    pub(super) fn wait(
        &mut self,
        node: &Node,
        wait: &Wait,
        path: &str,
        place: &Place,
        thread: &mut Thread,
    ) -> Result<Control, Failure> {
        let came = self.come(wait, path, place, thread)?;
        let timeout = self.timeout(wait.timeout.as_ref(), path, place, thread)?;
        let value = match (came, timeout) {
            (Came::Value(value), _) => value,
            (Came::Late(_), None) => return Err(Failure::new(STUCK, path)),
            (Came::Late(received), Some(_)) => match &wait.on_timeout {
                OnTimeout::Goto(target) => return Ok(Control::Goto(*target)),
                OnTimeout::Value(value) => self.value(value, path, place, thread)?,
                OnTimeout::Fail => {
                    let is_all = matches!(wait.what, WaitFor::All(_));
                    return Err(Failure {
                        received: is_all.then_some(received),
                        ..Failure::new("rejoin.wait_timeout", path)
                    });
                }
            },
        };
        let own = Into::At(KeyPath::of_key(node.name.clone()));
        let into = match (&wait.what, &wait.into) {
            (WaitFor::Any(_) | WaitFor::All(_), Into::Merge) => &own,
            (_, into) => into,
        };
        write_output(&mut thread.ctx, &value, into, node);
        thread.output = Some(value);
        Ok(Control::Done)
    }

    pub(super) fn timeout(
        &self,
        timeout: Option<&Template>,
        path: &str,
        place: &Place,
        thread: &Thread,
    ) -> Result<Option<Duration>, Failure> {
        let Some(timeout) = timeout else { return Ok(None) };
        let value = self.value(timeout, path, place, thread)?;
        let length = value.as_str().and_then(parse_computed);
        length.map(Some).ok_or_else(|| Failure::expression(path))
    }

    fn come(&mut self, wait: &Wait, path: &str, place: &Place, thread: &Thread) -> Result<Came, Failure> {
        let label = self.label.clone();
        let at = At { run: &label, path };
        let names = |walker: &Self, templates: &[Template]| -> Result<Vec<String>, Failure> {
            let texts = templates.iter();
            let mut texts: Vec<String> = texts
                .map(|name| walker.text(name, path, place, thread))
                .collect::<Result<_, _>>()?;
            texts.dedup();
            Ok(texts)
        };
        let matches = |walker: &Self, payload: &Json| match &wait.matches {
            None => true,
            Some(expr) => {
                let env = walker.env(place, thread).with("payload", payload.clone());
                let value = expr.eval(&env, &walker.limits);
                value.ok().and_then(|value| value.as_bool()).unwrap_or(false)
            }
        };
        Ok(match &wait.what {
            WaitFor::Input { prompt, .. } => {
                let prompt = prompt.as_ref().map(|prompt| self.text(prompt, path, place, thread));
                let answer = self.outside.answer(at, &prompt.transpose()?.unwrap_or_default());
                answer.map_or(Came::Late(Json::Null), Came::Value)
            }
            WaitFor::Event(event) => {
                let event = self.text(event, path, place, thread)?;
                let payload = self.next_event(at, &event, matches);
                payload.map_or(Came::Late(Json::Null), Came::Value)
            }
            WaitFor::Any(events) => {
                let events = names(self, events)?;
                let event = &events[self.outside.first(at, &events)];
                match self.next_event(at, event, matches) {
                    None => Came::Late(Json::Null),
                    Some(payload) => {
                        Came::Value(Json::from_entries([("event", Json::str(event)), ("payload", payload)]))
                    }
                }
            }
            WaitFor::All(events) => {
                let mut received = Json::object();
                let mut is_short = false;
                for event in names(self, events)? {
                    match self.next_event(at, &event, matches) {
                        None => is_short = true,
                        Some(payload) => drop(received.object_mut().insert(event.as_str().into(), payload)),
                    }
                }
                match is_short {
                    true => Came::Late(received),
                    false => Came::Value(received),
                }
            }
        })
    }

    /// The oldest kept event that matches, or else the first one sent that does; those that do not are kept.
    fn next_event(&mut self, at: At<'_>, event: &str, matches: impl Fn(&Self, &Json) -> bool) -> Option<Json> {
        let fits = |(name, payload): &(String, Json)| name == event && matches(self, payload);
        if let Some(found) = self.kept.iter().position(fits) {
            return Some(self.kept.remove(found).1);
        }
        let mut n = match event.starts_with(EARLY) {
            true => self.sent_early.get(event).copied().unwrap_or_default(),
            false => 0,
        };
        loop {
            let payload = self.outside.payload(sender(at, event), event, n)?;
            n += 1;
            if event.starts_with(EARLY) {
                self.sent_early.insert(event.to_owned(), n);
            }
            if matches(self, &payload) {
                return Some(payload);
            }
            self.kept.push((event.to_owned(), payload));
        }
    }

    /// What a run sends to itself is kept until something waits for it.
    pub(super) fn emit(&mut self, emit: &Emit, path: &str, place: &Place, thread: &Thread) -> Result<(), Failure> {
        let event = self.text(&emit.event, path, place, thread)?;
        let payload = match &emit.payload {
            None => Json::Null,
            Some(payload) => self.value(payload, path, place, thread)?,
        };
        if let Some(to) = &emit.to {
            let to = self.text(to, path, place, thread)?;
            if to == *self.run.id {
                self.kept.push((event.clone(), payload.clone()));
            } else if to.parse::<RunId>().is_err() {
                return Err(Failure::expression(path));
            }
        }
        self.log.emitted.insert(self.full(path), (event, payload));
        Ok(())
    }

    fn text(&self, template: &Template, path: &str, place: &Place, thread: &Thread) -> Result<String, Failure> {
        let value = self.value(template, path, place, thread)?;
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure::expression(path))
    }

    pub(super) fn value(
        &self,
        template: &Template,
        path: &str,
        place: &Place,
        thread: &Thread,
    ) -> Result<Json, Failure> {
        let value = template.eval(&self.env(place, thread), &self.limits);
        value.map_err(|_| Failure::expression(path))
    }
}
