"""The three forms of a bundle: open labels, a reason in prose, whole frames; each on the shipped bundle, changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cli.view import panel
from models.bundle import EMBEDDED, MANIFEST, fingerprint
from models.clues import quotes
from models.errors import AffectError
from models.media import read_clip
from models.reading import Reading
from runtime.capture import Frame
from runtime.engine import Engine
from runtime.reply import Writer
from runtime.senses import Senses
from tests.media_files import make_film

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples/grid.mp4"
WORDS = "I am so happy that you came!"
SCHEMA = json.loads((ROOT / "models/schema.json").read_text(encoding="utf-8"))
SIZE, TOKENS, WIDTH = 48, 4, 256  # of the shipped bundle's frames and of what its vision.frame gives

Load = Callable[..., Engine]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The shipped bundle with another manifest, and other graphs, loaded."""

    def load(graph: onnx.ModelProto | None = None, **changes: Any) -> Engine:
        folder = tmp_path / f"variant-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(EMBEDDED / "nano", folder)
        spec = {**json.loads((folder / MANIFEST).read_text(encoding="utf-8")), **changes}
        if graph is not None:
            onnx.save(graph, str(folder / "vision.frame.onnx"))
            spec["files"]["vision.frame.onnx"].update(fingerprint(folder / "vision.frame.onnx"))
        (folder / MANIFEST).write_text(json.dumps(spec), encoding="utf-8")
        return Engine.load(folder, device="cpu", threads=2)

    return load


def valid(reading: Reading) -> bool:
    """Whether its document is as the schema says, and a terminal can show it."""
    jsonschema.validate(reading.document(), {**SCHEMA, "anyOf": [{"$ref": "#/$defs/document"}]})
    return bool(panel(reading))


def colours() -> onnx.ModelProto:
    """vision.frame for RGB frames uint8 [n, S, S, 3]: every token of a frame is its mean level, in 0..1."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [1, TOKENS, WIDTH], np.full(TOKENS * WIDTH, 1 / 255))
    level = helper.make_tensor("shape", TensorProto.INT64, [3], [-1, 1, 1])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["level"]),
        helper.make_node("Mul", ["level", "ones"], ["tokens"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", SIZE, SIZE, 3])
    tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["n", TOKENS, WIDTH])
    graph = helper.make_graph(nodes, "colours", [pixels], [tokens], [axes, ones, level])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


# --- open labels --------------------------------------------------------------------------------------------------


def test_an_open_list_gives_the_named_words_alone(load: Load) -> None:
    """Their scores are the model's own: not spread over a list, so that a weak word stays weak, and says so."""
    engine = load(open_labels=True, labels=[], unsure_below=1.0)
    reading = engine.read(CLIP, text=WORDS)
    (segment,) = reading.segments
    scores = [label.score for label in segment.labels]
    assert valid(reading) and 1 <= len(scores) <= 3 and all(label.named for label in segment.labels)
    assert all(re.fullmatch(r"[a-z]{2,24}([ -][a-z]{2,24})?", name) for name in segment.named)
    assert scores == sorted(scores, reverse=True) and 0 < sum(scores) < 1
    assert segment.status == "unsure" and segment.reason
    assert engine.read(CLIP, text=WORDS).segments == reading.segments


