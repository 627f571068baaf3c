"""Checkpoints and items: what is written is read back; what is broken or hostile is refused; nothing is unpickled."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models import checkpoint
from models.config import AffectConfig
from models.errors import AffectError
from models.items import read_items, write_items


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    made = checkpoint.Checkpoint(AffectConfig(name="x"), {"a": torch.arange(3.0)}, {"seed": 1}, {"base.gguf": "00"})
    checkpoint.save(tmp_path / "run", made)
    back = checkpoint.load(tmp_path / "run")
    assert back.config == made.config and torch.equal(back.state["a"], made.state["a"]) and back.facts == {"seed": 1}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "model.safetensors"]


def test_broken_checkpoints_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(AffectError, match="is no checkpoint"):
        checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04not tensors")
    with pytest.raises(AffectError, match="broken"):
        checkpoint.load(tmp_path)


def test_items_name_rows_of_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4))
    row = {"id": "1", "face": "faces.npy#1", "voice": None, "words": "hi", "labels": ["happy"]}
    write_items(tmp_path / "items.jsonl", [row])
    (item,) = read_items(tmp_path / "items.jsonl")
    assert item.faces is not None and item.faces.shape == (1, 4, 4) and item.faces[0, 0, 0] == 16
    assert (item.words, item.labels, item.wave) == ("hi", ("happy",), None)


def test_pickled_arrays_and_bad_rows_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    row = {"id": "1", "face": "bad.npy#0", "voice": None, "words": None, "labels": []}
    for line in (json.dumps(row), "{", '{"id": 1}'):
        (tmp_path / "items.jsonl").write_text(line + "\n")
        with pytest.raises(AffectError):
            list(read_items(tmp_path / "items.jsonl"))
