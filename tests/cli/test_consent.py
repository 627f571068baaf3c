"""Consent: asked once, remembered, taken back; nothing is opened without it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import consent

ROOT = Path(__file__).parents[2]
LIVE = [sys.executable, "-m", "cli.main", "live", "--camera", "examples/grid.mp4", "--mic", "none", "--format", "jsonl"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFFECT_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def test_without_consent_nothing_is_read() -> None:
    """A script must say --yes: there is nobody to ask."""
    done = subprocess.run(LIVE, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stdout == ""
    assert "--yes" in done.stderr and len(done.stderr.splitlines()) == 1


def test_it_is_remembered_and_taken_back(folder: Path) -> None:
    assert not consent.given() and not consent.revoke()
    consent.remember()
    assert consent.given()
    done = subprocess.run([*LIVE[:4], "--revoke"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "taken back" in done.stderr
    assert not consent.given() and list(folder.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 0}', '{"version": "1"}', "\udcff"])
def test_another_text_or_a_damaged_file_is_no_consent(folder: Path, content: str) -> None:
    folder.mkdir()
    consent.consent_file().write_bytes(content.encode("utf-8", "surrogateescape"))
    assert not consent.given()


def test_the_text_says_what_must_be_said() -> None:
    """What is captured, that nothing leaves the machine, who must be told, where it is forbidden, how to take it back."""
    for words in ("camera", "microphone", "no network", "must be told", "50(3)", "workplaces", "5(1)(f)", "--revoke"):
        assert words in consent.TEXT
    assert max(map(len, consent.TEXT.splitlines())) <= 80 and len(consent.TEXT.splitlines()) <= 20


def asked(answer: str) -> tuple[str, int]:
    """What a person sees who answers so; exit code."""
    command = [*LIVE[:4], "--camera", "none", "--mic", "examples/grid.mp4", "--format", "jsonl", "--no-transcript"]
    child, screen = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(command[0], command)
    seen = b""
    while b"leave: " not in seen:
        seen += os.read(screen, 4096)
    os.write(screen, answer.encode() + b"\n")
    while True:
        try:
            seen += os.read(screen, 4096)
        except OSError:
            break
    return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_who_says_no_is_not_watched() -> None:
    seen, code = asked("no")
    assert code == 1 and "nothing was opened" in seen and not consent.given()


def test_who_says_yes_is_asked_once() -> None:
    seen, code = asked("yes")
    assert code == 0 and '"labels"' in seen and consent.given()
    began = time.monotonic()
    done = subprocess.run([*LIVE, "--seconds", "0.2"], cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and time.monotonic() - began < 30