def test_an_open_score_is_the_probability_of_the_whole_word_coming_first(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held against the same words asked one by one: going back over written labels changes nothing."""
    engine = load(open_labels=True)
    labels = engine.read_items(None, None, WORDS, only_labels=True).labels
    asked: list[np.ndarray] = []
    ids = [engine.language.tokenize(f" {label.name}") for label in labels]
    place, scores = engine.language.mark, engine.language.scores

    def mark() -> tuple[int, np.ndarray]:
        asked.append(scores(ids, whole=True))
        return place()

    monkeypatch.setattr(engine.language, "mark", mark)
    engine.read_items(None, None, WORDS, only_labels=True)
    assert np.allclose(np.exp(asked[0]), [label.score for label in labels], atol=1e-6)


def test_words_of_a_users_own_close_an_open_list(load: Load) -> None:
    engine = load(open_labels=True, labels=[])
    (segment,) = engine.read(CLIP, text=WORDS, labels=["Hopeful", "worried sick"]).segments
    assert {label.name for label in segment.labels} == {"hopeful", "worried sick"}
    assert sum(label.score for label in segment.labels) == pytest.approx(1)
    with pytest.raises(AffectError, match="not a plain word") as refused:
        engine.wanted(['a" | "b'])
    assert refused.value.code == "bad_labels"


def test_without_any_input_an_open_list_names_nothing(load: Load) -> None:
    engine = load(open_labels=True, labels=[])
    reading = engine.read(CLIP, video=False, audio=False, transcript=False)
    assert valid(reading) and reading.segments[0].labels == () and reading.segments[0].status == "unsure"


# --- prose --------------------------------------------------------------------------------------------------------


def test_prose_comes_before_the_labels_that_depend_on_it(load: Load) -> None:
    events: list[tuple[str, Any]] = []
    engine = load(reply_form="prose")
    reading = engine.read(CLIP, text=WORDS, on_event=lambda kind, value: events.append((kind, value)))
    (segment,) = reading.segments
    kinds = [kind for kind, _ in events]
    assert valid(reading) and kinds == ["words"] * (len(kinds) - 2) + ["labels", "done"] and len(kinds) > 2
    assert segment.reason == "".join(value for kind, value in events if kind == "words").strip() != ""
    assert "\n" not in segment.reason and segment.clues == {} and segment.conflict is None
    assert len(segment.labels) == 8 and sum(label.score for label in segment.labels) == pytest.approx(1)
    assert segment.named and reading.cost.tokens_per_s > 0


def test_labels_alone_still_wait_for_the_prose(load: Load) -> None:
    engine = load(reply_form="prose", open_labels=True)
    alone, whole = (engine.read_items(None, None, WORDS, only_labels=only) for only in (True, False))
    assert alone == whole and alone.reason and alone.labels


# --- second labels --------------------------------------------------------------------------------------------------


def test_senses_that_differ_when_asked_alone_are_a_conflict(load: Load) -> None:
    """From next to nothing on they are asked, from next to certainty on they are not; the first label and its score stay.
    What is said to differ is what each sense is read as without the others."""
    always, never = (load(second_from={"visual+audio+text": start}) for start in (1e-9, 1 - 1e-9))
    told, plain = always.read(CLIP, text=WORDS), never.read(CLIP, text=WORDS)
    one, other = told.segments[0], plain.segments[0]
    face, voice = (
        always.read(CLIP, video=seen, audio=not seen, transcript=False).segments[0].labels[0].name
        for seen in (True, False)
    )
    assert one.conflict is not None and one.conflict["text"] == "happy"
    assert (one.conflict["visual"], one.conflict["audio"]) == (face, voice)
    assert len(one.named) > 1 and {*one.named} <= {*one.conflict.values(), one.labels[0].name}
    assert other.conflict is None and other.labels[0] == one.labels[0] and valid(told) and valid(plain)


def test_senses_that_agree_when_asked_alone_are_none(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load(second_from={"visual+audio": 1e-9})
    monkeypatch.setattr(Writer, "alone", lambda self, present, allowed, ask: dict.fromkeys(present.modalities, "sad"))
    assert engine.read(CLIP, transcript=False).segments[0].conflict is None


# --- wording ------------------------------------------------------------------------------------------------------


def test_drawn_words_are_the_clips_own(load: Load) -> None:
    """The same input is told alike, others in words that the likeliest are not all of; labels are never drawn."""
    lines = [f"{WORDS} {more}" for more in ("", "really", "again", "my friend")]
    first, again = ([engine.read_items(None, None, line) for line in lines] for engine in [load(wording="drawn")] * 2)
    plain = [load(wording="likeliest").read_items(None, None, line) for line in lines]
    assert first == again and [one.reason for one in first] != [one.reason for one in plain]
    assert [one.labels for one in first] == [one.labels for one in plain]


def test_quotations_stand_in_the_words(load: Load) -> None:
    """Letter by letter, though the words are drawn and some are rare."""
    lines = [f"{name} and {WORDS} in Xyqtl-{n}" for n, name in enumerate(("Zorbly", "naïve Ünal", "McGrubbins"))]
    engine = load(wording="drawn")
    told = [quotes(engine.read_items(None, None, line).reason) for line in lines]
    assert all(told) and all(quote in line for line, found in zip(lines, told, strict=True) for quote in found)


# --- whole frames -------------------------------------------------------------------------------------------------


def red(time: float, seconds: float, width: int, height: int) -> np.ndarray:
    """A picture without a face."""
    return np.broadcast_to(np.uint8([200, 30, 30]), (height, width, 3)).copy()


def spy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What the engine's vision.frame is given from now on."""
    given: list[np.ndarray] = []
    run = engine.encoders.run

    def watched(graph: str, **inputs: np.ndarray) -> np.ndarray:
        given.extend([inputs["pixels"]] if graph == "vision.frame" else [])
        return run(graph, **inputs)

    monkeypatch.setattr(engine.encoders, "run", watched)
    return given


def test_a_picture_without_a_face_is_seen_whole(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame reaches the graph, in colour and once; no face is claimed, yet the picture is not missing."""
    engine = load(colours(), picture="frame")
    given = spy(engine, monkeypatch)
    film = make_film(tmp_path / "red.mp4", picture=red)
    reading = engine.read(film, text=WORDS)
    (segment,) = reading.segments
    assert (
        valid(reading)
        and "visual" not in segment.missing
        and "no face was found, or none large enough" in segment.notes
    )
    (frames,) = given
    assert frames.shape == (8, SIZE, SIZE, 3) and frames.dtype == np.uint8
    assert np.abs(frames.reshape(-1, 3).mean(0) - [200, 30, 30]).max() < 12
    assert not segment.clues["visual"][0].values


def test_a_face_in_a_whole_frame_is_measured(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """And RGB items go the same way as a clip's frames, without their mirror images."""
    engine = load(colours(), picture="frame")
    given = spy(engine, monkeypatch)
    (segment,) = engine.read(CLIP, text=WORDS).segments
    assert not any("no face" in note for note in segment.notes) and segment.clues["visual"][0].values["mouth_open"] > 0
    engine.read_items(given[0][:2], None, None, only_labels=True)
    assert np.array_equal(given[1], given[0][:2])


def test_a_sound_without_a_picture_has_no_visual(load: Load) -> None:
    engine = load(colours(), picture="frame")
    (segment,) = engine.read(CLIP, text=WORDS, video=False).segments
    assert "visual" in segment.missing and "the picture was left out" in segment.notes


def test_a_bundle_of_whole_frames_runs_live(load: Load) -> None:
    """The same code: its frames are encoded as they come, and a reading finds all of them."""
    engine = load(colours(), picture="frame")
    senses = Senses(engine.bundle, 10.0, None, 0.0, lambda _: None)
    engine.keep(senses.memory)
    senses.encode = engine.encoders.faces
    clip = read_clip(CLIP, frames=8)
    for when, frame in zip(clip.times, clip.frames, strict=True):
        senses.look(senses.window.add_frame(Frame(float(when), frame)))
    known = [key for key in senses.memory.results if key[0] == "frame"]
    reading = engine.read_clip(senses.window.clip(0.0, 3.0, 8))
    assert len(known) == 8 == len([key for key in senses.memory.results if key[0] == "frame"])
    assert valid(reading) and "visual" not in reading.segments[0].missing
