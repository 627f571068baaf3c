"""What the screen shows fits every size and says all in words; the terminal is written sparingly and given back as it was."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Condition, Thread
from typing import BinaryIO, get_args

import numpy as np
import pytest
from rich.cells import cell_len

from cli.halfblocks import Depth, Encoder
from cli.screen import (
    COLOURS,
    HELP,
    Place,
    Shown,
    colour,
    compose,
    forming,
    ground,
    layout,
)  # fmt: skip
from cli.terminal import Terminal, depth_of, is_capable
from cli.view import NOTICE
from models.emotions import LABELS
from models.reading import Clue, Label, Segment

ROOT = Path(__file__).parents[2]
DEPTHS: tuple[Depth, ...] = get_args(Depth)
SIZES = [(160, 50), (100, 30), (80, 24), (60, 16), (40, 12), (20, 5), (5, 2), (1, 1)]
ROOMY = [size for size in SIZES if size >= (80, 24)]
STYLE = re.compile(r"\x1b\[[\d;]*m")

SCORES = (0.61, 0.18, 0.1, 0.05, 0.03, 0.02, 0.01, 0.0)
NAMES = ("happy", "sad", "angry", "neutral", "calm", "fearful", "disgusted", "surprised")
SEGMENT = Segment(
    start=0.0,
    end=3.0,
    status="ok",
    labels=tuple(Label(name, score, name == "happy") for name, score in zip(NAMES, SCORES, strict=True)),
    conflict=None,
    reason="The mouth corners go up. The voice is high and lively. The words thank somebody.",
    clues={
        "visual": (Clue("The mouth corners go up.", 0.2, 2.8, {"smile": 0.3, "mouth_open": 0.1, "brow_raise": 0.2}),),
        "audio": (Clue("The voice is high.", 0.1, 2.9, {"pitch_hz": 202.5, "loudness_db": -17.9, "rate": 3.7}),),
        "text": (Clue("The words thank somebody.", 0.0, 3.0),),
    },
    transcript="thank you so much",
    missing=(),
)
SHOWN = Shown(
    camera="0 Integrated Camera",
    microphone="1 Built-in Audio",
    shape=(480, 640),
    state="listening",
    segment=SEGMENT,
    strip=((110, 90, "neutral"), (60, 40, "happy"), (40, 20, "sad"), (10, 0, "happy")),
    level_db=-32.4,
    speaking=True,
    frames_shown=15.2,
    frames_captured=29.97,
    dropped=3,
    first_label=0.52,
    whole=0.94,
    memory_mb=448.7,
    device="cpu, 2 threads",
)
HOSTILE = "\x1b[2J[red]\nWAS [/red]\x07\u202e日本 😀❤️\udcff"
VARIANTS = {
    "usual": SHOWN,
    "nothing": Shown(),
    "beginning": Shown(camera="0", microphone="1", state="loading the model"),
    "busy": replace(
        SHOWN, recording=12.3, paused=True, muted=True, message="camera 0 is gone: waiting for it", first_label=None
    ),
    "no camera": replace(SHOWN, camera=None, shape=None),
    "no microphone": replace(SHOWN, microphone=None, level_db=None),
    "upright": replace(SHOWN, shape=(1280, 720)),
    "odd shape": replace(SHOWN, shape=(0, 0)),
    "help": replace(SHOWN, help=True),
    "forming": replace(SHOWN, segment=forming(SEGMENT.labels, "The mouth")),
    "long": replace(
        SHOWN, segment=replace(SEGMENT, reason="word " * 500, notes=("a note " * 50,), transcript="x" * 900)
    ),
    "no numbers": replace(
        SHOWN,
        level_db=float("-inf"),
        segment=forming((Label("happy", float("nan")), Label("sad", 7.0))),
        strip=((float("inf"), float("nan"), "happy"), (-5, 300, "sad")),
    ),
    "hostile": replace(
        SHOWN,
        camera=HOSTILE,
        microphone=HOSTILE * 9,
        state=HOSTILE,
        message=HOSTILE,
        device=HOSTILE,
        strip=((100, 20, HOSTILE), (20, 19, HOSTILE)),
        segment=replace(
            SEGMENT,
            labels=(Label(HOSTILE, 0.6, True), Label("日本" * 40, 0.3)),
            reason=HOSTILE * 20,
            transcript=HOSTILE,
            notes=(HOSTILE,),
            conflict={"visual": HOSTILE},
            missing=("text",),
        ),
    ),
}


def words(shown: Shown, width: int = 80, height: int = 24, depth: Depth = "none") -> str:
    """The screen without its colours, each run of blanks one: words stand in the right order in each line."""
    return "\n".join(" ".join(STYLE.sub("", line).split()) for line in compose(shown, width, height, depth))


# ---------------------------------------------------------------------- what is shown


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_size_gets_its_lines_and_none_is_too_wide(name: str, depth: Depth) -> None:
    for size in SIZES:
        lines = compose(VARIANTS[name], *size, depth)
        bare = [STYLE.sub("", line) for line in lines]
        assert len(lines) == size[1] and max(map(cell_len, bare)) <= size[0], size
        assert all(line.isprintable() for line in bare), size
        assert depth != "none" or bare == lines, size


def test_no_size_between_them_fails() -> None:
    for width in range(1, 90):
        for height in (1, 2, 3, 4, 6, 8, 15, 16, 17, 23):
            lines = compose(VARIANTS["busy"], width, height, "none")
            assert len(lines) == height and max(map(cell_len, lines)) <= width, (width, height)


@pytest.mark.parametrize("size", ROOMY, ids=str)
def test_all_stands_there_in_words(size: tuple[int, int]) -> None:
    text = words(SHOWN, *size)
    for word in (
        "affect live", "LOCAL ONLY", "camera 0 Integrated Cam", "mic 1 Built-in", "happy", "61%", "sad", "18%", "listening",
        "-32 dB speech", "15 of 30 frames/s", "3 dropped", "0.5 s", "0.9 s", "449 MB", "cpu, 2 threads", "-2:00", "-1:00", "now",
        "The mouth corners go up.", "0.2-2.8 s", "smile +0.30", "pitch 202 Hz", "3.7 syllables/s", "Words", '"thank you so much"',
        "q quit space pause r record s snapshot m mute c camera ? help",
    ):  # fmt: skip
        assert word in text, word


def test_what_must_not_be_missed_has_a_word() -> None:
    text = words(VARIANTS["busy"])
    for word in ("REC 0:12", "PAUSED", "MUTED", "LOCAL ONLY", "camera 0 is gone: waiting for it", "label -, all 0.9 s"):
        assert word in text
    calm = words(SHOWN)
    assert "REC" not in calm and "PAUSED" not in calm and "MUTED" not in calm
    assert "no speech" in words(replace(SHOWN, speaking=False)) and "no speech" not in calm


def test_one_file_for_both_is_named_once() -> None:
    assert words(replace(SHOWN, camera="talk.mp4", microphone="talk.mp4")).count("talk.mp4") == 1


def test_hours_of_recording_are_told() -> None:
    assert "REC 1:02:03" in words(replace(SHOWN, recording=3723.9))


@pytest.mark.parametrize("size", [*ROOMY, (60, 16), (40, 12)], ids=str)
def test_doubt_and_disagreement_are_said(size: tuple[int, int]) -> None:
    segment = replace(SEGMENT, status="unsure", conflict={"visual": "happy", "text": "sad"})
    side = layout(*size, True, SHOWN.shape).left
    text = " ".join(line[side:].strip() for line in compose(replace(SHOWN, segment=segment), *size, "none"))
    assert "unsure" in text and "they disagree: face happy, words sad" in text


def test_what_was_not_read_and_notes_are_said() -> None:
    segment = replace(SEGMENT, clues={}, missing=("visual",), notes=("no face was found",))
    text = words(replace(SHOWN, segment=segment))
    assert "not read: face" in text and "note: no face was found" in text and "Said" in text


def test_nothing_is_said_twice() -> None:
    text = words(SHOWN, 160, 50)
    for once in ("LOCAL ONLY", "thank you so much", "speech  ", "listening", "Built-in Audio", "Face", "Voice", "61%"):
        assert text.count(once) <= 1, once


def test_the_newest_words_of_a_long_reason_are_seen() -> None:
    text = words(replace(SHOWN, segment=forming(SEGMENT.labels, "first " + "word " * 300 + "last")))
    assert "last" in text and "first" not in text and "…" in text


def test_what_is_not_there_is_said() -> None:
    assert "no camera" in words(VARIANTS["no camera"]) and "no microphone" in words(VARIANTS["no microphone"])
    assert "no picture yet" in words(VARIANTS["beginning"]) and "loading the model" in words(VARIANTS["beginning"])
    assert "frames/s" not in words(VARIANTS["no camera"])


@pytest.mark.parametrize("size", ROOMY, ids=str)
def test_help_says_what_each_key_does_and_what_a_reading_is(size: tuple[int, int]) -> None:
    text = " ".join(words(VARIANTS["help"], *size).split())
    assert all(key in text and meaning.split()[0] in text for key, meaning in HELP.items())
    right = " ".join(
        line[layout(*size, True, (480, 640)).left :].strip() for line in compose(VARIANTS["help"], *size, "none")
    )
    assert NOTICE in " ".join(right.split())


def test_small_screens_keep_the_label_and_the_way_out() -> None:
    for width, height in ((59, 24), (40, 12), (20, 5)):
        text = words(SHOWN, width, height)
        assert "LOCAL ONLY" in text and "q quit" in text and re.search(r"happy.* 61%", text)
        assert layout(width, height, True).picture is None
    assert words(SHOWN, 5, 2).split("\n") == ["h 61%", "q qu…"]
    assert "loading" in words(VARIANTS["beginning"], 20, 2)


def test_the_strip_is_read_without_its_colours() -> None:
    """Each run bears its label's name as far as it fits; without colours a line shows where it ends."""
    plain = next(line for line in compose(SHOWN, 80, 24, "none") if "neutral--" in line)
    assert re.search(r"·neutral-{5,}·+happy-+sad-+·+happy-*$", plain.rstrip())
    assert re.search(r"neutral +·+ happy +sad +·+ ?happy", STYLE.sub("", compose(SHOWN, 80, 24, "16")[-4]))


