"""Verifies the new table in three ways, and sums up."""

import json
import os
import sys

from tables import cents, new_rows, old_rows


def rows_of(task):
    return list(new_rows(task["folder"], [file["file"] for file in task["files"]]))


def verify_counts(task):
    found = len(rows_of(task))
    return {"ok": found == task["rows"], "rows": found}


def verify_totals(task):
    before = sum(cents(row["balance"]) for row in old_rows(task["source"]))
    after = sum(row["cents"] for row in rows_of(task))
    return {"ok": before == after, "cents": after}


def verify_identities(task):
    ids = [row["id"] for row in rows_of(task)]
    return {"ok": len(ids) == len(set(ids)), "first": min(ids), "last": max(ids)}


def finalize(task):
    checks = task["verification"]
    summary = {
        "batches": task["batches"],
        "rows_total": task["rows_total"],
        "rows_migrated": task["rows_migrated"],
        "checks": checks,
        "ok": task["rows_migrated"] == task["rows_total"] and all(check["ok"] for check in checks.values()),
    }
    os.makedirs(task["folder"], exist_ok=True)
    with open(os.path.join(task["folder"], "summary.json"), "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2)
    return summary


request = json.load(sys.stdin)
json.dump(globals()[request["handler"]](request["input"]), sys.stdout)
