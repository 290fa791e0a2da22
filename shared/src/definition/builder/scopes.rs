//! Forks and joins: parallel, foreach, graph.

use super::flow::Flow;
use super::keyed::{Keyed, WithoutSteps, named, node, part, retry_key};
use super::terms::{Condition, Count, Items, Source};
use super::value::{Entries, Value};
use crate::definition::model::{Merge, OnError, Reduce};

/// The keys of everything that joins branches (SPEC 4).
macro_rules! join_keys {
    ($name:ident $(, $state:ident)?) => {
        impl$(<$state>)? $name$(<$state>)? {
            /// `need`: how many branches must succeed: a number, `"all"`, `"any"`, a share like `"80%"`, or an
            /// expression that gives one of these.
            pub fn need(self, need: impl Into<Count>) -> Self {
                self.with_key("need", need.into().0)
            }

            /// `tolerate`: how many branches may fail: a number, a share like `"5%"`, or an expression that gives one.
            pub fn tolerate(self, tolerate: impl Into<Count>) -> Self {
                self.with_key("tolerate", tolerate.into().0)
            }

            /// `on_error`: what a failure does to the siblings.
            pub fn on_error(self, what: OnError) -> Self {
                self.with_key("on_error", Value::word(what))
            }

            /// `merge`: how the branches' changes become one context.
            pub fn merge(self, merge: Merge) -> Self {
                self.with_key("merge", Value::word(merge))
            }

            /// `reduce`: the branches accumulate what stands at this key path. To be called once a path.
            pub fn reduce(self, path: impl Into<String>, how: Reduce) -> Self {
                self.with_entry("reduce", path, Value::word(how))
            }

            /// `collect_as`: the key path that the branches' outputs go to.
            pub fn collect_as(self, path: impl Into<String>) -> Self {
                self.with_key("collect_as", Value::text(path))
            }

            /// `concurrency`: how many branches run at once: a number, `"unbounded"`, or an expression that gives one.
            pub fn concurrency(self, concurrency: impl Into<Count>) -> Self {
                self.with_key("concurrency", concurrency.into().0)
            }
        }
    };
}

part! {
    /// `parallel`: runs branches side by side and joins them. Made by [`parallel`].
    Parallel, always "branches" => Value::empty_map()
}
node!(Parallel);
join_keys!(Parallel);
retry_key!(Parallel);

/// A fork into branches, each a flow of its own.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let notify = parallel("notify")
///     .on_error(OnError::CompleteAll)
///     .branch("email", step("send_confirmation"))
///     .branch_when("letter", "ctx.customer.wants_paper", flow![step("print"), step("post")]);
/// # let _ = notify;
/// ```
pub fn parallel(name: impl Into<String>) -> Parallel {
    let entries = named("parallel", name);
    Parallel { entries }
}

impl Parallel {
    /// One more branch. Branches start, and are merged, in the order of these calls.
    pub fn branch(self, name: impl Into<String>, steps: impl Into<Flow>) -> Self {
        self.with_entry("branches", name, steps.into().into())
    }

    /// As many more branches.
    pub fn branches(mut self, branches: impl IntoIterator<Item = (impl Into<String>, impl Into<Flow>)>) -> Self {
        let all = self.entries.map_at("branches");
        for (name, steps) in branches {
            all.push(name, steps.into().into());
        }
        self
    }

    /// One more branch, skipped unless the condition holds when the fork is reached.
    pub fn branch_when(self, name: impl Into<String>, when: impl Into<Condition>, steps: impl Into<Flow>) -> Self {
        let long_form = [("when", when.into().0), ("steps", steps.into().into())];
        self.with_entry("branches", name, Value::object(long_form))
    }

    /// `into`, in place of merging: what the context gets at this key path, computed over the base's `ctx` and
    /// `results`. To be called once a path.
    pub fn into_path(self, path: impl Into<String>, value: impl Into<Source>) -> Self {
        self.with_entry("into", path, value.into().0)
    }
}

part! {
    /// `foreach`: runs its steps for each item. Made by [`foreach`].
    Foreach<S>
}
node!(Foreach, S);
join_keys!(Foreach, S);
retry_key!(Foreach, S);

/// A loop over items, or with `concurrency` a fork: what an expression gives, given as text, or a list of values.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let pick_items = foreach("pick_items", "ctx.line_items")
///     .item_as("line")
///     .concurrency(8)
///     .collect_as("picked")
///     .steps(step("pick").with(object! { "sku" => expr("line.sku") }));
/// let regions = foreach("regions", ["eu", "us"]).steps(step("deploy").with(expr("item")));
/// # let _ = (pick_items, regions);
/// ```
///
/// It stands in no flow before it has steps:
///
/// ```compile_fail
/// # use rejoin_shared::definition::builder::*;
/// let nothing_to_do = flow![foreach("pick_items", "ctx.line_items")];
/// ```
pub fn foreach(name: impl Into<String>, items: impl Into<Items>) -> Foreach<WithoutSteps> {
    Foreach::new(named("foreach", name)).with_key("items", items.into().0)
}

impl<S> Foreach<S> {
    /// `as`: the name of the item in expressions, `item` by default.
    pub fn item_as(self, name: impl Into<String>) -> Self {
        self.with_key("as", Value::text(name))
    }

    /// `index_as`: the name of its index (its key, over a map), `index` by default.
    pub fn index_as(self, name: impl Into<String>) -> Self {
        self.with_key("index_as", Value::text(name))
    }
}

part! {
    /// `graph`: runs nodes in the order of their needs. Made by [`graph`].
    Graph, always "nodes" => Value::empty_map()
}
node!(Graph);
join_keys!(Graph);
retry_key!(Graph);

/// A fork whose branches need others.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let build = graph("build")
///     .node("sources", step("checkout"))
///     .node("tests", needs(["sources"]).steps(step("run_tests")))
///     .node("docs", needs(["sources"]).when("ctx.with_docs").steps(step("render_docs")))
///     .node("release", needs(["tests", "docs"]).steps(step("upload")));
/// # let _ = build;
/// ```
pub fn graph(name: impl Into<String>) -> Graph {
    let entries = named("graph", name);
    Graph { entries }
}

impl Graph {
    /// One more node: a flow, or what begins with [`needs`].
    pub fn node(self, name: impl Into<String>, node: impl Into<GraphNode>) -> Self {
        self.with_entry("nodes", name, node.into().into())
    }

    /// As many more nodes.
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = (impl Into<String>, impl Into<GraphNode>)>) -> Self {
        let all = self.entries.map_at("nodes");
        for (name, node) in nodes {
            all.push(name, node.into().into());
        }
        self
    }
}

part! {
    /// A node of a graph. Made by [`needs`], or of a flow.
    GraphNode<S>
}

/// A node of a graph that starts when these others are done.
pub fn needs(others: impl IntoIterator<Item = impl Into<String>>) -> GraphNode<WithoutSteps> {
    GraphNode::new(Entries::default()).with_key("needs", Value::texts(others))
}

impl<S> GraphNode<S> {
    /// `when`: read when the needs are done; the node is skipped unless it is true.
    pub fn when(self, condition: impl Into<Condition>) -> Self {
        self.with_key("when", condition.into().0)
    }
}

impl<F: Into<Flow>> From<F> for GraphNode {
    fn from(steps: F) -> GraphNode {
        GraphNode::new(Entries::default()).steps(steps)
    }
}
