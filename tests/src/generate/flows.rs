//! Flows and the nodes that are no scopes.

use super::{Doc, Profile};
use crate::dice::{Dice, hash};

/// Levels of flows at most.
const LEVELS_MAX: usize = 5;

/// Writes one document.
pub(super) struct Generator<'a> {
    pub dice: &'a mut Dice,
    pub profile: Profile,
    /// Nodes that may still be written.
    nodes_left: usize,
    names: usize,
    /// Whether `snapshots: none` holds.
    pub without_snapshots: bool,
    /// Workflows that it may call.
    pub callable: Vec<String>,
    pub calls_left: usize,
    /// Whether anything in it is undone.
    pub compensates: bool,
    /// Whether anything in it is parked.
    pub parks: bool,
    /// Whether some of its steps may begin once only.
    claims: bool,
}

/// What a flow stands in.
#[derive(Clone, Default)]
pub(super) struct Around {
    level: usize,
    pub in_scope: bool,
    /// Branches that the loops and scopes around it multiply it by.
    pub width: usize,
    /// Targets of gotos that lie ahead of it.
    pub ahead: Vec<String>,
    /// The name that holds the innermost index.
    pub index: Option<String>,
    /// Names that hold the indices of all loops around it.
    pub indices: Vec<String>,
    /// Expressions over results that are there.
    pub results: Vec<String>,
}

impl Around {
    pub(super) fn inside(&self) -> Around {
        Around {
            level: self.level + 1,
            ..self.clone()
        }
    }

    pub(super) fn in_branch(&self, width: usize) -> Around {
        Around {
            in_scope: true,
            width: self.width * width.max(1),
            ahead: Vec::new(),
            ..self.inside()
        }
    }
}

