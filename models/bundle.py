"""A bundle folder: `affect.json` and the files that it names, each held by size and sha256.

Knows the manifest's form and how to refuse a folder that is not what it says. It does not know what an encoder
or a language model is, and opens no file but to hash it and, for ONNX, to see which other files it points to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from models.container import NAME_SHOWN, is_file, shown
from models.emotions import PLAIN_WORD
from models.errors import AffectError
from models.folders import user_folder
from models.prompt import PROMPT_VERSION

SCHEMA_VERSION = 1
MANIFEST = "affect.json"
EMBEDDED = Path(__file__).with_name("bundles")
MANIFEST_LIMIT = 4 << 20  # bytes; nano's is about 30 kB, its self-check inputs most of it
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
CARD = "README.md"
CARD_LIMIT = 1 << 20  # bytes; nano's is about 12 kB
PICTURES = (".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp")
BESIDE = ("files", "version", "verified", "selfcheck")  # what a manifest says that no reading depends on
CURE = "take the bundle again from where it came"

FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "version": str,
    "reply_form": str,
    "wording": str,
    "picture": str,
    "labels": list,
    "open_labels": bool,
    "unsure_below": (int, float),
    "temperatures": dict,
    "second_from": dict,
    "preprocessing": dict,
    "prompt": dict,
    "language": dict,
    "files": dict,
    "licences": dict,
    "selfcheck": dict,
    "verified": bool,
}
"""What a manifest must have, beside `schema_version`."""

CHOICES = {"reply_form": ("labels-first", "prose"), "wording": ("likeliest", "drawn"), "picture": ("face", "frame")}


@dataclass(frozen=True)
class Bundle:
    """A checked bundle; `sha256` is of its affect.json, which holds every file's: it names the whole, card and all."""

    path: Path
    name: str
    sha256: str
    spec: Mapping[str, Any]

    def file(self, key: str) -> Path:
        """The path of a file that the manifest names. Raises AffectError `bad_bundle` for any other."""
        if key not in self.spec["files"]:
            raise AffectError(f"bundle {self.name} has no file {key}", CURE, "bad_bundle")
        return self.path.joinpath(*PurePosixPath(key).parts)

    @property
    def verified(self) -> bool:
        """Whether the exporter held it against the trained network on real items."""
        return bool(self.spec["verified"])

    @property
    def weights(self) -> str:
        """A sha256 over what decides a reading: the same whatever its card, its pictures and its version say."""
        files = {name: entry["sha256"] for name, entry in self.spec["files"].items() if not _shown(name)}
        spec = {key: value for key, value in self.spec.items() if key not in BESIDE}
        return hashlib.sha256(json.dumps([files, spec], sort_keys=True).encode("ascii")).hexdigest()

    def card(self) -> str:
        """The text of its card. Raises AffectError `bad_bundle` when there is none, or none that a person would read."""
        path = self.file(CARD)
        with path.open("rb") as file:
            raw = file.read(CARD_LIMIT + 1)
        if len(raw) > CARD_LIMIT:
            raise AffectError(f"{CARD} is larger than {CARD_LIMIT >> 20} MB", CURE, "bad_bundle")
        return raw.decode("utf-8", "replace")


def load_bundle(name_or_dir: str | Path = "nano", verify: bool = True) -> Bundle:
    """A bundle by its name (embedded, then the user's own) or its folder, checked before it is opened.

    `verify=False` leaves out the hashes (names, sizes and references are checked all the same).
    Raises AffectError: `no_bundle`, or `bad_bundle` with what is wrong with it.
    """
    path = find_bundle(name_or_dir)
    raw = _read_manifest(path)
    spec = _parse(raw)
    _check_spec(spec)
    for name, entry in spec["files"].items():
        check_file(path, name, entry, verify)
    for name in spec["files"]:
        if name.endswith(".onnx"):
            _check_references(path, name, spec["files"])
    return Bundle(path, spec["name"], hashlib.sha256(raw).hexdigest(), spec)


def find_bundle(name_or_dir: str | Path) -> Path:
    """The folder of a bundle: an embedded name, an added one, or a path. Raises AffectError `no_bundle`."""
    text = os.fspath(name_or_dir)
    homes = [EMBEDDED, added_bundles()] if isinstance(name_or_dir, str) and NAME.fullmatch(text) else []
    for folder in [*(home / text for home in homes), Path(text)]:
        if is_file(folder / MANIFEST):
            return folder
    names = ", ".join(sorted(bundle_folders())) or "none"
    raise AffectError(
        f"no bundle {shown(text)[:NAME_SHOWN]}", f"a folder with {MANIFEST} in it, or one of: {names}", "no_bundle"
    )


def bundle_folders() -> dict[str, Path]:
    """Every bundle that has a name: embedded ones, then the user's own (which cover no embedded one)."""
    found: dict[str, Path] = {}
    for home in (EMBEDDED, added_bundles()):
        for manifest in sorted(home.glob(f"*/{MANIFEST}")):
            if NAME.fullmatch(manifest.parent.name):
                found.setdefault(manifest.parent.name, manifest.parent)
    return found


