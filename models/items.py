"""Items to read without a container: JSON lines that name a face crop, a sound file, words, and the labels they should get.

`{"id", "face": "faces.npy#12" | null, "voice": "file" | "voices.npy#3" | null, "words": str | null, "labels": [str]}`; paths
are relative to the JSON lines' folder. Arrays are loaded without pickle. Knows files; nothing of networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import AffectError


@dataclass(frozen=True)
class Item:
    """What is shown to the engine: faces uint8 [T, S, S] grey crops or None, wave float32 16 kHz or None, words or None."""

    id: str
    faces: np.ndarray | None
    wave: np.ndarray | None
    words: str | None
    labels: tuple[str, ...]


def read_items(path: Path) -> Iterator[Item]:
    """The items of a JSON lines file. Raises AffectError `not_found` or `bad_items` with the line's number."""
    if not path.is_file():
        raise AffectError(f"{path} is not there", "items come from: affect-train data SOURCE -o DIR", "not_found")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield read_item(json.loads(line), path.parent)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise AffectError(f"{path.name}, line {number}: {error}", "", "bad_items") from error


def read_item(row: Mapping[str, Any], folder: Path) -> Item:
    """One row with its media."""
    face, voice = row.get("face"), row.get("voice")
    faces = None if face is None else array_row(folder, face)[None]
    return Item(str(row["id"]), faces, read_voice(folder, voice), row.get("words"), tuple(row["labels"]))


def read_voice(folder: Path, name: str | None) -> np.ndarray | None:
    """A sound file, or a row of int16 samples."""
    if name is None:
        return None
    if "#" in name:
        return np.trim_zeros(array_row(folder, name).astype(np.float32) / 32767, "b")
    from models.media import load_wave

    return load_wave(folder / name)


def array_row(folder: Path, name: str) -> np.ndarray:
    """`file.npy#row`."""
    file, _, row = name.partition("#")
    return np.array(opened(folder / file)[int(row)])


@lru_cache(16)
def opened(path: Path) -> np.ndarray:
    """A memory-mapped array. Raises AffectError `not_found`."""
    if not path.is_file():
        raise AffectError(f"{path} is not there", "", "not_found")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def write_items(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
