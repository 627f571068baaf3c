"""`affect bench quality`: known items read by a bundle, and what was read kept, so that a second run goes on.

A task is a file of items, or items composed of those, the labels that they may get, and what is done to their inputs (an
ablation zeroes a modality's soft tokens and measurements, or shows another item's; noise is added). Knows the engine and
items; what the records mean is `runtime.rows`'.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from models.clues import FACE, VOICE
from models.emotions import LABELS
from models.errors import AffectError
from models.items import Item, read_items
from models.reading import Segment
from runtime.engine import Engine
from runtime.filmed import film
from runtime.perturb import CHANGES, changed

SEVEN = tuple(label for label in LABELS if label != "calm")
SENSES = {"voice": "audio", "face": "visual", "meld": "text", "goemotions": "text"}
MEASURED = {"visual": ("face_norm", FACE), "audio": ("voice_norm", VOICE)}
PAIRS = (("visual", "audio"), ("visual", "text"), ("audio", "text"))
Record = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What is read: all items of a kind, or `most` of them, with the labels to choose from.

    `reasons` writes whole replies, which take three times as long as their labels. Kinds: voice, face, meld, goemotions (files
    of a prepared folder), and all, agree, conflict, which are composed of those.
    """

    items: str
    labels: tuple[str, ...]
    change: str = "none"  # none, zeroed, swapped, filmed (read from an mp4 file), or one of runtime.perturb
    reasons: bool = False
    most: int | None = None

    @property
    def name(self) -> str:
        """The name of its file of records."""
        return "-".join([self.items, *([self.change] if self.change != "none" else []), *["reasons"] * self.reasons])


SINGLES = {
    "voice": Task("voice", LABELS),
    "face": Task("face", SEVEN),
    "meld": Task("meld", SEVEN),
    "goemotions": Task("goemotions", SEVEN),
}


def sample(items: list[Item], n: int) -> list[Item]:
    """`n` of the items, drawn blindly (so in their own proportions), the same ones every time."""
    return random.Random(0).sample(items, n)


@dataclass
class Reader:
    """Reads tasks with an engine, or with the `crowd` that there is for it: items from the prepared folder `data`, records kept
    in `out`."""

    engine: Engine
    data: Path
    out: Path
    split: str = "test"
    limit: int | None = None
    tick: Callable[[str, int, int], None] = lambda name, done, of: None
    known: dict[Task, list[Record]] = field(default_factory=dict, init=False)
    made: dict[Task, list[Item]] = field(default_factory=dict, init=False)
    crowd: Callable[[Task, Sequence[Item]], Iterator[Segment]] | None = None

    def read(self, task: Task) -> tuple[list[Item], list[Record]]:
        """A task's items and their records, in order; what `out` holds of them is not read again."""
        if task not in self.known:
            self.known[task] = self.records(task, self.items(task))
        return self.items(task), self.known[task]

    def items(self, task: Task) -> list[Item]:
        """The task's items, made once."""
        if task not in self.made:
            self.made[task] = self.make(task)
        return self.made[task]

    def make(self, task: Task) -> list[Item]:
        """The task's items, changed as it says: another item's input in each one's place when it swaps."""
        chosen = self.chosen(task)
        if task.change in CHANGES:
            return [changed(item, task.change) for item in chosen]
        return swapped(chosen) if task.change == "swapped" else chosen

    def chosen(self, task: Task) -> list[Item]:
        """The task's items before their change."""
        if task.items in COMPOSED:
            count = min(x for x in (task.most, self.limit) if x is not None)
            return COMPOSED[task.items](self, count)
        items = list(read_items(self.data / f"{task.items}-{self.split}.jsonl"))
        most = min(x for x in (self.limit, task.most, len(items)) if x is not None)
        return sample(items, most) if most < len(items) else items

    def records(self, task: Task, items: Sequence[Item]) -> list[Record]:
        """The items' records."""
        path = self.out / f"{task.name}-{self.split}.jsonl"
        stamp = {"bundle": self.engine.bundle.weights, "allowed": list(task.labels)}
        done = {record["id"]: record for record in kept(path, stamp)}
        norms = self.engine.bundle.spec["preprocessing"]
        left = [*{item.id: item for item in items if item.id not in done}.values()]
        with path.open("a", encoding="utf-8") as file:
            for item, found in zip(left, self.segments(task, left), strict=True):
                done[item.id] = {"id": item.id, **record_of(found, norms), **stamp}
                file.write(json.dumps(done[item.id]) + "\n")
                self.tick(task.name, len(done), len(items))
        return [done[item.id] for item in items]

    def segments(self, task: Task, items: Sequence[Item]) -> Iterator[Segment]:
        """What is made of the items, in order."""
        if self.crowd is not None:
            return self.crowd(task, items)
        return (segment(self.engine, task, item) for item in items)

    def singles(self) -> dict[str, tuple[Item, Record]]:
        """Every single input with what was read from it alone, by its id."""
        read = [pair for task in SINGLES.values() for pair in zip(*self.read(task), strict=True)]
        return {item.id: (item, record) for item, record in read if item.labels[0] in SEVEN}

    def pools(self, right: bool) -> dict[str, dict[str, list[Item]]]:
        """Single inputs by sense and label; only those that are read rightly when alone, if `right`."""
        found: dict[str, dict[str, list[Item]]] = {sense: {} for sense in SENSES.values()}
        for item in self.rightly() if right else chain(*map(self.items, SINGLES.values())):
            if item.labels[0] in SEVEN:
                found[SENSES[item.id.split("-")[0]]].setdefault(item.labels[0], []).append(item)
        return found

    def rightly(self) -> list[Item]:
        """Single inputs that are read rightly when alone."""
        return [item for item, record in self.singles().values() if best(record, SEVEN) == item.labels[0]]


