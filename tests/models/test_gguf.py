"""GGUF files without llama.cpp: what is read is what was written, and a hostile file ends in words, fast."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.errors import AffectError
from models.gguf import EMBEDDINGS, Gguf
from tests import tiny_llama as tiny

TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tiny.TinyLlama:
    return tiny.write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def test_the_header_is_what_was_written(model: tiny.TinyLlama) -> None:
    """Held against the reference reader, tensor by tensor."""
    ours, theirs = Gguf(model.path), gguf.GGUFReader(model.path)
    assert (ours.architecture, ours.width, ours.heads, ours.kv_heads) == ("llama", 64, 4, 2)
    assert len(ours.tensors) == len(theirs.tensors)
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.shape == tuple(int(n) for n in tensor.shape[::-1]) and mine.kind == tensor.tensor_type
        assert (mine.start, mine.size) == (tensor.data_offset, tensor.n_bytes)


@pytest.mark.parametrize("name", TYPES)
def test_rows_of_every_usual_type(tmp_path: Path, name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    model = tiny.write_tiny_llama(tmp_path / "tiny.gguf", half=False, embeddings=kind)
    ids = [5, 200, 5, model.words - 1]
    rows = Gguf(model.path).rows(EMBEDDINGS, ids)
    stored = gguf.quants.quantize(model.weights["model.embed_tokens.weight"], kind)
    assert rows.dtype == np.float32 and rows.shape == (4, 64)
    assert np.array_equal(rows, gguf.quants.dequantize(stored, kind)[ids])


def test_no_rows_and_rows_that_are_not_there(model: tiny.TinyLlama) -> None:
    assert Gguf(model.path).rows(EMBEDDINGS, []).shape == (0, 64)
    with pytest.raises(IndexError):
        Gguf(model.path).rows(EMBEDDINGS, [model.words])
    with pytest.raises(AffectError, match="no matrix other"):
        Gguf(model.path).rows("other", [0])


def header(tensors: int = 0, fields: bytes = b"", count: int = 0, version: int = 3) -> bytes:
    """The start of a file, with `count` fields claimed."""
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + fields


def field(kind: int, value: bytes) -> bytes:
    """One field named `k`."""
    return struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind) + value


def tensor(shape: tuple[int, ...], kind: int = 0, start: int = 0) -> bytes:
    """One entry of the list of tensors, named `t`."""
    return struct.pack(f"<Q1sI{len(shape)}QIQ", 1, b"t", len(shape), *shape, kind, start)


BIG = 1 << 62
HOSTILE = {
    "empty": b"",
    "short": b"GG",
    "text": b"hello, this is not a model at all",
    "another version": header(version=9),
    "no tensors where some are claimed": header(tensors=4),
    "tensors without end": header(tensors=BIG),
    "fields without end": header(count=BIG),
    "a text without end": header(count=1, fields=field(8, struct.pack("<Q", BIG))),
    "an array without end": header(count=1, fields=field(9, struct.pack("<IQ", 8, BIG))),
    "an array longer than the file": header(count=1, fields=field(9, struct.pack("<IQ", 8, 30))),
    "numbers longer than the file": header(count=1, fields=field(9, struct.pack("<IQ", 10, 30))),
    "a string of an array beyond the end": header(count=1, fields=field(9, struct.pack("<IQQ", 8, 2, BIG))),
    "arrays in arrays": header(count=1, fields=field(9, struct.pack("<IQ", 9, 1))),
    "an unknown kind of value": header(count=1, fields=field(77, b"")),
    "an unknown type of tensor": header(1, tensor((4,), kind=999)),
    "no dimensions": header(1, tensor(())),
    "five dimensions": header(1, tensor((1,) * 5)),
    "an empty shape": header(1, tensor((4, 0))),
    "a shape that overflows": header(1, tensor((1 << 39, 1 << 39, 1 << 39))),
    "half a block": header(1, tensor((33,), kind=8)),
    "data beyond the end": header(1, tensor((4,), start=1 << 63)),
    "two of a name": header(2, tensor((4,)) * 2) + bytes(64),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(AffectError, match=r"model\.gguf") as caught:
        Gguf(path)
    assert caught.value.code == "bad_gguf"


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.3, 0.999])
def test_a_file_cut_short_is_refused(tmp_path: Path, model: tiny.TinyLlama, share: float) -> None:
    whole = model.path.read_bytes()
    path = tmp_path / "model.gguf"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(AffectError):
        Gguf(path)


def test_noise_in_the_header_never_escapes_as_another_error(tmp_path: Path, model: tiny.TinyLlama) -> None:
    """200 files with a few bytes changed are read or refused."""
    whole, rng = model.path.read_bytes(), np.random.default_rng(0)
    for number in range(200):
        data = bytearray(whole)
        for place in rng.integers(0, 9000 if number % 2 else 600, 4):
            data[place] = rng.integers(0, 256)
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        try:
            read = Gguf(path)
            _ = (read.width, read.rows(EMBEDDINGS, [0]))
        except AffectError:
            continue


def test_missing_files_and_folders_are_said(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.gguf", tmp_path):
        with pytest.raises(AffectError) as caught:
            Gguf(path)
        assert caught.value.code == "not_found"
