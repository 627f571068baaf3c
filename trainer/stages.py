"""The stages of nano, top to bottom: the voice encoder, the face encoder (twice), then both with the language model, twice.

`voice`, `teacher` and `face` train encoders with heads that are thrown away: no classifier's output ever reaches the
language model. `joint` freezes the encoders and trains Q-Formers, soft tokens and LoRA on composed items through the one loss of
words; `refine` goes on from there on new items. Nothing of a test split is touched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models import checkpoint
from models.affect import AffectGPT, Batch, MeasureTokens, total_loss
from models.calibration import second_from, temperature
from models.clues import FACE, VOICE, level
from models.config import AffectConfig
from models.emotions import LABELS
from models.encoders import whisper
from models.language import Tokenizer, add_lora, load_base
from models.metrics import METRICS, confusion
from models.packages import sha256
from models.prompt import Reply
from trainer import augment, seeds
from trainer.collate import Blend, Collator, Rows
from trainer.config import JointConfig, RunConfig, StageConfig
from trainer.datasets import Corpus, Sources
from trainer.loop import Log, run_stage
from trainer.mixture import VALIDATION, Composer, Item, Norm, Readings, norm_of, only, validation_items
from trainer.reasons import KEYWORDS
from trainer.start import fill, whole_state

STAGES = ("voice", "teacher", "face", "joint", "refine")
SOFTEN = 2.0  # temperature at which a teacher is followed


@dataclass
class Room:
    """What every stage needs: the resolved config, the corpus, where to write, what it runs on."""

    config: RunConfig
    corpus: Corpus
    data: Path  # the prepared folder
    language: Path  # the GGUF file of the language model
    folder: Path
    device: torch.device
    log: Log

    def autocast(self) -> torch.autocast:
        """What the device computes in."""
        return autocast(self.device)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a card, full precision on a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def run(room: Room, stages: Sequence[str] = STAGES) -> None:
    """Runs the stages that are not done yet, in order."""
    for name in stages:
        once(name, room.folder, room.device, room.log, partial(TRAIN[name], room))


def once(name: str, folder: Path, device: torch.device, log: Log, train: Callable[[], None]) -> None:
    """Runs a stage unless it is done."""
    if (folder / f"{name}.safetensors").is_file():
        log(stage=name, event="already done")
        return
    began = time.monotonic()
    train()
    log(stage=name, event="done", seconds=time.monotonic() - began, device=device_name(device))


def device_name(device: torch.device) -> str:
    """The card's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


class Head(nn.Module):
    """An encoder with a classifier over the mean and deviation of its states: trained together, then thrown away."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.LayerNorm(2 * width)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        states = self.encoder(x).float()
        pooled = torch.cat([states.mean(1), states.std(1)], dim=1)
        return self.out(self.drop(self.norm(pooled)))


def on_device(sources: Sources, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Arrays and label numbers of some rows, on the device."""
    targets = torch.tensor([LABELS.index(sources.labels[i]) for i in rows], device=device)
    return torch.from_numpy(np.ascontiguousarray(sources.arrays[rows])).to(device), targets


def mixed_loss(head: Head, x: Tensor, y: Tensor, stage: StageConfig, generator: Generator) -> Tensor:
    """Cross-entropy with label smoothing, between two mixed examples when the stage mixes (mixup, arXiv 1710.09412)."""
    if not stage.mixup:
        return F.cross_entropy(head(x), y, label_smoothing=stage.label_smoothing)
    rng = np.random.default_rng(generator.initial_seed())
    share = float(rng.beta(stage.mixup, stage.mixup))
    order = torch.randperm(len(x), device=x.device, generator=generator)
    logits = head(share * x + (1 - share) * x[order])
    losses = [F.cross_entropy(logits, t, label_smoothing=stage.label_smoothing) for t in (y, y[order])]
    return share * losses[0] + (1 - share) * losses[1]


