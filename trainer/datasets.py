"""The corpora of nano, read once and prepared: faces, voices and lines as flat arrays with their splits and measurements.

`prepare` reads RAVDESS, FER2013, MELD and GoEmotions (as `affect-train data` finds them in one folder) and writes a folder
that training reads back with `load`. Splits: RAVDESS by actor (train 1-18, validation 19-20, test 21-24), FER2013 by its
usage column, the text sets by their official files. Knows files; nothing of tensors, prompts or schedules.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from models import emotions
from models.errors import AffectError
from models.items import write_items

SPLITS = ("train", "validation", "test")
FER_LABELS = ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")
FER_USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
TWIN = 0.95  # correlation of two faces scaled to 16 x 16 from which they count as the same picture
FRAME = 48  # pixels


@dataclass(frozen=True)
class Sources:
    """Media of one kind: `arrays` [N, ...], labels and splits by row, `measures` float32 [N, M] (nan where unknown)."""

    arrays: np.ndarray
    labels: list[str]
    splits: list[str]
    measures: np.ndarray
    groups: list[str]  # the speaker of a voice, "" for faces

    def rows(self, split: str, label: str | None = None) -> np.ndarray:
        """Row numbers of a split (and a label)."""
        keep = [s == split and label in (None, name) for s, name in zip(self.splits, self.labels, strict=True)]
        return np.flatnonzero(keep)


@dataclass(frozen=True)
class Line:
    """One line of words."""

    text: str
    label: str
    split: str
    source: str


@dataclass(frozen=True)
class Corpus:
    """Everything that the joint stage composes from."""

    faces: Sources
    voices: Sources
    lines: list[Line]


def split_of_actor(actor: int) -> str:
    """RAVDESS, speaker-independent."""
    return "train" if actor <= 18 else "validation" if actor <= 20 else "test"


def prepare(source: Path, out: Path) -> dict[str, int]:
    """Reads the corpora below `source`, writes the prepared folder `out`, returns counts (duplicates removed among them)."""
    out.mkdir(parents=True, exist_ok=True)
    faces, removed = prepare_faces(source / "fer2013.parquet")
    voices = prepare_voices(source / "ravdess")
    lines = [*read_meld(source / "text"), *read_goemotions(source / "text")]
    corpus = Corpus(faces, voices, lines)
    save(out, corpus)
    write_test_items(corpus, out)
    return {"faces": len(faces.labels), "faces_removed": removed, "voices": len(voices.labels), "lines": len(lines)}


def save(out: Path, corpus: Corpus) -> None:
    """A prepared folder: two arrays, two tables, one list of lines."""
    out.mkdir(parents=True, exist_ok=True)
    for name, kind in (("faces", corpus.faces), ("voices", corpus.voices)):
        np.save(out / f"{name}.npy", kind.arrays, allow_pickle=False)
        np.save(out / f"{name}.measures.npy", kind.measures, allow_pickle=False)
        table = {"labels": kind.labels, "splits": kind.splits, "groups": kind.groups}
        (out / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")
    with (out / "lines.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(line)) + "\n" for line in corpus.lines)


def load(folder: Path) -> Corpus:
    """Reads a prepared folder back. Raises AffectError `not_found`."""
    if not (folder / "lines.jsonl").is_file():
        raise AffectError(
            f"{folder} is no prepared folder", "make it with: affect-train data SOURCE -o DIR", "not_found"
        )
    kinds = []
    for name in ("faces", "voices"):
        table = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        arrays = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        measures = np.load(folder / f"{name}.measures.npy", allow_pickle=False)
        kinds.append(Sources(arrays, table["labels"], table["splits"], measures, table["groups"]))
    with (folder / "lines.jsonl").open(encoding="utf-8") as file:
        lines = [Line(**json.loads(row)) for row in file]
    return Corpus(kinds[0], kinds[1], lines)


def prepare_faces(path: Path) -> tuple[Sources, int]:
    """FER2013 with the training faces removed that stand in another split too; and how many those were."""
    from models.faces import FaceFinder, measure_crop

    faces, labels, splits = read_fer(path)
    twins = near_duplicates(faces, splits)
    keep = np.flatnonzero(~twins)
    finder = FaceFinder()
    measured = [row_of(measure_crop(finder, faces[i])) for i in keep]
    names = [labels[i] for i in keep]
    return Sources(faces[keep], names, [splits[i] for i in keep], stack(measured), [""] * len(keep)), int(twins.sum())


def read_fer(path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """FER2013's parquet: faces uint8 [N, 48, 48], labels, splits. Its emotion column is a number or a word."""
    import pyarrow.parquet as pq

    table = pq.read_table(require(path)).to_pydict()
    faces = np.stack([decode_grey(image) for image in table["image"]])
    labels = [FER_LABELS[e] if isinstance(e, int) else emotions.canonical(e) for e in table["emotion"]]
    return faces, labels, [FER_USAGE[usage] for usage in table["usage"]]


