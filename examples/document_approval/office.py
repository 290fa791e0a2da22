"""The office: registers a document, reviews it, tells people. A stream handler: a request a line, a response a line."""

import json
import sys

BUDGET = 50_000
FORBIDDEN = {"unlimited liability", "automatic renewal"}


def verdict(reasons):
    return {"approved": not reasons, "reasons": reasons}


def register(document):
    people = [document["requester"], "archive@example.com"]
    if document["amount"] >= 1000:
        people.append("cfo@example.com")
    return {
        "people": people,
        "confidential": document.get("confidential", False),
        "clauses": document.get("clauses", []),
    }


def review_legal(document):
    return verdict([f"legal: {clause}" for clause in document["clauses"] if clause in FORBIDDEN])


def review_finance(document):
    return verdict([f"finance: over {BUDGET}"] if document["amount"] > BUDGET else [])


def review_security(document):
    return verdict(["security: no drafts"] if document["document"].endswith("(draft)") else [])


def notify(message):
    print(f"to {message['to']}: {message['text']}", file=sys.stderr, flush=True)
    return message["to"]


HANDLERS = {f.__name__: f for f in (register, review_legal, review_finance, review_security, notify)}

for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(HANDLERS[request["handler"]](request["input"])), flush=True)
