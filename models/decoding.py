"""Packets -> what a Clip is made of: RGB pictures of one size, one 16-kHz wave, cues. Damaged packets are counted and passed.

Knows one packet at a time; which ones are worth decoding is for `models.media` to say.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from av import AudioFrame, AudioResampler, Packet, VideoFrame

from models.container import MAX_PIXELS, PYAV_ERRORS
from models.subtitles import Cue, plain
from models.tracks import HIGHEST_RATE, LOWEST_RATE, Trouble

SAMPLE_RATE = 16000  # Hz
LONGER_SIDE = 640  # pixels of the longer side of a picture, at most
SETTLING = 20  # packets at the start of a stretch that may fail without a word: behind a seek MP2 takes up to a dozen
GAP = 0.1  # seconds without sound from which on they are filled with silence
MIXING = {"rematrix_maxval": "1.0"}  # the weights of the channels add up to 1: many of them are not louder than one
DECODERS = min(4, os.cpu_count() or 1)  # threads of the picture's decoder
PROFILED = ("png", "apng")  # decoders whose frames may carry a colour profile with a name of its own
ASPECTS = (0.2, 5.0)  # width of a pixel over its height that is believed


class Eye:
    """A picture stream's packets to frames, and frames to RGB, all of the first one's size and turned as it says."""

    def __init__(self, stream: Any, trouble: Trouble) -> None:
        self.trouble = trouble
        self.context = stream.codec_context
        self.aspect = pixel_aspect(stream.sample_aspect_ratio)
        # Slices alone: threads by frames would hold a picture each.
        self.context.options = {"max_pixels": str(MAX_PIXELS)}
        self.context.thread_type, self.context.thread_count = "SLICE", DECODERS
        self.size: tuple[int, int] | None = None
        self.matrix: tuple[float, ...] = ()

    def decode(self, packet: Packet[Any] | None) -> list[VideoFrame]:
        """The frames that a packet completes; None drains the decoder."""
        try:
            return self.context.decode(packet)
        except PYAV_ERRORS:
            self.trouble.picture += 1
            return []

    def picture(self, frame: VideoFrame) -> np.ndarray | None:
        """uint8 [H, W, 3], None when the frame's pixels can't be converted."""
        if self.size is None:
            self.size, self.matrix = fitted(frame.width, frame.height, self.aspect), self.turn(frame)
        try:
            small = frame.reformat(*self.size, format="rgb24", interpolation="AREA").to_ndarray()
        except PYAV_ERRORS:
            self.trouble.picture += 1
            return None
        return np.ascontiguousarray(turned(small, self.matrix))

    def turn(self, frame: VideoFrame) -> tuple[float, ...]:
        """How a frame is to be turned. PyAV crashes over the side data of a PNG with a colour profile: there its degrees
        alone are asked for."""
        return turn_by(frame.rotation) if self.context.name in PROFILED else display_matrix(frame)


def fitted(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Width and height with square pixels and the longer side in bounds, never scaled up. `aspect`: a pixel's."""
    wide, high = (width * aspect, float(height)) if aspect < 1 else (float(width), height / aspect)
    scale = min(1.0, LONGER_SIDE / max(wide, high))
    return max(1, round(wide * scale)), max(1, round(high * scale))


def pixel_aspect(ratio: Any) -> float:
    """A stream's sample aspect ratio, 1 where it has none or none that can be meant."""
    return float(ratio) if ratio and ASPECTS[0] <= ratio <= ASPECTS[1] else 1.0


def turn_by(degrees: float) -> tuple[float, ...]:
    """The matrix of a turn, as `display_matrix` gives it."""
    turn = math.radians(degrees)
    return math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)


def display_matrix(frame: VideoFrame) -> tuple[float, ...]:
    """The four numbers a, b, c, d of x' = ax + cy, y' = bx + dy by which a frame is to be turned."""
    try:
        side: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV lists all side data first, and fails at kinds that it has no name for
        return turn_by(frame.rotation)
    if side is None or side.buffer_size < 36:
        return 1.0, 0.0, 0.0, 1.0
    m = np.frombuffer(bytes(side), "=i4", 9)
    return float(m[0]), float(m[1]), float(m[3]), float(m[4])


def turned(picture: np.ndarray, matrix: tuple[float, ...]) -> np.ndarray:
    """The picture [H, W, 3] turned by quarters and mirrored as the matrix says, to the nearest of the eight ways."""
    a, b, c, d = matrix
    upright = abs(a) + abs(d) >= abs(b) + abs(c)
    across, down = (a, d) if upright else (c, b)
    picture = picture if upright else picture.transpose(1, 0, 2)
    return picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


