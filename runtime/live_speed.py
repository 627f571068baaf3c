"""`affect bench live`: the live program watched from outside, as a person at the terminal would see it.

Each run is `affect live` itself in a pseudo-terminal, with files as camera and microphone. Frames are counted as they reach the
terminal, memory and threads are what the system says of the process. Knows processes and clocks; nothing of models.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import av
import numpy as np

from models.errors import AffectError
from runtime.player import length
from runtime.speed import Timing, affect, write_sound

SCREEN = (50, 160)  # rows and columns
PICTURE, DONE = "▀".encode(), b"\x1b[?2026l"
READY = re.compile(rb"\d threads?")  # stands on the screen as soon as the model is loaded
RATE = re.compile(rb"(\d+) of +\d+ frames/s")
MARKS = 8  # places of a mark that moves from picture to picture
SETTLED = 60.0  # seconds after which memory should not grow any more
TAIL = 1 << 17  # bytes of what was drawn that are kept: the line with the rate is seldom drawn again


@dataclass
class Watched:
    """A running `affect live`: when pictures reached the terminal, (seconds, MB, threads, handles) each second, records."""

    process: subprocess.Popen[bytes]
    screen: int
    began: float
    pictures: list[float] = field(default_factory=list)
    ready: float | None = None
    states: list[tuple[float, float, int, int]] = field(default_factory=list)
    tail: bytes = b""
    part: bytes = b""  # of an update that is not whole yet

    def watch(self) -> None:
        """The thread: reads what is drawn until the program ends."""
        while (piece := read_some(self.screen)) is not None:
            now = time.monotonic()
            self.pictures += [now] * self.whole_pictures(piece)
            self.tail = (self.tail + piece)[-TAIL:]
            if self.ready is None and READY.search(self.tail):
                self.ready = now
            if not self.states or now - self.began - self.states[-1][0] >= 1.0:
                self.states.append((now - self.began, *footprint(self.process.pid)))

    def whole_pictures(self, piece: bytes) -> int:
        """How many pictures a piece of output completes: the program says where each update ends."""
        *whole, self.part = (self.part + piece).split(DONE)
        return sum(PICTURE in update for update in whole)

    def wait_ready(self) -> None:
        """Until the model is loaded. Raises AffectError `too_slow`."""
        wait(lambda: self.ready or self.process.poll() is not None, 60, "loading")
        if not self.ready:
            raise AffectError("affect live ended at once", "run it by hand to see why", "ended")

    def press(self, key: str) -> None:
        """A key."""
        os.write(self.screen, key.encode())

    def shown(self) -> float:
        """Pictures a second by the screen's own words: of a picture that does not change nothing is sent."""
        said = RATE.findall(self.tail)
        return float(said[-1]) if said else 0.0

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_some(screen: int) -> bytes | None:
    """What was drawn, b"" when nothing was for a second, None at the end."""
    if not select.select([screen], [], [], 1.0)[0]:
        return b""
    try:
        return os.read(screen, 1 << 16) or None
    except OSError:  # Linux's way to say that the other side is closed
        return None


def footprint(process: int) -> tuple[float, int, int]:
    """MB in memory, threads and open handles of a process; nothing of one that has ended."""
    folder = Path(f"/proc/{process}")
    try:
        memory = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        return memory, len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir()))
    except (OSError, IndexError):
        return 0.0, 0, 0


