"""Weighted late fusion, the figure that one network must beat: what the direct heads of the face and voice encoders say, and
what is read of the words alone, added up with weights from the validation part.

The heads are thrown away with training; `affect-train heads` writes down what they said. Knows probabilities of labels by
item; nothing of networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.errors import AffectError
from models.items import Item
from runtime.quality import SEVEN, Reader, Record, all_three

FITTED_ON = 300  # validation items of each single input that the weights are chosen on
STEPS = 20  # of the grid of weights
SMALLEST = 1e-6  # probability: its logarithm is still a number
Scale = Callable[[np.ndarray], np.ndarray]


def plain(chances: np.ndarray) -> np.ndarray:
    """Probabilities are added as they are."""
    return chances


def logarithms(chances: np.ndarray) -> np.ndarray:
    """Or multiplied."""
    return np.log(np.maximum(chances, SMALLEST))


@dataclass(frozen=True)
class Fusion:
    """How three experts' probabilities are put together: face, voice, words."""

    weights: tuple[float, float, float]
    scale: Scale

    def read(self, chances: np.ndarray) -> np.ndarray:
        """Probabilities [N, 3, 7] -> numbers of labels [N]."""
        return np.einsum("nec,e->nc", self.scale(chances), np.array(self.weights)).argmax(1)


def heads(folder: Path, split: str) -> dict[str, Mapping[str, float]]:
    """What the direct heads said of the faces and voices of a split, by id. Raises AffectError `not_found`."""
    path = folder / f"heads-{split}.jsonl"
    if not path.is_file():
        raise AffectError(f"{path.name} is not there", f"affect-train heads RUN --data {folder}", "not_found")
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["scores"] for row in rows}


def experts(items: Sequence[Item], said: Mapping[str, Mapping[str, float]], alone: Mapping[str, Record]) -> np.ndarray:
    """Probabilities [N, 3, 7] of composed items: two heads' and the words'."""

    def seven(name: str) -> Iterator[float]:
        scores = said[name] if name in said else alone[name]["scores"]
        return (scores[label] for label in SEVEN)

    chances = np.array([[[*seven(name)] for name in item.id.split("+")] for item in items])
    return chances / chances.sum(2, keepdims=True)


def truth(items: Sequence[Item]) -> np.ndarray:
    """Numbers [N] of the true labels."""
    return np.array([SEVEN.index(item.labels[0]) for item in items])


def fit(chances: np.ndarray, labels: np.ndarray) -> Fusion:
    """The weights, and the scale, that read most of the items [N, 3, 7] rightly."""
    steps = range(STEPS + 1)
    grid = [(a / STEPS, b / STEPS, 1 - (a + b) / STEPS) for a in steps for b in steps if a + b <= STEPS]
    options = [Fusion(weights, scale) for scale in (plain, logarithms) for weights in grid]
    return max(options, key=lambda option: float((option.read(chances) == labels).mean()))


def asked(reader: Reader, items: Sequence[Item]) -> np.ndarray:
    """What the experts say of a reader's composed items: [N, 3, 7]."""
    alone = {name: record for name, (_, record) in reader.singles().items()}
    return experts(items, heads(reader.data, reader.split), alone)


def fused(reader: Reader, items: Sequence[Item]) -> np.ndarray:
    """Numbers of labels [N] by late fusion, its weights from the validation part."""
    known = replace(reader, split="validation", limit=min(FITTED_ON, reader.limit or FITTED_ON))
    fitted_on = all_three(known, 1000)
    return fit(asked(known, fitted_on), truth(fitted_on)).read(asked(reader, items))
