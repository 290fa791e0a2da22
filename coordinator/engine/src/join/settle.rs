//! Whether a join is decided yet, and how (SPEC 4.1).

use rejoin_shared::definition::model::OnError;

use crate::record::{Quota, Share};

/// Counts of a scope's branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Branches whose `when` held, as far as it has been read.
    pub activated: u32,
    pub ok: u32,
    pub failed: u32,
    /// Branches that can no longer succeed, but have not failed.
    pub cancelled: u32,
}

/// What the counts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not decided yet.
    Open,
    Succeeds,
    Fails,
}

impl Counted {
    fn unsettled(self) -> u32 {
        self.activated - self.ok - self.failed - self.cancelled
    }

    /// Decides by what has been counted so far.
    pub fn verdict(self, quota: Quota, on_error: OnError) -> Verdict {
        if self.activated == 0 {
            return Verdict::Succeeds;
        }
        if self.needed(quota) > self.activated {
            return Verdict::Fails;
        }
        match on_error {
            OnError::CompleteAll => self.when_all_settled(quota),
            OnError::FailFast => self.as_soon_as_certain(quota),
        }
    }

    fn when_all_settled(self, quota: Quota) -> Verdict {
        if self.unsettled() > 0 {
            return Verdict::Open;
        }
        let holds = match quota {
            Quota::Whatever => true,
            Quota::All | Quota::Need(_) => self.ok >= self.needed(quota),
            Quota::Tolerate(share) => self.failed <= self.tolerated(share),
        };
        if holds { Verdict::Succeeds } else { Verdict::Fails }
    }

    fn as_soon_as_certain(self, quota: Quota) -> Verdict {
        match quota {
            Quota::Tolerate(share) if self.failed > self.tolerated(share) => Verdict::Fails,
            Quota::Tolerate(_) | Quota::Whatever if self.unsettled() > 0 => Verdict::Open,
            Quota::Tolerate(_) | Quota::Whatever => Verdict::Succeeds,
            Quota::All | Quota::Need(_) => {
                let needed = self.needed(quota);
                if self.ok >= needed {
                    Verdict::Succeeds
                } else if self.ok + self.unsettled() < needed {
                    Verdict::Fails
                } else {
                    Verdict::Open
                }
            }
        }
    }

    /// How many must succeed; percentages round up.
    fn needed(self, quota: Quota) -> u32 {
        match quota {
            Quota::All => self.activated,
            Quota::Whatever | Quota::Tolerate(_) => 0,
            Quota::Need(Share::Count(n)) => n,
            Quota::Need(Share::Percent(p)) => share_of(self.activated, p, f64::ceil),
        }
    }

    /// How many may fail; percentages round down.
    fn tolerated(self, share: Share) -> u32 {
        match share {
            Share::Count(n) => n,
            Share::Percent(p) => share_of(self.activated, p, f64::floor),
        }
    }
}

/// `percent` of `whole`, free of the noise that binary fractions bring (70 % of 10 is 7, not 7.000000000000001).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 0 ..= u32::MAX by the clamp
fn share_of(whole: u32, percent: f64, round: fn(f64) -> f64) -> u32 {
    let exact = f64::from(whole) * percent / 100.0;
    let near = exact.round();
    let value = if (exact - near).abs() < 1e-9 {
        near
    } else {
        round(exact)
    };
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use OnError::{CompleteAll, FailFast};

    fn counted(activated: u32, ok: u32, failed: u32, cancelled: u32) -> Counted {
        Counted {
            activated,
            ok,
            failed,
            cancelled,
        }
    }

    #[test]
    fn verdicts_follow_the_specification() {
        use Verdict::{Fails, Open, Succeeds};
        let need = |n| Quota::Need(Share::Count(n));
        let percent = |p| Quota::Need(Share::Percent(p));
        let tolerate = |n| Quota::Tolerate(Share::Count(n));
        let table = [
            (counted(0, 0, 0, 0), need(2), FailFast, Succeeds),
            (counted(3, 2, 0, 0), Quota::All, FailFast, Open),
            (counted(3, 3, 0, 0), Quota::All, FailFast, Succeeds),
            (counted(3, 0, 1, 0), Quota::All, FailFast, Fails),
            (counted(3, 0, 0, 0), need(4), FailFast, Fails),
            (counted(3, 0, 0, 0), need(4), CompleteAll, Fails),
            (counted(3, 1, 0, 0), need(1), FailFast, Succeeds),
            (counted(3, 1, 0, 0), need(1), CompleteAll, Open),
            (counted(3, 1, 2, 0), need(1), CompleteAll, Succeeds),
            (counted(3, 0, 3, 0), need(1), CompleteAll, Fails),
            (counted(3, 0, 3, 0), Quota::Whatever, CompleteAll, Succeeds),
            (counted(10, 7, 0, 0), percent(70.0), FailFast, Succeeds),
            (counted(10, 6, 0, 0), percent(70.0), FailFast, Open),
            (counted(3, 2, 0, 0), percent(67.0), FailFast, Open),
            (counted(4, 3, 1, 0), tolerate(1), FailFast, Succeeds),
            (counted(4, 2, 1, 0), tolerate(1), FailFast, Open),
            (counted(4, 2, 2, 0), tolerate(1), FailFast, Fails),
            (counted(4, 1, 2, 0), tolerate(1), CompleteAll, Open),
            (
                counted(19, 17, 1, 0),
                Quota::Tolerate(Share::Percent(5.0)),
                FailFast,
                Fails,
            ),
            (
                counted(20, 19, 1, 0),
                Quota::Tolerate(Share::Percent(5.0)),
                FailFast,
                Succeeds,
            ),
            (counted(3, 1, 0, 2), tolerate(0), FailFast, Succeeds),
            (counted(3, 1, 0, 1), Quota::All, FailFast, Fails),
        ];
        for (counts, quota, on_error, verdict) in table {
            assert_eq!(
                counts.verdict(quota, on_error),
                verdict,
                "{counts:?} {quota:?} {on_error:?}"
            );
        }
    }
}
