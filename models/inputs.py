"""What the encoders are given for a clip: the one way from pictures and sound to arrays, for training, verification and
live use. Knows arrays; nothing of networks or prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from models.faces import FaceFinder, FaceMeasures, crop, measure_crop
from models.sound import VoiceMeasures, is_silent, log_mel, measure_voice, windows

FEW = 4  # crops up to which their mirror images are shown beside them
BLURRED = (
    0.42  # sharpness below which a crop is enlarged or out of focus: 96 % of FER2013's pictures at half their size
)
EDGE, EDGE_WIDTH = 2.0, 1.0  # how far the edges of such a crop are raised, and the pixels that count as one


@dataclass(frozen=True)
class Seen:
    """What the image encoder gets: grey face crops uint8 [T, S, S], or whole frames [T, S, S, 3] RGB.

    measures: the faces' mean, nan where none could be measured; faces: the clip's frames that have the face.
    """

    crops: np.ndarray
    measures: FaceMeasures
    faces: tuple[int, ...] = ()


@dataclass(frozen=True)
class Heard:
    """mel float32 [W, 80, F], one row a window; measures of the whole sound."""

    mel: np.ndarray
    measures: VoiceMeasures


def see(finder: FaceFinder, crops: np.ndarray) -> Seen:
    """Face crops with their mean measurements; a few crops are shown in the mirror, too, as training shows a face in
    several views (FER2013's validation part: 700 faces: accuracy .669 without, .680 with), and blurred ones sharpened:
    training knows small pictures, not blurred ones. Measured are the crops as they are."""
    sharp = np.stack([clear(crop) for crop in crops])
    shown = np.concatenate([sharp, sharp[:, :, ::-1]]) if len(crops) <= FEW else sharp
    return Seen(shown, measure_crops(finder, crops))


def clear(crop: np.ndarray) -> np.ndarray:
    """A grey crop uint8 [S, S] as the image encoder gets it: a blurred one sharpened."""
    return sharpened(crop) if sharpness(crop) < BLURRED else crop


def sharpness(crop: np.ndarray) -> float:
    """Spread of a grey picture's Laplacian over its own spread; 0 for one grey."""
    return float(cv2.Laplacian(crop, cv2.CV_32F).std() / max(float(crop.std()), 1.0))


def sharpened(crop: np.ndarray) -> np.ndarray:
    """A grey picture uint8 with its edges raised: an unsharp mask."""
    return cv2.addWeighted(crop, 1 + EDGE, cv2.GaussianBlur(crop, (0, 0), EDGE_WIDTH), -EDGE, 0)


def see_faces(finder: FaceFinder, frames: np.ndarray, size: int) -> Seen | None:
    """The main person's face in frames uint8 [T, H, W, 3] RGB; None where there is none."""
    faces, crops = face_crops(finder, frames, size)
    return replace(see(finder, np.stack(crops)), faces=faces) if faces else None


def see_frames(finder: FaceFinder, frames: np.ndarray, size: int) -> Seen | None:
    """Whole frames uint8 [T, H, W, 3] RGB squeezed to [T, size, size, 3], faces in them measured; None without frames."""
    if not len(frames):
        return None
    faces, crops = face_crops(finder, frames, size)
    squares = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])
    return Seen(squares, measure_crops(finder, crops), faces)


def face_crops(finder: FaceFinder, frames: np.ndarray, size: int) -> tuple[tuple[int, ...], list[np.ndarray]]:
    """Which frames have the main person's face, and its grey crops uint8 [size, size]."""
    found = {i: face for i, face in enumerate(finder.follow(frames)) if face is not None}
    return tuple(found), [crop(frames[i], face, size) for i, face in found.items()]


def measure_crops(finder: FaceFinder, crops: Iterable[np.ndarray]) -> FaceMeasures:
    """The mean measurements of the crops in which the mesh finds a face."""
    return mean_measures([m for m in (measure_crop(finder, crop) for crop in crops) if m is not None])


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
