//! Puts attempts of one task queue into packs: across runs, each base context once.

use rejoin_engine::decision::Surroundings;
use rejoin_engine::state::view::Request;
use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::map::HashMap;
use rejoin_shared::run::ErrorValue;
use rejoin_shared::wire::{BaseContext, CONTEXT_INLINE_BYTES_MAX, Order, OrderPayload, Pack};

use super::queue::PackLimits;
use super::{Around, QueueKey};
use crate::broker::decode::raw;
use crate::owner::run::{Run, Try};

/// Bytes after which a pack is full, whatever it holds.
const BYTES_MAX: usize = 512 * 1024;

/// Why an attempt goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It never did before.
    First,
    /// The attempt before it failed.
    Retry,
    /// Another owner may have sent it.
    Resume,
    /// It was lost on its way, or with its worker.
    Lost,
}

impl Why {
    const ALL: [Why; 4] = [Why::First, Why::Retry, Why::Resume, Why::Lost];

    /// As the metric shows it.
    pub fn name(self) -> &'static str {
        match self {
            Why::First => "first",
            Why::Retry => "retry",
            Why::Resume => "resume",
            Why::Lost => "lost",
        }
    }
}

/// A pack in the making.
pub(super) struct Builder {
    /// Number of its publish.
    pub number: u64,
    contexts: Vec<BaseContext>,
    places: HashMap<(RunId, u64), usize>,
    orders: Vec<Order>,
    keys: Vec<AttemptKey>,
    bytes: usize,
    /// How many go out for which reason, in the order of [`Why::ALL`].
    whys: [usize; Why::ALL.len()],
    /// What its attempts are likely to take, one after the other, and the last of them.
    work_ms: (f64, f64),
}

impl Builder {
    pub fn new(number: u64) -> Builder {
        Builder {
            number,
            contexts: Vec::new(),
            places: HashMap::default(),
            orders: Vec::new(),
            keys: Vec::new(),
            bytes: 0,
            whys: [0; Why::ALL.len()],
            work_ms: (0.0, 0.0),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    pub fn is_full(&self, limits: PackLimits) -> bool {
        let (work_ms, last_ms) = self.work_ms;
        limits.are_reached(self.orders.len(), work_ms, last_ms) || self.bytes >= BYTES_MAX
    }

    /// The attempt added last is likely to take so long.
    pub fn will_take(&mut self, ms: f64) {
        self.work_ms = (self.work_ms.0 + ms, ms);
    }

    /// Why the attempt added last goes out.
    pub fn note_why(&mut self, why: Why) {
        self.whys[why as usize] += 1;
    }

    /// How many go out for which reason.
    pub fn whys(&self) -> impl Iterator<Item = (Why, usize)> {
        let counted = Why::ALL.into_iter().zip(self.whys);
        counted.filter(|(_, count)| *count > 0)
    }

    /// Adds an attempt of `run`.
    ///
    /// # Errors
    /// What the attempt fails with.
    pub fn add(&mut self, run: &mut Run, attempt: Try, around: &Around<'_>) -> Result<(), Box<ErrorValue>> {
        let surroundings = Surroundings {
            now: around.now,
            limits: around.limits,
        };
        let request = run.state.request(attempt.0, attempt.1, surroundings)?;
        let base = self.place_of(run, &request);
        let token = around.tokens.map(|tokens| tokens.of(run.id, attempt.0, attempt.1));
        let order = order_of(run, attempt, request, base, token);
        self.bytes += order.payload.input.as_ref().map_or(256, |input| input.get().len());
        self.orders.push(order);
        self.keys.push(run.key(attempt));
        Ok(())
    }

    fn place_of(&mut self, run: &mut Run, request: &Request) -> usize {
        let key = (run.id, request.base_seq);
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let context = base_context(run, request);
        if let BaseContext::Inline(text) = &context {
            self.bytes += text.get().len();
        }
        self.contexts.push(context);
        self.places.insert(key, self.contexts.len() - 1);
        self.contexts.len() - 1
    }

    /// The pack, and the attempts in it.
    pub fn finish(self, queue: &QueueKey, around: &Around<'_>) -> (Pack, Vec<AttemptKey>) {
        let pack = Pack {
            owner: around.name.to_owned(),
            publish: self.number,
            check: false,
            suspect: false,
            until: Some(around.until),
            claim: false,
            probe: None,
            namespace: queue.namespace.clone(),
            queue: queue.name.to_string(),
            contexts: self.contexts,
            attempts: self.orders,
        };
        (pack, self.keys)
    }
}

fn base_context(run: &mut Run, request: &Request) -> BaseContext {
    if let Some((seq, base)) = &run.base
        && *seq == request.base_seq
    {
        return base.clone();
    }
    let bytes = request.base.text_len();
    let base = match bytes > CONTEXT_INLINE_BYTES_MAX {
        false => BaseContext::Inline(raw(&request.base)),
        true => BaseContext::Stored {
            run: run.id,
            seq: request.base_seq,
            bytes,
        },
    };
    run.base = Some((request.base_seq, base.clone()));
    base
}

fn order_of(run: &Run, attempt: Try, request: Request, base: usize, token: Option<String>) -> Order {
    let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Order {
        run: run.id,
        step: attempt.0,
        attempt: attempt.1,
        workflow: run.definition.workflow.clone(),
        path: request.path,
        handler: request.handler,
        idempotency_key: None,
        timeout_ms: request.timeout.map(ms),
        heartbeat_ms: request.heartbeat.map(ms),
        token,
        payload_encoding: "json".into(),
        payload: OrderPayload {
            base,
            changes: (!request.changes.is_empty()).then_some(request.changes),
            input: request.input.as_ref().map(raw),
            item: request.item.as_ref().map(raw),
            index: request.index.as_ref().map(raw),
            checkpoint: request.checkpoint.as_ref().map(raw),
        },
    }
}
