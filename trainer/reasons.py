"""Wanted replies: labels, then clues that say what was measured on that very face, sound or line, in varied wording.

A clue never depends on the label: the same measurement gives the same kinds of sentence whatever the item is called. Knows
standardised measurements (z, 0 = the training speakers' mean) and words; nothing of pixels or tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from models.clues import FACE_WORDS, VOICE_WORDS, level
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
VOICE_FRAMES = (
    "The voice is {0}.",
    "The voice sounds {0}.",
    "It is said in a voice that is {0}.",
    "The speech is {0}.",
    "What is heard is {0}.",
    "The tone is {0}.",
    "One hears a voice that is {0}.",
    "To the ear, the voice is {0}.",
    "The way of speaking is {0}.",
    "The speaker's voice comes out {0}.",
    "By its sound, the voice is {0}.",
    "The delivery is {0}.",
)
FACE_FRAMES = (
    "{0}.",
    "On the face {0}.",
    "One sees that {0}.",
    "It shows that {0}.",
    "In the picture {0}.",
    "The face tells that {0}.",
    "Looking at the face, {0}.",
    "It can be seen that {0}.",
    "To the eye, {0}.",
    "The picture shows that {0}.",
    "Visibly, {0}.",
    "What shows is that {0}.",
)
QUOTE_FRAMES = (
    'The words "{0}" are said.',
    'The person says "{0}".',
    'What is said is "{0}".',
    '"{0}" is what the words say.',
    'The line has "{0}" in it.',
    'There is "{0}" in the words.',
    'One hears "{0}" being said.',
    'The words run "{0}".',
    'Among the words stands "{0}".',
    'The line goes "{0}".',
    'The talk is of "{0}".',
    'Said aloud is "{0}".',
)
AGREE_ONE = (
    "The person seems {0}.",
    "So the person comes across as {0}.",
    "That reads as {0}.",
    "It points to someone {0}.",
    "This is how someone {0} comes across.",
    "One takes the person to be {0}.",
    "The person appears to be {0}.",
    "That suggests someone {0}.",
    "It is most like someone who is {0}.",
    "Hence the person is probably {0}.",
)
AGREE_MANY = (
    "Together they speak of someone {0}.",
    "Taken together, the person seems {0}.",
    "All in all, the person comes across as {0}.",
    "Everything points to someone {0}.",
    "Seen as a whole, that reads as {0}.",
    "In sum, the person appears to be {0}.",
    "All of it fits someone who is {0}.",
    "The signs agree on someone {0}.",
    "On the whole, the person is probably {0}.",
    "Put together, that suggests someone {0}.",
)
CONFLICT = (
    "The {0}, but the {1}.",
    "The {0}, while the {1}.",
    "They disagree: the {0}, the {1}.",
    "Mixed signs: the {0}, yet the {1}.",
    "It does not fit together: the {0}, the {1}.",
    "The {0}, and still the {1}.",
    "Although the {0}, the {1}.",
    "The {0}, whereas the {1}.",
    "On the one hand the {0}, on the other the {1}.",
    "The signs part: the {0}, the {1}.",
)
SHOWS = {
    "visual": ("face looks {0}", "face seems {0}", "face appears {0}"),
    "audio": ("voice sounds {0}", "voice seems {0}", "voice appears {0}"),
    "text": ("words are {0}", "words seem {0}", "words sound {0}"),
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
        return "The voice can hardly be measured."
    words = [pick(rng, VOICE_WORDS[name][level(z[name])]) for name in names]
    return pick(rng, VOICE_FRAMES).format(join(words))


def face_clue(rng: np.random.Generator, z: Mapping[str, float]) -> str:
    """One sentence of what was measured on the face."""
    names = telling(rng, z, tuple(FACE_WORDS), 2)
    if not names:
        return "The face is too unclear for its features."
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
