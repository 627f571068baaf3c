"""`affect live` without a screen: usage, records, lines, folders, the end. Files are the devices."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.live_speed import empty_room
from tests.media_files import make_film

ROOT = Path(__file__).parents[2]
CLIP = "examples/grid.mp4"
BOTH = ("--camera", CLIP, "--mic", CLIP)
LIVE = (sys.executable, "-m", "cli.main", "live")


def affect_live(*options: str, timeout: float = 90, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LIVE, "--yes", *options],
        cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, **more,
    )  # fmt: skip


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        ("--camera", "none", "--mic", "none"),
        (*BOTH, "--record"),
        (*BOTH, "--format", "html"),
        (*BOTH, "--every", "often"),
        (*BOTH, "--every", "nan"),
        (*BOTH, "--window", "0"),
        (*BOTH, "--smooth", "2"),
        (*BOTH, "--device", "tpu"),
        (*BOTH, "-o", ""),
        ("--camera", "-", "--mic", "none"),
        (*BOTH, "--every", "3601"),
    ],
)
def test_wrong_usage_ends_with_2(options: tuple[str, ...]) -> None:
    done = affect_live(*options)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr


def test_labels_that_the_model_does_not_know_are_wrong_usage() -> None:
    done = affect_live(*BOTH, "--format", "jsonl", "--labels", "hungry,thirsty")
    assert done.returncode == 2 and "hungry" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--camera", "nowhere.mp4", "--mic", "none"), "nowhere.mp4 is not there"),
        (("--camera", "README.md", "--mic", "none"), "README.md"),
        (("--camera", "none", "--mic", "nowhere/at/all.wav"), "is not there"),
        ((*BOTH, "--bundle", "none-such"), "none-such"),
        (("--camera", "97", "--mic", "none"), "there is no camera"),
        (("--camera", "none", "--mic", "no microphone has this name"), "no microphone|PortAudio"),
    ],
)
def test_what_is_not_there_is_one_line(options: tuple[str, ...], words: str) -> None:
    done = affect_live(*options, "--format", "jsonl")
    assert done.returncode == 1 and done.stdout == ""
    assert re.search(words, done.stderr) and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_file_as_both_gives_records_and_ends() -> None:
    """Each line is a record of `affect analyze` with t_wall; nothing else is on stdout; the file's end is the run's."""
    began = time.time()
    done = affect_live(*BOTH, "--format", "jsonl")
    read = records(done.stdout)
    assert done.returncode == 0 and done.stderr == ""
    last = read[-1]
    assert [label["name"] for label in last["labels"] if label["named"]] and last["reason"]
    assert "read by" in (last["transcript"] or "").lower() and last["missing"] == []
    assert began <= last["t_wall"] <= time.time() and 0 <= last["start"] < last["end"] <= 3.5
    assert last["source"] == f"live camera={CLIP} mic={CLIP}"


def test_a_record_is_one_of_analyze_with_t_wall() -> None:
    import jsonschema

    schema = json.loads((ROOT / "models" / "schema.json").read_text(encoding="utf-8"))
    read = records(affect_live(*BOTH, "--format", "jsonl", "--no-transcript").stdout)
    for record in read:
        jsonschema.validate(record, {**schema, "anyOf": [{"$ref": "#/$defs/live"}]})
        assert abs(record["t_wall"] - time.time()) < 60
    assert read


def test_picture_or_sound_alone() -> None:
    for options, missing in (
        (("--camera", CLIP, "--mic", "none"), "audio"),
        (("--camera", "none", "--mic", CLIP), "visual"),
    ):
        done = affect_live(*options, "--format", "jsonl", "--no-transcript")
        assert done.returncode == 0
        assert all(missing in record["missing"] for record in records(done.stdout)) and done.stdout


def test_text_is_for_people() -> None:
    done = affect_live(*BOTH, "--format", "text", "--labels", "happy,neutral")
    assert done.returncode == 0 and "neutral" in done.stdout and "said:" in done.stdout


def test_without_a_terminal_the_view_falls_to_text() -> None:
    done = affect_live(*BOTH)
    assert done.returncode == 0 and "\x1b" not in done.stdout and "neutral" in done.stdout


def test_the_clock_alone_reads_with_every() -> None:
    done = affect_live(*BOTH, "--loop", "--every", "1", "--seconds", "9", "--format", "jsonl", "--no-transcript")
    read = records(done.stdout)
    assert done.returncode == 0 and len(read) >= 4
    gaps = [after["end"] - before["end"] for before, after in itertools.pairwise(read)]
    assert min(gaps) >= 0.9


def test_a_window_bounds_what_is_read() -> None:
    done = affect_live(*BOTH, "--loop", "--window", "2", "--seconds", "8", "--format", "jsonl", "--no-transcript")
    assert records(done.stdout) and all(r["end"] - r["start"] <= 2.01 for r in records(done.stdout))


def test_nothing_is_written_without_a_folder(tmp_path: Path) -> None:
    """Neither where it runs nor in a temporary folder."""
    shutil.copy(ROOT / CLIP, tmp_path / "clip.mp4")
    folder = tmp_path / "tmp"
    folder.mkdir()
    done = subprocess.run(
        [*LIVE, "--yes", "--camera", "clip.mp4", "--mic", "clip.mp4", "--format", "text"],
        cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "tmp"] and list(folder.iterdir()) == []


def test_a_folder_gets_the_records_and_the_recording(tmp_path: Path) -> None:
    """What -o holds is what was printed; `affect analyze` opens the recording and reads the same words."""
    out = tmp_path / "new" / "folder"
    done = affect_live(*BOTH, "--format", "jsonl", "-o", str(out), "--record")
    assert done.returncode == 0
    assert (out / "readings.jsonl").read_text() == done.stdout
    command = [sys.executable, "-m", "cli.main", "analyze", str(out / "recording-1.mp4"), "--format", "json"]
    analyzed = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    segment = analyzed["segments"][0]
    assert "read by" in segment["transcript"].lower() and segment["missing"] == []
    assert 2.5 <= segment["end"] <= 3.3
    again = affect_live(*BOTH, "--format", "jsonl", "-o", str(out), "--record", "--no-transcript")
    assert again.returncode == 0 and (out / "recording-2.mp4").is_file()
    assert (out / "readings.jsonl").read_text() == done.stdout + again.stdout


def test_a_folder_that_can_t_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = affect_live(*BOTH, "--format", "jsonl", "-o", str(tmp_path / "file" / "folder"))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("limit", ["-f 1", "/dev/full"])
def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path: Path, limit: str) -> None:
    """Readings go on being printed, the exit code tells; no traceback, and not standard output's fault."""
    out = tmp_path / "out"
    out.mkdir()
    if limit == "/dev/full":
        (out / "readings.jsonl").symlink_to(limit)
    shell = f'ulimit {limit if limit != "/dev/full" else "-n 1024"}; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *LIVE, "--yes", *BOTH, "--loop", "--format", "jsonl", "--no-transcript",
         "--seconds", "9", "-o", str(out)],
        cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and len(records(done.stdout)) >= 3
    assert "the disk is full" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_output_that_can_t_be_written_ends_it_with_one_line() -> None:
    """In the middle of work: no abort of the interpreter over threads that compute."""
    for _ in range(3):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*LIVE, "--yes", *BOTH, "--seconds", "5", "--format", "jsonl"],
                cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
            )  # fmt: skip
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_pipe_is_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = affect_live("--camera", str(tmp_path / "pipe"), "--mic", "none", timeout=20)
    assert done.returncode == 1 and "can be played" in done.stderr