def train_voice(room: Room) -> None:
    """Whisper's first layers on RAVDESS' training actors, classes drawn alike."""
    stage, voices = room.config.train.voice, room.corpus.voices
    head = voice_head(room)
    seeds.load_encoder(room.data, "voice", head.encoder)
    mel_of = augment.LogMel(room.device)
    waves, targets = on_device(voices, voices.rows("train"), room.device)
    chances = (1.0 / torch.bincount(targets, minlength=len(LABELS)).float().clamp(min=1))[targets]

    def loss(step: int, generator: Generator) -> Iterator[Tensor]:
        rows = torch.multinomial(chances, stage.batch, replacement=True, generator=generator)
        mel = mel_of(augment.augment_waves(augment.to_waves(waves[rows]), generator))
        mel = augment.mask_mel(augment.warp_mel(mel, generator), generator)
        with room.autocast():
            mixed = mixed_loss(head, mel, targets[rows], stage, generator)
        yield mixed

    layers = room.config.model.audio.layers
    lr_of = {"encoder.": stage.lr * stage.layer_decay**layers, "norm.": 1e-3, "out.": 1e-3}
    lr_of |= {f"encoder.layers.{i}.": stage.lr * stage.layer_decay ** (layers - 1 - i) for i in range(layers)}
    run_stage("voice", head, stage, loss, room.folder, room.log, room.device, room.config.train.seed, lr_of)
    finish_encoder(room, "voice", head, voices, lambda x: mel_of(augment.to_waves(x)))


def voice_head(room: Room) -> Head:
    """A fresh speech encoder with its head."""
    audio = room.config.model.audio
    return Head(whisper.Encoder(audio), audio.width, len(LABELS)).to(room.device)


def train_teacher(room: Room) -> None:
    """A first image encoder on FER2013's training faces, which the second one learns from."""
    teach_faces(room, "teacher", room.config.train.teacher, None)


def train_face(room: Room) -> None:
    """The image encoder, once more from random weights: from the labels, many of which are wrong, and from what the first
    one makes of the same picture (born-again networks, arXiv 1805.04770)."""
    teacher = face_head(room)
    state = load_file(room.folder / "teacher.safetensors")
    teacher.load_state_dict({k.removeprefix("head."): v for k, v in state.items()})
    teach_faces(room, "face", room.config.train.face, teacher.eval().requires_grad_(False))


def face_head(room: Room) -> Head:
    """A fresh image encoder with its head."""
    kind = import_module(f"models.encoders.{room.config.model.vision.kind}")
    head = Head(kind.Encoder(), kind.WIDTH, len(LABELS)).to(room.device)
    head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch knows it, its stubs do not
    return head


def teach_faces(room: Room, name: str, stage: StageConfig, teacher: Head | None) -> None:
    """One generation of the image encoder."""
    torch.manual_seed(room.config.train.seed + (teacher is not None))
    faces, head = room.corpus.faces, face_head(room)
    pixels, targets = on_device(faces, faces.rows("train"), room.device)

    def loss(step: int, generator: Generator) -> Iterator[Tensor]:
        rows = torch.randint(len(targets), (stage.batch,), device=room.device, generator=generator)
        x = augment.augment_faces(augment.to_pixels(pixels[rows]), generator)
        x = x.contiguous(memory_format=torch.channels_last)
        with room.autocast():
            logits = head(x)
            told = F.cross_entropy(logits, targets[rows], label_smoothing=stage.label_smoothing)
            whole = told if teacher is None else told.lerp(following(logits, teacher, x), stage.distil)
        yield whole

    with torch.backends.cudnn.flags(enabled=True, benchmark=True):  # every batch has the same shape
        run_stage(name, head, stage, loss, room.folder, room.log, room.device, room.config.train.seed)
    finish_encoder(room, name, head, faces, augment.to_pixels)


def following(logits: Tensor, teacher: nn.Module, x: Tensor) -> Tensor:
    """How far logits [B, C] are from what a teacher makes of the same input, both softened (arXiv 1503.02531)."""
    with torch.no_grad():
        wanted = (teacher(x) / SOFTEN).softmax(1)
    return F.kl_div((logits / SOFTEN).log_softmax(1), wanted, reduction="batchmean") * SOFTEN**2


@torch.no_grad()
def finish_encoder(room: Room, name: str, head: Head, sources: Sources, prepare: Callable[[Tensor], Tensor]) -> None:
    """Writes the encoder and its head, and what the head reads in every row outside the test part."""
    head.eval()
    read = np.full(len(sources.labels), -1, np.int8)
    for rows in (sources.rows("train"), sources.rows("validation")):
        arrays, _ = on_device(sources, rows, room.device)
        for place, part in zip(np.split(rows, range(64, len(rows), 64)), arrays.split(64), strict=True):
            read[place] = head(prepare(part)).argmax(1).cpu().numpy()
    np.save(room.folder / f"{name}.read.npy", read, allow_pickle=False)
    table = confusion([sources.labels[row] for row in rows], [LABELS[read[row]] for row in rows]).sum(0)
    found = {f"validation_{key}": METRICS[key](table) for key in ("accuracy", "UAR")}
    room.log(stage=name, validation_n=len(rows), **found)
    state = {f"encoder.{k}": v.contiguous().cpu() for k, v in head.encoder.state_dict().items()}
    state |= {f"head.{k}": v.cpu() for k, v in head.state_dict().items() if not k.startswith("encoder.")}
    save_file(state, room.folder / f"{name}.safetensors")


def load_encoder(folder: Path, name: str, encoder: nn.Module) -> None:
    """Fills an encoder from its stage's file."""
    state = load_file(folder / f"{name}.safetensors")
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")})


def readings(folder: Path) -> dict[str, np.ndarray]:
    """What the heads of the encoders read in every row of their sources."""
    return {
        s: np.load(folder / f"{n}.read.npy", allow_pickle=False) for s, n in (("visual", "face"), ("audio", "voice"))
    }


def build(room: Room) -> AffectGPT:
    """The network with its trained encoders, frozen, and its base with a fresh LoRA."""
    torch.manual_seed(room.config.train.seed)
    model = network(room.config.model, room.language, room.device)
    load_encoder(room.folder, "voice", model.audio.encoder)
    load_encoder(room.folder, "face", model.vision.encoder)
    say_measures(model, Tokenizer(room.language))
    model.vision.encoder.requires_grad_(False)
    model.audio.encoder.requires_grad_(False)
    return model.to(room.device)


def network(config: AffectConfig, language: Path, device: torch.device) -> AffectGPT:
    """A fresh network around the base of a language model, which a card holds in bfloat16; not yet on the device."""
    base = load_base(language)
    if device.type == "cuda":
        base = base.to(torch.bfloat16)
    return AffectGPT(config, add_lora(base, config.language))


@torch.no_grad()
def say_measures(model: AffectGPT, tokenizer: Tokenizer) -> None:
    """Lets the soft token of every measured level start out as the word that tells it from the others: the language model
    then learns to repeat it in a few hundred steps."""
    table = model.language.get_input_embeddings().weight

    def fill(tokens: MeasureTokens, names: Sequence[str]) -> None:
        for places, name in zip(tokens.places, names, strict=True):
            for place, z in zip(places, tokens.knots.tolist(), strict=False):
                if name in KEYWORDS:
                    place.copy_(table[list(tokenizer.tokenize(f" {KEYWORDS[name][level(z)]}"))].float().mean(0))

    fill(model.vision.soft.measure, FACE)
    fill(model.audio.soft.measure, VOICE)