@contextmanager
def watched(*options: str) -> Iterator[Watched]:
    """`affect live` with options in a pseudo-terminal of its own. Raises AffectError where the system has none."""
    if not Path("/proc/self/statm").is_file():
        raise AffectError("affect bench live reads /proc, which this system lacks", "run it on Linux", "not_here")
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *SCREEN, 0, 0))
    environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environ.pop("NO_COLOR", None)
    began = time.monotonic()
    process = subprocess.Popen(
        [*affect(), "live", "--yes", *options],
        stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environ, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = Watched(process, ours, began)
    reading = Thread(target=seen.watch, daemon=True)
    reading.start()
    try:
        yield seen
    finally:
        process.kill()
        process.wait()
        reading.join(2.0)
        os.close(ours)


def wait(until: Callable[[], Any], seconds: float, what: str) -> None:
    """Waits. Raises AffectError `too_slow`."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise AffectError(f"{what} took more than {seconds:.0f} s", "", "too_slow")
        time.sleep(0.02)


def records(folder: Path) -> list[dict[str, Any]]:
    """What was read so far."""
    file = folder / "readings.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


# ---------------------------------------------------------------------- rows


def measure(
    example: Path, bundle: str, device: str, minutes: float, plot: Path | None, tick: Callable[[str], None]
) -> Iterator[Timing]:
    """The rows, one by one."""
    with tempfile.TemporaryDirectory() as name:
        clip = str(marked(example, Path(name) / "clip.mp4"))
        both = ("--camera", clip, "--mic", clip, "--loop", "--bundle", bundle, "--device", device)
        yield from rows(both, bundle, device, minutes, plot, tick)


def marked(example: Path, clip: Path) -> Path:
    """The example with a mark that moves with each picture: of what stands still nothing is sent to the terminal."""
    with av.open(str(example)) as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        rate, seconds = file.streams.video[0].average_rate or 25, float((file.duration or 0) / 1e6)
    height, width = pictures[0].shape[0] // 2 * 2, pictures[0].shape[1] // 2 * 2
    with av.open(str(clip), "w") as out:
        film = out.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "ultrafast"})
        film.width, film.height, film.pix_fmt = width, height, "yuv420p"
        sound = out.add_stream("aac", rate=16000)
        for number, picture in enumerate(pictures):
            at = number % MARKS * width // MARKS
            picture[: height // 10, :] = 0
            picture[: height // 10, at : at + width // MARKS] = 255
            out.mux(
                film.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width], np.uint8), "rgb24")
                )
            )
        out.mux(film.encode(None))
        write_sound(example, out, sound, seconds)
    return clip


def rows(
    both: Sequence[str], bundle: str, device: str, minutes: float, plot: Path | None, tick: Callable[[str], None]
) -> Iterator[Timing]:
    """The rows of a clip as camera and microphone."""
    tick("preview and readings")
    yield from reading_rows(both, ())
    tick("readings without words")
    yield from reading_rows(both, ("--no-transcript",))
    tick("readings by the clock")
    yield from clock_rows(both, device)
    tick("nobody there")
    yield from idle_rows(bundle, device)
    tick("quit")
    yield from quit_rows(both)
    if minutes:
        yield from long_rows(both, minutes, plot, tick)


def reading_rows(both: Sequence[str], options: Sequence[str]) -> Iterator[Timing]:
    """A minute or so of speech: the picture's pace while the model reads, and how long labels take."""
    words = not options
    with tempfile.TemporaryDirectory() as name, watched(*both, *options, "-o", name) as seen:
        folder = Path(name)
        seen.wait_ready()
        arrived: list[tuple[float, dict[str, Any]]] = []
        end = time.monotonic() + 45
        while time.monotonic() < end:
            new = records(folder)[len(arrived) :]
            arrived += [(time.monotonic(), record) for record in new]
            time.sleep(0.02)
    spoken = [record for _, record in arrived[2:] if "audio" not in record["missing"]]
    if not spoken:
        raise AffectError("nothing was read", "give a clip of somebody who speaks, with pauses", "no_speech")
    if words:
        if not seen.pictures:
            raise AffectError("no picture was shown", "give a clip with a picture", "no_streams")
        yield Timing("start to first picture", seen.pictures[0] - seen.began, 1.0)
        yield Timing("start to ready", (seen.ready or 0.0) - seen.began, 6.0)
        yield from preview(seen.pictures, [(at - record["cost"]["total_s"], at) for at, record in arrived[2:]])
    kind = "with ASR" if words else "no words"
    yield Timing(
        f"end of speech to label, {kind}", median(r["cost"]["first_label_s"] for r in spoken), 2.0 if words else 1.0
    )
    yield Timing(f"end of speech to end, {kind}", median(r["cost"]["total_s"] for r in spoken))


def preview(pictures: Sequence[float], readings: Sequence[tuple[float, float]]) -> Iterator[Timing]:
    """Pictures a second, and the longest gap, within the readings."""
    times = np.array(pictures)
    counts = [np.count_nonzero((times >= start) & (times <= end)) for start, end in readings]
    gaps = [gap for start, end in readings for gap in np.diff(times[(times >= start - 0.3) & (times <= end + 0.3)])]
    yield Timing(
        "preview while reading", sum(counts) / sum(end - start for start, end in readings), 15.0, "frames/s", more=True
    )
    yield Timing("longest gap of the preview", max(gaps, default=9.9), 0.25)


def clock_rows(both: Sequence[str], device: str) -> Iterator[Timing]:
    """Readings every two seconds: from the closing of the window to the label."""
    with tempfile.TemporaryDirectory() as name, watched(*both, "--no-transcript", "--every", "2", "-o", name) as seen:
        seen.wait_ready()
        wait(lambda: len(records(Path(name))) >= 12, 90, "twelve readings")
        costs = [record["cost"]["first_label_s"] for record in records(Path(name))[2:]]
    yield Timing("window closed to label", median(costs), 0.25 if device == "cuda" else None)


def idle_rows(bundle: str, device: str) -> Iterator[Timing]:
    """An empty room and silence: cores in use, pictures a second."""
    with tempfile.TemporaryDirectory() as name:
        room = empty_room(Path(name) / "room.mp4")
        with watched(
            "--camera", str(room), "--mic", str(room), "--loop", "--bundle", bundle, "--device", device
        ) as seen:
            seen.wait_ready()
            time.sleep(5)
            began, used = time.monotonic(), seen.cpu()
            time.sleep(20)
            spent = time.monotonic() - began
            yield Timing("nobody there", (seen.cpu() - used) / spent, 0.5, "cores")
            yield Timing("preview with nobody there", seen.shown(), None, "frames/s")


def empty_room(path: Path, seconds: float = 10.0, rate: int = 25) -> Path:
    """A film of 640 x 480 noise around a grey wall, and of silence."""
    chance = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        film, sound = (
            out.add_stream("libx264", rate=rate, options={"preset": "ultrafast"}),
            out.add_stream("aac", rate=16000),
        )
        film.width, film.height, film.pix_fmt = 640, 480, "yuv420p"
        for _ in range(round(seconds * rate)):
            picture = np.clip(chance.normal(110, 4, (480, 640, 3)), 0, 255).astype(np.uint8)
            out.mux(film.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(film.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, round(seconds * 16000)), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    return path


def quit_rows(both: Sequence[str]) -> Iterator[Timing]:
    """From q, and from SIGTERM, to the end of the process, in the middle of work."""
    for name, end in (("q to the end", lambda seen: seen.press("q")), ("SIGTERM to the end", terminate)):
        taken = []
        for pause in (0.3, 1.1, 1.9):
            with watched(*both) as seen:
                seen.wait_ready()
                time.sleep(pause)
                began = time.monotonic()
                end(seen)
                seen.process.wait(10)
                taken.append(time.monotonic() - began)
        yield Timing(name, max(taken), 1.0)


def terminate(seen: Watched) -> None:
    """What a system that shuts down sends."""
    seen.process.send_signal(signal.SIGTERM)


def long_rows(both: Sequence[str], minutes: float, plot: Path | None, tick: Callable[[str], None]) -> Iterator[Timing]:
    """A long run: memory, threads, handles, and how far the readings' times are off the loop's."""
    with tempfile.TemporaryDirectory() as name, watched(*both, "-o", name) as seen:
        for left in range(round(minutes * 60), 0, -1):
            tick(f"long run, {left} s left")
            time.sleep(1.0)
        read = records(Path(name))
        states = np.array([state for state in seen.states if state[0] >= min(SETTLED, minutes * 20)])
    part = max(1, len(states) // 10)
    yield Timing(
        "memory that it grows by", float(np.median(states[-part:, 1]) - np.median(states[:part, 1])), 50.0, "MB"
    )
    yield Timing("memory", float(states[:, 1].max()), None, "MB")
    yield Timing("threads more at the end", float(states[-part:, 2].min() - states[:part, 2].max()), 0.0, "")
    yield Timing("handles more at the end", float(states[-part:, 3].min() - states[:part, 3].max()), 0.0, "")
    yield Timing("drift of the clock", drift(read, Path(both[1])) * 1000, 100.0, "ms")
    yield Timing("readings", float(len(read)), None, "")
    if plot is not None:
        draw(np.array(seen.states), plot)


def drift(read: Sequence[dict[str, Any]], example: Path) -> float:
    """Seconds by which the last utterance starts earlier or later than so many whole rounds after the first."""
    starts = np.array([record["start"] for record in read[2:] if "audio" not in record["missing"]])
    if not len(starts):
        raise AffectError("nothing was read", "give a clip of somebody who speaks, with pauses", "no_speech")
    late = starts - starts[0] - np.round((starts - starts[0]) / length(str(example))) * length(str(example))
    half = max(1, len(late) // 4)
    return float(abs(np.median(late[-half:]) - np.median(late[:half])))


def draw(states: np.ndarray, path: Path) -> None:
    """Memory over time as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.plot(states[:, 0] / 60, states[:, 1])
    axes.set(xlabel="minutes", ylabel="resident memory, MB", title="affect live on a loop", ylim=(0, None))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
