//! How many branches must succeed (SPEC 4.1).

use rejoin_shared::definition::model::{Concurrency, Join, OnError};
use rejoin_shared::expr::{Env, Template};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;

/// What a join asks for.
pub(super) struct Quota {
    asks: Asks,
    /// Whether it decides before all have settled.
    pub fail_fast: bool,
}

enum Asks {
    Whatever,
    Need(Amount),
    Tolerate(Amount),
}

enum Amount {
    All,
    Count(usize),
    Percent(f64),
}

/// Where a scope stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    /// Branches whose `when` held.
    pub activated: usize,
    pub ok: usize,
    pub failed: usize,
    /// Branches of a graph that can no longer succeed and have not failed.
    pub barred: usize,
}

impl Quota {
    /// Reads it in `env`; `None` if something in it is no such amount.
    pub(super) fn read(join: &Join, env: &Env, limits: &Limits) -> Option<Quota> {
        let fail_fast = join.on_error == OnError::FailFast;
        let asks = match (&join.need, &join.tolerate) {
            (Some(need), _) => Asks::Need(amount(need, true, env, limits)?),
            (None, Some(tolerate)) => Asks::Tolerate(amount(tolerate, false, env, limits)?),
            (None, None) if fail_fast => Asks::Need(Amount::All),
            (None, None) => Asks::Whatever,
        };
        Some(Quota { asks, fail_fast })
    }

    /// Whether more branches must succeed than are activated.
    pub(super) fn is_out_of_reach(&self, activated: usize) -> bool {
        activated > 0 && self.needed(activated) > activated
    }

    /// Whether the join can no longer succeed.
    pub(super) fn is_lost(&self, n: Count) -> bool {
        if n.activated == 0 {
            return false;
        }
        match &self.asks {
            Asks::Whatever => false,
            Asks::Need(_) => n.activated - n.failed - n.barred < self.needed(n.activated),
            Asks::Tolerate(amount) => n.failed > floor(amount, n.activated),
        }
    }

    /// Whether enough have succeeded for the others to be cancelled under `fail_fast`.
    pub(super) fn has_enough(&self, n: Count) -> bool {
        matches!(self.asks, Asks::Need(_)) && n.ok >= self.needed(n.activated)
    }

    fn needed(&self, activated: usize) -> usize {
        match &self.asks {
            Asks::Need(Amount::All) => activated,
            Asks::Need(Amount::Count(n)) => *n,
            Asks::Need(Amount::Percent(p)) => (0..=activated)
                .find(|n| enough(*n, *p, activated))
                .unwrap_or(activated + 1),
            Asks::Whatever | Asks::Tolerate(_) => 0,
        }
    }
}

fn enough(n: usize, percent: f64, activated: usize) -> bool {
    double(n) * 100.0 >= percent * double(activated)
}

fn floor(amount: &Amount, activated: usize) -> usize {
    match amount {
        Amount::All => activated,
        Amount::Count(n) => *n,
        Amount::Percent(p) => (0..=activated)
            .rev()
            .find(|n| double(*n) * 100.0 <= p * double(activated))
            .unwrap_or(0),
    }
}

fn double(n: usize) -> f64 {
    f64::from(u32::try_from(n).expect("tests have few branches"))
}

fn amount(template: &Template, is_need: bool, env: &Env, limits: &Limits) -> Option<Amount> {
    match template.eval(env, limits).ok()? {
        Json::Int(n) if n >= i64::from(is_need) => Some(Amount::Count(usize::try_from(n).ok()?)),
        Json::Str(text) if is_need && &*text == "all" => Some(Amount::All),
        Json::Str(text) if is_need && &*text == "any" => Some(Amount::Count(1)),
        Json::Str(text) => {
            let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(Amount::Percent(percent))
        }
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::List(_) | Json::Object(_) => None,
    }
}

/// Branches at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// One after another, each from where the last successful one left.
    Loop,
    /// One after another, each from the base.
    One,
    /// Several.
    Many,
}

impl Width {
    pub(super) fn read(join: &Join, is_foreach: bool, env: &Env, limits: &Limits) -> Option<Width> {
        match &join.concurrency {
            None if is_foreach => Some(Width::Loop),
            None | Some(Concurrency::Unbounded) => Some(Width::Many),
            Some(Concurrency::At(template)) => match template.eval(env, limits).ok()? {
                Json::Int(1) => Some(Width::One),
                Json::Int(n) if n > 1 => Some(Width::Many),
                Json::Str(text) if &*text == "unbounded" => Some(Width::Many),
                Json::Null
                | Json::Bool(_)
                | Json::Int(_)
                | Json::Float(_)
                | Json::Str(_)
                | Json::List(_)
                | Json::Object(_) => None,
            },
        }
    }
}
