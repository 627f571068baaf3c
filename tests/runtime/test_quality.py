"""`affect bench quality`: rows by name, resumable, ablations done to the right inputs, composed items that are what they say;
and timing rows that add up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from models.emotions import LABELS
from models.errors import AffectError
from models.items import Item, write_items
from models.reading import Segment
from runtime import rows as room
from runtime.crowd import Crowd
from runtime.engine import Engine
from runtime.quality import (
    PAIRS,
    SEVEN,
    SINGLES,
    Reader,
    Record,
    Task,
    agreeing,
    all_three,
    conflicting,
    segment,
    standard,
    swapped,
)
from runtime.rows import ROWS, choose_rows
from runtime.speed import loop, machine
from trainer.datasets import Corpus, load, write_test_items
from trainer.mixture import verification_rows

ROOT = Path(__file__).parents[2]
BY_NAME = {row.name: row for row in ROWS}


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


@pytest.fixture
def reader(engine: Engine, data: Path, tmp_path: Path) -> Reader:
    """Reads into an empty folder."""
    return Reader(engine, data, tmp_path)


def test_rows_are_chosen_by_name() -> None:
    assert [row.name for row in choose_rows(["meld", "voice"])] == ["meld", "voice"] and choose_rows([]) == list(ROWS)
    with pytest.raises(AffectError, match="no row dance"):
        choose_rows(["dance"])


def test_a_second_run_reads_nothing_again(reader: Reader, engine: Engine, data: Path, tmp_path: Path) -> None:
    first = reader.read(SINGLES["voice"])[1]
    stored = (tmp_path / "voice-test.jsonl").read_text()
    (tmp_path / "voice-test.jsonl").write_text(stored[:-20])  # killed while writing its last line
    again = Reader(engine, data, tmp_path).read(SINGLES["voice"])[1]
    assert first == again and len(first) == 6 and 0 <= BY_NAME["voice"].count(reader)[1].value <= 1
    assert (tmp_path / "voice-test.jsonl").read_text().startswith(stored[:-20])


def test_a_crowd_reads_what_one_engine_reads(
    reader: Reader, tiny_bundle: Path, smoke_run: Path, tmp_path: Path
) -> None:
    """Two processes, the same records in the same order; what goes wrong in one of them is said as it would be here."""
    one = reader.read(SINGLES["voice"])[1]
    with Crowd(tiny_bundle, 2, smoke_run / "smoke-data/tiny.gguf") as crowd:
        others = replace(reader, out=tmp_path / "crowd", crowd=crowd.segments)
        others.out.mkdir()
        assert others.read(SINGLES["voice"])[1] == one
        with pytest.raises(AffectError, match="dance") as caught:
            list(crowd.segments(replace(SINGLES["voice"], labels=("dance",)), reader.items(SINGLES["voice"])))
        assert caught.value.code == "bad_labels"


def test_an_ablation_takes_the_information_away(engine: Engine, reader: Reader) -> None:
    """Zeroed soft tokens give every item the same scores; swapped items keep their labels and lose their inputs."""
    plain = reader.items(SINGLES["voice"])
    zeroed: list[Segment] = [
        engine.read_items(None, x.wave, None, only_labels=True, blank=("audio",)) for x in plain[:2]
    ]
    assert zeroed[0].labels == zeroed[1].labels
    mixed = swapped(plain)
    assert [x.labels for x in plain] == [x.labels for x in mixed] and [x.id for x in plain] == [x.id for x in mixed]
    assert [id(x.wave) for x in plain] != [id(x.wave) for x in mixed] and sorted(map(length, plain)) == sorted(
        map(length, mixed)
    )


def length(item: Item) -> int:
    """Samples of an item's sound."""
    return 0 if item.wave is None else len(item.wave)


def test_whole_replies_are_kept_with_what_was_measured(engine: Engine, reader: Reader) -> None:
    """In standard deviations, by the bundle's own norm, of the very sound that the clue is about."""
    reader.limit = 2
    items, records = reader.read(BY_NAME["voice-clues"].task)
    heard = engine.hear(items[0].wave)
    assert heard is not None and set(records[0]["clues"]) == {"audio"}
    norms = engine.bundle.spec["preprocessing"]
    wanted = (heard.measures.pitch_hz - norms["voice_norm"]["mean"][0]) / norms["voice_norm"]["std"][0]
    assert records[0]["measured"]["audio"]["pitch_hz"] == pytest.approx(wanted, abs=1e-3)
    assert standard("visual", {"smile": 3.0}, {"face_norm": {"mean": [1.0] * 6, "std": [2.0] * 6}}) == {"smile": 1.0}