def added_bundles() -> Path:
    """Where the user's own bundles lie: `AFFECT_DATA_HOME`, else the platform's folder for a user's data."""
    return user_folder("data") / "bundles"


def write_manifest(folder: Path, spec: Mapping[str, Any]) -> None:
    """Writes `affect.json` for what lies in `folder`: each file's sha256 and size beside its licence and origin.

    `spec["files"]` gives `{name: {"licence", "origin"}}`. Raises AffectError `bad_bundle` for a file without a
    licence, an entry without a file, or a spec that `load_bundle` would refuse.
    """
    given = spec.get("files", {})
    present = sorted(_relative_names(folder))
    for name in sorted({*given, *present}):
        if name not in present:
            raise AffectError(f"{name} is listed but not in {folder}", "", "bad_bundle")
        if not given.get(name, {}).get("licence"):
            raise AffectError(f"{name} has no licence", 'say it in spec["files"]', "bad_bundle")
    files = {name: {**given[name], **fingerprint(folder / name)} for name in present}
    _write(folder, {**spec, "schema_version": SCHEMA_VERSION, "files": files})


def change_manifest(bundle: Bundle, changes: Mapping[str, Any]) -> None:
    """Writes other values of some keys into a bundle's `affect.json`; its files and their hashes stay.

    Raises AffectError `bad_bundle` for a spec that `load_bundle` would refuse.
    """
    _write(bundle.path, {**bundle.spec, **changes})


def _write(folder: Path, whole: Mapping[str, Any]) -> None:
    _check_spec(whole)
    text = json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"
    partial = folder / f".{MANIFEST}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / MANIFEST)


def fingerprint(path: Path) -> dict[str, Any]:
    """`{"sha256", "bytes"}` of a file, read in pieces."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}


def check_file(folder: Path, name: str, entry: Mapping[str, Any], verify: bool = True) -> None:
    """Holds one file of a bundle against its manifest entry; size first, as it costs nothing."""
    path = _inside(folder, name)
    if not path.is_file():
        raise AffectError(f"the bundle's file {name} is missing", CURE, "bad_bundle")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise AffectError(f"{name} has {size} bytes, not {entry['bytes']}", CURE, "bad_bundle")
    if verify and fingerprint(path)["sha256"] != entry["sha256"]:
        raise AffectError(f"{name} is not the file the bundle was made with (sha256)", CURE, "bad_bundle")


def _read_manifest(path: Path) -> bytes:
    try:
        with path.joinpath(MANIFEST).open("rb") as file:
            raw = file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        words = f"cannot read {MANIFEST}: {error.strerror}"
        raise AffectError(words, "check its rights", "bad_bundle") from error
    if len(raw) > MANIFEST_LIMIT:
        raise AffectError(f"{MANIFEST} is larger than {MANIFEST_LIMIT >> 20} MB", CURE, "bad_bundle")
    return raw


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        spec = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise AffectError(f"{MANIFEST} is not JSON", CURE, "bad_bundle") from error
    if not isinstance(spec, dict):
        raise AffectError(f"{MANIFEST} is not a JSON object", CURE, "bad_bundle")
    return spec


def _check_spec(spec: Mapping[str, Any]) -> None:
    _check_version(spec)
    for key, kind in FIELDS.items():
        value = spec.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise AffectError(f"{MANIFEST}: {key} is missing or of the wrong kind", CURE, "bad_bundle")
    for key, allowed in CHOICES.items():
        if spec[key] not in allowed:
            raise AffectError(f"{MANIFEST}: {key} is none of {', '.join(allowed)}", CURE, "bad_bundle")
    check_name(spec["name"])
    _check_words(spec)
    _check_language(spec["language"], spec["files"])
    for name, entry in spec["files"].items():
        _check_entry(name, entry)


def _check_version(spec: Mapping[str, Any]) -> None:
    version = spec.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise AffectError(f"{MANIFEST}: schema_version is missing or no number", CURE, "bad_bundle")
    if version > SCHEMA_VERSION:
        words = f"the bundle's form is version {version}; this program reads up to {SCHEMA_VERSION}"
        raise AffectError(words, "pip install -U affectgpt", "bad_bundle")
    prompt = spec.get("prompt")
    if isinstance(prompt, Mapping) and prompt.get("version") != PROMPT_VERSION:
        words = f"the bundle's prompt is version {prompt.get('version')!r}, not {PROMPT_VERSION}"
        raise AffectError(words, "pip install -U affectgpt, or export the bundle again", "bad_bundle")


def check_name(name: str, cure: str = CURE) -> None:
    """Raises AffectError `bad_bundle` for a name that no bundle can have."""
    if not NAME.fullmatch(name):
        words = f"a bundle's name is made of a-z, 0-9, dot, dash and underscore, not {name[:64]!r}"
        raise AffectError(words, cure, "bad_bundle")


def _check_words(spec: Mapping[str, Any]) -> None:
    labels = spec["labels"]
    plain = all(isinstance(x, str) and PLAIN_WORD.fullmatch(x) for x in labels)
    if not plain or len(set(labels)) != len(labels) or not (labels or spec["open_labels"]):
        raise AffectError(f"{MANIFEST}: labels are not distinct plain words", CURE, "bad_bundle")
    for key, value in spec["temperatures"].items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.01 < value < 100:
            raise AffectError(f"{MANIFEST}: temperature {key} is not in 0.01..100", CURE, "bad_bundle")
    for key, value in spec["second_from"].items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise AffectError(f"{MANIFEST}: second_from {key} is no probability between 0 and 1", CURE, "bad_bundle")


def _check_language(language: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    base = language.get("base")
    adapter = language.get("adapter")
    if adapter is not None and not (isinstance(adapter, str) and adapter in files):
        raise AffectError(f"{MANIFEST}: the adapter {adapter} is not among its files", CURE, "bad_bundle")
    if not isinstance(base, Mapping):
        raise AffectError(f"{MANIFEST}: language.base is missing", CURE, "bad_bundle")
    plain = all(isinstance(base.get(key), str) for key in ("package", "file", "sha256"))
    if not plain or not SHA256.fullmatch(base["sha256"]) or PurePosixPath(base["file"]).name != base["file"]:
        raise AffectError(f"{MANIFEST}: language.base needs package, file, sha256", CURE, "bad_bundle")


def _shown(name: str) -> bool:
    """Whether a file is there to be looked at: the card and its pictures."""
    return name == CARD or name.lower().endswith(PICTURES)


def _check_entry(name: str, entry: Any) -> None:
    if not _plain_name(name):
        raise AffectError(f"the bundle names a file outside itself: {name}", CURE, "bad_bundle")
    entry = entry if isinstance(entry, Mapping) else {}
    sized = isinstance(entry.get("bytes"), int) and entry["bytes"] >= 0
    hashed = SHA256.fullmatch(str(entry.get("sha256")))
    if not (sized and hashed and isinstance(entry.get("licence"), str)):
        raise AffectError(f"{MANIFEST}: {name} needs sha256, bytes and licence", CURE, "bad_bundle")


def _plain_name(name: str) -> bool:
    """Whether `name` is relative, in POSIX form, and never climbs."""
    parts = name.split("/")
    odd = any(c in name for c in "\\:\0") or not name.isprintable()
    return not odd and all(part not in ("", ".", "..") for part in parts) and name != MANIFEST


def _inside(folder: Path, name: str) -> Path:
    """The file's path, links followed. Raises AffectError `bad_bundle` when that leaves the folder."""
    path = folder.joinpath(*PurePosixPath(name).parts)
    try:
        real = path.resolve()
        home = folder.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise AffectError(f"{name} cannot be followed", CURE, "bad_bundle") from error
    if not real.is_relative_to(home):
        raise AffectError(f"the bundle's {name} is a link to a file outside itself", CURE, "bad_bundle")
    return path


