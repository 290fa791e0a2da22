"""The calls of `rejoin bench` behind docs/performance.md, and their table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    name: str
    arguments: tuple


def branches(*counts):
    return tuple(part for count in counts for part in ("--branches", str(count)))


CALLS = (
    Call("fanout", ("composed", "fanout", "runs", "latency", "--repeat", "5", *branches(100, 1_000, 10_000, 100_000))),
    Call("million", ("fanout", "--repeat", "3", *branches(1_000_000))),
    Call("cost", ("cost", "--repeat", "3", *branches(1_000, 10_000, 100_000, 1_000_000))),
    Call("context", ("context", "--repeat", "5")),
    Call("mixed", ("mixed", "--repeat", "5")),
    Call("join", ("join", "--repeat", "20")),
    Call("resume", ("resume", "--repeat", "5")),
    Call("takeover", ("takeover", "--repeat", "5")),
    Call("compute-1", ("compute", "--repeat", "3", "--workers", "1", "--concurrency", "1")),
    Call("compute-2", ("compute", "--repeat", "3", "--workers", "2", "--concurrency", "1")),
    *(
        Call(f"slow-{workers}-{coordinators}", (
            "slow", "--repeat", "3", "--workers", str(workers), "--coordinators", str(coordinators)))
        for workers, coordinators in ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2))
    ),
)


def table(documents):
    """One line a measure, of all calls in their order."""
    lines = ["| scenario | median | least | most |", "|---|---|---|---|"]
    for call in CALLS:
        if call.name not in documents:
            continue
        document = documents[call.name]
        settings = document["settings"]
        beside = "" if (settings["workers"], settings["coordinators"]) == (2, 1) else fleet(settings)
        for measure in document["measures"]:
            name = f"`{measure['scenario'].split()[0].rstrip(':')}`{measure['scenario'][len(measure['scenario'].split()[0]):]}"
            unit, cells = measure["unit"], (measure["median"], measure["least"], measure["most"])
            middle, least, most = (number(cell) for cell in cells)
            lines.append(f"| {name}{beside} | {middle} {unit} | {least} | {most} |")
    return "\n".join(lines)


def fleet(settings):
    word = lambda count, what: f"{count} {what}" + ("" if count == 1 else "s")
    return f", {word(settings['coordinators'], 'coordinator')}, {word(settings['workers'], 'worker')} of {settings['concurrency']}"


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value % 1 else f"{value:,.0f}"
