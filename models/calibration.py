"""Calibration of label scores: how certain a reading is of its labels, and from where on it names a second one.

Knows numbers; nothing of networks, files or clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

HEATS = np.geomspace(0.25, 10.0, 400)  # temperatures that are tried
SECOND = (0.02, 0.5)  # lowest and highest chance from which on a second label is named
# share of agreeing inputs that may get a second label, by how many they are: in half of the pairs one is misread when alone
MISREAD = {2: 0.25, 3: 0.07}


@dataclass(frozen=True)
class Calibration:
    """Of one set of inputs: scores of labels are divided by a temperature; from the probability `second_from` of a second
    label on, each sense is asked alone."""

    temperature: float = 1.0
    second_from: float = 0.5

    @classmethod
    def of(cls, manifest: Mapping[str, Any], kind: str) -> Calibration:
        """What a bundle's manifest says of a set of inputs, like `visual+audio`; of one that it does not name, nothing."""
        return cls(**{name: float(manifest[key][kind]) for name, key in KEYS.items() if kind in manifest[key]})


KEYS = {"temperature": "temperatures", "second_from": "second_from"}
"""A calibration's fields -> the manifest's keys, each with values by set of inputs."""


def manifest(found: Mapping[str, Calibration]) -> dict[str, dict[str, float]]:
    """Calibrations by set of inputs as a manifest's keys; single inputs never name a second label."""
    several = {kind: one.second_from for kind, one in found.items() if "+" in kind}
    return {"temperatures": {kind: one.temperature for kind, one in found.items()}, "second_from": several}


def temperature(scores: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that makes true labels [N] likeliest for scores [N, K] (Guo et al. 2017, arXiv 1706.04599)."""
    chances = [softmax(scores / heat)[np.arange(len(truth)), truth] for heat in HEATS]
    return float(HEATS[np.argmax([np.log(each + 1e-12).sum() for each in chances])])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def second_from(chances: np.ndarray, differ: np.ndarray, kind: str) -> float:
    """From which probability of a second label on each sense of a set of inputs, like `visual+audio`, is asked alone: the
    lowest that gives no larger share of agreeing inputs one than MISREAD.

    `chances` [N] are those of inputs that agree, `differ` [N] whether their senses alone do not.
    """
    return float(np.quantile(np.where(differ, chances, 0.0), 1 - MISREAD[kind.count("+") + 1]).clip(*SECOND))
