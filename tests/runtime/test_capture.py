"""Cameras that misbehave, and clocks of microphones that drift. Cameras are scripted: none can be plugged in by a test."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.errors import AffectError
from runtime import capture, devices
from runtime.capture import Camera, DeviceClock, Frame, Microphone, Sound

CHANCE = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return CHANCE.integers(0, 255, shape or (48, 64, 3), dtype=np.uint8)


class Capture:
    """An opened camera that gives what the script says; None is a picture that could not be read."""

    def __init__(self, pictures: Iterator[np.ndarray | None]) -> None:
        self.pictures, self.released = pictures, False

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.01)
        picture = next(self.pictures, None)
        return picture is not None, picture

    def release(self) -> None:
        self.released = True


class Taken:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.said: list[str | None] = []

    def say(self, error: AffectError | None) -> None:
        self.said.append(error.code if error else None)


def endless(*shape: int) -> Iterator[np.ndarray]:
    while True:
        yield noise(*shape)


@pytest.fixture
def film(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Camera, Taken, list[Any]]]]:
    """Starts a camera whose openings give these captures one after the other, None for one that fails."""
    started: list[Camera] = []
    monkeypatch.setattr(capture, "AGAIN", 0.05)
    trouble = AffectError("camera 0 is used by another", "close it", "camera_busy")
    monkeypatch.setattr(devices, "camera_trouble", lambda number: trouble)

    def start(*opened: Any) -> tuple[Camera, Taken, list[Any]]:
        taken, left = Taken(), list(opened)
        monkeypatch.setattr(capture, "open_camera", lambda number: left.pop(0) if len(left) > 1 else left[0])
        camera = Camera(0, taken.frames.append, taken.say)
        started.append(camera)
        camera.start()
        return camera, taken, left

    yield start
    for camera in started:
        camera.stop()
        camera.thread.join(1.0)
        assert not camera.thread.is_alive()


def wait(there: Callable[[], Any], seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_pictures_come_as_rgb_with_their_time(film: Any) -> None:
    """OpenCV gives BGR; a picture's time is when it was there."""
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[..., 0] = 255
    _, taken, _ = film(Capture(iter([blue, noise(), *endless_few()])))
    wait(lambda: len(taken.frames) >= 2)
    assert taken.frames[0].picture[0, 0].tolist() == [0, 0, 255]
    assert taken.said[0] is None and taken.frames[0].time <= taken.frames[1].time <= time.monotonic()


def endless_few() -> list[np.ndarray]:
    return [noise() for _ in range(100)]


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 2), (48, 64, 4)])
def test_odd_pixel_formats_are_read(film: Any, shape: tuple[int, ...]) -> None:
    _, taken, _ = film(Capture(endless(*shape)))
    wait(lambda: taken.frames)
    assert taken.frames[0].picture.shape == (48, 64, 3)


def test_a_busy_camera_is_said_once_and_tried_again(film: Any) -> None:
    _, taken, _ = film(None, None, None, Capture(endless()))
    wait(lambda: taken.frames)
    assert taken.said == ["camera_busy", None]


def test_an_unplugged_camera_goes_on_by_itself_when_it_is_back(film: Any) -> None:
    """It says that it is gone, then that it works; the lost device is released."""
    first = Capture(iter([noise() for _ in range(5)]))
    _, taken, _ = film(first, None, Capture(endless()))
    wait(lambda: len(taken.frames) > 8)
    assert taken.said == [None, "device_lost", "camera_busy", None] and first.released


