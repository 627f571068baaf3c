"""What is remembered is what would be computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.media import read_clip
from models.reading import Clip
from runtime.engine import Engine
from runtime.memory import SMALL, KeptFaces, Memory

ROOT = Path(__file__).parents[2]


def test_rows_are_computed_once() -> None:
    """Only new rows reach the network, each once, and results come back in the order of the rows."""
    memory, asked = Memory(), []

    def double(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return rows * 2.0

    rows = np.array([[1.0], [2.0], [1.0], [3.0]])
    assert memory.rows("x", rows, double).tolist() == [[2.0], [4.0], [2.0], [6.0]]
    assert memory.rows("x", rows[1:], double).tolist() == [[4.0], [2.0], [6.0]]
    assert memory.rows("x", np.array([[3.0], [4.0]]), double).tolist() == [[6.0], [8.0]]
    assert asked == [1, 1, 1, 1]


def test_kinds_shapes_and_types_are_told_apart() -> None:
    memory = Memory()
    zeros = np.zeros((2, 2), np.uint8)
    assert memory.recall("a", zeros, lambda: 1) == 1
    assert memory.recall("b", zeros, lambda: 2) == 2
    assert memory.recall("a", zeros.reshape(4), lambda: 3) == 3
    assert memory.recall("a", zeros.astype(np.int8), lambda: 4) == 4
    assert memory.recall("a", zeros[::-1], lambda: 5) == 1


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    memory = Memory(most=3 * SMALL)
    for n in range(3):
        memory.recall("x", np.array([n]), lambda: 0)
    memory.recall("x", np.array([0]), lambda: 0)
    memory.recall("x", np.array([3]), lambda: 0)
    assert [key for key in memory.results if key[0] == "x"] and len(memory.results) == 3
    assert memory.recall("x", np.array([0]), lambda: 9) == 0
    assert memory.recall("x", np.array([1]), lambda: 9) == 9


def test_its_bytes_are_bounded() -> None:
    """A day of live use holds no more than ten minutes do: large results count for what they are."""
    memory = Memory(most=1e6)
    for n in range(200):
        memory.rows("window", np.array([[n]]), lambda rows: np.zeros((len(rows), 250, 100), np.float32))
    assert len(memory.results) == 9 and memory.bytes <= 1e6
    memory.recall("huge", np.array([0]), lambda: np.zeros(10**7, np.uint8))
    assert len(memory.results) == 1


@pytest.fixture(scope="module")
def clip() -> Clip:
    return read_clip(ROOT / "examples" / "grid.mp4", frames=8)


def test_a_reading_with_a_memory_is_the_same_reading(clip: Clip) -> None:
    """Fast path == plain path: labels, words and measured values, first and second time."""
    plain = Engine.load("nano").read_clip(clip, "x").document()
    engine, memory = Engine.load("nano"), Memory()
    engine.keep(memory)
    first, made = engine.read_clip(clip, "x").document(), memory.made
    again = engine.read_clip(clip, "x").document()
    assert first["segments"] == again["segments"] == plain["segments"]
    assert made > 8 and memory.made == made  # the second time nothing was computed


def test_a_stretch_that_overlaps_encodes_only_what_is_new(clip: Clip) -> None:
    engine, memory = Engine.load("nano"), Memory()
    engine.keep(memory)
    half = replace(clip, frames=clip.frames[:6], times=clip.times[:6])
    engine.read_clip(half, "x")
    before = {kind: sum(key[0] == kind for key in memory.results) for kind in ("frame", "window", "faces")}
    engine.read_clip(clip, "x")
    after = {kind: sum(key[0] == kind for key in memory.results) for kind in before}
    assert {kind: after[kind] - before[kind] for kind in before} == {"frame": 2, "window": 0, "faces": 2}


def test_two_finders_share_what_they_found(clip: Clip) -> None:
    memory = Memory()
    one, other = KeptFaces(memory), KeptFaces(memory)
    frame = clip.frames[3]
    found, made = one.detect(frame), memory.made
    assert other.detect(frame.copy()) == found and memory.made == made