def test_a_later_reading_lies_over_an_earlier_one() -> None:
    text = words(replace(SHOWN, strip=((60, 0, "happy"), (30, 0, "sad"))), 160, 50)
    line = next(line for line in text.split("\n") if "sad-" in line)
    assert re.fullmatch(r"·+happy-+sad-+", line) and len(re.findall("happy", line)) == 1


@pytest.mark.parametrize("depth", ["truecolor", "256", "16"])
def test_each_label_has_its_own_colour_and_words_are_read_on_it(depth: Depth) -> None:
    assert set(COLOURS) == set(LABELS)
    assert len({colour(label, depth) for label in LABELS}) == len(LABELS)
    for label in (*LABELS, "hopeful", "日本"):
        style = ground(label, depth)
        assert style.color != style.bgcolor
    assert colour("hopeful", depth) == colour("hopeful", depth)


def test_hostile_text_acts_on_nothing() -> None:
    for size in SIZES:
        for depth in DEPTHS:
            text = "".join(compose(VARIANTS["hostile"], *size, depth))
            assert "\x1b" not in STYLE.sub("", text) and "\n" not in text and "\u202e" not in text
    assert "[red]" in words(VARIANTS["hostile"]) and "\\x1b[2J" in words(VARIANTS["hostile"])


# ---------------------------------------------------------------------- where the picture goes


