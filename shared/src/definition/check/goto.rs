//! Gotos: written by name, resolved when all nodes are known (SPEC 2, "Goto").

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::flow::Here;
use super::{Checker, Goto, GotoPlace};
use crate::definition::error::{Problem, shown};
use crate::definition::model::{Decision, FlowId, FlowRole, NodeId, NodeKind, OnTimeout};
use crate::definition::source::Tree;

/// Names compared for a "did you mean".
const NAMES_COMPARED_MAX: usize = 500;

/// The nodes of the flows looked at so far.
type Known = HashMap<FlowId, Names>;

/// The nodes of a flow.
struct Names {
    by_name: HashMap<Arc<str>, NodeId>,
    /// What those that could not be read may be named.
    perhaps: HashSet<Arc<str>>,
}

/// What a name means where a goto stands.
enum Reach {
    Node(NodeId),
    /// A node of that name stands outside of the scope.
    Outside,
    Unknown,
    /// A node in reach that could not be read may be meant: nothing can be said.
    Unclear,
}

impl Checker<'_> {
    /// Notes a goto to be resolved later.
    pub(super) fn goto(&mut self, tree: &Tree, place: GotoPlace, here: &Here<'_>) {
        if let Some(target) = tree.text() {
            self.gotos.push(Goto {
                from: here.id,
                place,
                target: target.clone(),
                at: tree.id,
                position: tree.position,
            });
        }
    }

    /// Finds the target of every goto.
    pub(super) fn resolve_gotos(&mut self) {
        let mut known = Known::new();
        for goto in std::mem::take(&mut self.gotos) {
            match self.reach(&goto, &mut known) {
                Reach::Node(target) => self.set_target(&goto, target),
                Reach::Unclear => {}
                Reach::Outside => {
                    let message = format!(
                        "a goto to `{}` would leave a parallel, foreach or graph; go to a node inside it",
                        shown(&goto.target)
                    );
                    self.note_goto(&goto, "goto_leaves_scope", message, None);
                }
                Reach::Unknown => {
                    let known = self.names_in_reach(goto.from);
                    let meant = self.suggest(&goto.target, known.iter().map(String::as_str));
                    let message = format!(
                        "no node `{}` in this flow or an enclosing one; targets here are {}",
                        shown(&goto.target),
                        known.iter().take(20).cloned().collect::<Vec<_>>().join(", ")
                    );
                    self.note_goto(&goto, "unknown_target", message, meant);
                }
            }
        }
    }

    fn note_goto(&mut self, goto: &Goto, code: &'static str, message: String, meant: Option<String>) {
        let problem = Problem {
            at: Some(goto.at),
            position: goto.position,
            code,
            message,
            suggestion: meant,
        };
        self.note(problem);
    }

    /// The flows from the one `from` stands in outwards, with whether each is still inside its scope.
    fn flows_outwards(&self, from: NodeId) -> impl Iterator<Item = (FlowId, bool)> + '_ {
        let mut next = Some((self.slots[from.0 as usize].flow, true));
        std::iter::from_fn(move || {
            let (flow, within) = next?;
            let role: FlowRole = self.flows[flow.0 as usize].role;
            next = role
                .node()
                .map(|node| (self.slots[node.0 as usize].flow, within && !role.is_branch()));
            Some((flow, within))
        })
    }

    fn reach(&self, goto: &Goto, known: &mut Known) -> Reach {
        let mut unclear = self.too_many_nodes;
        for (flow, within) in self.flows_outwards(goto.from) {
            let names = known.entry(flow).or_insert_with(|| self.names_of(flow));
            if let Some(id) = names.by_name.get(&goto.target) {
                return if within { Reach::Node(*id) } else { Reach::Outside };
            }
            unclear |= names.perhaps.contains(&goto.target);
        }
        if unclear { Reach::Unclear } else { Reach::Unknown }
    }

    fn names_of(&self, flow: FlowId) -> Names {
        let nodes = &self.flows[flow.0 as usize].nodes;
        let slots = nodes.iter().map(|id| (&self.slots[id.0 as usize], *id));
        let named = slots.clone().rev();
        Names {
            by_name: named.filter_map(|(slot, id)| Some((slot.name.clone()?, id))).collect(),
            perhaps: slots.flat_map(|(slot, _)| &slot.perhaps).cloned().collect(),
        }
    }

    fn names_in_reach(&self, from: NodeId) -> Vec<String> {
        let reachable = self.flows_outwards(from).take_while(|(_, within)| *within);
        let nodes = reachable.flat_map(|(flow, _)| &self.flows[flow.0 as usize].nodes);
        let names = nodes.filter_map(|id| self.slots[id.0 as usize].name.as_ref().map(ToString::to_string));
        names.take(NAMES_COMPARED_MAX).collect()
    }

    fn set_target(&mut self, goto: &Goto, target: NodeId) {
        let Some(node) = &mut self.slots[goto.from.0 as usize].node else {
            return;
        };
        match (&mut node.kind, goto.place) {
            (NodeKind::Decision(Decision::Rules { rules, .. }), GotoPlace::Rule(i)) => rules[i].1 = target,
            (NodeKind::Decision(Decision::Rules { otherwise, .. }), GotoPlace::Otherwise) => *otherwise = Some(target),
            (NodeKind::Wait(wait), GotoPlace::OnTimeout) => wait.on_timeout = OnTimeout::Goto(target),
            _ => unreachable!("only decisions by rules and waits hold gotos"),
        }
    }
}
