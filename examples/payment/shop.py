"""The shop: a stream handler, a request a line, a response a line."""

import json
import sys


def reserve(request):
    # The key is the same for every attempt: a second call reserves nothing twice.
    return f"reserved-{request['input']['order']}-{request['idempotency_key'][-6:]}"


def request_payment(request):
    print(f"asking for {request['input']['amount']}", file=sys.stderr, flush=True)
    return {"requested": request["input"]["amount"]}


def ship(request):
    return f"shipped with receipt {request['input']['receipt']}"


def release(request):
    print(f"released {request['input']['reservation']}", file=sys.stderr, flush=True)


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(globals()[request["handler"]](request)), flush=True)
