//! What one subscription has handed out and not settled, and the one function that settles it at the broker.
//!
//! An ack of many (`multiple`) means every delivery of the channel up to a tag. Tags are handed out in rising order, so
//! the acks that wait may go as one up to, and without, the lowest tag that is still unsettled.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::link::Settle;

pub(super) struct Unsettled {
    channel: Channel,
    tags: BTreeSet<u64>,
    /// Acked by the caller, not sent yet.
    acked: BTreeSet<u64>,
}

impl Unsettled {
    pub(super) fn new(channel: Channel) -> Unsettled {
        Unsettled {
            channel,
            tags: BTreeSet::new(),
            acked: BTreeSet::new(),
        }
    }

    /// A delivery was handed out.
    pub(super) fn note(&mut self, tag: u64) {
        self.tags.insert(tag);
    }

    /// Deliveries that the broker waits for.
    pub(super) fn count(&self) -> usize {
        self.tags.len() + self.acked.len()
    }

    /// `false`: it was settled before, or ended with its channel.
    pub(super) fn settle(&mut self, tag: u64, how: Settle) -> bool {
        if !self.tags.remove(&tag) || !self.channel.status().connected() {
            return false;
        }
        match how {
            Settle::Ack => {
                self.acked.insert(tag);
                true
            }
            Settle::Requeue | Settle::DeadLetter => self.send(tag, how, false),
        }
    }

    /// Sends the acks that wait.
    pub(super) fn flush(&mut self) {
        let acked = std::mem::take(&mut self.acked);
        let (together, singly) = split(acked, self.tags.first().copied());
        if let Some(last) = together.last() {
            self.send(*last, Settle::Ack, together.len() > 1);
        }
        for tag in singly {
            self.send(tag, Settle::Ack, false);
        }
    }

    /// The one function that settles at the broker. It does not wait until the frame is on the wire: the broker answers
    /// none, and after a connection that fails now the message is delivered again, as it is without the call.
    fn send(&self, tag: u64, how: Settle, multiple: bool) -> bool {
        let nack = |requeue| BasicNackOptions { multiple, requeue };
        let sent = match how {
            Settle::Ack => self.channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never(),
            Settle::Requeue => self.channel.basic_nack(tag, nack(true)).now_or_never(),
            Settle::DeadLetter => self.channel.basic_nack(tag, nack(false)).now_or_never(),
        };
        match sent {
            // Queued to be written, or written already.
            None | Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::debug!(%error, "a delivery ended with its channel before it was settled");
                false
            }
        }
    }
}

/// Those below the lowest unsettled tag, and the others.
fn split(mut acked: BTreeSet<u64>, lowest_unsettled: Option<u64>) -> (BTreeSet<u64>, BTreeSet<u64>) {
    match lowest_unsettled {
        None => (acked, BTreeSet::new()),
        Some(lowest) => {
            let singly = acked.split_off(&lowest);
            (acked, singly)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tags: &[u64]) -> BTreeSet<u64> {
        tags.iter().copied().collect()
    }

    #[test]
    fn acks_go_together_only_below_the_lowest_unsettled_delivery() {
        assert_eq!(split(set(&[1, 2, 4]), None), (set(&[1, 2, 4]), set(&[])));
        assert_eq!(split(set(&[1, 2, 4]), Some(3)), (set(&[1, 2]), set(&[4])));
        assert_eq!(split(set(&[2, 4]), Some(1)), (set(&[]), set(&[2, 4])));
        assert_eq!(split(set(&[]), Some(1)), (set(&[]), set(&[])));
    }
}
