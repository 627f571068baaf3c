"""Figures of merit from true and read labels. Definitions as in scikit-learn (recall and F1 of a class never met: 0)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Metric = Callable[[Sequence[str], Sequence[str]], float]


def counts(truth: Sequence[str], read: Sequence[str], label: str) -> tuple[int, int, int]:
    """How often a label was read rightly, was true, was read."""
    pairs = list(zip(truth, read, strict=True))
    return sum(t == r == label for t, r in pairs), sum(t == label for t, _ in pairs), sum(r == label for _, r in pairs)


def accuracy(truth: Sequence[str], read: Sequence[str]) -> float:
    """Share read rightly."""
    return float(np.mean([t == r for t, r in zip(truth, read, strict=True)])) if truth else 0.0


def uar(truth: Sequence[str], read: Sequence[str]) -> float:
    """Unweighted average recall: the mean over the true classes of the share read rightly."""
    recalls = [hit / true for hit, true, _ in (counts(truth, read, label) for label in sorted(set(truth)))]
    return float(np.mean(recalls)) if recalls else 0.0


def weighted_f1(truth: Sequence[str], read: Sequence[str]) -> float:
    """F1 of each true class, weighted by how often it is true."""
    total = 0.0
    for label in set(truth):
        hit, true, said = counts(truth, read, label)
        total += true * (2 * hit / (true + said) if hit else 0.0)
    return total / len(truth) if truth else 0.0


METRICS: dict[str, Metric] = {"accuracy": accuracy, "UAR": uar, "weighted F1": weighted_f1}
