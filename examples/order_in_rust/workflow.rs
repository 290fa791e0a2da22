//! What is done with an order.

use std::time::Duration;

use rejoin_worker::workflow::*;
use serde_json::json;

use super::handlers::{CHARGE, CONFIRM, PICK, PRICE, REFUND};

pub fn order() -> Workflow {
    workflow("order_in_rust")
        .description("Prices an order, charges the customer, picks the lines in parallel, and confirms.")
        .input(json!({
            "type": "object",
            "required": ["customer", "lines"],
            "properties": {
                "customer": {"type": "string"},
                "lines": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["sku", "quantity"],
                        "properties": {"sku": {"type": "string"}, "quantity": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        }))
        .defaults(
            Defaults::new()
                .timeout(Duration::from_secs(30))
                .retry(Retry::new().max_attempts(4).initial(Duration::from_millis(100))),
        )
        .timeout(Duration::from_secs(3600))
        .steps(flow![
            step(PRICE),
            decision("nothing_to_pay").rule("ctx.total_cents == 0", "pick_lines"),
            step(CHARGE)
                .with(object! { "customer" => expr("ctx.customer"), "cents" => expr("ctx.total_cents") })
                .into_path("receipt")
                .compensate(Compensate::by(REFUND)),
            pick_lines(),
            step(CONFIRM).with(object! {
                "customer" => expr("ctx.customer"),
                "units" => expr("get(ctx, 'units', 0)"),
                "shelves" => expr("ctx.picked.map(line, line.shelf)"),
            }),
            finish("done")
                .output(object! { "total_cents" => expr("ctx.total_cents"), "message" => expr("ctx.confirm") }),
        ])
}

/// Each line goes to a worker of its own; all add to `units`.
fn pick_lines() -> Foreach {
    foreach("pick_lines", "ctx.lines")
        .item_as("line")
        .concurrency(16)
        .merge(Merge::Discard)
        .reduce("units", Reduce::Sum)
        .collect_as("picked")
        .steps(flow![
            step(PICK).with(expr("line")).retry([
                Retry::new()
                    .only(["shelf.busy"])
                    .max_attempts(10)
                    .backoff(Backoff::Constant)
                    .initial("50ms"),
                Retry::new().max_attempts(2),
            ]),
            set("count").value("units", expr("get(ctx, 'units', 0) + line.quantity")),
        ])
}
