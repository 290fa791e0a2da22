//! Where payloads are sealed and opened: between the values of the trait and their columns. What SQL looks at stays as it is.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rejoin_shared::ids::RunId;
use serde::Deserialize;

use super::super::seal::{Codec, MARK_DETACHED, Place, RecordPart, RunPart, SealError, is_sealed};
use super::super::{Batch, InboxMessage, InboxRow, JournalRow, RunRow, ScheduleRow, StoreError, StoredRow, WaitRow};

type Result<T> = std::result::Result<T, StoreError>;

/// A text that is sealed begins so, then base64; no text of ours does.
const SEALED_TEXT: char = '\u{1}';
/// Payloads that cannot be read, which are told of once.
const TOLD_MAX: usize = 10_000;

/// The codec, and what it could not read.
#[derive(Default)]
pub(super) struct Sealing {
    codec: Codec,
    told: Mutex<HashSet<String>>,
}

/// What of a run's first record the database has to know.
#[derive(Deserialize)]
struct First {
    is_awaited: bool,
}

impl Sealing {
    pub(super) fn new(codec: Codec) -> Sealing {
        Sealing {
            codec,
            told: Mutex::default(),
        }
    }

    pub(super) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// A payload, sealed for its place.
    pub(super) fn seal(&self, place: Place<'_>, plain: &Bytes) -> Result<Bytes> {
        Ok(self.codec.seal(place, 0, plain)?)
    }

    /// What stands at a place.
    pub(super) fn open(&self, place: Place<'_>, stored: Bytes) -> Result<Bytes> {
        Ok(self.codec.open(place, stored)?)
    }

    fn seal_in(&self, place: Place<'_>, payload: &mut Bytes) -> Result<()> {
        *payload = self.seal(place, payload)?;
        Ok(())
    }

    fn open_in(&self, place: Place<'_>, payload: &mut Bytes) -> Result<()> {
        *payload = self.open(place, std::mem::take(payload))?;
        Ok(())
    }