class Ear:
    """Decoded sound to one mono wave that begins at `start` seconds; silence where the track has none."""

    def __init__(self, start: float, seconds: float, origin: float, trouble: Trouble, rate: int = SAMPLE_RATE) -> None:
        self.start, self.origin, self.trouble, self.rate = start, origin, trouble, rate
        self.most = math.ceil(seconds * rate)
        self.parts: list[np.ndarray] = []
        self.count = self.heard = self.skip = 0  # samples in `parts`, of them decoded, still to be dropped
        self.missed = 0  # packets
        self.form: tuple[Any, ...] = ()
        self.resampler: AudioResampler | None = None
        self.clock: float | None = None  # seconds at which the next frame is expected
        self.context: Any = None

    @property
    def full(self) -> bool:
        """Whether no more is needed."""
        return self.count >= self.most

    def hear(self, packet: Packet[Any]) -> None:
        """Decodes a packet and takes what belongs to the wave."""
        self.context = packet.stream.codec_context
        self.decode(packet)

    def decode(self, packet: Packet[Any] | None) -> None:
        """A packet, or None for what the decoder still holds: what it then gives has no time of its own."""
        try:
            for frame in self.context.decode(packet) if self.context else ():
                self.add(frame, None if packet is None or frame.time is None else frame.time - self.origin)
        except PYAV_ERRORS:
            self.miss()

    def miss(self) -> None:
        """Counts what could not be decoded."""
        self.missed += 1
        if self.heard or self.missed > SETTLING:
            self.trouble.sound += 1

    def add(self, frame: AudioFrame, time: float | None) -> None:
        """Places a frame by its time and resamples it."""
        if not LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE:
            self.trouble.sound += 1
            return
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        apart = time is not None and (self.clock is None or time - self.clock > GAP)
        if form != self.form or apart:
            self.drain()
            self.form, self.resampler = form, AudioResampler("flt", "mono", self.rate, options=MIXING)
        if apart and time is not None:
            self.place(time)
        self.push(frame)
        self.clock = time + frame.samples / frame.sample_rate if time is not None else self.clock

    def place(self, time: float) -> None:
        """Silence up to a time, or what lies before the start dropped."""
        behind = round((time - self.start) * self.rate) - self.count
        silence = min(max(behind, 0), self.most - self.count)
        self.skip = max(-behind, 0) if self.count == 0 else 0
        if silence > 0:
            self.keep(np.zeros(silence, np.float32))

    def push(self, frame: AudioFrame | None) -> None:
        """Through the resampler; None drains it."""
        for piece in self.resampler.resample(frame) if self.resampler else ():
            samples = piece.to_ndarray().reshape(-1)
            dropped = min(self.skip, len(samples))
            self.skip -= dropped
            self.heard += len(samples) - dropped
            self.keep(samples[dropped:].astype(np.float32))

    def keep(self, samples: np.ndarray) -> None:
        """Adds samples while there is room."""
        kept = samples[: max(0, self.most - self.count)]
        self.parts.append(kept)
        self.count += len(kept)

    def drain(self) -> None:
        """What the resampler still holds."""
        try:
            self.push(None)
        except PYAV_ERRORS:
            self.trouble.sound += 1
        self.resampler = None

    def wave(self) -> np.ndarray | None:
        """float32 [N] in -1..1 with NaN and infinities as 0; None when nothing was decoded."""
        self.decode(None)
        self.drain()
        if not self.heard or not self.count:
            return None
        wave = np.concatenate(self.parts)
        finite = np.isfinite(wave)
        self.trouble.sound += not finite.all()
        return np.clip(np.where(finite, wave, np.float32(0)), -1.0, 1.0) if finite.any() else None


def cue_of(packet: Packet[Any], start: float, end: float) -> Cue | None:
    """The words of a subtitle packet that is shown between two times; None when there are none."""
    try:
        shown = packet.stream.decode2(packet)
    except PYAV_ERRORS:
        return None
    texts = [words_of(rect) for rect in shown or ()]
    text = " ".join(text for text in texts if text)
    return Cue(start, end, text) if text else None


def words_of(rect: Any) -> str:
    """Plain words of one decoded line: nine comma-separated fields of which the last is the text."""
    if rect.type not in (b"ass", b"text"):
        return ""
    raw = rect.ass.split(b",", 8)[-1] if rect.type == b"ass" else rect.text
    return plain(raw.decode("utf-8", "replace"))
