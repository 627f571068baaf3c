"""Pictures and sound -> an mp4 that can be read at any moment, written by a thread that nobody waits for.

Knows times, encoders and the disk; nothing of devices, or of what is seen and heard.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from threading import Condition, Thread, current_thread
from typing import Any

import av
import cv2
import numpy as np
from av import AudioFrame, Packet, VideoFrame
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import PictureType

from models.container import PYAV_ERRORS
from models.errors import AffectError
from runtime.capture import Frame, Sound

TICKS = 1000  # of a picture's time in a second
KEY = 0.75  # seconds after which a picture becomes a key frame: from 4 a second on they are never 1 s apart
LASTS = 0.2  # seconds that a picture is said to last at most; the time of the next one is what counts
WAITING = 8  # pictures that may wait for the encoder: .3 s, and 50 MB of 1920x1080
WAITING_SOUND = 60.0  # seconds of sound that may wait: 12 MB
PATIENCE = 1.0  # seconds that sound may lie behind the pictures until silence takes its place
APART = 0.06  # seconds between sound and its time from which on it is cut or filled; less is stretched or squeezed away
STRETCH = 0.02  # share by which it is, at most: a third of a half-tone
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz that AAC has
# BT.601, as RGB is converted here.
COLOURS: dict[str, Any] = {"colorspace": 6, "color_primaries": 6, "color_trc": 6, "color_range": 1}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# No look-ahead: a kill would take along the pictures that it holds back. One thread has 1920x1080 done in 13 ms.
X264 = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "threads": "1"}

# Fragments begin with key frames, or after a second where there are none. At the end they get a common index ("hybrid"): an
# ordinary mp4. Pictures do not wait longer than .25 s for sound that belongs before them in the file.
MP4 = {
    "movflags": "hybrid_fragmented+frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": "1000000",
    "max_interleave_delta": "250000",
    "flush_packets": "1",
}


class Recorder:
    """Records into `path`, a new file, until `close`. Second 0 of it is the time of what is given first.

    `size`: width and height of the first picture, into which later ones are scaled; None for a recording without pictures.
    `rate`: samples a second of the file's sound, 48000 where AAC lacks it; None for one without. Given sound may have any.
    Where sound comes first the picture is black until there is one, and where sound is missing there is silence; what the
    file has no track for is passed over. `say` hears from the recorder's thread, once, why it ended before it was closed.
    `dropped` counts pictures left out because the encoder was behind. Killed, the file lacks its last two seconds at most.
    Raises AffectError `exists`, `disk_full`, `no_recording`.
    """

    def __init__(
        self, path: Path, size: tuple[int, int] | None, rate: int | None, say: Callable[[AffectError], None]
    ) -> None:
        self.path, self.say = path, say
        self.movie = Movie(path, size, rate)
        self.fresh = Condition()
        self.waiting: deque[Frame | Sound] = deque()
        self.pictures, self.sounds = 0, 0.0  # of `waiting`: how many, how many seconds
        self.dropped = 0
        self.over = self.failed = False
        self.thread = Thread(target=self.run, name=f"recorder {path.name}", daemon=True)
        self.thread.start()

    @property
    def seconds(self) -> float:
        """Length of what was encoded so far."""
        return self.movie.seconds

    def picture(self, frame: Frame) -> None:
        """Takes a picture at once, or leaves it out when too many wait. It must not be changed afterwards."""
        with self.fresh:
            if self.over:
                return
            if self.pictures >= WAITING:
                self.dropped += 1
                return
            self.pictures += 1
            self.waiting.append(frame)
            self.fresh.notify()

    def sound(self, sound: Sound) -> None:
        """Takes sound at once; only when a minute of it waits it is left out, and silence keeps what follows in step."""
        with self.fresh:
            if self.over or self.sounds >= WAITING_SOUND:
                return
            self.sounds += len(sound.samples) / sound.rate
            self.waiting.append(sound)
            self.fresh.notify()

    def close(self, seconds: float | None = None) -> None:
        """Finishes the file with what waits, and the thread; not longer than some `seconds`: what is written can be read. A
        recording of nothing leaves no file."""
        with self.fresh:
            self.over = True
            self.fresh.notify()
        if current_thread() is not self.thread:  # whom `say` tells may close it
            self.thread.join(seconds)

    def run(self) -> None:
        """The thread."""
        trouble, finished = None, False
        try:
            while (content := self.next()) is not None:
                self.movie.add(content)
            self.movie.finish()
            finished = True
        except PYAV_ERRORS as error:
            trouble = unwritten(self.path, error)
        finally:
            self.failed = not finished
            self.forget()
            self.movie.close()
        if trouble is not None:
            self.say(trouble)

    def next(self) -> Frame | Sound | None:
        """What has waited longest, None when it is over."""
        with self.fresh:
            self.fresh.wait_for(lambda: self.waiting or self.over)
            if not self.waiting:
                return None
            content = self.waiting.popleft()
            if isinstance(content, Frame):
                self.pictures -= 1
            else:
                self.sounds -= len(content.samples) / content.rate
            return content

    def forget(self) -> None:
        """Nothing is taken any more."""
        with self.fresh:
            self.over = True
            self.waiting.clear()


class Movie:
    """The file with its muxer and one track of each kind at most. Raises AffectError `exists`, `disk_full`, `no_recording`."""

    def __init__(self, path: Path, size: tuple[int, int] | None, rate: int | None) -> None:
        self.disk = open_disk(path)
        self.zero: float | None = None
        self.seconds = 0.0
        try:
            self.container = av.open(self.disk, "w", format="mp4", container_options=MP4)
            self.pictures = PictureTrack(self.container, size) if size else None
            self.sounds = SoundTrack(self.container, rate) if rate else None
            self.container.start_encoding()
            self.disk.spill()
        except PYAV_ERRORS as error:
            self.disk.remove()
            raise unwritten(path, error) from error
        self.head = self.disk.end

    def add(self, content: Frame | Sound) -> None:
        """Encodes, and writes what is complete. Raises one of PYAV_ERRORS; the file keeps what it had."""
        if isinstance(content, Sound) and self.sounds:
            start = self.since(content)
            self.mux(self.sounds.encode(start, content.samples, content.rate))
            self.seconds = max(self.seconds, start + len(content.samples) / content.rate)
        elif isinstance(content, Frame) and self.pictures:
            start = self.since(content)
            if self.sounds:
                self.mux(self.sounds.silence(start - PATIENCE))
            self.mux(self.pictures.encode(start, content.picture))
            self.seconds = max(self.seconds, start)

    def since(self, content: Frame | Sound) -> float:
        """Seconds of the file at which something begins; the first thing begins it."""
        if self.zero is None:
            self.zero = content.time
            if self.pictures and isinstance(content, Sound):
                self.mux(self.pictures.black())
        return content.time - self.zero

    def mux(self, packets: list[Packet[Any]]) -> None:
        """Packets into the file, a fragment at a time."""
        for packet in packets:
            self.container.mux(packet)
            self.disk.spill()

    def finish(self) -> None:
        """Drains the encoders and writes the index. Raises one of PYAV_ERRORS."""
        if self.sounds:
            self.mux(self.sounds.silence(self.seconds))
            self.mux(self.sounds.drain())
            self.mux(self.sounds.encoded(None))
        if self.pictures:
            self.mux(self.pictures.stream.encode(None))
        self.container.close()
        self.disk.spill()

    def close(self) -> None:
        """Lets go of the file, with an index where none was written and the disk takes it; without content it is removed."""
        empty = self.zero is None or (self.disk.broken and self.disk.end == self.head)
        with suppress(*PYAV_ERRORS):
            self.container.close()
            self.disk.spill()
        self.disk.file.close()
        if empty:
            self.disk.remove()


class Disk:
    """The file as the muxer sees it: what it writes stays in memory until `spill`, so that no error reaches it, and a
    fragment is on the disk as a whole or not at all. `end`: bytes that are there; `broken`: it takes no more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("xb", buffering=0)
        self.pieces: list[tuple[int, bytes]] = []
        self.place = self.length = self.end = 0
        self.broken = False

    def write(self, data: bytes) -> int:
        """Called by the muxer."""
        self.pieces.append((self.place, data))
        self.place += len(data)
        self.length = max(self.length, self.place)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Called by the muxer, which goes back once: when the index is there, to say so."""
        self.place = (0, self.place, self.length)[whence] + offset
        return self.place

    def tell(self) -> int:
        """Called by the muxer."""
        return self.place

    def spill(self) -> None:
        """Writes what has come, in its order. Raises OSError, after which the file is what it was before."""
        pieces, self.pieces = self.pieces, []
        if self.broken:
            return
        try:
            for place, data in pieces:
                self.put(place, data)
        except OSError:
            self.broken = True
            with suppress(OSError):
                self.file.truncate(self.end)
            raise
        self.end = self.length

    def put(self, place: int, data: bytes) -> None:
        """All of `data` at a place; a disk that is nearly full takes a part first."""
        self.file.seek(place)
        while data:
            data = data[self.file.write(data) :]

    def remove(self) -> None:
        """Closes and removes the file."""
        self.file.close()
        with suppress(OSError):
            self.path.unlink()


class PictureTrack:
    """H.264 with the pictures' own times."""

    def __init__(self, container: OutputContainer, size: tuple[int, int]) -> None:
        self.size = max(2, size[0] - size[0] % 2), max(2, size[1] - size[1] % 2)  # colours come once for 2x2 pixels
        about: dict[str, Any] = {
            "width": self.size[0],
            "height": self.size[1],
            "pix_fmt": "yuv420p",
            "time_base": Fraction(1, TICKS),
        }
        self.stream = container.add_stream("libx264", rate=30, options=X264, **about, **COLOURS)
        self.last = -1  # ticks
        self.key = float("-inf")

    def encode(self, time: float, picture: np.ndarray) -> list[Packet[Any]]:
        """A picture at `time` seconds, uint8 [H, W, 3] RGB; nothing for one that is not later than the one before."""
        ticks = round(time * TICKS)
        if ticks <= self.last:
            return []
        frame = VideoFrame.from_ndarray(fitted(picture, self.size), format="rgb24")
        frame.pts, frame.time_base = ticks, Fraction(1, TICKS)
        if time - self.key >= KEY:
            frame.pict_type, self.key = PictureType.I, time
        packets = self.stream.encode(frame)
        lasts = round(LASTS * TICKS)
        for packet in packets:
            packet.duration = lasts if self.last < 0 else min(ticks - self.last, lasts)
        self.last = ticks
        return packets

    def black(self) -> list[Packet[Any]]:
        """A black picture at 0: a track that begins later would be played from 0 on."""
        return self.encode(0.0, np.zeros((self.size[1], self.size[0], 3), np.uint8))


