"""Map, shuffle and reduce over the words of a text file. A stream handler: a request a line, a response a line."""

import collections
import json
import re
import sys
import zlib

WORD = re.compile(r"[a-z]+")


def lines_of(name):
    with open(name, encoding="utf-8") as text:
        return text.read().splitlines()


def bucket_of(word, buckets):
    # The same on every worker, which Python's own hash() is not.
    return f"b{zlib.crc32(word.encode()) % buckets}"


def split(asked):
    total, size = len(lines_of(asked["text"])), asked["lines"]
    return [{"first": first, "last": min(first + size, total)} for first in range(0, total, size)]


def count_words(asked):
    chunk, buckets = asked["chunk"], collections.defaultdict(dict)
    text = "\n".join(lines_of(asked["text"])[chunk["first"] : chunk["last"]]).lower()
    for word, count in collections.Counter(WORD.findall(text)).items():
        buckets[bucket_of(word, asked["buckets"])][word] = count
    return buckets


def most_frequent(counts, top):
    return sorted(counts, key=lambda entry: (-entry[1], entry[0]))[:top]


def sum_words(asked):
    counts = collections.Counter()
    for part in asked["parts"]:
        counts.update(part)
    return {"words": counts.total(), "distinct": len(counts), "top": most_frequent(counts.items(), asked["top"])}


def rank(asked):
    reduced = asked["reduced"]
    return {
        "words": sum(bucket["words"] for bucket in reduced),
        "distinct": sum(bucket["distinct"] for bucket in reduced),
        "top": most_frequent([entry for bucket in reduced for entry in bucket["top"]], asked["top"]),
    }


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(globals()[request["handler"]](request["input"])), flush=True)
