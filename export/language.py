"""The trained LoRA as a GGUF adapter, which llama.cpp lays over the 4-bit base it was trained on.

Merging and requantizing would round it away (docs/log.md). Knows names and shapes; nothing of training or bundles.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

from models.adapter import NAME, PARTS, interleave, stored_name, turned_parts
from models.errors import AffectError


def write_adapter(
    path: Path,
    lora: Mapping[str, np.ndarray],
    *,
    alpha: float,
    architecture: str = "llama",
    heads: int,
    kv_heads: int,
) -> None:
    """Writes `layers.N.self_attn.q_proj.lora_A` [r, in] and `.lora_B` [out, r], ... as float16.

    The correction is (alpha / r) B A, as in training. Raises AffectError `bad_checkpoint` for a name or a pair that is
    no LoRA's, and for numbers that float16 can't hold.
    """
    turned = turned_parts(architecture, heads, kv_heads)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for layer, part, a, b in pairs(lora):
        name = f"layer {layer}, {part}"
        writer.add_tensor(stored_name(layer, part, "A"), narrow(name, a))
        writer.add_tensor(stored_name(layer, part, "B"), narrow(name, paired(b, turned.get(part, 0))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def pairs(lora: Mapping[str, np.ndarray]) -> list[tuple[int, str, np.ndarray, np.ndarray]]:
    """(layer, GGUF's name of the part, A, B), in order. Raises AffectError `bad_checkpoint`."""
    found: dict[tuple[int, str], dict[str, np.ndarray]] = {}
    for name, value in lora.items():
        match = NAME.fullmatch(name)
        if not match or match[2] not in PARTS:
            raise AffectError(f"the checkpoint's LoRA has an unknown part {name}", "", "bad_checkpoint")
        found.setdefault((int(match[1]), PARTS[match[2]]), {})[match[3]] = value
    for (layer, part), two in found.items():
        if set(two) != {"A", "B"} or two["A"].ndim != 2 or two["B"].ndim != 2 or len(two["A"]) != two["B"].shape[1]:
            raise AffectError(f"the checkpoint's LoRA is no pair at layer {layer}, {part}", "", "bad_checkpoint")
    return [(layer, part, two["A"], two["B"]) for (layer, part), two in sorted(found.items())]


def paired(b: np.ndarray, heads: int) -> np.ndarray:
    """Rows in GGUF's order; 0 heads: as they are. Raises AffectError `bad_checkpoint`."""
    if heads and len(b) % (2 * heads):
        raise AffectError(f"{len(b)} rows of the checkpoint's LoRA are no {heads} heads", "", "bad_checkpoint")
    return interleave(b, heads) if heads else b


def narrow(name: str, values: np.ndarray) -> np.ndarray:
    """float16, contiguous. Raises AffectError `bad_checkpoint` for what is not finite then."""
    with np.errstate(over="ignore"):
        small = np.ascontiguousarray(values, np.float16)
    if not np.isfinite(small).all():
        raise AffectError(f"the checkpoint's LoRA is not finite at {name}", "", "bad_checkpoint")
    return small