def _relative_names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != MANIFEST and not path.name.endswith(".partial"):
            yield path.relative_to(folder).as_posix()


def _check_references(folder: Path, name: str, files: Mapping[str, Any]) -> None:
    """Refuses an ONNX file whose tensors lie in a file that the manifest does not hold."""
    try:
        data = memoryview(folder.joinpath(name).read_bytes())
        if all(number != 7 for number, _ in wire_fields(data)):
            raise ValueError("a model without a graph")
        locations = set(external_locations(data))
    except (ValueError, RecursionError) as error:
        raise AffectError(f"{name} is not an ONNX file", CURE, "bad_bundle") from error
    for location in sorted(locations):
        beside = (PurePosixPath(name).parent / location).as_posix() if _plain_name(location) else location
        if beside not in files:
            words = f"{name} keeps tensors in {location}, which is no file of the bundle"
            raise AffectError(words, CURE, "bad_bundle")


# Where tensors can lie in an ONNX model: message -> field number -> message (onnx.proto, IR version 3 to 13).
_ONNX: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "pair"},
    "pair": {},
}


def external_locations(data: memoryview, kind: str = "model") -> Iterator[str]:
    """The `location` of every tensor that lies outside the file.

    Reads the protobuf wire form itself, so that the check needs no onnx package and nothing acts on the file before
    it. Raises ValueError when it is no such message.
    """
    if kind == "pair":
        pair = {number: bytes(value) for number, value in wire_fields(data)}
        if pair.get(1) == b"location":
            yield pair.get(2, b"").decode("utf-8", "backslashreplace")
        return
    for number, value in wire_fields(data):
        if number in _ONNX[kind]:
            yield from external_locations(value, _ONNX[kind][number])


def wire_fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, payload) of a message's length-delimited fields; numbers are stepped over."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            yield number, data[at : at + size]
            at += size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(data) or number == 0:
            raise ValueError("a field reaches beyond its message")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number reaches beyond its message")
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")
