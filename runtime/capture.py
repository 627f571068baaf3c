"""Cameras and microphones: threads that hand over what is new, and never wait for whoever takes it.

Times are seconds of `time.monotonic`. Knows devices and their troubles; nothing of faces, voices or readings.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import numpy as np

from models.errors import AffectError

AGAIN = 1.0  # seconds after which a device that is gone is tried again
NO_PICTURES = 2.0  # seconds without a picture after which a camera is said to give none
NO_SOUND = (
    4.0  # seconds without a block after which a microphone is said to be gone: an idle virtual one gives one in two
)
STANDS = 10.0  # seconds of one and the same picture, to the last bit, after which a camera is said to be stuck
MUTE = 5.0  # seconds of zeros after which a microphone is opened again: it may have been moved to another device
BLOCK = 0.02  # seconds of sound in a block
MOST_DELAY = 0.3  # seconds of a microphone's own delay that are believed
LOST = "device_lost"
REMEMBERED = (
    3  # seconds in which the quickest delivery tells a microphone's clock from ours: one that is 1 % slow is .03 s off
)
OFF = 0.04  # seconds that the two may be apart before the sound's time is set anew


@dataclass(frozen=True)
class Frame:
    """One picture: when it was taken, and uint8 [H, W, 3] RGB."""

    time: float
    picture: np.ndarray


@dataclass(frozen=True)
class Sound:
    """Some sound: when its first sample was taken, float32 [N] mono in -1..1, and samples a second."""

    time: float
    samples: np.ndarray
    rate: int

    @property
    def end(self) -> float:
        """When its last sample had been taken."""
        return self.time + len(self.samples) / self.rate


Say = Callable[[AffectError | None], None]
"""What is wrong with a device now; None when it works again."""


class Source(ABC):
    """Something that gives pictures or sound in a thread of its own, which is `run`, until it is told to `quit`."""

    def __init__(self, name: str) -> None:
        self.quit, self.thread = Event(), Thread(target=self.run, name=name, daemon=True)

    def start(self) -> None:
        """Begins."""
        self.thread.start()

    def stop(self) -> None:
        """Ends, as soon as what is being waited for has come."""
        self.quit.set()

    @abstractmethod
    def run(self) -> None:
        """The thread."""


class DeviceSource(Source):
    """A device, whose troubles are said: each when it is new, and when there is none any more."""

    def __init__(self, name: str, say: Say, trouble: str | None) -> None:
        super().__init__(name)
        self.say, self.trouble = say, trouble  # the code of what was said last

    def tell(self, error: AffectError | None) -> None:
        """Says what is new."""
        code = error.code if error else None
        if code != self.trouble:
            self.trouble = code
            self.say(error)


class Camera(DeviceSource):
    """A camera by its number, read in a thread of its own through OpenCV, opened again when it is lost."""

    def __init__(self, number: int, frame: Callable[[Frame], None], say: Say) -> None:
        super().__init__(f"camera {number}", say, "not opened")
        self.number, self.frame = number, frame
        self.last, self.moved = time.monotonic(), time.monotonic()  # a picture, one unlike the one before
        self.content = b""

    def run(self) -> None:
        """The thread: opens, reads, and opens again."""
        from runtime.devices import camera_trouble

        while not self.quit.is_set():
            opened = open_camera(self.number)
            self.last = time.monotonic()
            came = opened is not None and self.pictures(opened)
            if opened is not None:
                opened.release()
            if not self.quit.is_set():
                self.tell(lost(f"camera {self.number}") if came else camera_trouble(self.number))
            self.quit.wait(AGAIN)

    def pictures(self, opened: Any) -> bool:
        """Hands over pictures until none comes; whether there was one."""
        came = False
        while not self.quit.is_set():
            picture, now = picture_of(opened), time.monotonic()
            if picture is None:
                break
            self.last, came = now, True
            self.look(picture, now)
            self.frame(Frame(now, picture))
        return came

    def look(self, picture: np.ndarray, now: float) -> None:
        """Says when the picture stands still to the last bit: no live sensor does."""
        content = picture[::8, ::8].tobytes()
        if content != self.content:
            self.content, self.moved = content, now
            self.tell(None)
        elif now - self.moved > STANDS:
            words = f"camera {self.number} gives the same picture for {now - self.moved:.0f} s"
            self.tell(AffectError(words, "take its cover off, or unplug it and plug it in again", "camera_stuck"))

    def check(self) -> None:
        """Says when no picture comes: reading one may wait for ever."""
        waits = self.trouble in (None, "not opened")
        if waits and (gone := time.monotonic() - self.last) > NO_PICTURES:
            words = f"camera {self.number} gives no pictures for {gone:.0f} s"
            self.tell(AffectError(words, "unplug it and plug it in again, or take another: c", "camera_silent"))


def open_camera(number: int) -> Any:
    """OpenCV's capture, None where it can't be opened."""
    from runtime.devices import opencv, quiet

    cv2 = opencv()
    with quiet:
        capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        return None
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest of four
    return capture


def picture_of(opened: Any) -> np.ndarray | None:
    """The next picture uint8 [H, W, 3] RGB of an opened camera; None when there is none, or none that can be read."""
    from runtime.devices import opencv, to_rgb

    try:
        there, raw = opened.read()
        return to_rgb(raw) if there else None
    except opencv().error:
        return None


def lost(name: str) -> AffectError:
    """What is said of a device that stopped in mid-run."""
    return AffectError(f"{name} is gone: waiting for it", "plug it in again", LOST)


class DeviceClock:
    """Times of sound by counting samples, held against our clock: of late deliveries the quickest ones tell."""

    def __init__(self, rate: int) -> None:
        self.rate, self.count = rate, 0
        self.offsets: deque[tuple[float, float]] = deque()  # second, the least that a delivery was behind its samples
        self.offset: float | None = None

    def time(self, arrived: float, samples: int) -> float:
        """When the first of the samples that have just arrived was taken."""
        started, self.count = self.count, self.count + samples
        behind = arrived - self.count / self.rate
        if not self.offsets or arrived - self.offsets[-1][0] >= 1.0:
            self.offsets.append((arrived, behind))
        self.offsets[-1] = (self.offsets[-1][0], min(behind, self.offsets[-1][1]))
        while arrived - self.offsets[0][0] > REMEMBERED:
            self.offsets.popleft()
        best = min(offset for _, offset in self.offsets)
        if self.offset is None or abs(best - self.offset) > OFF:
            self.offset = best
        return self.offset + started / self.rate


class Microphone(DeviceSource):
    """A microphone through PortAudio, watched and opened again by a thread of its own."""

    def __init__(self, device: Any, sound: Callable[[Sound], None], say: Say) -> None:
        """`device`: a `runtime.devices.Device`. Raises AffectError where PortAudio is missing."""
        from runtime.devices import portaudio

        os.environ.setdefault(
            "PULSE_LATENCY_MSEC", "50"
        )  # PulseAudio's own choice is 2 s: more than ALSA's plugin can hold
        super().__init__("microphone", say, None)
        self.device, self.sound = device, sound
        self.audio = portaudio()
        self.clipped = 0.0  # share of the last second's samples at the rail
        self.last = self.loud = time.monotonic()  # a block, one that is not all zeros; or the opening
        self.came = self.sounded = False  # whether there was such a block since the opening
        self.delay = 0.0  # seconds that sound takes from the air to us, as far as PortAudio knows
        self.clock, self.rate = DeviceClock(1), 1
        self.patience = MUTE

    def run(self) -> None:
        """The thread: opens, watches, and opens again."""
        from runtime.devices import microphone_trouble, quiet

        while not self.quit.is_set():
            try:
                with quiet, self.opened() as stream:
                    self.delay = min(MOST_DELAY, max(0.0, float(stream.latency)))
                    self.watch()
            except (self.audio.PortAudioError, ValueError) as error:
                self.tell(microphone_trouble(error, self.device))
            except AffectError as error:  # no device of that name any more
                self.tell(error)
            self.quit.wait(AGAIN)
            if not self.quit.is_set():
                self.look_again()

    def opened(self) -> Any:
        """A running stream at the device's own rate, one or two channels."""
        about = self.audio.query_devices(self.device.number, "input")
        self.rate = round(about["default_samplerate"])
        self.clock, self.came, self.sounded = DeviceClock(self.rate), False, False
        self.last = self.loud = time.monotonic()
        return self.audio.InputStream(
            device=self.device.number,
            samplerate=self.rate,
            channels=min(2, about["max_input_channels"]),
            dtype="float32",
            latency="high",
            blocksize=round(self.rate * BLOCK),
            callback=self.block,
        )

    def look_again(self) -> None:
        """Has PortAudio list the devices anew, which it does once, when it starts; the microphone may have another number."""
        from runtime.devices import microphones

        with suppress(self.audio.PortAudioError):
            self.audio._terminate()
        with suppress(self.audio.PortAudioError):  # opening says it
            self.audio._initialize()
            same = [device for device in microphones(probe=False) if device.name == self.device.name]
            same.sort(key=lambda device: device.number != self.device.number)
            self.device = same[0] if same else self.device

    def block(self, samples: np.ndarray, count: int, _: Any, status: Any) -> None:
        """PortAudio's callback: float32 [N, channels]."""
        now = time.monotonic()
        mono = samples.mean(1, dtype=np.float32)
        self.last, self.came = now, True
        if mono.any():
            self.loud, self.sounded = now, True
        if status.input_overflow:  # some sound was lost: what comes now is later than was counted
            self.clock = DeviceClock(self.rate)
        self.clipped = 0.95 * self.clipped + 0.05 * float(np.mean(np.abs(samples) >= 0.999))
        self.sound(Sound(self.clock.time(now, count) - self.delay, mono, self.rate))

    def watch(self) -> None:
        """Until the stream is gone, or gives zeros for so long that another device may be meant."""
        from runtime.devices import privacy

        before = time.monotonic()
        while not self.quit.wait(0.1):
            now = time.monotonic()
            if now - before > 1.0:  # the program was stopped, not the microphone
                self.last = self.loud = now
            before = now
            if now - self.last > NO_SOUND:
                return self.tell(lost(f"microphone {self.device.name}"))
            if now - self.loud > self.patience:
                self.patience = min(60.0, 2 * self.patience)
                words = f"microphone {self.device.name} gives no sound at all"
                cure = "; ".join(filter(None, ["is it muted, or unplugged?", privacy("microphone")]))
                return self.tell(AffectError(words, cure, "microphone_silent"))
            if self.sounded and self.loud > now - 0.5:
                self.patience = MUTE
                self.tell(self.too_loud())
            elif self.came and self.trouble == LOST:
                self.tell(None)
        return None

    def too_loud(self) -> AffectError | None:
        """What is wrong with the sound that comes."""
        if self.clipped < 0.01:
            return None
        return AffectError("the microphone is too loud: its peaks are cut", "turn its level down", "microphone_clipped")
