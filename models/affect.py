"""AffectGPT: media -> soft tokens -> language model -> loss (arXiv 2306.15401, section 4; seed model, section 1).

One network for every preset. B batch, T frames, W windows, S states, N soft tokens, D width of the language model.
Knows tensors; nothing of files, prompts or training schedules.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import AffectConfig, AudioConfig, VisionConfig
from models.language import PLACEHOLDERS
from models.qformer import QFormer

MAX_FRAMES = 32
KNOT = 0.2  # standard deviations between two learned places of a measurement
KNOTS = 16  # places: -1.5 to 1.5


@dataclass
class Batch:
    """What one step sees. ids int [B, L], right-padded (so that causal attention alone keeps the padding out of sight),
    weights float [B, L] of each token's loss.

    pixels [V, T, 1, S, S] with frame_mask bool [V, T], mel [U, W, 80, F] with window_mask [U, W]: only the items that
    have the modality, in the batch's order; visual/audio measures [V, M], [U, M2], standardised, 0 where unknown.
    """

    ids: Tensor
    weights: Tensor
    pixels: Tensor | None = None
    frame_mask: Tensor | None = None
    visual_measures: Tensor | None = None
    mel: Tensor | None = None
    window_mask: Tensor | None = None
    audio_measures: Tensor | None = None


class MeasureTokens(nn.Module):
    """Measurements [B, M] in standard deviations, 0 where unknown, as a soft token each: [B, M, D].

    A token lies on the line between two learned places, so that what the language model sees moves with the value; the
    last place is for what could not be measured.
    """

    def __init__(self, measures: int, language_width: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(measures, KNOTS + 1, language_width) * 0.02)
        self.knots = nn.Buffer((torch.arange(KNOTS) - (KNOTS - 1) / 2) * KNOT, persistent=False)

    def forward(self, measures: Tensor) -> Tensor:
        z = measures.clamp(self.knots[0], self.knots[-1]).unsqueeze(-1)
        unknown = (z == 0).to(z.dtype)
        near = (1 - (z - self.knots).abs() / KNOT).clamp(min=0) * (1 - unknown)
        shares = torch.cat([near, unknown], dim=-1)
        return torch.einsum("bmk,mkd->bmd", shares, self.places)


class SoftTokens(nn.Module):
    """A clip Q-Former's output as soft tokens of the language model's size, and one for each measurement: [B, N + M, D].

    The norm keeps the former at the size of word embeddings (`scale`, their root mean square).
    """

    def __init__(self, width: int, measures: int, language_width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, language_width)
        self.measure = MeasureTokens(measures, language_width)
        self.norm = nn.LayerNorm(language_width)
        self.scale = nn.Buffer(torch.ones(()))

    def forward(self, tokens: Tensor, measures: Tensor) -> Tensor:
        return torch.cat([self.norm(self.project(tokens)) * self.scale, self.measure(measures)], dim=1)


def places(count: int, width: int) -> nn.Embedding:
    """Learned positions in a clip, zero at first: one that training never saw changes nothing."""
    embedding = nn.Embedding(count, width)
    nn.init.zeros_(embedding.weight)
    return embedding


class VisionBranch(nn.Module):
    """Frames to soft tokens, in two graphs: `frame` sees one picture alone, `clip` what the frames gave."""

    def __init__(self, config: VisionConfig, language_width: int) -> None:
        super().__init__()
        kind = import_module(f"models.encoders.{config.kind}")
        self.encoder = kind.Encoder()
        self.frame_qformer = QFormer(config.frame, kind.WIDTH)
        self.positions = places(MAX_FRAMES, config.frame.width)
        self.clip_qformer = QFormer(config.clip, config.frame.width)
        self.soft = SoftTokens(config.clip.width, config.measures, language_width)
        self.count = config.clip.queries + config.measures

    def frame(self, pixels: Tensor) -> Tensor:
        """pixels [T, 1, S, S] -> tokens [T, q, C]."""
        return self.frame_qformer(self.encoder(pixels))

    def clip(self, tokens: Tensor, measures: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens [B, T, q, C], measures [B, M], mask [B, T] -> soft tokens [B, N, D]."""
        order = torch.arange(tokens.shape[1], device=tokens.device)
        placed = (tokens + self.positions(order)[:, None]).flatten(1, 2)
        look = None if mask is None else mask.repeat_interleave(tokens.shape[2], dim=1)
        return self.soft(self.clip_qformer(placed, look), measures)


