"""When something is read: ends of speech, changes of face, clocks, and never an empty chair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from runtime.listening import Utterance
from runtime.occasions import CHANGED, GONE, LOOKS, REST, SHORT, Look, Occasion, Occasions
from runtime.speech import MARGIN


def occasions(every: float | None = None, window: float = 10.0) -> Occasions:
    return Occasions(window, every, align=5.0)


def looks(to: Occasions, start: float, seconds: float, value: float | None) -> list[Occasion]:
    """A face of one look for some seconds, five pictures a second; None: an empty chair."""
    found = []
    for n in range(round(seconds * 5)):
        found += to.seen(Look(start + n / 5, None if value is None else np.full(5, value)))
    return found


def test_an_utterance_is_read_when_it_is_over() -> None:
    """From its start to its end with margins; `since` is the end of the speech, from which latency is counted."""
    to = occasions()
    assert to.heard([], Utterance(10.0, 10.5)) == []
    (occasion,) = to.heard([Utterance(10.0, 12.0)], None)
    assert occasion == Occasion(10.0 - MARGIN, 12.0 + MARGIN, 12.0, "utterance")


def test_a_short_word_gets_some_pictures() -> None:
    (occasion,) = occasions().heard([Utterance(10.0, 10.3)], None)
    assert occasion.end - occasion.start == pytest.approx(SHORT)


def test_the_first_voice_is_read_before_it_ends() -> None:
    to = occasions()
    found = [o for n in range(20) for o in to.heard([], Utterance(1.0, 1.0 + n / 10))]
    assert [o.why for o in found] == ["voice"]


def test_a_long_speech_is_read_in_parts_that_fill_the_window() -> None:
    """Nobody waits for the end of a monologue; no second of it is left out and none read twice."""
    to = occasions(window=6.0)
    found = [o for n in range(150) for o in to.heard([], Utterance(0.0, n / 10))][1:]
    found += to.heard([Utterance(0.0, 15.0)], None)
    assert [o.why for o in found] == ["voice", "voice", "utterance"]
    assert all(o.end - o.start <= 6.0 for o in found)
    for before, after in itertools.pairwise(found):
        assert after.start + MARGIN == pytest.approx(before.end, abs=0.01)


def test_the_first_face_is_read_once() -> None:
    assert [o.why for o in looks(occasions(), 0.0, 30.0, 0.0)] == ["face"]


def test_a_marked_change_of_face_is_read_a_small_one_is_not() -> None:
    to = occasions()
    looks(to, 0.0, 5.0, 0.0)
    assert looks(to, 5.0, 5.0, CHANGED * 0.9) == []
    assert [o.why for o in looks(to, 10.0, 5.0, CHANGED * 1.1)] == ["face"]
    assert looks(to, 15.0, 5.0, CHANGED * 1.1) == []


def test_a_blink_is_no_change() -> None:
    to = occasions()
    looks(to, 0.0, 5.0, 0.0)
    assert to.seen(Look(5.0, np.full(5, CHANGED * 1.5))) == []


def test_a_restless_face_is_read_at_most_every_other_second() -> None:
    to = occasions()
    found = [o for n in range(30) for o in looks(to, n * 1.0, 1.0, float(n % 2) * 9)]
    gaps = np.diff([o.since for o in found])
    assert len(found) > 5 and gaps.min() >= REST


def test_a_face_that_comes_back_is_a_first_face() -> None:
    to = occasions()
    looks(to, 0.0, 5.0, 0.0)
    looks(to, 5.0, GONE + 1, None)
    assert [o.why for o in looks(to, 10.0, 3.0, 0.0)] == ["face"]


def test_while_somebody_speaks_the_end_is_waited_for() -> None:
    """A talking mouth is a change of face all the time."""
    to = occasions()
    looks(to, 0.0, 5.0, 0.0)
    to.heard([], Utterance(5.0, 5.5))
    assert looks(to, 5.0, 3.0, 9.0) == []


def test_an_empty_chair_and_silence_are_never_read() -> None:
    for every in (None, 1.0):
        to = occasions(every)
        assert looks(to, 0.0, 20.0, None) == []
        assert [o for n in range(100) for o in to.tick(float(n))] == []
        assert to.last(100.0) == []


def test_every_so_many_seconds_alone() -> None:
    """With --every neither speech nor faces ask, and nothing is asked after they have gone."""
    to = occasions(every=2.0)
    found: list[Occasion] = []
    for n in range(50):
        ended = [Utterance(n / 5 - 1, n / 5)] if n % 7 == 6 else []
        found += looks(to, n / 5, 0.2, 0.0) + to.heard(ended, Utterance(0.0, n / 5)) + to.tick(n / 5)
    assert {o.why for o in found} == {"every"} and len(found) == pytest.approx(5, abs=1)
    assert [o for n in range(50) for o in to.tick(20.0 + n)][1:] == []


def test_readings_by_the_clock_start_with_the_speech() -> None:
    """Windows of sound that were encoded for one reading are used by the next: they start at the same places."""
    to = occasions(every=1.0, window=10.0)
    starts = []
    for n in range(40):
        to.heard([], Utterance(0.0, n / 2))
        starts += [o.start for o in to.tick(n / 2)]
    assert {round(start % 5, 6) for start in starts[3:]} == {0.0}


def test_the_end_reads_what_was_not_read_yet() -> None:
    to = occasions()
    assert [o.why for o in to.last(5.0)] == []
    to.seen(Look(4.0, np.zeros(5)))
    assert [o.why for o in to.last(5.0)] == ["end"]


def test_unknown_measurements_are_no_change() -> None:
    to = occasions()
    looks(to, 0.0, 5.0, 0.0)
    assert looks(to, 5.0, 5.0, float("nan")) == [] and LOOKS == 3


def test_a_look_that_could_not_be_measured_keeps_no_face_from_being_read() -> None:
    """A face that enters the picture is half of one at first."""
    to = occasions()
    assert [o.why for o in looks(to, 0.0, 0.6, float("nan"))] == ["face"]
    found = looks(to, 0.6, 5.0, 0.0)
    assert [o.why for o in found + looks(to, 6.0, 5.0, CHANGED * 1.1)] == ["face", "face"]
    mixed = occasions()
    mixed.seen(Look(0.0, np.full(5, np.nan)))
    looks(mixed, 0.2, 5.0, 0.0)
    assert [o.why for o in looks(mixed, 6.0, 5.0, CHANGED * 1.1)] == ["face"]


def test_the_clock_does_not_drift_and_reads_the_end() -> None:
    to = occasions(every=2.0)
    found: list[Occasion] = []
    for n in range(6000):
        found += looks(to, n * 0.0333, 0.2, 0.0) + to.tick(n * 0.0333)
    assert len(found) == pytest.approx(6000 * 0.0333 / 2, abs=1.5)
    to.heard([Utterance(199.9, 200.5)], None)
    assert [o.why for o in to.last(201.0)] == ["end"]
