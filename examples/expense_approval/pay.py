"""Pays an expense: a process per attempt, the request on standard input, the output on standard output."""

import json
import sys

expense = json.load(sys.stdin)["input"]
json.dump(f"{expense['amount']} to {expense['employee']}", sys.stdout)