    /// A batch as it is written: itself, where nothing is sealed.
    pub(super) fn batch<'b>(&self, batch: &'b Batch) -> Result<Cow<'b, Batch>> {
        if self.codec.newest_id().is_none() {
            return Ok(Cow::Borrowed(batch));
        }
        let mut sealed = batch.clone();
        for run in &mut sealed.created {
            run_payloads(run).try_for_each(|(place, payload)| self.seal_in(place, payload))?;
        }
        self.seal_rows(&mut sealed.rows)?;
        for change in &mut sealed.changed {
            let Some(end) = &mut change.ended else { continue };
            let mut ends = ends_of(change.run, &mut end.context, &mut end.output, &mut end.error);
            ends.try_for_each(|(place, payload)| self.seal_in(place, payload))?;
        }
        for message in &mut sealed.sent {
            self.seal_in(Place::Message(&message.kind), &mut message.body)?;
        }
        for (id, verdict) in &mut sealed.answered {
            self.seal_in(Place::Verdict(*id), verdict)?;
        }
        for wait in &mut sealed.waits {
            self.seal_in(Place::Wait(wait.run, wait.seq), &mut wait.body)?;
        }
        for cast in &mut sealed.broadcasts {
            self.seal_in(Place::Message(&cast.kind), &mut cast.body)?;
        }
        Ok(Cow::Owned(sealed))
    }

    /// Seals records in place.
    pub(super) fn seal_rows(&self, rows: &mut [JournalRow]) -> Result<()> {
        for row in rows {
            let marks = match row.seq {
                1 => marks_of(&row.body),
                _ => 0,
            };
            for (place, payload) in record_payloads(row) {
                let marks = if is_body(place) { marks } else { 0 };
                *payload = self.codec.seal(place, marks, payload)?;
            }
        }
        Ok(())
    }

    /// A record as it was appended.
    pub(super) fn open_row(&self, mut stored: StoredRow) -> Result<StoredRow> {
        for (place, payload) in record_payloads(&mut stored.row) {
            self.open_in(place, payload)?;
        }
        Ok(stored)
    }

    /// What stands at a place, sealed with the newest key instead of its own; plain, if there is none.
    pub(super) fn anew(&self, place: Place<'_>, stored: Bytes) -> std::result::Result<Bytes, SealError> {
        let plain = self.codec.open(place, stored)?;
        let marks = match place {
            Place::Journal(RecordPart::Body, _, 1) => marks_of(&plain),
            Place::Journal(..) | Place::Run(..) | Place::Message(_) | Place::Verdict(_) | Place::Wait(..) => 0,
            Place::Schedule(..) | Place::ScheduleError(..) | Place::Proof(_) => 0,
        };
        self.codec.seal(place, marks, &plain)
    }

    /// A run's row as it was written.
    pub(super) fn open_run(&self, mut run: RunRow) -> Result<RunRow> {
        run_payloads(&mut run).try_for_each(|(place, payload)| self.open_in(place, payload))?;
        run.fill_output();
        Ok(run)
    }

    /// A run's row for a list: what cannot be read is told in its place, so that it hides no other run.
    pub(super) fn show_run(&self, mut run: RunRow) -> RunRow {
        for (place, payload) in run_payloads(&mut run) {
            if let Err(error) = self.open_in(place, payload) {
                *payload = serde_json::json!({ "$sealed": error.to_string() }).to_string().into();
            }
        }
        run.fill_output();
        run
    }

    /// A message as it was put.
    pub(super) fn open_message(&self, mut row: InboxRow) -> Result<InboxRow> {
        let InboxMessage { kind, body, .. } = &mut row.message;
        self.open_in(Place::Message(kind), body)?;
        Ok(row)
    }

    /// A wait as it was put.
    pub(super) fn open_wait(&self, mut wait: WaitRow) -> Result<WaitRow> {
        self.open_in(Place::Wait(wait.run, wait.seq), &mut wait.body)?;
        Ok(wait)
    }

    /// A schedule as it is written.
    pub(super) fn seal_schedule<'r>(&self, row: &'r ScheduleRow) -> Result<Cow<'r, ScheduleRow>> {
        if self.codec.newest_id().is_none() {
            return Ok(Cow::Borrowed(row));
        }
        let mut sealed = row.clone();
        sealed.spec = self.seal(Place::Schedule(&row.namespace, &row.name), &row.spec)?;
        if let Some(text) = sealed.last_error.take() {
            let place = Place::ScheduleError(&row.namespace, &row.name);
            let bytes = self.seal(place, &Bytes::from(text))?;
            sealed.last_error = Some(text_of(&bytes));
        }
        Ok(Cow::Owned(sealed))
    }

    /// A schedule as it was written. A spec that cannot be read stays sealed: whoever reads it finds that it is none, and puts the
    /// schedule off; written again, it is what it was.
    pub(super) fn open_schedule(&self, mut row: ScheduleRow) -> ScheduleRow {
        let opened = self.open(Place::Schedule(&row.namespace, &row.name), row.spec.clone());
        let unreadable = match opened {
            Ok(spec) => {
                row.spec = spec;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let sealed = row
            .last_error
            .as_deref()
            .and_then(|text| text.strip_prefix(SEALED_TEXT));
        if let Some(sealed) = sealed {
            let place = Place::ScheduleError(&row.namespace, &row.name);
            let bytes = STANDARD.decode(sealed).unwrap_or_default();
            let opened = self.open(place, bytes.into()).ok();
            row.last_error = opened.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        }
        row.last_error = unreadable.or(row.last_error);
        row
    }

    /// Those that can be read. The others stay where they are, and are told of once: none of them holds the others up.
    pub(super) fn readable<T>(&self, found: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
        let mut readable = Vec::new();
        for one in found {
            match one {
                Ok(one) => readable.push(one),
                Err(StoreError::Sealed(why)) => self.tell(&why),
                Err(error) => return Err(error),
            }
        }
        Ok(readable)
    }

    fn tell(&self, why: &(impl Display + ?Sized)) {
        let why = why.to_string();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && !told.contains(&why) {
            tracing::error!(why, "a payload cannot be read; it is left as it is");
            told.insert(why);
        }
    }
}

/// A payload as text: itself, or in base64 behind a mark where it is sealed.
pub(super) fn text_of(payload: &Bytes) -> String {
    match is_sealed(payload) {
        true => format!("{SEALED_TEXT}{}", STANDARD.encode(payload)),
        false => String::from_utf8_lossy(payload).into_owned(),
    }
}

/// The payload of such a text; sealed text that is no base64 is no payload, and reads as one that is cut off.
pub(super) fn payload_of(text: &[u8]) -> Bytes {
    match text.strip_prefix(b"\x01") {
        Some(sealed) => STANDARD.decode(sealed).unwrap_or_else(|_| vec![1]).into(),
        None => Bytes::copy_from_slice(text),
    }
}

fn is_body(place: Place<'_>) -> bool {
    matches!(place, Place::Journal(RecordPart::Body, ..))
}

/// What the database reads of a run's first record.
fn marks_of(body: &[u8]) -> u8 {
    if is_sealed(body) {
        return 0;
    }
    match serde_json::from_slice::<First>(body) {
        Ok(First { is_awaited: false }) => MARK_DETACHED,
        Ok(First { is_awaited: true }) | Err(_) => 0,
    }
}

type Payload<'a> = (Place<'static>, &'a mut Bytes);

fn record_payloads(row: &mut JournalRow) -> impl Iterator<Item = Payload<'_>> {
    let (run, seq) = (row.run, row.seq);
    let parts = [
        (RecordPart::Body, Some(&mut row.body)),
        (RecordPart::Output, row.output.as_mut()),
        (RecordPart::Snapshot, row.snapshot.as_mut()),
        (RecordPart::Logs, row.logs.as_mut()),
    ];
    let there = parts.into_iter().filter_map(|(part, payload)| Some((part, payload?)));
    there.map(move |(part, payload)| (Place::Journal(part, run, seq), payload))
}

fn run_payloads(run: &mut RunRow) -> impl Iterator<Item = Payload<'_>> {
    let id = run.id;
    let ends = ends_of(id, &mut run.context, &mut run.output, &mut run.error);
    std::iter::once((Place::Run(RunPart::Input, id), &mut run.input)).chain(ends)
}

/// What a run's row holds once it has ended.
fn ends_of<'a>(
    run: RunId,
    context: &'a mut Option<Bytes>,
    output: &'a mut Option<Bytes>,
    error: &'a mut Option<Bytes>,
) -> impl Iterator<Item = Payload<'a>> {
    let parts = [
        (RunPart::Context, context),
        (RunPart::Output, output),
        (RunPart::Error, error),
    ];
    let there = parts
        .into_iter()
        .filter_map(|(part, payload)| Some((part, payload.as_mut()?)));
    there.map(move |(part, payload)| (Place::Run(part, run), payload))
}
