"""Calibration: a distortion is found again, a manifest gives back what was put in, few that agree get a second label."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration import MISREAD, Calibration, manifest, second_from, softmax, temperature


def told(count: int, heat: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N, 3] of a model that is `heat` times too certain, and what was true [N]."""
    rng = np.random.default_rng(0)
    right = rng.normal(0, 1.5, (count, 3))
    truth = np.array([rng.choice(3, p=row) for row in softmax(right)])
    return right * heat, truth


@pytest.mark.parametrize("heat", [0.4, 1.0, 3.0])
def test_a_distortion_is_found_again(heat: float) -> None:
    assert temperature(*told(20000, heat)) == pytest.approx(heat, rel=0.05)


def test_always_right_or_always_wrong_ends_at_a_bound() -> None:
    scores, right = np.eye(3)[np.arange(90) % 3], np.arange(90) % 3
    assert temperature(scores, right) == pytest.approx(0.25)
    assert temperature(scores, (right + 1) % 3) == pytest.approx(10)


def test_a_manifest_gives_back_what_was_put_in() -> None:
    found = {"visual": Calibration(1.5), "visual+text": Calibration(0.8, 0.1)}
    kept = manifest(found)
    assert {kind: Calibration.of(kept, kind) for kind in found} == found and list(kept["second_from"]) == [
        "visual+text"
    ]
    assert Calibration.of(kept, "audio") == Calibration()


@pytest.mark.parametrize("kind", ["visual+audio", "visual+audio+text"])
def test_few_agreeing_inputs_get_a_second_label(kind: str) -> None:
    """The threshold lets through the share that it may of those whose senses differ alone, and keeps within its bounds."""
    chances, misread = np.linspace(0, 0.45, 201), MISREAD[kind.count("+") + 1]
    for differ in (np.ones(201, bool), np.arange(201) % 3 == 0):
        named = differ & (chances >= second_from(chances, differ, kind))
        assert named.mean() == pytest.approx(misread, abs=0.01)
    assert second_from(chances, np.zeros(201, bool), kind) == pytest.approx(0.02)
    assert second_from(np.ones(9), np.ones(9, bool), kind) == 0.5
