"""models/bundle.py: a bundle is whole and keeps to its folder, or it is refused with words before anything opens it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import bundle as room
from models.bundle import MANIFEST, external_locations, load_bundle, write_manifest
from models.errors import AffectError
from models.prompt import PROMPT_VERSION


def field(number: int, value: int | bytes | str) -> bytes:
    """One protobuf field, as onnx.proto would have it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def tensor(location: str | None = None) -> bytes:
    """A TensorProto with its numbers inside, or in the file `location`."""
    if location is None:
        return field(1, 3) + field(8, "w") + field(9, bytes(300))
    pair = field(1, "location") + field(2, location)
    offset = field(1, "offset") + field(2, "0")
    return field(8, "w") + field(13, offset) + field(13, pair) + field(14, 1)


def onnx(graph: bytes) -> bytes:
    return field(1, 8) + field(7, graph)


SPEC: dict[str, Any] = {
    "name": "tiny",
    "version": "1",
    "reply_form": "labels-first",
    "wording": "drawn",
    "picture": "face",
    "labels": ["happy", "sad"],
    "open_labels": False,
    "unsure_below": 0.4,
    "temperatures": {"visual": 1.5},
    "second_from": {"visual+audio": 0.3},
    "preprocessing": {"image_size": 48},
    "prompt": {"version": PROMPT_VERSION},
    "language": {
        "base": {"package": "p", "version": "1", "file": "base.gguf", "sha256": "0" * 64},
        "adapter": "lora.gguf",
    },
    "licences": {"weights": "CC-BY-NC-SA-4.0"},
    "selfcheck": {},
    "verified": True,
}
LICENCE = {"licence": "CC0-1.0", "origin": "made in code"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good bundle on disk."""
    made = tmp_path / "tiny"
    (made / "parts").mkdir(parents=True)
    made.joinpath("parts", "vision.onnx").write_bytes(onnx(field(5, tensor())))
    made.joinpath("lora.gguf").write_bytes(b"GGUF")
    write_manifest(made, {**SPEC, "files": {"parts/vision.onnx": LICENCE, "lora.gguf": LICENCE}})
    return made


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edits the manifest by hand, as a stranger would."""
    path = folder / MANIFEST
    spec = json.loads(path.read_text())
    edit(spec)
    path.write_text(json.dumps(spec))


def test_a_written_bundle_loads_and_gives_its_files(folder: Path) -> None:
    loaded = load_bundle(folder)
    assert loaded.name == "tiny" and loaded.verified
    assert loaded.file("parts/vision.onnx").read_bytes().startswith(b"\x08")
    assert loaded.sha256 == hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    assert load_bundle(str(folder)) == loaded


CARD_FILES = {"README.md": LICENCE, "calibration.png": LICENCE}


def test_its_identity_is_what_decides_a_reading(folder: Path) -> None:
    """Card, picture, version, stamp and self-check leave it as it is; a file's hash or any setting changes it."""
    before = load_bundle(folder)
    folder.joinpath("README.md").write_text("# tiny")
    folder.joinpath("calibration.png").write_bytes(b"\x89PNG")
    told = {**SPEC, "version": "2", "verified": False, "selfcheck": {"items": []}}
    files = {"parts/vision.onnx": LICENCE, "lora.gguf": LICENCE}
    write_manifest(folder, {**told, "files": {**files, **CARD_FILES}})
    same = load_bundle(folder)
    assert same.weights == before.weights and same.sha256 != before.sha256
    write_manifest(folder, {**told, "files": {**files, **CARD_FILES}, "temperatures": {"visual": 1.6}})
    warmer = load_bundle(folder).weights
    folder.joinpath("parts", "vision.onnx").write_bytes(onnx(field(5, tensor()) + field(2, "other")))
    write_manifest(folder, {**SPEC, "files": {**files, **CARD_FILES}})
    assert len({before.weights, warmer, load_bundle(folder).weights}) == 3


def test_a_card_is_read_whatever_its_bytes_are_but_not_without_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AffectError, match=r"has no file README\.md"):
        load_bundle(folder).card()
    folder.joinpath("README.md").write_bytes(b"# t\xffny")
    files = {"parts/vision.onnx": LICENCE, "lora.gguf": LICENCE, "README.md": LICENCE}
    write_manifest(folder, {**SPEC, "files": files})
    assert load_bundle(folder).card() == "# t\ufffdny"
    monkeypatch.setattr(room, "CARD_LIMIT", 3)
    with pytest.raises(AffectError, match=r"README\.md is larger than"):
        load_bundle(folder).card()


