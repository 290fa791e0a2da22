"""Cuts the old table into batches."""

import json
import os
import sys
import tempfile

from tables import old_rows

request = json.load(sys.stdin)
size, rows = request["input"]["batch_size"], len(old_rows(request["input"]["source"]))
batches = [
    {"number": number, "first": first, "last": min(first + size, rows) - 1}
    for number, first in enumerate(range(0, rows, size))
]
# A folder a run, so that runs do not meet. Workers on several machines would need one that they share.
base = os.environ.get("EXAMPLE_FOLDER") or os.path.join(tempfile.gettempdir(), f"rejoin-examples-{os.getuid()}")
folder = os.path.join(base, "batch_migration", request["run"])
json.dump({"rows_total": rows, "batches": batches, "folder": folder}, sys.stdout)
