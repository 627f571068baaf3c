"""Fine-tuning on one's own clips: the one stage of a run with `data=` and `init=`.

The encoders are frozen: what they make of every clip is computed once and kept, so that a step costs Q-Formers and language
model alone. A fifth of the clips is held out and read before and after. Few steps at a low rate, reasons taught beside
labels, and senses left out in part of the draws keep what was learned before. The calibration stays that of the start: so few
clips can't tell a better one. Knows clips and networks; nothing of corpora.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from models.affect import AffectGPT, Batch, total_loss
from models.clues import FACE, VOICE
from models.inputs import numbers
from models.language import Tokenizer
from models.pixels import normalise
from models.prompt import Present
from trainer.clips import Row, Shown, read_shown
from trainer.collate import Rows
from trainer.config import RunConfig, TuneConfig
from trainer.loop import Log, run_stage
from trainer.mixture import Item, Norm
from trainer.reasons import join, wanted
from trainer.stages import Examiner, autocast, collator, figures, keep_frozen, network, once, write_checkpoint
from trainer.start import Start, fill

NAME = "tune"
HELD_OUT = 5  # of so many clips one is held out


@dataclass(frozen=True)
class Tuning:
    """What the stage needs: the resolved config, where it starts, its clips, where to write, what it runs on."""

    config: RunConfig
    start: Start
    rows: list[Row]
    language: Path  # the GGUF file of the language model
    folder: Path
    device: torch.device
    log: Log


@dataclass(frozen=True)
class Kept:
    """A clip after the frozen encoders: face [T, S, C] and voice [W, S, C] in half precision, standardised measurements
    (nan where unknown); None where the sense is not there."""

    labels: tuple[str, ...]
    digest: str
    face: Tensor | None
    voice: Tensor | None
    face_z: np.ndarray | None
    voice_z: np.ndarray | None
    words: str | None

    @property
    def senses(self) -> tuple[str, ...]:
        """The senses that are there."""
        return Present(self.face is not None, self.voice is not None, self.words).modalities


def run(tuning: Tuning) -> None:
    """Runs the stage unless it is done."""
    once(NAME, tuning.folder, tuning.device, tuning.log, partial(tune, tuning))


def tune(tuning: Tuning) -> None:
    """Reads the clips, learns from four fifths of them, writes the checkpoint."""
    config, start = tuning.config, tuning.start
    model = network(config.model, tuning.language, tuning.device)
    fill(model, start.weights(model), start.told)
    model.to(tuning.device).eval()
    clips = [keep(model, shown, start.facts) for shown in read_shown(tuning.rows, config.model)]
    held = hold_out(clips)
    counts = Counter(sense for clip in clips for sense in clip.senses)
    tuning.log(stage=NAME, clips=len(clips), held_out=len(held), **{name: counts[name] for name in sorted(counts)})
    encoders = take_out(model)
    examiner = Examiner(model, Feeder(clips, tuning.device), Tokenizer(tuning.language))
    before = examine(tuning.log, "before", examiner, clips, held)
    learn(tuning, examiner, clips, [number for number in range(len(clips)) if number not in held])
    after = examine(tuning.log, "after", examiner, clips, held)
    model.vision.encoder, model.audio.encoder = encoders
    told = {"from": start.told, "clips": len(clips), "held_out": len(held), "before": before}
    facts = {**start.facts, "validation": after, "tuned": told}
    write_checkpoint(tuning.folder, NAME, config, model, facts, tuning.language)


# ---------------------------------------------------------------------- what is kept of the clips


@torch.no_grad()
def keep(model: AffectGPT, shown: Shown, norms: Mapping[str, Any]) -> Kept:
    """What the encoders make of a clip."""
    device = model.vision.soft.scale.device
    face = voice = face_z = voice_z = None
    with autocast(device):
        if shown.seen is not None:
            pixels = torch.from_numpy(normalise(shown.seen.crops)).to(device)
            face, face_z = model.vision.encoder(pixels).half(), standard(norms["face_norm"], shown.seen.measures)
        if shown.heard is not None:
            mel = torch.from_numpy(shown.heard.mel).to(device)
            voice, voice_z = model.audio.encoder(mel).half(), standard(norms["voice_norm"], shown.heard.measures)
    return Kept(shown.row.labels, shown.row.digest, face, voice, face_z, voice_z, shown.words)


def standard(norm: Mapping[str, Sequence[float]], measures: Any) -> np.ndarray:
    """Measurements [M] in the standard deviations of the start's training part, nan where unknown."""
    return Norm(tuple(norm["mean"]), tuple(norm["std"])).apply(numbers(measures))


def take_out(model: AffectGPT) -> tuple[nn.Module, nn.Module]:
    """The two encoders; what they made is given to the network in their place."""
    encoders = model.vision.encoder, model.audio.encoder
    model.vision.encoder, model.audio.encoder = nn.Identity(), nn.Identity()
    return encoders


