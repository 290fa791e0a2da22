//! What the workers of the shop do.

use rejoin_worker::{HandlerName, StepContext, StepError, Worker, WorkerBuilder};
use serde::{Deserialize, Serialize};

pub const PRICE: HandlerName<Order, Total> = HandlerName::new("price");
pub const CHARGE: HandlerName<Charge, Receipt> = HandlerName::new("charge");
pub const REFUND: HandlerName<Receipt, ()> = HandlerName::new("refund");
pub const PICK: HandlerName<Line, Picked> = HandlerName::new("pick");
pub const CONFIRM: HandlerName<Packed, String> = HandlerName::new("confirm");

/// A worker that serves them all.
pub fn worker() -> WorkerBuilder {
    Worker::builder()
        .concurrency(16)
        .serve(PRICE, price)
        .serve(CHARGE, charge)
        .serve(REFUND, refund)
        .serve(PICK, pick)
        .serve(CONFIRM, confirm)
}

/// What `price` reads of the context, which is its input.
#[derive(Deserialize)]
pub struct Order {
    lines: Vec<Line>,
}

#[derive(Deserialize)]
pub struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Serialize)]
pub struct Total {
    total_cents: u64,
}

async fn price(_: StepContext, order: Order) -> Result<Total, StepError> {
    let cents = |line: &Line| match &*line.sku {
        "sample" => 0,
        sku => 250 * sku.len() as u64 * u64::from(line.quantity),
    };
    let total_cents = order.lines.iter().map(cents).sum();
    Ok(Total { total_cents })
}

#[derive(Deserialize)]
pub struct Charge {
    customer: String,
    cents: u64,
}

/// The output of `charge`, and so the input of what undoes it.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    number: String,
    cents: u64,
}

async fn charge(ctx: StepContext, charge: Charge) -> Result<Receipt, StepError> {
    if charge.customer == "nobody" {
        return Err(StepError::fatal("the card is not covered").with_type("payment.declined"));
    }
    // The same for every attempt, so that nobody pays twice.
    let number = format!("{}-{}", charge.customer, ctx.idempotency_key());
    Ok(Receipt {
        number,
        cents: charge.cents,
    })
}

async fn refund(ctx: StepContext, receipt: Receipt) -> Result<(), StepError> {
    ctx.log(format!("{} cents of {} go back", receipt.cents, receipt.number));
    Ok(())
}

#[derive(Serialize)]
pub struct Picked {
    shelf: u8,
}

async fn pick(ctx: StepContext, line: Line) -> Result<Picked, StepError> {
    if line.sku == "sold_out" {
        return Err(StepError::fatal("there is none left").with_type("shelf.empty"));
    }
    if ctx.attempt() == 1 {
        return Err(StepError::retryable("somebody else is at the shelf").with_type("shelf.busy"));
    }
    let shelf = line.sku.bytes().fold(0u8, u8::wrapping_add) % 10;
    Ok(Picked { shelf })
}

#[derive(Deserialize)]
pub struct Packed {
    customer: String,
    units: u32,
    shelves: Vec<u8>,
}

async fn confirm(_: StepContext, packed: Packed) -> Result<String, StepError> {
    let Packed {
        customer,
        units,
        shelves,
    } = packed;
    Ok(format!("{customer}: {units} units from {} shelves", shelves.len()))
}
