"""`affect doctor`: says what really works; each red line has its cure; it runs where nothing else does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli import doctor as room
from cli.doctor import Check
from models.bundle import load_bundle, write_manifest
from models.errors import AffectError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AFFECT_DATA_HOME", str(tmp_path / "data"))


def report(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    """Makes the examination find just these."""
    monkeypatch.setattr(room, "examine", lambda: iter(checks))


def test_a_needed_red_line_ends_it_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report(monkeypatch, room.broken("llama.cpp", "llama_cpp", "not there", "pip install it"))
    with pytest.raises(typer.Exit) as ended:
        room.doctor(json_=False)
    assert ended.value.exit_code == 1
    shown = capsys.readouterr().out
    assert "not there" in shown and "-> pip install it" in shown and "can't work" in shown


def test_what_is_optional_does_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    mild = room.broken("bundle", "mine", "changed", "affect bundles remove mine", needed=False)
    report(monkeypatch, room.lacks("live", "PortAudio", "not installed", "apt-get install"), mild)
    room.doctor(json_=False)
    assert "Analysis works." in capsys.readouterr().out


def test_json_is_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report(monkeypatch, room.ok("program", "affectgpt", "[red]1\x1b[31m"))
    room.doctor(json_=True)
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert set(document["checks"][0]) == {"area", "name", "state", "said", "cure", "needed"}


def test_markup_in_a_name_does_not_act(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report(monkeypatch, room.ok("live", "microphones", "[red]Mic[/red] [bold]"))
    room.doctor(json_=False)
    assert "[red]Mic[/red] [bold]" in capsys.readouterr().out


def test_a_provider_counts_when_its_session_has_it() -> None:
    found = list(room.check_onnxruntime())
    assert [check.state for check in found if check.name == "CPUExecutionProvider"] == ["ok"]


def test_a_listed_provider_that_fell_back_is_said() -> None:
    check = room.check_provider("CUDAExecutionProvider", ["CPUExecutionProvider"], "onnxruntime-gpu 1")
    assert check.state == "lacks" and "does not load" in check.said and check.cure


def test_both_onnxruntimes_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "installed", lambda distribution, module: "1.0")
    (check,) = room.check_onnxruntime()
    assert check.needed and check.state == "broken" and "uninstall" in check.cure


def test_the_probe_model_is_onnx_and_computes() -> None:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(room.tiny_model(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([-2.0], np.float32)})[0].tolist() == [0.0]


def test_a_crash_in_a_child_is_a_line_and_not_the_end() -> None:
    said = room.in_child("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    assert said.startswith("crashes (signal 4)")


def test_two_runtimes_that_clash_get_their_own_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmentation fault of the self-check is not the bundle's fault; anything else may be."""
    bundle = load_bundle("nano")
    for said, cure in (("crashes (signal 11): why?", room.CLASH_CURE), ("crashes (signal 4): why?", "again")):
        monkeypatch.setattr(room, "in_child", lambda code, *arguments, said=said: said)
        assert room.check_self(bundle, bundle.path, "again", True).cure == cure


def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHILD_SECONDS", 0.5)
    assert "gave no answer" in room.in_child("import time; time.sleep(60)")


