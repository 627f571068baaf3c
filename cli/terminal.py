"""The terminal that a whole screen is drawn on: taken, written sparingly, and given back as it was, whatever happens.

Knows escape codes and what a terminal can show; nothing of what stands in the lines.
"""

from __future__ import annotations

import atexit
import codecs
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TextIO

from rich.console import Console

from cli.errors import plainer
from cli.halfblocks import HALF, Depth
from cli.keys import Keys
from cli.screen import Place

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # another screen, no cursor, no wrapping
LEAVE = b"\x1b[?2026l\x1b[0m\x1b[H\x1b[J\x1b[?7h\x1b[?25h\x1b[?1049l"  # cleared: tmux shows its lines later, if resized
CLEAR = "\x1b[K"  # the rest of a line
BEGIN, DONE = "\x1b[?2026h", "\x1b[?2026l"  # what is between them is shown at once
PATIENCE = 0.05  # seconds in which a terminal takes what is drawn; else what comes next is not drawn
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)


def is_capable(stdin: TextIO | None, stdout: TextIO | None) -> bool:
    """Whether a whole screen can be shown: a terminal at both ends that knows escape codes. On Windows none is tried."""
    if sys.platform == "win32" or any(x is None or x.closed or not x.isatty() for x in (stdin, stdout)):
        return False
    return os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def depth_of(stdout: TextIO) -> Depth:
    """The colours of a terminal; none with NO_COLOR."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return "none"
    depths: dict[str | None, Depth] = {"truecolor": "truecolor", "256": "256", "standard": "16"}
    return depths.get(Console(file=stdout).color_system, "none")


class Terminal:
    """The terminal behind `stdout`, taken by `with` and given back at its end, whatever happens. To be drawn on by one thread.

    `depth` holds for text, `picture_depth` for the picture: a terminal that lacks the half block gets one of characters.
    A terminal that is slow, or held, holds up nobody: it gets fewer pictures.
    """

    def __init__(self, stdout: TextIO) -> None:
        codecs.register_error("affect_plainer", plainer)
        self.fd, self.encoding = stdout.fileno(), stdout.encoding
        self.depth = depth_of(stdout)
        self.picture_depth: Depth = self.depth if can_show(HALF, self.encoding) else "none"
        self.taken = False
        self.out: int | None = None  # where to
        self.left = b""  # what has yet to be written
        self.forget()

    def forget(self) -> None:
        """Nothing is known of what the screen shows: the next `draw` writes all of it."""
        self.drawn: tuple[tuple[int, int], Place | None] | None = None
        self.lines: list[str] = []
        self.rows: list[str] = []

    def __enter__(self) -> Terminal:
        atexit.register(self.restore)
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
        atexit.unregister(self.restore)
        if self.out is not None:
            os.close(self.out)
            self.out = None

    def enter(self) -> bool:
        """Takes the terminal; after `restore`, again. False when it is gone."""
        self.forget()
        self.out = opened_anew(self.fd) if self.out is None else self.out
        self.left, self.taken = b"", True
        return self.write(ENTER)

    def restore(self) -> None:
        """Gives the terminal back as it was; may be called at any time, also by a handler of signals, and again."""
        taken, self.taken = self.taken, False
        if not taken or self.out is None:
            return
        with suppress(OSError):  # it is gone
            if select.select([], [self.out], [], 1.0)[1]:
                os.write(self.out, LEAVE)

    def size(self) -> tuple[int, int]:
        """Columns and rows; 80 and 24 where the terminal does not tell."""
        try:
            columns, rows = os.get_terminal_size(self.fd)
        except OSError:
            columns = rows = 0
        return columns or 80, rows or 24

    def draw(self, lines: Sequence[str], picture: Sequence[str] = (), place: Place | None = None) -> bool:
        """Shows the lines of `compose`, and over them at their place the rows of a picture; writes what is not there yet.
        False when the terminal is gone, or given back."""
        if not self.write("") or self.left:
            return self.taken
        columns, rows = size = self.size()
        lines = [*lines, *[""] * (rows - len(lines))][:rows]
        picture = picture[: max(0, min(place.rows, rows - place.row))] if place else []
        place = place if picture else None
        parts = self.anew(size, place) + self.text(changed(self.lines, lines), place, columns)
        if place:
            parts += [at(place.row + i, place.column) + row for i, row in changed(self.rows, picture).items()]
        self.lines, self.rows = list(lines), list(picture)
        return self.write("".join([BEGIN, *parts, DONE])) if parts else self.taken

    def anew(self, size: tuple[int, int], place: Place | None) -> list[str]:
        """What clears the screen, where its size or the picture's place is another one than before."""
        if self.drawn == (size, place):
            return []
        self.forget()
        self.drawn = (size, place)
        return [at(row, 0) + CLEAR for row in range(size[1])]

    def text(self, lines: Mapping[int, str], place: Place | None, width: int) -> list[str]:
        """What writes the lines with these numbers. Cells that a picture covers are left alone, or it is written again."""
        parts = []
        for number, line in lines.items():
            row, start = number - place.row if place else -1, 0
            if place and 0 <= row < place.rows:
                start = place.column + place.columns
                if line[:start].strip(" "):  # not the empty cells that `compose` leaves
                    start = 0
                    self.rows[row : row + 1] = [""] * (row < len(self.rows))
            if start < width:
                parts.append(f"{at(number, start)}{CLEAR}{line[start:]}")
        return parts

    def write(self, text: str) -> bool:
        """Writes what is left of before, and the text; what the terminal does not take in time is left. False when it is gone."""
        self.left += text.encode(self.encoding, "affect_plainer")
        until = time.monotonic() + PATIENCE
        while self.left and self.taken and self.out is not None:
            try:
                self.left = self.left[os.write(self.out, self.left) :]
            except BlockingIOError:
                if not select.select([], [self.out], [], max(0.0, until - time.monotonic()))[1]:
                    break
            except OSError as error:
                if error.errno not in GONE:
                    raise
                self.restore()
        return self.taken


def opened_anew(fd: int) -> int:
    """The same terminal, opened once more so that writing to it never waits: a setting that the shell must not inherit."""
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return os.dup(fd)


def can_show(sign: str, encoding: str) -> bool:
    """Whether a terminal of that encoding has the sign."""
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def at(row: int, column: int) -> str:
    """What puts the cursor on a cell."""
    return f"\x1b[{row + 1};{column + 1}H"


def changed(before: Sequence[str], now: Sequence[str]) -> dict[int, str]:
    """Number -> row, of those that are not as before."""
    return {number: row for number, row in enumerate(now) if number >= len(before) or before[number] != row}


def suspend(terminal: Terminal, keys: Keys) -> None:
    """What Ctrl-Z asks for: gives the terminal back, stops, and takes it again when the program goes on. For the thread that
    draws, between two drawings; a handler of SIGTSTP may only ask for it."""
    terminal.restore()
    keys.restore()
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, before)
    keys.enter()
    terminal.enter()
