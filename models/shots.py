"""A film -> the few pictures of it that are wanted, with the least decoding. Knows one picture stream; of clips, nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av import Packet, VideoFrame
from av.container import InputContainer

from models.decoding import Eye
from models.tracks import Tracks, Trouble, packets

LOOKAHEAD = 300  # packets decoded from a key frame on towards a picture of a longer stretch
SKIPPING = (
    "h264",
    "hevc",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
)  # decoders that can leave out a picture that no other needs
Picture = tuple[float, np.ndarray]
"""Seconds, and RGB uint8 [H, W, 3]."""


@dataclass(frozen=True)
class Shot:
    """One packet of the picture stream, in the file's order: its time stamp, seconds, and whether decoding can begin there."""

    ticks: int | None
    time: float
    until: float
    key: bool


def shot_of(packet: Packet[Any], tracks: Tracks, number: int) -> Shot:
    """A packet as a Shot; without a time stamp its number in the file tells its time."""
    length = tracks.length(packet) or tracks.picture_length
    time = tracks.time(packet)
    time = number * length if time is None else time
    return Shot(packet.pts, time, time + length, packet.is_keyframe)


def wanted_shots(shots: Sequence[Shot], start: float, end: float, frames: int) -> list[int]:
    """The places in the file's order of at most `frames` pictures spread over a stretch."""
    if not shots:
        return []
    shown = sorted(range(len(shots)), key=lambda place: shots[place].time)
    after = [*(shots[place].time for place in shown[1:]), 0.0]
    inside = [
        place
        for place, next_time in zip(shown, after, strict=True)
        if shots[place].time < end and max(next_time, shots[place].until) > start
    ]
    if not inside:
        return []
    times = np.array([shots[place].time for place in inside])
    low, high = max(start, times[0]), min(end, shots[inside[-1]].until)
    nearest = {int(np.abs(times - centre).argmin()) for centre in centres(low, high, frames)}
    return sorted(inside[place] for place in nearest)


def centres(start: float, end: float, parts: int) -> list[float]:
    """The middles of equal parts of a stretch, seconds."""
    return [start + (end - start) * (part + 0.5) / parts for part in range(parts)]


def runs(shots: Sequence[Shot], wanted: Sequence[int]) -> list[range]:
    """Places to decode: from a key frame up to a wanted picture each, joined where they overlap.

    Decoding begins at a key frame that is shown before the picture: what follows a key frame in the file may be shown
    before it, and needs the one before.
    """
    found: list[range] = []
    for last in wanted:
        keys = (place for place in range(last, -1, -1) if shots[place].key and shots[place].time <= shots[last].time)
        first = next(keys, 0)
        if found and first < found[-1].stop:
            first = found.pop().start
        found.append(range(first, last + 1))
    return found


class Film:
    """The picture stream of an opened container, made ready to be decoded."""

    def __init__(self, container: InputContainer, tracks: Tracks, index: int, trouble: Trouble) -> None:
        self.container, self.tracks, self.index, self.trouble = container, tracks, index, trouble
        stream: Any = container.streams[index]
        self.context: Any = stream.codec_context
        self.clock = stream.time_base or Fraction(0)
        self.skips = self.context.name in SKIPPING
        self.eye = Eye(stream, trouble)

    def pictures(self, shots: Sequence[Shot], wanted: Sequence[int], start: float) -> list[Picture]:
        """The wanted ones of the packets read from `start` seconds on, in their order of time."""
        feed = enumerate(packets(self.container, self.tracks, start, self.trouble, [self.index]))
        if any(shots[place].ticks is None for place in wanted):
            found = self.numbered(feed, shots, wanted)
        else:
            found = (picture for run in runs(shots, wanted) for picture in self.stamped(feed, shots, run, wanted))
        return sorted(found, key=lambda pair: pair[0])

    def stamped(
        self, feed: Iterator[tuple[int, Packet[Any]]], shots: Sequence[Shot], run: range, wanted: Sequence[int]
    ) -> Iterator[Picture]:
        """The wanted pictures of a run, known by their time stamps."""
        times = {shots[place].ticks: shots[place].time for place in wanted if place in run}
        missing, spare = dict(times), None
        for frame in self.frames(feed, run, wanted):
            if frame.pts in missing:
                yield from self.seen(frame, missing.pop(frame.pts))
            else:
                spare = frame
        # Where a decoder gives frames other time stamps than their packets had, the run's last frame stands for them.
        if spare is not None and missing == times:
            yield from self.seen(spare, max(missing.values()))

    def numbered(
        self, feed: Iterator[tuple[int, Packet[Any]]], shots: Sequence[Shot], wanted: Sequence[int]
    ) -> Iterator[Picture]:
        """The wanted pictures of a stream without time stamps, by counting all of them."""
        run = range(wanted[-1] + 1)
        for number, frame in enumerate(self.frames(feed, run, run)):
            if number in wanted:
                yield from self.seen(frame, shots[number].time)

    def frames(
        self, feed: Iterator[tuple[int, Packet[Any]]], run: range, wanted: Sequence[int]
    ) -> Iterator[VideoFrame]:
        """What a run of packets decodes to; pictures that no other needs are left out unless they are wanted."""
        for place, packet in feed:
            if place in run:
                self.leave_out(place not in wanted)
                yield from self.eye.decode(packet)
            if place >= run.stop - 1:
                break
        yield from self.eye.decode(None)
        self.context.flush_buffers()

    def leave_out(self, unneeded: bool) -> None:
        """Whether the next packet's picture is decoded if no other picture needs it."""
        if self.skips:
            self.context.skip_frame = "NONREF" if unneeded else "DEFAULT"

    def seen(self, frame: VideoFrame, time: float) -> Iterator[Picture]:
        """The frame as a picture, if its pixels can be had."""
        picture = self.eye.picture(frame)
        if picture is not None:
            yield time, picture

    def spread(self, start: float, end: float, frames: int) -> list[Picture]:
        """At most `frames` different pictures near the centres of equal parts of a long stretch."""
        found: dict[float, Picture] = {}
        for centre in centres(start, end, frames):
            frame = self.near(centre, (end - start) / frames / 2)
            if frame is None or frame.pts is None:
                continue
            # Not frame.time: a frame drained from the decoder has another clock than its stream.
            time = max(start, float(frame.pts * self.clock) - self.tracks.origin)
            if time not in found:
                found.update((pair[0], pair) for pair in self.seen(frame, time))
        return [found[time] for time in sorted(found)]

    def near(self, seconds: float, reach: float) -> VideoFrame | None:
        """The first frame at most `reach` before a time or behind it, decoded from a key frame on; else the last one met.

        Some formats seek to any packet: those before a key frame are passed over.
        """
        latest: VideoFrame | None = None
        begun = False
        for count, packet in enumerate(packets(self.container, self.tracks, seconds, self.trouble, [self.index])):
            begun = begun or packet.is_keyframe or count >= LOOKAHEAD
            if not begun:
                continue
            close = count >= LOOKAHEAD or (self.tracks.time(packet) or 0.0) >= seconds - reach
            self.leave_out(not close)
            frames = self.eye.decode(packet)
            if close and not frames:
                frames = self.eye.decode(None)
                self.context.flush_buffers()
            if frames:
                latest = frames[0] if close else frames[-1]
            if (close and frames) or count >= 2 * LOOKAHEAD:
                break
        return latest
