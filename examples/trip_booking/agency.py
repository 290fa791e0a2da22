"""The agency: books, charges, confirms, and takes all of it back. A stream handler: a request a line, a response a line."""

import json
import sys
import time

SOLD_OUT = {"Venice"}
BLOCKED = {"Nobody"}


def failure(kind, message):
    return {"$error": {"type": kind, "message": message, "retryable": False}}


def booking(kind, request, price):
    # The key is the same for every attempt of this step: a second call books nothing twice.
    return {"booking": f"{kind}-{request['idempotency_key'][-12:]}", "price": price}


def quote(_request):
    return None


def book_car(request):
    return booking("car", request, 40 * request["input"]["days"])


def book_hotel(request):
    city = request["input"]["city"]
    if city in SOLD_OUT:
        time.sleep(0.3)  # the others are booked by then
        return failure("hotel.full", f"no room in {city}")
    return booking("hotel", request, 90 * request["input"]["nights"])


def book_flight(request):
    return booking("flight", request, 250)


def charge(request):
    return {"receipt": f"r-{request['idempotency_key'][-8:]}", "total": request["input"]["total"]}


def confirm(request):
    if request["input"]["traveller"] in BLOCKED:
        return failure("confirmation.refused", "the traveller cannot be confirmed")
    return f"confirmed for {request['input']['traveller']}: {len(request['input']['bookings'])} bookings"


def give_back(request):
    print(f"{request['handler']}: {json.dumps(request['input'])}", file=sys.stderr, flush=True)
    return None


cancel_car = cancel_hotel = cancel_flight = refund = give_back

for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(globals()[request["handler"]](request)), flush=True)