def segment(engine: Engine, task: Task, item: Item) -> Segment:
    """What an engine makes of an item."""
    if task.change == "filmed":
        with TemporaryDirectory() as folder:
            return engine.read(film(item, Path(folder) / "item.mp4"), labels=task.labels).segments[0]
    blank = (SENSES[task.items],) if task.change == "zeroed" else ()
    return engine.read_items(item.faces, item.wave, item.words, task.labels, only_labels=not task.reasons, blank=blank)


def best(record: Record, labels: Sequence[str]) -> str:
    """The likeliest of some labels: what would have been read with those alone."""
    return max(labels, key=lambda label: record["scores"].get(label, 0.0))


def swapped(items: Sequence[Item]) -> list[Item]:
    """Each item with another one's input."""
    others = list(items)
    random.Random(1).shuffle(others)
    return [replace(o, id=item.id, labels=item.labels) for item, o in zip(items, others, strict=True)]


# -------------------------------------------------------------------- composed items


def together(parts: Sequence[Item]) -> Item:
    """Single inputs as one item: the ids joined, each label once."""
    found = {key: next((v for v in (getattr(p, key) for p in parts) if v is not None), None) for key in INPUTS}
    labels = tuple(dict.fromkeys(part.labels[0] for part in parts))
    return Item(id="+".join(part.id for part in parts), labels=labels, **found)


INPUTS = ("faces", "wave", "words")


def all_three(reader: Reader, count: int) -> list[Item]:
    """A face, a voice and a line of one feeling; the seven shared feelings in turn."""
    return of_one_feeling(reader, ("visual", "audio", "text"), count)


def of_one_feeling(reader: Reader, senses: Sequence[str], count: int) -> list[Item]:
    """Inputs of some senses that show one feeling, however they are read when alone; the seven shared feelings in turn."""
    pools, rng = reader.pools(right=False), random.Random(2)
    labels = [label for label in SEVEN if all(label in pools[sense] for sense in senses)]
    return [together([rng.choice(pools[s][labels[n % len(labels)]]) for s in senses]) for n in range(count)]


def agreeing(reader: Reader, count: int) -> list[Item]:
    """Two inputs of one feeling, both read rightly when alone; kinds of pairs and feelings in turn."""
    pools, rng, made = reader.pools(right=True), random.Random(3), []
    for n in range(count):
        first, second = PAIRS[n % len(PAIRS)]
        labels = found([label for label in SEVEN if label in pools[first] and label in pools[second]])
        label = labels[n // len(PAIRS) % len(labels)]
        made.append(together([rng.choice(pools[first][label]), rng.choice(pools[second][label])]))
    return made


def conflicting(reader: Reader, count: int) -> list[Item]:
    """Two inputs of different feelings, both read rightly when alone; kinds of pairs in turn."""
    pools, rng, made = reader.pools(right=True), random.Random(4), []
    for n in range(count):
        first, second = PAIRS[n % len(PAIRS)]
        pairs = found([(a, b) for a in SEVEN for b in SEVEN if a != b and a in pools[first] and b in pools[second]])
        a, b = rng.choice(pairs)
        made.append(together([rng.choice(pools[first][a]), rng.choice(pools[second][b])]))
    return made


def found(options: list[T]) -> list[T]:
    """What can be composed of. Raises AffectError `too_few` where that is nothing."""
    if not options:
        raise AffectError("too few inputs are read rightly to be put together", "read more: a larger -n", "too_few")
    return options


COMPOSED: dict[str, Callable[[Reader, int], list[Item]]] = {
    "all": all_three,
    "agree": agreeing,
    "conflict": conflicting,
}


# -------------------------------------------------------------------- records


def record_of(segment: Segment, norms: Mapping[str, Any]) -> Record:
    """A reading as it is kept: scores of all labels, named ones, clues, and their measurements in standard deviations."""
    return {
        "read": segment.labels[0].name,
        "scores": {label.name: round(label.score, 5) for label in segment.labels},
        "named": list(segment.named),
        "status": segment.status,
        "conflict": segment.conflict,
        "reason": segment.reason,
        "clues": {sense: " ".join(clue.text for clue in clues) for sense, clues in segment.clues.items()},
        "measured": {s: standard(s, c[0].values, norms) for s, c in segment.clues.items() if s in MEASURED},
    }


def standard(sense: str, values: Mapping[str, float], norms: Mapping[str, Any]) -> dict[str, float]:
    """Measurements as deviations from the training part's mean: what a level is told by."""
    norm, names = MEASURED[sense]
    at = {name: (mean, std) for name, mean, std in zip(names, norms[norm]["mean"], norms[norm]["std"], strict=True)}
    return {name: round((value - at[name][0]) / at[name][1], 4) for name, value in values.items()}


def kept(path: Path, stamp: Mapping[str, object]) -> Iterator[Record]:
    """What an earlier run of the same bundle and labels read; a half-written last line is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if all(record.get(key) == value for key, value in stamp.items()):
            yield record
