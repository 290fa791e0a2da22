"""The warehouse: print_label, pick, grant_download, finalize. A stream handler: one request a line on stdin,
one response a line on stdout, until stdin ends."""

import hashlib
import json
import sys

SHELF = {"mug": "A1", "poster": "B4", "shirt": "C2", "lamp": "D9", "ebook": "-", "album": "-"}


def print_label(request):
    order = request["input"]
    tracking = hashlib.sha256(order["order_id"].encode()).hexdigest()[:10].upper()
    return {"to": order["customer"], "tracking": f"RJ{tracking}"}


def pick(request):
    item = request["input"]
    # What is written to stderr becomes the log of the step.
    print(f"picking {item['quantity']} x {item['sku']}", file=sys.stderr, flush=True)
    return {"sku": item["sku"], "quantity": item["quantity"], "shelf": SHELF[item["sku"]]}


def grant_download(request):
    order, sku = request["input"]["order_id"], request["input"]["sku"]
    key = hashlib.sha256(f"{order}/{sku}".encode()).hexdigest()[:16]
    return {"sku": sku, "key": key}


def finalize(request):
    # Without `with`, a handler's input is the whole context.
    ctx = request["input"]
    summary = {key: ctx[key] for key in ("order_id", "order_type", "total_cents")}
    for key in ("label", "picked", "units", "downloads", "email"):
        if key in ctx:
            summary[key] = ctx[key]
    return summary


HANDLERS = {f.__name__: f for f in (print_label, pick, grant_download, finalize)}

for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(HANDLERS[request["handler"]](request)), flush=True)
