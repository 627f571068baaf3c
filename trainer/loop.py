"""The loop of a stage: batch, loss, step, log, save; it goes on exactly where it was stopped.

Random numbers of step n come from (seed, n) alone, so a resumed run sees what an unbroken one would have seen. Knows
modules and losses; nothing of what they mean.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from trainer.config import StageConfig
from trainer.schedule import groups, set_rate

Step = Callable[[int, Generator], Iterator[Tensor]]  # the losses of a batch's parts, which add up


class Log:
    """One JSON line per event in `metrics.jsonl`, and the same on the screen."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = folder / "metrics.jsonl", say

    def __call__(self, **values: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        self.say("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()))


def run_stage(
    name: str,
    module: nn.Module,
    stage: StageConfig,
    loss_of: Step,
    folder: Path,
    log: Log,
    device: torch.device,
    seed: int,
    lr_of: dict[str, float] | None = None,
) -> None:
    """Trains what requires a gradient in `module` for `stage.steps` steps; the averaged weights are in it at the end."""
    optimizer = optimizer_of(groups(module, stage, lr_of), stage)
    average = Average(module, stage.ema) if stage.ema else None
    path = folder / f"{name}.state.pt"
    first = restore(path, module, optimizer, average)
    began = saved = time.monotonic()
    recent: list[Tensor] = []
    for step in range(first, stage.steps):
        set_rate(optimizer, step, stage)
        generator = Generator(device).manual_seed(seed * 1_000_003 + step)
        torch.manual_seed(seed * 1_000_003 + step)
        loss = summed(loss_of(step, generator), device)
        trained = [p for p in module.parameters() if p.grad is not None]
        nn.utils.clip_grad_norm_(trained, stage.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if average:
            average.update(module)
        recent.append(loss)
        if (step + 1) % stage.log_every == 0 or step + 1 == stage.steps:
            mean = torch.stack(recent).mean().item()
            log(stage=name, step=step + 1, loss=mean, seconds=time.monotonic() - began)
            recent.clear()
        if time.monotonic() - saved > stage.save_every_s:
            store(path, step + 1, module, optimizer, average)
            saved = time.monotonic()
    if average:
        average.copy_to(module)
    path.unlink(missing_ok=True)


def summed(parts: Iterator[Tensor], device: torch.device) -> Tensor:
    """The sum of a batch's losses, each backpropagated as soon as it is there: memory holds one part's graph at a time."""
    total = torch.zeros((), device=device)
    for loss in parts:
        loss.backward()
        total += loss.detach()
    return total


def optimizer_of(parameters: list[dict[str, object]], stage: StageConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD: plain convolutions from random weights generalise better with it."""
    if stage.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=stage.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(parameters, lr=stage.lr, betas=(0.9, 0.98))


class Average:
    """An exponential mean of a module's state, warmed up: decay min(ema, (1 + n) / (10 + n))."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Takes the module's present state in."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        state = module.state_dict()
        real = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.values[name] for name in real], [state[name] for name in real], 1 - decay)
        for name in state.keys() - set(real):
            self.values[name].copy_(state[name])

    def copy_to(self, module: nn.Module) -> None:
        """Puts the mean into the module."""
        module.load_state_dict(self.values)


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """What changes in training: trained parameters and all buffers."""
    frozen = {name for name, value in module.named_parameters() if not value.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def store(path: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None) -> None:
    """Writes the state to go on from `step`, whole or not at all."""
    state: dict[str, Any] = {"step": step, "module": trained_state(module), "optimizer": optimizer.state_dict()}
    if average:
        state |= {"average": average.values, "count": average.count}
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def restore(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None) -> int:
    """The step to go on from: 0 when nothing was stored."""
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["module"], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    if average:
        average.count = state["count"]
        for name, value in state["average"].items():
            average.values[name].copy_(value)
    return int(state["step"])
