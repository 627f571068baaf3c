"""Learning rates over a stage's steps. Knows numbers only."""

import math

import torch
from torch import nn

from trainer.config import StageConfig

NO_DECAY = ("norm", "bias", "queries", "positions", "scale", "_bn")


def rate(step: int, stage: StageConfig) -> float:
    """The share of the peak rate at a 0-based step: linear warm-up, then a cosine to zero."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def groups(module: nn.Module, stage: StageConfig, lr_of: dict[str, float] | None = None) -> list[dict[str, object]]:
    """Parameter groups of what is trained: weight decay for matrices only, the rate by the longest fitting name prefix."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in module.named_parameters():
        if not value.requires_grad:
            continue
        decay = 0.0 if value.ndim < 2 or any(word in name for word in NO_DECAY) else stage.weight_decay
        fits = [prefix for prefix in lr_of or {} if name.startswith(prefix)]
        lr = (lr_of or {})[max(fits, key=len)] if fits else stage.lr
        found.setdefault((lr, decay), []).append(value)
    return [{"params": values, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), values in found.items()]


def set_rate(optimizer: torch.optim.Optimizer, step: int, stage: StageConfig) -> None:
    """Sets every group's rate for this step."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate(step, stage)
