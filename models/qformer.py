"""The Q-Former of BLIP-2 without its text side: learned queries read an encoder's states (seed model, sections 1.2-1.3).

Post-LN as in BERT: self-attention, cross-attention, feed-forward, each with its residual and norm. B batch, Q queries,
S states, D width. Knows nothing of pictures, sound or prompts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import QFormerConfig

NORM_EPS = 1e-12  # BERT's


class Attention(nn.Module):
    """Multi-head attention of [B, Q, D] over [B, S, C], with output projection, residual and norm."""

    def __init__(self, width: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width, width)
        self.value = nn.Linear(context_width, width)
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def split(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, heads, N, D / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(context)), self.split(self.value(context))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.norm(x + self.dense(seen.transpose(1, 2).flatten(2)))


class Layer(nn.Module):
    """Self-attention among the queries, cross-attention to the states, feed-forward."""

    def __init__(self, config: QFormerConfig, context_width: int) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.width)
        self.crossattention = Attention(config.width, config.heads, context_width)
        self.intermediate = nn.Linear(config.width, 4 * config.width)
        self.output = nn.Linear(4 * config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention(x, x)
        x = self.crossattention(x, context, mask)
        return self.norm(x + self.output(F.gelu(self.intermediate(x))))


class QFormer(nn.Module):
    """states [B, S, C], optional mask bool [B, S] (True = look) -> [B, queries, width]."""

    def __init__(self, config: QFormerConfig, context_width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, config.queries, config.width) * 0.02)
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.layers = nn.ModuleList(Layer(config, context_width) for _ in range(config.layers))

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.norm(self.queries).expand(states.shape[0], -1, -1)
        look = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, states, look)
        return x
