//! Texts made to break what reads them.
//!
//! ```text
//!   corpus (tests/corpus) ─▶ mutate, by seed and number ─▶ check of the target ─▶ what breaks is shown; kept in tests/corpus/found
//! ```
//! An input depends on the seed and its number alone, so what breaks breaks again. What overflows the stack ends the process: the
//! input lies in a file before it is tried.

mod corpus;
mod definitions;
mod expressions;
mod mutate;
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::dice::Dice;
pub use corpus::{found, sections};
use mutate::Mutator;

/// Something that reads what others write.
pub trait Target: Send {
    /// Its name, as `scripts/fuzz` takes it.
    fn name(&self) -> &'static str;
    /// What it accepts.
    fn corpus(&self) -> Vec<Vec<u8>>;
    /// Pieces that mean something to it.
    fn pieces(&self) -> &'static [&'static str];
    /// Reads an input; whether it was accepted.
    ///
    /// # Errors
    /// What must not be.
    fn check(&mut self, input: &[u8]) -> Result<bool, String>;
}

/// The targets, by name.
///
/// # Panics
/// If there is none of this name.
#[must_use]
pub fn target(name: &str) -> Box<dyn Target> {
    match name {
        "definitions" => Box::new(definitions::Definitions),
        "expressions" => Box::new(expressions::Expressions::new()),
        "wire" => Box::new(wire::Wire),
        other => panic!("there is no target {other}"),
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// What the inputs follow from.
    pub seed: u64,
    /// Inputs at most.
    pub inputs: u64,
    /// No more are begun after this.
    pub time: Duration,
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    /// Inputs.
    pub inputs: u64,
    /// Those that were accepted.
    pub accepted: u64,
}

/// An input that takes longer, three times in a row, does not end within reason.
const SLOW: Duration = Duration::from_secs(3);
/// Memory that a process which reads small inputs does not need.
const MEMORY_KB_MAX: u64 = 1 << 20;
/// What tokio gives its threads.
const STACK_BYTES: usize = 2 << 20;

/// Tries the corpus, what was found before, and what is made of both.
///
/// # Errors
/// The first input that breaks the target, and how.
pub fn fuzz(name: &'static str, effort: Effort) -> Result<Tried, String> {
    let work = move || {
        let mut target = target(name);
        let mut corpus = target.corpus();
        for input in &corpus {
            let is_accepted = attempt(&mut *target, input, "of the corpus")?;
            if !is_accepted {
                return Err(format!("refused is {}", shown(input)));
            }
        }
        let found = found(name);
        for input in &found {
            attempt(&mut *target, input, "found before")?;
        }
        corpus.extend(found);
        mutants(&mut *target, &corpus, effort)
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    let tried = thread.expect("a thread").join();
    let tried = tried.unwrap_or_else(|_| Err("the harness fails".to_owned()))?;
    match memory_kb() {
        Some(peak) if peak > MEMORY_KB_MAX => Err(format!("{peak} kB of memory were needed")),
        _ => Ok(tried),
    }
}

fn mutants(target: &mut dyn Target, corpus: &[Vec<u8>], effort: Effort) -> Result<Tried, String> {
    let mutator = Mutator {
        corpus,
        pieces: target.pieces(),
    };
    let until = Instant::now() + effort.time;
    let mut tried = Tried::default();
    for n in 0..effort.inputs {
        if Instant::now() > until {
            break;
        }
        let input = mutator.make(&mut Dice::of(effort.seed, &n.to_string()));
        let is_accepted = attempt(target, &input, &format!("number {n} of seed {}", effort.seed))?;
        tried.inputs += 1;
        tried.accepted += u64::from(is_accepted);
    }
    Ok(tried)
}

fn attempt(target: &mut dyn Target, input: &[u8], which: &str) -> Result<bool, String> {
    let file = current_file(target.name());
    drop(std::fs::write(&file, input));
    let told = |why: &str| {
        format!(
            "{}, {which}: {why}\n{}\nkept in {}",
            target_name(&file),
            shown(input),
            file.display()
        )
    };
    for _ in 0..3 {
        let begun = Instant::now();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target.check(input)));
        let is_accepted = match caught {
            Ok(checked) => checked.map_err(|why| told(&why))?,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                return Err(told(&format!("a panic: {}", text.unwrap_or_default())));
            }
        };
        if begun.elapsed() < SLOW {
            return Ok(is_accepted);
        }
    }
    Err(told("it takes longer than it may"))
}

/// Where the input lies that is tried now.
fn current_file(target: &str) -> PathBuf {
    std::env::temp_dir().join(format!("rejoin-fuzz-{}-{target}", std::process::id()))
}

fn target_name(file: &std::path::Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit('-').next().unwrap_or_default().to_owned()
}

/// An input, for people.
fn shown(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let short: String = text.chars().take(2_000).collect();
    format!("{} bytes: {short:?}", input.len())
}

/// The most memory that the process has had, where the system tells.
fn memory_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
