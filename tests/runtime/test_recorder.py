"""runtime/recorder.py: picture and sound in step whatever the clocks do, and a file that is readable whatever goes wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from models.errors import AffectError
from models.media import read_clip
from runtime import recorder
from runtime.capture import Frame, Sound
from runtime.recorder import Recorder

ROOT = Path(__file__).parents[2]
RATE = 48000
IN_STEP = 0.08  # seconds
SIZE = (64, 48)
DARK, WHITE = np.full((48, 64, 3), 30, np.uint8), np.full((48, 64, 3), 255, np.uint8)


def refuse(error: AffectError) -> None:
    raise AssertionError(error)


def frames(seconds: float, flashes: tuple[float, ...] = (), begin: float = 0.0) -> Iterator[Frame]:
    """Pictures 5 to 20 a second, a white one exactly at each flash."""
    steps = np.random.default_rng(1).uniform(0.05, 0.2, int(20 * seconds))
    times = sorted({*flashes, *(begin + np.cumsum(steps) - steps[0])})
    return (Frame(at, WHITE if at in flashes else DARK) for at in times if at < seconds)


def sounds(
    seconds: float, beeps: tuple[float, ...] = (), rate: int = RATE, drift: float = 0.0, begin: float = 0.0
) -> Iterator[Sound]:
    """Blocks of 20 ms from a microphone whose clock is off by `drift`, with a tone of .1 s at each beep."""
    count, true = rate // 50, rate * (1 + drift)
    for number in range(int((seconds - begin) * true / count)):
        taken = begin + np.arange(number * count, (number + 1) * count) / true
        tone = sum((taken >= beep) & (taken < beep + 0.1) for beep in beeps) * np.sin(taken * 6000)
        yield Sound(taken[0], (0.8 * tone).astype(np.float32) + np.zeros(count, np.float32), rate)


def ready(content: Frame | Sound) -> float:
    """When a device hands it over."""
    return content.time if isinstance(content, Frame) else content.end


def give(made: Recorder, content: Frame | Sound) -> None:
    made.picture(content) if isinstance(content, Frame) else made.sound(content)


def feed(made: Recorder, contents: Any) -> None:
    """Faster than real time, but no faster than the encoder."""
    for content in sorted(contents, key=ready):
        give(made, content)
        while len(made.waiting) > recorder.WAITING // 2:
            time.sleep(0.001)


def record(path: Path, contents: Any, size: tuple[int, int] | None = SIZE, rate: int | None = RATE) -> Recorder:
    made = Recorder(path, size, rate, refuse)
    feed(made, contents)
    made.close()
    assert made.dropped == 0 and not made.failed
    return made


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.time or 0.0, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def wave(path: Path) -> np.ndarray:
    """All samples, whose times must follow each other from 0 without a gap."""
    with av.open(str(path)) as container:
        heard = [(frame.time or 0.0, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    starts = np.cumsum([0, *(len(samples) for _, samples in heard[:-1])]) / RATE
    assert np.allclose(starts, [at for at, _ in heard], atol=1e-3)
    return np.concatenate([samples for _, samples in heard])


def seen(path: Path) -> list[float]:
    """When there were flashes."""
    return [at for at, picture in pictures(path) if picture.mean() > 150]


def heard(path: Path, rate: int = RATE) -> list[float]:
    """When tones began."""
    loud = np.flatnonzero(np.abs(wave(path)) > 0.3) / rate
    return [float(at) for at, before in zip(loud, [-1.0, *loud], strict=False) if at - before > 0.05]


def length(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / 1e6


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environ, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------------- in step


@pytest.mark.parametrize("drift", [0.01, -0.01])
def test_picture_and_sound_stay_in_step_with_a_microphone_whose_clock_is_off(tmp_path: Path, drift: float) -> None:
    """A minute at 1 % would put them .6 s apart; 100 ppm over half an hour .18 s."""
    marks = (1.0, 30.0, 58.5)
    path = tmp_path / "a.mp4"
    record(path, [*frames(60, marks), *sounds(60, marks, drift=drift)])
    assert seen(path) == pytest.approx(marks, abs=0.002)
    assert heard(path) == pytest.approx(marks, abs=IN_STEP / 4)
    assert length(path) == pytest.approx(60, abs=0.3)


def test_an_unplugged_microphone_leaves_silence_of_its_length(tmp_path: Path) -> None:
    """The one that is plugged in then has another rate."""
    marks = (1.0, 10.0)
    before = sounds(3, marks)
    after = sounds(12, marks, rate=16000, begin=8.0)
    path = tmp_path / "a.mp4"
    record(path, [*frames(12, marks), *before, *after])
    assert seen(path) == pytest.approx(marks, abs=0.002)
    assert heard(path) == pytest.approx(marks, abs=IN_STEP / 4)
    assert np.abs(wave(path)[4 * RATE : 7 * RATE]).max() < 1e-3


def test_lost_blocks_are_filled_up(tmp_path: Path) -> None:
    """Some are a gap, few are stretched away: what comes at once behind either is in step."""
    marks = (1.0, 3.52, 5.12, 6.5)
    kept = [block for block in sounds(8, marks) if not 2.99 < block.time < 3.5 and not 5.01 < block.time < 5.09]
    path = tmp_path / "a.mp4"
    record(path, [*frames(8, marks), *kept])
    assert heard(path) == pytest.approx(marks, abs=IN_STEP / 4)


def test_a_recording_is_in_step_before_it_is_closed(tmp_path: Path) -> None:
    """It then lacks the index that could say when a track begins; the microphone is gone from 5 s on."""
    path, half = tmp_path / "a.mp4", tmp_path / "half.mp4"
    made = Recorder(path, SIZE, RATE, refuse)
    feed(made, [*frames(10, (3.0,)), *sounds(5, (3.0,))])
    while made.waiting:
        time.sleep(0.01)
    half.write_bytes(path.read_bytes())
    made.close()
    assert seen(half) == seen(path) == pytest.approx([3.0], abs=0.002)
    assert heard(half) == heard(path) == pytest.approx([3.0], abs=0.005)
    assert pictures(half)[-1][0] > 8 and len(wave(half)) / RATE > 7


def test_sound_that_begins_late_is_preceded_by_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    record(path, [*frames(6, (5.0,)), *sounds(6, (5.0,), begin=3.0)])
    assert seen(path) == pytest.approx([5.0], abs=0.002)
    assert heard(path) == pytest.approx([5.0], abs=IN_STEP / 4)


def test_a_picture_that_begins_late_is_preceded_by_black(tmp_path: Path) -> None:
    """A track that begins later than the other would be played from 0 on by some players."""
    path = tmp_path / "a.mp4"
    record(path, [*frames(6, (5.0,), begin=3.0), *sounds(6, (5.0,))])
    assert seen(path) == pytest.approx([5.0], abs=0.021)  # second 0 is when the first block began, at most
    assert heard(path) == pytest.approx([5.0], abs=IN_STEP / 4)
    assert pictures(path)[0][0] == 0 and pictures(path)[0][1].max() < 5


def test_times_that_go_back_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    made = Recorder(path, SIZE, RATE, refuse)
    for at in (100.0, 100.1, 99.0, 100.1, 100.05, 100.2):
        made.picture(Frame(at, DARK))
    for at in (100.0, 100.1, 99.0, 0.0, 100.2):
        made.sound(Sound(at, np.full(RATE // 10, 0.1, np.float32), RATE))
    made.close()
    assert not made.failed
    assert [at for at, _ in pictures(path)] == pytest.approx([0, 0.1, 0.2], abs=0.001)
    assert len(wave(path)) / RATE == pytest.approx(0.3, abs=0.03)


def test_samples_that_no_microphone_should_give_do_no_harm(tmp_path: Path) -> None:
    """AAC refuses NaN."""
    path = tmp_path / "a.mp4"
    strange = np.array([np.nan, np.inf, -np.inf, 9.0] * 2400, np.float32)
    record(path, [*frames(2), *sounds(1), Sound(1.0, strange, RATE), Sound(1.2, np.zeros(0, np.float32), RATE)])
    assert np.isfinite(wave(path)).all()


# ---------------------------------------------------------------------- what it is a recording of


def test_the_picture_keeps_its_colours_and_has_a_key_frame_every_second(tmp_path: Path) -> None:
    path, orange = tmp_path / "a.mp4", np.full((48, 64, 3), (200, 120, 40), np.uint8)
    record(path, [Frame(frame.time, orange) for frame in frames(10)], rate=None)
    assert np.abs(pictures(path)[5][1].astype(int) - (200, 120, 40)).max() < 6
    with av.open(str(path)) as container:
        assert (
            container.streams.video[0].codec_context.colorspace == 6
        )  # players would guess another for large pictures
        keys = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.is_keyframe]
    assert keys[0] == 0 and max(np.diff([*keys, 10.0])) <= 1.0


@pytest.mark.parametrize("size", [(65, 49), (1, 1), (63, 480)])
def test_any_size_can_be_recorded(tmp_path: Path, size: tuple[int, int]) -> None:
    path, picture = tmp_path / "a.mp4", np.full((size[1], size[0], 3), 200, np.uint8)
    record(path, [Frame(frame.time, picture) for frame in frames(2)], size, None)
    found = pictures(path)[-1][1]
    assert abs(found.shape[1] - size[0]) <= 1 and abs(found.shape[0] - size[1]) <= 1
    assert np.abs(found.astype(int) - 200).max() < 6


def test_another_cameras_picture_is_scaled_with_bars(tmp_path: Path) -> None:
    """Its square stays a square."""
    path, other = tmp_path / "a.mp4", np.full((100, 400, 3), 60, np.uint8)
    other[20:80, 170:230] = 255
    record(path, [*(Frame(at / 10, DARK) for at in range(10)), *(Frame(at / 10, other) for at in range(10, 20))])
    found = pictures(path)[-1][1].mean(2)
    assert found.shape == (48, 64)
    assert found[:14].max() < 20 and found[-14:].max() < 20
    rows, columns = np.nonzero(found > 150)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1.5)


def test_a_recording_without_a_microphone(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    made = record(path, [*frames(5), *sounds(5)], rate=None)
    clip = read_clip(path, frames=8)
    assert len(clip.frames) == 8 and clip.waveform is None and clip.notes == ()
    assert made.seconds == pytest.approx(clip.duration, abs=0.25) == pytest.approx(5, abs=0.3)


def test_the_last_picture_lasts_as_long_as_the_others(tmp_path: Path) -> None:
    record(tmp_path / "a.mp4", [Frame(number / 10, DARK) for number in range(20)], rate=None)
    assert length(tmp_path / "a.mp4") == pytest.approx(2.0, abs=0.001)


def test_a_recording_without_a_camera(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    made = record(path, [*frames(5), *sounds(5, (2.0,))], size=None)
    clip = read_clip(path, frames=8)
    assert len(clip.frames) == 0 and clip.waveform is not None and clip.notes == ()
    assert made.seconds == pytest.approx(clip.duration, abs=0.05) == pytest.approx(5, abs=0.05)
    assert heard(path) == pytest.approx([2.0], abs=IN_STEP / 4)


def test_a_closed_recording_is_an_ordinary_mp4(tmp_path: Path) -> None:
    """Players that know no fragments find its length and its index; closing it again does nothing."""
    path = tmp_path / "a.mp4"
    made = record(path, [*frames(5), *sounds(5)])
    written = path.read_bytes()
    made.close()
    give(made, Frame(6.0, DARK))
    assert path.read_bytes() == written and not made.waiting
    with av.open(str(path)) as container:
        assert [stream.frames > 20 for stream in container.streams] == [True, True]
    clip = read_clip(path, frames=8)
    assert len(clip.frames) == 8 and clip.waveform is not None and clip.notes == ()


def test_a_recording_of_nothing_leaves_no_file_and_one_of_a_picture_does(tmp_path: Path) -> None:
    record(tmp_path / "a.mp4", [])
    record(tmp_path / "b.mp4", [Frame(7.0, DARK)])
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]
    assert len(read_clip(tmp_path / "b.mp4", frames=8).frames) == 1


# ---------------------------------------------------------------------- whatever goes wrong


def test_a_slow_encoder_drops_pictures_no_sound_and_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = recorder.PictureTrack.encode

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.05)
        return encode(*arguments)

    monkeypatch.setattr(recorder.PictureTrack, "encode", slowly)
    path, contents = tmp_path / "a.mp4", sorted([*frames(10), *sounds(10, (8.0,))], key=ready)
    made = Recorder(path, SIZE, RATE, refuse)
    began = time.monotonic()
    for content in contents:
        give(made, content)
    assert time.monotonic() - began < 1.0  # the pictures alone would take the encoder 4 s
    made.close()
    kept = len(pictures(path))
    assert recorder.WAITING <= kept < 60 and made.dropped + kept == sum(isinstance(each, Frame) for each in contents)
    assert heard(path) == pytest.approx([8.0], abs=IN_STEP / 4)


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from runtime.capture import Frame, Sound
from runtime.recorder import Recorder
tracks, given = sys.argv[2:]
size, rate = (160, 120) if "picture" in tracks else None, 48000 if "sound" in tracks else None
made = Recorder(Path(sys.argv[1]), size, rate, print)
rng, began, number = np.random.default_rng(0), time.monotonic(), 0
print(began, flush=True)
while True:
    if "picture" in given:
        made.picture(Frame(time.monotonic(), rng.integers(0, 255, (120, 160, 3), np.uint8)))
    if "sound" in given:
        made.sound(Sound(began + number / 5, rng.normal(0, .1, 9600).astype(np.float32), 48000))
    number += 1
    time.sleep(max(0, began + number / 5 - time.monotonic()))
"""
KINDS = (("picture sound", "picture sound"), ("picture sound", "picture"), ("picture", "picture"), ("sound", "sound"))


def test_a_killed_program_leaves_all_but_the_last_two_seconds(tmp_path: Path) -> None:
    """With both tracks, with a microphone that is silent, with one track alone: side by side, in real time."""
    paths = [tmp_path / f"{number}.mp4" for number in range(len(KINDS))]
    running = [child(KILLED, str(path), *kind) for path, kind in zip(paths, KINDS, strict=True)]
    began = [float(each.stdout.readline()) for each in running if each.stdout]
    time.sleep(5)
    for path, kind, each, since in zip(paths, KINDS, running, began, strict=True):
        each.kill()
        lasted = time.monotonic() - since
        each.communicate()
        assert "picture" not in kind[1] or lasted - 2 <= pictures(path)[-1][0] <= lasted
        assert "sound" not in kind[1] or lasted - 2 <= len(wave(path)) / RATE <= lasted
        assert read_clip(path, frames=8).duration >= lasted - 2


FULL = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from runtime.capture import Frame, Sound
from runtime.recorder import Recorder
said = []
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
made = Recorder(Path(sys.argv[1]), (160, 120), 48000, said.append)
rng = np.random.default_rng(0)
for number in range(600):
    made.picture(Frame(number / 10, rng.integers(0, 255, (120, 160, 3), np.uint8)))
    made.sound(Sound(number / 10, rng.normal(0, .1, 4800).astype(np.float32), 48000))
    while len(made.waiting) > 4:
        time.sleep(.001)
