"""`affect-train folds`: the voice branch on people it never heard, over all actors: some are left out, it is trained on the
others and reads those; and so on until every actor was left out once. The models are thrown away: nothing is chosen or shipped
by them. Knows a run's settings and a corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from models.emotions import LABELS
from models.errors import AffectError
from models.metrics import METRICS, confusion
from trainer.datasets import Sources
from trainer.stages import Room, once, train_voice


@dataclass(frozen=True)
class Fold:
    """What one throw-away model read of the actors it never heard."""

    actors: tuple[str, ...]
    n: int
    uar: float


def leave_out(room: Room, size: int) -> Iterator[Fold]:
    """Trains the stage `voice` once for each `size` actors, in folders of their own below the room's; those done are read
    again. Raises AffectError `bad_config` unless that makes two folds or more."""
    voices = room.corpus.voices
    speakers = sorted({*voices.groups}, key=lambda name: (len(name), name))
    folds = [speakers[start : start + size] for start in range(0, len(speakers), max(size, 1))]
    if len(folds) < 2:
        raise AffectError(f"{len(speakers)} actors make no two folds of {size}", "leave out fewer", "bad_config")
    for actors in folds:
        split = ["validation" if group in actors else "train" for group in voices.groups]
        yield train_fold(room, actors, replace(voices, splits=split))


def train_fold(room: Room, actors: Sequence[str], voices: Sources) -> Fold:
    """One of them."""
    folder = room.folder / f"without-{'-'.join(actors)}"
    folder.mkdir(parents=True, exist_ok=True)
    inner = replace(room, folder=folder, corpus=replace(room.corpus, voices=voices))
    once("voice", folder, room.device, room.log, partial(train_voice, inner))
    rows, read = voices.rows("validation"), np.load(folder / "voice.read.npy", allow_pickle=False)
    table = confusion([voices.labels[row] for row in rows], [LABELS[read[row]] for row in rows]).sum(0)
    return Fold(tuple(actors), len(rows), METRICS["UAR"](table))
