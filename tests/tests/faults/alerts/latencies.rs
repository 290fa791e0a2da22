//! Alerts about what takes too long, each by a fault that holds it up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::super::proxy::{Mode, Proxy};
use super::watch::{Watch, fleet, sleepers};

const RUN_MAX: Duration = Duration::from_secs(180);
/// Branches of a load that lasts for longer than its test.
const ENDLESS: usize = 50_000;

live!(
    publish_confirms_slow_fires_while_the_way_to_the_broker_is_slow {
        let (alone, mut fleet) = fleet().await?;
        let direct = fleet.routes.clone();
        let proxy = Proxy::before(fleet.routes.servers()?.1).await?;
        fleet.routes.broker_at(proxy.port())?;
        let mut watch = Watch::over((alone, fleet), 1).await?;
        watch.fleet.routes = direct;
        watch.add_workers("default", 8, 2).await?;
        let run = watch.run(&sleepers("load", "default", ENDLESS, 100)).await?;
        watch.fleet.wait_for_progress(&run, 100, RUN_MAX).await?;
        watch.is_silent("RejoinPublishConfirmsSlow").await?;
        proxy.set(Mode::Delay(Duration::from_millis(700)));
        watch.fires("RejoinPublishConfirmsSlow").await?;
        proxy.set(Mode::Pass);
        proxy.assert_struck()?;
        watch.falls_silent("RejoinPublishConfirmsSlow").await?;
        watch.end().await
    }
);

/// A light load whose coordinator gets each answer of the database late, by twice `delay` at least: what is large comes in many
/// pieces, each of which the proxy holds for so long.
async fn database_is_slow(alert: &str, delay: Duration) -> Result<()> {
    let (alone, mut fleet) = fleet().await?;
    let proxy = Proxy::before(fleet.routes.servers()?.0).await?;
    fleet.routes.database_at(proxy.port())?;
    // Long enough to be renewed in time all the same.
    fleet.settings.push(("REJOIN_COORDINATOR__LEASE", "60s".to_owned()));
    let mut watch = Watch::over((alone, fleet), 1).await?;
    watch.add_workers("default", 2, 1).await?;
    let run = watch.run(&sleepers("load", "default", ENDLESS, 200)).await?;
    watch.fleet.wait_for_progress(&run, 20, RUN_MAX).await?;
    watch.is_silent(alert).await?;
    proxy.set(Mode::Delay(delay));
    watch.fires(alert).await?;
    proxy.set(Mode::Pass);
    proxy.assert_struck()?;
    watch.falls_silent(alert).await?;
    watch.end().await
}

live!(
    append_slow_fires_while_the_database_is_slow {
        database_is_slow("RejoinAppendSlow", Duration::from_millis(350)).await
    }
);

live!(
    completions_slow_fires_while_the_database_is_slower_still {
        database_is_slow("RejoinCompletionsSlow", Duration::from_millis(1_500)).await
    }
);

live!(
    /// It takes longer than a minute: the wait that the alert asks for is not made quicker.
    queue_age_fires_when_steps_have_waited_for_a_minute {
        let mut watch = Watch::start(1, 0).await?;
        watch.add_workers("default", 1, 1).await?;
        watch.is_silent("RejoinQueueAge").await?;
        watch.run(&sleepers("long", "default", 1, 65_000)).await?;
        let busy = "sum(rejoin_worker_slots{state=\"busy\"}) > 0";
        let began = std::time::Instant::now();
        while watch.prometheus.value(busy).await?.is_none() {
            ensure!(began.elapsed() < RUN_MAX, "the worker took nothing");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let late = watch.run(&sleepers("late", "default", 300, 300)).await?;
        watch.fires("RejoinQueueAge").await?;
        watch.cancel(&late).await?;
        watch.falls_silent("RejoinQueueAge").await?;
        watch.end().await
    }
);

/// Two branches, a join, and a step on a queue of its own.
fn joined() -> Value {
    json!({
        "workflow": "joined",
        "steps": [
            { "foreach": "each", "items": "2", "merge": "discard", "steps": [{ "step": "quick", "uses": "rejoin.noop" }] },
            { "step": "after", "uses": "rejoin.sleep", "queue": "slow", "with": { "ms": 300 } },
        ],
    })
}

live!(
    join_slow_fires_when_what_follows_joins_finds_its_queue_full {
        let mut watch = Watch::start(1, 1).await?;
        watch.add_workers("slow", 1, 1).await?;
        let clog = watch.run(&sleepers("clog", "slow", 3_000, 300)).await?;
        watch.fleet.wait_for_progress(&clog, 1, RUN_MAX).await?;
        watch.fleet.register(&joined()).await?;
        watch.is_silent("RejoinJoinSlow").await?;
        let runs: Vec<Value> = (0..300).map(|_| json!({ "workflow": "joined" })).collect();
        let batch = json!({ "runs": runs });
        watch.fleet.insist(Method::POST, "/v1/runs/batch", Some(&batch)).await?;
        watch.fires("RejoinJoinSlow").await?;
        watch.cancel(&clog).await?;
        let cancel = json!({ "filter": { "workflow": "joined" }, "operation": "cancel" });
        let answer = watch.fleet.ask(Method::POST, "/v1/runs:bulk", Some(&cancel)).await.context("no answer")?;
        ensure!(answer.0 == 200, "{answer:?}");
        watch.falls_silent("RejoinJoinSlow").await?;
        watch.end().await
    }
);