class SoundTrack:
    """AAC, mono, without gaps from 0 on: sound is stretched, cut or filled up so that it lies at the times given."""

    def __init__(self, container: OutputContainer, rate: int) -> None:
        self.rate = rate if rate in RATES else 48000
        self.stream = container.add_stream("aac", rate=self.rate, layout="mono", bit_rate=2 * self.rate)
        self.count = 0  # samples at `rate` that were encoded
        self.given = 0.0  # seconds up to which sound or silence was given
        self.lane: Lane | None = None

    def encode(self, start: float, samples: np.ndarray, rate: int) -> list[Packet[Any]]:
        """Sound from `start` seconds on, float32 [N]; what lies before `given` is cut away."""
        end = start + len(samples) / rate
        if not len(samples) or end < self.given - APART:
            return []
        packets = self.silence(start) if start > self.given + PATIENCE else []
        packets += self.push(start, samples, rate)
        self.given = max(self.given, end)
        return packets

    def silence(self, until: float) -> list[Packet[Any]]:
        """Silence up to `until` seconds, a second at a time: an hour of it at once is .7 GB."""
        rate = self.lane.rate if self.lane else self.rate
        packets = []
        while (missing := round((until - self.given) * rate)) > 0:
            part = min(missing, rate)
            packets += self.push(self.given, np.zeros(part, np.float32), rate)
            self.given += part / rate
        return packets

    def push(self, start: float, samples: np.ndarray, rate: int) -> list[Packet[Any]]:
        """Samples as they are through a lane for their rate."""
        packets = []
        if self.lane is None or self.lane.rate != rate:
            packets = self.drain()
            self.lane = Lane(rate, self.rate, self.count)
        return packets + self.numbered(self.lane.push(start, samples))

    def drain(self) -> list[Packet[Any]]:
        """What the lane still holds."""
        lane, self.lane = self.lane, None
        return self.numbered(lane.push(0.0, None)) if lane else []

    def numbered(self, frames: list[AudioFrame]) -> list[Packet[Any]]:
        """Frames that follow each other without a gap."""
        packets = []
        for frame in frames:
            frame.pts, frame.time_base = self.count, Fraction(1, self.rate)
            self.count += frame.samples
            packets += self.encoded(frame)
        return packets

    def encoded(self, frame: AudioFrame | None) -> list[Packet[Any]]:
        """Packets without the encoder's run-up, 1024 samples before 0: a fragment's time can't lie there."""
        return [packet for packet in self.stream.encode(frame) if (packet.pts or 0) >= 0]


