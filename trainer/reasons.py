"""Wanted replies: labels, then clues that say what was measured on that very face, sound or line, in varied wording.

A clue never depends on the label: the same measurement gives the same kinds of sentence whatever the item is called. Knows
standardised measurements (z, 0 = the training speakers' mean) and words; nothing of pixels or tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from models.clues import (
    AGREE_MANY,
    AGREE_ONE,
    CONFLICT,
    FACE_FRAMES,
    FACE_WORDS,
    QUOTE_FRAMES,
    SHOWS,
    UNMEASURED,
    VOICE_FRAMES,
    VOICE_WORDS,
    level,
)
from models.prompt import Present, Reply

KEYWORDS: dict[str, tuple[str, str, str]] = {  # the word that tells a level from the other two
    "pitch_hz": ("low", "middle", "high"),
    "loudness_db": ("quiet", "middle", "loud"),
    "rate": ("slow", "even", "fast"),
    "pitch_range": ("flat", "moderate", "lively"),
    "mouth_open": ("closed", "slightly", "wide"),
    "smile": ("down", "level", "lifted"),
    "brow_raise": ("lowered", "rest", "raised"),
    "eye_open": ("narrowed", "normally", "wide"),
}


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def telling(rng: np.random.Generator, z: Mapping[str, float], known: Sequence[str], most: int) -> list[str]:
    """Up to `most` measured names, the far-from-usual ones likelier."""
    names = [name for name in known if np.isfinite(z.get(name, np.nan))]
    if not names:
        return []
    weight = np.array([0.35 + abs(z[name]) for name in names])
    count = min(most, len(names))
    chosen = rng.choice(len(names), size=count, replace=False, p=weight / weight.sum())
    return [names[i] for i in sorted(chosen)]


def join(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def voice_clue(rng: np.random.Generator, z: Mapping[str, float]) -> str:
    """One sentence of what was measured on the waveform."""
    names = telling(rng, z, tuple(VOICE_WORDS), int(rng.integers(2, 4)))
    if not names:
        return UNMEASURED["audio"]
    words = [pick(rng, VOICE_WORDS[name][level(z[name])]) for name in names]
    return pick(rng, VOICE_FRAMES).format(join(words))


def face_clue(rng: np.random.Generator, z: Mapping[str, float]) -> str:
    """One sentence of what was measured on the face."""
    names = telling(rng, z, tuple(FACE_WORDS), 2)
    if not names:
        return UNMEASURED["visual"]
    words = [pick(rng, FACE_WORDS[name][level(z[name])]) for name in names]
    clue = pick(rng, FACE_FRAMES).format(join(words))
    return clue[0].upper() + clue[1:]


def quote(rng: np.random.Generator, words: str, longest: int = 6) -> str:
    """A piece of the line, to the letter: a clause of at most `longest` words."""
    clauses = [c.strip() for c in re.split(r"(?<=[.!?;,])\s+", words) if any(ch.isalnum() for ch in c)] or [words]
    clause = max(clauses, key=lambda c: min(len(c.split()), longest) + rng.random())
    parts = clause.split()
    start = int(rng.integers(0, max(1, len(parts) - longest + 1))) if len(parts) > longest else 0
    return " ".join(parts[start : start + longest]).strip(" .,!?;:")


def text_clue(rng: np.random.Generator, words: str) -> str:
    """One sentence that quotes the line."""
    return pick(rng, QUOTE_FRAMES).format(quote(rng, words))


def conclusion(rng: np.random.Generator, shown: Mapping[str, str]) -> str:
    """The last line from what each present sense shows: agreement names one label, disagreement says who says what."""
    labels = list(dict.fromkeys(shown.values()))
    if len(labels) == 1:
        return pick(rng, AGREE_MANY if len(shown) > 1 else AGREE_ONE).format(labels[0])
    senses = (next(name for name in shown if shown[name] == label) for label in labels[:2])
    return pick(rng, CONFLICT).format(*(pick(rng, SHOWS[sense]).format(shown[sense]) for sense in senses))


def wanted(
    rng: np.random.Generator,
    present: Present,
    shown: Mapping[str, str],
    face: Mapping[str, float],
    voice: Mapping[str, float],
) -> Reply:
    """The reply to teach: `shown` gives the label that each present modality stands for."""
    makers = {
        "visual": lambda: face_clue(rng, face),
        "audio": lambda: voice_clue(rng, voice),
        "text": lambda: text_clue(rng, present.words or ""),
    }
    clues = {name: makers[name]() for name in present.modalities}
    labels = tuple(dict.fromkeys(shown[name] for name in present.modalities))
    return Reply(labels, clues, conclusion(rng, {name: shown[name] for name in present.modalities}))