def test_a_file_that_the_manifest_does_not_name_is_not_given(folder: Path) -> None:
    folder.joinpath("stray.onnx").write_bytes(b"x")
    with pytest.raises(AffectError, match=r"has no file stray\.onnx"):
        load_bundle(folder).file("stray.onnx")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: s.update(schema_version=2), "form is version 2"),
        (lambda s: s.pop("schema_version"), "schema_version is missing"),
        (lambda s: s.update(schema_version=True), "schema_version is missing"),
        (lambda s: s.pop("labels"), "labels is missing"),
        (lambda s: s.update(unsure_below=True), "unsure_below"),
        (lambda s: s.update(labels=["happy", "happy"]), "distinct plain words"),
        (lambda s: s.update(labels=["[red]happy"]), "distinct plain words"),
        (lambda s: s.update(labels=[]), "distinct plain words"),
        (lambda s: s.update(name="../tiny"), "name is made of"),
        (lambda s: s.update(picture="sky"), "picture is none of face, frame"),
        (lambda s: s.update(temperatures={"visual": 0}), "temperature visual"),
        (lambda s: s.update(second_from={"visual+audio": 1}), "second_from visual"),
        (lambda s: s.update(prompt={"version": 99}), "prompt is version 99"),
        (lambda s: s["language"].update(adapter="other.gguf"), "adapter other.gguf"),
        (lambda s: s["language"].update(adapter=["x"]), "adapter"),
        (lambda s: s["language"]["base"].update(file="../base.gguf"), "language.base"),
        (lambda s: s["language"].pop("base"), "language.base is missing"),
        (lambda s: s["files"]["lora.gguf"].update(bytes="4"), "lora.gguf needs"),
        (lambda s: s["files"]["lora.gguf"].update(sha256="0" * 64), "not the file the bundle was made with"),
        (lambda s: s["files"]["lora.gguf"].update(bytes=5), "has 4 bytes, not 5"),
        (lambda s: s["files"].update(x=None), "x needs sha256"),
        (lambda s: s["files"].update(gone=s["files"]["lora.gguf"]), "gone is missing"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_words(
    folder: Path, edit: Callable[[dict[str, Any]], Any], words: str
) -> None:
    change(folder, edit)
    with pytest.raises(AffectError) as refused:
        load_bundle(folder)
    assert words in refused.value.message
    assert refused.value.cure and refused.value.code == "bad_bundle"


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[]", b"{", b"[" * 100_000, b'{"a": ' * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, raw: bytes) -> None:
    folder.joinpath(MANIFEST).write_bytes(raw)
    with pytest.raises(AffectError, match=r"not JSON|not a JSON object"):
        load_bundle(folder)


def test_a_huge_manifest_is_not_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MANIFEST_LIMIT", 100)
    with pytest.raises(AffectError, match="larger than"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/hostname",
        "parts/../../secret",
        "C:/x",
        "a\\..\\b",
        "./lora.gguf",
        "a//b",
        "",
        "a\nb",
    ],
)
def test_a_path_that_climbs_out_is_refused_and_never_opened(folder: Path, name: str) -> None:
    folder.parent.joinpath("secret").write_bytes(b"GGUF")
    change(folder, lambda s: s["files"].update({name: s["files"]["lora.gguf"]}))
    with pytest.raises(AffectError, match="names a file outside itself"):
        load_bundle(folder)


def test_a_link_that_leads_out_is_refused(folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_bytes(b"GGUF")
    folder.joinpath("lora.gguf").unlink()
    folder.joinpath("lora.gguf").symlink_to(secret)
    with pytest.raises(AffectError, match="link to a file outside itself"):
        load_bundle(folder)


def test_a_changed_byte_is_seen_unless_hashes_are_left_out(folder: Path) -> None:
    folder.joinpath("lora.gguf").write_bytes(b"GGUX")
    with pytest.raises(AffectError, match="sha256"):
        load_bundle(folder)
    assert load_bundle(folder, verify=False).name == "tiny"


def rewrite_onnx(folder: Path, data: bytes) -> None:
    path = folder / "parts" / "vision.onnx"
    path.write_bytes(data)
    change(folder, lambda s: s["files"]["parts/vision.onnx"].update(room.fingerprint(path)))


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "weights.bin", "..\\secret", "../lora.gguf"])
def test_onnx_tensors_outside_the_bundle_are_refused(folder: Path, location: str) -> None:
    rewrite_onnx(folder, onnx(field(5, tensor(location))))
    with pytest.raises(AffectError, match=r"keeps tensors in .*, which is no file of the bundle"):
        load_bundle(folder, verify=False)


def test_onnx_tensors_in_a_file_of_the_bundle_are_allowed(folder: Path) -> None:
    folder.joinpath("parts", "w.bin").write_bytes(b"1234")
    rewrite_onnx(folder, onnx(field(5, tensor("w.bin"))))
    entry = {**LICENCE, **room.fingerprint(folder / "parts" / "w.bin")}
    change(folder, lambda s: s["files"].update({"parts/w.bin": entry}))
    assert load_bundle(folder).name == "tiny"


@pytest.mark.parametrize("data", [b"\x00\x01", b"\xff" * 40, b":\x7f123", b"\x0f\x01", b"not an onnx file at all"])
def test_what_is_no_onnx_file_is_refused(folder: Path, data: bytes) -> None:
    rewrite_onnx(folder, data)
    with pytest.raises(AffectError, match="not an ONNX file"):
        load_bundle(folder)


def nested(graph: bytes, depth: int) -> bytes:
    """The graph as the attribute of a node of a graph, `depth` times (If, Loop)."""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return graph


@pytest.mark.parametrize(
    "model",
    [
        onnx(field(1, field(5, field(5, tensor("x"))))),  # a Constant node's attribute
        onnx(field(1, field(5, field(10, tensor("x"))))),  # an attribute's list of tensors
        onnx(nested(field(5, tensor("x")), 3)),  # subgraphs
        onnx(field(15, field(1, tensor("x")))),  # sparse
        field(25, field(7, field(5, field(5, tensor("x"))))),  # a function of the model
        field(20, field(2, field(5, tensor("x")))),  # training
    ],
)
def test_external_tensors_are_found_wherever_onnx_allows_them(model: bytes) -> None:
    assert list(external_locations(memoryview(model))) == ["x"]


def test_endless_nesting_is_refused_not_crashed_on(folder: Path) -> None:
    rewrite_onnx(folder, onnx(nested(b"", 3000)))
    with pytest.raises(AffectError, match="not an ONNX file"):
        load_bundle(folder)


def test_names_are_looked_up_in_the_embedded_bundles_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "EMBEDDED", tmp_path)
    monkeypatch.setenv("AFFECT_DATA_HOME", str(tmp_path / "home"))
    assert load_bundle("tiny").path == folder
    assert list(room.bundle_folders()) == ["tiny"]
    with pytest.raises(AffectError, match="no bundle other") as refused:
        load_bundle("other")
    assert refused.value.code == "no_bundle" and "tiny" in refused.value.cure


def test_a_manifest_is_not_written_without_licences_or_files(folder: Path) -> None:
    with pytest.raises(AffectError, match="has no licence"):
        write_manifest(folder, {**SPEC, "files": {"lora.gguf": LICENCE}})
    files = {"parts/vision.onnx": LICENCE, "lora.gguf": LICENCE, "ghost": LICENCE}
    with pytest.raises(AffectError, match="ghost is listed but not in"):
        write_manifest(folder, {**SPEC, "files": files})


def test_writing_a_manifest_twice_gives_the_same_bytes(folder: Path) -> None:
    before = folder.joinpath(MANIFEST).read_bytes()
    write_manifest(folder, {**SPEC, "files": {"lora.gguf": LICENCE, "parts/vision.onnx": LICENCE}})
    assert folder.joinpath(MANIFEST).read_bytes() == before
