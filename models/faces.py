"""Faces in frames: found, followed, cropped as the image encoder knows them, and measured.

BlazeFace (short range) and MediaPipe's 468-point face mesh, both Apache-2.0, run by OpenCV's own TFLite reader. Frames are
uint8 [H, W, 3] RGB, boxes in pixels. Knows pictures; nothing of emotions or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ASSETS = Path(__file__).with_name("assets")
INPUT, MESH = 128, 192  # pixels that the two networks see
CERTAIN = 0.75  # a box below this is no face: the faceless control clip has one of .5 and none of .75
OVERLAP = 0.3  # boxes that share more than this are one face
CROP_SCALE = 1.22  # side of a FER2013 picture over BlazeFace's box on it, median over 339 of its training part
CROP_RISE = 0.08  # and how far its middle lies above the box's, in sides
MESH_SCALE = 1.5  # what the mesh wants around the box
MESH_LOGIT = 2.0  # below this the mesh has not found a face in its picture
PART_LOGIT = 10.0  # and below this a box on a part of a frame is none: the faceless control clip has one of -2 and .72
# Points of the mesh (MediaPipe's canonical face model)
MOUTH_TOP, MOUTH_BOTTOM, MOUTH_LEFT, MOUTH_RIGHT = 13, 14, 61, 291
EYES = ((159, 145, 33, 133), (386, 374, 263, 362))  # upper lid, lower lid, outer corner, inner corner
BROWS, BROWS_INNER = (105, 334), (107, 336)
CHEEKS = (50, 280, 205, 425)
DARK = 0.45  # of the cheeks' light: what is darker between the lips is the inside of the mouth


@dataclass(frozen=True)
class Face:
    """One face: box (x0, y0, x1, y1), score 0..1, key points [6, 2]: right eye, left eye, nose, mouth, right ear, left ear."""

    box: tuple[float, float, float, float]
    score: float
    keypoints: np.ndarray

    @property
    def size(self) -> float:
        """Side of the box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class FaceMeasures:
    """What can be measured on a face; lengths over the distance of the outer corners of the eyes."""

    mouth_open: float  # distance of the lips, plus the height of the dark between them
    smile: float  # how far the corners of the mouth stand above its middle
    brow_raise: float  # brows over upper lids
    brow_furrow: float  # distance of the inner ends of the brows
    eye_open: float
    roll_deg: float


@lru_cache(1)
def anchors() -> np.ndarray:
    """[896, 2] centres of the short-range model's anchors: stride 8 twice a cell, stride 16 six times, in 0..1."""
    rows = []
    for cells, repeats in ((16, 2), (8, 6)):
        middle = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(middle, middle), -1).reshape(-1, 2)
        rows.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(rows)


