"""A checkpoint folder: `config.json` and `model.safetensors`, nothing else is needed to export or to go on training.

Holds what was trained in full precision, and the name and sha256 of what stayed frozen. Never a pickle. Knows tensors by
name; nothing of training or ONNX.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from models.config import AffectConfig, from_dict, to_dict
from models.errors import AffectError

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: `facts` holds norms, temperatures, data, seconds: whatever the trainer measured."""

    config: AffectConfig
    state: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    frozen: Mapping[str, str]  # file name -> sha256


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the folder; a file is replaced whole or not at all."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "model.safetensors.part"
    save_file({name: value.detach().contiguous().cpu() for name, value in checkpoint.state.items()}, part)
    part.replace(folder / "model.safetensors")
    values = {
        "format": FORMAT,
        "model": to_dict(checkpoint.config),
        "facts": dict(checkpoint.facts),
        "frozen": dict(checkpoint.frozen),
    }
    (folder / "config.json").write_text(json.dumps(values, indent=1), encoding="utf-8")


def load(folder: Path) -> Checkpoint:
    """Reads the folder. Raises AffectError `not_found` or `bad_checkpoint`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / "config.json").is_file():
        raise AffectError(
            f"{folder} is no checkpoint", "a checkpoint has config.json and model.safetensors", "not_found"
        )
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        state = load_file(folder / "model.safetensors")
        config = from_dict(AffectConfig, values["model"])
        return Checkpoint(config, state, values["facts"], values["frozen"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise AffectError(f"{folder} is a broken checkpoint", str(error), "bad_checkpoint") from error