@pytest.mark.parametrize("size", [(160, 50), (100, 30), (80, 24), (60, 16), (240, 30), (60, 200)], ids=str)
@pytest.mark.parametrize("shape", [(480, 640), (720, 1280), (1280, 720), None])
@pytest.mark.parametrize("depth", ["truecolor", "none"])
def test_the_pictures_cells_are_empty_and_on_the_screen(
    size: tuple[int, int], shape: tuple[int, int] | None, depth: Depth
) -> None:
    place = layout(*size, True, shape).picture
    assert place and place.column + place.columns < size[0] and place.row + place.rows < size[1] - 5
    assert place.columns >= 8 and place.rows >= 5
    lines = compose(replace(SHOWN, shape=shape or (3, 4)), *size, depth)
    for line in lines[place.row : place.row + place.rows]:
        assert line[: place.column + place.columns].strip(" ") == ""


def test_a_large_screen_gets_a_large_picture() -> None:
    small, large = (layout(*size, True, (480, 640)).picture for size in ((80, 24), (160, 50)))
    assert small and large and large.rows > 2 * small.rows


# ---------------------------------------------------------------------- the terminal


class Screen:
    """What a terminal shows of what is written to it: as much of one as is needed here."""

    def __init__(self, columns: int, rows: int) -> None:
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.alternate = False
        self.cursor = True

    def feed(self, text: str) -> None:
        for escape, sign in re.findall(r"(\x1b\[[?\d;]*[A-Za-z])|(.)", text, re.DOTALL):
            if escape:
                self.obey(escape[2:-1], escape[-1])
            else:
                self.cells[self.row][min(self.column, len(self.cells[0]) - 1)] = sign
                self.column += cell_len(sign)

    def obey(self, values: str, what: str) -> None:
        if what == "H":
            self.row, self.column = (int(x or 1) - 1 for x in (values or ";").split(";"))
        elif what == "K":
            self.cells[self.row][self.column :] = [" "] * (len(self.cells[0]) - self.column)
        elif values == "?1049":
            self.alternate = what == "h"
        elif values == "?25":
            self.cursor = what == "h"

    def text(self) -> list[str]:
        return ["".join(row) for row in self.cells]


