"""A live session: devices or files, the senses, the reader, what is kept of it. Each works in its own thread and waits for none.

Knows threads and when what begins and ends; nothing of consoles.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Condition, Lock
from typing import Any

import numpy as np

from models.bundle import load_bundle
from models.container import is_file
from models.errors import AffectError
from models.reading import Reading
from runtime.capture import Camera, Frame, Microphone, Sound
from runtime.devices import Device, cameras, find_camera, find_microphone
from runtime.journal import Journal
from runtime.player import Player
from runtime.reader import Reader, Request
from runtime.recorder import Recorder
from runtime.senses import Senses

WINDOW = 10.0  # seconds that a reading looks back at most: what the speech recogniser hears at once
STALE = 1.0  # seconds after which a face that was seen, or a sound's level, is no news
RECORDED_RATE = 48000  # samples a second of a recording's sound: devices are resampled, and may change
COUNTED = 2.0  # seconds that pictures a second are counted in
BREAK = 0.5  # seconds in which the threads end by themselves


@dataclass(frozen=True)
class Wish:
    """What to read, and how. A source is a device's number or name, a file's path, or None for none of its kind."""

    camera: int | str | None = 0
    microphone: int | str | None = ""
    window: float = WINDOW
    every: float | None = None
    loop: bool = False
    seconds: float | None = None
    folder: Path | None = None
    record: bool = False
    bundle: str = "nano"
    device: str = "auto"
    threads: int | None = None
    labels: Sequence[str] | None = None
    transcript: bool = True
    language: str | None = None
    asr_model: Path | None = None


@dataclass(frozen=True)
class Status:
    """What is so now.

    In order: names of the sources; pictures a second; dropped ones; the face's box in shares of width and height; dBFS; whether
    somebody speaks; seconds recorded; seconds from the end of speech to the last first label and to the end of its reading; MB.
    """

    camera: str | None
    microphone: str | None
    state: str
    captured: float
    dropped: int
    face: tuple[float, ...] | None
    level: float | None
    speaking: bool
    recorded: float | None
    first_label: float | None
    whole: float | None
    memory: float
    trouble: AffectError | None
    paused: bool
    muted: bool


class Session:
    """A session from `start` to `stop`. `say` hears, from any thread, ("ready", engine), ("begun", Request), ("labels", ...),
    ("words", ...), ("read", (Reading, record)), ("trouble", AffectError or None), ("failed", AffectError), ("over", None).

    Raises AffectError for what can't begin: a bundle, a file, a folder, PortAudio.
    """

    def __init__(self, wish: Wish, say: Callable[[str, Any], None]) -> None:
        self.wish, self.tell = wish, say
        self.bundle = load_bundle(wish.bundle)
        self.journal: Journal | None = None
        self.zero = time.monotonic()
        self.lock, self.fresh = Lock(), Condition()
        self.newest: Frame | None = None
        self.arrived: deque[float] = deque(maxlen=240)
        self.troubles: dict[str, AffectError] = {}  # never changed but replaced: threads read it
        self.sources: list[Any] = []
        self.playing = 0
        self.recorder: Recorder | None = None
        self.recording = wish.record
        self.paused = self.muted = self.ended = False
        self.first_label: float | None = None
        self.whole: float | None = None
        self.record: dict[str, Any] | None = None  # of the last reading
        self.failure: AffectError | None = None  # why something that was asked for is not there at the end
        self.camera_device: Device | None = None
        self.names: dict[str, str | None] = {"camera": None, "microphone": None}
        self.connect()
        self.journal = Journal(wish.folder) if wish.folder else None
        source = f"live camera={self.names['camera'] or 'none'} mic={self.names['microphone'] or 'none'}"
        options = {
            "video": wish.camera is not None,
            "audio": wish.microphone is not None,
            "transcript": wish.transcript,
            "language": wish.language,
            "labels": wish.labels,
        }
        self.reader = Reader(self.load, source, options, wish.window, self.say)
        self.senses = Senses(self.bundle, wish.window, wish.every, self.zero, self.reader.ask)
        self.senses.idle = lambda: not self.reader.busy
        self.senses.woke = self.woke

    # ------------------------------------------------------------------ beginning

    def connect(self) -> None:
        """Finds what was asked for; one file for both plays on one clock."""
        camera, microphone = self.wish.camera, self.wish.microphone
        if isinstance(camera, str) and camera == microphone:
            self.play(camera, self.take_frame, self.take_sound)
            self.names = {"camera": camera, "microphone": microphone}
            return
        if isinstance(camera, str):
            self.play(camera, self.take_frame, None)
            self.names["camera"] = camera
        elif camera is not None:
            self.film(find_camera(camera))
        if isinstance(microphone, str) and is_path(microphone):
            self.play(microphone, None, self.take_sound)
            self.names["microphone"] = microphone
        elif microphone is not None:
            self.hear(find_microphone(microphone or None))

    def play(self, path: str, frame: Any, sound: Any) -> None:
        """A file as a source."""
        self.sources.append(Player(path, frame, sound, self.source_over, self.wish.loop))
        self.playing += 1

    def film(self, device: Device) -> None:
        """A camera as a source."""
        self.camera_device = device
        self.names["camera"] = f"{device.number} {device.name}".strip()
        self.sources.append(Camera(device.number, self.take_frame, partial(self.note, "camera")))

    def hear(self, device: Device) -> None:
        """A microphone as a source."""
        self.names["microphone"] = f"{device.number} {device.name}".strip()
        self.sources.append(Microphone(device, self.take_sound, partial(self.note, "microphone")))

    def start(self) -> None:
        """Everything begins at once: the picture does not wait for the model."""
        self.zero = self.senses.window.zero = time.monotonic()
        self.senses.start()
        for source in self.sources:
            source.start()
        self.reader.start()
        if self.recording and not self.names["camera"]:
            self.begin_recording(None)

    def load(self) -> Any:
        """The engine, with all that a reading needs; labels that it does not know are refused now."""
        from runtime.engine import Engine

        wish = self.wish
        engine = Engine.load(self.bundle, wish.device, wish.threads, wish.asr_model)
        engine.wanted(wish.labels)
        if wish.transcript and wish.microphone is not None:
            engine.listen()
            if wish.language and engine.speech:
                engine.speech.check_language(wish.language)
        engine.keep(self.senses.memory)
        self.senses.encode = engine.encoders.faces
        return engine

    # ------------------------------------------------------------------ what comes in, from the sources' threads

    def take_frame(self, frame: Frame) -> None:
        """A new picture."""
        if self.paused or self.ended:
            return
        self.arrived.append(frame.time)
        with self.fresh:
            self.newest = frame
            self.fresh.notify_all()
        self.senses.take_frame(frame)
        if self.recording and (recorder := self.recorder or self.begin_recording(frame)):
            recorder.picture(frame)

    def take_sound(self, sound: Sound) -> None:
        """New sound; silence while muted, so that a recording stays in step."""
        if self.paused or self.ended:
            return
        if self.muted:
            sound = Sound(sound.time, np.zeros_like(sound.samples), sound.rate)
        self.senses.take_sound(sound)
        if recorder := self.recorder:
            recorder.sound(sound)

    def source_over(self, trouble: AffectError | None) -> None:
        """A file has ended; when all have, what was not read is read, and the session is over."""
        if trouble is not None:
            self.failure = trouble
            self.note("file", trouble)
        with self.lock:
            self.playing -= 1
            over = self.playing == 0
        if over:
            self.finish()

    def wait_frame(self, seen: Frame | None, timeout: float) -> Frame | None:
        """The newest picture, as soon as there is another one than `seen`; else the same after `timeout` seconds."""
        with self.fresh:
            self.fresh.wait_for(lambda: self.newest is not seen, timeout)
            return self.newest

    # ------------------------------------------------------------------ what comes out, from the reader's thread

    def say(self, kind: str, payload: Any) -> None:
        """Hands on what the reader says; readings get their place in time."""
        if kind == "labels" and self.reader.present:
            self.first_label = time.monotonic() - self.reader.present.occasion.since
        if kind != "read":
            self.tell(kind, payload)
            return
        request, reading = payload
        self.whole = reading.cost.total_s
        self.record = self.recordable(request, reading)
        self.kept(self.record)
        self.tell("read", (reading, self.record))

    def recordable(self, request: Request, reading: Reading) -> dict[str, Any]:
        """The `jsonl` record of a reading with `t_wall`: the Unix time of its `start`."""
        return {"t_wall": round(request.wall, 3), **reading.records()[0]}

    def kept(self, record: dict[str, Any]) -> None:
        """Writes a record; a full disk is said once, and ends nothing."""
        if self.journal is None:
            return
        try:
            self.journal.write(record)
            self.note("folder", None)
        except AffectError as error:
            self.failure = error
            self.note("folder", error)

    def note(self, where: str, error: AffectError | None) -> None:
        """What is wrong with a source or the folder now, None when nothing is."""
        before = self.troubles.get(where)
        self.troubles = {
            **{key: value for key, value in self.troubles.items() if key != where},
            **({where: error} if error else {}),
        }
        if (before and before.code) != (error and error.code):
            self.tell("trouble", (where, error))

    # ------------------------------------------------------------------ recording

    def begin_recording(self, first: Frame | None) -> Recorder | None:
        """A new file, of the size of its first picture; of sound alone where there is no camera."""
        with self.lock:
            if self.recorder is None and self.recording and not self.paused and self.journal is not None:
                size = None if first is None else (first.picture.shape[1], first.picture.shape[0])
                rate = RECORDED_RATE if self.names["microphone"] else None
                try:
                    self.recorder = Recorder(self.journal.free("recording", ".mp4"), size, rate, self.recording_failed)
                    self.note("recording", None)
                except AffectError as error:
                    self.recording_failed(error)
            return self.recorder

    def recording_failed(self, error: AffectError) -> None:
        """A recording that ended by itself."""
        self.recording, self.recorder, self.failure = False, None, error
        self.note("recording", error)

    def record_on(self, on: bool) -> None:
        """Begins or ends a recording. Raises AffectError `no_folder` where nothing may be written."""
        if on and self.journal is None:
            raise AffectError("nothing is written without a folder", "start with -o DIR", "no_folder")
        self.recording = on
        if not on:
            self.close_recording()
        elif not self.names["camera"]:
            self.begin_recording(None)

    def close_recording(self, seconds: float | None = None) -> None:
        """Finishes the file, within some `seconds`."""
        with self.lock:
            recorder, self.recorder = self.recorder, None
        if recorder is not None:
            recorder.close(seconds)

    def snapshot(self) -> str:
        """The picture and the last reading as files; gives their name. Raises AffectError."""
        if self.journal is None:
            raise AffectError("nothing is written without a folder", "start with -o DIR", "no_folder")
        return self.journal.snapshot(self.newest.picture if self.newest else None, self.record)

    # ------------------------------------------------------------------ controls

    def pause(self, on: bool) -> None:
        """While paused nothing is seen, heard, read or recorded: a recording ends there, and another begins behind it."""
        self.paused = on
        self.senses.forget = True
        if on:
            self.reader.forget()
            self.close_recording()
        elif self.recording and not self.names["camera"]:
            self.begin_recording(None)

    def mute(self, on: bool) -> None:
        """While muted nothing is heard."""
        self.muted = on

    def next_camera(self) -> str:
        """Takes the next camera; gives its name. Raises AffectError `no_camera`."""
        if self.camera_device is None:
            words = "a file is played as the camera" if self.names["camera"] else "no camera is open"
            raise AffectError(words, "start with --camera N", "no_camera")
        there = cameras(probe=False)
        later = [device for device in there if device.number > self.camera_device.number] or there
        if not later or later[0].number == self.camera_device.number:
            raise AffectError("there is no other camera", "plug one in", "no_camera")
        for source in self.sources:
            if isinstance(source, Camera):
                source.stop()
        self.sources = [source for source in self.sources if not isinstance(source, Camera)]
        self.note("camera", None)
        self.film(later[0])
        self.sources[-1].start()
        return self.names["camera"] or ""

    def check(self) -> None:
        """Looks after what says nothing by itself: a camera without pictures."""
        for source in self.sources:
            if isinstance(source, Camera):
                source.check()

    def woke(self, seconds: float) -> None:
        """The machine has slept, or the program was stopped."""
        words = f"{seconds:.0f} s were slept through: what was seen and heard before is forgotten"
        self.tell("trouble", ("clock", AffectError(words, "", "slept")))

    # ------------------------------------------------------------------ ending

    def finish(self) -> None:
        """Nothing more is taken; what was not read yet is read. ("over", None) is said after the last reading."""
        with self.lock:
            already, self.ended = self.ended, True
        if already:
            return
        for source in self.sources:
            source.stop()
        self.senses.finish()
        self.senses.thread.join()
        self.reader.finish()

    def stop(self, seconds: float = BREAK) -> bool:
        """Ends everything at once; False when a thread is still in a call that can't be interrupted after some `seconds`."""
        self.ended = True
        for source in self.sources:
            source.stop()
        self.senses.finish()
        self.reader.stop()
        self.recording = False
        self.close_recording(seconds)
        until = time.monotonic() + seconds
        threads = [*(source.thread for source in self.sources), self.senses.thread, self.reader.thread]
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        if self.journal is not None:
            self.journal.close()
        return not any(thread.is_alive() for thread in threads)

    # ------------------------------------------------------------------ what is so now

    def status(self) -> Status:
        """A picture of the session for whoever shows it."""
        recorder, ears = self.recorder, self.names["microphone"] is not None and "microphone" not in self.troubles
        return Status(
            camera=self.names["camera"],
            microphone=self.names["microphone"],
            state=self.state(),
            captured=self.rate(),
            dropped=self.dropped(recorder),
            face=self.senses.box if self.paused or self.face_there else None,
            level=self.senses.level if ears and not self.paused else None,
            speaking=self.senses.speaking,
            recorded=recorder.seconds if recorder and not recorder.failed else None,
            first_label=self.first_label,
            whole=self.whole,
            memory=resident_memory(),
            trouble=next(iter(self.troubles.values()), None),
            paused=self.paused,
            muted=self.muted,
        )

    def state(self) -> str:
        """In words what it does now."""
        if self.paused:
            return "paused"
        if self.reader.engine is None:
            return "loading the model"
        if self.reader.busy:
            return "reading"
        if self.senses.speaking:
            return "hearing speech"
        return "watching" if self.face_there else "nobody there"

    @property
    def face_there(self) -> bool:
        """Whether a face was seen just now."""
        return self.senses.face is not None and time.monotonic() - self.senses.looked_at < STALE

    @property
    def nobody(self) -> bool:
        """Whether there is nothing to look at: no face, no voice, nothing being read."""
        return not self.face_there and not self.senses.speaking and not self.reader.busy

    def dropped(self, recorder: Recorder | None) -> int:
        """What came too late: pictures of files, pieces of sound, requests, pictures that were not recorded."""
        late = sum(source.dropped for source in self.sources if isinstance(source, Player))
        return late + self.senses.dropped + self.reader.replaced + (recorder.dropped if recorder else 0)

    def rate(self) -> float:
        """Pictures a second that came lately."""
        now = time.monotonic()
        return sum(now - when <= COUNTED for when in list(self.arrived)) / COUNTED


PATH = re.compile(r"[/\\]|\.\w{2,4}$")


def is_path(source: str) -> bool:
    """Whether a source is a file: one that is there, or whose name has a folder or an ending as files have."""
    return bool(PATH.search(source)) or is_file(Path(source))


def resident_memory() -> float:
    """MB of this process in memory now; the peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        from runtime.engine import peak_memory

        return peak_memory()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
