"""A real sound server: a virtual microphone that is fed, muted, unplugged and plugged in again.

A null sink's monitor is the microphone; `PULSE_SOURCE` has ALSA's plugin take it, whatever the default is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.media import read_clip

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.needs_sound_server


def pactl(*words: str) -> str:
    return subprocess.run(["pactl", *words], check=True, capture_output=True, text=True).stdout.strip()


class Microphone:
    """A virtual microphone that can be unplugged."""

    def __init__(self, rate: int = 48000, channels: int = 2) -> None:
        self.name, self.rate, self.channels = f"affect_{uuid.uuid4().hex[:8]}", rate, channels
        self.plug()

    def plug(self) -> None:
        form = (f"rate={self.rate}", f"channels={self.channels}")
        self.module = pactl("load-module", "module-null-sink", f"sink_name={self.name}", *form)

    def unplug(self) -> None:
        pactl("unload-module", self.module)

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "PULSE_SOURCE": f"{self.name}.monitor"}

    def say(self, path: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["paplay", "--latency-msec=50", f"--device={self.name}", str(path)])


@pytest.fixture
def microphone() -> Iterator[Microphone]:
    made = Microphone()
    yield made
    subprocess.run(["pactl", "unload-module", made.module], capture_output=True)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's sentence as a wav file, with a second of silence before and behind it."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    sound = read_clip(ROOT / "examples" / "grid.mp4", frames=1).waveform
    assert sound is not None
    quiet = np.zeros(16000, np.float32)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes((np.concatenate([quiet, sound, quiet]) * 32767).astype("<i2").tobytes())
    return path


class Live:
    """`affect live` on the virtual microphone, with what it prints as it comes."""

    def __init__(self, microphone: Microphone, *options: str) -> None:
        command = [
            sys.executable,
            "-m",
            "cli.main",
            "live",
            "--yes",
            "--camera",
            "none",
            "--mic",
            "pulse",
            "--format",
            "jsonl",
        ]
        self.process = subprocess.Popen(
            [*command, *options], cwd=ROOT, env=microphone.environ, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.read: list[dict[str, Any]] = []
        self.said: list[str] = []
        for stream, take in ((self.process.stdout, self.record), (self.process.stderr, self.said.append)):
            threading.Thread(target=self.drain, args=(stream, take), daemon=True).start()

    def drain(self, stream: Any, take: Any) -> None:
        for line in stream:
            take(line)

    def record(self, line: str) -> None:
        self.read.append(json.loads(line))

    def wait(self, there: Any, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < end, (self.read, self.said, self.process.poll())
            time.sleep(0.05)

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(10) == 143


def heard(read: list[dict[str, Any]]) -> bool:
    """Whether a whole sentence was read."""
    return any("k7 now" in (record["transcript"] or "").lower() for record in read)


def test_what_is_said_into_the_microphone_is_read(microphone: Microphone, speech: Path) -> None:
    """Words, voice and times, through PortAudio at the device's own rate in stereo."""
    live = Live(microphone)
    time.sleep(3)
    began = time.time()
    microphone.say(speech).wait()
    live.wait(lambda: heard(live.read))
    record = next(record for record in live.read if heard([record]))
    assert record["missing"] == ["visual"] and record["source"].startswith("live camera=none mic=")
    assert began + 0.7 <= record["t_wall"] <= began + 3.0
    assert (
        0.4 <= record["cost"]["first_label_s"] <= 10.0
    )  # from the end of speech; how quick it is says affect bench live
    assert live.said == []
    live.end()


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (96000, 2)])
def test_any_rate_is_heard(rate: int, channels: int, speech: Path) -> None:
    microphone = Microphone(rate, channels)
    try:
        live = Live(microphone)
        time.sleep(3)
        microphone.say(speech).wait()
        live.wait(lambda: any("audio" not in record["missing"] for record in live.read))
        live.end()
    finally:
        microphone.unplug()


def test_a_microphone_that_is_unplugged_and_plugged_in_again(microphone: Microphone, speech: Path) -> None:
    """It says so, goes on, and reads what is said afterwards."""
    live = Live(microphone, "--no-transcript")
    time.sleep(3)
    microphone.say(speech).wait()
    live.wait(lambda: live.read)
    microphone.unplug()
    live.wait(lambda: any("microphone" in line for line in live.said), 40)
    assert live.process.poll() is None
    microphone.plug()
    time.sleep(3)
    before = len(live.read)
    end = time.monotonic() + 60
    while len(live.read) == before:
        assert time.monotonic() < end, live.said
        microphone.say(speech).wait()
    live.end()


def test_a_silent_microphone_is_said(microphone: Microphone) -> None:
    """Zeros alone: muted, or not the one that is meant."""
    live = Live(microphone)
    live.wait(lambda: any("gives no sound at all" in line for line in live.said), 40)
    assert live.read == []
    live.end()


def test_a_microphone_that_is_too_loud_is_said(microphone: Microphone, tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(np.where(np.arange(6 * 16000) // 40 % 2, 32767, -32768).astype("<i2").tobytes())
    live = Live(microphone)
    time.sleep(2)
    microphone.say(path).wait()
    live.wait(lambda: any("too loud" in line for line in live.said))
    live.end()


def test_the_list_names_it(microphone: Microphone) -> None:
    command = [sys.executable, "-m", "cli.main", "live", "--list"]
    done = subprocess.run(command, cwd=ROOT, env=microphone.environ, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert any(
        line.startswith("--mic ") and "Hz" in line and "can be opened" in line for line in done.stdout.splitlines()
    )


def test_a_film_that_ends_ends_the_run_though_a_microphone_goes_on(microphone: Microphone) -> None:
    command = [sys.executable, "-m", "cli.main", "live", "--yes", "--camera", "examples/grid.mp4", "--mic", "pulse"]
    done = subprocess.run(
        [*command, "--format", "jsonl"], cwd=ROOT, env=microphone.environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout
