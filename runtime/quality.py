"""`affect bench quality`: a bundle on known items, row by row, resumable; replies stop after the labels.

A row is a set of items, the labels they may get, and what is done to the inputs (an ablation zeroes a modality's soft tokens
and measurements, or shows another item's). Knows the engine and items; nothing of consoles.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models.emotions import LABELS
from models.errors import AffectError
from models.items import Item, read_items
from models.metrics import METRICS
from runtime.engine import Engine

SEVEN = tuple(label for label in LABELS if label != "calm")
SENSES = {"voice": "audio", "face": "visual", "meld": "text", "goemotions": "text"}


@dataclass(frozen=True)
class Row:
    """One line of the table; `least` is the bar, `near` marks an ablation that must fall to it within 5 points."""

    name: str
    items: str
    metric: str
    labels: tuple[str, ...]
    change: str = "none"  # none | zeroed | swapped
    least: float | None = None
    near: float | None = None


ROWS = (
    Row("voice", "voice-test", "UAR", LABELS, least=0.65),
    Row("face", "face-test", "accuracy", SEVEN, least=0.64),
    Row("meld", "meld-test", "weighted F1", SEVEN, least=0.54),
    Row("goemotions", "goemotions-test", "weighted F1", SEVEN),
    Row("voice-zeroed", "voice-test", "UAR", LABELS, "zeroed", near=1 / 8),
    Row("voice-swapped", "voice-test", "UAR", LABELS, "swapped", near=1 / 8),
    Row("face-zeroed", "face-test", "UAR", SEVEN, "zeroed", near=1 / 7),
    Row("face-swapped", "face-test", "UAR", SEVEN, "swapped", near=1 / 7),
    Row("meld-swapped", "meld-test", "UAR", SEVEN, "swapped", near=1 / 7),
)
SAMPLE = 500  # items of an ablation row


@dataclass(frozen=True)
class Figure:
    """A row's result."""

    row: Row
    n: int
    value: float

    @property
    def reached(self) -> bool | None:
        """Whether the bar was reached; None without one."""
        if self.row.near is not None:
            return abs(self.value - self.row.near) <= 0.05
        return None if self.row.least is None else self.value >= self.row.least


def choose_rows(names: list[str]) -> list[Row]:
    """Rows by name, all without names. Raises AffectError `bad_row`."""
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise AffectError(f"no row {unknown[0]}", f"rows: {', '.join(known)}", "bad_row")
    return [known[name] for name in names] or list(ROWS)


def sample(items: list[Item], n: int) -> list[Item]:
    """`n` of the items, drawn blindly (so in their own proportions), the same ones every time."""
    return random.Random(0).sample(items, n)


def items_of(row: Row, data: Path, limit: int | None) -> list[Item]:
    """The row's items, with another item's input in each one's place when the row swaps."""
    items = list(read_items(data / f"{row.items}.jsonl"))
    most = min(x for x in (limit, SAMPLE if row.change != "none" else None, len(items)) if x is not None)
    chosen = sample(items, most) if most < len(items) else items
    if row.change != "swapped":
        return chosen
    others = chosen[:]
    random.Random(1).shuffle(others)
    return [replace(o, id=item.id, labels=item.labels) for item, o in zip(chosen, others, strict=True)]


def read_row(
    engine: Engine, row: Row, data: Path, out: Path, limit: int | None, tick: Callable[[int, int], None]
) -> Figure:
    """Reads a row's items that `out`/ROW.jsonl does not hold yet, and gives the figure over them all."""
    items = items_of(row, data, limit)
    path = out / f"{row.name}.jsonl"
    stamp = {"bundle": engine.bundle.sha256, "labels": list(row.labels)}
    done = dict(read_done(path, stamp))
    blank = (SENSES[row.items.split("-")[0]],) if row.change == "zeroed" else ()
    with path.open("a", encoding="utf-8") as file:
        for number, item in enumerate(items):
            if item.id not in done:
                segment = engine.read_items(
                    item.faces, item.wave, item.words, row.labels, only_labels=True, blank=blank
                )
                done[item.id] = segment.labels[0].name
                file.write(json.dumps({"id": item.id, "read": done[item.id], "named": segment.named, **stamp}) + "\n")
            tick(number + 1, len(items))
    value = METRICS[row.metric]([i.labels[0] for i in items], [done[i.id] for i in items])
    return Figure(row, len(items), value)


def read_done(path: Path, stamp: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What an earlier run of the same bundle and labels read; a half-written last line is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if all(row.get(key) == value for key, value in stamp.items()):
            yield row["id"], row["read"]
