"""One training run: preset and overrides resolved, folder checked, stages called. Knows paths and configs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from models.config import from_dict, override, preset, to_dict
from models.errors import AffectError
from trainer import seeds, tune
from trainer.clips import read_rows
from trainer.config import RunConfig
from trainer.datasets import load
from trainer.loop import Log
from trainer.smoke import SMOKE, make_smoke_data
from trainer.stages import STAGES, Room, run
from trainer.start import check_base, find_start

RESOLVED = "run.json"


def resolve(name: str, overrides: Sequence[str]) -> RunConfig:
    """A preset with `key=value` overrides, values in YAML: `train.joint.steps=100`."""
    config = from_dict(RunConfig, preset(name))
    pairs = [text.partition("=") for text in overrides]
    for key, sign, _ in pairs:
        if not sign:
            raise AffectError(f"{key} is no override", "write key=value", "bad_config")
    return override(config, {key: parsed(key, value) for key, _, value in pairs})


def parsed(key: str, value: str) -> Any:
    """A value in YAML. Raises AffectError `bad_config`."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise AffectError(
            f"{key}={value} can't be read", "values are YAML: put odd ones in quotes", "bad_config"
        ) from error


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
    """Runs the chosen stages of a preset (all without) into `out`; `smoke` runs them small, on data made in code. With the
    keys `data` and `init` the one stage is `tune`, on one's own clips."""
    config = resolve(name, [*(SMOKE if smoke else ()), *overrides])
    check_tuning(config, smoke)
    stages = (tune.NAME,) if config.init else STAGES
    chosen = stages if chosen is None else chosen
    unknown = [stage for stage in chosen if stage not in stages]
    if unknown:
        raise AffectError(f"no stage {unknown[0]}", f"stages: {', '.join(stages)}", "bad_config")
    if config.init:
        fine_tune(config, out, resume, language, device, say)
        return
    if smoke:
        data, language = make_smoke_data(config.model, out / "smoke-data")
    else:
        language = seeds.language_model(language)
    open_folder(out, config, resume)
    run(Room(config, load(data), data, language, out, choose_device(device), Log(out, say)), chosen)


def check_tuning(config: RunConfig, smoke: bool) -> None:
    """`data` and `init` belong together, and to a run that is not made in code. Raises AffectError `bad_config`."""
    for given, lacking in (("data", "init"), ("init", "data")):
        if getattr(config, given) and not getattr(config, lacking):
            cure = "fine-tune with: data=MY.jsonl init=BUNDLE_OR_CHECKPOINT (a prepared folder is --data DIR)"
            raise AffectError(f"{given}= without {lacking}=", cure, "bad_config")
    if smoke and config.init:
        raise AffectError("--smoke trains on data made in code", "leave --smoke or data= and init= out", "bad_config")


def fine_tune(
    config: RunConfig, out: Path, resume: bool, language: Path | None, device: str, say: Callable[[str], None]
) -> None:
    """The run of one's own clips; what can be refused at once is refused before its folder is made."""
    begin, rows = find_start(config.init, config.model), read_rows(Path(config.data), config.model.labels)
    language = seeds.locate(*seeds.LANGUAGE) if language is None else language
    check_base(begin, language)
    where = choose_device(device)
    open_folder(out, config, resume)
    tune.run(tune.Tuning(config, begin, rows, language, out, where, Log(out, say)))


def throwaway(overrides: Sequence[str], data: Path, folder: Path, device: str, say: Callable[[str], None]) -> Room:
    """A room of nano for encoders alone, which ask no language model; what was done in its folder before is kept."""
    config = resolve("nano", overrides)
    corpus, where = load(data), choose_device(device)
    open_folder(folder, config, resume=True)
    return Room(config, corpus, data, Path(), folder, where, Log(folder, say))


def reopen(folder: Path, data: Path, device: str, say: Callable[[str], None], language: Path | None = None) -> Room:
    """The room of a run that was made before, with its own config. Raises AffectError `not_found`."""
    path = folder / RESOLVED
    if not path.is_file():
        raise AffectError(f"{folder} has no run in it", "name the folder given as -o to affect-train run", "not_found")
    config = from_dict(RunConfig, json.loads(path.read_text(encoding="utf-8")))
    return Room(
        config, load(data), data, seeds.language_model(language), folder, choose_device(device), Log(folder, say)
    )
