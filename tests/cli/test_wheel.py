"""cli/wheel.py: the compiler is asked for before minutes are spent, progress is said, and one build is enough."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli import wheel as room
from cli.wheel import Build, Progress
from models.errors import AffectError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_no_compiler_is_one_line_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(AffectError, match=r"no C\+\+ compiler was found") as missing:
        room.compiler({"PATH": str(tmp_path)})
    assert missing.value.cure and "\n" not in str(missing.value)


def test_the_users_own_compiler_is_named_when_it_is_not_there() -> None:
    with pytest.raises(AffectError, match=r"compiler nope \(from CXX\)"):
        room.compiler({"CXX": "nope -O3", "PATH": "/usr/bin"})


def test_a_missing_header_is_named(tmp_path: Path) -> None:
    said = "probe.cpp:3:10: fatal error: thread: No such file or directory"
    broken = script(tmp_path / "cxx", f"echo '{said}' >&2; exit 1")
    with pytest.raises(AffectError, match="header thread is missing"):
        room.check_compiler([str(broken)])


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    broken = script(tmp_path / "cxx", "echo 'error: unknown option -std=c++17' >&2; exit 1")
    with pytest.raises(AffectError, match=r"unknown option -std=c\+\+17"):
        room.check_compiler([str(broken)])


def test_no_cuda_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.Path, "is_file", lambda self: False)
    with pytest.raises(AffectError, match="nvcc"):
        room.check_cuda({"PATH": str(tmp_path)})


def test_builds_that_differ_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Build("1.0").folder
    assert one == Build("1.0").folder
    assert (
        len(
            {
                one,
                Build("1.1").folder,
                Build("1.0", cuda=True).folder,
                Build("1.0", extra_flags="-DX=1").folder,
            }
        )
        == 4
    )
    monkeypatch.setattr(room, "cpu", lambda: "another machine")
    assert Build("1.0").folder != one


def test_progress_counts_ninjas_steps() -> None:
    progress = Progress()
    assert "fetching and configuring" in progress.words(6)
    progress.read(["Collecting", "  [3/140] Building CXX object a.o", "  [70/140] Building CXX object b.o\n"])
    assert progress.words(120) == "Compiling llama-cpp-python: step 70 of 140, 2.0 min, about 2.0 min left"


def test_a_long_build_says_how_far_it_is() -> None:
    said: list[str] = []
    code = "import time\nfor n in range(3): print(f'[{n + 1}/3] step', flush=True); time.sleep(0.4)"
    exit_code, progress = room.watch([sys.executable, "-c", code], {}, said.append, every=0.2)
    assert exit_code == 0 and progress.done == 3
    assert len(said) >= 3 and "step 2 of 3" in " ".join(said)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("c++: fatal error: Killed signal terminated program cc1plus", "ran out of memory"),
        ("write error: No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for llama-cpp-python", "could not be downloaded"),
        ("ggml.c:10:2: error: unknown type name 'foo'", "unknown type name 'foo'"),
        ("CMake Error in CMakeLists.txt:\n  no GPU was detected.", "CMakeLists.txt: no GPU was detected."),
        ("it just stopped", "no line of it says why"),
    ],
)
def test_a_failed_build_is_one_line(line: str, words: str) -> None:
    error = room.failure(["[1/2] ok", *line.splitlines()], Path("build.log"))
    assert words in error.message and error.cure and "\n" not in str(error)


def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """Puts a program in pip's place; it gets the wheel folder as its argument and counts its runs."""
    count = tmp_path / "runs"
    program = script(tmp_path / "pip", f'echo run >> "{count}"\necho "[1/1] done $CMAKE_ARGS"\n{body}')
    monkeypatch.setattr(room, "pip_command", lambda version, folder: [str(program), str(folder)])
    return count


def test_one_build_serves_the_next_clone(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = fake_pip(tmp_path, monkeypatch, 'echo wheel > "$1/llama_cpp_python-1.0-py3-none-any.whl"')
    first = room.find_or_build(Build("1.0"), lambda line: None)
    said: list[str] = []
    assert room.find_or_build(Build("1.0"), said.append) == first
    assert count.read_text() == "run\n" and "compiled before" in said[0]
    assert [path for path in cache.rglob("*") if path.is_file()] == [first]


def test_a_failed_build_keeps_its_log_and_nothing_else(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, "echo 'x.cpp:1:1: error: bad'; exit 1")
    with pytest.raises(AffectError, match=r"did not compile: x\.cpp:1:1: error: bad"):
        room.find_or_build(Build("1.0"), lambda line: None)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["last-build.log"]


def test_the_version_comes_from_the_constraints(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("numpy==2.0\nllama-cpp-python==0.3.36\n")
    assert room.pinned_version(file) == "0.3.36"
    file.write_text("numpy==2.0\n")
    with pytest.raises(AffectError):
        room.pinned_version(file)
