"""The reader: one reading at a time, the newest request first, nothing written that nobody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.errors import AffectError
from models.reading import Clip, Cost, Reading, Segment
from runtime.occasions import Occasion
from runtime.reader import CUT_SHORT, Reader, Request


class Engine:
    """Reads for as long as it is told to; asks before each token whether to go on."""

    def __init__(self) -> None:
        self.go_on, self.read, self.tokens = threading.Event(), list[float](), 0
        self.error: AffectError | None = None

    def read_clip(
        self, clip: Clip, source: str, watch: Any, on_event: Any, stopped: Callable[[], bool], **_: Any
    ) -> Reading:
        self.read.append(clip.start)
        if self.error:
            raise self.error
        while not self.go_on.is_set() and not stopped():
            self.tokens += 1
            time.sleep(0.01)
        segment = Segment(clip.start, clip.end, "ok", (), None, "", {}, None, ())
        return Reading(source, {}, {}, (segment,), Cost(total_s=time.perf_counter() - watch.began))


class Heard:
    """What the reader says."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.news = threading.Condition()

    def __call__(self, kind: str, payload: Any) -> None:
        with self.news:
            self.said.append((kind, payload))
            self.news.notify_all()

    def wait(self, kind: str, count: int = 1) -> Any:
        """The payload of the `count`th event of a kind."""
        with self.news:
            there = self.news.wait_for(lambda: [k for k, _ in self.said].count(kind) >= count, 5.0)
        assert there, (kind, self.said)
        return [payload for k, payload in self.said if k == kind][count - 1]


def request(number: float, age: float = 0.0) -> Request:
    now = time.monotonic()
    clip = Clip(number, number + 1, np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0))
    return Request(clip, Occasion(now - age - 1, now - age, now - age, "utterance"))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def heard() -> Heard:
    return Heard()


def reader(engine: Engine, heard: Heard, stale: float = 10.0) -> Reader:
    made = Reader(lambda: engine, "live", {}, stale, heard)
    made.start()
    heard.wait("ready")
    return made


def test_a_newer_request_takes_the_place_of_one_that_waits(engine: Engine, heard: Heard) -> None:
    """Late work drops, it never queues: of four requests while one is read the last one is read next."""
    made = reader(engine, heard)
    made.ask(request(0))
    heard.wait("begun")
    for number in (1, 2, 3):
        made.ask(request(number))
    engine.go_on.set()
    heard.wait("read", 2)
    assert engine.read == [0, 3] and made.replaced == 2


def test_a_reading_in_writing_is_finished_while_it_is_fresh(engine: Engine, heard: Heard) -> None:
    made = reader(engine, heard)
    made.ask(request(0))
    heard.wait("begun")
    made.ask(request(1))
    time.sleep(0.1)
    assert engine.read == [0]
    engine.go_on.set()
    _, reading = heard.wait("read")
    assert CUT_SHORT not in reading.segments[0].notes


def test_a_stale_reading_gives_way_to_a_newer_request(engine: Engine, heard: Heard) -> None:
    made = reader(engine, heard, stale=2.0)
    made.ask(request(0, age=3.0))
    heard.wait("begun")
    time.sleep(0.1)
    assert engine.tokens > 3  # nothing newer waits: it is written all the same
    made.ask(request(1))
    _, reading = heard.wait("read")
    assert CUT_SHORT in reading.segments[0].notes


def test_what_it_costs_counts_from_the_end_of_speech(engine: Engine, heard: Heard) -> None:
    """Not from when the program noticed: honest latency."""
    engine.go_on.set()
    reader(engine, heard).ask(request(0, age=1.5))
    _, reading = heard.wait("read")
    assert reading.cost.total_s == pytest.approx(1.5, abs=0.2)


def test_a_reading_that_fails_ends_nothing(engine: Engine, heard: Heard) -> None:
    made = reader(engine, heard)
    engine.error = AffectError("no", "", "no")
    made.ask(request(0))
    assert heard.wait("trouble") is engine.error
    engine.error = None
    engine.go_on.set()
    made.ask(request(1))
    heard.wait("read")


def test_the_end_waits_for_what_was_asked(engine: Engine, heard: Heard) -> None:
    """At a file's end the last request is read; then it is over, and the thread has gone."""
    made = reader(engine, heard)
    made.ask(request(0))
    made.finish()
    engine.go_on.set()
    heard.wait("over")
    assert engine.read == [0]
    made.thread.join(1.0)
    assert not made.thread.is_alive()


def test_a_stop_does_not_wait(engine: Engine, heard: Heard) -> None:
    made = reader(engine, heard)
    made.ask(request(0))
    heard.wait("begun")
    made.ask(request(1))
    made.stop()
    made.thread.join(1.0)
    assert not made.thread.is_alive() and engine.read == [0]


def test_an_engine_that_can_t_be_loaded_is_said(heard: Heard) -> None:
    error = AffectError("broken", "", "bad_bundle")

    def load() -> Any:
        raise error

    made = Reader(load, "live", {}, 10.0, heard)
    made.start()
    assert heard.wait("failed") is error
