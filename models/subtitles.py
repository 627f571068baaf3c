"""Subtitle files (.srt, .vtt) and cue text -> plain words. Knows text alone, no decoder and no clip."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.container import opened_file, shown
from models.errors import AffectError

MAX_BYTES = 8 << 20  # of a subtitle file: a film has 0.1 MB
CLOCK = r"(?:(\d{1,4}):)?(\d{1,4}):(\d{1,4})(?:[.,](\d{1,6}))?"
TIMES = re.compile(rf"^[ \t]*{CLOCK}[ \t]*-->[ \t]*{CLOCK}")
TAGS = re.compile(r"</?[A-Za-z0-9][^<>]{0,200}>|\{[^{}]{0,200}\}")
BREAKS = re.compile(r"\\[Nnh]")
CURE = "give an .srt or .vtt file"


@dataclass(frozen=True)
class Cue:
    """Some words and when they are shown, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Subtitles:
    """The cues of a file in its order, and what had to be assumed about it."""

    cues: tuple[Cue, ...]
    notes: tuple[str, ...] = ()

    def words(self, start: float, end: float) -> str:
        """The text of the cues that are shown between two times, joined; one that is repeated right away is said once."""
        return joined(cue.text for cue in self.cues if overlaps(cue, start, end))


def read_subtitles(path: str | Path) -> Subtitles:
    """An .srt or .vtt file. Raises AffectError `not_subtitle`, `too_large`, and what opening a file can raise."""
    with opened_file(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise AffectError(f"{shown(path)} is larger than {MAX_BYTES >> 20} MB", CURE, "too_large")
    text, notes = decoded(data)
    cues = parsed(text)
    if not cues:
        raise AffectError(f"{shown(path)} holds no subtitles", CURE, "not_subtitle")
    return Subtitles(tuple(cues), notes)


def decoded(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Text by its byte order mark, as UTF-16 where one of two bytes is 0, as UTF-8, else as Windows-1252 with a note."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), ()
    if b"\0" in data[:2]:
        return data.decode("utf-16-le" if data[0] else "utf-16-be", "replace"), ()
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), ("The subtitles are not UTF-8; they were read as Windows-1252.",)


def parsed(text: str) -> list[Cue]:
    """The cues of an SRT or WebVTT text: after each line of times, the lines up to the next empty one."""
    cues: list[Cue] = []
    times: tuple[float, float] | None = None
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        found = TIMES.match(line)
        if found or not line.strip():
            if times:
                # A cue that follows without an empty line leaves its number as the last line.
                kept = lines[:-1] if found and lines and lines[-1].strip().isdigit() else lines
                cues.append(Cue(*times, plain(" ".join(kept))))
            times, lines = (clocks(found) if found else None), []
        elif times:
            lines.append(line)
    return cues


def clocks(found: re.Match[str]) -> tuple[float, float]:
    """The two times of a cue in seconds."""
    parts = found.groups()
    return clock(parts[:4]), clock(parts[4:])


def clock(parts: tuple[str | None, ...]) -> float:
    """Hours (or none), minutes, seconds, and the digits after the dot."""
    hours, minutes, seconds, rest = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{rest}")


def overlaps(cue: Cue, start: float, end: float) -> bool:
    """Whether a cue is shown between two times; one without a length counts where it begins."""
    return cue.start < end and (cue.end > start or cue.start >= start)


def plain(text: str) -> str:
    """Cue text without markup: `<i>`, `<v Anna>`, `{\\an8}`, `\\N`, `&amp;` and runs of space."""
    return " ".join(html.unescape(TAGS.sub("", BREAKS.sub(" ", text))).split())


def joined(texts: Iterable[str]) -> str:
    """Texts in one line; one equal to the last is left out (captions that roll repeat their lines)."""
    kept: list[str] = []
    for text in texts:
        if text and (not kept or kept[-1] != text):
            kept.append(text)
    return " ".join(kept)
