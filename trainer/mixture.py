"""Composed items: a face, a voice and a line of words of one feeling, alone or together, agreeing or not.

An item's random numbers come from (seed, its number) alone, so that a run can go on where it stopped and a validation set
is always the same. Knows rows and labels; nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from models.clues import FACE, VOICE
from models.emotions import LABELS
from models.prompt import Present, Reply, clean_words
from trainer.config import MixtureConfig
from trainer.datasets import Corpus, Line, Sources
from trainer.reasons import wanted

STAND_IN = {"calm": "neutral"}  # faces and lines know no calm
PARTS = {
    "face": ("visual",),
    "voice": ("audio",),
    "words": ("text",),
    "face_voice": ("visual", "audio"),
    "face_words": ("visual", "text"),
    "voice_words": ("audio", "text"),
    "all": ("visual", "audio", "text"),
}
BLEND = (0.3, 0.7)  # share of the other class in a picture or sound that is to be mistaken
CONFLICTS = (("visual", "audio"), ("visual", "text"), ("audio", "text"))
Readings = Mapping[
    str, np.ndarray
]  # sense -> number of the label that is read in each row of its source, -1: not asked


@dataclass(frozen=True)
class Item:
    """What is shown (row of a face, row of a voice, words; None where absent), the reply to it, its true label."""

    face: int | None
    voice: int | None
    present: Present
    reply: Reply
    label: str
    kind: str
    reasoned: bool = True  # whether the reason is taught, or the labels alone
    blends: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # sense -> row blended in, its share


@dataclass(frozen=True)
class Norm:
    """Mean and standard deviation of measurements over the training part: `z = (x - mean) / std`, clipped to +-3."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """[..., M] -> standardised float32, nan kept."""
        z = (values - np.array(self.mean)) / np.array(self.std)
        return np.clip(z, -3, 3).astype(np.float32)


def norm_of(sources: Sources) -> Norm:
    """The training part's norm; a measurement that never varies gets a deviation of 1."""
    rows = sources.measures[sources.rows("train")]
    mean, std = np.nanmean(rows, 0), np.nanstd(rows, 0)
    return Norm(
        tuple(map(float, np.nan_to_num(mean))), tuple(float(s) if s > 1e-6 else 1.0 for s in np.nan_to_num(std))
    )


def mistakes_of(sources: Sources, read: np.ndarray) -> np.ndarray:
    """What is read for a true label on the validation part, as probabilities [label, label]; 2 % are spread evenly."""
    table = np.zeros((len(LABELS), len(LABELS)))
    for row in sources.rows("validation"):
        table[LABELS.index(sources.labels[row]), read[row]] += 1
    table = table + 0.02 * table.sum(1, keepdims=True) / len(LABELS) + 1e-3
    return table / table.sum(1, keepdims=True)


def clear_rows(rows: np.ndarray, label: str, read: np.ndarray | None) -> np.ndarray:
    """Rows in which their own label is read; all of them where none is, or where nothing was read."""
    clear = rows if read is None else rows[read[rows] == LABELS.index(label)]
    return clear if len(clear) else rows