class Feeder:
    """Rows to a Batch: a row is a clip's number, and the encoders' outputs stand where pixels and mel would."""

    def __init__(self, clips: Sequence[Kept], device: torch.device) -> None:
        self.clips, self.device = clips, device

    def __call__(self, rows: Rows) -> Batch:
        batch = Batch(rows.ids.to(self.device), rows.weights.to(self.device))
        faces = [self.clips[number] for number in rows.faces.rows.tolist()]
        voices = [self.clips[number] for number in rows.voices.rows.tolist()]
        if faces:
            batch.pixels, batch.frame_mask = padded([clip.face for clip in faces if clip.face is not None])
            batch.visual_measures = self.measures([clip.face_z for clip in faces if clip.face_z is not None])
        if voices:
            batch.mel, batch.window_mask = padded([clip.voice for clip in voices if clip.voice is not None])
            batch.audio_measures = self.measures([clip.voice_z for clip in voices if clip.voice_z is not None])
        return batch

    def measures(self, rows: Sequence[np.ndarray]) -> Tensor:
        """[V, M], 0 where unknown."""
        return torch.from_numpy(np.nan_to_num(np.stack(rows))).to(self.device)


def padded(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Tensors [T, S, C] of several lengths as float [V, T, S, C], and bool [V, T]: what is no padding."""
    lengths = torch.tensor([len(part) for part in parts], device=parts[0].device)
    whole = pad_sequence([part.float() for part in parts], batch_first=True)
    return whole, torch.arange(whole.shape[1], device=whole.device) < lengths[:, None]


# ---------------------------------------------------------------------- what is held out


def hold_out(clips: Sequence[Kept]) -> list[int]:
    """The numbers of every fifth clip in the order of first label, then sha256 of the line; at least one.

    A label's only clip is not held out, where that can be: nobody could learn it then.
    """
    sizes = Counter(clip.labels[0] for clip in clips)
    order = sorted(range(len(clips)), key=lambda number: (clips[number].labels[0], clips[number].digest, number))
    shared = [number for number in order if sizes[clips[number].labels[0]] > 1] or order
    return sorted(shared[HELD_OUT // 2 :: HELD_OUT] or shared[-1:])


def examine(
    log: Log, when: str, examiner: Examiner, clips: Sequence[Kept], numbers: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Figures of the first labels of the held-out clips, by set of inputs, logged with those of all."""
    rng = np.random.default_rng(0)  # for reasons, which are not read here
    items = [item_of(rng, number, clips[number], clips[number].senses, False) for number in numbers]
    logits = examiner.labels(items)
    log(stage=NAME, when=when, **figures(items, logits))
    found = {}
    for kind in sorted({item.kind for item in items}):
        places = [place for place, item in enumerate(items) if item.kind == kind]
        found[kind] = figures([items[place] for place in places], logits[places])
        log(stage=NAME, when=when, validation=kind, **found[kind])
    return found


# ---------------------------------------------------------------------- what is learned


def learn(tuning: Tuning, examiner: Examiner, clips: Sequence[Kept], numbers: Sequence[int]) -> None:
    """The steps of the stage."""
    config, seed, model = tuning.config.train.tune, tuning.config.train.seed, examiner.model
    stage = config.stage(len(numbers))
    collate = collator(model, examiner.tokenizer, config.reason_weight, config.positions)
    for branch in (model.vision, model.audio):
        branch.requires_grad_(config.learns == "all")

    def loss(step: int, generator: Generator) -> Iterator[Tensor]:
        keep_frozen(model)
        drawn = range(step * stage.batch, (step + 1) * stage.batch)
        items = [draw(config, clips, numbers, seed, number) for number in drawn]
        for rows in collate(items):
            with autocast(tuning.device):
                batch = examiner.feeder(rows)
                part = total_loss(model(batch), batch.weights) / stage.batch
            yield part

    rates = {"vision.": config.qformer_lr, "audio.": config.qformer_lr}
    run_stage(NAME, model, stage, loss, tuning.folder, tuning.log, tuning.device, seed, rates)


def draw(config: TuneConfig, clips: Sequence[Kept], numbers: Sequence[int], seed: int, count: int) -> Item:
    """The item of that count: every clip once a pass, in an order of the pass's own, some senses left out in part."""
    passes, place = divmod(count, len(numbers))
    order = np.random.default_rng((seed, passes, 1)).permutation(len(numbers))
    rng = np.random.default_rng((seed, count, 2))
    number = numbers[int(order[place])]
    senses = clips[number].senses
    if len(senses) > 1 and rng.random() < config.drop:
        kept = rng.permutation(len(senses))[: int(rng.integers(1, len(senses)))]
        senses = tuple(senses[place] for place in sorted(kept))
    return item_of(rng, number, clips[number], senses, bool(rng.random() < config.reasoned))


def item_of(rng: np.random.Generator, number: int, clip: Kept, senses: Sequence[str], reasoned: bool) -> Item:
    """A clip with some of its senses, and the reply to it: its labels, and clues that say what was measured on it."""
    present = Present("visual" in senses, "audio" in senses, clip.words if "text" in senses else None)
    face, voice = (named(names, z) for names, z in ((FACE, clip.face_z), (VOICE, clip.voice_z)))
    reply = wanted(rng, present, dict.fromkeys(senses, join(clip.labels)), face, voice)
    rows = (number if present.visual else None, number if present.audio else None)
    return Item(*rows, present, replace(reply, labels=clip.labels), clip.labels[0], present.key, reasoned)


def named(names: Sequence[str], z: np.ndarray | None) -> dict[str, float]:
    """Measurements by name."""
    return {} if z is None else dict(zip(names, map(float, z), strict=True))
