"""What the encoders are given for a clip: the one way from face crops and sound to arrays, for training, verification and
live use. Knows arrays; nothing of networks or prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from models.faces import FaceFinder, FaceMeasures, measure_crop
from models.sound import VoiceMeasures, is_silent, log_mel, measure_voice, windows

FEW = 4  # crops up to which their mirror images are shown beside them


@dataclass(frozen=True)
class Seen:
    """crops uint8 [T, S, S] grey; measures: the frames' mean, nan where no frame could be measured."""

    crops: np.ndarray
    measures: FaceMeasures


@dataclass(frozen=True)
class Heard:
    """mel float32 [W, 80, F], one row a window; measures of the whole sound."""

    mel: np.ndarray
    measures: VoiceMeasures


def see(finder: FaceFinder, crops: np.ndarray) -> Seen:
    """Face crops with their mean measurements; a few crops are shown in the mirror, too, as training shows a face in
    several views (FER2013's validation part: 700 faces: accuracy .669 without, .680 with)."""
    found = [m for m in (measure_crop(finder, crop) for crop in crops) if m is not None]
    shown = np.concatenate([crops, crops[:, :, ::-1]]) if len(crops) <= FEW else crops
    return Seen(shown, mean_measures(found))


def mean_measures(found: Sequence[FaceMeasures]) -> FaceMeasures:
    """The mean of some measurements; all nan when there is none."""
    if not found:
        return FaceMeasures(*[float("nan")] * len(fields(FaceMeasures)))
    return FaceMeasures(*(float(v) for v in np.mean([astuple(m) for m in found], axis=0)))


def hear(wave: np.ndarray | None, window_seconds: float, most: int) -> Heard | None:
    """Sound cut in at most `most` windows, spread over it when there are more; None when there is nothing to hear."""
    if wave is None or is_silent(wave):
        return None
    cut = windows(wave, window_seconds)
    if len(cut) > most:
        cut = cut[np.linspace(0, len(cut) - 1, most).round().astype(int)]
    mel = np.stack([log_mel(window, round(window_seconds * 100)) for window in cut])
    return Heard(mel, measure_voice(wave))


def numbers(measures: Any) -> np.ndarray:
    """A measures dataclass as float32 [M]."""
    return np.array(astuple(measures), np.float32)
