//! Makes inputs of a corpus: pieces cut out, doubled, moved, nested, taken from others.

use crate::dice::Dice;

/// Longest input: what is larger is refused by its size.
const BYTES_MAX: usize = 40_000;
/// Changes of one input at most.
const CHANGES_MAX: usize = 6;

/// Numbers at the borders of types and limits.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "64",
    "65",
    "127",
    "128",
    "1000",
    "1001",
    "4096",
    "65536",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "1e308",
    "1e309",
    "-0.0",
    "1.5",
    "1E-400",
    "0.1e1",
    "00",
    "+1",
];

/// What opens a level, and what closes it.
const LEVELS: &[(&str, &str)] = &[
    ("[", "]"),
    ("(", ")"),
    ("{\"a\":", "}"),
    ("{a: ", "}"),
    ("- ", ""),
    ("!", ""),
    ("-", ""),
    ("\"= ", "\""),
    ("a.", ""),
    ("a?b:", ""),
    ("\n  - group: g\n    steps:", ""),
];

const STRANGE: &[&str] = &[
    "\u{0}",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "\u{1F600}",
    "é",
    "\\u0000",
    "\\ud800",
    "\r",
    "\t",
    "\u{202e}",
    "\u{7f}",
];

pub(super) struct Mutator<'a> {
    pub corpus: &'a [Vec<u8>],
    pub pieces: &'static [&'static str],
}

impl Mutator<'_> {
    /// One input.
    pub fn make(&self, dice: &mut Dice) -> Vec<u8> {
        let mut input = dice.pick(self.corpus).clone();
        for _ in 0..1 + dice.below(CHANGES_MAX) {
            self.change(&mut input, dice);
            input.truncate(BYTES_MAX);
        }
        input
    }

    fn change(&self, input: &mut Vec<u8>, dice: &mut Dice) {
        let at = dice.below(input.len() + 1);
        match dice.below(14) {
            0 => drop(input.splice(part(input, at, dice), [])),
            1 => {
                let copy = input[part(input, at, dice)].to_vec();
                let to = dice.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            2 => {
                let other = dice.pick(self.corpus);
                let from = dice.below(other.len() + 1);
                let piece = other[part(other, from, dice)].to_vec();
                input.splice(part(input, at, dice), piece);
            }
            3 => put(input, at, dice.word(NUMBERS)),
            4 => replace_number(input, at, dice.word(NUMBERS)),
            5 => put(input, at, dice.word(STRANGE)),
            6 => nest(input, at, dice),
            7 => match input.get_mut(at) {
                Some(byte) => *byte ^= 1 << dice.below(8),
                None => input.truncate(at / 2),
            },
            8 => swap_lines(input, dice),
            9 => {
                let line = lines(input);
                let line = dice.pick(&line).clone();
                input.splice(line, []);
            }
            10 => {
                let piece = self.piece(dice);
                let times = [2, 10, 200][dice.below(3)];
                put(input, at, &piece.repeat(times));
            }
            _ => {
                let piece = self.piece(dice);
                let range = if dice.chance(50) { at..at } else { part(input, at, dice) };
                input.splice(range, piece.bytes());
            }
        }
    }

    fn piece(&self, dice: &mut Dice) -> &'static str {
        self.pieces[dice.below(self.pieces.len())]
    }
}

fn put(input: &mut Vec<u8>, at: usize, text: &str) {
    input.splice(at..at, text.bytes());
}

/// From `at` on, mostly short.
fn part(input: &[u8], at: usize, dice: &mut Dice) -> std::ops::Range<usize> {
    let most = if dice.chance(80) { 16 } else { input.len() };
    at..(at + dice.below(most + 1)).min(input.len())
}

fn replace_number(input: &mut Vec<u8>, at: usize, number: &str) {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b".eE-".contains(byte);
    let Some(from) = (at..input.len()).find(|at| input[*at].is_ascii_digit()) else {
        return;
    };
    let length = input[from..].iter().take_while(|byte| is_part(byte)).count();
    input.splice(from..from + length, number.bytes());
}

fn nest(input: &mut Vec<u8>, at: usize, dice: &mut Dice) {
    let (open, close) = *dice.pick(LEVELS);
    let levels = [1, 30, 129, 513, 3_000][dice.below(5)];
    let end = part(input, at, dice).end;
    put(input, end, &close.repeat(levels));
    put(input, at, &open.repeat(levels));
}

/// Where each line stands, with its end.
fn lines(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut all = Vec::new();
    let mut from = 0;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        all.push(from..from + line.len());
        from += line.len();
    }
    if all.is_empty() {
        all.push(0..0);
    }
    all
}

fn swap_lines(input: &mut Vec<u8>, dice: &mut Dice) {
    let mut all: Vec<Vec<u8>> = lines(input).into_iter().map(|line| input[line].to_vec()).collect();
    let (a, b) = (dice.below(all.len()), dice.below(all.len()));
    all.swap(a, b);
    *input = all.concat();
}
