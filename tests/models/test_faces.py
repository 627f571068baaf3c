"""Faces: found where they are and nowhere else, followed as one person, cropped and measured. The faces are drawn."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.faces import (
    CROP_RISE,
    CROP_SCALE,
    Face,
    FaceFinder,
    crop,
    measure_crop,
    measure_face,
    same_person,
    suppress,
)
from models.media import read_clip

SPEAKING = Path(__file__).parents[2] / "examples/grid.mp4"
SKIN, HAIR, LIPS, DARK = (225, 180, 150), (60, 40, 30), (165, 70, 70), (40, 15, 15)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def room(width: int = 320, height: int = 240) -> np.ndarray:
    """An empty frame."""
    return np.full((height, width, 3), (90, 110, 130), np.uint8)


def draw(frame: np.ndarray, x: float, y: float, size: float, mouth: float = 0.0, brows: float = 0.0) -> np.ndarray:
    """A face with its middle at (x, y), about 2 `size` wide; `mouth` open by and `brows` raised by a share of `size`."""

    def at(dx: float, dy: float) -> tuple[int, int]:
        return round(x + dx * size), round(y + dy * size)

    def oval(dx: float, dy: float, w: float, h: float, colour: tuple[int, int, int], line: float = 0.0) -> None:
        thickness = max(1, round(line * size)) if line else -1
        axes = (round(w * size), max(1, round(h * size)))
        first, last = (0, 360) if not line else (180, 360) if dy < 0 else (0, 180)  # a line is an upper or a lower half
        cv2.ellipse(frame, at(dx, dy), axes, 0, first, last, colour, thickness, cv2.LINE_AA)

    oval(0, -0.15, 0.95, 1.25, HAIR)
    oval(0, 0.05, 0.78, 1.05, SKIN)
    for side in (-0.33, 0.33):
        oval(side, -0.15, 0.16, 0.08, (250, 250, 250))
        oval(side, -0.15, 0.07, 0.07, DARK)
        oval(side, -0.30 - brows, 0.2, 0.05, HAIR, line=0.06)
    oval(0, 0.22, 0.13, 0.07, (180, 125, 105), line=0.05)
    oval(0, 0.52, 0.28, 0.05 + mouth, LIPS)
    if mouth:
        oval(0, 0.52, 0.22, mouth, DARK)
    return cv2.GaussianBlur(frame, (0, 0), max(0.6, size / 40))


@pytest.mark.parametrize(("x", "y", "size"), [(160, 120, 60), (90, 130, 45), (230, 120, 70), (160, 120, 90)])
def test_a_face_is_found_where_it_is(finder: FaceFinder, x: float, y: float, size: float) -> None:
    """One box, its middle within a quarter of the face, its eyes on the right sides."""
    faces = finder.detect(draw(room(), x, y, size))
    assert len(faces) == 1
    assert np.hypot(faces[0].centre[0] - x, faces[0].centre[1] - y) < 0.5 * size
    assert 1.2 * size < faces[0].size < 2.2 * size
    right, left = faces[0].keypoints[:2]
    assert right[0] < x < left[0]


@pytest.mark.parametrize("share", [0.08, 0.1])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (250, 150), (430, 200)])
def test_a_small_face_is_searched_for_and_found_where_it_is(finder: FaceFinder, x: int, y: int, share: float) -> None:
    """A speaker whose face takes a tenth of a wide picture: no look at all of it shows him."""
    speaker = read_clip(SPEAKING, frames=1).frames[0]
    (face,) = finder.detect(speaker)
    scale = share * 640 / face.size
    small = cv2.resize(speaker, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = room(640, 360)
    frame[y : y + small.shape[0], x : x + small.shape[1]] = small
    assert finder.detect(frame) == []
    middle = np.array(face.centre) * scale + (x, y)
    for found in finder.follow(np.stack([frame, frame])):
        assert found is not None and np.hypot(*(found.centre - middle)) < 0.3 * found.size


@pytest.mark.parametrize("shape", [(240, 320), (320, 240), (40, 640), (1, 1), (1, 300), (2160, 3840)])
def test_no_face_is_no_face(finder: FaceFinder, shape: tuple[int, int]) -> None:
    """Black, grey and noise, of any shape from one pixel to 8 million."""
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    for frame in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 128, np.uint8), noise):
        assert finder.detect(frame) == finder.search(frame) == []


def test_a_portrait_frame_keeps_its_proportions(finder: FaceFinder) -> None:
    """The detector's square is padded, not stretched: the box of an upright frame is the box of a wide one, moved."""
    wide = finder.detect(draw(room(320, 240), 160, 120, 60))[0]
    tall = finder.detect(draw(room(240, 320), 120, 160, 60))[0]
    assert tall.size == pytest.approx(wide.size, rel=0.08)
    assert (tall.centre[0] + 40, tall.centre[1] - 40) == pytest.approx(wide.centre, abs=6)


