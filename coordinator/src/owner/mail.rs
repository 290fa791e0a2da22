//! The inbox as the owner reads it: a page at a time from the oldest row, and past rows that stay there because their runs, or they
//! themselves, cannot be read here: however many these are, they hold nothing else up.

use std::time::Duration;

use rejoin_shared::ids::Partition;
use rejoin_shared::map::{HashMap, HashSet};
use rejoin_shared::time::Timestamp;

use super::Owner;
use super::command::Prepared;
use super::inbound::{Inbound, Item, Origin, What};
use crate::inbox::{self, InboxItem, Says};

/// Rows may appear before others that were read already: so often the oldest are looked at again, where they are passed over.
const ANEW_PAUSE: Duration = Duration::from_secs(30);

/// What was read, and where the next reading begins.
pub(super) struct Mail {
    /// Rows that were taken in, until they are done with.
    seen: HashSet<u64>,
    /// Those that were done with while a page was being read: it may have been read before.
    done_meanwhile: Vec<u64>,
    /// Those of them that stay.
    left: HashMap<u64, Partition>,
    /// All rows up to this one stay.
    after: u64,
    /// When the next reading begins at the oldest again.
    anew_at: Timestamp,
    is_reading: bool,
    /// The last reading took as many rows as it may.
    is_full: bool,
}

impl Mail {
    pub fn new(now: Timestamp) -> Mail {
        Mail {
            seen: HashSet::default(),
            done_meanwhile: Vec::new(),
            left: HashMap::default(),
            after: 0,
            anew_at: now,
            is_reading: false,
            is_full: false,
        }
    }

    /// A row is done with. Whether it was of a full page, for the first time: then there is more to be read.
    pub fn done(&mut self, id: u64) -> bool {
        match self.is_reading {
            true => self.done_meanwhile.push(id),
            false => drop(self.seen.remove(&id)),
        }
        std::mem::take(&mut self.is_full)
    }

    /// Which of these rows, of a page that was being read, are to be taken in; the page is over with them.
    fn page_was_read(&mut self, rows: &[u64]) -> HashSet<u64> {
        self.is_reading = false;
        let new = rows.iter().copied().filter(|id| self.seen.insert(*id)).collect();
        for id in std::mem::take(&mut self.done_meanwhile) {
            self.seen.remove(&id);
        }
        new
    }

    /// A row stays where it is; the answer is as of [`Self::done`].
    pub fn leave(&mut self, id: u64, partition: Partition) -> bool {
        self.left.insert(id, partition);
        std::mem::take(&mut self.is_full)
    }

    /// Rows of this partition are nobody's here any more: should it come back, they are read again.
    pub fn lose(&mut self, partition: Partition) {
        let seen = &mut self.seen;
        self.left.retain(|id, of| {
            let is_kept = *of != partition;
            if !is_kept {
                seen.remove(id);
            }
            is_kept
        });
    }

    /// There are other rows now: the next reading begins at the oldest.
    pub fn begin_anew(&mut self) {
        self.after = 0;
    }

    /// Whether a page was passed over, as all of it stays; then the next one is to be read.
    fn passes(&mut self, began: u64, rows: &[u64], next: Option<u64>, now: Timestamp) -> bool {
        let Some(next) = next else { return false };
        if began != self.after || !rows.iter().all(|id| self.left.contains_key(id)) {
            return false;
        }
        if self.after == 0 {
            self.anew_at = now.plus(ANEW_PAUSE);
        }
        self.after = next;
        true
    }
}

impl Owner {
    /// Reads a page of the inbox, unless one is being read.
    pub(super) fn read_inbox(&mut self) {
        if self.mail.is_reading || self.claims.is_empty() {
            return;
        }
        if self.mail.anew_at <= self.parts.clock.now() {
            self.mail.begin_anew();
        }
        self.mail.is_reading = true;
        let (store, definitions) = (self.parts.store.clone(), self.parts.definitions.clone());
        let (of, own) = (self.claims.keys().copied().collect::<Vec<_>>(), self.own.clone());
        let after = self.mail.after;
        self.parts.tasks.spawn(async move {
            let page = inbox::read(store.as_ref(), &definitions, &of, after).await;
            let page = page.map_err(|error| tracing::warn!(%error, "the inbox could not be read"));
            own.send(Inbound::Inbox(page.ok())).ok();
        });
    }

