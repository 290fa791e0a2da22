"""Reads a shop's day from figures.csv, and writes the report: a process per attempt, the request on standard input."""

import csv
import json
import sys

request = json.load(sys.stdin)
asked = request["input"]


def read_figures():
    with open("figures.csv", encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            if (row["shop"], row["day"]) == (asked["shop"], asked["day"]):
                return {"shop": row["shop"], "orders": int(row["orders"]), "revenue": int(row["revenue"])}
    return {"$error": {"type": "figures.missing", "message": f"no figures of {asked['shop']}", "retryable": False}}


def write_report():
    ranked = sorted(asked["lines"], key=lambda line: -line["revenue"])
    lines = [f"{line['shop']}: {line['orders']} orders, {line['revenue']}" for line in ranked]
    return {"day": asked["day"], "best": ranked[0]["shop"], "orders": asked["orders"], "revenue": asked["revenue"], "lines": lines}


print(json.dumps({"read_figures": read_figures, "write_report": write_report}[request["handler"]]()))