impl<'a> Generator<'a> {
    pub(super) fn new(dice: &'a mut Dice, profile: Profile, nodes: usize) -> Generator<'a> {
        // Looked at without being drawn: the rest of a seed's document stays as it was before there were claims.
        let claims = dice.clone().chance(40);
        Generator {
            dice,
            profile,
            nodes_left: nodes,
            names: 0,
            without_snapshots: false,
            callable: Vec::new(),
            calls_left: 3,
            compensates: false,
            parks: false,
            claims,
        }
    }

    pub(super) fn document(mut self, workflow: &str) -> Doc {
        let mut doc = Doc::one("workflow", Doc::text(workflow));
        if self.profile == Profile::Any {
            self.compensates = self.dice.chance(35);
            self.parks = self.dice.chance(25);
        }
        let snapshots = self.dice.below(8);
        if snapshots < 2 {
            self.without_snapshots = snapshots == 0;
            doc.put("snapshots", Doc::text(if snapshots == 0 { "none" } else { "full" }));
        }
        if self.dice.chance(60) {
            let retry = self.retry();
            doc.put("defaults", Doc::one("retry", retry));
        }
        let around = Around {
            level: 1,
            width: 1,
            ..Around::default()
        };
        let steps = self.flow(&around);
        doc.put("steps", steps);
        doc
    }

    /// A name that no other node or branch has, in no alphabetical order.
    pub(super) fn name(&mut self) -> String {
        self.names += 1;
        format!("{}{}", self.dice.word(&["z", "m", "a", "q", "Step-", "b_"]), self.names)
    }

    pub(super) fn is_deep(&self, around: &Around) -> bool {
        around.level >= LEVELS_MAX || self.nodes_left == 0
    }

    pub(super) fn flow(&mut self, around: &Around) -> Doc {
        let length = 1 + self.dice.below(if around.level == 1 { 6 } else { 3 });
        let names: Vec<String> = (0..length).map(|_| self.name()).collect();
        let goes_back = self.dice.chance(8) && around.width <= 4;
        let mut around = around.clone();
        let outer = around.ahead.clone();
        let mut nodes = Vec::new();
        for (at, name) in names.iter().enumerate() {
            around.ahead = outer.iter().chain(&names[at + 1..]).cloned().collect();
            let node = self.node(name, &mut around);
            nodes.push(node);
        }
        if goes_back {
            self.go_back(&mut nodes);
        }
        Doc::List(nodes)
    }

    /// Makes a loop of the flow: a counter before it, a decision behind it.
    fn go_back(&mut self, nodes: &mut Vec<Doc>) {
        let (counter, decision) = (self.name(), self.name());
        let key = format!("k{}", self.names);
        let next = format!("= get(ctx, '{key}', 0) + 1");
        let mut set = Doc::one("set", Doc::text(&counter));
        set.put("values", Doc::one(&key, Doc::Text(next)));
        if self.profile == Profile::Any && self.dice.chance(20) {
            set.put("max_visits", Doc::number(1 + self.dice.below(2)));
        }
        nodes.insert(0, set);
        let mut back = Doc::one("decision", Doc::text(&decision));
        let mut rule = Doc::one(
            "when",
            Doc::Text(format!("get(ctx, '{key}', 0) < {}", 2 + self.dice.below(2))),
        );
        rule.put("goto", Doc::text(&counter));
        back.put("rules", Doc::List(vec![rule]));
        nodes.push(back);
    }

    fn node(&mut self, name: &str, around: &mut Around) -> Doc {
        self.nodes_left = self.nodes_left.saturating_sub(1);
        let mut node = match self.dice.below(39) {
            _ if self.is_deep(around) => self.step(name, around),
            0..=8 => self.step(name, around),
            9..=10 => self.set(name, around),
            11..=13 => self.parallel(name, around),
            14..=16 => self.foreach(name, around),
            17..=18 => self.graph(name, around),
            19 => self.branch(name, around),
            20 => self.decision(name, around),
            21 => self.group(name, around),
            22 => self.end(name, around),
            23..=24 => self.repeat(name, around),
            25 => self.sleep(name),
            26..=28 if self.profile == Profile::Any => self.guarded(name, around),
            31..=34 => self.wait(name, around),
            35 => self.emit(name, around),
            36..=38 => self.call(name, around),
            _ => self.decision(name, around),
        };
        if self.dice.chance(8) && !node.has("when") {
            let when = self.condition(around);
            node.put("when", Doc::Text(when));
        }
        node
    }

    pub(super) fn step(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("step", Doc::text(name));
        if self.dice.chance(20) {
            let mut with = Doc::one("v", Doc::text("= get(ctx, 'n', 0)"));
            with.put("t", Doc::text("= attempt"));
            if let Some(index) = &around.index {
                with.put("i", Doc::Text(format!("= {index}")));
            }
            if self.profile == Profile::Any && self.dice.chance(6) {
                with.put("bad", Doc::text("= ctx.not.there"));
            }
            node.put("with", with);
        }
        match self.dice.below(10) {
            0 => node.put("into", Doc::text(self.dice.word(&["got", "o.got", "p.q"]))),
            1 => node.put("into", Doc::Raw("null".to_owned())),
            _ => {}
        }
        if self.dice.chance(30) {
            let retry = self.retries();
            node.put("retry", retry);
        }
        self.exhaustion(&mut node);
        self.undoing(&mut node);
        if self.claims && hash(1, name) % 100 < 40 {
            node.put("idempotent", Doc::Raw("false".to_owned()));
        }
        node
    }

    /// One policy.
    fn retry(&mut self) -> Doc {
        let mut retry = Doc::one("max_attempts", Doc::number(1 + self.dice.below(3)));
        retry.put("initial", Doc::text(self.dice.word(&["100ms", "1s"])));
        if self.dice.chance(40) {
            retry.put(
                "backoff",
                Doc::text(self.dice.word(&["constant", "linear", "exponential"])),
            );
        }
        match self.dice.below(8) {
            0 => retry.put("only", patterns(&["app.*"])),
            1 => retry.put("only", patterns(&["*", "!app.hard", "!rejoin.*"])),
            2 => retry.put("except", patterns(&["http.*"])),
            3 => retry.put("only", patterns(&["*"])),
            _ => {}
        }
        retry
    }

    /// One policy or several.
    pub(super) fn retries(&mut self) -> Doc {
        if self.dice.chance(25) {
            Doc::List(vec![self.retry(), self.retry()])
        } else {
            self.retry()
        }
    }

    pub(super) fn condition(&mut self, around: &Around) -> String {
        if let (Some(index), true) = (&around.index, self.dice.chance(40)) {
            return format!("{index} != 1");
        }
        if self.profile == Profile::Any && self.dice.chance(4) {
            return "ctx.o.x == 1".to_owned();
        }
        let all = [
            "get(ctx, 'a', 0) == 1",
            "get(ctx, 'a', 0) != 1",
            "has(ctx.b)",
            "has(ctx.p.q) || true",
            "get(ctx, 'm', 0) != 2",
            "size(get(ctx, 'u', [])) < 4",
            "has(ctx.o.x)",
        ];
        self.dice.word(&all).to_owned()
    }

    fn set(&mut self, name: &str, around: &mut Around) -> Doc {
        let mut node = Doc::one("set", Doc::text(name));
        let mut values = Doc::Map(Vec::new());
        match self.dice.below(6) {
            0 => values.put("n", Doc::text("= get(ctx, 'n', 0) + 1")),
            1 => values.put("o.new", Doc::one("v", Doc::text("= get(ctx, 'a', null)"))),
            2 => values.put("p", Doc::text("= {'q': get(ctx, 'a', 0), 'r': {}}")),
            3 => values.put("o", Doc::text("= get(ctx, 'o', null)")),
            _ => values.put("a", Doc::number(self.dice.below(3))),
        }
        if let (Some(result), true) = (around.results.last(), self.dice.chance(50)) {
            values.put("seen", Doc::Text(format!("= {result}")));
        }
        node.put("values", values);
        if self.dice.chance(30) {
            node.put("unset", patterns(&[self.dice.word(&["b", "c", "not.there"])]));
        }
        node
    }

    fn branch(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("branch", Doc::text(name));
        let inside = around.inside();
        if self.dice.chance(50) {
            let on = self
                .dice
                .word(&["get(ctx, 'a', 0)", "get(ctx, 'c', null)", "get(ctx, 'b', 'x/y')"]);
            node.put("on", Doc::text(on));
            let mut cases = Doc::Map(Vec::new());
            for key in ["1", "true", "x/y", "null"] {
                if self.dice.chance(60) {
                    let flow = self.flow(&inside);
                    cases.put(key, flow);
                }
            }
            cases.put("2", self.flow(&inside));
            node.put("cases", cases);
        } else {
            let mut cases = Vec::new();
            for _ in 0..1 + self.dice.below(2) {
                let mut case = Doc::one("when", Doc::Text(self.condition(around)));
                case.put("steps", self.flow(&inside));
                cases.push(case);
            }
            node.put("cases", Doc::List(cases));
        }
        if self.dice.chance(50) {
            let default = self.flow(&inside);
            node.put("default", default);
        }
        node
    }

    fn decision(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("decision", Doc::text(name));
        if self.dice.chance(50) {
            node.put("uses", Doc::text("decide"));
            let mut targets: Vec<Doc> = around.ahead.iter().map(|t| Doc::text(t)).collect();
            if self.profile == Profile::Any && self.dice.chance(5) {
                targets.push(Doc::text("nowhere"));
            }
            node.put("with", Doc::one("targets", Doc::List(targets)));
            return node;
        }
        let mut rules = Vec::new();
        for target in around.ahead.iter().take(2) {
            let mut rule = Doc::one("when", Doc::Text(self.condition(around)));
            rule.put("goto", Doc::text(target));
            rules.push(rule);
        }
        if rules.is_empty() {
            return self.step(name, around);
        }
        node.put("rules", Doc::List(rules));
        if self.dice.chance(30) {
            let target: &String = self.dice.pick(&around.ahead);
            node.put("otherwise", Doc::text(target));
        }
        node
    }

    fn group(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("group", Doc::text(name));
        let steps = self.flow(&around.inside());
        node.put("steps", steps);
        if self.profile == Profile::Any && self.dice.chance(60) {
            let retry = self.retries();
            node.put("retry", retry);
        }
        node
    }

    /// A few rounds; now and then one that its condition would not end.
    fn repeat(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("repeat", Doc::text(name));
        let inner = Around {
            width: around.width * 2,
            ..around.inside()
        };
        let steps = self.flow(&inner);
        node.put("steps", steps);
        match self.dice.below(3) {
            0 => node.put("max", Doc::number(1 + self.dice.below(3))),
            kind => {
                let condition = self.condition(around);
                node.put(if kind == 1 { "while" } else { "until" }, Doc::Text(condition));
                node.put("max", Doc::number(1 + self.dice.below(3)));
            }
        }
        node
    }

    /// Something that may fail, with catches, a finally, or both.
    fn guarded(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = Doc::one("try", Doc::text(name));
        let mut steps = self.flow(&around.inside());
        if let (Doc::List(nodes), true) = (&mut steps, self.dice.chance(60)) {
            let inner = self.name();
            let failing = self.end(&inner, around);
            nodes.push(failing);
        }
        node.put("steps", steps);
        let has_finally = self.dice.chance(50);
        if !has_finally || self.dice.chance(60) {
            let mut catches = Vec::new();
            for _ in 0..1 + self.dice.below(2) {
                let catch = self.catch(around);
                catches.push(catch);
            }
            node.put("catch", Doc::List(catches));
        }
        if has_finally {
            let finally = self.flow(&around.inside());
            node.put("finally", finally);
        }
        node
    }

    fn catch(&mut self, around: &Around) -> Doc {
        let mut catch = Doc::Map(Vec::new());
        match self.dice.below(5) {
            0 => catch.put("errors", patterns(&["app.*"])),
            1 => catch.put("errors", patterns(&["*", "!app.stop"])),
            2 => catch.put("errors", patterns(&["rejoin.*", "http.*"])),
            _ => {}
        }
        let mut inside = around.inside();
        let error = self.dice.word(&["error", "e"]).to_owned();
        if error != "error" {
            catch.put("as", Doc::text(&error));
        }
        inside.results.push(format!("{error}.type"));
        let mut steps = self.flow(&inside);
        if let (Doc::List(nodes), true) = (&mut steps, self.dice.chance(20)) {
            let mut again = Doc::one("fail", Doc::Text(self.name()));
            again.put("error", Doc::Text(format!("= {error}")));
            nodes.push(again);
        }
        catch.put("steps", steps);
        catch
    }

    fn sleep(&mut self, name: &str) -> Doc {
        let mut node = Doc::one("sleep", Doc::text(name));
        match self.dice.below(4) {
            0 => node.put("until", Doc::text("2020-01-01T00:00:00Z")),
            1 => node.put("until", Doc::text("= run.started_at + duration('2s')")),
            2 => node.put("for", Doc::text("= get(ctx, 'm', 0) > 3 ? '1s' : '-2s'")),
            _ => node.put("for", Doc::text("4s")),
        }
        node
    }

    /// A `fail` or a `finish`, most of them behind a condition.
    fn end(&mut self, name: &str, around: &Around) -> Doc {
        let mut node = if !around.in_scope && self.dice.chance(50) {
            let mut node = Doc::one("finish", Doc::text(name));
            if self.dice.chance(50) {
                node.put("output", Doc::one("n", Doc::text("= get(ctx, 'n', 0)")));
            }
            node
        } else if self.profile == Profile::Any {
            let mut node = Doc::one("fail", Doc::text(name));
            let mut error = Doc::one("type", Doc::text(self.dice.word(&["app.flaky", "app.stop"])));
            error.put("message", Doc::text("= 'n is ' + string(get(ctx, 'n', 0))"));
            node.put("error", error);
            node
        } else {
            return self.step(name, around);
        };
        if self.dice.chance(85) {
            let when = self.condition(around);
            node.put("when", Doc::Text(when));
        }
        node
    }
}

pub(super) fn patterns(all: &[&str]) -> Doc {
    Doc::List(all.iter().map(|p| Doc::text(p)).collect())
}
