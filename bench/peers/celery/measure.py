"""Celery's chord: a group of tasks, and a callback when all have ended."""

import pathlib
import sys

import celery
from celery import chain, chord

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import workload
from tasks import app, join, noop

# How often a client asks PostgreSQL for a result. Redis tells by itself.
ASK_SECONDS = 0.01
END_SECONDS = 600


def await_result(result):
    # Not the parents' too: at each asking it would read the state of every task of the chord.
    return result.get(timeout=END_SECONDS, interval=ASK_SECONDS, follow_parents=False)


def chord_of(branches):
    return chord([noop.si() for _ in range(branches)], join.s())


def fanout(branches):
    joined = await_result(chord_of(branches).apply_async())
    assert joined == branches, joined


def runs(count):
    def start(_):
        return chain(noop.si(), noop.si(), chord_of(4)).apply_async()

    for result in workload.start_at_once(start, count):
        assert await_result(result) == 4


def idle():
    assert await_result(chord_of(3).apply_async()) == 3


if __name__ == "__main__":
    workload.measure({"celery": celery.__version__, "results": app.conf.result_backend.split(":")[0]}, fanout, runs, idle)
