//! A run's journal as server-sent events, until the run ends.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use rejoin_shared::ids::{Namespace, RunId};
use tokio::time::Instant;

use super::Api;
use super::extract::{InNamespace, Params, bad_parameter};
use super::find::Segments;
use super::problem::Problem;
use super::redacted;
use super::wait::Growth;
use crate::read::journal::entry;
use crate::read::run::RunView;

/// Rows fetched at a time.
const PAGE_ROWS: usize = 500;
/// A comment is sent after so much silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest wait for news before the store is asked anyway.
const LOOK: Duration = Duration::from_secs(1);

struct Watch {
    api: Api,
    namespace: Namespace,
    run: RunId,
    after: u64,
    ready: VecDeque<Event>,
    growth: Growth,
    over: bool,
}

/// `GET /v1/runs/{id}/watch`: an event a record (`id` its number, `event` its kind), then one `end` with the run.
pub async fn watch(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let row = api.run(&namespace, &id).await?;
    let growth = Growth::of(&api, row.id);
    let watch = Watch {
        after: position(&headers, &params)?,
        run: row.id,
        namespace,
        api,
        ready: VecDeque::new(),
        growth,
        over: false,
    };
    let events = stream::unfold(watch, |mut watch| async move {
        watch.next().await.map(|event| (Ok(event), watch))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn position(headers: &HeaderMap, params: &Params) -> Result<u64, Problem> {
    let Some(last) = headers.get("last-event-id") else {
        return Ok(params.read("after", "a sequence number")?.unwrap_or(0));
    };
    let number = last.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        bad_parameter(
            "Last-Event-ID",
            &String::from_utf8_lossy(last.as_bytes()),
            "a sequence number",
        )
    })
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over || self.api.stopping.is_cancelled() {
                return None;
            }
            if let Err(problem) = self.read().await {
                tracing::warn!(run = %self.run, ?problem, "a watch ended early");
                return None;
            }
            if self.ready.is_empty() {
                let stopping = self.api.stopping.clone();
                tokio::select! {
                    () = self.growth.next(Instant::now() + LOOK) => {}
                    () = stopping.cancelled() => {}
                }
            }
        }
    }

    /// Fetches what is new. The run is looked at first: if it had ended by then, the rows that follow are all there are.
    async fn read(&mut self) -> Result<(), Problem> {
        let row = self.api.run(&self.namespace, &self.run.to_string()).await?;
        let page = self.api.store.journal(self.run, self.after, PAGE_ROWS).await?;
        if page.is_empty() && row.status.is_terminal() {
            self.over = true;
            let text = serde_json::to_string(&RunView::of(row)).expect("a view is plain data");
            self.ready
                .push_back(Event::default().event("end").data(self.shown(&text)));
        }
        for stored in &page {
            self.after = stored.row.seq;
            let event = Event::default().id(stored.row.seq.to_string()).event(&stored.row.kind);
            self.ready
                .push_back(event.data(self.shown(&entry(stored).0.to_string())));
        }
        Ok(())
    }

    /// Without what is not to show.
    fn shown(&self, text: &str) -> String {
        match &self.api.rules.redactor {
            Some(redactor) => redacted::json(redactor, text.as_bytes()),
            None => text.to_owned(),
        }
    }
}