class Glass:
    """A terminal of a size, and the end at which one sees what is written to it."""

    def __init__(self, columns: int, rows: int, encoding: str = "utf-8") -> None:
        master, slave = os.openpty()
        self.seen: BinaryIO = os.fdopen(master, "r+b", buffering=0)
        self.stdout = os.fdopen(slave, "w", encoding=encoding)
        self.resize(columns, rows)
        self.found, self.more = b"", Condition()
        self.listen()

    def listen(self) -> None:
        self.reader = Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """A terminal reads all the time."""
        while (new := os.read(self.seen.fileno(), 1 << 16)) and not new.endswith(GONE):
            with self.more:
                self.found += new
                self.more.notify()

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.stdout.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen = Screen(columns, rows)
        self.screen.cells[-1][0] = "?"  # what stood there before

    def written(self) -> bytes:
        """All since the last time."""
        os.write(self.stdout.fileno(), b"\0")
        with self.more:
            assert self.more.wait_for(lambda: self.found.endswith(b"\0"), 20)
            found, self.found = self.found[:-1], b""
        return found

    def look(self) -> list[str]:
        """What stands there now."""
        self.screen.feed(self.written().decode(self.stdout.encoding))
        return [line.rstrip() for line in self.screen.text()]

    def hold(self) -> None:
        """Nobody reads any more."""
        if self.reader.is_alive():
            os.write(self.stdout.fileno(), GONE)
            self.reader.join()

    def close(self) -> None:
        self.hold()
        self.seen.close()
        self.stdout.close()


GONE = b"\1"


@pytest.fixture
def glass(monkeypatch: pytest.MonkeyPatch) -> Iterator[Glass]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = Glass(20, 6)
    yield made
    made.close()


LINES = ["head", "    one", "    two", "    three", "", "foot"]
PICTURE, PLACE = ["##", "##", "##"], Place(1, 1, 2, 3)
WHOLE = ["head", " ## one", " ## two", " ## three", "", "foot"]