def test_the_main_person_is_followed_and_not_mixed_with_another(finder: FaceFinder) -> None:
    """A large face walks, a small one stays: every frame gives the large one; where it is hidden, None."""
    frames = np.stack([draw(draw(room(), 40, 60, 24), 150 + 8 * t, 130, 55) for t in range(6)])
    frames[3] = draw(room(), 40, 60, 24)
    followed = finder.follow(frames)
    assert followed[3] is None
    for t, face in enumerate(followed):
        if t != 3:
            assert face is not None
            assert face.centre[0] == pytest.approx(150 + 8 * t, abs=20)


def test_nobody_and_nothing_can_be_followed(finder: FaceFinder) -> None:
    assert finder.follow(np.stack([room()] * 3)) == [None] * 3
    assert finder.follow(np.zeros((0, 10, 10, 3), np.uint8)) == []


def test_a_crowd_gives_every_face_once(finder: FaceFinder) -> None:
    """Two faces side by side are two boxes, however many anchors fire on each."""
    frame = draw(draw(room(400, 240), 110, 120, 55), 290, 120, 55)
    assert sorted(round(face.centre[0] / 100) for face in finder.detect(frame)) == [1, 3]


def box(x: float, y: float, side: float, score: float = 0.9) -> Face:
    return Face((x, y, x + side, y + side), score, np.zeros((6, 2)))


def test_of_overlapping_boxes_the_most_certain_stays() -> None:
    kept = suppress([box(0, 0, 100, 0.8), box(5, 5, 100, 0.95), box(200, 0, 100, 0.76)])
    assert [face.score for face in kept] == [0.95, 0.76]


def test_another_size_or_place_is_another_person() -> None:
    assert same_person(box(0, 0, 100), box(20, 10, 110))
    assert not same_person(box(0, 0, 100), box(300, 0, 100))
    assert not same_person(box(0, 0, 100), box(0, 0, 30))


@pytest.mark.parametrize("size", [48, 128])
def test_a_crop_is_framed_around_the_box(size: int) -> None:
    """A white square where the crop should be looking fills it to the edge: scale and rise are those of the constants."""
    face, frame = box(100, 100, 80), np.zeros((300, 300, 3), np.uint8)
    side = 80 * CROP_SCALE
    x, y = 140 - side / 2, 140 - CROP_RISE * side - side / 2
    frame[round(y) : round(y + side), round(x) : round(x + side)] = 255
    cut = crop(frame, face, size)
    assert (cut.shape, cut.dtype) == ((size, size), np.uint8)
    assert cut.mean() > 245
    assert crop(frame, box(160, 100, 80), size).mean() < 170


def test_a_face_at_the_edge_is_cropped_whole(finder: FaceFinder) -> None:
    """What lies outside the frame repeats its edge: no black bars that no training picture has."""
    frame = np.full((100, 100, 3), 200, np.uint8)
    assert crop(frame, box(60, -20, 80), 48).min() == 200


def test_the_crop_of_a_found_face_shows_the_face(finder: FaceFinder) -> None:
    """The same face, large or small, near or far from the middle, gives nearly the same crop."""
    crops = []
    for x, y, size in ((160, 120, 60), (100, 130, 45), (180, 125, 80)):
        frame = draw(room(), x, y, size)
        crops.append(crop(frame, finder.detect(frame)[0], 48).astype(float).ravel())
    assert np.corrcoef(crops)[0, 1:].min() > 0.8


def test_the_mesh_lies_on_the_face(finder: FaceFinder) -> None:
    """468 points in the frame's pixels: within the head, nose in its middle, mouth below the eyes."""
    frame = draw(room(), 180, 110, 60)
    points, logit = finder.landmarks(frame, finder.detect(frame)[0])
    assert points.shape == (468, 3)
    assert logit > 20
    assert np.abs(points[1, :2] - (180, 120)).max() < 20
    assert points[13, 1] > points[159, 1]
    assert points[33, 0] < points[263, 0]


