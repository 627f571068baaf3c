"""`affect-export calibrate`: a bundle is measured as users run it, and only its calibration changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.export import app
from export import calibrate as room
from models.bundle import MANIFEST, change_manifest, load_bundle
from models.calibration import Calibration, softmax
from models.errors import AffectError
from models.items import read_items
from runtime.engine import Engine

SETS = ["visual", "audio", "text", "visual+audio", "visual+text", "audio+text", "visual+audio+text"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more items than a test has time for."""
    for name, count in (("SINGLE", 12), ("PAIR", 7), ("THREE", 7)):
        monkeypatch.setattr(room, name, count)


def engine_of(bundle: Path, data: Path) -> Engine:
    return Engine.load(bundle, device="cpu", threads=1, language_model=data / "tiny.gguf")


def test_only_the_calibration_changes(bundle: Path, data: Path, few: None) -> None:
    """Every set of inputs gets one, the bundle loads, and a second measurement of it finds the same."""
    before = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    told = CliRunner().invoke(
        app, ["calibrate", str(bundle), "--data", str(data), "--language", str(data / "tiny.gguf"), "--threads", "1"]
    )
    assert told.exit_code == 0 and [line.split()[0] for line in told.stdout.splitlines()] == SETS
    first = load_bundle(bundle).spec
    assert {key for key in first if first[key] != before[key]} == {"temperatures", "second_from"}
    again = room.calibrate(engine_of(bundle, data), data, lambda name, done, of: None)
    assert {kind: Calibration.of(first, kind) for kind in SETS} == dict(again)


def test_a_reading_is_what_was_asked_and_calibrated(bundle: Path, data: Path) -> None:
    """The scores of a reading are those of the raw answers at its temperature; each sense alone was asked, too."""
    change_manifest(load_bundle(bundle), {"temperatures": {"visual+text": 2.5}})
    engine = engine_of(bundle, data)
    face = next(item.faces for item in read_items(data / "face-validation.jsonl"))
    words = next(item.words for item in read_items(data / "meld-validation.jsonl"))
    answer, segment = engine.asked(face, None, words), engine.read_items(face, None, words, only_labels=True)
    assert answer is not None and 0 < answer.second < 1
    chances = dict(zip(engine.bundle.spec["labels"], softmax(answer.scores["visual+text"] / 2.5).tolist(), strict=True))
    assert {label.name: label.score for label in segment.labels} == pytest.approx(chances, abs=1e-5)
    alone = engine.read_items(face, None, None, only_labels=True).labels[0].name
    assert alone == engine.bundle.spec["labels"][int(answer.scores["visual"].argmax())]


def test_nothing_to_read_is_not_asked(bundle: Path, data: Path) -> None:
    assert engine_of(bundle, data).asked(None, None, " ... ") is None


def test_a_manifest_that_would_be_refused_is_not_written(bundle: Path) -> None:
    before = (bundle / MANIFEST).read_bytes()
    with pytest.raises(AffectError, match="temperature text"):
        change_manifest(load_bundle(bundle), {"temperatures": {"text": 0}})
    assert (bundle / MANIFEST).read_bytes() == before
