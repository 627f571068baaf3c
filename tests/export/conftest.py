"""What is measured, and a bundle that may be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trainer.datasets import Corpus, Line, load, write_test_items


@pytest.fixture
def data(smoke_run: Path) -> Path:
    """Single inputs of the data made in code, under the names that the rows have."""
    folder = smoke_run / "smoke-data"
    corpus = load(folder)
    lines = [Line(x.text, x.label, x.split, name) for x in corpus.lines for name in ("meld", "goemotions")]
    write_test_items(Corpus(corpus.faces, corpus.voices, lines), folder)
    folder.joinpath("heads-validation.jsonl").unlink(missing_ok=True)
    return folder


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
