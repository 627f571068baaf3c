"""The picture in cells: its shape and colours are kept in every depth, and what did not change is not encoded again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from rich.console import Console
from rich.style import Style
from rich.text import Text

from cli.halfblocks import BOX_COLOUR, HALF, RESET, SYSTEM, Depth, Encoder, boxed, fit

DEPTHS: tuple[Depth, ...] = get_args(Depth)
CODE = re.compile(r"\x1b\[([\d;]*)m")


def encode(pixels: np.ndarray, columns: int, rows: int, depth: Depth, *more: Any, **named: Any) -> list[str]:
    """The rows of one picture."""
    return Encoder(depth).rows(pixels, columns, rows, *more, **named)


def picture(height: int = 240, width: int = 320, seed: int = 0) -> np.ndarray:
    """Something with edges and colours, uint8 [H, W, 3]."""
    tiles = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.kron(tiles, np.ones((height // 6, width // 8, 1), np.uint8))


def colours(row: str) -> np.ndarray:
    """A row in true colours as a terminal would show it: [2, w, 3], upper over lower."""
    shown, sign, ground = [], (0, 0, 0), (0, 0, 0)
    for codes, cell in re.findall(r"((?:\x1b\[[\d;]*m)*)(.)", row.removesuffix(RESET)):
        for change in re.findall(r"(38|48);2;(\d+);(\d+);(\d+)", codes):
            colour = tuple(map(int, change[1:]))
            sign, ground = (colour, ground) if change[0] == "38" else (sign, colour)
        shown.append((sign if cell == HALF else ground, ground))
    return np.array(shown).swapaxes(0, 1)


@pytest.mark.parametrize("height,width", [(480, 640), (720, 1280), (1280, 720), (1, 5000), (5000, 1)])
def test_the_aspect_is_kept_within_the_room(height: int, width: int) -> None:
    """A cell shows two pixels, one above the other."""
    columns, rows = fit(height, width, 80, 30)
    assert 1 <= columns <= 80 and 1 <= rows <= 30 and (columns == 80 or rows == 30)
    if max(height, width) < 5000:
        assert columns / (2 * rows) == pytest.approx(width / height, rel=0.05)


def test_no_room_is_no_cell() -> None:
    assert fit(480, 640, 0, 10) == fit(480, 640, 10, 0) == fit(0, 640, 10, 10) == (0, 0)
    assert encode(picture(), 0, 0, "truecolor") == []


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("columns,rows", [(1, 1), (7, 3), (78, 30), (400, 150)])
def test_each_row_has_its_cells_and_leaves_no_colour_behind(depth: Depth, columns: int, rows: int) -> None:
    drawn = encode(picture(), columns, rows, depth)
    assert len(drawn) == rows
    assert all(len(CODE.sub("", row)) == columns for row in drawn)
    assert all(("\x1b" not in row) if depth == "none" else row.endswith(RESET) for row in drawn)


def test_true_colours_are_the_pictures_own() -> None:
    """To a step of 8, each half of a cell its own pixel."""
    pixels = np.random.default_rng(1).integers(0, 256, (12, 20, 3), np.uint8)
    shown = np.concatenate([colours(row) for row in encode(pixels, 20, 6, "truecolor")])
    assert np.abs(shown - pixels.astype(int)).max() <= 8


def test_white_is_white_and_black_black() -> None:
    for value, codes in ((255, "48;2;255;255;255"), (0, "48;2;0;0;0")):
        assert codes in encode(np.full((8, 8, 3), value, np.uint8), 4, 2, "truecolor")[0]


@pytest.mark.parametrize("depth", [depth for depth in DEPTHS if depth != "none"])
def test_a_colour_is_set_where_it_changes(depth: Depth) -> None:
    """An even row costs one code, and the one that ends it."""
    for row in encode(np.zeros((40, 60, 3), np.uint8), 60, 20, depth):
        assert len(CODE.findall(row)) == 2 and len(row) < 60 + 30


@pytest.mark.parametrize(
    "rgb,number",
    [((255, 0, 0), 196), ((95, 135, 175), 67), ((0, 0, 0), 16), ((255, 255, 255), 231), ((118, 118, 118), 243)],
)
def test_256_colours_are_the_cube_and_the_greys(rgb: tuple[int, int, int], number: int) -> None:
    assert f"48;5;{number}m" in encode(np.full((4, 4, 3), rgb, np.uint8), 2, 2, "256")[0]


@pytest.mark.parametrize("number", range(16))
def test_16_colours_are_the_systems(number: int) -> None:
    """A colour of the system itself comes out as such for most of the pattern that mixes it."""
    found = CODE.findall("".join(encode(np.full((64, 64, 3), SYSTEM[number], np.uint8), 64, 32, "16")))
    grounds = {code for codes in found for code in codes.split(";") if code}
    assert str((40 if number < 8 else 92) + number) in grounds


def test_without_colours_light_is_told_by_signs() -> None:
    steps = np.repeat(np.linspace(0, 255, 10).astype(np.uint8), 8)[None, :, None]
    assert encode(np.tile(steps, (4, 1, 3)), 10, 1, "none") == [" .:-=+*#%@"]


def test_a_box_is_scaled_with_its_picture() -> None:
    """A rectangle of one pixel of the small picture; the inside stays, what lies outside is cut."""
    grid = boxed(np.zeros((24, 32, 3), np.uint8), (100, 100, 220, 220), 240, 320)
    rows, columns = np.nonzero((grid == BOX_COLOUR).all(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 21, 10, 21)
    assert not grid[11:21, 11:21].any()
    assert boxed(np.zeros((4, 4, 3), np.uint8), (-900, -900, 9000, 9000), 240, 320)[0, 0].tolist() == list(BOX_COLOUR)
    assert not boxed(np.zeros((4, 4, 3), np.uint8), (900, 900, 950, 950), 240, 320).any()


def test_a_mirrored_box_stays_on_its_face() -> None:
    """The left of the picture is shown at the right, with the box that is in the picture's own pixels."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    drawn = colours(encode(pixels, 20, 10, "truecolor", (0, 0, 10, 40), mirror=True)[0])
    assert drawn[0, -1].tolist() == list(BOX_COLOUR) and not drawn[0, :10].any()


