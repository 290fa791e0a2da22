//! When a silent subscription is looked at, and what follows.

use std::time::Duration;

use tokio::time::Instant;

use crate::link::{Depth, LinkError};

/// After so long the first look.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// The pause doubles with each look, up to this: an idle subscription shall cost next to nothing.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Until the second look at a suspicious one.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// Looks that may fail in a row.
const FAILED_MAX: u32 = 3;

pub(super) struct Silence {
    pub(super) look_at: Instant,
    pause: Duration,
    is_suspicious: bool,
    failed: u32,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    GoesOn,
    /// Make it again: the broker may have lost it, or surely has.
    Renew,
    /// Its queue is not there, or the broker does not answer.
    Ends,
}

impl Silence {
    /// It has just said something.
    pub(super) fn begin() -> Silence {
        Silence {
            look_at: Instant::now() + FIRST_LOOK,
            pause: FIRST_LOOK,
            is_suspicious: false,
            failed: 0,
        }
    }

    /// Judges by what the broker says of the queue, and how many deliveries this subscription has not settled.
    pub(super) fn judge(
        &mut self,
        depth: Result<Option<Depth>, LinkError>,
        unsettled: usize,
        prefetch: usize,
    ) -> Judgement {
        let depth = match depth {
            Ok(Some(depth)) => depth,
            Ok(None) => return Judgement::Ends,
            Err(_) if self.failed >= FAILED_MAX => return Judgement::Ends,
            Err(_) => {
                self.failed += 1;
                self.look_at = Instant::now() + SECOND_LOOK;
                return Judgement::GoesOn;
            }
        };
        self.failed = 0;
        // Messages wait, though this one has room: they may be on their way now, but not at the second look.
        let seems_deaf = depth.messages > 0 && unsettled < prefetch;
        if depth.consumers == 0 || (seems_deaf && self.is_suspicious) {
            *self = Silence::begin();
            return Judgement::Renew;
        }
        self.is_suspicious = seems_deaf;
        if seems_deaf {
            self.look_at = Instant::now() + SECOND_LOOK;
            return Judgement::GoesOn;
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.look_at = Instant::now() + self.pause;
        // What was lost counts as delivered, so nothing tells of it; made again while nothing is unsettled, it costs nothing.
        match unsettled {
            0 => Judgement::Renew,
            _ => Judgement::GoesOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(messages: u64, consumers: u64) -> Result<Option<Depth>, LinkError> {
        Ok(Some(Depth { messages, consumers }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_subscription_is_made_again_ever_more_seldom() {
        let mut silence = Silence::begin();
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.push((silence.look_at - Instant::now()).as_secs());
            tokio::time::advance(silence.look_at - Instant::now()).await;
            assert_eq!(silence.judge(depth(0, 1), 0, 16), Judgement::Renew);
        }
        assert_eq!(waits, [3, 6, 12, 24, 48, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_with_unsettled_deliveries_is_made_again_only_beside_messages_that_do_not_come() {
        let mut silence = Silence::begin();
        assert_eq!(silence.judge(depth(0, 1), 1, 16), Judgement::GoesOn);
        assert_eq!(silence.judge(depth(9, 1), 16, 16), Judgement::GoesOn, "it has no room");
        assert_eq!(
            silence.judge(depth(9, 1), 1, 16),
            Judgement::GoesOn,
            "they may be on their way"
        );
        assert_eq!(silence.judge(depth(9, 1), 1, 16), Judgement::Renew);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_the_broker_does_not_know_is_made_again_and_ends_with_its_queue() {
        let mut silence = Silence::begin();
        assert_eq!(silence.judge(depth(0, 0), 1, 16), Judgement::Renew);
        assert_eq!(silence.judge(Ok(None), 1, 16), Judgement::Ends);
        let mut silence = Silence::begin();
        for _ in 0..FAILED_MAX {
            assert_eq!(silence.judge(Err(LinkError::Down), 1, 16), Judgement::GoesOn);
        }
        assert_eq!(silence.judge(Err(LinkError::Down), 1, 16), Judgement::Ends);
    }
}
