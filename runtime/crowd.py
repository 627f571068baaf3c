"""Several engines side by side, each in a process of its own with one thread: two read half as many items again in the same
time as one engine with two threads, whose prompts are too short to share out. Knows engines and items; nothing of figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from models.items import Item
from models.reading import Segment
from runtime.engine import Engine
from runtime.quality import Task, segment

MOST = 4  # engines
engines: list[Engine] = []  # the one of this process, when it is of a crowd


class Crowd:
    """`count` engines of one bundle; used in a `with` block, since its processes end with it."""

    def __init__(self, bundle: str | Path, count: int, language_model: Path | None = None) -> None:
        self.count = count
        self.pool = ProcessPoolExecutor(count, get_context("spawn"), enter, (bundle, language_model))

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def segments(self, task: Task, items: Sequence[Item]) -> Iterator[Segment]:
        """What they make of the items, in order. Raises what reading can raise."""
        return self.pool.map(read_one, repeat(task), items)


def crowd_size(engine: Engine) -> int:
    """How many engines read fastest: one where a card computes, else one a core, as far as memory goes (700 MB each)."""
    return 1 if engine.device == "cuda" else min(MOST, engine.threads)


def enter(bundle: str | Path, language_model: Path | None) -> None:
    """Loads a process' own engine."""
    engines.append(Engine.load(bundle, device="cpu", threads=1, language_model=language_model))


def read_one(task: Task, item: Item) -> Segment:
    """One item, in one of the processes."""
    return segment(engines[0], task, item)
