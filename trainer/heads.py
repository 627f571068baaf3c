"""`affect-train heads`: what the direct heads of the encoders say of validation and test rows, written down for comparison.

The heads are thrown away otherwise, and nothing is chosen by what is written here. Knows a run's folder and a corpus.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.emotions import LABELS
from models.errors import AffectError
from trainer import augment
from trainer.datasets import Sources
from trainer.stages import Head, Room, face_head, on_device, voice_head

SPLITS = ("validation", "test")


def write_heads(room: Room) -> list[Path]:
    """Writes `heads-validation.jsonl` and `heads-test.jsonl` into the prepared folder: `{"id", "scores": {label: p}}` of
    every face and voice, under the ids of its items. Raises AffectError `not_found` for a folder without a run."""
    mel_of = augment.LogMel(room.device)
    face, voice = filled(room, "face", face_head(room)), filled(room, "voice", voice_head(room))
    asked: list[tuple[str, Head, Sources, Callable[[Tensor], Tensor]]] = [
        ("face", face, room.corpus.faces, augment.to_pixels),
        ("voice", voice, room.corpus.voices, lambda x: mel_of(augment.to_waves(x))),
    ]
    paths = []
    for split in SPLITS:
        rows = [
            row for name, head, sources, prepare in asked for row in said(room, name, head, sources, split, prepare)
        ]
        paths.append(room.data / f"heads-{split}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


def filled(room: Room, name: str, head: Head) -> Head:
    """A head with what its stage left."""
    path = room.folder / f"{name}.safetensors"
    if not path.is_file():
        raise AffectError(f"{room.folder} has no {path.name}", "train the stage first: affect-train run", "not_found")
    head.load_state_dict({key.removeprefix("head."): value for key, value in load_file(path).items()})
    return head.eval()


@torch.no_grad()
def said(
    room: Room, name: str, head: Head, sources: Sources, split: str, prepare: Callable[[Tensor], Tensor]
) -> list[dict[str, Any]]:
    """The rows of one head and split."""
    rows = sources.rows(split)
    if not len(rows):
        return []
    arrays, _ = on_device(sources, rows, room.device)
    chances = torch.cat([head(prepare(part)).softmax(1).cpu() for part in arrays.split(64)]).tolist()
    return [
        {"id": f"{name}-{row}", "scores": dict(zip(LABELS, (round(p, 5) for p in found), strict=True))}
        for row, found in zip(rows.tolist(), chances, strict=True)
    ]
