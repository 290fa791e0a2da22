"""Prices an order. A plain handler: the request on stdin, the output (one JSON value) on stdout."""

import json
import sys

PRICE_CENTS = {"mug": 1250, "poster": 900, "shirt": 2400, "lamp": 8900, "ebook": 1500, "album": 990}


def error(kind, message):
    # An order that is wrong stays wrong: no retry.
    return {"$error": {"type": kind, "message": message, "retryable": False}}


def validate(order):
    if not order["items"]:
        return error("order.empty", f"order {order['order_id']} has no items")
    lines = []
    for item in order["items"]:
        price = PRICE_CENTS.get(item["sku"])
        if price is None:
            return error("order.unknown_item", f"nobody sells {item['sku']!r}")
        if item["quantity"] < 1:
            return error("order.bad_quantity", f"{item['quantity']} of {item['sku']!r} cannot be ordered")
        lines.append({**item, "line_cents": price * item["quantity"]})
    # The keys of an output that is an object go into the context.
    return {"line_items": lines, "total_cents": sum(line["line_cents"] for line in lines)}


json.dump(validate(json.load(sys.stdin)["input"]), sys.stdout)
