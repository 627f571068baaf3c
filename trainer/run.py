"""One training run: preset and overrides resolved, folder checked, stages called. Knows paths and configs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import yaml

from models.config import from_dict, override, preset, to_dict
from models.errors import AffectError
from trainer import seeds
from trainer.config import RunConfig
from trainer.datasets import load
from trainer.loop import Log
from trainer.smoke import SMOKE, make_smoke_data
from trainer.stages import STAGES, Room, run

RESOLVED = "run.json"


def resolve(name: str, overrides: Sequence[str]) -> RunConfig:
    """A preset with `key=value` overrides, values in YAML: `train.joint.steps=100`."""
    config = from_dict(RunConfig, preset(name))
    pairs = [text.partition("=") for text in overrides]
    for key, sign, _ in pairs:
        if not sign:
            raise AffectError(f"{key} is no override", "write key=value", "bad_config")
    return override(config, {key: yaml.safe_load(value) for key, _, value in pairs})


def choose_device(name: str) -> torch.device:
    """`auto` is the first card, or the CPU without one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise AffectError("no CUDA card is to be had", "use --device cpu", "no_device")
    return torch.device(name)


def open_folder(folder: Path, config: RunConfig, resume: bool) -> None:
    """Writes the resolved config; a folder with another run's config, or any run without --resume, is refused."""
    path = folder / RESOLVED
    values = json.loads(json.dumps(to_dict(config)))
    if path.is_file():
        if not resume:
            raise AffectError(f"{folder} has a run in it", "add --resume, or choose another folder", "exists")
        if json.loads(path.read_text(encoding="utf-8")) != values:
            raise AffectError(f"the run in {folder} has another config", "choose another folder", "bad_config")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def train(
    name: str,
    overrides: Sequence[str],
    data: Path,
    out: Path,
    *,
    resume: bool,
    smoke: bool,
    chosen: Sequence[str] | None,
    language: Path | None,
    device: str,
    say: Callable[[str], None],
) -> None:
    """Runs the chosen stages of a preset (all without) into `out`; `smoke` runs them small, on data made in code."""
    chosen = STAGES if chosen is None else chosen
    config = resolve(name, [*(SMOKE if smoke else ()), *overrides])
    if smoke:
        data, language = make_smoke_data(config.model, out / "smoke-data")
    else:
        language = seeds.language_model(language)
    unknown = [stage for stage in chosen if stage not in STAGES]
    if unknown:
        raise AffectError(f"no stage {unknown[0]}", f"stages: {', '.join(STAGES)}", "bad_config")
    open_folder(out, config, resume)
    run(Room(config, load(data), data, language, out, choose_device(device), Log(out, say)), chosen)


def reopen(folder: Path, data: Path, device: str, say: Callable[[str], None]) -> Room:
    """The room of a run that was made before, with its own config. Raises AffectError `not_found`."""
    path = folder / RESOLVED
    if not path.is_file():
        raise AffectError(f"{folder} has no run in it", "name the folder given as -o to affect-train run", "not_found")
    config = from_dict(RunConfig, json.loads(path.read_text(encoding="utf-8")))
    return Room(config, load(data), data, seeds.language_model(), folder, choose_device(device), Log(folder, say))
