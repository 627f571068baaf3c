"""Emotion words: the closed list that nano writes, what other corpora call them, and a word's noun.

Knows words only: nothing of scores, prompts or data sets' files.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from models.errors import AffectError

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""nano's closed list: the eight classes of RAVDESS; FER2013, MELD and Ekman's grouping use seven of them."""

PLAIN_WORD = re.compile(r"[\w][\w '-]{0,31}")
"""What a label may look like: it becomes part of a grammar."""

SYNONYMS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "afraid": "fearful",
    "scared": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "joyful": "happy",
    "sadness": "sad",
    "surprise": "surprised",
    "calmness": "calm",
}


def canonical(word: str) -> str:
    """The label that a corpus' or user's word stands for: `"Joy"` -> `"happy"`; unknown words come back lower-cased."""
    word = word.strip().lower()
    return SYNONYMS.get(word, word)


def choose_labels(words: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """`--labels` against a bundle's closed list, in the list's order. Raises AffectError `bad_labels` on an unknown word."""
    wanted = [canonical(word) for word in words if word.strip()]
    for word in wanted:
        if word not in allowed:
            near = get_close_matches(word, allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from: {', '.join(allowed)}"
            raise AffectError(f"no such label: {word}", hint, "bad_labels")
    if not wanted:
        raise AffectError("no label was given", f"choose from: {', '.join(allowed)}", "bad_labels")
    return tuple(label for label in allowed if label in wanted)


def own_labels(words: Sequence[str]) -> tuple[str, ...]:
    """`--labels` for a bundle with an open list: any plain words, lower-cased. Raises AffectError `bad_labels`."""
    wanted = tuple(dict.fromkeys(word.strip().lower() for word in words if word.strip()))
    odd = [word for word in wanted if not PLAIN_WORD.fullmatch(word)]
    if odd or not wanted:
        problem = f"not a plain word: {odd[0]}" if odd else "no label was given"
        raise AffectError(problem, "words of letters, like: hopeful,worried", "bad_labels")
    return wanted
