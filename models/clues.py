"""What measured levels are called, and what a clue claims: the words for a low, a middle and a high measurement.

Training replies are made of these words (`trainer.reasons`), and written clues are held against the measurements by them.
Knows standardised measurements (z, 0 = the training part's mean) and words; nothing of pixels, sound or labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

Levels = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

LEVEL = 0.6  # z from which a measurement is called low or high
VOICE = ("pitch_hz", "loudness_db", "rate", "pitch_range", "pause", "voiced")
FACE = ("mouth_open", "smile", "brow_raise", "brow_furrow", "eye_open", "roll_deg")

VOICE_WORDS: dict[str, Levels] = {
    "pitch_hz": (
        ("low", "low-pitched", "deep"),
        ("of middle pitch", "neither high nor low"),
        ("high", "high-pitched", "raised in pitch"),
    ),
    "loudness_db": (
        ("quiet", "soft", "hushed"),
        ("of middle loudness", "neither loud nor soft"),
        ("loud", "strong", "forceful"),
    ),
    "rate": (
        ("slow", "unhurried", "drawn out"),
        ("of even pace", "neither fast nor slow"),
        ("fast", "hurried", "quick"),
    ),
    "pitch_range": (
        ("flat in melody", "monotone"),
        ("of moderate melody", "with some melody"),
        ("lively in melody", "full of ups and downs"),
    ),
}
FACE_WORDS: dict[str, Levels] = {
    "mouth_open": (
        ("the mouth is closed", "the lips are together", "the lips are shut"),
        ("the lips are slightly apart", "the mouth is a little open"),
        ("the mouth is wide open", "the mouth is open wide"),
    ),
    "smile": (
        ("the corners of the mouth turn down", "the mouth corners hang"),
        ("the corners of the mouth are level", "the mouth corners stay level"),
        ("the corners of the mouth are lifted", "the mouth corners are drawn up"),
    ),
    "brow_raise": (
        ("the brows are lowered", "the brows sit low"),
        ("the brows are at rest", "the brows are relaxed"),
        ("the brows are raised", "the brows are lifted high"),
    ),
    "eye_open": (
        ("the eyes are narrowed", "the eyes are nearly shut"),
        ("the eyes are normally open", "the eyes are at rest"),
        ("the eyes are wide open", "the eyes are opened wide"),
    ),
}
WORDS: dict[str, Mapping[str, Levels]] = {"audio": VOICE_WORDS, "visual": FACE_WORDS}


def level(z: float) -> int:
    """0 low, 1 middle, 2 high."""
    return 0 if z < -LEVEL else 2 if z > LEVEL else 1


def claims(clue: str, sense: str) -> dict[str, int]:
    """What a clue says was measured: `"The voice is low and of even pace."` -> `{"pitch_hz": 0, "rate": 1}`.

    Of several wordings of one measurement the longest counts: "neither high nor low" is not "low".
    """
    said = clue.lower()
    found = {name: found_level(said, words) for name, words in WORDS[sense].items()}
    return {name: at for name, at in found.items() if at is not None}


def found_level(said: str, words: Sequence[Sequence[str]]) -> int | None:
    """The level of the longest wording that stands in lower-cased text; None without any."""
    found = [(len(wording), at) for at, wordings in enumerate(words) for wording in wordings if stands(wording, said)]
    return max(found)[1] if found else None


def stands(wording: str, said: str) -> bool:
    """Whether whole words of `said` are the wording."""
    return bool(whole_words(wording).search(said))


@cache
def whole_words(wording: str) -> re.Pattern[str]:
    """The wording with no letter or hyphen at its ends."""
    return re.compile(rf"(?<![\w-]){re.escape(wording)}(?![\w-])")
