//! One attempt on this worker: what its handler is given, and how the handler talks back.

mod base;
mod control;
mod execute;
mod logs;
mod permit;

use std::sync::{Arc, OnceLock};

use rejoin_shared::ids::AttemptKey;
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::trace::TraceParent;
use rejoin_shared::wire::Order;
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedSender;

use crate::handler::Outcome;

pub use base::Base;
pub use control::Control;
pub(crate) use execute::{Ended, execute};
pub use logs::LogSink;
#[cfg(test)]
pub(crate) use permit::lost;
pub(crate) use permit::{Permit, TRUST, Trust};

/// An attempt with everything its handler may ask for. Values stay text until somebody needs more.
#[derive(Debug)]
pub struct Attempt {
    order: Order,
    base: Arc<Base>,
    context: OnceLock<Arc<Base>>,
    is_sampled: bool,
    permit: Option<Permit>,
    /// Where it is said that it has stored a checkpoint.
    stores: Option<UnboundedSender<Stored>>,
    /// Where its logs go.
    pub logs: LogSink,
    /// Cancellation, heartbeats and checkpoints.
    pub control: Arc<Control>,
}

/// An attempt that has stored a checkpoint.
#[derive(Debug)]
pub(crate) struct Stored {
    pub key: AttemptKey,
    /// The order's.
    pub token: Option<String>,
    /// Where it is.
    pub control: Arc<Control>,
}

/// The attempt an order describes.
#[must_use]
pub fn key_of(order: &Order) -> AttemptKey {
    AttemptKey {
        run: order.run,
        step: order.step,
        attempt: order.attempt,
    }
}

impl Attempt {
    /// An attempt that starts now.
    #[must_use]
    pub fn new(order: Order, base: Arc<Base>, limits: &Limits) -> Attempt {
        Attempt {
            order,
            base,
            context: OnceLock::new(),
            is_sampled: false,
            permit: None,
            stores: None,
            logs: LogSink::new(limits.log_lines_max, limits.log_bytes_max),
            control: Arc::new(Control::new()),
        }
    }

    /// Says whether somebody keeps its span; without a word nobody does.
    #[must_use]
    pub fn sampled(mut self, is_sampled: bool) -> Attempt {
        self.is_sampled = is_sampled;
        self
    }

    /// Its handler does without the context: whoever asks for it all the same gets null.
    #[must_use]
    pub(crate) fn without_context(mut self) -> Attempt {
        self.base = Base::withheld();
        self.order.payload.changes = None;
        self
    }

    /// Says by what right it begins; without one it always may.
    #[must_use]
    pub(crate) fn permitted(mut self, permit: Permit) -> Attempt {
        self.permit = Some(permit);
        self
    }

    /// Says who is to hear of its checkpoints.
    #[must_use]
    pub(crate) fn storing(mut self, stores: UnboundedSender<Stored>) -> Attempt {
        self.stores = Some(stores);
        self
    }

    /// Stores what the next attempt receives, and this one if its worker dies; counts as a heartbeat.
    pub fn store_checkpoint(&self, value: &Json) {
        if self.control.store_checkpoint(value)
            && let Some(stores) = &self.stores
        {
            let stored = Stored {
                key: self.key(),
                token: self.order.token.clone(),
                control: self.control.clone(),
            };
            // One whose worker has ended has nobody to tell.
            drop(stores.send(stored));
        }
    }

    /// Whether its handler may begin now: to be asked where nothing but its first act is left to do.
    pub(crate) fn may_begin(&self) -> bool {
        self.permit.as_ref().is_none_or(Permit::holds)
    }

    /// It did not begin: it goes back, without a completion.
    pub(crate) async fn give_up(&self) -> Outcome {
        self.control.give_up();
        std::future::pending().await
    }

    /// Its span, which what the handler does hangs under.
    #[must_use]
    pub fn traceparent(&self) -> TraceParent {
        let order = &self.order;
        TraceParent::of_attempt(order.run, &order.path, order.attempt, self.is_sampled)
    }

    /// What was ordered.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Which attempt it is.
    #[must_use]
    pub fn key(&self) -> AttemptKey {
        key_of(&self.order)
    }

    /// The context's text: the base's own where the branch changed nothing.
    #[must_use]
    pub fn context_text(&self) -> &str {
        self.context().text()
    }

    /// The context as a value, made when first asked for.
    #[must_use]
    pub fn context_json(&self) -> &Json {
        self.context().json()
    }

    /// The text of what the handler gets as `input`: the evaluated `with`, or the whole context.
    #[must_use]
    pub fn input_text(&self) -> &str {
        match &self.order.payload.input {
            Some(input) => input.get(),
            None => self.context_text(),
        }
    }

    /// The nearest foreach's item.
    #[must_use]
    pub fn item_text(&self) -> Option<&str> {
        self.order.payload.item.as_deref().map(RawValue::get)
    }

    /// The nearest foreach's index or key.
    #[must_use]
    pub fn index_text(&self) -> Option<&str> {
        self.order.payload.index.as_deref().map(RawValue::get)
    }

    /// What an earlier attempt stored.
    #[must_use]
    pub fn checkpoint_text(&self) -> Option<&str> {
        self.order.payload.checkpoint.as_deref().map(RawValue::get)
    }

    fn context(&self) -> &Base {
        match &self.order.payload.changes {
            Some(changes) if !changes.is_empty() => self.context.get_or_init(|| {
                let mut context = self.base.json().clone();
                changes.apply(&mut context);
                Arc::new(Base::of_json(context))
            }),
            Some(_) | None => &self.base,
        }
    }
}