class Feeder:
    """Rows to a Batch on the device: pixels and mel made (and augmented, when training) there."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.norms = {"face": norm_of(room.corpus.faces), "voice": norm_of(room.corpus.voices)}
        self.mel_of = augment.LogMel(room.device)
        self.faces = torch.from_numpy(np.array(room.corpus.faces.arrays)).to(room.device)
        self.voices = torch.from_numpy(np.array(room.corpus.voices.arrays)).to(room.device)
        self.face_z = self.measures(room.corpus.faces, self.norms["face"])
        self.voice_z = self.measures(room.corpus.voices, self.norms["voice"])

    def measures(self, sources: Sources, norm: Norm) -> Tensor:
        """Standardised measurements, 0 where unknown, on the device."""
        return torch.from_numpy(np.nan_to_num(norm.apply(sources.measures))).to(self.room.device)

    def __call__(self, rows: Rows, generator: Generator | None = None) -> Batch:
        """With a generator the media are augmented."""
        device = self.room.device
        batch = Batch(rows.ids.to(device), rows.weights.to(device))
        if len(rows.faces.rows):
            pixels, z = self.pixels(rows.faces, generator), self.face_z[rows.faces.rows.to(device)]
            batch = replace(batch, pixels=pixels, visual_measures=z)
        if len(rows.voices.rows):
            mel, z = self.mel(rows.voices, generator), self.voice_z[rows.voices.rows.to(device)]
            batch = replace(batch, mel=mel, audio_measures=z)
        return batch

    def blended(self, make: Callable[[Tensor], Tensor], blend: Blend) -> Tensor:
        """Media of the rows, with the others' in them where there is a share of those."""
        made = make(blend.rows.to(self.room.device))
        if not blend.shares.any():
            return made
        shares = blend.shares.to(self.room.device).view(-1, *[1] * (made.dim() - 1))
        return made.lerp(make(blend.others.to(self.room.device)), shares)

    def pixels(self, blend: Blend, generator: Generator | None) -> Tensor:
        """[V, T, 1, S, S]: one frame, or when training 1 to 8 pictures of the same face, as frames of a clip differ."""
        pixels = self.blended(lambda rows: augment.to_pixels(self.faces[rows]), blend)
        if generator is None:
            return pixels[:, None]
        count = draw((1, 1, 2, 4, 8), generator)
        made = augment.augment_faces(pixels.repeat_interleave(count, 0), generator)
        return made.unflatten(0, (len(blend.rows), count))

    def mel(self, blend: Blend, generator: Generator | None) -> Tensor:
        """[U, W, 80, F]: one window, or when training 1 to 3 that are the same utterance in other rooms; sounds are blended
        as log-mel, as mixup did when the encoder was trained."""
        count = 1 if generator is None else draw((1, 1, 1, 2, 3), generator)

        def make(rows: Tensor) -> Tensor:
            waves = augment.to_waves(self.voices[rows]).repeat_interleave(count, 0)
            made = self.mel_of(waves if generator is None else augment.augment_waves(waves, generator))
            return made.unflatten(0, (len(rows), count))

        mel = self.blended(make, blend)
        if generator is None:
            return mel
        flat = augment.mask_mel(augment.warp_mel(mel.flatten(0, 1), generator), generator)
        return flat.unflatten(0, mel.shape[:2])


def draw(options: Sequence[int], generator: Generator) -> int:
    """One of the options."""
    return options[int(torch.randint(len(options), (), device=generator.device, generator=generator))]


def train_joint(room: Room) -> None:
    """Q-Formers, soft tokens and LoRA on composed items; then temperatures on validation items, then the checkpoint."""
    teach(room, "joint", room.config.train.joint, build(room), room.config.train.seed, readings(room.folder))


def train_refine(room: Room) -> None:
    """The same from the joint stage's weights, on items that it has not seen; lines that it reads rightly are the clear ones."""
    model = build(room)
    load_trained(room.folder, model)
    seed = room.config.train.seed + 1
    known = readings(room.folder) | {"text": read_lines(room, model, seed)}
    teach(room, "refine", room.config.train.refine, model, seed, known)


def read_lines(room: Room, model: AffectGPT, seed: int) -> np.ndarray:
    """What the network reads in some of the training lines, as `Readings` wants it."""
    stage = room.config.train.refine
    composer = Composer(room.corpus, "train", stage.mixture)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.array(list(composer.words), int))[: stage.lines_read]
    items = [replace(composer.line(rng, int(row)), reasoned=False) for row in rows]
    read = np.full(len(room.corpus.lines), -1, np.int8)
    read[rows] = Examiner(model, Feeder(room), Tokenizer(room.language)).labels(items).argmax(1).numpy()
    right = [room.corpus.lines[row].label == LABELS[read[row]] for row in rows]
    room.log(stage="refine", lines_read=len(rows), read_rightly=float(np.mean(right)))
    return read


