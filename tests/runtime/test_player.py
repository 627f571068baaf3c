"""Files as devices: in real time, in step, again and again, and never behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from models.errors import AffectError
from runtime.capture import Frame, Sound
from runtime.player import Player, length
from tests.media_files import make_film, plain_picture, time_of, tone


class Taken:
    """What a player gave, with when it came."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, Frame]] = []
        self.sounds: list[tuple[float, Sound]] = []
        self.over = threading.Event()
        self.trouble: AffectError | None = None

    def end(self, trouble: AffectError | None) -> None:
        self.trouble = trouble
        self.over.set()

    def frame(self, frame: Frame) -> None:
        self.frames.append((time.monotonic(), frame))

    def sound(self, sound: Sound) -> None:
        self.sounds.append((time.monotonic(), sound))

    @property
    def wave(self) -> np.ndarray:
        return np.concatenate([sound.samples for _, sound in self.sounds])


def played(path: Path, seconds: float = 20.0, loop: bool = False, picture: bool = True, sound: bool = True) -> Taken:
    taken = Taken()
    player = Player(str(path), taken.frame if picture else None, taken.sound if sound else None, taken.end, loop)
    player.start()
    taken.over.wait(seconds)
    player.stop()
    player.thread.join(2.0)
    assert not player.thread.is_alive()
    return taken


def test_a_film_plays_in_real_time(tmp_path: Path) -> None:
    """Pictures come at their time and none early; sound comes when it is over, as a microphone gives it."""
    taken = played(make_film(tmp_path / "f.mp4", seconds=2.0, fps=10))
    assert taken.over.is_set()
    assert len(taken.frames) == 20 and len(taken.wave) / 16000 == pytest.approx(2.0, abs=0.15)
    assert all(-0.001 <= came - frame.time < 0.2 for came, frame in taken.frames)
    assert all(-0.001 <= came - sound.end < 0.2 for came, sound in taken.sounds)


@pytest.mark.parametrize("options", [{"preset": "ultrafast"}, {"preset": "medium", "bf": "3"}])
def test_a_film_takes_its_length(tmp_path: Path, options: dict[str, str]) -> None:
    """Also one whose decoder holds pictures back until the end: they come at their time, and in order."""
    film = tmp_path / "f.mp4"
    with av.open(str(film), "w") as out:
        stream = out.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(plain_picture(n / 10, 2.0, 64, 48), "rgb24")))
        out.mux(stream.encode(None))
    began = time.monotonic()
    taken = played(film, sound=False)
    assert 1.7 <= time.monotonic() - began <= 2.6
    zero = taken.frames[0][1].time
    assert [round((frame.time - zero) * 10) for _, frame in taken.frames] == list(range(20))
    assert length(str(film)) == pytest.approx(1.9)


def test_picture_and_sound_have_one_clock(tmp_path: Path) -> None:
    """What a picture's grey says is its time, against the same zero as the sound's."""
    taken = played(make_film(tmp_path / "f.mp4", seconds=2.0, fps=10))
    zero = taken.sounds[0][1].time
    for _, frame in taken.frames:
        assert frame.time - zero == pytest.approx(time_of(frame.picture, 2.0), abs=0.06)


def test_a_loop_goes_on_without_drift(tmp_path: Path) -> None:
    """Each round begins one length of the file after the last one, however long a round took to open."""
    taken = played(make_film(tmp_path / "f.mp4", seconds=0.6, fps=10), seconds=2.6, loop=True)
    times = np.array([frame.time for _, frame in taken.frames])
    assert len(times) >= 24
    starts = times[[time_of(frame.picture, 0.6) < 0.05 for _, frame in taken.frames]]
    rounds = np.diff(starts)
    assert len(rounds) >= 3 and np.ptp(rounds) < 1e-6 and rounds[0] == pytest.approx(0.6, abs=0.12)


def test_picture_or_sound_alone(tmp_path: Path) -> None:
    film = make_film(tmp_path / "f.mp4", seconds=0.5)
    assert played(film, sound=False).sounds == []
    assert played(film, picture=False).frames == []


def test_stereo_at_48_khz_comes_mono_at_its_rate(tmp_path: Path) -> None:
    film = make_film(tmp_path / "f.mp4", seconds=0.5, codec=None, rate=48000, wave=tone(0.5, 48000))
    taken = played(film, picture=False)
    assert {sound.rate for _, sound in taken.sounds} == {48000}
    assert taken.wave.ndim == 1 and 0.4 < np.abs(taken.wave).max() <= 1.0


def test_a_slow_taker_loses_pictures_not_time(tmp_path: Path) -> None:
    """Late work drops: whoever takes half a second over each picture still sees the newest ones."""
    taken, slow = Taken(), 0.5

    def frame(frame: Frame) -> None:
        taken.frame(frame)
        time.sleep(slow)

    player = Player(str(make_film(tmp_path / "f.mp4", seconds=2.0, fps=10)), frame, None, taken.end)
    player.start()
    assert taken.over.wait(5.0)
    assert player.dropped >= 8 and len(taken.frames) <= 8
    assert all(came - frame.time < 1.0 for came, frame in taken.frames)


@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_a_file_without_what_is_wanted_is_refused(tmp_path: Path, kind: str) -> None:
    film = make_film(tmp_path / "f.mp4", seconds=0.3, codec=None if kind == "picture" else "libx264",
                     sound=None if kind == "sound" else "aac")  # fmt: skip
    with pytest.raises(AffectError, match=f"has no {kind}") as error:
        Player(str(film), lambda _: None, lambda _: None, lambda _: None)
    assert "none" in error.value.cure


@pytest.mark.parametrize("content", [b"", b"not media at all, but text", None])
def test_a_wrong_file_is_refused_before_anything_starts(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "f.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AffectError):
        Player(str(path), lambda _: None, None, lambda _: None)


def test_sound_that_changes_its_form_in_mid_file_plays_on(tmp_path: Path) -> None:
    """A stream that goes from 16 to 32 kHz, as those of radios do."""
    parts = [make_film(tmp_path / f"{rate}.aac", seconds=0.6, codec=None, rate=rate, wave=tone(0.6, rate), format="adts")
             for rate in (16000, 32000)]  # fmt: skip
    joined = tmp_path / "joined.aac"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    taken = played(joined, picture=False)
    assert taken.over.is_set() and {sound.rate for _, sound in taken.sounds} == {16000, 32000}


def test_a_file_that_is_removed_while_it_plays_is_said(tmp_path: Path) -> None:
    film = make_film(tmp_path / "f.mp4", seconds=0.5)
    taken = Taken()
    player = Player(str(film), taken.frame, taken.sound, taken.end, loop=True)
    player.start()
    time.sleep(0.2)
    film.unlink()
    assert taken.over.wait(5.0) and taken.trouble is not None and taken.trouble.code == "not_found"


def test_what_was_missed_while_it_was_stopped_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour's sleep the film goes on where it was; it does not hurry after the clock."""
    monkeypatch.setattr("runtime.player.BEHIND", 0.3)
    taken, stalled = Taken(), [0.8]

    def frame(frame: Frame) -> None:
        taken.frame(frame)
        time.sleep(stalled.pop() if stalled else 0.0)

    player = Player(str(make_film(tmp_path / "f.mp4", seconds=1.0, fps=10)), frame, None, taken.end)
    player.start()
    assert taken.over.wait(5.0)
    assert len(taken.frames) >= 9 and max(came - frame.time for came, frame in taken.frames[2:]) < 0.3
