"""The rows of `affect bench quality`: which items a figure is read from, how it is counted, and the bar it is held against.

Knows items and records of what was read; nothing of engines, files or consoles.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from models.clues import NAMES, claims, frame, level, plain_words, quotes, sentences, vocabulary
from models.emotions import LABELS
from models.errors import AffectError
from models.items import Item
from models.metrics import METRICS, Counts, calibration, confusion, ratio, share
from models.prompt import clean_words
from runtime.fusion import fused, truth
from runtime.quality import SENSES, SEVEN, SINGLES, Reader, Record, Task, best

SAMPLE = 500  # items of the rows beside the headline ones
CERTAIN = 0.8  # share of readings that are called the most certain
ALL = Task("all", SEVEN, most=1000)
TOLD = Task("all", SEVEN, reasons=True, most=200)
FILMED = Task("all", SEVEN, "filmed", most=240)
ORDERED = Task("all", SEVEN, "ordered", most=50)
Figure = Callable[[Sequence[Item], Sequence[Record]], Counts]


@dataclass(frozen=True)
class Row:
    """One line of the table; `least` or `most` is the bar, `near` marks an ablation that must fall to it within 5 points.

    `beside` is for a figure that needs more than its own task's records: it gets the reader.
    """

    name: str
    task: Task
    metric: str
    figure: Figure | None = None
    least: float | None = None
    most: float | None = None
    near: float | None = None
    beside: Callable[[Reader, Sequence[Item], Sequence[Record]], Counts] | None = None

    def count(self, reader: Reader) -> tuple[int, Counts]:
        """How many items were read, and their counts."""
        items, records = reader.read(self.task)
        if self.beside is not None:
            return len(items), self.beside(reader, items, records)
        assert self.figure is not None
        return len(items), self.figure(items, records)

    def reached(self, value: float) -> bool | None:
        """Whether a value reaches the bar; None without one."""
        if self.near is not None:
            return abs(value - self.near) <= 0.05
        if self.most is not None:
            return value <= self.most
        return None if self.least is None else value >= self.least

    @property
    def bar(self) -> str:
        """The bar in words."""
        if self.near is not None:
            return f"near {self.near:.3f}"
        return f">= {self.least:.2f}" if self.least is not None else "" if self.most is None else f"<= {self.most:.2f}"


def labelled(metric: str) -> Figure:
    """The first label against the true one."""
    return lambda items, records: Counts(
        confusion([item.labels[0] for item in items], [record["read"] for record in records]), METRICS[metric]
    )


def clue_truth(sense: str, swapped: bool = False) -> Figure:
    """Of what clues claim the share that agrees with the measurement; `swapped`: with
    another item's, which tells how much of it is guessing."""

    def count(items: Sequence[Item], records: Sequence[Record]) -> Counts:
        others = another(records) if swapped else records
        pairs = [agreement(r, o, sense) for r, o in zip(records, others, strict=True)]
        return ratio([hit for hit, _ in pairs], [of for _, of in pairs])

    return count


def another(records: Sequence[Record]) -> list[Record]:
    """For each record one of another item, drawn blindly: neighbours are of one speaker."""
    order = random.Random(1).sample(range(len(records)), len(records))
    after = dict(zip(order, [*order[1:], *order[:1]], strict=True))
    return [records[after[place]] for place in range(len(records))]


def agreement(record: Record, other: Record, sense: str) -> tuple[int, int]:
    """Claims of a record's clue that agree with the measurements of another, and all that can be held against them."""
    said = claims(record["clues"].get(sense, ""), sense)
    z = other["measured"].get(sense, {})
    known = [key for key in said if key in z]
    return sum(said[key] == level(z[key]) for key in known), len(known)


def clue_given(sense: str) -> Figure:
    """Of the readings with that input, the share whose clue claims something that was measured."""
    return lambda items, records: ratio(
        [bool(claims(r["clues"].get(sense, ""), sense)) for r in records], [1] * len(records)
    )


