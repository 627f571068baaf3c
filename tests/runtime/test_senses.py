"""The senses: what is asked for, what is encoded ahead, and that a live reading is the reading of its Clip."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.media import read_clip
from models.reading import Clip
from runtime.capture import Frame, Sound
from runtime.engine import Engine
from runtime.reader import Request
from runtime.senses import Senses

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clip() -> Clip:
    """The example, a picture every fifth of a second."""
    return read_clip(ROOT / "examples" / "grid.mp4", frames=15)


@pytest.fixture
def senses() -> Iterator[tuple[Senses, list[Request]]]:
    asked: list[Request] = []
    made = Senses(load_bundle("nano"), 10.0, None, time.monotonic(), asked.append)
    made.start()
    yield made, asked
    made.finish()
    made.thread.join(5.0)
    assert not made.thread.is_alive()


def play(senses: Senses, clip: Clip, loud: bool = True) -> None:
    """The clip in real time."""
    began = time.monotonic()
    assert clip.waveform is not None
    for n in range(150):
        while time.monotonic() - began < n * 0.02:
            time.sleep(0.002)
        if n % 10 == 0:
            senses.take_frame(Frame(began + n * 0.02, clip.frames[n // 10]))
        if loud:
            senses.take_sound(Sound(began + n * 0.02, clip.waveform[n * 320 : (n + 1) * 320], 16000))


def test_a_sentence_is_asked_for_with_its_pictures_and_its_sound(
    senses: tuple[Senses, list[Request]], clip: Clip
) -> None:
    made, asked = senses
    play(made, clip)
    time.sleep(1.0)
    assert [request.occasion.why for request in asked] == ["face", "voice", "utterance"]
    last = asked[-1].clip
    assert len(last.frames) == 8 and last.waveform is not None
    assert len(last.waveform) == pytest.approx((last.end - last.start) * 16000, abs=2)
    assert made.box is not None and all(0 < share < 1 for share in made.box)


def test_faces_are_encoded_before_they_are_asked_for(senses: tuple[Senses, list[Request]], clip: Clip) -> None:
    """At the end of speech only sound is left to encode; the reading is that of an engine without a memory."""
    made, asked = senses
    engine = Engine.load("nano")
    engine.keep(made.memory)
    made.encode = engine.encoders.faces
    play(made, clip)
    time.sleep(1.0)
    known = {key for key in made.memory.results if key[0] in ("frame", "faces", "mesh")}
    live = engine.read_clip(asked[-1].clip, "live", transcript=False).document()["segments"]
    assert {key for key in made.memory.results if key[0] in ("frame", "faces", "mesh")} == known
    assert live == Engine.load("nano").read_clip(asked[-1].clip, "live", transcript=False).document()["segments"]


def test_what_comes_too_fast_is_left_out(clip: Clip) -> None:
    """A minute of sound at once, and a hundred pictures: the newest are looked at, nothing queues."""
    asked: list[Request] = []
    made = Senses(load_bundle("nano"), 10.0, None, time.monotonic() - 100, asked.append)
    now = time.monotonic()
    for n in range(100):
        made.take_frame(Frame(now - 20 + n / 5, clip.frames[n % 15]))
    for n in range(60):
        made.take_sound(Sound(now - 60 + n, np.zeros(16000, np.float32), 16000))
    made.take_in()
    assert len(made.window.frames) == 1 and made.dropped >= 55 and not made.sounds


def test_nobody_is_nobody(senses: tuple[Senses, list[Request]]) -> None:
    made, asked = senses
    for n in range(20):
        made.take_frame(Frame(time.monotonic(), np.full((480, 640, 3), 90, np.uint8)))
        made.take_sound(Sound(time.monotonic(), np.zeros(1600, np.float32), 16000))
        time.sleep(0.1)
        assert n < 0 or made.face is None
    assert asked == [] and not made.speaking


def test_sound_that_stops_in_mid_speech_ends_the_utterance(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """A microphone that was unplugged: what was said is read, and nobody is said to speak for ever."""
    monkeypatch.setattr("runtime.senses.BROKEN_OFF", 0.2)
    asked: list[Request] = []
    made = Senses(load_bundle("nano"), 10.0, None, time.monotonic() - 10, asked.append)
    assert clip.waveform is not None
    made.take_sound(Sound(time.monotonic() - 1.4, clip.waveform[: round(1.4 * 16000)], 16000))
    made.take_in()
    assert made.speaking and [request.occasion.why for request in asked] in ([], ["voice"])
    time.sleep(0.3)
    made.take_in()
    assert asked[-1].occasion.why == "utterance" and not made.speaking


def test_after_a_pause_nothing_of_before_counts(clip: Clip) -> None:
    made = Senses(load_bundle("nano"), 10.0, None, time.monotonic() - 10, lambda _: None)
    assert clip.waveform is not None
    made.take_sound(Sound(time.monotonic() - 1.4, clip.waveform[: round(1.4 * 16000)], 16000))
    made.take_in()
    made.take_sound(Sound(time.monotonic(), clip.waveform[:320], 16000))
    made.take_frame(Frame(time.monotonic(), clip.frames[0]))
    made.forget = True
    made.take_in()
    assert not made.speaking and made.occasions.speech_from is None and not made.window.frames


def test_a_machine_that_slept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    woke: list[float] = []
    made = Senses(load_bundle("nano"), 10.0, None, 0.0, lambda _: None)
    made.woke = woke.append
    made.take_in()
    assert woke == []
    monkeypatch.setattr("runtime.senses.slept_in_all", lambda: made.ahead_of_us + 3600.0)
    made.take_in()
    assert woke == [pytest.approx(3600.0)] and not made.window.frames
