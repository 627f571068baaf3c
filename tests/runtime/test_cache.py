"""runtime/cache.py: a cached file is whole or not there, whatever goes wrong while it is made."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import AffectError
from runtime import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path / "cache"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_is_made_once_and_found_again(folder: Path) -> None:
    made = cache.make_once("a/x.bin", lambda path: path.write_bytes(b"one") and None)
    again = cache.make_once("a/x.bin", lambda path: pytest.fail("made twice"))
    assert made == again == folder / "a" / "x.bin"
    assert made.read_bytes() == b"one"


def test_a_full_disk_is_said_and_leaves_nothing(folder: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with pytest.raises(AffectError, match="disk is full") as full:
        cache.make_once("a/x.bin", build)
    assert full.value.code == "disk_full" and "AFFECT_CACHE" in full.value.cure
    assert files(folder) == []


def test_ctrl_c_leaves_nothing(folder: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.make_once("a/x.bin", build)
    assert files(folder) == []


def test_a_cache_that_cannot_be_written_falls_back_to_the_temporary_folder(tmp_path: Path, folder: Path) -> None:
    folder.write_bytes(b"a file, where the folder should be")  # root may write anywhere, but not into this
    assert cache.cache_folder().parent == tmp_path / "tmp"
    made = cache.make_once("x.bin", lambda path: path.write_bytes(b"one") and None)
    assert made.read_bytes() == b"one"


def test_no_folder_at_all_is_said(tmp_path: Path, folder: Path) -> None:
    folder.write_bytes(b"")
    tmp_path.joinpath("tmp").write_bytes(b"")
    with pytest.raises(AffectError, match="cannot be written") as refused:
        cache.cache_folder()
    assert refused.value.code == "no_cache"


def test_another_users_folder_in_the_temporary_one_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert not cache.writable(folder)


RACE = """
import sys, time
from pathlib import Path
from runtime.cache import make_once
def build(path):
    with path.open("wb") as file:
        for _ in range(40):
            file.write(b"0123456789" * 1000)
            file.flush()
            time.sleep(0.005)
print(len(make_once("race/x.bin", build).read_bytes()))
"""


def test_two_processes_at_once_both_get_the_whole_file(folder: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    running = [
        subprocess.Popen([sys.executable, "-c", RACE], env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["400000", "400000"]
    assert files(folder) == ["x.bin"]


def test_clear_keeps_the_compiled_wheels(folder: Path) -> None:
    cache.make_once("wheels/key/x.whl", lambda path: path.write_bytes(b"minutes") and None)
    cache.make_once("asr/x.bin", lambda path: path.write_bytes(b"12345") and None)
    assert cache.clear() == 5
    assert cache.entries() == [("wheels/key/x.whl", 7)]


def test_a_process_that_leaves_at_once_takes_its_unfinished_file_with_it(folder: Path) -> None:
    """As `affect analyze` does on Ctrl-C."""

    def build(partial: Path) -> None:
        partial.write_bytes(b"half")
        cache.discard_all()
        assert not list(folder.rglob("*.partial"))
        partial.write_bytes(b"whole")

    assert cache.make_once("a/b.gguf", build).read_bytes() == b"whole"


def test_onnxruntime_tells_nobody(tmp_path: Path) -> None:
    """Its telemetry keeps a device's number in the cache folder: a reading leaves none there."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    code = "import time; from runtime.speech import vad; vad(); time.sleep(1)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=env, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
