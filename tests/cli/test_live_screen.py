"""`affect live` as a person sees it: real screens in tmux, keys, what stands there, what is left behind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIP = "examples/grid.mp4"
BOTH = f"--camera {CLIP} --mic {CLIP} --loop"
KEYS = "q quit  space pause  r record  s snapshot  m mute"

pytestmark = pytest.mark.needs_tmux


class Screen:
    """A tmux session of its own server, in which a shell runs."""

    def __init__(self, columns: int, rows: int, environ: str = "TERM=xterm-256color COLORTERM=truecolor") -> None:
        self.name, self.environ, self.program = f"affect-{uuid.uuid4().hex[:8]}", environ, "-m cli.main"
        self.tmux("-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(rows), "env PS1='$ ' sh")

    def tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self.name, *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout

    def run(self, options: str) -> None:
        command = f"{shlex.quote(sys.executable)} {self.program} live --yes {options}"
        self.tmux("send-keys", f"clear; env {self.environ} {command}; echo ended $?", "Enter")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def seen(self, colours: bool = False) -> str:
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def wait(self, there: str | Callable[[str], bool], seconds: float = 30) -> str:
        """What stands there as soon as the words do."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            text = self.seen()
            if there(text) if callable(there) else there in text:
                return text
            time.sleep(0.05)
        raise AssertionError(f"{there} never stood there:\n{self.seen()}")

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def screens() -> Iterator[Callable[..., Screen]]:
    made: list[Screen] = []

    def make(*size: int, **more: str) -> Screen:
        made.append(Screen(*size, **more))
        return made[-1]

    yield make
    for screen in made:
        screen.close()


def read(text: str) -> bool:
    """Whether a whole reading stands there."""
    return "neutral" in text and "Voice" in text and ("Said" in text or "Words" in text)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_what_must_stand_there(screens: Callable[..., Screen], size: tuple[int, int]) -> None:
    """Badge, picture, meter, labels with per cent, the reason, clues with seconds, strip, line of truth, keys."""
    screen = screens(*size)
    screen.run(BOTH)
    text = screen.wait(lambda text: read(text) and ("label 0." in text or "label 1." in text))
    lines = text.splitlines()
    assert lines[0].startswith(" affect live   LOCAL ONLY ") and CLIP in lines[0]
    assert text.count("▀") > 200 and all(len(line) <= size[0] for line in lines)
    for words in ("mic ", " dB  ", "▸ neutral", "%", "Face", "Voice", "Hz", " s  ", "frames/s", "dropped", "MB", KEYS):
        assert words in text, words
    assert "-2:00" in text and "now" in text and "REC" not in text
    screen.press("q")
    assert "▀" not in screen.wait("ended 0", 5)


def test_the_label_is_there_before_the_reason_is(screens: Callable[..., Screen]) -> None:
    """Some screen shows named labels over a reason that is still written."""
    screen = screens(80, 24)
    screen.run(f"{BOTH} --no-transcript")
    reasons = set()
    end = time.monotonic() + 25
    while time.monotonic() < end:
        right = " ".join(line[38:].strip() for line in screen.seen().splitlines()[5:15])
        if "▸" in screen.seen():
            reasons.add(len(right))
    assert len(reasons) > 6


def test_keys_do_what_they_say(screens: Callable[..., Screen], tmp_path: Path) -> None:
    """Pause, mute, record, snapshot, help; each is said on the screen."""
    screen = screens(100, 30)
    screen.run(f"{BOTH} -o {tmp_path}")
    screen.wait(read)
    screen.press("r")
    screen.wait("REC 0:0")
    screen.press("s")
    screen.wait("written: snapshot-1")
    screen.press("?")
    assert "mute the microphone" in screen.wait("leave this help")
    screen.press("?")
    screen.wait(lambda text: "leave this help" not in text)
    screen.press("m")
    screen.wait(lambda text: "MUTED" in text and "mic off" in text)
    screen.press("m")
    screen.wait(lambda text: "MUTED" not in text)
    screen.press("Space")
    screen.wait(lambda text: "PAUSED" in text)
    time.sleep(0.5)
    picture = [line[1:40] for line in screen.seen().splitlines()[2:14]]
    time.sleep(1.0)
    assert [line[1:40] for line in screen.seen().splitlines()[2:14]] == picture
    screen.press("Space")
    screen.wait(lambda text: "PAUSED" not in text)
    screen.press("r")
    screen.wait(lambda text: "REC" not in text)
    screen.press("q")
    screen.wait("ended 0", 5)
    assert {path.name for path in tmp_path.iterdir()} == {
        "readings.jsonl", "recording-1.mp4", "recording-2.mp4", "snapshot-1.png", "snapshot-1.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "snapshot-1.json").read_text())["labels"]


def test_nothing_is_written_without_a_folder_whatever_key(screens: Callable[..., Screen]) -> None:
    screen = screens(100, 30)
    screen.run(BOTH)
    screen.wait(read)
    for key in ("r", "s"):
        screen.press(key)
        screen.wait("start with -o DIR")
        screen.wait(lambda text: "start with -o DIR" not in text, 10)
    screen.press("c")
    screen.wait("a file is played as the camera")


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (60, 16)])
def test_small_screens_show_labels_and_how_to_quit(screens: Callable[..., Screen], size: tuple[int, int]) -> None:
    screen = screens(*size)
    screen.run(f"{BOTH} --no-transcript")
    text = screen.wait(lambda text: "neutral" in text or "angry" in text)
    assert "%" in text and "q quit" in text
    screen.press("q")
    screen.wait("ended 0", 5)