def gain(reader: Reader, items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Accuracy of several inputs together over that of the best one of them alone, on the same items."""
    singles = reader.singles()
    rows = []
    for item, record in zip(items, records, strict=True):
        alone = {SENSES[part.split("-")[0]]: best(singles[part][1], SEVEN) for part in item.id.split("+")}
        hits = [alone[sense] == item.labels[0] for sense in ("visual", "audio", "text")]
        rows.append([1.0, record["read"] == item.labels[0], *hits])
    return Counts(np.array(rows, float), lambda summed: float((summed[1] - summed[2:].max()) / max(summed[0], 1)))


def over_fusion(reader: Reader, items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Accuracy of the network on several inputs over that of late fusion, on the same items."""
    hits = [record["read"] == item.labels[0] for item, record in zip(items, records, strict=True)]
    rows = np.stack([np.ones(len(hits)), hits, fused(reader, items) == truth(items)], 1).astype(float)
    return Counts(rows, lambda summed: float((summed[1] - summed[2]) / max(summed[0], 1)))


def one_named(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Share of readings that name exactly one label."""
    return ratio([len(record["named"]) == 1 for record in records], [1] * len(records))


def both_named(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Share of readings that name both feelings and say that they differ."""
    pairs = zip(items, records, strict=True)
    return ratio([set(i.labels) <= set(r["named"]) and r["conflict"] is not None for i, r in pairs], [1] * len(records))


def differing(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Share of readings that say that the inputs differ."""
    return ratio([record["conflict"] is not None for record in records], [1] * len(records))


def unsure(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Share of readings that are unsure."""
    return ratio([record["status"] == "unsure" for record in records], [1] * len(records))


def surety(record: Record) -> float:
    """The first label's probability."""
    return float(max(record["scores"].values()))


def excess_error(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Calibration error of the first label beyond what perfect calibration would show by chance."""
    hits = [record["read"] == item.labels[0] for item, record in zip(items, records, strict=True)]
    return calibration([surety(record) for record in records], hits)


def when_certain(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Accuracy on the most certain readings over accuracy on all."""
    sure = np.array([surety(record) for record in records])
    chosen = sure >= np.quantile(sure, 1 - CERTAIN)
    hits = np.array([record["read"] == item.labels[0] for item, record in zip(items, records, strict=True)])
    rows = np.stack([hits & chosen, chosen, hits, np.ones(len(hits))], 1).astype(float)
    return Counts(rows, lambda summed: share(summed[:2]) - share(summed[2:]))


def concluded(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Share of reasons whose conclusion has the named labels and no other."""
    return ratio([{*plain_words(conclusion(r))} & {*LABELS} == {*r["named"]} for r in records], [1] * len(records))


def conclusion(record: Record) -> str:
    """What follows the clues."""
    return str(record["reason"]).removeprefix(" ".join(record["clues"].values())).strip()


def beside_the_point(sense: str) -> Figure:
    """Share of reasons of this sense alone that speak of another."""
    names = {name for other, words in NAMES.items() if other != sense for name in words}
    return lambda items, records: ratio(
        [bool(names & {*plain_words(r["reason"])}) for r in records], [1] * len(records)
    )


def invented(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Share of reasons with a word that no clue and no conclusion is made of, quotations left out."""
    return ratio([not vocabulary().issuperset(plain_words(r["reason"])) for r in records], [1] * len(records))


def quoted(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Of all quotations the share that stands in the words as the model gets them, letter by letter."""
    told = [(r["reason"], clean_words(item.words) or "") for item, r in zip(items, records, strict=True)]
    hits = [quote in words for reason, words in told for quote in quotes(reason)]
    return ratio(hits, [1] * len(hits))


def overlong(items: Sequence[Item], records: Sequence[Record], most: int = 80) -> Counts:
    """Share of reasons that are too long, or say a sentence twice."""
    told = [sentences(record["reason"]) for record in records]
    bad = [len(" ".join(said).split()) > most or len({*said}) < len(said) for said in told]
    return ratio(bad, [1] * len(records))


def frames(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Number of different sentences, levels, labels and quotations aside."""
    told = table([list(map(frame, sentences(r["reason"]))) for r in records])
    return Counts(told, lambda summed: float((summed > 0).sum()), drawable=False)


def distinct_pairs(items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Different pairs of neighbouring words over all of them, quotations left out (distinct-2, arXiv 1510.03055)."""
    told = [plain_words(record["reason"]) for record in records]
    pairs = [list(pairwise(words)) for words in told]
    return Counts(table(pairs), lambda summed: float((summed > 0).sum() / max(summed.sum(), 1)), drawable=False)


def table(rows: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """How often each thing occurs in each row: [N, things]."""
    places = {thing: at for at, thing in enumerate(dict.fromkeys(thing for row in rows for thing in row))}
    counted = np.zeros((len(rows), len(places)))
    for number, row in enumerate(rows):
        for thing in row:
            counted[number, places[thing]] += 1
    return counted


def ablation(kind: str, change: str, labels: tuple[str, ...]) -> Row:
    """A single input taken away, or another item's put in its place."""
    task = Task(kind, labels, change, most=SAMPLE)
    return Row(f"{kind}-{change}", task, "UAR", labelled("UAR"), near=1 / len(labels))


def unchanged(reader: Reader, items: Sequence[Item], task: Task) -> list[str]:
    """What is read of the same items without their change."""
    plain = {record["id"]: record["read"] for record in reader.read(task)[1]}
    return [plain[item.id] for item in items]


def same_label(reader: Reader, items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """Share of first labels that are those of the same items unchanged."""
    plain = unchanged(reader, items, ALL)
    return ratio([r["read"] == read for r, read in zip(records, plain, strict=True)], [1] * len(records))


def obeyed(reader: Reader, items: Sequence[Item], records: Sequence[Record]) -> Counts:
    """How much oftener an order in the words moves the first label than a sentence that has the same feeling in it."""
    plain = unchanged(reader, items, ALL)
    mentioned = reader.read(replace(ORDERED, change="mentioned"))[1]
    moved = [[r["read"] != read for r, read in zip(found, plain, strict=True)] for found in (records, mentioned)]
    rows = np.stack([*moved, np.ones(len(plain))], 1).astype(float)
    return Counts(rows, lambda summed: float((summed[0] - summed[1]) / max(summed[2], 1)))


def of_clean(kind: str, metric: str) -> Callable[[Reader, Sequence[Item], Sequence[Record]], Counts]:
    """A figure over that of the same items unchanged."""

    def count(reader: Reader, items: Sequence[Item], records: Sequence[Record]) -> Counts:
        truth, clean = [item.labels[0] for item in items], unchanged(reader, items, SINGLES[kind])
        tables = [confusion(truth, [r["read"] for r in records]), confusion(truth, clean)]
        cut, figure = tables[0].shape[1], METRICS[metric]
        return Counts(np.hstack(tables), lambda summed: figure(summed[:cut]) / max(figure(summed[cut:]), 1e-9))

    return count


def robustness(kind: str, metric: str, changes: Sequence[str], least: float = 0.80) -> list[Row]:
    """A single input after each of some changes, against the same items without."""
    labels = SINGLES[kind].labels
    tasks = {change: Task(kind, labels, change, most=SAMPLE) for change in changes}
    return [
        Row(f"{kind}-{c}", task, "of clean", least=least, beside=of_clean(kind, metric)) for c, task in tasks.items()
    ]


def clue_rows(kind: str, sense: str, least: float) -> list[Row]:
    """What is said of a voice or a face, held against its own measurements and against another's."""
    task = Task(kind, LABELS if kind == "voice" else SEVEN, reasons=True, most=SAMPLE)
    return [
        Row(f"{kind}-clues", task, "clues true", clue_truth(sense), least=least),
        Row(f"{kind}-clues-swapped", task, "clues true", clue_truth(sense, swapped=True), most=0.55),
        Row(f"{kind}-clues-given", task, "readings", clue_given(sense), least=0.80),
        Row(f"{kind}-of-others", task, "readings", beside_the_point(sense), most=0.0),
    ]


ROWS = (
    Row("voice", SINGLES["voice"], "UAR", labelled("UAR"), least=0.75),
    Row("face", SINGLES["face"], "accuracy", labelled("accuracy"), least=0.69),
    Row("meld", SINGLES["meld"], "weighted F1", labelled("weighted F1"), least=0.57),
    Row("goemotions", SINGLES["goemotions"], "weighted F1", labelled("weighted F1"), least=0.67),
    Row("all", ALL, "accuracy", labelled("accuracy")),
    Row("all-gain", ALL, "over single", beside=gain, least=0.09),
    Row("all-fusion", ALL, "over fusion", least=0.03, beside=over_fusion),
    Row("all-one-label", ALL, "readings", one_named, least=0.85),
    Row("all-unsure", ALL, "readings", unsure, most=0.15),
    Row("all-certain", ALL, "accuracy up", when_certain, least=0.04),
    Row("all-calibration", ALL, "excess ECE", excess_error, most=0.04),
    *(Row(f"{kind}-calibration", SINGLES[kind], "excess ECE", excess_error, most=0.04) for kind in SINGLES),
    Row("conflict", Task("conflict", SEVEN, most=SAMPLE), "both named", both_named, least=0.75),
    Row("agree", Task("agree", SEVEN, most=SAMPLE), "conflict set", differing, most=0.05),
    ablation("voice", "zeroed", LABELS),
    ablation("voice", "swapped", LABELS),
    ablation("face", "zeroed", SEVEN),
    ablation("face", "swapped", SEVEN),
    ablation("meld", "swapped", SEVEN),
    *robustness("voice", "UAR", ("noise", "telephone", "reverb", "mp3")),
    *robustness("face", "accuracy", ("jpeg", "half", "dark", "turned", "masked")),
    *robustness("meld", "weighted F1", ("misheard", "spoken"), least=0.90),
    Row("all-filmed", FILMED, "same label", least=0.90, beside=same_label),
    Row("all-ordered", ORDERED, "moved more", most=0.05, beside=obeyed),
    Row("told-conclusion", TOLD, "as named", concluded, least=0.98),
    Row("told-quotes", TOLD, "verbatim", quoted, least=1.0),
    Row("told-invented", TOLD, "readings", invented, most=0.0),
    Row("told-overlong", TOLD, "readings", overlong, most=0.0),
    Row("told-frames", TOLD, "frames", frames, least=60),
    Row("told-distinct-2", TOLD, "word pairs", distinct_pairs, least=0.10),
    *clue_rows("voice", "audio", 0.90),
    *clue_rows("face", "visual", 0.80),
)


def choose_rows(names: Sequence[str]) -> list[Row]:
    """Rows by name, all without names. Raises AffectError `bad_row`."""
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise AffectError(f"no row {unknown[0]}", f"rows: {', '.join(known)}", "bad_row")
    return [known[name] for name in names] or list(ROWS)
