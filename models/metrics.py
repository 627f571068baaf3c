"""Figures of merit, each a function of counts that are summed over items, so that an interval is a matter of weights.

N items, K counts. A figure is `statistic(counts.sum(0))` with float counts [N, K]; its 95 % interval comes from drawing the
source clips anew (the bootstrap). Definitions as in scikit-learn (recall and F1 of a class never met: 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], float]
ROUNDS = 1000
BINS = 15


@dataclass(frozen=True)
class Counts:
    """What a figure is made of: counts [N, K], and what it does with their sum [K].

    Clips can't be drawn anew where figures count different things: drawn twice a clip brings none (`drawable` is False).
    """

    rows: np.ndarray
    statistic: Statistic
    drawable: bool = True

    @property
    def value(self) -> float:
        """The figure over all items."""
        return self.statistic(self.rows.sum(0))

    def interval(self, clips: Sequence[str] | None = None) -> tuple[float, float] | None:
        """95 % bootstrap interval over source clips (`clips` names each item's; without, each item is its own)."""
        if not self.drawable:
            return None
        summed = self.rows if clips is None else by_clip(self.rows, clips)
        if not len(summed):
            return 0.0, 0.0
        weights = np.random.default_rng(0).multinomial(len(summed), np.full(len(summed), 1 / len(summed)), ROUNDS)
        low, high = np.percentile([self.statistic(row) for row in weights @ summed], (2.5, 97.5))
        return float(low), float(high)


def by_clip(rows: np.ndarray, clips: Sequence[str]) -> np.ndarray:
    """Counts [N, K] summed over the items of each source clip: [clips, K]."""
    names, index = np.unique(np.asarray(clips), return_inverse=True)
    summed = np.zeros((len(names), rows.shape[1]))
    np.add.at(summed, index, rows)
    return summed


def ratio(hits: Sequence[float], of: Sequence[float]) -> Counts:
    """Sum of hits over sum of chances."""
    return Counts(np.stack([np.asarray(hits, float), np.asarray(of, float)], 1).reshape(-1, 2), share)


def share(summed: np.ndarray) -> float:
    """[hits, chances] -> hits per chance; 0 without a chance."""
    return float(summed[0] / summed[1]) if summed[1] else 0.0


def confusion(truth: Sequence[str], read: Sequence[str]) -> np.ndarray:
    """One row an item, [N, C * C], with a 1 where its true and its read label cross; C labels met, in alphabetical order."""
    labels = sorted({*truth, *read})
    places = [labels.index(t) * len(labels) + labels.index(r) for t, r in zip(truth, read, strict=True)]
    return np.eye(len(labels) ** 2)[places]


def square(summed: np.ndarray) -> np.ndarray:
    """[C * C] -> [true, read]."""
    side = round(len(summed) ** 0.5)
    return summed.reshape(side, side)


def accuracy(summed: np.ndarray) -> float:
    """Share read rightly, from a summed confusion."""
    return float(np.trace(square(summed)) / max(summed.sum(), 1e-9))


def uar(summed: np.ndarray) -> float:
    """Unweighted average recall: the mean over the true classes of the share read rightly."""
    table = square(summed)
    true = table.sum(1)
    return float((table.diagonal()[true > 0] / true[true > 0]).mean()) if true.any() else 0.0


def weighted_f1(summed: np.ndarray) -> float:
    """F1 of each true class, weighted by how often it is true."""
    table = square(summed)
    true, said = table.sum(1), table.sum(0)
    f1 = 2 * table.diagonal() / np.maximum(true + said, 1e-9)
    return float((f1 * true).sum() / max(true.sum(), 1e-9))


def calibration(sure: Sequence[float], hits: Sequence[bool]) -> Counts:
    """Expected calibration error in BINS bins (arXiv 1706.04599), less what would be seen at these very certainties and this n
    if every one of them were right (its mean over ROUNDS simulations)."""
    chances = np.asarray(sure, float)
    place = binned(sure)
    rows = np.concatenate([place * chances[:, None], place * np.asarray(hits, float)[:, None]], axis=1)
    ideal = np.random.default_rng(0).random((ROUNDS, len(chances))) < chances
    chance = float(np.mean([calibration_error(np.append(place.T @ chances, place.T @ hit), len(hit)) for hit in ideal]))
    return Counts(rows, lambda summed: calibration_error(summed, len(chances)) - chance)


def binned(sure: Sequence[float]) -> np.ndarray:
    """One row a reading, [N, BINS], with a 1 in the bin of its certainty."""
    return np.eye(BINS)[np.minimum((np.asarray(sure, float) * BINS).astype(int), BINS - 1)]


def calibration_error(summed: np.ndarray, n: int) -> float:
    """[certainties by bin, hits by bin] of n readings -> the mean distance between the two."""
    return float(np.abs(summed[:BINS] - summed[BINS:]).sum() / max(n, 1))


METRICS: dict[str, Statistic] = {"accuracy": accuracy, "UAR": uar, "weighted F1": weighted_f1}