def load_trained(folder: Path, model: AffectGPT) -> None:
    """Fills the network from a run's checkpoint."""
    fill(model, checkpoint.load(folder).state, f"checkpoint {folder.name}")


def teach(room: Room, name: str, stage: JointConfig, model: AffectGPT, seed: int, known: Readings) -> None:
    """A stage of the whole network."""
    if stage.compile and room.device.type == "cuda":
        for layer in model.language.model.layers:  # all alike: compiled once
            layer.compile(dynamic=True)
    feeder, tokenizer = Feeder(room), Tokenizer(room.language)
    composer = Composer(room.corpus, "train", stage.mixture, known)
    feed = Prefetch(composer, collator(model, tokenizer, stage.reason_weight, stage.positions), stage, seed)

    def loss(step: int, generator: Generator) -> Iterator[Tensor]:
        keep_frozen(model)
        for rows in feed.at(step):
            with room.autocast():
                batch = feeder(rows, generator)
                part = total_loss(model(batch), batch.weights) / stage.batch
            yield part

    lr_of = {"vision.": stage.qformer_lr, "audio.": stage.qformer_lr, "language.": stage.lr}
    lr_of |= {f"{branch}.soft.measure.": stage.measure_lr for branch in ("vision", "audio")}
    run_stage(name, model, stage, loss, room.folder, room.log, room.device, seed, lr_of)
    facts = finish(room, name, Examiner(model, feeder, tokenizer))
    save(room, name, model, facts, feeder)


class Items(Dataset[Item]):
    """Items as a map-style dataset: number -> Item."""

    def __init__(self, make: Callable[[int], Item], count: int) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Item:
        return self.make(number)


def load_rows(items: Items, batch: int, collate: Collator, start: int = 0) -> Iterator[list[Rows]]:
    """Batches of items from `start` on, made ahead in worker processes."""
    workers = min(12, max(1, (os.cpu_count() or 2) - 2))
    numbers = range(start, len(items))
    return iter(DataLoader(items, batch, sampler=numbers, num_workers=workers, collate_fn=collate))


class Prefetch:
    """Batches of composed items by step, made ahead; the first step asked for may be any."""

    def __init__(self, composer: Composer, collate: Collator, stage: StageConfig, seed: int) -> None:
        self.items, self.collate, self.stage = (
            Items(partial(composer.item, seed), stage.steps * stage.batch),
            collate,
            stage,
        )
        self.rows: Iterator[list[Rows]] | None = None

    def at(self, step: int) -> list[Rows]:
        """The batch of that step; steps are asked for in order."""
        if self.rows is None:
            self.rows = load_rows(self.items, self.stage.batch, self.collate, step * self.stage.batch)
        return next(self.rows)


def collator(model: AffectGPT, tokenizer: Tokenizer, reason_weight: float, positions: int | None = None) -> Collator:
    """The collate function for a model's numbers of soft tokens."""
    return Collator(tokenizer, {"visual": model.vision.count, "audio": model.audio.count}, reason_weight, positions)


def keep_frozen(model: AffectGPT) -> None:
    """Training mode, but for what is frozen: its batch norms and dropouts stay as at inference."""
    if not model.training:
        model.train()
        model.vision.encoder.eval()
        model.audio.encoder.eval()


@dataclass
class Examiner:
    """Asks a network for what it would write next in replies to items that nobody trains on."""

    model: AffectGPT
    feeder: Callable[[Rows], Batch]
    tokenizer: Tokenizer

    def labels(self, items: Sequence[Item]) -> Tensor:
        """Log-probabilities [n, 8] of the first label, over the closed list."""
        return self.next_token(items, [f" {label}" for label in LABELS], 0)

    def second(self, items: Sequence[Item]) -> Tensor:
        """Probability [n] that a label follows the first one, which is the reply's, instead of the end of the line."""
        return self.next_token(items, ["\n", ","], -1)[:, 1].exp()

    @torch.no_grad()
    def next_token(self, items: Sequence[Item], words: Sequence[str], place: int) -> Tensor:
        """Log-probabilities [n, W] of the first tokens of some words, one of which comes, at a place of the label line."""
        self.model.eval()
        device = self.model.vision.soft.scale.device
        tokens = torch.tensor([self.tokenizer.tokenize(word)[0] for word in words], device=device)
        found = []
        with (
            torch.compiler.set_stance("force_eager"),
            autocast(device),
        ):  # of all lengths: not worth compiling
            for (rows,) in load_rows(
                Items(items.__getitem__, len(items)), 64, collator(self.model, self.tokenizer, 0.0)
            ):
                batch = self.feeder(rows)
                hidden = self.model.hidden(batch)
                at = torch.stack([row.nonzero()[place, 0] - 1 for row in rows.weights]).to(device)
                logits = self.model.language.lm_head(hidden[torch.arange(len(at)), at])[:, tokens]
                found.append(logits.float().log_softmax(1).cpu())
        return torch.cat(found)