def test_a_file_that_is_removed_while_it_is_played_is_the_exit_code(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    shutil.copy(ROOT / CLIP, clip)
    command = [
        *LIVE,
        "--yes",
        "--camera",
        str(clip),
        "--mic",
        str(clip),
        "--loop",
        "--format",
        "jsonl",
        "--no-transcript",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        clip.unlink()
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 1 and "clip.mp4 is not there" in errors and len(errors.splitlines()) == 1


def test_a_language_that_nobody_speaks_is_wrong_usage() -> None:
    done = affect_live(*BOTH, "--format", "jsonl", "--language", "klingon")
    assert done.returncode == 2 and "klingon" in done.stderr


def test_what_can_t_begin_leaves_no_folder(tmp_path: Path) -> None:
    assert affect_live("--camera", "nowhere.mp4", "--mic", "none", "-o", str(tmp_path / "out")).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_a_defect_in_a_thread_ends_the_run(tmp_path: Path) -> None:
    """It is never silent: a thread that dies takes the program along, with its own error."""
    script = tmp_path / "defect.py"
    script.write_text(
        "import runtime.senses\nfrom cli.main import main\n"
        "runtime.senses.Senses.look = lambda self, frame: 1 / 0\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "live", "--yes", *BOTH, "--loop", "--format", "jsonl"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_kill_9_leaves_readings_and_recording(tmp_path: Path) -> None:
    """Up to the last two seconds."""
    out = tmp_path / "out"
    command = [*LIVE, "--yes", *BOTH, "--loop", "--format", "jsonl", "--no-transcript", "-o", str(out), "--record"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(3)]
        ended = time.time()
        running.kill()
    read = records((out / "readings.jsonl").read_text())
    assert [json.loads(line) for line in lines] == read[:3]
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "analyze",
        str(out / "recording-1.mp4"),
        "--format",
        "json",
        "--no-transcript",
    ]
    analyzed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert analyzed.returncode == 0, analyzed.stderr
    first = read[0]["t_wall"] - read[0]["start"]
    assert json.loads(analyzed.stdout)["segments"][0]["end"] >= ended - first - 2.0 - 0.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_soon(number: int) -> None:
    """In the middle of a reading, within a second; the recorded lines are whole."""
    command = [*LIVE, "--yes", *BOTH, "--loop", "--format", "jsonl"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        began = time.monotonic()
        running.send_signal(number)
        rest, errors = running.communicate(timeout=10)
        taken = time.monotonic() - began
    assert running.returncode == 128 + number and taken <= 1.5  # 1 s, and the interpreter's end beside other tests
    assert errors == "" and all(json.loads(text) for text in [line, *rest.splitlines()])


def test_sleep_and_wake_are_said_and_it_goes_on() -> None:
    """A machine that slept, or a process that was stopped: the old window is no news."""
    command = [*LIVE, "--yes", *BOTH, "--loop", "--format", "jsonl", "--no-transcript", "--seconds", "20"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGSTOP)
        time.sleep(6)
        running.send_signal(signal.SIGCONT)
        rest, errors = running.communicate(timeout=60)
    read = records(rest)
    assert running.returncode == 0 and "slept through" in errors and len(errors.splitlines()) == 1
    assert len(read) >= 2 and all(record["cost"]["first_label_s"] < 6 for record in read[1:])


def test_an_empty_room_costs_nothing_and_says_nothing(tmp_path: Path) -> None:
    """Silence and nobody there: no reading, less than half a core."""
    import resource

    room = empty_room(tmp_path / "room.mp4", seconds=6.0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = affect_live("--camera", str(room), "--mic", str(room), "--loop", "--format", "jsonl", "--seconds", "15")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == ""
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used <= 0.5 * 15 + 4  # the model's loading comes on top


def test_a_bundle_that_is_removed_in_mid_run_goes_on(tmp_path: Path) -> None:
    bundle = tmp_path / "mine"
    shutil.copytree(ROOT / "models" / "bundles" / "nano", bundle)
    command = [*LIVE, "--yes", *BOTH, "--loop", "--format", "jsonl", "--bundle", str(bundle), "--seconds", "12"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        shutil.rmtree(bundle)
        rest, errors = running.communicate(timeout=60)
    assert running.returncode == 0 and errors == "" and len(rest.splitlines()) >= 2


def test_no_network_is_needed_nor_there() -> None:
    """In an empty network namespace everything works."""
    for flags in (["-n"], ["-rn"]):
        if subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode == 0:
            break
    else:
        raise AssertionError("no network namespace can be made here: run as root, or allow user namespaces")
    done = subprocess.run(
        ["unshare", *flags, *LIVE, "--yes", *BOTH, "--format", "jsonl"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and records(done.stdout), done.stderr


def test_a_still_picture_is_read_once(tmp_path: Path) -> None:
    """A photo as camera: one picture, one end."""
    film = make_film(tmp_path / "f.mp4", seconds=0.3, sound=None)
    done = affect_live("--camera", str(film), "--mic", "none", "--format", "jsonl")
    assert done.returncode == 0 and done.stdout == ""  # a grey picture has no face
