"""The encoders are shown what training showed them: blurred faces sharpened, clear ones as they are, a few in the mirror."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.faces import FaceFinder
from models.inputs import BLURRED, FEW, face_crops, measure_crops, see, sharpness
from models.media import read_clip

SPEAKING = Path(__file__).parents[2] / "examples/grid.mp4"


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def clear(finder: FaceFinder) -> np.ndarray:
    """A speaker's face, grey: [1, 48, 48]."""
    _, crops = face_crops(finder, read_clip(SPEAKING, frames=1).frames, 48)
    return np.stack(crops)


@pytest.fixture(scope="module")
def blurred(clear: np.ndarray) -> np.ndarray:
    """The same, out of focus."""
    return np.stack([cv2.GaussianBlur(crop, (0, 0), 1) for crop in clear])


def test_a_clear_face_is_shown_as_it_is_and_in_the_mirror(finder: FaceFinder, clear: np.ndarray) -> None:
    assert all(sharpness(crop) > BLURRED for crop in clear)
    assert np.array_equal(see(finder, clear).crops, np.concatenate([clear, clear[:, :, ::-1]]))


def test_a_blurred_face_is_shown_sharper_and_measured_as_it_is(finder: FaceFinder, blurred: np.ndarray) -> None:
    assert all(sharpness(crop) < BLURRED for crop in blurred)
    seen = see(finder, blurred)
    assert seen.crops.dtype == np.uint8 and seen.crops.shape == (2 * len(blurred), 48, 48)
    assert sharpness(seen.crops[0]) > 1.2 * sharpness(blurred[0])
    assert seen.measures == measure_crops(finder, blurred)


def test_sharpness_is_a_matter_of_edges_not_of_light(clear: np.ndarray, blurred: np.ndarray) -> None:
    dim = (clear[0] * 0.5).astype(np.uint8)
    assert sharpness(dim) == pytest.approx(sharpness(clear[0]), rel=0.1)
    assert sharpness(blurred[0]) < sharpness(clear[0]) / 1.5
    assert sharpness(np.full((48, 48), 90, np.uint8)) == 0


def test_many_faces_are_not_mirrored(finder: FaceFinder, clear: np.ndarray) -> None:
    many = np.repeat(clear, FEW + 1, axis=0)
    assert np.array_equal(see(finder, many).crops, many)
