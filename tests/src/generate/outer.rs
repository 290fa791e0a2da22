//! Nodes that reach out of their run: waits, calls, events; and what undoes a step or parks it.

use super::flows::{Around, Generator};
use super::{Doc, Profile, STUCK};

/// Branches around a call at most: each one is a run of its own.
const CALL_WIDTH_MAX: usize = 6;

impl Generator<'_> {
    /// A name of an event that only one wait at a time waits for.
    fn event_name(&mut self, prefix: &str, name: &str, around: &Around) -> Doc {
        let indices = around.indices.iter().map(|index| format!(" + '.' + string({index})"));
        let indices: String = indices.collect();
        match indices.is_empty() {
            true => Doc::Text(format!("{prefix}{name}")),
            false => Doc::Text(format!("= '{prefix}{name}'{indices}")),
        }
    }

    pub(super) fn wait(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("wait", Doc::text(name));
        let is_early = !around.in_scope && self.dice.chance(30);
        if is_early {
            node.put("event", Doc::Text(format!("early.{name}")));
            if self.dice.chance(50) {
                node.put("match", Doc::text("payload.ok"));
            }
        } else {
            match self.dice.below(8) {
                0 | 1 => return self.silent(name, around),
                2 => node.put("input", self.question()),
                3 => node.put("event", Doc::text("gate")),
                4 => {
                    let events = ["a.", "b."].map(|prefix| self.event_name(prefix, name, around));
                    node.put("any", Doc::List(events.to_vec()));
                }
                5 => {
                    let events = ["a.", "b."].map(|prefix| self.event_name(prefix, name, around));
                    node.put("all", Doc::List(events.to_vec()));
                }
                _ => {
                    let event = self.event_name("", name, around);
                    node.put("event", event);
                    if self.dice.chance(50) {
                        node.put(
                            "match",
                            Doc::text(self.dice.word(&["payload.ok", "payload.ok && !has(payload.no.x)"])),
                        );
                    }
                }
            }
        }
        if self.dice.chance(40) {
            node.put("timeout", Doc::text(self.dice.word(&["9d", "= '10d'"])));
        }
        self.into(&mut node);
        node
    }

    fn question(&mut self) -> Doc {
        let kind = self.dice.word(&["approval", "text", "form", "choice"]);
        let mut input = Doc::one("type", Doc::text(kind));
        input.put("prompt", Doc::Text(format!("= '{kind}, or not?'")));
        if kind == "choice" {
            input.put("choices", super::flows::patterns(&["yes", "no"]));
        }
        input
    }

    /// A wait for what never comes, or not as a whole.
    fn silent(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("wait", Doc::text(name));
        let never = self.event_name("never.", name, around);
        match self.dice.below(4) {
            0 => {
                let mut input = Doc::one("type", Doc::text("text"));
                input.put("prompt", Doc::text("never mind"));
                node.put("input", input);
            }
            1 => node.put("any", Doc::List(vec![never])),
            2 => {
                let event = self.event_name("", name, around);
                node.put("all", Doc::List(vec![event, never]));
            }
            _ => node.put("event", never),
        }
        node.put("timeout", Doc::text(self.dice.word(&["2s", "= '2' + 's'", "1500ms"])));
        match self.dice.below(4) {
            0 if self.profile == Profile::Any => node.put("on_timeout", Doc::text("fail")),
            1 if !around.ahead.is_empty() => {
                let target: &String = self.dice.pick(&around.ahead);
                node.put("on_timeout", Doc::one("goto", Doc::text(target)));
            }
            _ => {
                let mut value = Doc::one("late", Doc::text("= get(ctx, 'a', 0)"));
                value.put("n", Doc::number(self.dice.below(3)));
                node.put("on_timeout", Doc::one("value", value));
            }
        }
        self.into(&mut node);
        node
    }

    fn into(&mut self, node: &mut Doc) {
        match self.dice.below(8) {
            0 => node.put("into", Doc::text(self.dice.word(&["got", "o.got", "p.q"]))),
            1 => node.put("into", Doc::Raw("null".to_owned())),
            _ => {}
        }
    }

    /// To everyone, or to the run itself and a wait for it: nothing can jump between the two.
    pub(super) fn emit(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("emit", Doc::text(name));
        let payload = |word: &str| Doc::one(word, Doc::text("= get(ctx, 'a', 0)"));
        // A run that has failed takes no events, not its own either: one that is to be resumed would wait for ever.
        if self.dice.chance(50) || self.profile == Profile::Resumable {
            node.put("event", Doc::text("gone"));
            node.put("payload", payload("seen"));
            if self.profile == Profile::Any && self.dice.chance(10) {
                node.put("to", Doc::text("nobody"));
            }
            return node;
        }
        let (sender, waiter) = (self.name(), self.name());
        let event = self.event_name("self.", name, around);
        let mut node = Doc::one("emit", Doc::text(&sender));
        node.put("event", event.clone());
        node.put("payload", Doc::one("self", Doc::number(self.dice.below(5))));
        node.put("to", Doc::text("= run.id"));
        let mut wait = Doc::one("wait", Doc::text(&waiter));
        wait.put("event", event);
        self.into(&mut wait);
        let mut group = Doc::one("group", Doc::text(name));
        group.put("steps", Doc::List(vec![node, wait]));
        group
    }

    pub(super) fn call(&mut self, name: &str, around: &Around) -> Doc {
        if self.callable.is_empty() || around.width > CALL_WIDTH_MAX || self.calls_left == 0 {
            return self.step(name, around);
        }
        self.calls_left -= 1;
        let mut node = Doc::one("call", Doc::text(name));
        let is_any = self.profile == Profile::Any;
        let which = self.dice.below(10);
        let workflow = match which {
            0 if is_any => STUCK.to_owned(),
            1 if is_any => "nowhere".to_owned(),
            _ => self.dice.pick(&self.callable.clone()).clone(),
        };
        node.put("workflow", Doc::Text(workflow));
        let is_stuck = which == 0 && is_any;
        if self.dice.chance(70) {
            let mut with = Doc::one("a", Doc::text("= get(ctx, 'n', 0)"));
            with.put("items", Doc::text("= get(ctx, 'items', [])"));
            with.put("l", Doc::Raw("[0]".to_owned()));
            node.put("with", with);
        }
        match self.dice.below(12) {
            0 => node.put("version", Doc::number(1)),
            1 => node.put("version", Doc::text("= 1 + 0")),
            2 if is_any => node.put("version", Doc::number(7)),
            _ => {}
        }
        if is_stuck {
            node.put("timeout", Doc::text("5s"));
        } else if self.dice.chance(30) {
            node.put("timeout", Doc::text("20d"));
        }
        if self.dice.chance(20) {
            node.put("on_parent_close", Doc::text("abandon"));
        }
        if is_any && !is_stuck && self.dice.chance(15) {
            node.put("detached", Doc::Raw("true".to_owned()));
        } else if is_any {
            if self.dice.chance(40) {
                let retry = self.retries();
                node.put("retry", retry);
            }
            self.undoing(&mut node);
        }
        self.into(&mut node);
        node
    }

    /// What undoes a node.
    pub(super) fn undoing(&mut self, node: &mut Doc) {
        if !self.compensates || !self.dice.chance(45) {
            return;
        }
        let mut undo = Doc::one("uses", Doc::text("undo"));
        if self.dice.chance(40) {
            let mut with = Doc::one("why", Doc::text("= error.type"));
            with.put("of", Doc::text("= output"));
            with.put("n", Doc::text("= get(ctx, 'n', 0)"));
            undo.put("with", with);
        }
        if self.dice.chance(50) {
            let retry = self.retries();
            undo.put("retry", retry);
        }
        node.put("compensate", undo);
    }

    /// What becomes of a step that has failed for good, and when that is.
    pub(super) fn exhaustion(&mut self, node: &mut Doc) {
        if self.profile == Profile::Resumable {
            return;
        }
        if self.parks && self.dice.chance(35) {
            node.put("on_exhausted", Doc::text(self.dice.word(&["park", "park", "fail"])));
        }
        match self.dice.below(20) {
            0 => node.put("total_timeout", Doc::text("30d")),
            1 if !node.has("retry") => {
                // Its next attempt would begin too late.
                let mut retry = Doc::one("max_attempts", Doc::number(2));
                retry.put("initial", Doc::text("1m"));
                retry.put("max", Doc::text("1h"));
                node.put("retry", retry);
                node.put("total_timeout", Doc::text("20s"));
            }
            _ => {}
        }
    }
}
