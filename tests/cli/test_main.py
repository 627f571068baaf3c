"""`affect`: lazy commands behave as real ones, and what ends them is one safe line with the right exit code."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import run_app, visible
from cli.main import COMMANDS, load_command
from models.errors import AffectError

ROOT = Path(__file__).parents[2]


def affect(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_line_is_the_commands_own(name: str) -> None:
    command = load_command(name)
    assert (command.help or "").strip().splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_line_fits(name: str) -> None:
    """At 80 columns, beside the longest name, nothing is cut."""
    assert COMMANDS[name] in affect("--help").stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_answers_to_help(name: str) -> None:
    done = affect(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"{name} " in done.stdout


def test_a_wrong_command_is_wrong_usage_with_a_hint() -> None:
    done = affect("anlyze")
    assert done.returncode == 2 and "analyze" in done.stderr and done.stdout == ""


def test_the_version_is_one_line() -> None:
    done = affect("--version")
    assert done.returncode == 0 and len(done.stdout.split()) == 1


def ending(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def app() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_app(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def test_an_error_is_one_line_with_its_cure(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(AffectError("it broke", "mend it"), capsys) == (1, "affect: it broke (mend it)\n")


def test_nothing_in_an_error_acts_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, line = ending(AffectError("no file [red]a\nb\x1b]0;title\x07\u202e\udcff"), capsys)
    assert line == "affect: no file [red]a\\nb\\x1b]0;title\\x07\\u202e\\udcff\n"


def test_a_missing_package_says_which_extra_brings_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = ending(ModuleNotFoundError("No module named 'llama_cpp'", name="llama_cpp.lib"), capsys)
    assert code == 1 and line == 'affect: llama_cpp is not installed (pip install "affectgpt[cpu]")\n'


def test_a_missing_room_is_a_defect_and_not_hidden() -> None:
    def app() -> None:
        raise ModuleNotFoundError("No module named 'runtime.engine'", name="runtime.engine")

    with pytest.raises(ModuleNotFoundError):
        run_app(app)


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(KeyboardInterrupt(), capsys) == (130, "")


def test_letters_of_any_script_stay_as_they_are() -> None:
    assert visible("Grüße 你好 😀") == "Grüße 你好 😀"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"> happy ##.. ? ?\n"), ("latin-1", b"> happy ##\xb7\xb7 ? ?\n")]
)
def test_a_terminal_without_our_signs_gets_plain_ones(
    encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, write_through=True))
    run_app(lambda: print("▸ happy ██·· 你 😀"))
    assert written.getvalue() == shown


def test_output_that_can_not_be_written_is_said_in_one_line() -> None:
    shell = f"{sys.executable} -m cli.main --version"
    full = subprocess.run(["sh", "-c", f"{shell} > /dev/full"], cwd=ROOT, capture_output=True, text=True)
    closed = subprocess.run(["sh", "-c", f"{shell} >&-"], cwd=ROOT, capture_output=True, text=True)
    words = "affect: standard output can't be written: its disk is full (free some space)\n"
    assert (full.returncode, full.stderr) == (1, words)
    assert (closed.returncode, closed.stderr) == (
        1,
        "affect: standard output is closed (send it to a terminal, a file or a pipe)\n",
    )
