//! The demo's workflow, its handlers and the workers that serve them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rejoin_shared::json::Json;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_worker::{StepContext, StepError, Worker};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Its name.
pub const WORKFLOW: &str = "order_demo";
/// Items of the order.
pub const BRANCHES: u32 = 40;
/// Its text.
pub const DEFINITION: &str = "\
workflow: order_demo
defaults: { retry: { max_attempts: 3, initial: 100ms } }
steps:
  - step: validate_order
  - foreach: pick_items
    items: ctx.line_items
    concurrency: 12
    reduce: { picked: sum }
    steps:
      - step: pick
  - parallel: notify
    branches:
      email: [ { step: send_confirmation } ]
      analytics: [ { step: update_analytics } ]
  - step: finalize
";

/// How long a pick takes: long enough that workers die in the middle of some.
const PICK: Duration = Duration::from_millis(120);

/// How often the handler of each path was begun.
pub type Executions = BTreeMap<String, u32>;

struct Member {
    link: String,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// Three workers.
pub struct Crew {
    members: Vec<Member>,
    executions: Arc<Mutex<Executions>>,
}

impl Crew {
    /// Starts them, each with a connection of its own.
    pub fn hire(broker: &MemoryBroker) -> Result<Crew, Failure> {
        let executions = Arc::new(Mutex::new(Executions::new()));
        let mut members = Vec::new();
        for number in 1..=3 {
            let name = format!("worker-{number}");
            let worker = worker(&name, &executions)
                .build(broker.link(&name))
                .map_err(|e| Failure::general(e.to_string()))?;
            let stop = CancellationToken::new();
            let stopping = stop.clone();
            let task = tokio::spawn(async move {
                if let Err(error) = worker.run(stopping).await {
                    tracing::error!(%error, "a worker of the demo gave up");
                }
            });
            members.push(Member { link: name, task, stop });
        }
        Ok(Crew { members, executions })
    }

    /// Ends one as a crash would: its task stops where it is, its connection is gone.
    pub fn kill(&mut self, broker: &MemoryBroker, index: usize) {
        let dead = self.members.remove(index);
        dead.task.abort();
        broker.cut(&dead.link);
    }

    /// What was begun so far.
    pub fn executions(&self) -> Executions {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drains the rest; tells what was executed.
    pub async fn dismiss(self) -> Executions {
        for member in self.members {
            member.stop.cancel();
            // An aborted or panicked task has nothing left to drain.
            member.task.await.ok();
        }
        self.executions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn worker(name: &str, executions: &Arc<Mutex<Executions>>) -> rejoin_worker::WorkerBuilder {
    let count = {
        let executions = executions.clone();
        move |ctx: &StepContext| {
            let mut all = executions.lock().unwrap_or_else(PoisonError::into_inner);
            *all.entry(ctx.path().to_owned()).or_default() += 1;
        }
    };
    let (validate, pick, mail, analyse, finish) = (count.clone(), count.clone(), count.clone(), count.clone(), count);
    Worker::builder()
        .name(name)
        .concurrency(4)
        .drain(Duration::from_secs(2))
        .handler("validate_order", move |ctx: StepContext, order: Json| {
            validate(&ctx);
            async move {
                let items = order.get("line_items").and_then(Json::as_list).map_or(0, <[Json]>::len);
                Ok::<_, StepError>(Json::from_entries([
                    ("valid", Json::Bool(true)),
                    ("item_count", Json::Int(i64::try_from(items).unwrap_or(i64::MAX))),
                    ("picked", Json::Int(0)),
                ]))
            }
        })
        .handler("pick", move |ctx: StepContext, _: Json| {
            pick(&ctx);
            async move {
                tokio::time::sleep(PICK).await;
                let picked: i64 = ctx.get("picked")?.unwrap_or(0);
                ctx.set("picked", picked + 1)?;
                Ok::<_, StepError>(Json::Null)
            }
        })
        .handler("send_confirmation", move |ctx: StepContext, _: Json| {
            mail(&ctx);
            async move { Ok::<_, StepError>(Json::from_entries([("mail", Json::str("sent"))])) }
        })
        .handler("update_analytics", move |ctx: StepContext, _: Json| {
            analyse(&ctx);
            async move { Ok::<_, StepError>(Json::from_entries([("analytics", Json::str("updated"))])) }
        })
        .handler("finalize", move |ctx: StepContext, _: Json| {
            finish(&ctx);
            async move { Ok::<_, StepError>(Json::from_entries([("state", Json::str("shipped"))])) }
        })
}
