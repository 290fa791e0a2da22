//! What a fleet's database is asked.

use anyhow::{Context, Result};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, ToSql};

use super::fleet::Fleet;

/// A database; each question has a connection of its own, because the server may have died since the one before.
#[derive(Clone)]
pub struct Database {
    pub url: String,
}

impl Database {
    /// The rows that a statement gives.
    pub async fn query(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let rows = client.query(statement, values).await?;
        drop(client);
        connection.await??;
        Ok(rows)
    }

    /// The one value that a statement gives.
    pub async fn value<T: FromSqlOwned>(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<T> {
        let rows = self.query(statement, values).await?;
        Ok(rows
            .first()
            .with_context(|| format!("{statement} gave nothing"))?
            .try_get(0)?)
    }
}

/// Waits and timers of ended runs, and commands of any.
const LEFT: &str = "SELECT 'wait ' || w.name FROM waits w JOIN runs r ON r.id = w.run_id WHERE r.finished_at IS NOT NULL \
    UNION ALL SELECT 'inbox ' || i.kind FROM inbox i WHERE i.verdict IS NULL \
    UNION ALL SELECT 'timer of ' || id FROM runs WHERE finished_at IS NOT NULL AND wake_at IS NOT NULL";

const COMPLETIONS: &str = "SELECT path, (extract(epoch FROM recorded_at) * 1000000)::bigint FROM rejoin_completions \
    WHERE run_id = $1::text::uuid AND outcome = 'ok' ORDER BY seq";

impl Fleet {
    /// What runs that have ended left in the database, and what waits in the queues: none of it should be there.
    pub async fn left_behind(&self) -> Result<Vec<String>> {
        let rows = self.database.query(LEFT, &[]).await?;
        let mut left: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if let Some((200, queues)) = self.ask(reqwest::Method::GET, "/v1/queues", None).await {
            let all = queues["items"].as_array().cloned().unwrap_or_default();
            let busy = all
                .iter()
                .filter(|queue| queue["outstanding"] != 0 || queue["busy"] != 0);
            left.extend(busy.map(|queue| format!("queue {queue}")));
        }
        Ok(left)
    }

    /// Recorded completions of a run: path → when, in microseconds since 1970, by the database's clock.
    pub async fn completions(&self, run: &str) -> Result<Vec<(String, i64)>> {
        let rows = self.database.query(COMPLETIONS, &[&run]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}