def test_a_child_imports_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("colorsys.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(tmp_path)
    assert room.in_child("import colorsys; print('\"fine\"')") == "fine"


@pytest.mark.parametrize(
    ("answer", "name", "word"),
    [
        ("ModuleNotFoundError: No module named 'sounddevice'", "sounddevice", "affectgpt[live]"),
        ("OSError: PortAudio library not found", "PortAudio", "libportaudio2"),
    ],
)
def test_without_sound_devices_it_says_what_to_add(
    monkeypatch: pytest.MonkeyPatch, answer: str, name: str, word: str
) -> None:
    monkeypatch.setattr(room, "in_child", lambda *_: answer)
    (check,) = room.check_sound()
    assert check.name == name and check.state == "lacks" and word in check.cure


def test_cameras_are_named_from_the_systems_list(tmp_path: Path) -> None:
    tmp_path.joinpath("video0").mkdir()
    tmp_path.joinpath("video0", "name").write_text("Front \x1b[31mcamera\n")
    said = room.check_cameras(tmp_path).said
    assert "camera" in said and "\x1b" not in said


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("cache").write_bytes(b"")
    check = room.check_cache()
    assert check.state == "lacks" and "AFFECT_CACHE" in check.cure


def test_a_bad_bundle_is_red_with_a_cure(tmp_path: Path) -> None:
    tmp_path.joinpath("affect.json").write_text("{}")
    (check,) = room.check_bundle("nano", tmp_path)
    assert check.state == "broken" and check.needed and check.cure


def test_every_line_that_is_not_green_has_a_cure() -> None:
    assert [check.name for check in room.examine() if check.state != "ok" and not check.cure] == []


EVIL = (
    "# A card\n\nred \x1b[31m \x9b2J \u202eback and &#13;over &#x202e;gone, [here](http://there/)\n\n\x1b]0;title\x07\n"
)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A bundle whose card would act on a terminal."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    spec, licence = load_bundle("nano").spec, {"licence": "CC0-1.0", "origin": "made in code"}
    folder.joinpath("README.md").write_text(EVIL, encoding="utf-8")
    folder.joinpath(spec["language"]["adapter"]).write_bytes(b"GGUF")
    files = {"README.md": licence, spec["language"]["adapter"]: licence}
    write_manifest(folder, {**spec, "name": "hostile", "selfcheck": {}, "files": files})
    return folder


def acting(text: str) -> list[str]:
    """Characters that are neither printed nor a line's end."""
    return [c for c in text if not c.isprintable() and c != "\n"]


def test_a_card_without_a_terminal_is_the_text_itself(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room.doctor(card=True)
    text = (ROOT / "models/bundles/nano/README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() == text.strip()
    room.doctor(card=True, bundle=str(hostile))
    shown = capsys.readouterr().out
    assert shown.startswith("# A card\n\nred \\x1b[31m") and acting(shown) == []


def test_a_card_on_a_terminal_is_laid_out_and_harmless(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also what Markdown only names (&#13;) comes out spelled; where a link leads is written beside it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    room.doctor(card=True, bundle=str(hostile))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert acting(plain) == [] and "# A card" not in plain
    for word in ("A card", "\\x1b[31m", "\\x9b2J", "\\u202eback", "\\u202egone", "http://there/"):
        assert word in plain
    room.doctor(card=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "─" in plain and "|---" not in plain and max(map(len, plain.splitlines())) <= 80


def test_a_card_is_no_json_and_a_bundle_goes_with_a_card(tmp_path: Path) -> None:
    for options in ({"card": True, "json_": True}, {"bundle": "nano"}):
        with pytest.raises(typer.BadParameter):
            room.doctor(**options)  # type: ignore[arg-type]  # a flag or a name
    with pytest.raises(AffectError, match="no bundle"):
        room.doctor(card=True, bundle=str(tmp_path))


BARE = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["affect", *{arguments}]
from cli.main import main
main()
"""
ABSENT = {
    "onnxruntime",
    "llama_cpp",
    "gguf",
    "torch",
    "transformers",
    "ctranslate2",
    "tokenizers",
    "sounddevice",
    "onnx",
}


def bare(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program as the base install alone has it."""
    code = BARE.format(absent=ABSENT, arguments=list(arguments))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["doctor"], ["bundles", "list"]])
def test_the_base_install_alone_runs(arguments: list[str]) -> None:
    done = bare(*arguments)
    assert done.returncode in ((0, 1) if arguments == ["doctor"] else (0,)), done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(room, "installed", lambda distribution, module: None)
    yield


def test_missing_packages_are_red_where_analysis_needs_them(no_package: None) -> None:
    found = {check.name: check for check in room.check_packages()}
    assert found["llama-cpp-python"].needed and "affectgpt[cpu]" in found["llama-cpp-python"].cure
    assert found["torch"].state == "lacks" and "affectgpt[train]" in found["torch"].cure


def test_a_compiler_is_only_asked_for_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> list[str]:
        raise AffectError("no C++ compiler was found", "install one")

    monkeypatch.setattr("cli.wheel.compiler", none)
    assert room.check_compiler().state == "lacks"