# -------------------------------------------------------------------- composed items


class Known(Reader):
    """Single inputs of which every third is read wrongly, without an engine."""

    def records(self, task: Task, items: Sequence[Item]) -> list[Record]:
        return [
            {"id": x.id, "read": read, "scores": {label: float(label == read) for label in LABELS}}
            for x, read in ((x, x.labels[0] if n % 3 else "nobody") for n, x in enumerate(items))
        ]


@pytest.fixture
def known(smoke_run: Path, tmp_path: Path) -> Known:
    """On the validation part of the data made in code."""
    folder = smoke_run / "smoke-data"
    corpus = load(folder)
    sources = [x for line in corpus.lines for x in (line, type(line)(line.text, line.label, line.split, "goemotions"))]
    lines = [type(x)(x.text, x.label, x.split, x.source if x.source == "goemotions" else "meld") for x in sources]
    write_test_items(Corpus(corpus.faces, corpus.voices, lines), folder)
    return Known(cast(Engine, None), folder, tmp_path, split="validation")


def test_without_pairs_that_are_read_rightly_it_is_said(known: Known) -> None:
    """Few items, or a bundle that reads nothing rightly."""
    for compose in (agreeing, conflicting):
        with pytest.raises(AffectError, match="too few inputs are read rightly"):
            compose(replace(known, limit=1), 10)


def test_three_inputs_of_one_feeling_are_put_together(known: Known) -> None:
    """Every shared feeling as often as another; each part is of that feeling; the parts' ids say which."""
    items, singles = all_three(known, 14), known.singles()
    assert sorted(item.labels[0] for item in items) == sorted([*SEVEN, *SEVEN])
    for item in items:
        parts = [singles[name][0] for name in item.id.split("+")]
        assert {part.labels for part in parts} == {item.labels}
        assert item.faces is parts[0].faces and item.wave is parts[1].wave and item.words == parts[2].words


def test_pairs_are_made_of_what_is_read_rightly_alone(known: Known) -> None:
    right = {item.id for pool in known.pools(right=True).values() for items in pool.values() for item in items}
    everything = {item.id for pool in known.pools(right=False).values() for items in pool.values() for item in items}
    assert right < everything
    for items, labels in ((agreeing(known, 30), 1), (conflicting(known, 30), 2)):
        kinds = [{"visual": x.faces is not None, "audio": x.wave is not None, "text": bool(x.words)} for x in items]
        assert {tuple(k for k, there in kind.items() if there) for kind in kinds} == set(PAIRS)
        assert all(len(item.labels) == labels and set(item.id.split("+")) <= right for item in items)


# -------------------------------------------------------------------- figures


def test_clues_are_held_against_their_own_and_another_measurement() -> None:
    """Two claims, one of them wrong; both wrong for the next item's sound; what was not measured is not counted."""
    said = {"audio": "The voice is high, loud and slow."}
    first = {"clues": said, "measured": {"audio": {"pitch_hz": 2, "loudness_db": 0}}}
    other = {"clues": {"audio": "A voice."}, "measured": {"audio": {"pitch_hz": -2, "loudness_db": -2}}}
    records = [first, other]
    assert room.clue_truth("audio")([], records).value == 1 / 2
    assert room.clue_truth("audio", swapped=True)([], records).value == 0
    assert room.clue_given("audio")([], records).value == 1 / 2


def item(name: str, *labels: str) -> Item:
    return Item(name, None, None, None, labels)


def test_the_gain_is_over_the_best_of_the_single_inputs(known: Known) -> None:
    """Together two of two are right; alone, of every kind, those that are read rightly."""
    singles = known.singles()
    right = [
        name for name in singles if name in {i.id for p in known.pools(True).values() for v in p.values() for i in v}
    ]
    faces, voices, lines = ([name for name in right if name.startswith(kind)] for kind in ("face", "voice", "meld"))
    wrong = next(name for name in singles if name.startswith("voice") and name not in right)
    one = item(f"{faces[0]}+{voices[0]}+{lines[0]}", singles[faces[0]][0].labels[0])
    two = item(f"{faces[1]}+{wrong}+{lines[1]}", "happy")
    records = [{"read": one.labels[0]}, {"read": "happy"}]
    hits = [singles[name][0].labels[0] for name in (faces[0], voices[0], lines[0])].count(one.labels[0])
    assert hits >= 1 and room.gain(known, [one, two], records).value == pytest.approx(1 - 1 / 2, abs=1 / 2)


