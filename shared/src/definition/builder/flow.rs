//! Nodes, and lists of them.

use super::value::Value;

/// Any node; every kind of node turns into one.
#[derive(Clone, Debug)]
#[must_use = "a node is part of no document before it stands in a flow"]
pub struct Node(pub(super) Value);

/// Nodes with one point of control, in their order. A single node is a flow, too.
///
/// [`flow!`](crate::flow) lists nodes of several kinds; iterators of nodes collect into a flow:
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let stages: Flow = ["fetch", "resize", "store"].into_iter().map(step).collect();
/// let whole = flow![step("begin")].then(group("stages").steps(stages)).then(finish("done"));
/// # let _ = whole;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a flow is part of no document before it is given to one"]
pub struct Flow(Vec<Node>);

/// A [`Flow`](crate::definition::builder::Flow) of these nodes.
///
/// ```
/// use rejoin_shared::definition::builder::*;
///
/// let two = flow![step("fetch"), set("note").value("fetched", true)];
/// # let _ = two;
/// ```
#[macro_export]
macro_rules! flow {
    ($($node:expr),* $(,)?) => {{
        let nodes: ::std::vec::Vec<$crate::definition::builder::Node> = ::std::vec![
            $($crate::definition::builder::Node::from($node)),*
        ];
        $crate::definition::builder::Flow::from(nodes)
    }};
}

impl Flow {
    /// A flow of nothing, which ends at once.
    pub fn new() -> Flow {
        Flow::default()
    }

    /// The same with `node` at its end.
    pub fn then(mut self, node: impl Into<Node>) -> Flow {
        self.0.push(node.into());
        self
    }
}

impl From<Node> for Flow {
    fn from(node: Node) -> Flow {
        Flow(vec![node])
    }
}

impl From<Vec<Node>> for Flow {
    fn from(nodes: Vec<Node>) -> Flow {
        Flow(nodes)
    }
}

impl<N: Into<Node>> FromIterator<N> for Flow {
    fn from_iter<I: IntoIterator<Item = N>>(nodes: I) -> Flow {
        Flow(nodes.into_iter().map(Into::into).collect())
    }
}

impl<N: Into<Node>> Extend<N> for Flow {
    fn extend<I: IntoIterator<Item = N>>(&mut self, nodes: I) {
        self.0.extend(nodes.into_iter().map(Into::into));
    }
}

impl IntoIterator for Flow {
    type Item = Node;
    type IntoIter = std::vec::IntoIter<Node>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<Flow> for Value {
    fn from(flow: Flow) -> Value {
        Value::list(flow.0.into_iter().map(|node| node.0))
    }
}
