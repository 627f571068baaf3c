"""The words of reasons: what measured levels are called, the sentences that they stand in, and what a written clue claims.

Training replies are made of these (`trainer.reasons`), and what is written is held against measurements, words and labels
by them. Knows standardised measurements (z, 0 = the training part's mean) and words; nothing of pixels or sound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from models.emotions import LABELS

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


# -------------------------------------------------------------------- how a reason is written

GAP = "_"
UNMEASURED = {"audio": "The voice can hardly be measured.", "visual": "The face is too unclear for its features."}
NAMES = {  # words that tell which sense is meant
    "visual": ("face", "picture", "mouth", "lips", "eyes", "brows", "eye"),
    "audio": ("voice", "tone", "speech", "ear", "heard", "delivery", "speaking", "sound", "sounds"),
    "text": ("words", "line", "talk"),
}


def sentences(reason: str) -> list[str]:
    """A reason cut after full stops that stand outside quotation marks."""
    parts = re.split(r'("[^"]*")', reason)
    closed = [part if part.startswith('"') else re.sub(r"\.(?=\s|$)", ".\0", part) for part in parts]
    return [sentence.strip() for sentence in "".join(closed).split("\0") if sentence.strip()]


def frame(sentence: str) -> str:
    """A sentence with a gap for its quotation, levels and labels: `"The voice is low and slow."` -> `"the voice is _."`"""
    said = re.sub(r'"[^"]*"', GAP, sentence.lower())
    said = filled().sub(GAP, said)
    return re.sub(rf"{GAP}(?:(?:, | and ){GAP})+", GAP, said)


@cache
def filled() -> re.Pattern[str]:
    """Any wording of a level, longest first, or a label."""
    wordings = [w for table in WORDS.values() for levels in table.values() for level in levels for w in level]
    return re.compile(
        "|".join(whole_words(word).pattern for word in sorted([*wordings, *LABELS], key=len, reverse=True))
    )


def quotes(clue: str) -> list[str]:
    """What stands in quotation marks."""
    return re.findall(r'"([^"]*)"', clue)


def plain_words(text: str) -> list[str]:
    """Lower-cased words without the quotations."""
    return re.findall(r"[a-z]+(?:['-][a-z]+)*", re.sub(r'"[^"]*"', " ", text.lower()))


@cache
def vocabulary() -> frozenset[str]:
    """Every word that a reason may be made of, beside quotations."""
    frames = (*VOICE_FRAMES, *FACE_FRAMES, *QUOTE_FRAMES, *AGREE_ONE, *AGREE_MANY, *CONFLICT, *UNMEASURED.values())
    wordings = [w for table in WORDS.values() for levels in table.values() for level in levels for w in level]
    shows = [text for texts in SHOWS.values() for text in texts]
    plain = [text.replace("{0}", " ").replace("{1}", " ").replace('"', " ") for text in (*frames, *shows)]
    return frozenset(word for text in (*plain, *wordings, *LABELS, "and") for word in plain_words(text))
