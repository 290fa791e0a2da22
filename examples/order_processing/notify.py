"""Tells the customer and the statistics. A plain handler: it tells by the request which of the two it is."""

import json
import sys


def send_confirmation(request):
    mail = request["input"]
    # An input may say that the mail server is away for the first attempts, so that retries can be watched.
    if request["attempt"] <= mail["mail_down_for"]:
        return {"$error": {"type": "mail.unavailable", "message": "the mail server is away", "retryable": True}}
    # A real mail server would get the idempotency key as the message's id: it is the same in each attempt.
    return {"to": mail["to"], "subject": f"Your order {mail['order_id']}", "attempts": request["attempt"]}


def update_analytics(request):
    sale = request["input"]
    return {"series": f"sales.{sale['order_type']}", "cents": sale["total_cents"]}


request = json.load(sys.stdin)
json.dump(globals()[request["handler"]](request), sys.stdout)