class Lane:
    """Sound of one rate -> sound of another, in step with the times given: FFmpeg's aresample."""

    def __init__(self, rate: int, out: int, count: int) -> None:
        """`count`: samples at rate `out` that lie before."""
        self.rate = rate
        self.graph = Graph()
        base = Fraction(1, rate)
        self.source = self.graph.add_abuffer(sample_rate=rate, format="fltp", layout="mono", time_base=base)
        first = round(count * rate / out)
        options = f"{out}:async={max(2, round(STRETCH * rate))}:min_hard_comp={APART}:first_pts={first}"
        resampler, self.sink = self.graph.add("aresample", options), self.graph.add("abuffersink")
        self.graph.link_nodes(self.source, resampler, self.sink).configure()

    def push(self, start: float, samples: np.ndarray | None) -> list[AudioFrame]:
        """The frames that float32 [N] from `start` seconds on complete; None drains it."""
        frame = None
        if samples is not None:
            clean = np.clip(np.nan_to_num(samples), -1, 1).astype(np.float32)  # AAC refuses NaN
            frame = AudioFrame.from_ndarray(clean[None], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = self.rate, Fraction(1, self.rate)
            frame.pts = round(start * self.rate)
        self.source.push(frame)
        frames: list[Any] = []
        with suppress(BlockingIOError, EOFError):  # there is no more now, or at all
            while True:
                frames.append(self.sink.pull())
        return frames


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] cut by a pixel where that is all, else scaled into `size` (width, height) with black bars."""
    (height, width), (across, down) = picture.shape[:2], size
    if 0 <= width - across <= 1 and 0 <= height - down <= 1:
        return picture[:down, :across]
    scale = min(across / width, down / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (across - wide) // 2, (down - high) // 2
    framed = np.zeros((down, across, 3), np.uint8)
    framed[top : top + high, left : left + wide] = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA)
    return framed


def open_disk(path: Path) -> Disk:
    """A new file. Raises AffectError `exists`, `disk_full`, `no_recording`."""
    try:
        return Disk(path)
    except OSError as error:
        raise unwritten(path, error) from error


def unwritten(path: Path, error: Exception) -> AffectError:
    """What an error of the disk or of an encoder means to the user."""
    if isinstance(error, FileExistsError):
        return AffectError(f"{path} is there already: no recording is overwritten", "give another name", "exists")
    if getattr(error, "errno", None) in FULL:
        cure = "free some space, then record again"
        return AffectError(f"{path} can't be written: the disk is full", cure, "disk_full")
    reason = getattr(error, "strerror", None) or str(error)
    return AffectError(f"{path} can't be written: {reason}", "record into another folder", "no_recording")
