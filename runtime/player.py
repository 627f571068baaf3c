"""A file played as camera, as microphone, or as both on one clock: pictures and sound come when a device would give them.

Whatever is late is left out, as a device would. Knows files and the clock; nothing of faces or readings.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np

from models.container import PYAV_ERRORS, check_path, is_file, opened_source, shown
from models.container import Source as File
from models.decoding import MIXING, Eye
from models.errors import AffectError
from models.tracks import Tracks, Trouble, choose_tracks, packets
from runtime.capture import Frame, Sound, Source

AHEAD = 1.0  # seconds that picture and sound may lie apart in a file
LATE = 0.25  # seconds after which a picture is not shown any more
BEHIND = 2.0  # seconds after which what was missed is passed over: the program was stopped


@dataclass(frozen=True, order=True)
class Item:
    """A decoded picture or sound that starts at `time` seconds of the file and is due at `due`."""

    due: float
    number: int
    time: float
    content: Any
    rate: int = 0


class Player(Source):
    """Plays `path` from when it is started, in a thread of its own; `frame` and `sound` get what there is of each."""

    def __init__(
        self,
        path: str,
        frame: Callable[[Frame], None] | None,
        sound: Callable[[Sound], None] | None,
        over: Callable[[AffectError | None], None],
        loop: bool = False,
    ) -> None:
        """Raises AffectError for what is no file with what is wanted of it."""
        self.path, self.frame, self.sound, self.over, self.loop = path, frame, sound, over, loop
        check_path(path)
        if not is_file(Path(path)):  # a pipe can't be played in real time, nor again
            raise AffectError(f"{shown(path)} is no file that can be played", "save it to a file first", "unreadable")
        with opened_source(path) as source:
            check_wanted(source, choose_tracks(source, frame is not None, sound is not None, False), frame, sound)
        super().__init__(f"player {Path(path).name}")
        self.dropped = 0

    def run(self) -> None:
        """The thread: once, or again and again on the clock of the first time."""
        began, trouble = time.monotonic(), None
        try:
            while not self.quit.is_set():
                began = self.once(began)
                if not self.loop:
                    break
        except AffectError as error:  # it could be opened before: it was removed or cut since
            trouble = error
        finally:
            self.over(trouble)

    def once(self, began: float) -> float:
        """Plays the file whose time 0 is at `began`; gives when it is over, by the same clock."""
        last = 0.0
        with opened_source(self.path) as source:
            tracks = choose_tracks(source, self.frame is not None, self.sound is not None, False)
            with source.container() as container:
                show = Show(container, tracks)
                for item in in_order(show.items(), len(tracks.wanted)):
                    last = max(last, item.due)
                    late = time.monotonic() - began - item.due
                    began += late if late > BEHIND else 0.0
                    if self.quit.wait(max(0.0, began + item.due - time.monotonic())):
                        return began + last
                    self.deliver(item, show, began)
        self.quit.wait(max(0.0, began + last - time.monotonic()))
        return began + max(last, 0.04)

    def deliver(self, item: Item, show: Show, began: float) -> None:
        """Hands over what is due; a picture that is too late is not even converted."""
        if isinstance(item.content, np.ndarray):
            if self.sound:
                self.sound(Sound(began + item.time, item.content, item.rate))
        elif time.monotonic() - began - item.due > LATE:
            self.dropped += 1
        elif self.frame and (picture := show.eye_picture(item.content)) is not None:
            self.frame(Frame(began + item.time, picture))


def length(path: str) -> float:
    """Seconds that one round of a file takes when both its picture and its sound are played."""
    with opened_source(path) as source:
        tracks = choose_tracks(source, True, True, False)
        with source.container() as container:
            return max((item.due for item in Show(container, tracks).items()), default=0.0)


def check_wanted(source: File, tracks: Tracks, frame: object, sound: object) -> None:
    """Raises AffectError `no_streams` for a file without picture that should be a camera, or without sound."""
    lacking = [
        n
        for n, wanted, there in (("picture", frame, tracks.video), ("sound", sound, tracks.audio))
        if wanted and there is None
    ]
    if lacking:
        option = "--camera none" if lacking[0] == "picture" else "--mic none"
        raise AffectError(f"{source.name} has no {lacking[0]}", f"give another file, or {option}", "no_streams")


class Show:
    """An opened file's decoders."""

    def __init__(self, container: Any, tracks: Tracks) -> None:
        self.container, self.tracks, self.trouble = container, tracks, Trouble()
        self.eye = None if tracks.video is None else Eye(container.streams[tracks.video], self.trouble)
        self.numbers, self.last = count(), 0.0
        self.resampler: av.AudioResampler | None = None
        self.form: tuple[str, str, int] | None = None

    def items(self) -> Iterator[Item]:
        """Pictures and sound as they lie in the file; what the decoder of the picture holds back comes last."""
        for packet in packets(self.container, self.tracks, 0.0, self.trouble):
            if packet.stream_index == self.tracks.audio:
                yield from self.sounds(packet)
            elif self.eye is not None:
                yield from self.pictures(packet)
        if self.eye is not None:
            yield from self.pictures(None)

    def pictures(self, packet: Any) -> Iterator[Item]:
        """The pictures that a packet completes, due at their time."""
        for frame in self.eye.decode(packet) if self.eye else ():
            at = self.last + self.tracks.picture_length if frame.pts is None else self.seconds(frame.pts)
            self.last = max(0.0, at)
            yield Item(self.last, next(self.numbers), self.last, frame)

    def seconds(self, ticks: int) -> float:
        """The time of a picture: what the decoder held back up to the end has ticks without a unit."""
        return float(ticks * self.container.streams[self.tracks.video].time_base) - self.tracks.origin

    def sounds(self, packet: Any) -> Iterator[Item]:
        """The sound of a packet, due when it is over; what can't be decoded is passed over."""
        try:
            for frame in packet.decode():
                at = 0.0 if frame.time is None else frame.time - self.tracks.origin
                samples = self.mono(frame)
                yield Item(at + len(samples) / frame.sample_rate, next(self.numbers), at, samples, frame.sample_rate)
        except PYAV_ERRORS:
            self.trouble.sound += 1

    def mono(self, frame: av.AudioFrame) -> np.ndarray:
        """float32 [N] of decoded sound, whose form may change in mid-file."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self.form:
            self.form = form
            self.resampler = av.AudioResampler("flt", "mono", frame.sample_rate, options=MIXING)
        pieces = self.resampler.resample(frame) if self.resampler else []
        return np.concatenate([np.zeros(0, np.float32), *(piece.to_ndarray()[0] for piece in pieces)])

    def eye_picture(self, frame: Any) -> np.ndarray | None:
        """uint8 [H, W, 3] of a decoded picture."""
        return self.eye.picture(frame) if self.eye else None


def in_order(items: Iterator[Item], kinds: int) -> Iterator[Item]:
    """Items of so many kinds by when they are due: as soon as each kind has come as far, or one lies `AHEAD` seconds behind."""
    waiting: list[Item] = []
    newest: dict[bool, float] = {}
    for item in items:
        heapq.heappush(waiting, item)
        kind = isinstance(item.content, np.ndarray)
        newest[kind] = max(item.due, newest.get(kind, 0.0))
        safe = (
            max(newest.values()) - AHEAD
            if len(newest) < kinds
            else max(min(newest.values()), max(newest.values()) - AHEAD)
        )
        while waiting and waiting[0].due <= safe:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)
