"""The ONE renderer of prompts and replies, and the parser of replies: training and live use cannot drift apart.

A prompt is a list of pieces: `Text` is tokenized as plain text (a user's words can never become a control token),
`Control` is one control token by name, `Media` stands for a modality's soft tokens. Every piece is tokenized by
itself, in training as in live use. Knows nothing of tokenizers, networks or clips.

The reply, labels first:

    Feels: angry, sad
    Face: The brows are pulled down.
    Voice: The voice is loud and high.
    Words: "leave me alone" pushes someone away.
    So: All of it speaks of anger.

The headings are forced, the words after them are the language model's own. In prose, the reason first:

    The brows are pulled down and the voice is loud, which speaks of anger.
    Feels: angry, sad
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PROMPT_VERSION = 1
MAX_WORDS = 600  # characters of a transcript that reach the model: about 140 tokens
CONTENT_TOKENS = 48  # most tokens of one line of the reply
PROSE_TOKENS = 160  # and of a reason in prose
END = "<|im_end|>"
HEADINGS = {"visual": "Face:", "audio": "Voice:", "text": "Words:"}
LABELS_HEADING = "Feels:"
CONCLUSION = "So:"
PLAIN_QUOTES = str.maketrans({'"': "'", "\u201c": "'", "\u201d": "'", "\u2018": "'", "\u2019": "'"})
OWN_MARKS = re.compile(r"<\|[^<>|]*\|>|\b(?:Face|Voice|Words|Feels|So):")
"""What a transcript may not look like: a control token, a heading."""
SENSES = {"face": "visual", "voice": "audio", "words": "text"}


@dataclass(frozen=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Control:
    """One control token of the language model, by its exact name."""

    name: str


@dataclass(frozen=True)
class Media:
    """The soft tokens of a modality (`visual` or `audio`)."""

    modality: str


Piece = Text | Control | Media


@dataclass(frozen=True)
class Present:
    """Which inputs there are; `words` is the transcript, already cleaned, or None."""

    visual: bool = False
    audio: bool = False
    words: str | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """The present ones, in the order of the prompt."""
        flags = (("visual", self.visual), ("audio", self.audio), ("text", self.words is not None))
        return tuple(name for name, there in flags if there)

    def only(self, modality: str) -> Present:
        """One of them, as if nothing else had been there."""
        return Present(modality == "visual", modality == "audio", self.words if modality == "text" else None)

    @property
    def key(self) -> str:
        """The name of this set of inputs in a bundle's calibration, like `visual+text`."""
        return "+".join(self.modalities)


def head() -> list[Piece]:
    """The constant start of every prompt: kept in the KV cache between clips."""
    return [
        Control("<|im_start|>"),
        Text("user\nWhat does this person feel? Name it, then say why from the face, the voice and the words."),
    ]


def body(present: Present, form: str = "labels-first") -> list[Piece]:
    """What follows the head: the inputs, absent ones said, up to the model's own words in a `reply_form` of bundles."""
    pieces: list[Piece] = [Text("\nFace:"), Media("visual") if present.visual else Text(" none")]
    pieces += [Text("\nVoice:"), Media("audio") if present.audio else Text(" none")]
    pieces += [Text("\nWords:"), Text(f' "{present.words}"' if present.words is not None else " none")]
    pieces += [Control(END), Text("\n"), Control("<|im_start|>"), Text("assistant\n")]
    return pieces if form == "prose" else [*pieces, Text(LABELS_HEADING)]


def clean_words(words: str | None, limit: int = MAX_WORDS) -> str | None:
    """A transcript as the model sees it: printable, one line, without the marks of prompts and replies, at most `limit`
    characters; None when fewer than two letters are left."""
    if words is None:
        return None
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in words[: 8 * limit])
    kept = OWN_MARKS.sub(" ", kept)
    kept = " ".join(kept.translate(PLAIN_QUOTES).split())
    if len(kept) > limit:
        kept = kept[:limit].rsplit(" ", 1)[0]
    return kept if sum(c.isalpha() for c in kept) > 1 else None


@dataclass(frozen=True)
class Line:
    """One line of a reply after the labels: its forced heading and the model's words."""

    heading: str
    words: str


@dataclass(frozen=True)
class Reply:
    """A parsed (or, in training, a wanted) reply."""

    labels: tuple[str, ...]
    clues: Mapping[str, str]
    conclusion: str

    @property
    def lines(self) -> list[Line]:
        """The lines below the labels, in order."""
        lines = [Line(HEADINGS[name], self.clues[name]) for name in HEADINGS if name in self.clues]
        return [*lines, Line(CONCLUSION, self.conclusion)]

    @property
    def reason(self) -> str:
        """The lines' words as one paragraph."""
        return " ".join(line.words for line in self.lines if line.words)


def headings(present: Present) -> list[tuple[str, str]]:
    """(modality or `conclusion`, forced heading) of every line that a reply to these inputs has."""
    return [*((name, HEADINGS[name]) for name in present.modalities), ("conclusion", CONCLUSION)]


def rest_grammar(labels: Sequence[str], least: int = 0) -> str:
    """GBNF for what follows the first label on its line: at least `least` (0 or 1) and at most two more words of the list,
    or its end alone where the list has none."""
    if not labels:
        return 'root ::= "\\n"\n'
    words = " | ".join(f'"{label}"' for label in labels)
    more = '", " word' + (' (", " word)?' if len(labels) > 1 else "")
    return f'root ::= {more if least else f"({more})?"} "\\n"\nword ::= {words}\n'


def open_grammar(most: int = 3) -> str:
    """GBNF for the first line where the list is open: one to `most` labels of one or two lowercase words."""
    more = ' (", " label' * (most - 1) + ")?" * (most - 1)
    return f'root ::= " " label{more} "\\n"\nlabel ::= word ([ -] word)?\nword ::= [a-z]{{2,24}}\n'


def split_labels(line: str) -> tuple[str, ...]:
    """The words of a reply's first line, doubles dropped: `"angry, sad\\n"` -> `("angry", "sad")`."""
    return tuple(dict.fromkeys(word.strip() for word in line.split(",") if word.strip()))


def conflict(conclusion: str, labels: Sequence[str]) -> dict[str, str] | None:
    """What the conclusion says each sense shows, when it says that they differ: `{"visual": "happy", "audio": "sad"}`."""
    words = "|".join(map(re.escape, labels))
    found = re.findall(rf"\b(face|voice|words)\b[^,;.]*?\b({words})\b", conclusion.lower())
    said = {SENSES[sense]: label for sense, label in found}
    return said if len(set(said.values())) > 1 else None


def label_text(labels: Sequence[str]) -> str:
    """The first line of a reply after its heading, as it is tokenized: `" angry, sad\\n"`."""
    return f" {', '.join(labels)}\n"
