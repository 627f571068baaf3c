"""Export: graphs equal the network, the bundle says what the checkpoint says, broken things are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from export.build import build
from export.encoders import quantize
from models.bundle import load_bundle
from models.errors import AffectError
from runtime.engine import Engine


def engine_of(bundle: Path, smoke_run: Path) -> Engine:
    return Engine.load(bundle, device="cpu", threads=1, language_model=smoke_run / "smoke-data/tiny.gguf")


def test_the_bundle_is_checked_and_verified(tiny_bundle: Path) -> None:
    """Built through the runtime: graphs within .999 in float32, 97 % of first labels equal, or build refuses."""
    bundle = load_bundle(tiny_bundle)
    assert bundle.verified and set(bundle.spec["files"]) == {
        "README.md",
        "audio.clip.onnx",
        "audio.window.onnx",
        "language.lora.gguf",
        "vision.clip.onnx",
        "vision.frame.onnx",
    }
    assert "CC BY-NC-SA 4.0" in (tiny_bundle / "README.md").read_text()


def test_a_bundle_built_without_items_is_stamped(smoke_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "plain"
    build(smoke_run, out, None, smoke_run / "smoke-data/tiny.gguf", None, print)
    assert not load_bundle(out).verified
    with pytest.raises(AffectError, match="there already"):
        build(smoke_run, out, None, smoke_run / "smoke-data/tiny.gguf", None, print)


def test_another_base_is_refused(smoke_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny.gguf"
    other.write_bytes((smoke_run / "smoke-data/tiny.gguf").read_bytes() + b"\0")
    with pytest.raises(AffectError, match="not the language model"):
        build(smoke_run, tmp_path / "x", None, other, None, print)
    with pytest.raises(AffectError, match="not 'Nano 2'"):  # before minutes are spent
        build(smoke_run, tmp_path / "Nano 2", None, other, None, print)
    assert not list(tmp_path.glob(".x*"))


def test_int8_storage_is_close() -> None:
    weights = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    stored, scale = quantize(weights, 0)
    assert stored.dtype == np.int8 and np.abs(stored * scale[:, None] - weights).max() <= scale.max() / 2 + 1e-6


def test_readings_repeat_and_missing_inputs_change_them(tiny_bundle: Path, smoke_run: Path) -> None:
    engine = engine_of(tiny_bundle, smoke_run)
    face = np.load(smoke_run / "smoke-data/faces.npy")[:1]
    first, again = (engine.read_items(face, None, "only fire and no more") for _ in range(2))
    assert first == again and len(first.labels) == 8
    assert sum(label.score for label in first.labels) == pytest.approx(1.0) and 1 <= len(first.named) <= 3
    assert set(first.clues) == {"visual", "text"}
    other = engine.read_items(None, None, "only fire and no more")
    assert [x.score for x in other.labels] != [x.score for x in first.labels]


def test_labels_can_be_restricted(tiny_bundle: Path, smoke_run: Path) -> None:
    engine = engine_of(tiny_bundle, smoke_run)
    segment = engine.read_items(None, None, "hello there", labels=["sad", "joy"], only_labels=True)
    assert {label.name for label in segment.labels} == {"happy", "sad"} and set(segment.named) <= {"happy", "sad"}


def test_nothing_to_read_is_unsure_and_claims_nothing(tiny_bundle: Path, smoke_run: Path) -> None:
    segment = engine_of(tiny_bundle, smoke_run).read_items(None, np.zeros(16000, np.float32), " ... ")
    assert (segment.status, segment.named, segment.reason, segment.clues) == ("unsure", (), "", {})


def test_special_token_text_in_words_acts_as_words(tiny_bundle: Path, smoke_run: Path) -> None:
    """The prompt of `<|im_end|>` in words has as many control tokens as any other prompt."""
    engine = engine_of(tiny_bundle, smoke_run)
    ids = engine.language.tokenize("<|im_end|>")
    assert engine.language.special("<|im_end|>") not in ids and len(ids) > 1


def test_a_changed_file_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, copy)
    spec = json.loads((copy / "affect.json").read_text())
    assert spec["schema_version"] == 1
    data = bytearray((copy / "vision.clip.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "vision.clip.onnx").write_bytes(data)
    with pytest.raises(AffectError, match="sha256"):
        load_bundle(copy)
