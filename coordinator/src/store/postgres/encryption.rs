//! What sealing needs of the database beside the payloads: proofs of the keys, which keys are in use, and pasts sealed anew.

use bytes::Bytes;
use rejoin_shared::ids::RunId;

use super::super::seal::Place;
use super::super::{COPY_PORTION, ForkedFrom, JournalRow, Store as _, StoreError, StoredRow};
use super::values::{At, bigint, integer, outcome_number};
use super::{Param, PostgresStore, rows, sql};

type Result<T> = std::result::Result<T, StoreError>;

/// What is sealed to prove a key.
const PROVEN: Bytes = Bytes::from_static(b"rejoin");

/// How much stands in the database that a key has sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub id: String,
    /// Runs whose row it has sealed a part of.
    pub runs: u64,
    /// Schedules.
    pub schedules: u64,
}

impl PostgresStore {
    /// Leaves a proof of the key that is written with, and opens those of the others: what one process seals, all can read, and two
    /// keys of one id are found out before anything is written. Who lacks the key that was added last leaves no proof: those that
    /// have that one alone could not start any more.
    pub(super) async fn prove_keys(&self) -> Result<()> {
        let codec = self.sealing.codec();
        if let Some(id) = codec.newest_id()
            && self.newest_key_lacking().await?.is_none()
        {
            let proof = self.sealing.seal(Place::Proof(id), &PROVEN)?;
            self.reader
                .write(sql::ENCRYPTION_KEY_ADD_IF_NEW, &[&id, &&*proof])
                .await?;
        }
        let ids: Vec<&str> = codec.ids().collect();
        if ids.is_empty() {
            return Ok(());
        }
        for row in self.reader.read(sql::ENCRYPTION_KEYS_READ, &[&ids]).await? {
            let (id, proof) = (rows::key(&row, 0)?, rows::get::<Vec<u8>>(&row, 1)?);
            self.sealing.open(Place::Proof(&id), proof.into())?;
        }
        Ok(())
    }

    /// The key that was added last, if it is not among ours: what is written now could not be read.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest_key_lacking(&self) -> Result<Option<String>> {
        let newest = self
            .first(sql::ENCRYPTION_KEY_NEWEST, &[], |row| rows::key(row, 0))
            .await?;
        let is_ours = |id: &String| self.sealing.codec().ids().any(|ours| ours == id);
        Ok(newest.filter(|id| !is_ours(id)))
    }

    /// Keys that were written with and not forgotten since, by their ids.
    ///
    /// # Errors
    /// The database's.
    pub async fn keys_known(&self) -> Result<Vec<String>> {
        let found = self.reader.read(sql::ENCRYPTION_KEYS_ALL, &[]).await?;
        found.iter().map(|row| rows::key(row, 0)).collect()
    }

    /// Which keys have sealed what still stands here; looks at every run's row.
    ///
    /// # Errors
    /// The database's.
    pub async fn keys_in_use(&self) -> Result<Vec<KeyUse>> {
        let found = self.reader.read(sql::ENCRYPTION_KEYS_IN_USE, &[]).await?;
        let of = |row: &tokio_postgres::Row| {
            Ok(KeyUse {
                id: rows::key(row, 0)?,
                runs: rows::number(row, 1)?,
                schedules: rows::number(row, 2)?,
            })
        };
        found.iter().map(of).collect()
    }

    /// [`super::Store::copy_past`] where records may be sealed: they open in their own run only, so the copy is sealed anew.
    pub(super) async fn copy_opened(&self, run: RunId, from: ForkedFrom) -> Result<bool> {
        let mut copied = 0;
        while copied < from.seq {
            let portion = usize::try_from(COPY_PORTION.min(from.seq - copied)).unwrap_or(usize::MAX);
            let page = self.journal(from.run, copied, portion).await?;
            let until = page.last().map_or(copied, |last| last.row.seq);
            let rows = self.put_copy(run, page).await?;
            if rows == 0 || rows != until - copied {
                self.reader.write(sql::COPY_GIVE_UP, &[&run.0]).await?;
                return Ok(false);
            }
            copied = until;
        }
        Ok(true)
    }

    /// Puts records into the past of `run`, if its copy was not given up; returns how many.
    async fn put_copy(&self, run: RunId, page: Vec<StoredRow>) -> Result<u64> {
        let (mut records, mut at, mut formats) = (Vec::new(), Vec::new(), Vec::new());
        for stored in page {
            records.push(JournalRow { run, ..stored.row });
            at.push(At(stored.at));
            formats.push(stored.format);
        }
        let kinds = self.kinds.numbers(&self.reader, &records).await?;
        self.sealing.seal_rows(&mut records)?;
        let each = |part: fn(&JournalRow) -> Option<&[u8]>| records.iter().map(part).collect::<Vec<_>>();
        let seqs = records
            .iter()
            .map(|row| bigint(row.seq))
            .collect::<Result<Vec<i64>>>()?;
        let attempts = records.iter().map(|row| row.attempt.map(integer).transpose());
        let attempts = attempts.collect::<Result<Vec<Option<i32>>>>()?;
        let outcomes: Vec<Option<i16>> = records.iter().map(|row| row.outcome.map(outcome_number)).collect();
        let paths: Vec<Option<&str>> = records.iter().map(|row| row.path.as_deref()).collect();
        let workers: Vec<Option<&str>> = records.iter().map(|row| row.worker.as_deref()).collect();
        let (bodies, outputs) = (each(|row| Some(&row.body)), each(|row| row.output.as_deref()));
        let (snapshots, logs) = (each(|row| row.snapshot.as_deref()), each(|row| row.logs.as_deref()));
        let params: [Param<'_>; 13] = [
            &run.0, &seqs, &at, &attempts, &formats, &kinds, &outcomes, &paths, &workers, &bodies, &outputs,
            &snapshots, &logs,
        ];
        self.reader.write(sql::COPY_ROWS_IF_WANTED, &params).await
    }
}