def test_robustness_is_the_share_of_the_clean_figure_that_is_left(known: Known) -> None:
    """Every third of the clean ones is read wrongly; after a change that spoils the rest of one feeling, less is left."""
    task = BY_NAME["meld-misheard"].task
    items = known.items(task)
    clean = [record["read"] for record in known.read(SINGLES["meld"])[1]]
    assert [x.id for x in items] == [x.id for x in known.items(SINGLES["meld"])]
    figure = room.of_clean("meld", "accuracy")
    assert figure(known, items, [{"read": read} for read in clean]).value == pytest.approx(1.0)
    spoilt = [{"read": "nobody" if x.labels[0] == "happy" else read} for x, read in zip(items, clean, strict=True)]
    right = [x.labels[0] for x, read in zip(items, clean, strict=True) if x.labels[0] == read]
    wanted = 1 - right.count("happy") / len(right)
    assert 0 < wanted < 1 and figure(known, items, spoilt).value == pytest.approx(wanted)


class Moved(Known):
    """As `Known`, but an order moves the first label of the first 20 of 50 items, a mention that of the first 5."""

    def records(self, task: Task, items: Sequence[Item]) -> list[Record]:
        found, moved = super().records(task, items), {"ordered": 20, "mentioned": 5, "filmed": 60}.get(task.change, 0)
        return [{**r, "read": "somebody" if n < moved else r["read"]} for n, r in enumerate(found)]

    def items(self, task: Task) -> list[Item]:
        found = super().items(task)
        return [replace(item, id=str(n)) for n, item in enumerate(found)] if task.items == "all" else found


def test_orders_count_where_they_move_more_than_a_mention(known: Known, tmp_path: Path) -> None:
    """And films where they do not: each is held against the same item as it was."""
    reader = Moved(known.engine, known.data, tmp_path, split="validation")
    for task, figure, wanted in ((room.ORDERED, room.obeyed, (20 - 5) / 50), (room.FILMED, room.same_label, 3 / 4)):
        items, records = reader.read(task)
        assert all(item.faces is plain.faces for item, plain in zip(items, reader.read(room.ALL)[0], strict=False))
        assert len(items) == task.most and figure(reader, items, records).value == pytest.approx(wanted)


