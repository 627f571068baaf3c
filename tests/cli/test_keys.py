"""Keys come one at a time and whole, and the terminal is as before afterwards."""

from __future__ import annotations

import io
import os
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Timer
from typing import BinaryIO, TextIO

import pytest

from cli.keys import Keys


@dataclass(frozen=True)
class Desk:
    """A terminal: `keyboard` is what types, `stdin` what the program reads."""

    keyboard: BinaryIO
    stdin: TextIO

    def type(self, text: bytes) -> None:
        self.keyboard.write(text)


@pytest.fixture
def desk() -> Iterator[Desk]:
    master, slave = os.openpty()
    with os.fdopen(master, "r+b", buffering=0) as keyboard, os.fdopen(slave, encoding="utf-8") as stdin:
        yield Desk(keyboard, stdin)


def all_of(keys: Keys) -> list[str]:
    """What was typed, to the end."""
    return list(iter(lambda: keys.get(0.2), None))


def test_keys_come_without_a_line_and_are_not_shown(desk: Desk) -> None:
    with Keys(desk.stdin) as keys:
        desk.type(b"r ?")
        assert all_of(keys) == ["r", " ", "?"]
        os.set_blocking(desk.keyboard.fileno(), False)
        assert desk.keyboard.read(100) is None


def test_the_terminal_is_as_before_and_signals_work_meanwhile(desk: Desk) -> None:
    """Also when the work between fails, and when it is restored twice."""
    fd = desk.stdin.fileno()
    before = termios.tcgetattr(fd)
    with pytest.raises(ZeroDivisionError), Keys(desk.stdin) as keys:
        mode = termios.tcgetattr(fd)[3]
        assert mode & termios.ISIG and not mode & (termios.ICANON | termios.ECHO)
        raise ZeroDivisionError
    assert termios.tcgetattr(fd) == before
    keys.restore()
    assert termios.tcgetattr(fd) == before


def test_it_can_be_taken_again_after_a_stop(desk: Desk) -> None:
    before = termios.tcgetattr(desk.stdin.fileno())
    with Keys(desk.stdin) as keys:
        keys.restore()
        keys.enter()
        keys.enter()
        desk.type(b"m")
        assert keys.get(0.5) == "m"
    assert termios.tcgetattr(desk.stdin.fileno()) == before


@pytest.mark.parametrize(
    "sequence",
    [b"\x1b[A", b"\x1bOP", b"\x1b[1;5C", b"\x1b[[A", b"\x1b[3~", b"\x1bq", b"\x1b]11;rgb:0/0/0\x07", b"\x1b\x1b[A"],
)
def test_a_sequence_is_no_key(desk: Desk, sequence: bytes) -> None:
    """An arrow must not be taken for the letters in it: Alt-q and F1 would end the program."""
    with Keys(desk.stdin) as keys:
        desk.type(b"s" + sequence + b"m")
        assert all_of(keys) == ["s", "m"]


def test_a_sequence_in_two_parts_is_no_key_either(desk: Desk) -> None:
    with Keys(desk.stdin) as keys:
        desk.type(b"\x1b")
        rest = Timer(0.01, desk.type, [b"[Aq"])
        rest.start()
        assert keys.get(0.5) == "q"
        rest.join()


@pytest.mark.parametrize("alone", [b"\x1b", b"\x1b[", b"\x1b\x1b"])
def test_escape_alone_is_nothing(desk: Desk, alone: bytes) -> None:
    with Keys(desk.stdin) as keys:
        desk.type(alone)
        assert keys.get(0.2) is None
        desk.type(b"c")
        assert keys.get(0.5) == "c"


def test_a_letter_of_several_bytes_is_whole(desk: Desk) -> None:
    with Keys(desk.stdin) as keys:
        desk.type("é😀".encode()[:3])
        assert keys.get(0.2) == "é" and keys.get(0.05) is None
        desk.type("é😀".encode()[3:])
        assert keys.get(0.2) == "😀"


def test_bytes_that_are_no_text_do_no_harm(desk: Desk) -> None:
    with Keys(desk.stdin) as keys:
        desk.type(b"\xff\xfeq")
        assert all_of(keys)[-1] == "q"


def test_nothing_typed_is_nothing_after_the_timeout(desk: Desk) -> None:
    with Keys(desk.stdin) as keys:
        start = time.monotonic()
        assert keys.get(0.1) is None and keys.get(0) is None
        assert 0.09 <= time.monotonic() - start < 5


def test_the_end_of_input_is_q(desk: Desk) -> None:
    with Keys(desk.stdin) as keys:
        desk.type(b"\x04")
        assert keys.get(0.5) == "q"


def test_a_hang_up_is_q_and_restoring_raises_nothing(desk: Desk) -> None:
    with Keys(desk.stdin) as keys:
        desk.keyboard.close()
        assert keys.get(0.5) == "q" and keys.get(0.5) == "q"


def test_where_there_is_no_terminal_there_are_no_keys() -> None:
    """Standard input may be a file, a pipe, or closed."""
    closed = io.StringIO("q")
    closed.close()
    for stdin in (io.StringIO("q"), closed):
        with Keys(stdin) as keys:
            start = time.monotonic()
            assert keys.get(0.05) is None
            assert time.monotonic() - start >= 0.04
