"""A tiny random model of the llama architecture as a GGUF file, with a byte-level tokenizer, for tests of several rooms.

Its weights are also given by transformers' names, so that both sides of a comparison compute with the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|c3|>", "<|c4|>", "<|c5|>")
WORDS = ("happy", "sad", "angry", "unhappy")
WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 64, 2, 4, 2, 96
HEAD = WIDTH // HEADS
PARTS = {
    "self_attn.q_proj": ("attn_q", WIDTH, WIDTH),
    "self_attn.k_proj": ("attn_k", KV_HEADS * HEAD, WIDTH),
    "self_attn.v_proj": ("attn_v", KV_HEADS * HEAD, WIDTH),
    "self_attn.o_proj": ("attn_output", WIDTH, WIDTH),
    "mlp.gate_proj": ("ffn_gate", FEED_FORWARD, WIDTH),
    "mlp.up_proj": ("ffn_up", FEED_FORWARD, WIDTH),
    "mlp.down_proj": ("ffn_down", WIDTH, FEED_FORWARD),
}


@dataclass(frozen=True)
class TinyLlama:
    """The file, the weights by transformers' names (float32, as the file holds them), the size of the vocabulary."""

    path: Path
    weights: dict[str, np.ndarray]
    words: int


def byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte value."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges: the control tokens, every byte, and ` happy`, ` sad`, ... each as one token."""
    tokens, merges = [*CONTROLS, *byte_letters()], []
    for word in (f"\u0120{word}" for word in WORDS):
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    return tokens, merges


def random_weights(words: int, seed: int, half: bool) -> dict[str, np.ndarray]:
    """By transformers' names; `half` rounds the matrices to float16."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        values = rng.standard_normal((rows, columns)).astype(np.float32) / columns**0.5 * 1.5
        return values.astype(np.float16).astype(np.float32) if half else values

    weights = {"model.embed_tokens.weight": matrix(words, WIDTH), "model.norm.weight": np.ones(WIDTH, np.float32)}
    for i in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{i}.{norm}.weight"] = rng.uniform(0.5, 1.5, WIDTH).astype(np.float32)
        for part, (_, rows, columns) in PARTS.items():
            weights[f"model.layers.{i}.{part}.weight"] = matrix(rows, columns)
    return weights


def gguf_name(name: str) -> str:
    """A tensor's name in GGUF."""
    for part, (short, _, _) in PARTS.items():
        name = name.replace(part, short)
    swaps = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "model.layers": "blk",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for old, new in swaps.items():
        name = name.replace(old, new)
    return name


def paired(name: str, values: np.ndarray) -> np.ndarray:
    """Rows of q and k with each rotary pair side by side, row by row as the format's converter does."""
    if not name.endswith(("attn_q.weight", "attn_k.weight")):
        return values
    half = HEAD // 2
    order = [
        head * HEAD + side * half + i for head in range(len(values) // HEAD) for i in range(half) for side in (0, 1)
    ]
    return values[order]


def write_tiny_llama(
    path: Path,
    seed: int = 0,
    half: bool = True,
    embeddings: gguf.GGMLQuantizationType | None = None,
    matrices: gguf.GGMLQuantizationType | None = None,
) -> TinyLlama:
    """Writes the model; `embeddings` stores the token embeddings in a quantized type, `matrices` all the others."""
    tokens, merges = vocabulary()
    weights = random_weights(len(tokens), seed, half)
    writer = gguf.GGUFWriter(path, "llama")
    add_shape(writer, len(tokens))
    add_tokenizer(writer, tokens, merges)
    for name, values in weights.items():
        short = gguf_name(name)
        stored = paired(short, values).astype(np.float16 if half and values.ndim == 2 else np.float32)
        kind = embeddings if short == "token_embd.weight" else matrices if values.ndim == 2 else None
        if kind is not None:
            writer.add_tensor(short, gguf.quants.quantize(paired(short, values), kind), raw_dtype=kind)
        else:
            writer.add_tensor(short, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return TinyLlama(path, weights, len(tokens))


def add_shape(writer: gguf.GGUFWriter, words: int) -> None:
    """The network's sizes."""
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(words)


def add_tokenizer(writer: gguf.GGUFWriter, tokens: list[str], merges: list[str]) -> None:
    """SmolLM2's kind of tokenizer, in small."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(CONTROLS) + [1] * (len(tokens) - len(CONTROLS)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)


def random_lora(rank: int, seed: int = 1, scale: float = 0.3) -> dict[str, np.ndarray]:
    """A LoRA on every linear layer, by the trainer's names; values that float16 holds."""
    rng = np.random.default_rng(seed)
    lora = {}
    for i in range(LAYERS):
        for part, (_, rows, columns) in PARTS.items():
            a, b = rng.standard_normal((rank, columns)) / columns**0.5, rng.standard_normal((rows, rank)) * scale
            lora[f"layers.{i}.{part}.lora_A"] = a.astype(np.float16).astype(np.float32)
            lora[f"layers.{i}.{part}.lora_B"] = b.astype(np.float16).astype(np.float32)
    return lora
