"""One fast file of a slow base and its adapter: it says what both say, is made once, and does not fill the disk."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from export.language import write_adapter
from models.bundle import Bundle, load_bundle
from models.errors import AffectError
from models.gguf import EMBEDDINGS, Gguf
from runtime import engine, merged
from runtime.language import Language
from tests import tiny_llama as tiny

Kind = gguf.GGMLQuantizationType


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """In Q4_1, its embeddings in Q8_0, as SmolLM2's package has it."""
    return tiny.write_tiny_llama(tmp_path / "base.gguf", embeddings=Kind.Q8_0, matrices=Kind.Q4_1).path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A strong one."""
    path = tmp_path / "lora.gguf"
    write_adapter(path, tiny.random_lora(4), alpha=8, heads=tiny.HEADS, kv_heads=tiny.KV_HEADS)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def logits(model: Path, over: Path | None) -> np.ndarray:
    """After some tokens."""
    language = Language(model, over, context=64, threads=1)
    language.feed([*range(20, 44)])
    found = language.logits()
    language.close()
    return found


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("corrected", [True, False])
def test_the_merged_file_says_what_base_and_adapter_say(base: Path, adapter: Path, corrected: bool) -> None:
    over = adapter if corrected else None
    path = merged.merged_model(base, over, ("base", "lora"))
    assert cosine(logits(path, None), logits(base, over)) > 0.998  # llama.cpp rounds activations in either kind
    assert cosine(logits(base, None), logits(base, adapter)) < 0.9, "the adapter of this test would go unnoticed"
    assert merged.is_slow(base) and not merged.is_slow(path)


def test_its_tokens_and_embeddings_are_those_of_the_base(base: Path, adapter: Path) -> None:
    """Embeddings that are fast already are not touched; the tokenizer is the same."""
    path = merged.merged_model(base, adapter, ("base", "lora"))
    assert np.array_equal(Gguf(path).rows(EMBEDDINGS, range(40)), Gguf(base).rows(EMBEDDINGS, range(40)))
    one, two = Language(path, None, context=64), Language(base, None, context=64)
    assert one.tokenize("so happy, <|im_end|> unhappy") == two.tokenize("so happy, <|im_end|> unhappy")
    assert one.special("<|im_start|>") == two.special("<|im_start|>") and one.ends == two.ends


def test_it_is_made_once_for_the_same_files(base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = merged.merged_model(base, adapter, ("base", "lora"))
    assert merged.merged_model(base, adapter, ("base", "other")) != first
    monkeypatch.setattr(merged, "write_merged", lambda *_: pytest.fail("made twice"))
    assert merged.merged_model(base, adapter, ("base", "lora")) == first


def test_the_latest_used_ones_are_kept(cache: Path, base: Path) -> None:
    """Each has the size of a base: those that were not used for longest go."""
    made = [merged.merged_model(base, None, (str(number),)) for number in range(merged.KEPT)]
    for age, path in enumerate(made):
        os.utime(path, (1000 + age, 1000 + age))
    merged.merged_model(base, None, ("0",))
    newest = merged.merged_model(base, None, ("new",))
    assert {*(cache / "language").iterdir()} == {made[0], *made[2:], newest}


def test_an_adapter_for_another_model_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "q.gguf", tiny.random_lora(2), alpha=4, architecture="qwen2", heads=4, kv_heads=2)
    with pytest.raises(AffectError, match="is for qwen2, the model is llama"):
        merged.merged_model(base, tmp_path / "q.gguf", ("base", "q"))


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


def test_without_room_the_adapter_stays_one_and_a_note_says_so(
    bundle: Bundle, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(merged, "write_merged", full)
    model, over, notes = engine.language_files(bundle, base, "cpu")
    assert model == base and over == bundle.file(bundle.spec["language"]["adapter"])
    assert len(notes) == 1 and notes[0].startswith("slower than it could be: the disk is full (free some space")


def test_a_card_and_a_fast_base_keep_their_files(bundle: Bundle, base: Path, tmp_path: Path, cache: Path) -> None:
    """A card multiplies with Q4_1 as it is; what is no slow kind is not made larger."""
    fast = tiny.write_tiny_llama(tmp_path / "fast.gguf", matrices=Kind.Q8_0).path
    over = bundle.file(bundle.spec["language"]["adapter"])
    assert engine.language_files(bundle, base, "cuda") == (base, over, ())
    assert engine.language_files(bundle, fast, "cpu") == (fast, over, ())
    assert not (cache / "language").exists()


def test_a_bundle_without_adapter_has_its_base_widened(bundle: Bundle, base: Path) -> None:
    spec = {**bundle.spec, "language": {**bundle.spec["language"], "adapter": None}}
    model, over, notes = engine.language_files(replace(bundle, spec=spec), base, "cpu")
    assert over is None and notes == () and model.parent.name == "language" and not merged.is_slow(model)