def labels_of(items: Sequence[Item]) -> Tensor:
    """Numbers [n] of the true labels."""
    return torch.tensor([LABELS.index(item.label) for item in items])


def differ_alone(examiner: Examiner, items: Sequence[Item]) -> Tensor:
    """Whether [n] the senses of an item are read differently when each is alone."""
    parts = [(place, only(item, sense)) for place, item in enumerate(items) for sense in item.present.modalities]
    read = examiner.labels([part for _, part in parts]).argmax(1)
    found: list[set[int]] = [set() for _ in items]
    for (place, _), label in zip(parts, read.tolist(), strict=True):
        found[place].add(label)
    return torch.tensor([len(labels) > 1 for labels in found])


def finish(room: Room, name: str, examiner: Examiner) -> dict[str, Any]:
    """Validation figures, and for each set of inputs a temperature and what names a second label."""
    facts: dict[str, Any] = {"temperatures": {}, "second_from": {}, "validation": {}}
    for kind in VALIDATION:
        items = validation_items(room.corpus, kind)[: room.config.train.validation]
        logits = examiner.labels(items)
        facts["temperatures"][kind] = temperature(logits.numpy(), labels_of(items).numpy())
        if "+" in kind:
            own = [
                replace(item, reply=Reply((LABELS[n],), {}, ""))
                for item, n in zip(items, logits.argmax(1), strict=True)
            ]
            chances, differ = examiner.second(own), differ_alone(examiner, items)
            facts["second_from"][kind] = second_from(chances.numpy(), differ.numpy(), kind)
        facts["validation"][kind] = figures(items, logits)
        chosen = {key: facts[key][kind] for key in ("temperatures", "second_from") if kind in facts[key]}
        room.log(stage=name, validation=kind, **chosen, **facts["validation"][kind])
    return facts


def figures(items: Sequence[Item], logits: Tensor) -> dict[str, float]:
    """Accuracy and UAR of the first labels."""
    table = confusion([item.label for item in items], [LABELS[first] for first in logits.argmax(1)]).sum(0)
    return {"n": len(items), "accuracy": METRICS["accuracy"](table), "uar": METRICS["UAR"](table)}


def save(room: Room, name: str, model: AffectGPT, facts: dict[str, Any], feeder: Feeder) -> None:
    """The checkpoint of a stage, with the norms of its corpus."""
    norms = {f"{sense}_norm": {"mean": norm.mean, "std": norm.std} for sense, norm in feeder.norms.items()}
    write_checkpoint(room.folder, name, room.config, model, {**facts, **norms}, room.language)


def write_checkpoint(
    folder: Path, name: str, config: RunConfig, model: AffectGPT, facts: Mapping[str, Any], language: Path
) -> None:
    """Encoders, Q-Formers, soft tokens, LoRA; figures and norms beside them. It says that the stage is done."""
    facts = {**facts, "seed": config.train.seed, "device": device_name(model.vision.soft.scale.device)}
    made = checkpoint.Checkpoint(config.model, whole_state(model), facts, {language.name: sha256(language)})
    checkpoint.save(folder, made)
    (folder / f"{name}.safetensors").symlink_to("model.safetensors")


TRAIN = {
    "voice": train_voice,
    "teacher": train_teacher,
    "face": train_face,
    "joint": train_joint,
    "refine": train_refine,
}
