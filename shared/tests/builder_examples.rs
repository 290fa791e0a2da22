//! The definitions under `examples/`, built in Rust: they are the same documents, under the same digests.

use std::time::Duration;

use rejoin_shared::definition::builder::*;
use rejoin_shared::definition::{Format, read};
use rejoin_shared::limits::Limits;

/// The schema `{type: …}`.
fn of_type(name: &str) -> Value {
    object! { "type" => name }
}

/// The schema of an integer from 1.
fn from_one() -> Value {
    object! { "type" => "integer", "minimum" => 1 }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn the_examples_built_in_rust_have_the_digests_of_their_yaml() {
    let built: [(&str, Workflow); 9] = [
        ("batch_migration", batch_migration()),
        ("daily_report", daily_report()),
        ("document_approval", document_approval()),
        ("expense_approval", expense_approval()),
        ("image_tiles", image_tiles()),
        ("order_processing", order_processing()),
        ("payment", payment()),
        ("trip_booking", trip_booking()),
        ("word_count", word_count()),
    ];
    for (name, workflow) in built {
        let file = format!("{}/../examples/{name}/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let yaml = std::fs::read(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
        let yaml = read(&yaml, Format::Yaml, &Limits::default()).unwrap_or_else(|e| panic!("{file}: {e}"));
        let document = workflow.to_document().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(document.json(), String::from_utf8_lossy(&yaml.canonical_json()));
        assert_eq!(document.digest(), yaml.digest(), "{name}");
    }
}

fn batch_migration() -> Workflow {
    let verify = |name: &str, with: Value| {
        step(format!("verify_{name}"))
            .with(with)
            .into_path(format!("verification.{name}"))
    };
    let files = object! { "files" => expr("ctx.files"), "folder" => expr("ctx.folder") };
    workflow("batch_migration")
        .description("Moves a table in batches, some at a time, then verifies the result in three ways at once.")
        .input(object! {
            "type" => "object",
            "required" => ["source", "batch_size"],
            "properties" => object! { "source" => of_type("string"), "batch_size" => from_one() },
        })
        .defaults(
            Defaults::new().timeout(seconds(60)).retry(
                Retry::new().max_attempts(4).backoff(Backoff::Exponential).initial(millis(200)).max(seconds(10)),
            ),
        )
        .steps(flow![
            step("plan"),
            set("begin").value("rows_migrated", 0).value("verification", object! {}),
            decision("anything_to_do").rule("size(ctx.batches) == 0", "finalize"),
            foreach("migrate", "ctx.batches")
                .item_as("batch")
                .concurrency(4)
                .merge(Merge::Discard)
                .reduce("rows_migrated", Reduce::Sum)
                .collect_as("files")
                .steps(flow![
                    step("migrate_batch")
                        .with(object! {
                            "source" => expr("ctx.source"), "batch" => expr("batch"), "folder" => expr("ctx.folder"),
                        })
                        .into_path("written"),
                    set("count").value("rows_migrated", expr("ctx.rows_migrated + ctx.written.rows")),
                ]),
            decision("nothing_migrated").rule("ctx.rows_migrated == 0", "finalize"),
            parallel("verify")
                .on_error(OnError::CompleteAll)
                .branch(
                    "counts",
                    verify(
                        "counts",
                        object! {
                            "files" => expr("ctx.files"), "folder" => expr("ctx.folder"), "rows" => expr("ctx.rows_total"),
                        },
                    ),
                )
                .branch(
                    "totals",
                    verify(
                        "totals",
                        object! {
                            "source" => expr("ctx.source"), "files" => expr("ctx.files"), "folder" => expr("ctx.folder"),
                        },
                    ),
                )
                .branch("identities", verify("identities", files)),
            step("finalize")
                .with(object! {
                    "folder" => expr("ctx.folder"),
                    "batches" => expr("size(ctx.batches)"),
                    "rows_total" => expr("ctx.rows_total"),
                    "rows_migrated" => expr("ctx.rows_migrated"),
                    "verification" => expr("ctx.verification"),
                })
                .into_path("summary"),
            finish("done").output(expr("ctx.summary")),
        ])
}

fn daily_report() -> Workflow {
    workflow("daily_report")
        .description("Collects yesterday's figures of all shops at once, and writes one report. Started by a schedule.")
        .input(object! {
            "type" => "object",
            "required" => ["shops", "day"],
            "properties" => object! {
                "shops" => object! { "type" => "array", "items" => of_type("string") },
                "day" => of_type("string"),
                "folder" => of_type("string"),
            },
        })
        .defaults(
            Defaults::new()
                .timeout(seconds(60))
                .retry(Retry::new().max_attempts(5).initial(millis(500))),
        )
        .steps(flow![
            foreach("shops", "ctx.shops")
                .item_as("shop")
                .concurrency("unbounded")
                .tolerate("20%")
                .on_error(OnError::CompleteAll)
                .merge(Merge::Discard)
                .reduce("revenue", Reduce::Sum)
                .reduce("orders", Reduce::Sum)
                .collect_as("lines")
                .steps(step("read_figures").with(object! { "shop" => expr("shop"), "day" => expr("ctx.day") })),
            step("write_report")
                .with(object! {
                    "day" => expr("ctx.day"),
                    "lines" => expr("ctx.lines.filter(line, line != null)"),
                    "revenue" => expr("ctx.revenue"),
                    "orders" => expr("ctx.orders"),
                })
                .into_path("report"),
            finish("done").output(expr("ctx.report")),
        ])
}

fn document_approval() -> Workflow {
    let output = |key: &str| object! { key => expr(format!("ctx.{key}")) };
    let review = |who: &str, with: Value| step(format!("review_{who}")).with(with);
    workflow("document_approval")
        .description(
            "Small amounts are approved at once; others are reviewed in parallel. Everybody concerned is told.",
        )
        .input(object! {
            "type" => "object",
            "required" => ["document", "amount", "requester"],
            "properties" => object! {
                "document" => of_type("string"),
                "amount" => of_type("number"),
                "requester" => of_type("string"),
                "confidential" => of_type("boolean"),
                "clauses" => object! { "type" => "array", "items" => of_type("string") },
            },
        })
        .defaults(
            Defaults::new()
                .timeout(seconds(30))
                .retry(Retry::new().max_attempts(3).initial(millis(200))),
        )
        .steps(flow![
            step("register"),
            decision("small_amount").rule("ctx.amount < 1000", "auto_approve"),
            parallel("reviews")
                .branch("legal", review("legal", output("clauses")))
                .branch("finance", review("finance", output("amount")))
                .branch_when("security", "ctx.confidential", review("security", output("document")))
                .into_path(
                    "approved",
                    "results.reviews.legal.output.approved && results.reviews.finance.output.approved \
                     && (results.reviews.security.status == 'skipped' || results.reviews.security.output.approved)",
                )
                .into_path(
                    "reasons",
                    "results.reviews.legal.output.reasons + results.reviews.finance.output.reasons \
                     + (results.reviews.security.status == 'skipped' ? [] : results.reviews.security.output.reasons)",
                )
                .into_path(
                    "reviewers",
                    "['legal', 'finance', 'security'].filter(r, results.reviews[r].status == 'ok')",
                ),
            branch("verdict")
                .case(
                    "ctx.approved",
                    set("approve")
                        .value("decision", "approved")
                        .value("decided_by", "reviewers"),
                )
                .default(
                    set("reject")
                        .value("decision", "rejected")
                        .value("decided_by", "reviewers")
                ),
            decision("reviewed").rule("has(ctx.decision)", "announce"),
            set("auto_approve")
                .value("decision", "approved")
                .value("decided_by", "policy")
                .value("reasons", [0; 0])
                .value("reviewers", [0; 0]),
            foreach("announce", "ctx.people")
                .item_as("person")
                .concurrency(4)
                .merge(Merge::Discard)
                .collect_as("notified")
                .steps(step("notify").with(object! {
                    "to" => expr("person"), "text" => expr("ctx.document + ' was ' + ctx.decision"),
                })),
            finish("done").output(Value::object(
                ["document", "decision", "decided_by", "reviewers", "reasons", "notified"]
                    .map(|key| (key, Value::from(expr(format!("ctx.{key}"))))),
            )),
        ])
}

fn expense_approval() -> Workflow {
    let answer = object! {
        "type" => "object",
        "required" => ["approved", "by"],
        "properties" => object! { "approved" => of_type("boolean"), "by" => of_type("string") },
    };
    workflow("expense_approval")
        .description("Small expenses are paid at once; larger ones wait for a manager, for a while.")
        .input(object! {
            "type" => "object",
            "required" => ["employee", "amount"],
            "properties" => object! {
                "employee" => of_type("string"), "amount" => of_type("number"), "patience" => of_type("string"),
            },
        })
        .defaults(Defaults::new().timeout(seconds(30)))
        .steps(flow![
            decision("small").rule("ctx.amount < 100", "pay"),
            wait_input(
                "manager",
                Input::form()
                    .prompt(expr("'Pay ' + string(ctx.amount) + ' to ' + ctx.employee + '?'"))
                    .schema(answer),
            )
            .timeout(expr("get(ctx, 'patience', '3d')"))
            .on_timeout_value(object! { "approved" => false, "by" => "nobody" }),
            decision("approved").rule("ctx.approved", "pay"),
            finish("refused").output(object! { "paid" => false, "by" => expr("ctx.by") }),
            step("pay")
                .with(object! { "employee" => expr("ctx.employee"), "amount" => expr("ctx.amount") })
                .into_path("payment"),
            finish("done").output(object! { "paid" => true, "payment" => expr("ctx.payment") }),
        ])
}

fn image_tiles() -> Workflow {
    let numbers = ["width", "height", "tiles_x", "tiles_y", "iterations"];
    let of_tile = ["width", "height", "tiles_x", "tiles_y", "iterations", "folder"];
    let with = of_tile.map(|key| (key, expr(format!("ctx.{key}"))));
    let with = [("tile", expr("tile"))]
        .into_iter()
        .chain(with)
        .map(|(key, value)| (key, Value::from(value)));
    workflow("image_tiles")
        .description("Renders a picture of the Mandelbrot set in tiles, and joins them into one PNG.")
        .input(object! {
            "type" => "object",
            "required" => numbers,
            "properties" => Value::object(numbers.map(|name| (name, from_one()))),
        })
        .defaults(
            Defaults::new()
                .timeout(seconds(300))
                .retry(Retry::new().max_attempts(3).initial(millis(500))),
        )
        .steps(flow![
            step("prepare"),
            set("begin").value("steps_computed", 0),
            foreach("tiles", "ctx.tiles_x * ctx.tiles_y")
                .item_as("tile")
                .concurrency(64)
                .merge(Merge::Discard)
                .reduce("steps_computed", Reduce::Sum)
                .collect_as("tiles")
                .steps(flow![
                    step("render_tile").with(Value::object(with)).into_path("rendered"),
                    set("count").value("steps_computed", expr("ctx.steps_computed + ctx.rendered.steps")),
                ]),
            step("assemble").into_path("picture"),
            finish("done").output(object! {
                "picture" => expr("ctx.picture"),
                "tiles" => expr("size(ctx.tiles)"),
                "steps_computed" => expr("ctx.steps_computed"),
            }),
        ])
}

fn order_processing() -> Workflow {
    workflow("order_processing")
        .description(
            "Validates an order, prepares it by its type, picks its items in parallel, then tells the customer.",
        )
        .input(order_schema())
        .defaults(
            Defaults::new().timeout(seconds(30)).retry(
                Retry::new()
                    .max_attempts(3)
                    .backoff(Backoff::Exponential)
                    .initial(millis(200))
                    .max(seconds(5)),
            ),
        )
        .steps(flow![
            step("validate_order"),
            branch_on("route", "ctx.order_type")
                .case("physical", prepare())
                .case(
                    "digital",
                    foreach("grant_downloads", "ctx.line_items")
                        .item_as("line")
                        .concurrency(4)
                        .merge(Merge::Discard)
                        .collect_as("downloads")
                        .steps(
                            step("grant_download")
                                .with(object! { "order_id" => expr("ctx.order_id"), "sku" => expr("line.sku") }),
                        ),
                )
                .default(
                    fail("unknown_type")
                        .error_type("order.unknown_type")
                        .message(expr("'no route for ' + ctx.order_type"))
                        .details(object! { "order_type" => expr("ctx.order_type") }),
                ),
            parallel("notify")
                .on_error(OnError::CompleteAll)
                .branch(
                    "email",
                    step("send_confirmation")
                        .with(object! {
                            "to" => expr("ctx.customer"),
                            "order_id" => expr("ctx.order_id"),
                            "mail_down_for" => expr("get(ctx, 'mail_down_for', 0)"),
                        })
                        .into_path("email")
                        .retry(Retry::new().max_attempts(5)),
                )
                .branch(
                    "analytics",
                    step("update_analytics")
                        .with(object! {
                            "order_type" => expr("ctx.order_type"), "total_cents" => expr("ctx.total_cents"),
                        })
                        .into_path("analytics"),
                ),
            step("finalize").into_path("summary"),
            finish("done").output(expr("ctx.summary")),
        ])
}

fn order_schema() -> Value {
    object! {
        "type" => "object",
        "required" => ["order_id", "order_type", "customer", "items"],
        "properties" => object! {
            "order_id" => of_type("string"),
            "order_type" => of_type("string"),
            "customer" => of_type("string"),
            "items" => object! {
                "type" => "array",
                "items" => object! {
                    "type" => "object",
                    "required" => ["sku", "quantity"],
                    "properties" => object! { "sku" => of_type("string"), "quantity" => of_type("integer") },
                },
            },
        },
    }
}

fn prepare() -> Parallel {
    parallel("prepare")
        .branch(
            "label",
            step("print_label")
                .with(object! { "order_id" => expr("ctx.order_id"), "customer" => expr("ctx.customer") })
                .into_path("label"),
        )
        .branch(
            "pick",
            foreach("pick_items", "ctx.line_items")
                .item_as("line")
                .concurrency(8)
                .merge(Merge::Discard)
                .reduce("units", Reduce::Sum)
                .collect_as("picked")
                .steps(flow![
                    set("count").value("units", expr("get(ctx, 'units', 0) + line.quantity")),
                    step("pick").with(object! { "sku" => expr("line.sku"), "quantity" => expr("line.quantity") }),
                ]),
        )
}

fn payment() -> Workflow {
    let patience = object! { "type" => "string", "description" => "How long to wait for the customer" };
    let of_reservation = || object! { "reservation" => expr("ctx.reservation") };
    workflow("payment")
        .description(
            "Reserves goods, asks for a payment, and waits for the first of three events - paid, declined, withdrawn \
             - or for none.",
        )
        .input(object! {
            "type" => "object",
            "required" => ["order", "amount"],
            "properties" => object! {
                "order" => of_type("string"),
                "amount" => object! { "type" => "number", "exclusiveMinimum" => 0 },
                "patience" => patience,
            },
        })
        .defaults(
            Defaults::new()
                .timeout(seconds(30))
                .retry(Retry::new().max_attempts(3).initial(millis(100))),
        )
        .steps(flow![
            step("reserve")
                .with(object! { "order" => expr("ctx.order") })
                .into_path("reservation")
                .compensate(Compensate::by("release").with(object! { "reservation" => expr("output") })),
            step("request_payment")
                .with(object! { "order" => expr("ctx.order"), "amount" => expr("ctx.amount") })
                .into_path("payment"),
            wait_any("outcome", ["payment.paid", "payment.declined", "order.withdrawn"])
                .timeout(expr("get(ctx, 'patience', '2d')"))
                .on_timeout_value(object! { "event" => "nothing" }),
            branch_on("settle", "ctx.outcome.event")
                .case(
                    "payment.paid",
                    step("ship")
                        .with(object! {
                            "reservation" => expr("ctx.reservation"), "receipt" => expr("ctx.outcome.payload.receipt"),
                        })
                        .into_path("shipment"),
                )
                .case(
                    "payment.declined",
                    fail("declined")
                        .error_type("payment.declined")
                        .message(expr("'declined: ' + ctx.outcome.payload.reason")),
                )
                .default(flow![
                    step("release").with(of_reservation()).into_nothing(),
                    finish("given_up").output(object! { "paid" => false, "because" => expr("ctx.outcome.event") }),
                ]),
            finish("done").output(object! { "paid" => true, "shipment" => expr("ctx.shipment") }),
        ])
}

fn trip_booking() -> Workflow {
    let cancel = |what: &str| Compensate::by(format!("cancel_{what}"));
    let booking = || object! { "booking" => expr("output.booking") };
    workflow("trip_booking")
        .description(
            "Books a car, a hotel and a flight, charges the card and confirms. What was booked is given back when it \
             fails.",
        )
        .input(object! { "type" => "object", "required" => ["traveller", "from", "to", "nights"] })
        .defaults(
            Defaults::new()
                .timeout(seconds(30))
                .retry(Retry::new().max_attempts(3).initial(millis(100))),
        )
        .steps(flow![
            step("quote"),
            parallel("bookings")
                .branch(
                    "car",
                    step("book_car")
                        .with(object! { "city" => expr("ctx.to"), "days" => expr("ctx.nights") })
                        .into_path("car")
                        .compensate(cancel("car").with(booking())),
                )
                .branch(
                    "hotel",
                    step("book_hotel")
                        .with(object! { "city" => expr("ctx.to"), "nights" => expr("ctx.nights") })
                        .into_path("hotel")
                        .compensate(cancel("hotel").with(object! {
                            "booking" => expr("output.booking"), "why" => expr("error.type"),
                        })),
                )
                .branch(
                    "flight",
                    step("book_flight")
                        .with(object! { "from" => expr("ctx.from"), "to" => expr("ctx.to") })
                        .into_path("flight")
                        .compensate(cancel("flight").with(booking())),
                ),
            step("charge")
                .with(object! {
                    "traveller" => expr("ctx.traveller"),
                    "total" => expr("ctx.car.price + ctx.hotel.price + ctx.flight.price"),
                })
                .into_path("receipt")
                .compensate(Compensate::by("refund").with(object! { "receipt" => expr("output.receipt") })),
            step("confirm")
                .with(object! {
                    "traveller" => expr("ctx.traveller"),
                    "bookings" => expr("[ctx.car.booking, ctx.hotel.booking, ctx.flight.booking]"),
                })
                .into_path("confirmation"),
            finish("done").output(object! {
                "confirmation" => expr("ctx.confirmation"), "total" => expr("ctx.receipt.total"),
            }),
        ])
}

fn word_count() -> Workflow {
    let lines = object! { "type" => "integer", "minimum" => 1, "description" => "Lines of a chunk" };
    workflow("word_count")
        .description("Counts the words of a text - map, shuffle, reduce - and names the most frequent.")
        .input(object! {
            "type" => "object",
            "required" => ["text", "lines", "buckets"],
            "properties" => object! {
                "text" => of_type("string"), "lines" => lines, "buckets" => from_one(), "top" => from_one(),
            },
        })
        .defaults(
            Defaults::new()
                .timeout(seconds(60))
                .retry(Retry::new().max_attempts(3).initial(millis(200))),
        )
        .steps(flow![
            step("split").into_path("chunks"),
            foreach("map", "ctx.chunks")
                .item_as("chunk")
                .concurrency(8)
                .merge(Merge::Discard)
                .collect_as("mapped")
                .steps(step("count_words").with(object! {
                    "text" => expr("ctx.text"), "chunk" => expr("chunk"), "buckets" => expr("ctx.buckets"),
                })),
            foreach("reduce", "ctx.buckets")
                .item_as("bucket")
                .concurrency("unbounded")
                .merge(Merge::Discard)
                .collect_as("reduced")
                .steps(step("sum_words").with(object! {
                    "parts" => expr("ctx.mapped.map(part, get(part, 'b' + string(bucket), {}))"),
                    "top" => expr("get(ctx, 'top', 10)"),
                })),
            step("rank")
                .with(object! { "reduced" => expr("ctx.reduced"), "top" => expr("get(ctx, 'top', 10)") })
                .into_path("result"),
            finish("done").output(expr("ctx.result")),
        ])
}
