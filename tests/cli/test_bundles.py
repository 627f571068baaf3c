"""`affect bundles`: what is added is checked and whole, and no name leads out of the user's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.bundles import app
from models import bundle as room
from models.bundle import write_manifest
from models.errors import AffectError
from models.prompt import PROMPT_VERSION

LICENCE = {"licence": "CC0-1.0", "origin": "made in code"}
BASE = {"package": "p", "version": "1", "file": "base.gguf", "sha256": hashlib.sha256(b"base").hexdigest()}


def make_bundle(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """A small good bundle."""
    folder.mkdir(parents=True)
    folder.joinpath("lora.gguf").write_bytes(b"GGUF")
    spec = {
        "name": name,
        "version": "1.2",
        "reply_form": "labels-first",
        "wording": "drawn",
        "picture": "face",
        "labels": ["happy", "sad"],
        "open_labels": False,
        "unsure_below": 0.4,
        "temperatures": {},
        "second_from": {},
        "preprocessing": {},
        "prompt": {"version": PROMPT_VERSION},
        "language": {"base": BASE, "adapter": "lora.gguf"},
        "licences": {},
        "selfcheck": {},
        "verified": True,
        "files": {"lora.gguf": LICENCE},
    }
    write_manifest(folder, {**spec, **changes})
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's data folder and cache, and one embedded bundle."""
    monkeypatch.setenv("AFFECT_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path / "cache"))
    embedded = tmp_path / "embedded"
    make_bundle(embedded / "nano", "nano")
    monkeypatch.setattr(room, "EMBEDDED", embedded)
    monkeypatch.setattr("cli.bundles.EMBEDDED", embedded)
    return tmp_path / "data" / "bundles"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def failed(*arguments: str) -> AffectError:
    error = run(*arguments).exception
    assert isinstance(error, AffectError)
    return error


def test_a_bundle_is_added_listed_and_removed(tmp_path: Path, home: Path) -> None:
    source = make_bundle(tmp_path / "made")
    source.joinpath("private.txt").write_text("not named by the manifest")
    assert "added tiny" in run("add", str(source)).stdout
    assert sorted(path.name for path in (home / "tiny").iterdir()) == ["affect.json", "lora.gguf"]
    assert room.load_bundle("tiny").path == home / "tiny"
    assert "tiny" in run("list").stdout and "nano" in run("list").stdout
    assert run("remove", "tiny").exit_code == 0
    assert list(home.iterdir()) == []


def test_an_unverified_bundle_is_said_to_be_so(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "made", verified=False)
    assert "unverified" in run("add", str(source)).stderr
    assert "UNVERIFIED" in run("list").stdout


def test_a_bad_bundle_is_not_added(tmp_path: Path, home: Path) -> None:
    source = make_bundle(tmp_path / "made")
    source.joinpath("lora.gguf").write_bytes(b"GGUX")
    assert failed("add", str(source)).code == "bad_bundle"
    assert not home.exists()


def test_a_folder_that_is_no_bundle_is_said(tmp_path: Path) -> None:
    assert failed("add", str(tmp_path)).code == "no_bundle"


@pytest.mark.parametrize(("name", "cure"), [("nano", "another name"), ("tiny", "affect bundles remove tiny")])
def test_a_name_is_taken_once(tmp_path: Path, name: str, cure: str) -> None:
    run("add", str(make_bundle(tmp_path / "first")))
    error = failed("add", str(make_bundle(tmp_path / "second", name)))
    assert error.code == "bundle_exists" and cure in error.cure


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device", str(target))

    source = make_bundle(tmp_path / "made")
    monkeypatch.setattr("cli.bundles.shutil.copyfile", full)
    assert failed("add", str(source)).code == "disk_full"
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["..", "../data", "/", "tiny/..", "", "nobody", "Nano"])
def test_only_an_added_bundle_can_be_removed(tmp_path: Path, home: Path, name: str) -> None:
    run("add", str(make_bundle(tmp_path / "made")))
    assert failed("remove", name).code == "no_bundle"
    assert (home / "tiny" / "affect.json").is_file()


def test_the_embedded_bundle_stays(tmp_path: Path) -> None:
    assert failed("remove", "nano").code == "bundle_embedded"


def test_a_broken_bundle_is_listed_with_what_is_wrong(tmp_path: Path, home: Path) -> None:
    run("add", str(make_bundle(tmp_path / "made")))
    home.joinpath("tiny", "lora.gguf").unlink()
    listed = run("list")
    assert listed.exit_code == 0 and "unusable: the bundle's file lora.gguf is missing" in listed.stdout


def test_the_cache_is_shown_and_cleared(tmp_path: Path) -> None:
    part = tmp_path / "cache" / "asr" / "model.bin"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(3_000_000))
    assert "3.0 MB  asr/model.bin" in run("cache").stdout
    assert "freed 3.0 MB" in run("cache", "--clear").stdout
    assert not part.exists()
