"""A folder of what was read live: `readings.jsonl`, recordings, snapshots. Nothing is written anywhere else.

Knows files; nothing of devices or readings.
"""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.errors import AffectError

READINGS = "readings.jsonl"


class Journal:
    """Writes into `folder`, which is made; what is there already is kept. Raises AffectError `no_output`, `disk_full`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = (folder / READINGS).open("a", encoding="ascii")
        except OSError as error:
            raise unwritten(folder, error) from error

    def write(self, record: dict[str, Any]) -> None:
        """One line, handed to the system at once: nothing of it is lost when the program is killed."""
        try:
            self.file.write(json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n")
            self.file.flush()
        except OSError as error:
            raise unwritten(self.folder, error) from error

    def snapshot(self, picture: np.ndarray | None, record: dict[str, Any] | None) -> str:
        """A PNG of uint8 [H, W, 3] RGB and the JSON of a reading beside it; gives their common name."""
        name = self.free("snapshot", ".png", ".json").stem
        try:
            if picture is not None:
                _, png = cv2.imencode(".png", picture[:, :, ::-1])
                (self.folder / f"{name}.png").write_bytes(png.tobytes())
            if record is not None:
                text = json.dumps(record, ensure_ascii=True, allow_nan=False, indent=2)
                (self.folder / f"{name}.json").write_text(text + "\n", encoding="ascii")
        except OSError as error:
            raise unwritten(self.folder, error) from error
        return name

    def free(self, kind: str, *endings: str) -> Path:
        """The first numbered name of a kind that no file has yet."""
        number = 1
        while any((self.folder / f"{kind}-{number}{ending}").exists() for ending in endings):
            number += 1
        return self.folder / f"{kind}-{number}{endings[0]}"

    def close(self) -> None:
        """Closes the file of readings; what could not be written before can't be now."""
        with suppress(OSError):
            self.file.close()


def unwritten(folder: Path, error: OSError) -> AffectError:
    """What an OSError means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return AffectError(f"{folder} can't be written: the disk is full", "free some space", "disk_full")
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return AffectError(f"{folder} is a file, or in one, not a folder", "give a folder with -o", "no_output")
    return AffectError(f"{folder} can't be written: {error.strerror}", "give another folder with -o", "no_output")
