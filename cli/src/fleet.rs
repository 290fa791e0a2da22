//! `queue list`, `worker list`.

use rejoin_shared::json::Json;

use crate::args::{Global, ListArgs};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::output;
use crate::output::table::{Column, member};

/// Time between two looks of `-w`.
const WATCH_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// Shows a list once, or again and again.
pub async fn show_list(
    client: &Client,
    global: &Global,
    path: &str,
    query: &[(&str, String)],
    list: &ListArgs,
    columns: &[Column],
) -> Result<u8, Failure> {
    let read = async || client.list(path, query, list.limit.max(1)).await;
    show_items(global, list, columns, read).await
}

/// The same with items that are not a server's.
pub async fn show_items(
    global: &Global,
    list: &ListArgs,
    columns: &[Column],
    read: impl AsyncFn() -> Result<Vec<Json>, Failure>,
) -> Result<u8, Failure> {
    loop {
        let items = read().await?;
        if list.watch && output::is_terminal() {
            output::raw("\x1b[2J\x1b[H")?;
        }
        output::list(global.output, &items, columns)?;
        if !list.watch {
            return Ok(exit::OK);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// `rejoin queue list`
pub async fn queues(global: &Global, list: &ListArgs) -> Result<u8, Failure> {
    let columns = [
        Column {
            head: "QUEUE",
            cell: |q| member(q, "name"),
        },
        Column {
            head: "DEPTH",
            cell: |q| member(q, "depth"),
        },
        Column {
            head: "OUTSTANDING",
            cell: |q| member(q, "outstanding"),
        },
        Column {
            head: "WORKERS",
            cell: |q| member(q, "workers"),
        },
        Column {
            head: "BUSY",
            cell: |q| member(q, "busy"),
        },
        Column {
            head: "SLOTS",
            cell: |q| member(q, "slots"),
        },
        Column {
            head: "UNSERVED",
            cell: |q| member(q, "unserved"),
        },
    ];
    show_list(&Client::of(global)?, global, "/v1/queues", &[], list, &columns).await
}

/// `rejoin worker list`
pub async fn workers(global: &Global, list: &ListArgs) -> Result<u8, Failure> {
    let columns = [
        Column {
            head: "WORKER",
            cell: |w| member(w, "name"),
        },
        Column {
            head: "QUEUES",
            cell: |w| member(w, "queues"),
        },
        Column {
            head: "BUSY",
            cell: |w| member(w, "busy"),
        },
        Column {
            head: "SLOTS",
            cell: |w| member(w, "slots"),
        },
        Column {
            head: "HANDLERS",
            cell: |w| member(w, "handlers"),
        },
        Column {
            head: "STARTED",
            cell: |w| member(w, "started_at"),
        },
        Column {
            head: "LAST SEEN",
            cell: |w| member(w, "last_seen_at"),
        },
    ];
    show_list(&Client::of(global)?, global, "/v1/workers", &[], list, &columns).await
}
