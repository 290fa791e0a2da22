"""Moves one batch. A stream handler: a request a line, a response a line."""

import json
import sys

from tables import new_row, old_rows, write_batch

for line in sys.stdin:
    request = json.loads(line)["input"]
    batch = request["batch"]
    rows = [new_row(row) for row in old_rows(request["source"])[batch["first"] : batch["last"] + 1]]
    name = write_batch(request["folder"], batch["number"], rows)
    print(json.dumps({"file": name, "rows": len(rows)}), flush=True)
