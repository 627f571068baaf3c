"""Composed items: a face, a voice and a line of words of one feeling, alone or together, agreeing or not.

An item's random numbers come from (seed, its number) alone, so that a run can go on where it stopped and a validation set
is always the same. Knows rows and labels; nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from models.clues import FACE, VOICE
from models.emotions import LABELS
from models.prompt import Present, Reply, clean_words
from trainer.config import MixtureConfig
from trainer.datasets import Corpus, Sources
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
BLEND = (0.4, 0.9)  # share of the other class in a picture or sound that is to be mistaken
CONFLICTS = (("visual", "audio"), ("visual", "text"), ("audio", "text"))


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


class Composer:
    """Draws items of one split. `mistakes` [sense][label] -> probabilities over LABELS of what its encoder would read:
    in compositions a face or voice of such a class is shown with the label kept at the truth, so that the language
    model learns how far each sense can be trusted (without it, it trusts features that are near perfect in training).
    Beside one other sense it is blended in only: two plain ones that differ are a conflict."""

    def __init__(
        self, corpus: Corpus, split: str, mixture: MixtureConfig, mistakes: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.corpus, self.mistakes = corpus, dict(mistakes or {})
        self.kinds = [item.name for item in fields(mixture) if item.name != "reasoned"]
        self.reasoned = mixture.reasoned
        self.shares = np.array([getattr(mixture, kind) for kind in self.kinds])
        self.shares = self.shares / self.shares.sum()
        self.faces = {name: corpus.faces.rows(split, name) for name in LABELS}
        self.voices = {name: corpus.voices.rows(split, name) for name in LABELS}
        self.all_faces = corpus.faces.rows(split)
        lines = [(line, clean_words(line.text)) for line in corpus.lines if line.split == split]
        self.sources: dict[str, list[tuple[str, str]]] = {}
        self.words: dict[str, list[str]] = {name: [] for name in LABELS}
        for line, words in lines:
            if words:
                self.sources.setdefault(line.source, []).append((line.label, words))
                self.words[line.label].append(words)
        sizes = np.sqrt([len(rows) for rows in self.sources.values()])  # or the small set would drown in the large one
        self.source_shares = sizes / sizes.sum()
        self.z_face = norm_of(corpus.faces).apply(corpus.faces.measures)
        self.z_voice = norm_of(corpus.voices).apply(corpus.voices.measures)
        self.shared = [name for name in LABELS if len(self.faces[name]) and self.words[name]]
        self.voiced = [name for name in LABELS if len(self.voices[name])]

    def item(self, seed: int, number: int) -> Item:
        """The item of that number."""
        rng = np.random.default_rng((seed, number))
        kind = str(rng.choice(self.kinds, p=self.shares))
        if kind == "conflict":
            return self.conflicting(rng)
        if kind == "face":
            row = int(rng.choice(self.all_faces))
            return self.finish(
                rng, kind, self.corpus.faces.labels[row], {"visual": self.corpus.faces.labels[row]}, face=row
            )
        if kind == "words":
            source = self.sources[str(rng.choice(list(self.sources), p=self.source_shares))]
            label, words = source[int(rng.integers(len(source)))]
            return self.finish(rng, kind, label, {"text": label}, words=words)
        label = str(rng.choice(self.voiced if kind == "voice" else self.shared))
        if kind in ("voice_words", "face_voice") and rng.random() < 0.1:
            label = "calm" if "calm" in self.voiced else label
        return self.composed(rng, kind, dict.fromkeys(PARTS[kind], label), label, trusting=kind == "voice")

    def conflicting(self, rng: np.random.Generator) -> Item:
        """Two or three senses of which one differs from the rest."""
        pair = CONFLICTS[int(rng.integers(len(CONFLICTS)))]
        first, second = (str(name) for name in rng.choice(self.shared, size=2, replace=False))
        shown = {pair[0]: first, pair[1]: second}
        if rng.random() < 0.2:
            shown = dict.fromkeys(PARTS["all"], first) | {str(rng.choice(PARTS["all"])): second}
        ordered = {name: shown[name] for name in PARTS["all"] if name in shown}
        return self.composed(rng, "conflict", ordered, first, trusting=True)

    def composed(
        self, rng: np.random.Generator, kind: str, shown: Mapping[str, str], label: str, trusting: bool
    ) -> Item:
        """Draws a row for each sense; unless `trusting`, of the class that its encoder might mistake it for."""
        face = voice = words = None
        blends: dict[str, tuple[int, float]] | None = {} if len(shown) == 2 else None
        if "visual" in shown:
            face = self.drawn(rng, "visual", shown["visual"], self.faces, trusting, blends)
        if "audio" in shown:
            voice = self.drawn(rng, "audio", shown["audio"], self.voices, trusting, blends)
        if "text" in shown:
            options = self.words[STAND_IN.get(shown["text"], shown["text"])]
            words = options[int(rng.integers(len(options)))]
        return self.finish(rng, kind, label, shown, face, voice, words, blends)

    def drawn(
        self,
        rng: np.random.Generator,
        sense: str,
        label: str,
        rows: Mapping[str, np.ndarray],
        trusting: bool,
        blends: dict[str, tuple[int, float]] | None,
    ) -> int:
        """A row of the label; unless `trusting`, of a class that it is mistaken for, which is blended in when there are
        `blends` to keep."""
        label = label if len(rows[label]) else STAND_IN[label]
        other = label if trusting else self.mistaken(rng, sense, label, rows)
        if other != label and blends is not None:
            blends[sense] = int(rng.choice(rows[other])), float(rng.uniform(*BLEND))
            other = label
        return int(rng.choice(rows[other]))

    def mistaken(self, rng: np.random.Generator, sense: str, label: str, rows: Mapping[str, np.ndarray]) -> str:
        """What a sense's encoder might read for a label, of what there are rows of."""
        chances = self.mistakes.get(sense)
        if chances is None:
            return label
        there = chances[LABELS.index(label)] * np.array([len(rows[name]) > 0 for name in LABELS])
        return str(rng.choice(LABELS, p=there / there.sum()))

    def finish(
        self,
        rng: np.random.Generator,
        kind: str,
        label: str,
        shown: Mapping[str, str],
        face: int | None = None,
        voice: int | None = None,
        words: str | None = None,
        blends: Mapping[str, tuple[int, float]] | None = None,
    ) -> Item:
        """The item with its reply; a blend's measurements are nobody's, so its reason is not taught."""
        present = Present(face is not None, voice is not None, words)
        z_face = {} if face is None else dict(zip(FACE, map(float, self.z_face[face]), strict=True))
        z_voice = {} if voice is None else dict(zip(VOICE, map(float, self.z_voice[voice]), strict=True))
        reply = wanted(rng, present, shown, z_face, z_voice)
        reasoned = bool(rng.random() < self.reasoned) and not blends
        return Item(face, voice, present, reply, label, kind, reasoned, blends or {})


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