def test_the_terminal_is_given_back_whatever_happens(glass: Glass) -> None:
    with pytest.raises(ZeroDivisionError), Terminal(glass.stdout) as terminal:
        terminal.draw(LINES)
        glass.look()
        assert glass.screen.alternate and not glass.screen.cursor
        raise ZeroDivisionError
    last = glass.written().decode()
    glass.screen.feed(last)
    assert not glass.screen.alternate and glass.screen.cursor and "\x1b[?7h" in last and "\x1b[?2026l" in last
    terminal.restore()
    assert glass.written() == b""


def test_nothing_is_written_once_it_is_given_back(glass: Glass) -> None:
    """A handler of signals may restore the terminal while it is drawn on."""
    with Terminal(glass.stdout) as terminal:
        terminal.restore()
        glass.written()
        assert not terminal.draw(LINES, PICTURE, PLACE)
        assert glass.written() == b""


def test_what_did_not_change_is_not_written_again(glass: Glass) -> None:
    with Terminal(glass.stdout) as terminal:
        assert terminal.draw(LINES, PICTURE, PLACE)
        assert glass.look() == WHOLE
        assert terminal.draw(LINES, PICTURE, PLACE)
        assert glass.written() == b""
        terminal.draw(LINES, ["##", "@@", "##"], PLACE)
        once = glass.written()
        assert b"@@" in once and b"one" not in once and b"\x1b[K" not in once
        assert once.startswith(b"\x1b[?2026h") and once.endswith(b"\x1b[?2026l")


@pytest.mark.parametrize("line,shown", [("    new", " ## new"), ("", " ##"), ("XX  new", "X## new")])
def test_new_text_leaves_no_hole_in_the_picture(glass: Glass, line: str, shown: str) -> None:
    """Also where the text runs under the picture."""
    with Terminal(glass.stdout) as terminal:
        terminal.draw(LINES, PICTURE, PLACE)
        terminal.draw([*LINES[:2], line, *LINES[3:]], PICTURE, PLACE)
        assert glass.look() == [*WHOLE[:2], shown, *WHOLE[3:]]


def test_a_new_size_draws_all_again(glass: Glass) -> None:
    with Terminal(glass.stdout) as terminal:
        terminal.draw(LINES, PICTURE, PLACE)
        glass.look()
        glass.resize(30, 8)
        assert terminal.size() == (30, 8)
        terminal.draw(LINES, PICTURE, PLACE)
        assert glass.look() == [*WHOLE, "", ""]


def test_lines_of_another_size_stay_on_the_screen(glass: Glass) -> None:
    """The size may change between composing and drawing."""
    with Terminal(glass.stdout) as terminal:
        terminal.draw(LINES * 3, PICTURE * 9, Place(1, 1, 2, 27))
        assert glass.look() == ["head", " ## one", " ## two", " ## three", " ##", "f##t"]


def test_a_picture_that_ends_is_wiped(glass: Glass) -> None:
    with Terminal(glass.stdout) as terminal:
        terminal.draw(LINES, PICTURE, PLACE)
        terminal.draw(LINES)
        assert glass.look() == LINES
        terminal.draw(LINES, PICTURE, PLACE)
        assert glass.look() == WHOLE


def test_the_whole_screen_as_composed_and_encoded(glass: Glass) -> None:
    """What stands there after many drawings is what one drawing shows."""
    glass.resize(80, 24)
    place = layout(80, 24, True, SHOWN.shape).picture
    assert place
    rng, encoder = np.random.default_rng(0), Encoder("truecolor")
    with Terminal(glass.stdout) as terminal:
        for count in range(8):
            shown = replace(SHOWN, level_db=-8.0 * count, help=count == 4, state="reading" if count % 2 else "")
            pixels = rng.integers(0, 256, (60, 80, 3), np.uint8)
            rows = encoder.rows(pixels, place.columns, place.rows)
            lines = compose(shown, 80, 24, "truecolor")
            terminal.draw(lines, rows, place)
            seen = glass.look()
    for at, line in enumerate(STYLE.sub("", line) for line in lines):
        row = STYLE.sub("", rows[at - place.row]) if 0 <= at - place.row < place.rows else ""
        expected = line[: place.column].ljust(place.column) + row + line[place.column + len(row) :]
        assert seen[at] == expected.rstrip()