def decode_grey(image: bytes | dict[str, bytes]) -> np.ndarray:
    """Image bytes as uint8 [48, 48]."""
    import cv2

    data = image["bytes"] if isinstance(image, dict) else image
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def near_duplicates(faces: np.ndarray, splits: list[str]) -> np.ndarray:
    """bool [N]: training faces that are pictures of the validation or test part again.

    Perceptual hash: the face averaged to 16 x 16, mean removed, of unit length; a product above TWIN is the same picture.
    """
    small = faces.reshape(len(faces), 16, 3, 16, 3).mean((2, 4)).reshape(len(faces), -1).astype(np.float32)
    small -= small.mean(1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True) + 1e-6
    train = np.array([split == "train" for split in splits])
    found = np.zeros(len(faces), bool)
    for start in range(0, len(faces), 2048):
        block = small[start : start + 2048]
        found[start : start + 2048] = (block @ small[~train].T).max(1, initial=-1) > TWIN
    return found & train


def prepare_voices(folder: Path) -> Sources:
    """RAVDESS: each clip's first window, its measurements, its actor."""
    from models.media import load_wave
    from models.sound import measure_voice, windows

    rows = read_table(folder / "index.csv")
    arrays, measured = [], []
    for row in rows:
        wave = load_wave(folder / row["file"])
        arrays.append(np.round(windows(wave)[0] * 32767).astype(np.int16))
        measured.append(row_of(measure_voice(wave)))
    labels = [emotions.canonical(row["emotion"]) for row in rows]
    splits = [split_of_actor(int(row["actor"])) for row in rows]
    return Sources(np.stack(arrays), labels, splits, stack(measured), [row["actor"] for row in rows])


def read_meld(folder: Path) -> Iterator[Line]:
    """MELD's lines, taken one at a time."""
    for split, name in zip(SPLITS, ("train", "dev", "test"), strict=True):
        for row in read_table(folder / f"meld_{name}.csv"):
            yield Line(row["Utterance"], emotions.canonical(row["Emotion"]), split, "meld")


def read_goemotions(folder: Path) -> Iterator[Line]:
    """GoEmotions in Ekman's grouping, lines with a single label."""
    names = require(folder / "goemotions_ekman_labels.txt").read_text(encoding="utf-8").split()
    for split, name in zip(SPLITS, ("train", "dev", "test"), strict=True):
        text = require(folder / f"goemotions_ekman_{name}.tsv").read_text(encoding="utf-8")
        for row in csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(row) > 1 and "," not in row[1]:
                yield Line(row[0], emotions.canonical(names[int(row[1])]), split, "goemotions")


def read_table(path: Path) -> list[dict[str, str]]:
    """A CSV file as rows."""
    with require(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def require(path: Path) -> Path:
    """The path, or an AffectError `not_found` that says which corpus lacks."""
    if not path.is_file():
        raise AffectError(f"{path.name} is missing", f"the folder {path.parent} should hold it", "not_found")
    return path


def row_of(measures: object) -> np.ndarray | None:
    """A measures dataclass as one row; None stays None."""
    if measures is None:
        return None
    return np.array([getattr(measures, item.name) for item in fields(measures)], np.float32)  # type: ignore[arg-type]


def stack(rows: list[np.ndarray | None]) -> np.ndarray:
    """Rows to float32 [N, M]; a None becomes a row of nan."""
    width = next((len(row) for row in rows if row is not None), 1)
    return np.stack([np.full(width, np.nan, np.float32) if row is None else row for row in rows])


def write_test_items(corpus: Corpus, out: Path) -> dict[str, int]:
    """The single-input test and validation sets that `affect bench quality` and the exporter read, as JSON lines."""
    counts = {}
    for split in ("validation", "test"):
        sets = {
            f"voice-{split}": [item_row(corpus, "voice", i) for i in corpus.voices.rows(split)],
            f"face-{split}": [item_row(corpus, "face", i) for i in corpus.faces.rows(split)],
        }
        for source in ("meld", "goemotions"):
            lines = [x for x in corpus.lines if x.split == split and x.source == source]
            sets[f"{source}-{split}"] = [line_row(n, line) for n, line in enumerate(lines)]
        for name, rows in sets.items():
            write_items(out / f"{name}.jsonl", rows)
            counts[name] = len(rows)
    return counts


def item_row(corpus: Corpus, kind: str, row: int) -> dict[str, object]:
    """A single face or voice as an item."""
    label = (corpus.voices if kind == "voice" else corpus.faces).labels[row]
    media = {
        "face": f"faces.npy#{row}" if kind == "face" else None,
        "voice": f"voices.npy#{row}" if kind == "voice" else None,
    }
    return {"id": f"{kind}-{row}", **media, "words": None, "labels": [label]}


def line_row(number: int, line: Line) -> dict[str, object]:
    """A line of words as an item."""
    return {"id": f"{line.source}-{number}", "face": None, "voice": None, "words": line.text, "labels": [line.label]}