def test_a_resize_draws_anew(screens: Callable[..., Screen]) -> None:
    screen = screens(80, 24)
    screen.run(BOTH)
    screen.wait(read)
    screen.tmux("resize-window", "-x", "120", "-y", "40")
    text = screen.wait(lambda text: any(len(line) > 100 for line in text.splitlines()))
    assert KEYS in screen.wait(KEYS) and text
    screen.tmux("resize-window", "-x", "30", "-y", "8")
    screen.wait(lambda text: "q quit" in text and "▀" not in text)


def test_without_colours_every_word_is_there(screens: Callable[..., Screen]) -> None:
    """NO_COLOR: no colour at all, the picture in characters, the same words."""
    screen = screens(80, 24, environ="TERM=xterm-256color NO_COLOR=1")
    screen.run(BOTH)
    text = screen.wait(read)
    assert "LOCAL ONLY" in text and "▸ neutral" in text and "+++" in text and "▀" not in text
    assert not [
        piece for piece in screen.seen(colours=True).split("\x1b[")[1:] if piece[:1] in "34" and piece[1:3] != "9m"
    ]


def test_a_dumb_terminal_gets_text(screens: Callable[..., Screen]) -> None:
    screen = screens(80, 24, environ="TERM=dumb")
    screen.run(f"--camera {CLIP} --mic {CLIP}")
    assert "said:" in screen.wait("ended 0")


def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on(screens: Callable[..., Screen]) -> None:
    screen = screens(80, 24)
    screen.tmux("send-keys", "set -m", "Enter")
    screen.run(BOTH)
    screen.wait(read)
    screen.press("C-z")
    assert "▀" not in screen.wait(lambda text: "topped" in text or "uspended" in text)
    screen.tmux("send-keys", "fg", "Enter")
    screen.wait(lambda text: "▀" in text and "LOCAL ONLY" in text)
    screen.press("q")
    screen.wait(lambda text: "▀" not in text and text.rstrip().endswith("$"), 5)


@pytest.mark.parametrize("end", ["q", "TERM", "crash"])
def test_the_terminal_is_restored(screens: Callable[..., Screen], end: str, tmp_path: Path) -> None:
    """After q, after SIGTERM and after a defect of ours: echo is on, the cursor is there, the first screen is back."""
    screen = screens(80, 24)
    if end == "crash":
        script = tmp_path / "crash.py"
        script.write_text(
            "import cli.watch\nfrom cli.main import main\nread = cli.watch.View.read\n"
            "cli.watch.View.read = lambda self, reading: len(self.strip) > 1 and 1 / 0 or read(self, reading)\nmain()\n"
        )
        screen.program = str(script)
        screen.environ += f" PYTHONPATH={ROOT}"
    screen.run(BOTH)
    screen.wait(read)
    began = time.monotonic()
    if end == "q":
        screen.press("q")
    elif end == "TERM":
        pane = int(screen.tmux("display-message", "-p", "#{pane_pid}"))
        children = Path(f"/proc/{pane}/task/{pane}/children").read_text().split()
        os.kill(int(children[0]), 15)
    text = screen.wait(lambda text: "ended" in text, 15)
    assert "▀" not in text and "LOCAL ONLY" not in text
    assert ("ZeroDivisionError" in text) == (end == "crash")
    if end != "crash":
        assert time.monotonic() - began < 2.0
    assert screen.tmux("display-message", "-p", "#{cursor_flag} #{alternate_on}").split() == ["1", "0"]
    screen.tmux("send-keys", "echo hel''lo", "Enter")
    screen.wait("hel''lo", 3)
    screen.wait("hello", 3)
