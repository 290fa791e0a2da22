//! Steps: what calls a handler, how it is tried again, and what undoes it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::expr::Template;
use crate::keypath::KeyPath;

/// What a step, or a decision by handler, calls and how often.
#[derive(Clone, Debug)]
pub struct HandlerCall {
    /// The handler's name.
    pub uses: Arc<str>,
    /// What the handler gets as `input`; `None` is the whole context.
    pub with: Option<Template>,
    /// The task queue.
    pub queue: Arc<str>,
    /// Policies in order, the first that matches an error counts; never empty.
    pub retry: Vec<RetryPolicy>,
    /// Of one attempt, from its start on the worker.
    pub timeout: Option<Duration>,
    /// Longest silence of the handler.
    pub heartbeat: Option<Duration>,
}

/// `step`
#[derive(Clone, Debug)]
pub struct Step {
    /// What it calls.
    pub call: HandlerCall,
    /// Where its output goes.
    pub into: Into,
    /// From the first start, over all attempts.
    pub total_timeout: Option<Duration>,
    /// What follows when retries are used up.
    pub on_exhausted: OnExhausted,
    /// What undoes it.
    pub compensate: Option<Compensate>,
    /// False: claimed before it runs.
    pub idempotent: bool,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Into {
    /// An object merges shallowly, null changes nothing, anything else goes under the node's name.
    Merge,
    /// To this path, whatever it is.
    At(KeyPath),
    /// Nowhere.
    Drop,
}

/// `on_exhausted`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExhausted {
    /// The step fails.
    Fail,
    /// The step is parked for an operator.
    Park,
}

/// `compensate`
#[derive(Clone, Debug)]
pub struct Compensate {
    /// Its handler call; `with: None` means the output of the step.
    pub call: HandlerCall,
}

/// One retry policy (SPEC 5.1), complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all; 1 is no retry. The policy allows one less than this of retries.
    pub max_attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// First delay.
    pub initial: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Growth of the exponential backoff.
    pub multiplier: f64,
    /// Whether delays are drawn at random between half and all of themselves.
    pub jitter: bool,
    /// Patterns of error types it is for; `None` means the default rule of SPEC 5.1.
    pub only: Option<Vec<String>>,
    /// Patterns of error types it is not for.
    pub except: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 1,
            backoff: Backoff::Exponential,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(3600),
            multiplier: 2.0,
            jitter: true,
            only: None,
            except: Vec::new(),
        }
    }
}

/// How the delay between attempts grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always `initial`.
    Constant,
    /// `initial` times the number of the retry.
    Linear,
    /// `initial` times `multiplier` to the number of the retry less one.
    Exponential,
}