made.close()
print(json.dumps([[each.code for each in said], made.failed, made.thread.is_alive(), made.seconds]))
"""


def test_a_full_disk_ends_the_recording_and_keeps_it(tmp_path: Path) -> None:
    """The limit on a file's size takes a part of a fragment, as a full disk does."""
    path = tmp_path / "a.mp4"
    codes, failed, alive, seconds = json.loads(child(FULL, str(path)).communicate(timeout=60)[0])
    assert (codes, failed, alive) == (["disk_full"], True, False)
    assert 200_000 < path.stat().st_size <= 400_000
    assert seconds - 2 <= pictures(path)[-1][0] <= seconds
    clip = read_clip(path, frames=8)
    assert len(clip.frames) == 8 and clip.waveform is not None and clip.notes == ()


def failing(after: int, error: Exception, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that fails from some call on."""
    calls = iter(range(10**9))

    def wrapped(*arguments: Any) -> Any:
        if next(calls) >= after:
            raise error
        return real(*arguments)

    return wrapped


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "no_recording")])
def test_a_failing_disk_is_said_once_with_a_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    put = failing(6, OSError(number, os.strerror(number)), recorder.Disk.put)
    monkeypatch.setattr(recorder.Disk, "put", put)
    path, said = tmp_path / "a.mp4", list[AffectError]()
    made = Recorder(path, SIZE, RATE, said.append)
    feed(made, [*frames(20), *sounds(20)])
    made.close()
    assert [each.code for each in said] == [code] and said[0].cure and made.failed and not made.waiting
    assert 2 < pictures(path)[-1][0] < 6


def test_a_disk_full_at_the_index_leaves_the_fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, said = tmp_path / "a.mp4", list[AffectError]()
    made = Recorder(path, SIZE, RATE, said.append)
    feed(made, [*frames(4), *sounds(4)])
    monkeypatch.setattr(recorder.Disk, "put", failing(0, OSError(errno.ENOSPC, "full"), recorder.Disk.put))
    made.close()
    assert [each.code for each in said] == ["disk_full"] and pictures(path)[-1][0] > 2


def test_a_failing_encoder_ends_the_recording_with_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = failing(40, ValueError("broken"), recorder.PictureTrack.encode)
    monkeypatch.setattr(recorder.PictureTrack, "encode", encode)
    path, said = tmp_path / "a.mp4", list[AffectError]()
    made = Recorder(path, SIZE, None, said.append)
    feed(made, [Frame(number / 10, DARK) for number in range(60)])
    made.close()
    assert [each.code for each in said] == ["no_recording"] and "broken" in said[0].message
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 40


def test_who_hears_of_a_failure_may_close_and_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one must not wait for itself, nor remove the new one's file."""
    path, later = tmp_path / "a.mp4", list[Recorder]()
    real = recorder.Disk.put
    monkeypatch.setattr(recorder.Disk, "put", failing(2, OSError(errno.ENOSPC, "full"), real))

    def again(_: AffectError) -> None:
        made.close()
        monkeypatch.setattr(recorder.Disk, "put", real)
        later.append(Recorder(path, SIZE, None, refuse))

    made = Recorder(path, SIZE, None, again)
    made.picture(Frame(0.0, DARK))
    made.picture(Frame(1.0, DARK))
    made.picture(Frame(2.0, DARK))
    made.thread.join()
    later[0].picture(Frame(3.0, DARK))
    later[0].close()
    assert len(pictures(path)) == 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(AffectError) as refused:
        Recorder(path, SIZE, RATE, refuse)
    assert refused.value.code == "exists" and path.read_bytes() == b"mine"


def test_a_folder_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(AffectError) as refused:
        Recorder(tmp_path / "none" / "a.mp4", SIZE, RATE, refuse)
    assert refused.value.code == "no_recording" and refused.value.cure


def test_a_recording_that_cannot_begin_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(AffectError) as refused:
        Recorder(tmp_path / "a.mp4", (1 << 20, 1 << 20), RATE, refuse)
    assert refused.value.code == "no_recording" and list(tmp_path.iterdir()) == []