def test_noise_changes_no_row_and_a_change_only_its_own() -> None:
    noise = np.random.default_rng(2).integers(-3, 4, (240, 320, 3))
    before = picture() // 2 + 60
    encoder = Encoder("truecolor")
    first = encoder.rows(before, 40, 15)
    assert encoder.rows((before + noise).astype(np.uint8), 40, 15) == first
    after = before.copy()
    after[:16] = 255
    changed = [at for at, (a, b) in enumerate(zip(first, encoder.rows(after, 40, 15), strict=True)) if a != b]
    assert changed == [0]


def test_a_slow_change_is_seen() -> None:
    """What is taken for noise does not add up."""
    encoder = Encoder("truecolor")
    for value in range(0, 200, 2):
        row = encoder.rows(np.full((8, 8, 3), value, np.uint8), 4, 2)[0]
    assert np.abs(colours(row) - 198).max() <= 16


def test_another_size_is_encoded_anew() -> None:
    encoder = Encoder("256")
    encoder.rows(picture(), 40, 15)
    assert encoder.rows(picture(), 20, 8) == encode(picture(), 20, 8, "256")


def seconds(work: Callable[[], Any]) -> float:
    """The best of some runs, as others may want the processor."""
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


def test_the_picture_costs_a_fraction_of_what_rich_takes_for_as_many_cells() -> None:
    """Where no two cells are alike. A model works beside it."""
    pixels = np.random.default_rng(3).integers(0, 256, (60, 78, 3), np.uint8)
    console = Console(force_terminal=True, color_system="truecolor", width=80)
    style = Style(color="#102030", bgcolor="#405060")

    def by_rich() -> None:
        for _ in range(30):
            cells = Text.assemble(*((HALF, style) for _ in range(78)))
            "".join(piece.style.render(piece.text) for piece in cells.render(console) if piece.style)

    encode(pixels, 78, 30, "truecolor")
    assert seconds(lambda: encode(pixels, 78, 30, "truecolor")) < seconds(by_rich) / 2
