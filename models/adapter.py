"""A LoRA in a GGUF adapter: what llama.cpp calls its parts, and the order of their rows, there and back.

Export writes adapters by it, fine-tuning reads them back. Knows names and arrays; nothing of files or training.
"""

from __future__ import annotations

import re

import numpy as np

PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAME = re.compile(r"layers\.(\d+)\.([a-z_]+\.[a-z_]+)\.lora_([AB])")  # as `models.language.lora_state` names them
STORED = re.compile(r"blk\.(\d+)\.([a-z_]+)\.weight\.lora_([ab])")
PERMUTED = {"llama"}  # architectures whose rotary pairs lie side by side in GGUF, in halves in transformers


def turned_parts(architecture: str, heads: int, kv_heads: int) -> dict[str, int]:
    """The parts whose rows of `lora_B` are in another order in GGUF, with their number of heads."""
    return {"attn_q": heads, "attn_k": kv_heads} if architecture in PERMUTED else {}


def stored_name(layer: int, part: str, matrix: str) -> str:
    """GGUF's name of matrix `A` or `B` of a part by its GGUF name."""
    return f"blk.{layer}.{part}.weight.lora_{matrix.lower()}"


def trained_name(stored: str) -> str:
    """The name in training of a stored matrix; one that is no LoRA's stays as it is."""
    match, names = STORED.fullmatch(stored), {short: name for name, short in PARTS.items()}
    if not match or match[2] not in names:
        return stored
    return f"layers.{match[1]}.{names[match[2]]}.lora_{match[3].upper()}"


def interleave(b: np.ndarray, heads: int) -> np.ndarray:
    """Rows [heads * d, r] from two halves a head to pairs side by side; d is even."""
    return b.reshape(heads, 2, len(b) // heads // 2, -1).swapaxes(1, 2).reshape(b.shape)


def separate(b: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `interleave`."""
    return b.reshape(heads, len(b) // heads // 2, 2, -1).swapaxes(1, 2).reshape(b.shape)