def test_an_opening_mouth_measures_as_one(finder: FaceFinder) -> None:
    """In the frame and in the 48-pixel crop, step by step."""
    whole, small = [], []
    for mouth in (0.0, 0.1, 0.2):
        frame = draw(room(), 160, 120, 60, mouth)
        face = finder.detect(frame)[0]
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        whole.append(measure_face(finder.landmarks(frame, face)[0], grey).mouth_open)
        found = measure_crop(finder, crop(frame, face, 48))
        assert found is not None
        small.append(found.mouth_open)
    assert whole == sorted(whole)
    assert small == sorted(small)
    assert whole[2] - whole[0] > 0.05 < small[2] - small[0]


def test_raised_brows_measure_higher(finder: FaceFinder) -> None:
    frames = [draw(room(), 160, 120, 60, brows=brows) for brows in (0.0, 0.12)]
    low, high = (measure_crop(finder, crop(frame, finder.detect(frame)[0], 48)) for frame in frames)
    assert low is not None
    assert high is not None
    assert high.brow_raise > low.brow_raise + 0.01


def test_measurements_do_not_depend_on_size_place_or_tilt() -> None:
    """Ratios over the distance of the eyes, in the face's own axes; only roll changes."""
    points = np.random.default_rng(0).normal(0, 1, (468, 3))
    points[33, :2], points[263, :2] = (-1, 0), (1, 0)
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.concatenate([7 * points[:, :2] @ turn.T + (30, -4), points[:, 2:]], 1)
    plain = np.full((64, 64), 128, np.uint8)
    one, two = measure_face(points, plain), measure_face(moved, plain)
    np.testing.assert_allclose(astuple(two)[:5], astuple(one)[:5], atol=1e-9)
    assert two.roll_deg == pytest.approx(one.roll_deg + 20)


def test_an_open_mouth_is_told_by_its_dark_even_where_the_mesh_draws_closed_lips() -> None:
    """The same points; a dark patch below the mouth's line counts by its height, a dark face does not."""
    points = np.zeros((468, 3))
    points[[33, 263, 61, 291], :2] = (30, 40), (90, 40), (48, 80), (72, 80)
    points[[13, 14], :2] = (60, 79), (60, 81)
    points[[50, 280, 205, 425], :2] = (35, 65), (85, 65), (38, 70), (82, 70)
    grey = np.full((128, 128), 150, np.uint8)
    closed = measure_face(points, grey).mouth_open
    grey[82:94, 50:70] = 20
    assert measure_face(points, grey).mouth_open - closed == pytest.approx(12 / 60, abs=0.02)
    assert measure_face(points, np.full_like(grey, 20)).mouth_open == closed


def test_what_is_no_face_is_not_measured(finder: FaceFinder) -> None:
    """A crop without a face gives None rather than numbers."""
    for grey in (np.zeros((48, 48), np.uint8), np.full((48, 48), 90, np.uint8)):
        assert measure_crop(finder, grey) is None


@pytest.mark.needs_data
def test_real_happy_faces_smile_most(affect_data: Path, finder: FaceFinder) -> None:
    """FER2013, 80 training faces a class: happy smiles more than neutral, surprise has the higher brows."""
    import pyarrow.parquet as pq

    whole = pq.read_table(affect_data / "fer2013.parquet", filters=[("usage", "==", "Training")])
    table = whole.take(np.arange(0, len(whole), 23)).to_pydict()  # they come sorted by emotion
    found: dict[str, list[tuple[float, float]]] = {"happy": [], "neutral": [], "surprise": []}
    for image, emotion in zip(table["image"], table["emotion"], strict=True):
        if emotion in found and len(found[emotion]) < 80:
            data = image["bytes"] if isinstance(image, dict) else image
            measured = measure_crop(finder, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
            found[emotion] += [(measured.smile, measured.brow_raise)] if measured else []
    smile, brows = ({name: np.mean([row[i] for row in rows]) for name, rows in found.items()} for i in (0, 1))
    assert smile["happy"] > smile["neutral"] + 0.015
    assert brows["surprise"] > brows["neutral"] + 0.008


@pytest.mark.needs_data
def test_real_clips_have_one_face_in_every_frame(affect_data: Path, finder: FaceFinder) -> None:
    """And the control clip has none."""
    for name in ("single_face.mp4", "WolfgangLanger_Pexels.mp4"):
        assert None not in finder.follow(read_clip(affect_data / "video" / name, audio=False).frames)
    nobody = read_clip(affect_data / "video" / "no_face.mp4", audio=False).frames
    assert finder.follow(nobody) == [None] * len(nobody)
