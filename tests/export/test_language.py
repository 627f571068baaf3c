"""The adapter file says what the trained LoRA says: llama.cpp with base and adapter against transformers, merged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.language import write_adapter
from models.errors import AffectError
from models.gguf import Gguf
from runtime.language import Language
from tests import tiny_llama as tiny

ALPHA, RANK = 16.0, 8


def logits_of_transformers(model: tiny.TinyLlama, lora: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """Of every position, in float32, with the LoRA merged by its definition."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=model.words,
        hidden_size=tiny.WIDTH,
        intermediate_size=tiny.FEED_FORWARD,
        num_hidden_layers=tiny.LAYERS,
        num_attention_heads=tiny.HEADS,
        num_key_value_heads=tiny.KV_HEADS,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    network = LlamaForCausalLM(config).eval()
    merged = dict(model.weights)
    for name in (name.removesuffix(".lora_A") for name in lora if name.endswith(".lora_A")):
        merged[f"model.{name}.weight"] = merged[f"model.{name}.weight"] + ALPHA / RANK * (
            lora[f"{name}.lora_B"] @ lora[f"{name}.lora_A"]
        )
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in merged.items()}
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    network.load_state_dict(tensors)
    with torch.no_grad():
        return np.asarray(network(torch.tensor([ids])).logits[0])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("half", [True, False])
def test_base_with_adapter_gives_the_logits_of_the_merged_network(tmp_path: Path, half: bool) -> None:
    """Names, the permutation of q and k (with fewer kv heads than heads), and the scale alpha / r are all right."""
    model = tiny.write_tiny_llama(tmp_path / "tiny.gguf", half=half)
    lora = tiny.random_lora(RANK)
    write_adapter(tmp_path / "lora.gguf", lora, alpha=ALPHA, heads=tiny.HEADS, kv_heads=tiny.KV_HEADS)
    ids = list(np.random.default_rng(3).integers(6, model.words, 24))
    wanted = logits_of_transformers(model, lora, ids)[-1]
    without = logits_of_transformers(model, {}, ids)[-1]
    language = Language(model.path, tmp_path / "lora.gguf", context=64, threads=1)
    language.feed(ids)
    assert cosine(language.logits(), wanted) >= 0.9999
    assert cosine(without, wanted) < 0.9, "the LoRA of this test would go unnoticed"
    language.close()


def test_an_architecture_without_the_permutation_keeps_its_rows(tmp_path: Path) -> None:
    """Qwen2, which a larger preset uses, has its rotary halves in GGUF as in transformers."""
    lora = tiny.random_lora(2)
    write_adapter(tmp_path / "lora.gguf", lora, alpha=4, architecture="qwen2", heads=4, kv_heads=2)
    stored = Gguf(tmp_path / "lora.gguf").rows("blk.1.attn_q.weight.lora_b", range(tiny.WIDTH))
    assert np.array_equal(stored, lora["layers.1.self_attn.q_proj.lora_B"])


def test_the_file_is_half_precision_and_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_adapter(tmp_path / name, tiny.random_lora(8), alpha=16, heads=4, kv_heads=2)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert {tensor.kind for tensor in Gguf(tmp_path / "one").tensors.values()} == {1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers.0.mlp.other.lora_A": np.zeros((2, 4))}, "unknown part"),
        ({"layers.0.self_attn.q_proj.lora_A": np.zeros((3, tiny.WIDTH))}, "no pair"),
        ({"layers.7.self_attn.q_proj.lora_A": np.zeros((3, tiny.WIDTH))}, "no pair"),
        ({"layers.0.self_attn.q_proj.lora_A": np.full((2, tiny.WIDTH), 1e6)}, "not finite"),
        ({"layers.0.self_attn.q_proj.lora_B": np.zeros((63, 2))}, "no 4 heads"),
    ],
)
def test_what_is_no_lora_is_refused(tmp_path: Path, change: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(AffectError, match=said) as caught:
        write_adapter(tmp_path / "lora.gguf", {**tiny.random_lora(2), **change}, alpha=4, heads=4, kv_heads=2)
    assert caught.value.code == "bad_checkpoint" and not (tmp_path / "lora.gguf").exists()