class FaceFinder:
    """The two networks; not to be shared between threads."""

    def __init__(self, assets: Path = ASSETS) -> None:
        self.detector = load(assets / "face_detection_short_range.tflite")
        self.mesh = load(assets / "face_landmark.tflite")

    def detect(self, frame: np.ndarray) -> list[Face]:
        """Faces of a frame, most certain first."""
        height, width = frame.shape[:2]
        side = max(height, width)
        shrink = INPUT / side
        small = cv2.resize(
            frame, (max(1, round(width * shrink)), max(1, round(height * shrink))), interpolation=cv2.INTER_AREA
        )
        square = np.zeros((INPUT, INPUT, 3), np.float32)
        square[: small.shape[0], : small.shape[1]] = (small.astype(np.float32) - 127.5) / 127.5
        self.detector.setInput(cv2.dnn.blobFromImage(square))
        places, logits = self.detector.forward(["regressors", "classificators"])
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -50, 50)))
        rows = np.flatnonzero(scores >= CERTAIN)
        faces = [face_of(places.reshape(-1, 16)[i], anchors()[i], float(scores[i]), side) for i in rows]
        return suppress(faces)

    def search(self, frame: np.ndarray) -> list[Face]:
        """Faces too small for a look at the whole frame, which shows those from a seventh of its longer side on: the ones of
        nine overlapping parts, each half as long and half as high, where the mesh agrees."""
        height, width = frame.shape[:2]
        high, wide = -(-height // 2), -(-width // 2)
        found: list[Face] = []
        for top in {0, (height - high) // 2, height - high}:
            for left in {0, (width - wide) // 2, width - wide}:
                part = frame[top : top + high, left : left + wide]
                sure = [face for face in self.detect(part) if self.landmarks(part, face)[1] >= PART_LOGIT]
                found += [moved(face, left, top) for face in sure]
        return suppress(found)

    def landmarks(self, frame: np.ndarray, face: Face) -> tuple[np.ndarray, float]:
        """[468, 3] points in the frame's pixels, and the mesh's logit that a face is there."""
        right, left = face.keypoints[0], face.keypoints[1]
        angle = float(np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))
        turn = square_transform(face.centre, face.size * MESH_SCALE, angle, MESH)
        points, logit = self.points(cv2.warpAffine(frame, turn, (MESH, MESH), borderMode=cv2.BORDER_REPLICATE))
        back = cv2.invertAffineTransform(turn)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        return np.concatenate([flat, points[:, 2:] * (face.size * MESH_SCALE / MESH)], 1), logit

    def points(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """The mesh on uint8 [192, 192, 3]: points in its pixels, logit."""
        self.mesh.setInput(cv2.dnn.blobFromImage(picture.astype(np.float32) / 255))
        logit, points = self.mesh.forward(["conv2d_30", "conv2d_20"])
        return points.reshape(-1, 3), float(logit.reshape(-1)[0])

    def follow(self, frames: np.ndarray) -> list[Face | None]:
        """The main person's face in each frame [T, H, W, 3], None where it is not seen. Small faces are searched for where no
        frame shows a larger one.

        Faces of following frames belong together when they overlap or lie within a face's width; the longest, largest
        and most central chain is the main person.
        """
        found = [self.detect(frame) for frame in frames]
        if not any(found):
            found = [self.search(frame) for frame in frames]
        chains: list[dict[int, Face]] = []
        for index, faces in enumerate(found):
            for face in faces:
                chain = next((c for c in chains if index not in c and same_person(c[max(c)], face)), None)
                if chain is None:
                    chains.append({index: face})
                else:
                    chain[index] = face
        if not chains:
            return [None] * len(frames)
        best = max(chains, key=lambda chain: prominence(chain, frames.shape[1:3]))
        return [best.get(index) for index in range(len(frames))]


def load(path: Path) -> Any:
    """A TFLite file as an OpenCV network; the classic engine, as the newer one refuses two outputs."""
    return cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC)


def face_of(place: np.ndarray, anchor: np.ndarray, score: float, side: int) -> Face:
    """A face from an anchor's regression (x, y, w, h, 6 points in network pixels), in the frame's pixels."""
    centre = (anchor + place[:2] / INPUT) * side
    half = place[2:4] / INPUT * side / 2
    points = (anchor + place[4:].reshape(6, 2) / INPUT) * side
    box = (centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1])
    return Face((float(box[0]), float(box[1]), float(box[2]), float(box[3])), score, points)


def moved(face: Face, right: int, down: int) -> Face:
    """A face of a part of a frame, in the frame's pixels."""
    x0, y0, x1, y1 = face.box
    return replace(
        face, box=(x0 + right, y0 + down, x1 + right, y1 + down), keypoints=face.keypoints + np.array([right, down])
    )


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes."""
    wide = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    high = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    shared = max(0.0, wide) * max(0.0, high)
    areas = sum((f.box[2] - f.box[0]) * (f.box[3] - f.box[1]) for f in (a, b))
    return shared / max(areas - shared, 1e-9)


def suppress(faces: Sequence[Face]) -> list[Face]:
    """One face of those that overlap, the most certain."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(overlap(face, other) < OVERLAP for other in kept):
            kept.append(face)
    return kept


def same_person(before: Face, now: Face) -> bool:
    """Whether a face of a later frame continues an earlier one."""
    far = float(np.hypot(*np.subtract(before.centre, now.centre)))
    alike = 0.5 < before.size / max(now.size, 1e-9) < 2.0
    return alike and (overlap(before, now) > OVERLAP or far < 0.6 * max(before.size, now.size))


def prominence(chain: dict[int, Face], shape: tuple[int, int]) -> float:
    """How much a chain is the main person: frames times size, less when it is off the middle."""
    middle = np.array([shape[1] / 2, shape[0] / 2])
    off = np.mean([np.hypot(*(np.array(f.centre) - middle)) for f in chain.values()]) / max(shape)
    return float(sum(f.size for f in chain.values()) * (1 - off))


def square_transform(centre: tuple[float, float], side: float, angle: float, size: int) -> np.ndarray:
    """[2, 3] affine map from a frame to a `size` x `size` picture of the turned square around `centre`."""
    turn = np.asarray(cv2.getRotationMatrix2D(centre, angle, size / max(side, 1e-6)), np.float64)
    turn[:, 2] += size / 2 - np.array(centre)
    return turn


def crop(frame: np.ndarray, face: Face, size: int) -> np.ndarray:
    """Grey uint8 [size, size], framed as FER2013 frames its faces; what lies outside the frame repeats its edge."""
    side = face.size * CROP_SCALE
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    enough = max(size, min(4 * size, round(side)))
    middle = (face.centre[0], face.centre[1] - CROP_RISE * side)
    turn = square_transform(middle, side, 0.0, enough)
    square = cv2.warpAffine(grey, turn, (enough, enough), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def measure_face(points: np.ndarray, grey: np.ndarray) -> FaceMeasures:
    """Measurements of the mesh's points [468, 3] on the picture that they lie in, uint8 [H, W]."""
    across = points[EYES[1][2], :2] - points[EYES[0][2], :2]
    unit = max(float(np.hypot(*across)), 1e-6)
    along, down = across / unit, np.array([-across[1], across[0]]) / unit

    def low(index: int) -> float:
        return float(points[index, :2] @ down) / unit

    mouth = (low(MOUTH_TOP) + low(MOUTH_BOTTOM)) / 2
    return FaceMeasures(
        mouth_open=low(MOUTH_BOTTOM) - low(MOUTH_TOP) + dark_gap(points, grey, along, down, unit),
        smile=mouth - (low(MOUTH_LEFT) + low(MOUTH_RIGHT)) / 2,
        brow_raise=sum(low(eye[0]) - low(brow) for eye, brow in zip(EYES, BROWS, strict=True)) / 2,
        brow_furrow=float((points[BROWS_INNER[1], :2] - points[BROWS_INNER[0], :2]) @ along) / unit,
        eye_open=sum(low(eye[1]) - low(eye[0]) for eye in EYES) / 2,
        roll_deg=float(np.degrees(np.arctan2(across[1], across[0]))),
    )


def dark_gap(points: np.ndarray, grey: np.ndarray, along: np.ndarray, down: np.ndarray, unit: float) -> float:
    """Height of what is dark below the line of the mouth's corners, over `unit`: the mesh alone draws open lips too closed.

    A narrow strip from a little above that line down to the chin is compared with the cheeks.
    """
    height, step = np.linspace(-0.1, 0.45, 56, retstep=True)
    middle = (points[MOUTH_LEFT, :2] + points[MOUTH_RIGHT, :2]) / 2
    across = np.linspace(-0.06, 0.06, 5)
    strip = middle + unit * (height[:, None, None] * down + across[None, :, None] * along)
    cheeks = light(cv2.blur(grey, (9, 9)), points[CHEEKS, None, :2])
    return float(step * np.count_nonzero(light(grey, strip).mean(1) < DARK * np.median(cheeks)))


def light(grey: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Brightness float32 [..., ...] at points [..., ..., 2], between pixels, the edge repeated outside."""
    at = places.astype(np.float32)
    return cv2.remap(grey, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def measure_crop(finder: FaceFinder, grey: np.ndarray) -> FaceMeasures | None:
    """Measurements of a face crop uint8 [S, S] as `crop` makes it; None when the mesh finds no face there.

    Training pictures and live crops go through this one way, so that a measurement means the same.
    """
    margin = round(grey.shape[0] * (MESH_SCALE / CROP_SCALE - 1) / 2)
    around = cv2.copyMakeBorder(grey, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    picture = cv2.resize(around, (MESH, MESH), interpolation=cv2.INTER_LINEAR)
    points, logit = finder.points(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB))
    return measure_face(points, picture) if logit > MESH_LOGIT else None
