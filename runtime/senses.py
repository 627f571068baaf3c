"""The senses: a thread that takes the newest picture and all sound, and asks for a reading when there is an occasion.

Faces are found and encoded as they come, so that little is left to do when somebody has finished speaking. Late pictures drop.
Knows the window, faces and voices; nothing of devices, the language model or screens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import fields
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np

from models.bundle import Bundle
from models.errors import AffectError
from models.faces import Face, FaceMeasures, crop, measure_crop, prominence
from models.inputs import clear
from runtime.capture import Frame, Sound
from runtime.listening import Listener, Utterance
from runtime.memory import KeptFaces, Memory
from runtime.occasions import Look, Occasion, Occasions
from runtime.reader import Request
from runtime.window import Window

PACE = 0.03  # seconds between two looks at what has come
SMALL = 1.0  # seconds between two searches for a small face, while no large one is there
THREADS = 2  # that OpenCV takes for a picture: of 16 most would only wait, spinning
BROKEN_OFF = 2.5  # seconds without any sound after which who spoke is said to have finished
SLEPT = 3.0  # seconds that are missing before the machine is said to have slept
BEHIND = 2  # seconds of sound that may wait: more than that is left out
MOVED = ("mouth_open", "smile", "brow_raise", "brow_furrow", "eye_open")
"""What a look is measured by; a head that is turned is no change of face."""


class Senses:
    """What is seen and heard now: `face`, its `box` in shares of width and height, when it was `looked_at`, `level` dBFS,
    `speaking`; `ask` gets requests."""

    def __init__(
        self, bundle: Bundle, window: float, every: float | None, zero: float, ask: Callable[[Request], None]
    ) -> None:
        spec = bundle.spec["preprocessing"]
        self.frames_wanted, self.size = spec["frames"], spec["image_size"]
        self.whole = bundle.spec["picture"] == "frame"
        self.spread = spreads(spec["face_norm"])
        self.window, self.ask = Window(window + 2 * SMALL, zero), ask
        self.wanted = (window, every, spec["window_seconds"])
        self.occasions = Occasions(*self.wanted)
        self.memory = Memory()
        self.finder = KeptFaces(self.memory)
        self.listener = Listener()
        self.newest: Frame | None = None
        self.sounds: deque[Sound] = deque()
        self.heard = self.round = time.monotonic()  # when sound came last, and when the thread looked last
        self.ahead_of_us = slept_in_all()
        self.face: Face | None = None
        self.box: tuple[float, ...] | None = None
        self.looked_at = self.searched = float("-inf")
        self.encode: Callable[[np.ndarray], Any] | None = None  # encodes crops ahead, once there is an engine
        self.idle: Callable[[], bool] = lambda: True
        self.woke: Callable[[float], None] = lambda seconds: None  # hears for how long the machine slept
        self.news, self.over, self.forget = Event(), False, False
        self.dropped = 0  # pieces of sound that came faster than they could be heard
        self.thread = Thread(target=self.run, name="senses", daemon=True)

    def start(self) -> None:
        """Begins."""
        self.thread.start()

    def take_frame(self, frame: Frame) -> None:
        """The newest picture; one that was not looked at yet is left out."""
        self.newest = frame
        self.news.set()

    def take_sound(self, sound: Sound) -> None:
        """The next sound."""
        self.sounds.append(sound)
        self.news.set()

    def finish(self) -> None:
        """Ends: what is left is asked for."""
        self.over = True
        self.news.set()

    @property
    def level(self) -> float:
        """dBFS of the last sound."""
        return self.listener.level

    @property
    def speaking(self) -> bool:
        """Whether somebody speaks now, pauses between words counted."""
        return self.listener.speech() is not None

    def run(self) -> None:
        """The thread."""
        cv2.setNumThreads(THREADS)
        while not self.over:
            self.news.wait(0.2)
            self.news.clear()
            self.take_in()
            time.sleep(PACE)
        self.take_in()
        self.request(self.occasions.heard(self.listener.finish(), None))
        self.request(self.occasions.last(time.monotonic()))

    def take_in(self) -> None:
        """What has come since."""
        self.check_sleep()
        if self.forget:
            self.start_anew()
        over = self.hear()
        frame, self.newest = self.newest, None
        if frame is not None and self.window.due(frame.time):
            self.request(self.occasions.seen(self.look(self.window.add_frame(frame))))
        self.request(self.occasions.heard(over, self.listener.speech()))
        self.request(self.occasions.tick(time.monotonic()))

    def start_anew(self) -> None:
        """Nothing of before counts any more."""
        self.forget, self.newest = False, None
        self.sounds.clear()
        self.window.forget()
        self.listener, self.occasions = Listener(), Occasions(*self.wanted)

    def check_sleep(self) -> None:
        """Whether the machine slept, or the program was stopped: what was seen and heard before is no news then."""
        now, ahead = time.monotonic(), slept_in_all()
        slept = max(ahead - self.ahead_of_us, now - self.round - 1.0)
        self.round, self.ahead_of_us = now, ahead
        if slept > SLEPT:
            self.forget = True
            self.woke(slept)

    def hear(self) -> list[Utterance]:
        """All sound that has come; the utterances that are over, also where sound has stopped in the middle of one."""
        over: list[Utterance] = []
        if self.sounds:
            self.heard = time.monotonic()
        elif self.listener.utterance and time.monotonic() - self.heard > BROKEN_OFF:
            over += self.listener.finish()
        while self.sounds:
            sound = self.sounds.popleft()
            if time.monotonic() - sound.end > BEHIND and self.sounds:
                self.dropped += 1
                continue
            over += self.listener.hear(*self.window.add_sound(sound))
        return over

    def request(self, occasions: list[Occasion]) -> None:
        """Asks for the last of some occasions."""
        for occasion in occasions[-1:]:
            clip = self.window.clip(occasion.start, occasion.end, self.frames_wanted)
            wall = time.time() - time.monotonic() + self.window.zero + clip.start
            self.ask(Request(clip, occasion, wall))

    # ------------------------------------------------------------------ the face

    def look(self, frame: Frame) -> Look:
        """The main face of a picture, measured, and encoded where there is time for that."""
        self.face, self.looked_at = self.main_face(frame), frame.time
        self.box = None if self.face is None else shares(self.face, *frame.picture.shape[:2])
        if self.face is None:
            return Look(frame.time, None)
        grey = crop(frame.picture, self.face, self.size)
        found = measure_crop(self.finder, grey)
        if self.encode is not None and self.idle():
            self.ahead(frame.picture, grey)
        values = np.full(len(MOVED), np.nan) if found is None else np.array([getattr(found, name) for name in MOVED])
        return Look(frame.time, values / self.spread)

    def main_face(self, frame: Frame) -> Face | None:
        """The largest and most central face. Small ones are searched for now and then while there is no other."""
        faces = self.finder.detect(frame.picture)
        if not faces and (self.face is not None or frame.time - self.searched > SMALL):
            self.searched = frame.time
            faces = self.finder.search(frame.picture)
        return max(faces, key=lambda face: prominence({0: face}, frame.picture.shape[:2]), default=None)

    def ahead(self, picture: np.ndarray, grey: np.ndarray) -> None:
        """Encodes what a reading of this picture would encode."""
        shown = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA) if self.whole else clear(grey)
        try:
            if self.encode is not None:
                self.encode(shown[None])
        except AffectError:
            self.encode = None  # the reading will say it


def slept_in_all() -> float:
    """Seconds that the machine has slept since it started; elsewhere than on Linux how far the wall clock is from ours."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.time() - time.monotonic()


def shares(face: Face, height: int, width: int) -> tuple[float, ...]:
    """A face's box in shares of the picture's width and height."""
    return tuple(at / of for at, of in zip(face.box, (width, height) * 2, strict=True))


def spreads(norm: dict[str, list[float]]) -> np.ndarray:
    """The training faces' standard deviations of what a look is measured by."""
    stds = dict(zip((field.name for field in fields(FaceMeasures)), norm["std"], strict=True))
    return np.array([stds[name] for name in MOVED])