def test_late_fusion_is_asked_on_the_same_items(known: Known) -> None:
    """Heads that know everything leave nothing to gain."""
    sure = {label: {name: 0.02 + 0.86 * (name == label) for name in LABELS} for label in LABELS}
    rows = [{"id": name, "scores": sure[item.labels[0]]} for name, (item, _) in known.singles().items()]
    (known.data / "heads-validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items, records = known.read(room.ALL)
    hits = [record["read"] == item.labels[0] for item, record in zip(items, records, strict=True)]
    assert room.over_fusion(known, items, records).value == pytest.approx(sum(hits) / len(hits) - 1)


def test_an_item_is_read_from_a_film(engine: Engine, reader: Reader) -> None:
    """As a user's file is: its subtitle is the transcript, its sound the voice."""
    item = Item("a", None, reader.items(SINGLES["voice"])[0].wave, "table and river", ("sad",))
    found = segment(engine, room.FILMED, item)
    assert found.transcript == "table and river" and "visual" in found.missing


def test_named_labels_and_conflicts_are_counted() -> None:
    items = [item("a", "happy", "sad"), item("b", "happy", "sad"), item("c", "sad")]
    differ = {"visual": "happy", "audio": "sad"}
    records = [
        {"named": ["sad", "happy"], "conflict": differ, "status": "ok"},
        {"named": ["sad", "happy"], "conflict": None, "status": "ok"},
        {"named": ["sad"], "conflict": differ, "status": "unsure"},
    ]
    assert room.both_named(items, records).value == pytest.approx(2 / 3)
    assert room.differing(items, records).value == pytest.approx(2 / 3)
    assert room.one_named(items, records).value == pytest.approx(1 / 3)
    assert room.unsure(items, records).value == pytest.approx(1 / 3)


def test_certain_readings_are_held_against_all() -> None:
    """Four of five are certain and right, the fifth is neither."""
    items = [item(str(n), "sad") for n in range(5)]
    records = [{"read": "sad", "scores": {"sad": 0.9}}] * 4 + [{"read": "happy", "scores": {"happy": 0.3}}]
    assert room.when_certain(items, records).value == pytest.approx(1 - 0.8)
    assert room.excess_error(items, records).value < 0.2


def told(clues: dict[str, str], conclusion: str, *named: str) -> Record:
    """A record of a whole reply."""
    return {"reason": " ".join([*clues.values(), conclusion]), "clues": clues, "named": list(named)}


def test_reasons_are_held_against_labels_words_and_vocabulary() -> None:
    """One good reason of three senses; one whose conclusion, quotation and words are wrong."""
    good = {"visual": "The lips are shut.", "audio": "The voice is low.", "text": 'The person says "come. here".'}
    bad = {"audio": "The dog barks, it is low.", "text": 'The person says "go".'}
    items = [replace(item("a", "sad"), words="Oh,  come. here now"), replace(item("b", "sad"), words="going")]
    records = [told(good, "That reads as sad.", "sad"), told(bad, "That reads as sad.", "sad", "angry")]
    assert room.concluded(items, records).value == 1 / 2
    assert room.quoted(items, records).value == 1 and room.quoted(items[::-1], records).value == 0
    assert room.invented(items, records).value == 1 / 2
    assert room.overlong(items, records).value == 0
    assert room.overlong(items, [told(good, "The voice is low.", "sad")]).value == 1
    assert room.beside_the_point("audio")(items, [told({"audio": "The voice is low."}, "Sad.", "sad")]).value == 0
    assert room.beside_the_point("visual")(items, [told({"audio": "The voice is low."}, "Sad.", "sad")]).value == 1


def test_sentences_are_told_apart_by_their_frames() -> None:
    """Three frames in two reasons: of levels and labels only the gaps count; a pair of words met again is not distinct."""
    one = told({"audio": "The voice is low."}, "That reads as sad.", "sad")
    two = told({"audio": "The tone is low and slow."}, "That reads as happy.", "happy")
    assert room.frames([], [one, two]).value == 3
    pairs = ["the voice", "voice is", "is low", "low that", "that reads", "reads as", "as sad"]
    more = ["the tone", "tone is", "is low", "low and", "and slow", "slow that", "that reads", "reads as", "as happy"]
    assert room.distinct_pairs([], [one, two]).value == pytest.approx(len({*pairs, *more}) / len([*pairs, *more]))


def test_bars_are_held_against_figures() -> None:
    assert BY_NAME["voice"].reached(0.75) and not BY_NAME["voice"].reached(0.74) and BY_NAME["voice"].bar == ">= 0.75"
    near = BY_NAME["voice-zeroed"]
    assert near.reached(0.125 + 0.04) and not near.reached(0.125 + 0.06) and near.bar == "near 0.125"
    most = BY_NAME["voice-clues-swapped"]
    assert most.reached(0.5) and not most.reached(0.56) and most.bar == "<= 0.55"
    assert BY_NAME["all"].reached(0.1) is None and BY_NAME["all"].bar == ""


def test_the_clip_of_the_speed_table_is_as_long_as_it_should_be(tmp_path: Path) -> None:
    from models.media import read_clip

    loop(ROOT / "examples/grid.mp4", tmp_path / "five.mp4", 5.0)
    clip = read_clip(tmp_path / "five.mp4")
    assert clip.end == pytest.approx(5.0, abs=0.2) and clip.waveform is not None and len(clip.frames) == 8
    assert "cores" in machine()


def test_a_reader_of_another_split_reads_its_own_items(reader: Reader, data: Path) -> None:
    """What late fusion chooses its weights on is never the test part."""
    (data / "voice-validation.jsonl").write_bytes(
        b"".join((data / "voice-test.jsonl").read_bytes().splitlines(True)[:2])
    )
    assert len(reader.items(SINGLES["voice"])) == 6
    assert len(replace(reader, split="validation").items(SINGLES["voice"])) == 2
