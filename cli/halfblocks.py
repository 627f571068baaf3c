"""A picture as rows of terminal cells: two pixels a cell, one above the other, in the colours that there are.

Knows pixels and escape codes; nothing of cameras, of where on the screen the rows go, or of faces but a box.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Literal, TypeVar

import cv2
import numpy as np

Depth = Literal["truecolor", "256", "16", "none"]
Box = tuple[float, float, float, float]
SPREAD = 96  # of 255: so far pixels are varied where there are 16 colours
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 0.47
Number = TypeVar("Number", int, np.ndarray)

HALF = "▀"
RAMP = np.array(list(" .:-=+*#%@"))  # from dark to light, on a dark screen
RESET = "\x1b[0m"
BOX_COLOUR, WHITE = (0, 255, 0), (255, 255, 255)
SAMPLES = 4  # pixels of the camera that are looked at for one that is shown, each way
STEADY = 6  # of 255: what a sensor's noise changes a pixel by is no change, and is not sent again
GREY = np.array([0.299, 0.587, 0.114], np.float32)
CUBE = np.array([0, 95, 135, 175, 215, 255])  # levels of the 6x6x6 colours, from number 16 on
GREYS = np.arange(8, 248, 10)  # the greys, from number 232 on
SYSTEM = np.array(
    [
        (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
        (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
    ]
)  # fmt: skip
"""What xterm shows for the 16 system colours."""


def fit(height: int, width: int, columns: int, rows: int) -> tuple[int, int]:
    """The most (columns, rows) of those given that keep the aspect of a picture of so many pixels; (0, 0) where none do."""
    if min(height, width, columns, rows) <= 0:
        return 0, 0
    scale = min(columns / width, 2 * rows / height)
    return min(columns, max(1, round(width * scale))), min(rows, max(1, round(height * scale / 2)))


class Encoder:
    """Encodes picture after picture. What hardly changed stays as it was, so that its rows need not be sent again."""

    def __init__(self, depth: Depth) -> None:
        self.depth = depth
        self.grid = np.zeros((0, 0, 3), np.uint8)  # of the last picture, without its box
        self.colours = np.zeros((0, 0), np.int64)
        self.drawn: list[str] = []

    def rows(
        self, picture: np.ndarray, columns: int, rows: int, box: Box | None = None, mirror: bool = False
    ) -> list[str]:
        """Strings as from `encode`; a row that did not change is the same string as before."""
        if columns <= 0 or rows <= 0:
            return []
        self.grid = steady(self.grid, shrunk(picture, columns, rows if self.depth == "none" else 2 * rows))
        grid = dithered(self.grid) if self.depth == "16" else self.grid
        if box is not None:
            height, width = picture.shape[:2]
            grid = boxed(grid, box, height, width, WHITE if self.depth == "none" else BOX_COLOUR)
        colours = numbers(mirrored(grid) if mirror else grid, self.depth)
        before, self.colours = self.colours, colours
        if before.shape != colours.shape:
            self.drawn = [line(row, self.depth) for row in by_row(colours, rows)]
        else:
            for at in np.flatnonzero(np.any(by_row(before != colours, rows), axis=(1, 2))):
                self.drawn[at] = line(by_row(colours, rows)[at], self.depth)
        return list(self.drawn)


def by_row(cells: np.ndarray, rows: int) -> np.ndarray:
    """[h, w] -> [rows, h / rows, w]: what stands in one row of cells."""
    return cells.reshape(rows, -1, cells.shape[1])


def shrunk(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [height, width, 3]. Of a large picture some pixels are enough: .2 ms in place of 1 to 6."""
    if picture.shape[0] > SAMPLES * height and picture.shape[1] > SAMPLES * width:
        picture = cv2.resize(picture, (SAMPLES * width, SAMPLES * height), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def mirrored(picture: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return picture[:, ::-1]


def boxed(grid: np.ndarray, box: Box, height: int, width: int, colour: tuple[int, int, int] = BOX_COLOUR) -> np.ndarray:
    """The small picture uint8 [h, w, 3] with a rectangle of one pixel round a box that is in pixels of the whole picture of
    `height` x `width`; what lies outside is cut."""
    rows, columns = grid.shape[:2]
    x0, x1 = (round(min(max(x, 0), width) * columns / width) for x in (box[0], box[2]))
    y0, y1 = (round(min(max(y, 0), height) * rows / height) for y in (box[1], box[3]))
    drawn = grid.copy()
    cv2.rectangle(drawn, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), colour)
    return drawn


def steady(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """The new small picture, but where a pixel hardly differs from what was shown before that stays."""
    if before.shape != now.shape:
        return now
    return np.where(np.any(cv2.absdiff(before, now) > STEADY, axis=2, keepdims=True), now, before)


def dithered(grid: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] with a fixed pattern added, so that few colours side by side look like those between them."""
    rows, columns = grid.shape[:2]
    pattern = np.tile(BAYER * SPREAD, (rows // 4 + 1, columns // 4 + 1))[:rows, :columns, None]
    return np.clip(grid + pattern, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------- colours as numbers


def numbers(grid: np.ndarray, depth: Depth) -> np.ndarray:
    """uint8 [h, w, 3] -> int64 [h, w]: what `code` calls a colour, or the character of the ramp."""
    if depth == "none":
        return np.rint(grid @ GREY * ((len(RAMP) - 1) / 255)).astype(np.int64)
    levels = (grid >> 3).astype(np.int64)  # steps of 8: runs are longer, and nobody sees it
    packed = levels[..., 0] << 10 | levels[..., 1] << 5 | levels[..., 2]
    return packed if depth == "truecolor" else nearest(depth)[packed]


def channels(packed: Number) -> list[Number]:
    """Red, green and blue 0..255 of packed colours, five bits each."""
    return [((packed >> shift & 31) * 255 + 15) // 31 for shift in (10, 5, 0)]


@lru_cache(maxsize=2)
def nearest(depth: Depth) -> np.ndarray:
    """For each packed colour int64 [32768] the number of the nearest one that the terminal has."""
    rgb = np.stack(channels(np.arange(1 << 15)), axis=-1)
    if depth == "16":
        return np.argmin(np.square(rgb[:, None] - SYSTEM).sum(axis=2), axis=1)
    steps = np.argmin(np.abs(rgb[..., None] - CUBE), axis=2)
    grey = np.argmin(np.abs(rgb.mean(axis=1)[:, None] - GREYS), axis=1)
    off_cube = np.square(rgb - CUBE[steps]).sum(axis=1)
    off_grey = np.square(rgb - GREYS[grey][:, None]).sum(axis=1)
    return np.where(off_grey < off_cube, 232 + grey, 16 + steps @ np.array([36, 6, 1]))


@cache
def code(colour: int, depth: Depth, ground: bool) -> str:
    """What sets a colour, of the ground or of the sign on it, in an escape sequence."""
    if depth == "truecolor":
        red, green, blue = channels(colour)
        return f"{48 if ground else 38};2;{red};{green};{blue}"
    if depth == "256":
        return f"{48 if ground else 38};5;{colour}"
    return str((40 if ground else 30) + (colour if colour < 8 else colour + 52))


def line(cells: np.ndarray, depth: Depth) -> str:
    """Colours int64 [2, w], upper over lower, or characters of the ramp [1, w] -> one row; a colour is set where it changes."""
    if depth == "none":
        return "".join(RAMP[cells[0]].tolist())
    parts, sign, ground = [], -1, -1
    for upper, lower in zip(*cells.tolist(), strict=True):
        changes = []
        if upper not in (lower, sign):
            sign = upper
            changes.append(code(upper, depth, False))
        if lower != ground:
            ground = lower
            changes.append(code(lower, depth, True))
        if changes:
            parts.append(f"\x1b[{';'.join(changes)}m")
        parts.append(" " if upper == lower else HALF)
    return "".join(parts) + RESET
