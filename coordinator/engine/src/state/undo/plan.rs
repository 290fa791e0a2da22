//! What is to be undone: of a sequence the last first, of siblings all at once.
//!
//! A tree in one list, each node with its parent's place, so that what ends costs its way up and not the whole tree: a fan-out may
//! have a million branches.

use std::collections::BTreeMap;

use rejoin_shared::ids::StepKey;

use super::{Done, Undoing, Visit};

const ROOT: usize = 0;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    nodes: Vec<Node>,
    /// Visits that may begin.
    next: Vec<usize>,
    /// Where those that were begun stand.
    begun: BTreeMap<StepKey, usize>,
}

#[derive(Clone, Debug)]
struct Node {
    parent: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Visit(Box<Visit>),
    /// Begun, and not done: what lies before it waits.
    Begun(StepKey),
    /// Those that are left; the last one is at it.
    OneByOne(Vec<usize>),
    AtOnce {
        members: Vec<usize>,
        open: usize,
    },
    Done,
}

impl Plan {
    pub fn of(done: Vec<Done>) -> Plan {
        let mut plan = Plan {
            nodes: Vec::new(),
            next: Vec::new(),
            begun: BTreeMap::new(),
        };
        let root = plan.add_sequence(ROOT, done);
        plan.open(root);
        plan
    }

    fn add(&mut self, parent: usize, what: What) -> usize {
        self.nodes.push(Node { parent, what });
        self.nodes.len() - 1
    }

    fn add_sequence(&mut self, parent: usize, done: Vec<Done>) -> usize {
        let place = self.add(parent, What::Done);
        let members = done.into_iter().map(|done| self.add_done(place, done)).collect();
        self.nodes[place].what = What::OneByOne(members);
        place
    }

    fn add_done(&mut self, parent: usize, done: Done) -> usize {
        let (in_order, branches) = match done {
            Done::Visit(visit) => return self.add(parent, What::Visit(visit)),
            Done::Fork { in_order, branches } => (in_order, branches),
        };
        let place = self.add(parent, What::Done);
        let members: Vec<usize> = branches
            .into_iter()
            .map(|branch| self.add_sequence(place, branch))
            .collect();
        self.nodes[place].what = match in_order {
            true => What::OneByOne(members),
            false => What::AtOnce {
                open: members.len(),
                members,
            },
        };
        place
    }

    /// Its turn has come.
    fn open(&mut self, place: usize) {
        match &self.nodes[place].what {
            What::Visit(_) => self.next.push(place),
            What::OneByOne(left) => match left.last().copied() {
                Some(last) => self.open(last),
                None => self.end(place),
            },
            What::AtOnce { open: 0, .. } => self.end(place),
            What::AtOnce { members, .. } => members.clone().into_iter().for_each(|member| self.open(member)),
            What::Begun(_) | What::Done => {}
        }
    }

    /// Nothing is left of it: the turn is its parent's.
    fn end(&mut self, place: usize) {
        self.nodes[place].what = What::Done;
        if place == ROOT {
            return;
        }
        let parent = self.nodes[place].parent;
        match &mut self.nodes[parent].what {
            What::OneByOne(left) => {
                left.pop();
                self.open(parent);
            }
            What::AtOnce { open, .. } => {
                *open -= 1;
                if *open == 0 {
                    self.end(parent);
                }
            }
            What::Visit(_) | What::Begun(_) | What::Done => {}
        }
    }

    /// Takes what may begin now.
    pub fn take_next(&mut self) -> Vec<Visit> {
        let places = std::mem::take(&mut self.next);
        let visits = places.into_iter().filter_map(|place| {
            let What::Visit(visit) = std::mem::replace(&mut self.nodes[place].what, What::Done) else {
                return None;
            };
            self.nodes[place].what = What::Begun(visit.key);
            self.begun.insert(visit.key, place);
            Some(*visit)
        });
        visits.collect()
    }

    /// One that was begun is done: what lies before it may follow.
    pub fn close(&mut self, key: StepKey) {
        if let Some(place) = self.begun.remove(&key) {
            self.end(place);
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.nodes[ROOT].what, What::Done)
    }

    /// Paths of what is left, newest first.
    pub fn paths(&self, begun: &BTreeMap<StepKey, Undoing>) -> Vec<String> {
        let mut paths = Vec::new();
        self.add_paths(ROOT, begun, &mut paths);
        paths
    }

    fn add_paths(&self, place: usize, begun: &BTreeMap<StepKey, Undoing>, paths: &mut Vec<String>) {
        match &self.nodes[place].what {
            What::Visit(visit) => paths.push(visit.path.clone()),
            What::Begun(key) => paths.extend(begun.get(key).map(|undoing| undoing.visit.path.clone())),
            What::OneByOne(members) | What::AtOnce { members, .. } => {
                members
                    .iter()
                    .rev()
                    .for_each(|member| self.add_paths(*member, begun, paths));
            }
            What::Done => {}
        }
    }
}