class Composer:
    """Draws items of one split. `readings` are what each sense is read as when alone.

    On the validation part they tell what it would be mistaken for: in compositions a face or voice of such a class is shown
    with the label kept at the truth, so that the language model learns how far each sense can be trusted (without it, it
    trusts features that are near perfect in training). Beside one other sense it is blended in only: two plain ones that
    differ are a conflict. On its own split they tell which faces, voices and lines show their feeling clearly: only those
    contradict each other.
    """

    def __init__(self, corpus: Corpus, split: str, mixture: MixtureConfig, readings: Readings | None = None) -> None:
        self.corpus, readings = corpus, readings or {}
        media = {"visual": corpus.faces, "audio": corpus.voices}
        self.mistakes = {sense: mistakes_of(media[sense], readings[sense]) for sense in media if sense in readings}
        self.kinds = [item.name for item in fields(mixture) if item.name != "reasoned"]
        self.reasoned = mixture.reasoned
        self.shares = np.array([getattr(mixture, kind) for kind in self.kinds])
        self.shares = self.shares / self.shares.sum()
        self.words = words_of(corpus.lines, split)
        self.rows = {sense: {name: found.rows(split, name) for name in LABELS} for sense, found in media.items()}
        self.rows["text"] = {name: lines_with(corpus.lines, self.words, label=name) for name in LABELS}
        self.clear = {
            sense: {name: clear_rows(found, name, readings.get(sense)) for name, found in rows.items()}
            for sense, rows in self.rows.items()
        }
        self.all_faces = corpus.faces.rows(split)
        names = sorted({corpus.lines[row].source for row in self.words})
        self.sources = [lines_with(corpus.lines, self.words, source=name) for name in names]
        self.z_face = norm_of(corpus.faces).apply(corpus.faces.measures)
        self.z_voice = norm_of(corpus.voices).apply(corpus.voices.measures)
        self.shared = [name for name in LABELS if len(self.rows["visual"][name]) and len(self.rows["text"][name])]
        self.voiced = [name for name in LABELS if len(self.rows["audio"][name])]

    def item(self, seed: int, number: int) -> Item:
        """The item of that number."""
        rng = np.random.default_rng((seed, number))
        kind = str(rng.choice(self.kinds, p=self.shares))
        if kind == "conflict":
            return self.conflicting(rng)
        if kind == "face":
            row = int(rng.choice(self.all_faces))
            label = self.corpus.faces.labels[row]
            return self.finish(rng, kind, label, {"visual": label}, {"visual": row})
        if kind == "words":
            row = int(rng.choice(self.sources[int(rng.integers(len(self.sources)))]))
            return self.line(rng, row)
        label = str(rng.choice(self.voiced if kind == "voice" else self.shared))
        if kind in ("voice_words", "face_voice") and rng.random() < 0.1:
            label = "calm" if "calm" in self.voiced else label
        return self.composed(rng, kind, dict.fromkeys(PARTS[kind], label), label)

    def line(self, rng: np.random.Generator, row: int) -> Item:
        """A line of words alone."""
        label = self.corpus.lines[row].label
        return self.finish(rng, "words", label, {"text": label}, {"text": row})

    def conflicting(self, rng: np.random.Generator) -> Item:
        """Two or three senses of which one differs from the rest."""
        pair = CONFLICTS[int(rng.integers(len(CONFLICTS)))]
        first, second = (str(name) for name in rng.choice(self.shared, size=2, replace=False))
        shown = {pair[0]: first, pair[1]: second}
        if rng.random() < 0.2:
            shown = dict.fromkeys(PARTS["all"], first) | {str(rng.choice(PARTS["all"])): second}
        ordered = {name: shown[name] for name in PARTS["all"] if name in shown}
        return self.composed(rng, "conflict", ordered, first)

    def composed(self, rng: np.random.Generator, kind: str, shown: Mapping[str, str], label: str) -> Item:
        """Draws a row for each sense: a clear one in a conflict, else, unless it is a voice alone, one of the class that
        its encoder might mistake it for."""
        rows: dict[str, int] = {}
        blends: dict[str, tuple[int, float]] = {}
        pools = self.clear if kind == "conflict" else self.rows
        for sense, feeling in shown.items():
            feeling = feeling if len(pools[sense][feeling]) else STAND_IN[feeling]
            other = feeling if kind in ("conflict", "voice") else self.mistaken(rng, sense, feeling)
            if other != feeling and len(shown) == 2:
                blends[sense] = int(rng.choice(pools[sense][other])), float(rng.uniform(*BLEND))
                other = feeling
            rows[sense] = int(rng.choice(pools[sense][other]))
        return self.finish(rng, kind, label, shown, rows, blends)

    def mistaken(self, rng: np.random.Generator, sense: str, label: str) -> str:
        """What a sense's encoder might read for a label, of what there are rows of; words are taken as they are."""
        chances = self.mistakes.get(sense)
        if chances is None:
            return label
        there = chances[LABELS.index(label)] * np.array([len(self.rows[sense][name]) > 0 for name in LABELS])
        return str(rng.choice(LABELS, p=there / there.sum()))

    def finish(
        self,
        rng: np.random.Generator,
        kind: str,
        label: str,
        shown: Mapping[str, str],
        rows: Mapping[str, int],
        blends: Mapping[str, tuple[int, float]] | None = None,
    ) -> Item:
        """The item with its reply; a blend's measurements are nobody's, so its reason is not taught."""
        face, voice = rows.get("visual"), rows.get("audio")
        present = Present(face is not None, voice is not None, self.words[rows["text"]] if "text" in rows else None)
        z_face = {} if face is None else dict(zip(FACE, map(float, self.z_face[face]), strict=True))
        z_voice = {} if voice is None else dict(zip(VOICE, map(float, self.z_voice[voice]), strict=True))
        reply = wanted(rng, present, shown, z_face, z_voice)
        reasoned = bool(rng.random() < self.reasoned) and not blends
        return Item(face, voice, present, reply, label, kind, reasoned, blends or {})


