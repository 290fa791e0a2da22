//! An expression as written: the parser's tree with chains laid flat, so that depth means nesting.
//!
//! `a + b + c` and `a.b.c` are one level each however long they are: only brackets, arguments and operands that stand
//! inside each other count, and only those make evaluation recurse.

use super::value::Value;

/// A part of an expression and where it stands (a byte offset).
#[derive(Debug)]
pub(super) struct At {
    pub(super) offset: usize,
    pub(super) part: Syntax,
}

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Syntax {
    Literal(Value),
    /// A plain name; with a leading dot it skips the variables of macros.
    Name(String),
    /// `root.field[index].method(…)…`
    Path(Box<At>, Vec<StepAt>),
    /// Operators that bind to the left: `first op operand op operand …`.
    Chain(Box<At>, Vec<LinkAt>),
    And(Vec<At>),
    Or(Vec<At>),
    Not(Box<At>),
    Negate(Box<At>),
    Conditional(Box<[At; 3]>),
    List(Vec<At>),
    Map(Vec<(At, At)>),
    /// `name(…)`
    Call(String, Vec<At>),
    /// Something of CEL that has no meaning here; what it is.
    Unsupported(&'static str),
}

/// A step of a path.
#[derive(Debug)]
pub(super) struct StepAt {
    pub(super) offset: usize,
    pub(super) step: SyntaxStep,
}

/// What a step of a path does.
#[derive(Debug)]
pub(super) enum SyntaxStep {
    Field(String),
    Index(At),
    Call(String, Vec<At>),
}

/// One operator of a chain and what stands to its right.
#[derive(Debug)]
pub(super) struct LinkAt {
    pub(super) operator: Binary,
    pub(super) operand: At,
}

/// A binary operator that always evaluates both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Binary {
    /// How it is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
            Binary::Modulo => "%",
            Binary::Equal => "==",
            Binary::NotEqual => "!=",
            Binary::Less => "<",
            Binary::LessEqual => "<=",
            Binary::Greater => ">",
            Binary::GreaterEqual => ">=",
            Binary::In => "in",
        }
    }
}