def test_a_camera_without_pictures_is_said(film: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading from it may wait for ever: it is noticed from outside."""
    monkeypatch.setattr(capture, "NO_PICTURES", 0.1)
    held = iter([noise()])

    class Stuck(Capture):
        def read(self) -> tuple[bool, np.ndarray | None]:
            if (picture := next(held, None)) is None:
                time.sleep(0.5)
                picture = noise()
            return True, picture

    camera, taken, _ = film(Stuck(iter([])))
    wait(lambda: taken.frames)
    time.sleep(0.2)
    camera.check()
    assert taken.said == [None, "camera_silent"]
    wait(lambda: taken.said[-1] is None)


def test_a_camera_that_gives_the_same_picture_for_ever_is_said(film: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "STANDS", 0.1)
    same = noise()
    _, taken, _ = film(Capture(iter([same] * 30 + [noise() for _ in range(100)])))
    wait(lambda: taken.said == [None, "camera_stuck", None])


def test_a_camera_that_opens_but_gives_nothing_says_why(film: Any) -> None:
    """Not that it is gone: it never was there. Another program has it, mostly."""
    _, taken, _ = film(Capture(iter([])))
    wait(lambda: taken.said)
    assert set(taken.said) == {"camera_busy"}


def test_a_picture_that_can_t_be_converted_is_a_lost_camera(film: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's own errors end no thread."""
    import cv2

    def fail(_: Any) -> None:
        raise cv2.error("broken")

    _, taken, _ = film(Capture(endless()))
    wait(lambda: taken.frames)
    monkeypatch.setattr(devices, "to_rgb", fail)
    wait(lambda: "device_lost" in taken.said)
    monkeypatch.undo()


# ---------------------------------------------------------------------- a microphone


class Audio:
    """sounddevice, with a stream that the test feeds."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        self.opened, self.fails = 0, 0

    def query_devices(self, *_: Any) -> Any:
        about = {"name": "mic", "default_samplerate": 16000.0, "max_input_channels": 1, "index": 0, "hostapi": 0}
        return about if _ else [about]

    def query_hostapis(self) -> list[dict[str, int]]:
        return [{"default_input_device": 0}]

    default = SimpleNamespace(device=(0, 0))

    def InputStream(self, **options: Any) -> Any:  # noqa: N802 - as sounddevice calls it
        self.opened += 1
        self.callback = options["callback"]
        return contextlib.nullcontext(SimpleNamespace(latency=0.05))

    def _terminate(self) -> None:
        if self.fails:
            raise self.PortAudioError("PortAudio not initialized")

    def _initialize(self) -> None:
        if self.fails:
            self.fails -= 1
            raise self.PortAudioError("no server")

    def give(self, value: float, overflow: bool = False) -> None:
        self.callback(np.full((320, 1), value, np.float32), 320, None, SimpleNamespace(input_overflow=overflow))


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[Microphone, Audio, Taken, list[Sound]]]]:
    audio, taken, heard = Audio(), Taken(), list[Sound]()
    monkeypatch.setattr(devices, "portaudio", lambda: audio)
    for name, seconds in (("AGAIN", 0.05), ("MUTE", 0.6), ("NO_SOUND", 0.3)):
        monkeypatch.setattr(capture, name, seconds)
    made = Microphone(devices.Device("microphone", 0, "mic"), heard.append, taken.say)
    made.start()
    wait(lambda: audio.opened)
    yield lambda: (made, audio, taken, heard)
    made.stop()
    made.thread.join(1.0)
    assert not made.thread.is_alive()


def test_a_muted_microphone_is_said_once_and_tried_ever_less_often(hear: Any) -> None:
    """Zeros: it may have been moved to another device. Opening it again tells nothing new."""
    _, audio, taken, _ = hear()
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        audio.give(0.0)
        time.sleep(0.02)
    assert taken.said == ["microphone_silent"] and 2 <= audio.opened <= 4
    wait(lambda: audio.give(0.1) or taken.said == ["microphone_silent", None])


def test_a_microphone_without_blocks_is_gone_until_some_come(hear: Any) -> None:
    _, audio, taken, _ = hear()
    wait(lambda: taken.said == ["device_lost"])
    wait(lambda: audio.opened >= 2)
    time.sleep(0.2)
    assert taken.said == ["device_lost"]
    wait(lambda: audio.give(0.0) or taken.said == ["device_lost", None])


def test_a_sound_server_that_starts_again_is_waited_for(hear: Any) -> None:
    """PortAudio can't be started for a while: the thread goes on trying."""
    made, audio, taken, _ = hear()
    audio.fails = 3
    wait(lambda: taken.said == ["device_lost"])
    wait(lambda: audio.fails == 0 and audio.opened >= 3, 6.0)
    assert made.thread.is_alive()


def test_sound_has_its_time_less_the_device_s_delay_also_after_a_loss(hear: Any) -> None:
    """What an overflow lost does not date the rest too early."""
    _, audio, _, heard = hear()
    audio.give(0.1)
    assert time.monotonic() - heard[-1].end == pytest.approx(0.05, abs=0.03)
    time.sleep(0.5)
    audio.give(0.1, overflow=True)
    assert time.monotonic() - heard[-1].end == pytest.approx(0.05, abs=0.03)


# ---------------------------------------------------------------------- its clock


def deliveries(rate: float, said: int, seconds: float, jitter: float) -> list[tuple[float, float]]:
    """(true, told) times of blocks of a clock that runs at `rate` and says `said`, delivered late by up to `jitter`."""
    clock, found = DeviceClock(said), []
    chance = np.random.default_rng(1)
    size = said // 50
    for n in range(round(seconds * rate / size)):
        taken = n * size / rate
        found.append((taken, clock.time(taken + size / rate + chance.uniform(0.005, 0.005 + jitter), size)))
    return found


@pytest.mark.parametrize("drift", [0.0, 1e-4, -1e-4, 0.01, -0.01])
def test_sound_keeps_its_time_however_the_clock_drifts(drift: float) -> None:
    """Within 80 ms over half an hour, beside deliveries that are late by up to 60 ms."""
    off = [told - true for true, told in deliveries(48000 * (1 + drift), 48000, 1800.0, 0.06)]
    assert max(off[200:]) - min(0.0, *off[200:]) <= 0.08


def test_bursts_are_no_drift() -> None:
    """A virtual device may give two seconds at once, late."""
    clock = DeviceClock(16000)
    told = [clock.time(2.0 * (n // 100 + 1), 320) for n in range(1000)]
    assert np.ptp(np.diff(told[100:])) < 1e-6  # the first burst tells how late they are
