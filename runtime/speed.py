"""`affect bench speed`: how long a reading takes on this machine, medians, with the bars of a two-core laptop.

The clip is made by looping a given one. Knows the engine and files; nothing of consoles.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from statistics import median

import av

from runtime.engine import Engine

WORDS = "I am so glad that you came, really, I can't believe that you did this for me!"
RUNS = 5


@dataclass(frozen=True)
class Timing:
    """One row: what was measured, its median, the bar (None where there is none), the unit, whether more is better."""

    name: str
    value: float
    bar: float | None = None
    unit: str = "s"
    more: bool = False

    def line(self) -> str:
        """The row as it is printed."""
        said = ""
        if self.bar is not None:
            reached = self.value >= self.bar if self.more else self.value <= self.bar
            said = f"{'>=' if self.more else '<='} {self.bar:g} {self.unit:9} {'reached' if reached else 'MISSED'}"
        return f"{self.name:34}{self.value:>9.2f} {self.unit:9}{said}".rstrip()


def loop(source: Path, target: Path, seconds: float) -> None:
    """Writes `target`: the clip again and again, H.264 and AAC, for `seconds`."""
    with av.open(str(source)) as first, av.open(str(target), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "23", "preset": "ultrafast", "g": "125"})
        sound = out.add_stream("aac", rate=16000)
        frames = [frame.reformat(format="yuv420p") for frame in first.decode(video=0)]
        video.width, video.height, video.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for number in range(round(seconds * 25)):
            frame = frames[number % len(frames)]
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        write_sound(source, out, sound, seconds)


def repeat(source: Path, target: Path, times: int) -> None:
    """Writes `target`: the packets of `source` again and again, nothing decoded, so that hours are made in seconds."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in clip.streams}
        packets = [Placed(packet) for packet in clip.demux() if packet.dts is not None]
        length = max(p.end for p in packets) - min(p.start for p in packets)
        for number in range(times):
            for packet in packets:
                out.mux(packet.later(number * length, streams[packet.stream]))


class Placed:
    """A packet's bytes and times, so that it can be written more than once."""

    def __init__(self, packet: av.Packet) -> None:
        if packet.pts is None or packet.dts is None or packet.time_base is None:
            raise ValueError("a packet without times")
        self.data, self.key, self.stream = bytes(packet), packet.is_keyframe, packet.stream.index
        self.pts, self.dts, self.base, self.duration = packet.pts, packet.dts, packet.time_base, packet.duration or 0

    @property
    def start(self) -> Fraction:
        """Seconds."""
        return self.dts * self.base

    @property
    def end(self) -> Fraction:
        """Seconds."""
        return (self.dts + self.duration) * self.base

    def later(self, seconds: Fraction, stream: av.stream.Stream) -> av.Packet:
        """The packet for `stream`, so many seconds later."""
        packet, shift = av.Packet(self.data), ceil(seconds / self.base)
        packet.pts, packet.dts, packet.duration = self.pts + shift, self.dts + shift, self.duration
        packet.time_base, packet.is_keyframe, packet.stream = self.base, self.key, stream
        return packet


def write_sound(
    source: Path, out: av.container.OutputContainer, stream: av.audio.stream.AudioStream, seconds: float
) -> None:
    """The clip's sound, looped."""
    at = 0
    for frame in sound_again_and_again(source):
        if at >= seconds * 16000:
            break
        frame.pts, frame.time_base = at, Fraction(1, 16000)
        at += frame.samples
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def sound_again_and_again(source: Path) -> Iterator[av.AudioFrame]:
    """16 kHz mono frames of the clip, without end."""
    while True:
        with av.open(str(source)) as again:
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=16000)
            for heard in again.decode(audio=0):
                yield from resampler.resample(heard)


def machine() -> str:
    """Processor, cores, system, versions."""
    names = [line.split(":", 1)[1].strip() for line in cpu_lines() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = names[0] if names else platform.processor()
    return f"{processor}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def cpu_lines() -> list[str]:
    """What Linux says of the processor."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def measure(
    example: Path, bundle: str, threads: int | None, hours: bool, tick: Callable[[str], None]
) -> Iterator[Timing]:
    """The rows, one by one."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "ten.mp4"
        loop(example, clip, 10.0)
        tick("engine, words given")
        engine = Engine.load(bundle, device="cpu", threads=threads)
        yield from warm(engine, clip, "words given", 2.0, 0.8, text=WORDS)
        tick("engine, speech recognised")
        yield from warm(engine, clip, "with ASR", 3.0, 1.8)
        yield Timing("peak memory, with ASR", engine.read(clip).cost.peak_rss_mb, 1200, "MB")
        tick("cold process")
        yield Timing("cold process, words given", median(cold(clip, bundle) for _ in range(RUNS)), 5.0)
        yield Timing("affect --help", median(seconds([*affect(), "--help"]) for _ in range(RUNS)), 0.45)
        if hours:
            tick("two hours")
            yield from long_file(engine, clip, Path(folder))


def warm(
    engine: Engine, clip: Path, name: str, whole: float, first: float, text: str | None = None
) -> Iterator[Timing]:
    """Whole reading and first label of a loaded engine."""
    engine.read(clip, text=text)
    costs = [engine.read(clip, text=text).cost for _ in range(RUNS)]
    yield Timing(f"{name}: whole reading", median(cost.total_s for cost in costs), whole)
    yield Timing(f"{name}: first label", median(cost.first_label_s for cost in costs), first)
    yield Timing(f"{name}: decoding", median(cost.tokens_per_s for cost in costs), None, "tokens/s")


def long_file(engine: Engine, clip: Path, folder: Path) -> Iterator[Timing]:
    """A two-hour file, made of a 10-s clip, with ASR off, and what it does to memory."""
    film = folder / "film.mp4"
    repeat(clip, film, 720)
    before = engine.read(clip, transcript=False).cost.peak_rss_mb
    spent = engine.read(film, transcript=False).cost
    yield Timing("2-hour file, no ASR", spent.total_s, 20.0)
    yield Timing("memory that it adds", spent.peak_rss_mb - before, 100.0, "MB")


def affect() -> list[str]:
    """The command line program, by this Python."""
    return [sys.executable, "-m", "cli.main"]


def cold(clip: Path, bundle: str) -> float:
    """Seconds of a whole process."""
    return seconds([*affect(), "analyze", str(clip), "--text", WORDS, "--bundle", bundle, "--format", "json"])


def seconds(command: list[str]) -> float:
    """Wall time of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
