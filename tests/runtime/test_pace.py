"""Threads that wait for each other are fewer while other programs want the cores, and all of them come back."""

import os
from pathlib import Path

import pytest

from runtime import pace as room
from runtime.pace import FIRST_WAIT, FREE_WAIT, LONGEST_WAIT, MEASURED, MISSED, Pace, free_cores


def many() -> int:
    """Cores that look free."""
    return 64


@pytest.mark.parametrize(("most", "got", "left"), [(2, 1.3, 1), (2, 0.6, 1), (8, 6.7, 6), (8, 0.1, 1), (3, 2.4, 2)])
def test_as_many_threads_are_left_as_get_a_core(most: int, got: float, left: int) -> None:
    pace = Pace.of(most, many)
    assert pace.choose(10.0) == most
    pace.learn(1.0, got, 10.0)
    assert pace.choose(10.0) == left and pace.choose(10.0 + FIRST_WAIT) == most


def test_threads_that_get_their_cores_stay() -> None:
    """Also where one short piece of work got less: the average counts."""
    pace = Pace.of(4, many)
    pace.learn(2.0, 2.0 * (4 - MISSED + 0.01), 0.0)
    assert pace.choose(0.0) == 4
    for used in (2.5, 4.0, 4.0, 4.0, 4.0):
        pace.learn(MEASURED / 4, used * MEASURED / 4, 0.0)
        assert pace.choose(0.0) == 4
    alone = Pace.of(1, many)
    alone.learn(1.0, 0.1, 0.0)
    assert alone.choose(0.0) == 1


def test_no_more_threads_are_tried_than_there_are_free_cores() -> None:
    """And it is asked again later, but not while all of them work."""
    free = [1, 3, 8, 2]
    pace = Pace.of(4, lambda: free.pop(0))
    assert [pace.choose(now) for now in (0.0, 0.5, FREE_WAIT, 2 * FREE_WAIT, 1e6)] == [1, 1, 3, 4, 4]
    assert free == [2]


def test_all_threads_are_tried_ever_more_rarely_while_it_stays_crowded() -> None:
    """And at once again as often as at first, when once they got their cores."""
    pace, now, waits = Pace.of(2, many), 0.0, []
    for _ in range(6):
        assert pace.choose(now) == 2
        pace.learn(1.0, 1.0, now)
        assert pace.choose(now) == 1
        pace.learn(1.0, 1.0, now)
        waits.append(pace.until - now)
        now = pace.until
    assert waits == [FIRST_WAIT * 2**n for n in range(4)] + [LONGEST_WAIT] * 2
    pace.choose(now)
    pace.learn(1.0, 2.0, now)
    pace.learn(1.0, 1.0, now)
    assert pace.until - now == FIRST_WAIT


@pytest.mark.parametrize(("text", "taken"), [("0.5 0.6 0.7 1/412 8\n", 0), ("9 9 9 999/1000 8\n", 999), ("what\n", 0)])
def test_the_systems_count_is_read(text: str, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never less than the caller's own core; all of them without a count, or where it can't be read."""
    monkeypatch.setattr(room, "RUNNING", tmp_path / "loadavg")
    cores = os.cpu_count() or 1
    assert free_cores() == cores
    room.RUNNING.write_text(text)
    assert free_cores() == max(1, cores - taken)
