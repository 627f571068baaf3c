"""The view of `affect live`: what a session says is gathered for the screen, keys go back to the session.

Pictures are drawn as they come, words a few times a second; neither waits for the model. Knows the session and the screen;
nothing of how a line is laid out.
"""

from __future__ import annotations

import queue
import signal
import sys
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from cli.errors import visible
from cli.halfblocks import Encoder
from cli.keys import Keys
from cli.screen import STRIP, Shown, compose, forming, layout
from cli.terminal import Terminal, suspend
from models.errors import AffectError
from models.reading import Label, Reading, Segment
from runtime.capture import Frame
from runtime.live import Session, Status

FRAMES, QUIET_FRAMES = 25.0, 5.0  # pictures a second that are drawn, and with nobody there
WORDS = 8.0  # times a second that words are composed; 4 ms each
NOTED = 4.0  # seconds that a passing note stands
COUNTED = 2.0  # seconds that pictures a second are counted in
HOLDS = 8.0  # seconds for which a label stands on the strip when no other follows


class View:
    """A screen for a session, from `with` to its end. `mirror` shows the picture as a mirror does; `smooth` 0..1 is the share of
    the readings before in the labels shown."""

    def __init__(self, session: Session, mirror: bool, smooth: float) -> None:
        self.session, self.mirror, self.smooth = session, mirror, smooth
        self.terminal, self.keys, self.opened = Terminal(sys.stdout), Keys(), ExitStack()
        self.encoder = Encoder(self.terminal.picture_depth)
        self.frame: Frame | None = None
        self.segment: Segment | None = None
        self.mean: dict[str, float] = {}
        self.strip: deque[tuple[float, float, str]] = deque(maxlen=500)
        self.drawn: deque[float] = deque(maxlen=240)
        self.lines: list[str] = []
        self.shown = Shown()
        self.composed = self.pictured = float("-inf")
        self.note, self.noted = "", float("-inf")
        self.device, self.help, self.stopped = "", False, False

    def __enter__(self) -> View:
        self.opened.enter_context(self.terminal)
        self.opened.enter_context(self.keys)
        if hasattr(signal, "SIGTSTP"):
            before = signal.signal(signal.SIGTSTP, lambda *_: setattr(self, "stopped", True))
            self.opened.callback(signal.signal, signal.SIGTSTP, before)
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    # ------------------------------------------------------------------ one round

    def wait(self, events: Any) -> tuple[str, Any]:
        """The next event, if there is one; else a picture is drawn as soon as it comes, and ("", None) given."""
        try:
            return events.get_nowait()
        except queue.Empty:
            pass
        if self.stopped:
            self.stopped = False
            suspend(self.terminal, self.keys)
        pause = 1 / (QUIET_FRAMES if self.session.nobody else FRAMES)
        self.session.wait_frame(self.frame, max(0.01, self.pictured + pause - time.monotonic()))
        time.sleep(max(0.0, self.pictured + pause - time.monotonic()))
        if not self.draw():
            return "quit", None
        return self.typed()

    def typed(self) -> tuple[str, Any]:
        """What the keys ask for."""
        while key := self.keys.get(0.0):
            if key == "q":
                return "quit", None
            try:
                self.press(key)
            except AffectError as error:
                self.tell(str(error))
        return "", None

    def press(self, key: str) -> None:
        """One key. Raises AffectError for what can't be done."""
        session = self.session
        if key == " ":
            session.pause(not session.paused)
        elif key == "m":
            session.mute(not session.muted)
        elif key == "r":
            session.record_on(not session.recording)
        elif key == "s":
            self.tell(f"written: {session.snapshot()}")
        elif key == "c":
            self.tell(f"camera {session.next_camera()}")
        elif key == "?":
            self.help = not self.help
        self.composed = float("-inf")

    def tell(self, words: str) -> None:
        """A note that stands for some seconds."""
        self.note, self.noted = words, time.monotonic()

    # ------------------------------------------------------------------ what the session says

    def event(self, kind: str, payload: Any) -> None:
        """Labels first, then the words as they are written, then the whole reading."""
        if kind == "ready":
            many = "thread" if payload.threads == 1 else "threads"
            self.device = f"{payload.device}, {payload.threads} {many}"
        elif kind == "labels":
            self.segment, self.composed = forming(tuple(payload)), float("-inf")
            self.draw()  # before any word of the reason
        elif kind == "words" and self.segment is not None:
            self.segment = replace(self.segment, reason=self.segment.reason + payload)
        elif kind == "read":
            self.read(payload[0])
        elif kind == "trouble":
            self.trouble(payload)

    def read(self, reading: Reading) -> None:
        """A whole reading: its labels smoothed, its stretch on the strip."""
        segment = reading.segments[0]
        if segment.missing == ("visual", "audio", "text"):
            return
        self.segment = replace(segment, labels=self.smoothed(segment.labels))
        label = next((label.name for label in segment.labels if label.named), segment.labels[0].name)
        self.strip.append((segment.start, segment.end, label))

    def smoothed(self, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        """An exponential mean over the readings, for the display alone."""
        self.mean = {
            label.name: self.smooth * self.mean.get(label.name, label.score) + (1 - self.smooth) * label.score
            for label in labels
        }
        mean = [replace(label, score=self.mean[label.name]) for label in labels]
        return tuple(sorted(mean, key=lambda label: (-label.score, label.name)))

    def trouble(self, payload: Any) -> None:
        """What is wrong stands in the status as long as it is; what passed is a note."""
        where, error = payload if isinstance(payload, tuple) else ("reading", payload)
        if error is None:
            self.tell(f"{where}: works again")
        elif where in ("reading", "clock"):
            self.tell(str(error))

    # ------------------------------------------------------------------ drawing

    def draw(self) -> bool:
        """The newest picture, and words when it is time for them; False when the terminal is gone."""
        now, status = time.monotonic(), self.session.status()
        size = self.terminal.size()
        frame = self.session.newest
        new, self.frame, self.pictured = frame is not self.frame, frame, now
        if now - self.composed >= 1 / WORDS:
            self.composed = now
            self.shown = self.all_of(status, frame, now)
            self.lines = compose(self.shown, *size, self.terminal.depth)
        place = layout(*size, self.shown.camera is not None, self.shown.shape).picture
        if frame is None or place is None or self.shown.shape is None:
            return self.terminal.draw(self.lines)
        rows = self.encoder.rows(frame.picture, place.columns, place.rows, self.box(status, frame), self.mirror)
        there = self.terminal.draw(self.lines, rows, place)
        if new and not self.terminal.left:  # a slow terminal is still busy with the one before
            self.drawn.append(now)
        return there

    def box(self, status: Status, frame: Frame) -> tuple[float, float, float, float] | None:
        """The face's box in pixels of a picture."""
        if status.face is None:
            return None
        (height, width), (x0, y0, x1, y1) = frame.picture.shape[:2], status.face
        return x0 * width, y0 * height, x1 * width, y1 * height

    def all_of(self, status: Status, frame: Frame | None, now: float) -> Shown:
        """Everything that the screen shows."""
        second = now - self.session.zero
        runs = [
            (second - start, second - end, label) for start, end, label in self.runs(second) if second - end < STRIP
        ]
        return Shown(
            camera=status.camera,
            microphone=status.microphone,
            shape=None if frame is None else frame.picture.shape[:2],
            paused=status.paused,
            muted=status.muted,
            state=status.state,
            message=self.message(status, now),
            segment=self.segment,
            strip=tuple(runs),
            recording=status.recorded,
            level_db=status.level,
            speaking=status.speaking,
            frames_shown=sum(now - when <= COUNTED for when in self.drawn) / COUNTED,
            frames_captured=status.captured,
            dropped=status.dropped,
            first_label=status.first_label,
            whole=status.whole,
            memory_mb=status.memory,
            device=self.device,
            help=self.help,
        )

    def runs(self, second: float) -> list[tuple[float, float, str]]:
        """(start, end, label) of the readings up to now, those of one label that touch made one."""
        runs: list[tuple[float, float, str]] = []
        for start, end, label in self.strip:
            held = min(end + HOLDS, second)
            if runs and runs[-1][2] == label and runs[-1][1] >= start:
                runs[-1] = (runs[-1][0], held, label)
            else:
                runs.append((start, held, label))
        return runs

    def message(self, status: Status, now: float) -> str:
        """A passing note, else what is wrong."""
        if now - self.noted < NOTED:
            return visible(self.note)
        return visible(str(status.trouble)) if status.trouble else ""
