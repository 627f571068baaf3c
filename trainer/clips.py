"""One's own clips: JSON lines that name files or items and the labels they should get, read as `affect analyze` reads them.

A clip is `{"video" | "audio" | "image": path, "subtitle": words or null, "labels": ["happy"]}`, without words those of the
file's own subtitle track; an item is a row of `models.items`. Paths are relative to the lines' folder. Speech is not
recognised here, and a voice is where there is sound: whether somebody speaks is asked in live use alone. Knows files; nothing
of networks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.config import AffectConfig
from models.emotions import choose_labels
from models.errors import AffectError
from models.faces import FaceFinder
from models.inputs import Heard, Seen, hear, see, see_faces
from models.items import read_item
from models.media import read_clip
from models.prompt import clean_words
from models.tongues import is_english

MEDIA = ("video", "audio", "image")
CLIP_KEYS = (*MEDIA, "subtitle", "labels")
ITEM_KEYS = ("id", "face", "voice", "words", "labels")
FORM = '{"video": "a.mp4", "subtitle": null, "labels": ["happy"]}'
MOST_LABELS = 3  # that a reply names
BAD = (ValueError, KeyError, TypeError, IndexError, OSError, EOFError)  # what a broken row of items raises


@dataclass(frozen=True)
class Row:
    """One checked line; `digest` is the sha256 of what it says, whatever the order of its keys."""

    file: Path
    number: int
    values: Mapping[str, Any]
    labels: tuple[str, ...]
    digest: str

    def wrong(self, key: str, why: str, cure: str = "", code: str = "bad_items") -> AffectError:
        """The error of a key."""
        return AffectError(f"{self.file.name}, line {self.number}, {key}: {why}", cure, code)


@dataclass(frozen=True)
class Shown:
    """What is shown of a line, as the encoders get it; at least one of the three is there."""

    row: Row
    seen: Seen | None
    heard: Heard | None
    words: str | None


def read_rows(path: Path, labels: tuple[str, ...]) -> list[Row]:
    """The lines of a file, their keys, kinds and labels checked, no media opened yet; empty lines are passed over.

    Raises AffectError `not_found` or `bad_items` with file, line and key.
    """
    if not path.is_file():
        raise AffectError(f"data={path} is not there", f"a file of JSON lines, like {FORM}", "not_found")
    with path.open("rb") as file:
        rows = [checked(path, number, line, labels) for number, line in enumerate(file, 1) if line.strip()]
    if len(rows) < 2:
        words = f"{path.name} has {len(rows)} clips: one to learn from and one to hold out are the least"
        raise AffectError(words, f"one a line, like {FORM}", "bad_items")
    return rows


def checked(path: Path, number: int, line: bytes, labels: tuple[str, ...]) -> Row:
    """One line. Raises AffectError `bad_items`."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AffectError(
            f"{path.name}, line {number}: no JSON", f"one clip a line, like {FORM}", "bad_items"
        ) from error
    if not isinstance(values, dict):
        raise AffectError(f"{path.name}, line {number}: no JSON object", f"like {FORM}", "bad_items")
    text = json.dumps(values, sort_keys=True)
    row = Row(path, number, values, (), hashlib.sha256(text.encode()).hexdigest())
    check_keys(row)
    return Row(path, number, values, labels_of(row, labels), row.digest)


def check_keys(row: Row) -> None:
    """One of the two forms, and words where words belong. Raises AffectError `bad_items`."""
    named = [key for key in MEDIA if key in row.values]
    known = CLIP_KEYS if named else ITEM_KEYS
    if len(named) > 1:
        raise row.wrong(named[1], f"a clip is one file, and {named[0]} names one", f"like {FORM}")
    for key, value in row.values.items():
        if key not in known:
            raise row.wrong(key, "unknown key", f"one of: {', '.join(known)}")
        if key not in ("id", "labels") and not isinstance(value, str | None):
            raise row.wrong(key, f"{value!r} is no text", f"like {FORM}")
    if named and row.values[named[0]] is None:
        raise row.wrong(named[0], "no file", f"like {FORM}")


def labels_of(row: Row, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The wanted labels, synonyms resolved, in their order. Raises AffectError `bad_items`."""
    given = row.values.get("labels")
    if not isinstance(given, list) or not given or not all(isinstance(word, str) for word in given):
        raise row.wrong("labels", "no list of words", 'like "labels": ["happy"]')
    try:
        found = tuple(dict.fromkeys(choose_labels([word], allowed)[0] for word in given))
    except AffectError as error:
        raise row.wrong("labels", error.message, error.cure) from error
    if len(found) > MOST_LABELS:
        raise row.wrong("labels", f"{len(found)} labels, and a reply names up to {MOST_LABELS}")
    return found


def read_shown(rows: list[Row], config: AffectConfig) -> Iterator[Shown]:
    """What every row shows. Raises AffectError with file, line and key for what can't be read."""
    finder = FaceFinder()
    for row in rows:
        shown = clip_shown(row, config, finder) if set(MEDIA) & set(row.values) else item_shown(row, config, finder)
        if shown.seen is None and shown.heard is None and shown.words is None:
            key = next(iter(row.values))
            raise row.wrong(key, "no face, no sound and no words that could be learned from", "leave the line out")
        yield shown


def clip_shown(row: Row, config: AffectConfig, finder: FaceFinder) -> Shown:
    """A file's face, sound and words."""
    key = next(key for key in MEDIA if key in row.values)
    given, vision = row.values.get("subtitle"), config.vision
    path = row.file.parent / row.values[key]
    try:
        clip = read_clip(
            path, frames=vision.frames, video=key != "audio", audio=key != "image", subtitles=given is None
        )
    except AffectError as error:
        raise row.wrong(key, error.message, error.cure, error.code) from error
    said = clean_words(clip.transcript if given is None else given)
    seen = see_faces(finder, clip.frames, vision.image_size) if len(clip.frames) else None
    return Shown(row, seen, heard(clip.waveform, config), said if said and is_english(said) else None)


def item_shown(row: Row, config: AffectConfig, finder: FaceFinder) -> Shown:
    """A row's face crop, sound and words."""
    crops, size = part(row, "face", lambda item: item.faces), config.vision.image_size
    if crops is not None and (crops.dtype != np.uint8 or crops.shape != (1, size, size)):
        raise row.wrong("face", f"no grey crop of {size} x {size} pixels", "as `affect-train data` writes them")
    wave = part(row, "voice", lambda item: item.wave)
    if wave is not None and wave.ndim != 1:
        raise row.wrong("voice", "no row of samples", "as `affect-train data` writes them")
    seen = None if crops is None else see(finder, crops)
    return Shown(row, seen, heard(wave, config), clean_words(row.values.get("words")))


def part(row: Row, key: str, take: Callable[[Any], Any]) -> Any:
    """One of an item's media. Raises AffectError with file, line and key."""
    try:
        return take(read_item({"id": "", "labels": (), key: row.values.get(key)}, row.file.parent))
    except AffectError as error:
        raise row.wrong(key, error.message, error.cure, error.code) from error
    except BAD as error:
        raise row.wrong(key, str(error) or "it can't be read", "like faces.npy#12") from error


def heard(wave: np.ndarray | None, config: AffectConfig) -> Heard | None:
    """Windows and measurements of a wave, None where there is nothing to hear."""
    return hear(wave, config.audio.window_seconds, config.audio.max_windows)
