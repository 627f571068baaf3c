"""`affect bench quality`: rows by name, resumable, ablations done to the right inputs; and timing rows that add up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.engine import Engine  # isort: skip  # llama.cpp before numpy
from models.errors import AffectError
from models.items import Item, write_items
from models.metrics import METRICS
from models.reading import Segment
from runtime.quality import ROWS, Figure, Row, choose_rows, items_of, read_row
from runtime.speed import loop, machine
from trainer.datasets import load
from trainer.mixture import verification_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(tiny_bundle: Path, smoke_run: Path) -> Engine:
    """The tiny bundle, loaded."""
    return Engine.load(tiny_bundle, device="cpu", threads=1, language_model=smoke_run / "smoke-data/tiny.gguf")


@pytest.fixture
def data(smoke_run: Path) -> Path:
    """Items of single inputs, under the names that the rows have."""
    folder = smoke_run / "smoke-data"
    rows = [
        row for row in verification_rows(load(folder), each=6) if row["voice"] and not row["face"] and not row["words"]
    ]
    write_items(folder / "voice-test.jsonl", rows)
    return folder


def test_rows_are_chosen_by_name() -> None:
    assert [row.name for row in choose_rows(["meld", "voice"])] == ["meld", "voice"] and choose_rows([]) == list(ROWS)
    with pytest.raises(AffectError, match="no row dance"):
        choose_rows(["dance"])


def test_a_second_run_reads_nothing_again(engine: Engine, data: Path, tmp_path: Path) -> None:
    row = ROWS[0]
    first = read_row(engine, row, data, tmp_path, None, lambda done, of: None)
    stored = (tmp_path / "voice.jsonl").read_text()
    (tmp_path / "voice.jsonl").write_text(stored[:-20])  # killed while writing its last line
    again = read_row(engine, row, data, tmp_path, None, lambda done, of: None)
    assert first == again and first.n == 6 and 0 <= first.value <= 1
    assert (tmp_path / "voice.jsonl").read_text().startswith(stored[:-20])


def test_an_ablation_takes_the_information_away(engine: Engine, data: Path, tmp_path: Path) -> None:
    """Zeroed soft tokens give every item the same scores; swapped items keep their labels and lose their inputs."""
    item, other = items_of(ROWS[0], data, None)[:2]
    zeroed: list[Segment] = [
        engine.read_items(None, x.wave, None, only_labels=True, blank=("audio",)) for x in (item, other)
    ]
    assert zeroed[0].labels == zeroed[1].labels
    swapped = Row("x", "voice-test", "UAR", ROWS[0].labels, "swapped")
    plain, mixed = items_of(ROWS[0], data, None), items_of(swapped, data, None)
    assert [x.labels for x in plain] == [x.labels for x in mixed] and [x.id for x in plain] == [x.id for x in mixed]
    assert [id(x.wave) for x in plain] != [id(x.wave) for x in mixed] and sorted(map(length, plain)) == sorted(
        map(length, mixed)
    )


def length(item: Item) -> int:
    """Samples of an item's sound."""
    return 0 if item.wave is None else len(item.wave)


def test_bars_are_held_against_figures() -> None:
    assert Figure(ROWS[0], 1, 0.65).reached and not Figure(ROWS[0], 1, 0.64).reached
    near = next(row for row in ROWS if row.near)
    assert Figure(near, 1, (near.near or 0) + 0.04).reached and not Figure(near, 1, (near.near or 0) + 0.06).reached
    assert set(METRICS) == {"accuracy", "UAR", "weighted F1"} and json.dumps([row.name for row in ROWS])


def test_the_clip_of_the_speed_table_is_as_long_as_it_should_be(tmp_path: Path) -> None:
    from models.media import read_clip

    loop(ROOT / "examples/grid.mp4", tmp_path / "five.mp4", 5.0)
    clip = read_clip(tmp_path / "five.mp4")
    assert clip.end == pytest.approx(5.0, abs=0.2) and clip.waveform is not None and len(clip.frames) == 8
    assert "cores" in machine()
