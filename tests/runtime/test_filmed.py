"""An item as a film: what a file holds is what the item was, to the eye, to the ear and to the letter."""

from pathlib import Path

import numpy as np
import pytest

from models.items import Item
from models.media import read_clip
from models.sound import SAMPLE_RATE
from runtime.filmed import FACE, HEIGHT, WIDTH, film
from tests.media_files import tone

FACES = np.stack([np.full((48, 48), grey, np.uint8) for grey in (60, 190)])
FACES[:, :, :24] //= 2
WAVE = tone(1.5, SAMPLE_RATE)
WORDS = "Kids {b1} are <i>talking</i>,\nby & by."


def test_picture_sound_and_words_come_back(tmp_path: Path) -> None:
    clip = read_clip(film(Item("a", FACES, WAVE, WORDS, ()), tmp_path / "a.mp4"), frames=8)
    assert clip.transcript_source == "subtitle" and clip.transcript == "Kids (b1) are talking, by & by."
    assert clip.waveform is not None and np.corrcoef(clip.waveform[: len(WAVE)], WAVE)[0, 1] > 0.99
    middle = clip.frames[:, HEIGHT // 2, WIDTH // 2 - FACE // 4 :: FACE // 2, 0].astype(int)
    assert np.abs(middle[0, :2] - [30, 60]).max() < 12 and np.abs(middle[-1, :2] - [95, 190]).max() < 12


@pytest.mark.parametrize("part", ["faces", "wave", "words"])
def test_what_an_item_lacks_its_film_lacks(part: str, tmp_path: Path) -> None:
    parts = {"faces": FACES, "wave": WAVE, "words": "Only words."}
    shown = {name: value if name == part else None for name, value in parts.items()}
    if part == "words":
        shown["faces"] = FACES  # a file of subtitles alone is no film
    clip = read_clip(film(Item("a", labels=(), **shown), tmp_path / "a.mp4"), frames=8)  # type: ignore[arg-type]
    assert bool(len(clip.frames)) == (part != "wave")
    assert (clip.waveform is not None) == (part == "wave") and bool(clip.transcript) == (part == "words")
