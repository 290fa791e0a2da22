//! Parallel, foreach and graph.

use super::flows::{Around, Generator, patterns};
use super::{Doc, Profile};

/// Branches that nested scopes may come to.
const WIDTH_MAX: usize = 24;

impl Generator<'_> {
    pub(super) fn parallel(&mut self, name: &str, around: &mut Around) -> Doc {
        let n = 1 + self.dice.below(4);
        if around.width * n > WIDTH_MAX {
            return self.step(name, around);
        }
        let inside = around.in_branch(n);
        let mut node = Doc::one("parallel", Doc::text(name));
        let mut branches = Doc::Map(Vec::new());
        let mut names = Vec::new();
        for _ in 0..n {
            let branch = self.name();
            let steps = self.flow(&inside);
            if self.dice.chance(15) {
                let mut guarded = Doc::one("when", Doc::Text(self.condition(around)));
                guarded.put("steps", steps);
                branches.put(&branch, guarded);
            } else {
                branches.put(&branch, steps);
            }
            names.push(branch);
        }
        node.put("branches", branches);
        if self.dice.chance(10) {
            let read = format!("results['{name}']['{}']", names[0]);
            let mut into = Doc::one("hand", Doc::Text(format!("{read}.output")));
            into.put("o.hand", Doc::Text(format!("{read}.status")));
            node.put("into", into);
            self.settling(&mut node, n, false);
        } else {
            self.settling(&mut node, n, false);
            self.merging(&mut node);
        }
        if self.dice.chance(20) {
            node.put("concurrency", Doc::number(1 + self.dice.below(3)));
        }
        let part = self.dice.word(&["output", "status"]);
        self.note_results(around, format!("results['{name}']['{}'].{part}", names[0]));
        node
    }

    pub(super) fn foreach(&mut self, name: &str, around: &mut Around) -> Doc {
        if around.width * 3 > WIDTH_MAX {
            return self.step(name, around);
        }
        let mut node = Doc::one("foreach", Doc::text(name));
        let items = match self.dice.below(6) {
            0 | 1 => Doc::text("get(ctx, 'items', [])"),
            2 => Doc::text("3"),
            3 => Doc::List(vec![Doc::number(7), Doc::text("lit"), Doc::Raw("null".to_owned())]),
            4 => Doc::text("get(input, 'map', {})"),
            _ => Doc::text("[get(ctx, 'n', 0), 2]"),
        };
        node.put("items", items);
        let mut inside = around.in_branch(3);
        let mut index = "index".to_owned();
        // Where it stands in another loop, both indices are to be told apart.
        if self.dice.chance(20) || around.indices.contains(&index) {
            index = format!("index_{}", around.indices.len());
            node.put("as", Doc::text("thing"));
            node.put("index_as", Doc::text(&index));
        }
        inside.indices.push(index.clone());
        inside.index = Some(index);
        let steps = self.flow(&inside);
        node.put("steps", steps);
        let is_loop = self.dice.chance(45);
        if !is_loop {
            let width = match self.dice.below(4) {
                0 => Doc::number(1),
                1 => Doc::text("unbounded"),
                2 => Doc::text("= 2"),
                _ => Doc::number(3),
            };
            node.put("concurrency", width);
        }
        self.settling(&mut node, 3, is_loop);
        self.merging(&mut node);
        self.note_results(around, format!("size(results['{name}'])"));
        node
    }

    pub(super) fn graph(&mut self, name: &str, around: &mut Around) -> Doc {
        let n = 2 + self.dice.below(4);
        if around.width * n > WIDTH_MAX {
            return self.step(name, around);
        }
        let names: Vec<String> = (0..n).map(|_| self.name()).collect();
        // Needs may point forwards and backwards in the text, along a hidden order that is free of cycles.
        let mut order: Vec<usize> = (0..n).collect();
        for at in (1..n).rev() {
            order.swap(at, self.dice.below(at + 1));
        }
        let mut nodes = Doc::Map(Vec::new());
        for (at, own) in names.iter().enumerate() {
            let mut inside = around.in_branch(n);
            let mut needed = Vec::new();
            for other in (0..n).filter(|other| order[*other] < order[at]) {
                if self.dice.chance(40) {
                    needed.push(&*names[other]);
                }
            }
            if let Some(first) = needed.first() {
                inside.results.push(format!("results['{name}']['{first}'].output"));
            }
            let mut node = Doc::Map(Vec::new());
            if self.dice.chance(15) {
                let when = self.condition(around);
                node.put("when", Doc::Text(when));
            }
            if !needed.is_empty() {
                node.put("needs", patterns(&needed));
            }
            let steps = self.flow(&inside);
            node.put("steps", steps);
            nodes.put(own, node);
        }
        let mut node = Doc::one("graph", Doc::text(name));
        node.put("nodes", nodes);
        self.settling(&mut node, n, false);
        self.merging(&mut node);
        if self.dice.chance(15) {
            node.put("concurrency", Doc::number(1 + self.dice.below(3)));
        }
        node
    }

    /// Results are read in a third of all documents' scopes only: kept outputs are the exception.
    fn note_results(&mut self, around: &mut Around, read: String) {
        if self.dice.chance(35) {
            around.results.push(read);
        }
    }

    fn settling(&mut self, node: &mut Doc, n: usize, is_loop: bool) {
        if self.profile == Profile::Resumable {
            // A loop that goes on after a failure cannot end as one without it: its items start from other contexts.
            if !is_loop {
                self.settling_strictly(node);
            }
            return;
        }
        let waits = self.dice.chance(55);
        if waits {
            node.put("on_error", Doc::text(self.dice.word(&["complete_all", "continue"])));
        }
        match self.dice.below(10) {
            0 => node.put("need", Doc::text("any")),
            1 => node.put("need", Doc::text("all")),
            2 => node.put("need", Doc::number(1 + self.dice.below(n + 1))),
            3 => node.put("need", Doc::text(self.dice.word(&["50%", "80%", "= '34%'"]))),
            4 => node.put("tolerate", Doc::number(self.dice.below(n + 1))),
            5 => node.put("tolerate", Doc::text(self.dice.word(&["0%", "34%", "50%"]))),
            _ => {}
        }
        // What a concurrent fail_fast cancels depends on timing, and with it what a retry sees.
        if (waits || is_loop) && self.dice.chance(25) {
            let retry = self.retries();
            node.put("retry", retry);
        }
    }

    /// Every branch must succeed.
    fn settling_strictly(&mut self, node: &mut Doc) {
        if self.dice.chance(30) {
            node.put("on_error", Doc::text("complete_all"));
            node.put("need", Doc::text("all"));
        }
    }

    fn merging(&mut self, node: &mut Doc) {
        if self.dice.chance(25) {
            node.put("collect_as", Doc::text(self.dice.word(&["got", "o.got", "collected"])));
        }
        if self.without_snapshots {
            return;
        }
        if self.dice.chance(60) {
            let merges = match self.profile {
                Profile::Any => &["deep_merge", "strict", "strict", "last_wins", "collect", "discard"][..],
                Profile::Resumable => &["deep_merge", "collect", "discard"],
            };
            node.put("merge", Doc::text(self.dice.word(merges)));
        }
        let all = [
            ("n", "sum"),
            ("f", "sum"),
            ("l", "append"),
            ("s", "concat"),
            ("u", "union"),
            ("m", "max"),
            ("m", "min"),
            ("b", "count"),
            ("a", "count"),
            ("acc.n", "sum"),
            ("u", "concat"),
        ];
        let mut reduce: Vec<(String, Doc)> = Vec::new();
        if self.dice.chance(55) {
            for _ in 0..1 + self.dice.below(4) {
                let (key, how) = *self.dice.pick(&all);
                let is_risky = matches!(key, "a" | "b") && self.profile == Profile::Resumable;
                if !is_risky && !reduce.iter().any(|(k, _)| k == key) {
                    reduce.push((key.to_owned(), Doc::text(how)));
                }
            }
            node.put("reduce", Doc::Map(reduce));
        }
    }
}