    /// A page was read, or could not be.
    pub(super) fn take_inbox(&mut self, page: Option<inbox::Page>) {
        let Some(page) = page else {
            self.mail.page_was_read(&[]);
            return;
        };
        self.mail.is_full = page.next.is_some();
        let rows: Vec<u64> = page.items.iter().map(|item| item.id).collect();
        let is_ours = |item: &&InboxItem| self.claims.contains_key(&item.run.partition());
        let ours: Vec<u64> = page.items.iter().filter(is_ours).map(|item| item.id).collect();
        let is_stale = !self.mail.done_meanwhile.is_empty();
        let new = self.mail.page_was_read(&ours);
        for item in page.items {
            if new.contains(&item.id) {
                self.take_item(item);
            }
        }
        let now = self.parts.clock.now();
        // Of a page that was done with meanwhile nothing is left that would ask for the next one.
        let is_done = is_stale && new.is_empty() && self.mail.is_full;
        if is_done || self.mail.passes(page.after, &rows, page.next, now) {
            self.read_inbox();
        }
    }

    fn take_item(&mut self, item: InboxItem) {
        let origin = Origin::Inbox {
            id: item.id,
            wants_verdict: item.wants_verdict,
        };
        let what = match item.says {
            Says::Command(command, mut prepared) => {
                if let Prepared::Start(prepared) = &mut prepared {
                    prepared.start.may_exist = true;
                }
                What::of(&command, prepared)
            }
            Says::Refused(error) => return self.refused.push((item.run, origin, error)),
            Says::Left(why) => {
                tracing::warn!(run = %item.run, why, "message is for a newer version; it stays in the inbox");
                self.mail.leave(item.id, item.run.partition());
                return;
            }
        };
        if let Some(what) = what {
            let run = item.run;
            self.backlog.push_back(Item { run, what, origin });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was there when the page was read, and is judged: read again it would be judged twice.
    #[test]
    fn a_row_that_is_done_with_while_its_page_is_being_read_is_not_taken_in_again() {
        let mut mail = Mail::new(Timestamp(0));
        assert_eq!(mail.page_was_read(&[1, 2]).len(), 2);
        mail.done(1);
        mail.is_reading = true;
        mail.done(2);
        assert_eq!(mail.page_was_read(&[1, 2, 3]), HashSet::from_iter([1, 3]));
        assert_eq!(
            mail.page_was_read(&[2]),
            HashSet::from_iter([2]),
            "it was put there anew"
        );
    }

    #[test]
    fn only_a_full_page_that_stays_as_a_whole_is_passed_over_until_it_is_time_to_look_again() {
        let (now, partition) = (Timestamp(1_000_000), Partition(3));
        let mut mail = Mail::new(now);
        mail.leave(1, partition);
        assert!(!mail.passes(0, &[1, 2], Some(2), now), "the second may be done with");
        mail.leave(2, partition);
        assert!(!mail.passes(0, &[1, 2], None, now), "there is nothing behind it");
        assert!(mail.passes(0, &[1, 2], Some(2), now));
        assert_eq!((mail.after, mail.anew_at), (2, now.plus(ANEW_PAUSE)));
        assert!(!mail.passes(0, &[1, 2], Some(2), now), "an older reading moves nothing");
        mail.begin_anew();
        mail.lose(partition);
        assert!(!mail.passes(0, &[1, 2], Some(2), now), "what comes back is read again");
        assert!(
            mail.passes(0, &[], Some(256), now),
            "a page of which nothing can be read"
        );
    }
}
