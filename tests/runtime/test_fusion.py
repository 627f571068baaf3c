"""Late fusion is as strong as its weights can make it: a figure that is beaten must not be a straw man."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.errors import AffectError
from models.items import Item
from runtime.fusion import experts, fit, heads, logarithms, plain, truth
from runtime.quality import SEVEN

RNG = np.random.default_rng(0)
LABELS = RNG.integers(7, size=400)


def expert(skill: float) -> np.ndarray:
    """[400, 7] probabilities that are right as often as `skill`, and sure of themselves."""
    read = np.where(RNG.random(400) < skill, LABELS, RNG.integers(7, size=400))
    return 0.02 + 0.86 * np.eye(7)[read]


def right(chances: np.ndarray) -> float:
    return float((chances.argmax(1) == LABELS).mean())


def test_the_weights_read_no_worse_than_the_best_expert() -> None:
    """An expert that guesses gets no say; two that err apart are better together."""
    good, fair, blind = expert(0.7), expert(0.6), expert(0.0)
    chances = np.stack([good, blind, fair], 1)
    found = fit(chances, LABELS)
    assert found.weights[1] < min(found.weights[0], found.weights[2]) and sum(found.weights) == pytest.approx(1)
    assert float((found.read(chances) == LABELS).mean()) >= right(good) and found.scale in (plain, logarithms)


def test_experts_are_asked_for_the_parts_of_an_item(tmp_path: Path) -> None:
    """Two heads and the words' reading, over the seven shared labels alone; without the file it is said how to make it."""
    scores = dict.fromkeys(SEVEN, 0.1) | {"calm": 0.3}
    rows = [{"id": "face-1", "scores": scores | {"sad": 0.4}}, {"id": "voice-2", "scores": scores | {"happy": 0.4}}]
    with pytest.raises(AffectError, match="affect-train heads RUN"):
        heads(tmp_path, "test")
    (tmp_path / "heads-test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = [Item("face-1+voice-2+meld-3", None, None, None, ("sad",))]
    found = experts(items, heads(tmp_path, "test"), {"meld-3": {"scores": scores | {"angry": 0.4}}})
    assert found.shape == (1, 3, 7) and found.sum(2) == pytest.approx(1)
    assert [SEVEN[n] for n in found[0].argmax(1)] == ["sad", "happy", "angry"] and truth(items) == [SEVEN.index("sad")]