class AudioBranch(nn.Module):
    """Sound to soft tokens, in two graphs: `window` hears one window alone, `clip` what the windows gave."""

    def __init__(self, config: AudioConfig, language_width: int) -> None:
        super().__init__()
        self.encoder = import_module(f"models.encoders.{config.kind}").Encoder(config)
        self.positions = places(config.max_windows, config.width)
        self.clip_qformer = QFormer(config.clip, config.width)
        self.soft = SoftTokens(config.clip.width, config.measures, language_width)
        self.count = config.clip.queries + config.measures

    def window(self, mel: Tensor) -> Tensor:
        """mel [W, 80, F] -> states [W, F / 2, C]."""
        return self.encoder(mel)

    def clip(self, states: Tensor, measures: Tensor, mask: Tensor | None = None) -> Tensor:
        """states [B, W, S, C], measures [B, M], mask [B, W] -> soft tokens [B, N, D]."""
        order = torch.arange(states.shape[1], device=states.device)
        placed = (states + self.positions(order)[:, None]).flatten(1, 2)
        look = None if mask is None else mask.repeat_interleave(states.shape[2], dim=1)
        return self.soft(self.clip_qformer(placed, look), measures)


class AffectGPT(nn.Module):
    """The whole network around a causal language model (transformers' interface) that already carries its LoRA."""

    def __init__(self, config: AffectConfig, language: Any) -> None:
        super().__init__()
        self.config = config
        self.language = language
        embeddings = language.get_input_embeddings()
        self.vision = VisionBranch(config.vision, embeddings.embedding_dim)
        self.audio = AudioBranch(config.audio, embeddings.embedding_dim)
        size = embeddings.weight.detach().float().pow(2).mean().sqrt()
        self.vision.soft.scale.copy_(size)
        self.audio.soft.scale.copy_(size)

    def visual(self, batch: Batch) -> Tensor | None:
        """The visual soft tokens [V, N, D] of the items that have a picture."""
        if batch.pixels is None or batch.visual_measures is None:
            return None
        tokens = self.vision.frame(batch.pixels.flatten(0, 1)).unflatten(0, batch.pixels.shape[:2])
        return self.vision.clip(tokens, batch.visual_measures, batch.frame_mask)

    def audible(self, batch: Batch) -> Tensor | None:
        """The audio soft tokens [U, N, D] of the items that have sound."""
        if batch.mel is None or batch.audio_measures is None:
            return None
        states = self.audio.window(batch.mel.flatten(0, 1)).unflatten(0, batch.mel.shape[:2])
        return self.audio.clip(states, batch.audio_measures, batch.window_mask)

    def embed(self, batch: Batch) -> Tensor:
        """ids with their placeholders replaced by soft tokens: [B, L, D]."""
        x = self.language.get_input_embeddings()(batch.ids)
        for modality, soft in (("visual", self.visual(batch)), ("audio", self.audible(batch))):
            if soft is not None:
                here = (batch.ids == PLACEHOLDERS[modality]).unsqueeze(-1)
                x = x.masked_scatter(here, soft.to(x.dtype))
        return x

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states [B, L, D]."""
        return self.language.model(inputs_embeds=self.embed(batch), use_cache=False).last_hidden_state

    def forward(self, batch: Batch) -> Tensor:
        """Weighted next-token cross-entropy per token with a weight: [K]; the loop sums it with the weights."""
        hidden = self.hidden(batch)[:, :-1]
        chosen = batch.weights[:, 1:] > 0
        logits = self.language.lm_head(hidden[chosen])
        return F.cross_entropy(logits.float(), batch.ids[:, 1:][chosen], reduction="none")


def total_loss(losses: Tensor, weights: Tensor) -> Tensor:
    """The token losses [K] summed by their weights [B, L]."""
    return (losses * weights[:, 1:][weights[:, 1:] > 0]).sum()
