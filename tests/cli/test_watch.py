"""The view's own arithmetic: smoothing for the display alone, runs of the strip."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli.watch import HOLDS, View
from models.reading import Cost, Label, Reading, Segment
from runtime.live import Session


def reading(start: float, **scores: float) -> Reading:
    best = max(scores, key=lambda name: scores[name])
    labels = tuple(Label(name, score, name == best) for name, score in scores.items())
    segment = Segment(start, start + 1, "ok", labels, None, "", {}, None, ())
    return Reading("live", {}, {}, (segment,), Cost())


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A view that is never opened, on a file in a terminal's place."""

    def view(smooth: float) -> View:
        monkeypatch.setattr(sys, "stdout", (tmp_path / "out").open("w", encoding="utf-8"))
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        return View(cast(Session, SimpleNamespace()), mirror=False, smooth=smooth)

    return view


def test_smoothing_is_an_exponential_mean_of_what_is_shown(view: Any) -> None:
    """And the reading itself, which goes into files, is left as it is."""
    shown, first, second = view(0.75), reading(0.0, happy=0.8, sad=0.2), reading(2.0, happy=0.0, sad=1.0)
    shown.read(first)
    assert [(x.name, x.score) for x in shown.segment.labels] == [("happy", 0.8), ("sad", 0.2)]
    shown.read(second)
    assert [x.name for x in shown.segment.labels] == ["happy", "sad"]
    assert [x.score for x in shown.segment.labels] == pytest.approx([0.6, 0.4])
    assert [(x.name, x.score, x.named) for x in second.segments[0].labels] == [
        ("happy", 0.0, False),
        ("sad", 1.0, True),
    ]
    assert [x.named for x in shown.segment.labels] == [False, True]


def test_without_smoothing_the_last_reading_is_shown(view: Any) -> None:
    shown = view(0.0)
    for one in (reading(0.0, happy=0.8, sad=0.2), reading(2.0, happy=0.1, sad=0.9)):
        shown.read(one)
    assert [(x.name, x.score) for x in shown.segment.labels] == [("sad", 0.9), ("happy", 0.1)]


def test_readings_of_one_label_that_touch_are_one_run(view: Any) -> None:
    """A label stands until the next one, for some seconds at most."""
    shown = view(0.0)
    for start, label in ((0.0, "happy"), (3.0, "happy"), (5.0, "sad"), (40.0, "sad")):
        shown.read(reading(start, **{label: 1.0}))
    assert shown.runs(100.0) == [
        (0.0, 4.0 + HOLDS, "happy"), (5.0, 6.0 + HOLDS, "sad"), (40.0, 41.0 + HOLDS, "sad"),
    ]  # fmt: skip
    assert shown.runs(41.5)[-1] == (40.0, 41.5, "sad")