def test_a_terminal_without_our_signs_gets_plain_ones(glass: Glass) -> None:
    plain = Glass(80, 24, "ascii")
    with Terminal(plain.stdout) as terminal:
        assert terminal.picture_depth == "none" and terminal.depth == "truecolor"
        terminal.draw(compose(SHOWN, 80, 24, terminal.depth))
        text = STYLE.sub("", plain.written().decode("ascii"))
        assert "> happy" in text and "####" in text and "...." in text
    plain.close()


@pytest.mark.parametrize("encoding,depth", [("utf-8", "truecolor"), ("cp437", "truecolor"), ("latin-1", "none")])
def test_the_picture_is_made_of_what_the_terminal_has(glass: Glass, encoding: str, depth: str) -> None:
    other = Glass(20, 6, encoding)
    assert Terminal(other.stdout).picture_depth == depth
    other.close()


def test_a_terminal_that_is_gone_ends_the_drawing(glass: Glass) -> None:
    terminal = Terminal(glass.stdout)
    with terminal:
        glass.hold()
        glass.seen.close()
        assert terminal.draw(LINES) is False
    terminal.restore()


def test_a_terminal_that_takes_nothing_holds_up_nobody(glass: Glass) -> None:
    """The end of a slow line: keys and signals still act, and once it reads again it shows what is new."""
    with Terminal(glass.stdout) as terminal:
        glass.hold()
        for count in range(40):
            assert terminal.draw([f"{count} " + "x" * 9000, *LINES[1:]])
        assert terminal.left
        glass.listen()
        for _ in range(400):
            terminal.draw(["last", *LINES[1:]])
        assert glass.look()[0] == "last"


def test_a_terminal_that_does_not_tell_its_size_counts_as_a_usual_one(glass: Glass) -> None:
    fcntl.ioctl(glass.stdout.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    assert Terminal(glass.stdout).size() == (80, 24)


@pytest.mark.parametrize(
    "environ,depth",
    [
        ({}, "truecolor"), ({"COLORTERM": ""}, "256"), ({"COLORTERM": "", "TERM": "xterm"}, "16"), ({"NO_COLOR": "1"}, "none"),
        ({"TERM": "dumb"}, "none"),
    ],
)  # fmt: skip
def test_the_depth_is_the_terminals(
    glass: Glass, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], depth: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert depth_of(glass.stdout) == depth


def test_a_screen_is_shown_on_terminals_alone(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_capable(glass.stdout, glass.stdout)
    assert not is_capable(io.StringIO(), glass.stdout) and not is_capable(glass.stdout, io.StringIO())
    assert not is_capable(None, glass.stdout)
    for term in ("dumb", ""):
        monkeypatch.setenv("TERM", term)
        assert not is_capable(glass.stdout, glass.stdout)


SUSPEND = """
import sys
from cli.keys import Keys
from cli.terminal import Terminal, suspend
with Terminal(sys.stdout) as terminal, Keys(sys.stdin) as keys:
    terminal.draw(["before"])
    suspend(terminal, keys)
    terminal.draw(["before"])
"""


def test_after_a_stop_all_is_drawn_again(glass: Glass) -> None:
    """In a session of its own, where nothing stops, as nobody could go on."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SUSPEND], stdin=glass.stdout, stdout=glass.stdout, env=environ, start_new_session=True,
        timeout=60,
    )  # fmt: skip
    text = glass.written().decode()
    assert done.returncode == 0 and text.count("before") == 2
    assert [x[-1] for x in re.findall(r"\x1b\[\?1049[hl]", text)] == ["h", "l", "h", "l"]
