"""Keys from a terminal, one at a time and without waiting for a whole line.

Knows what a terminal sends; nothing of what a key is for.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import time
from typing import TextIO

QUIT = "q"
END = "\x04"  # Ctrl-D
SEQUENCE = re.compile(  # what an arrow, a function key, Alt with a letter or the terminal's own answer sends
    r"\x1b(?:\[\[.|\[[0-?]*[ -/]*[@-~]|O.|[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)|[^\[O\]P_^X\x1b])", re.DOTALL
)
REST = 0.05  # seconds in which the rest of a sequence comes, if Escape is the beginning of one

if sys.platform == "win32":
    import msvcrt

    class Keys:
        """The console's keys."""

        def __init__(self, stdin: TextIO | None = None) -> None:
            self.stdin = sys.stdin if stdin is None else stdin

        def __enter__(self) -> Keys:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def enter(self) -> None:
            """Nothing to do."""

        def restore(self) -> None:
            """Nothing to undo."""

        def get(self, timeout: float) -> str | None:
            """The next key, None when there is none within `timeout` seconds."""
            until = time.monotonic() + timeout
            while not msvcrt.kbhit():
                if time.monotonic() >= until:
                    return None
                time.sleep(0.01)
            key = msvcrt.getwch()
            if key in "\x00\xe0":  # an arrow or the like; a second code follows
                msvcrt.getwch()
                return None
            return QUIT if key in (END, "\x03") else key

else:
    import select
    import termios

    def own(settings: list) -> list:
        """Each key comes at once and is not shown; Ctrl-C and Ctrl-Z still act, Ctrl-S does not stop the screen."""
        settings[0] &= ~termios.IXON
        settings[3] &= ~(termios.ECHO | termios.ICANON)
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
        return settings

    class Keys:
        """The keys of `stdin`; where that is no terminal there are none."""

        def __init__(self, stdin: TextIO | None = None) -> None:
            stdin = sys.stdin if stdin is None else stdin
            self.fd = stdin.fileno() if stdin and not stdin.closed and stdin.isatty() else None
            self.before: list | None = None  # the terminal's settings, while they are ours
            self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self.typed = ""
            self.over = False

        def __enter__(self) -> Keys:
            self.enter()
            return self

        def __exit__(self, *_: object) -> None:
            self.restore()

        def enter(self) -> None:
            """Takes the terminal; after `restore`, again."""
            if self.fd is None or self.before is not None:
                return
            try:
                settings = termios.tcgetattr(self.fd)
                self.before = termios.tcgetattr(self.fd)
                termios.tcsetattr(self.fd, termios.TCSANOW, own(settings))
            except termios.error:  # the terminal is gone
                self.over = True

        def restore(self) -> None:
            """The settings from before; may be called at any time, and again."""
            before, self.before = self.before, None
            if self.fd is None or before is None:
                return
            try:
                termios.tcsetattr(self.fd, termios.TCSANOW, before)
            except termios.error:  # the terminal is gone
                self.over = True

        def get(self, timeout: float) -> str | None:
            """The next key, None when there is none within `timeout` seconds. Ctrl-D and the end of the terminal are `q`."""
            if self.fd is None:
                time.sleep(timeout)
                return None
            until = time.monotonic() + timeout
            while (key := self.taken()) is None:
                if self.over:
                    return QUIT
                if not self.read(max(0.0, until - time.monotonic())):
                    return None
            return QUIT if key == END else key

        def taken(self) -> str | None:
            """The first key of what was typed; sequences before it are left out."""
            while self.typed.startswith("\x1b"):
                if found := SEQUENCE.match(self.typed):
                    self.typed = self.typed[found.end() :]
                elif self.typed.startswith("\x1b\x1b"):  # Escape, and another sequence
                    self.typed = self.typed[1:]
                elif not self.read(REST):  # Escape alone, or a sequence that was cut off
                    self.typed = ""
            key, self.typed = self.typed[:1], self.typed[1:]
            return key or None

        def read(self, timeout: float) -> bool:
            """Takes what has been typed; False when nothing is within `timeout` seconds."""
            if self.fd is None or self.over or not select.select([self.fd], [], [], timeout)[0]:
                return False
            try:
                new = os.read(self.fd, 1024)
            except OSError:  # it was hung up
                new = b""
            self.over = not new
            self.typed += self.decoder.decode(new)
            return True
