"""The old table (CSV: German dates and amounts) and the new one (JSON lines, one file a batch)."""

import csv
import json
import os


def old_rows(source):
    """The rows of the old table. `source` is the name of a file in this folder."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, os.path.basename(source)), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cents(amount):
    """'1.234,56' is 123456."""
    return int(amount.replace(".", "").replace(",", ""))


def new_row(row):
    day, month, year = row["since"].split(".")
    return {"id": int(row["id"]), "name": row["name"], "since": f"{year}-{month}-{day}", "cents": cents(row["balance"])}


def write_batch(folder, number, rows):
    """Writes one file of the new table; again with the same rows, it changes nothing. Returns its name."""
    os.makedirs(folder, exist_ok=True)
    name = f"customers-{number:05}.jsonl"
    # A step may run twice: the file appears as a whole, or not at all.
    draft = os.path.join(folder, f".{name}.{os.getpid()}")
    with open(draft, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    os.replace(draft, os.path.join(folder, name))
    return name


def new_rows(folder, names):
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            yield from (json.loads(line) for line in file)
