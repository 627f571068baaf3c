"""What was computed once of a picture or a sound is kept while it may be asked for again: live, stretches overlap.

Results are known by the content that they were computed from, so what is remembered is what would be computed. May be shared
between threads. Knows arrays; nothing of time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from models.faces import Face, FaceFinder
from runtime.encoders import Encoders

MOST = 32e6  # bytes: of nano two minutes of faces and speech, of a bundle with 1.4 MB a frame 22 frames
SMALL = 1000  # bytes that a result without arrays counts for


class Memory:
    """Results by kind and content; those that were not asked for longest are forgotten."""

    def __init__(self, most: float = MOST) -> None:
        self.most, self.lock = most, Lock()
        self.results: OrderedDict[tuple[str, bytes], Any] = OrderedDict()
        self.bytes = 0
        self.made = 0  # how many were computed

    def recall(self, kind: str, content: np.ndarray, make: Callable[[], Any]) -> Any:
        """The result for an array's content, from `make` when it is not known."""
        key = (kind, digest(content))
        with self.lock:
            if key in self.results:
                self.results.move_to_end(key)
                return self.results[key]
        return self.keep(key, make())

    def keep(self, key: tuple[str, bytes], result: Any) -> Any:
        """A new result."""
        with self.lock:
            self.bytes += size(result) - size(self.results.get(key))
            self.results[key] = result
            self.made += 1
            while self.bytes > self.most and len(self.results) > 1:
                self.bytes -= size(self.results.popitem(last=False)[1])
        return result

    def rows(self, kind: str, contents: np.ndarray, make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Results [N, ...] of the rows [N, ...]; `make` gets those that are not known, one by one: a card plans anew for each
        number of rows, and alone or among others a row's result is the same."""
        keys = [(kind, digest(row)) for row in contents]
        with self.lock:
            known = {key: self.results[key] for key in keys if key in self.results}
            for key in known:
                self.results.move_to_end(key)
        for at, key in enumerate(keys):
            if key not in known:
                known[key] = self.keep(key, make(contents[at : at + 1])[0])
        return np.stack([known[key] for key in keys])


def size(result: Any) -> int:
    """Bytes of a result: of its arrays, and a little for what else there is; none for None."""
    if result is None:
        return 0
    parts = result if isinstance(result, (tuple, list)) else (result,)
    return SMALL + sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def digest(content: np.ndarray) -> bytes:
    """16 bytes that tell one array's shape and values from another's: 1 ms a megabyte."""
    whole = hashlib.blake2b(str((content.shape, content.dtype.str)).encode(), digest_size=16)
    whole.update(np.ascontiguousarray(content).data)
    return whole.digest()


class KeptFaces(FaceFinder):
    """A FaceFinder that remembers what it found. Each thread has its own; they may share a memory."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def detect(self, frame: np.ndarray) -> list[Face]:
        """Faces of a frame, most certain first."""
        found: list[Face] = self.memory.recall("faces", frame, lambda: super(KeptFaces, self).detect(frame))
        return found

    def points(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """The mesh on uint8 [192, 192, 3]: points in its pixels, logit."""
        found: tuple[np.ndarray, float] = self.memory.recall(
            "mesh", picture, lambda: super(KeptFaces, self).points(picture)
        )
        return found


class KeptEncoders(Encoders):
    """A bundle's loaded graphs, frames and windows of sound encoded once."""

    def __init__(self, encoders: Encoders, memory: Memory) -> None:
        self.sessions, self.norms, self.memory = encoders.sessions, encoders.norms, memory

    def faces(self, crops: np.ndarray) -> np.ndarray:
        """Tokens float32 [T, q, C] of grey crops [T, S, S] or RGB frames [T, S, S, 3]."""
        return self.memory.rows("frame", crops, super().faces)

    def windows(self, mel: np.ndarray) -> np.ndarray:
        """log-mel float32 [W, 80, F] -> states [W, S, C]."""
        return self.memory.rows("window", mel, super().windows)