def words_of(lines: Sequence[Line], split: str) -> dict[int, str]:
    """The lines of a split by number, as the network sees them; those of which nothing is left are not there."""
    cleaned = {row: clean_words(line.text) for row, line in enumerate(lines) if line.split == split}
    return {row: words for row, words in cleaned.items() if words}


def lines_with(lines: Sequence[Line], rows: Iterable[int], label: str = "", source: str = "") -> np.ndarray:
    """Those of some lines that have a label or are of a source."""
    return np.array([row for row in rows if lines[row].label == label or lines[row].source == source], int)


def only(item: Item, sense: str) -> Item:
    """One sense of an item, as if nothing else had been there."""
    face, voice = item.face if sense == "visual" else None, item.voice if sense == "audio" else None
    blends = {key: value for key, value in item.blends.items() if key == sense}
    return replace(
        item,
        face=face,
        voice=voice,
        present=item.present.only(sense),
        reply=Reply((item.label,), {}, ""),
        blends=blends,
    )


VALIDATION = {  # name -> mixture of one kind, items
    "visual": (MixtureConfig(1, 0, 0, 0, 0, 0, 0, 0), 1000),
    "audio": (MixtureConfig(0, 1, 0, 0, 0, 0, 0, 0), 480),
    "text": (MixtureConfig(0, 0, 1, 0, 0, 0, 0, 0), 1500),
    "visual+audio": (MixtureConfig(0, 0, 0, 1, 0, 0, 0, 0), 600),
    "visual+text": (MixtureConfig(0, 0, 0, 0, 1, 0, 0, 0), 600),
    "audio+text": (MixtureConfig(0, 0, 0, 0, 0, 1, 0, 0), 600),
    "visual+audio+text": (MixtureConfig(0, 0, 0, 0, 0, 0, 1, 0), 800),
}


def validation_items(corpus: Corpus, kind: str, seed: int = 7) -> list[Item]:
    """The fixed validation items of one set of inputs."""
    mixture, count = VALIDATION[kind]
    composer = Composer(corpus, "validation", mixture)
    return [composer.item(seed, number) for number in range(count)]


def verification_rows(corpus: Corpus, each: int = 29) -> list[dict[str, object]]:
    """The first validation items of every set of inputs, as rows of `models.items`: what the exporter verifies with."""
    rows: list[dict[str, object]] = []
    for kind in VALIDATION:
        for number, item in enumerate(validation_items(corpus, kind)[:each]):
            face = None if item.face is None else f"faces.npy#{item.face}"
            voice = None if item.voice is None else f"voices.npy#{item.voice}"
            row = {"id": f"{kind}-{number}", "face": face, "voice": voice, "words": item.present.words}
            rows.append({**row, "labels": list(item.reply.labels)})
    return rows
