"""`affect-export card`: a bundle read on known items, and what came out written into its card.

The bundle's weights stay what they are, and so do the records of `affect bench quality`. Everything is made beside the
bundle's files and put in their place at the end. Knows rows and folders; the words are `export.card`'s.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.card import PICTURE, Figure, Measured, Readings, with_measured
from export.diagram import calibration_errors, diagram
from models.bundle import CARD, MANIFEST, Bundle, write_manifest
from models.errors import AffectError
from runtime.engine import Engine
from runtime.quality import SINGLES, Reader, Task
from runtime.rows import ALL, Row, choose_rows, surety


def write_card(
    engine: Engine,
    data: Path,
    quality: Path,
    split: str,
    names: Sequence[str],
    limit: int | None,
    tick: Callable[[str, int, int], None],
) -> Path:
    """Reads the rows `names` (all without) and rewrites the engine's bundle: README.md, which it names, the picture, affect.json.

    `data` is a prepared folder, `quality` that of the records; at most `limit` items a row. Raises AffectError `bad_row`,
    `not_writable`, and what reading can raise.
    """
    rows, bundle = choose_rows(names), engine.bundle
    with writing(bundle.path), tempfile.TemporaryDirectory(prefix=".card-", dir=bundle.path):
        pass  # before an hour of reading
    with writing(quality):
        quality.mkdir(parents=True, exist_ok=True)
    reader = Reader(engine, data, quality, split, limit, tick)
    figures, unread = count(rows, reader)
    counted = {row.task for row in rows if row.name not in unread}
    sets = [readings(task, reader) for task in (*SINGLES.values(), ALL) if task in counted]
    errors = {one.name: calibration_errors(one) for one in sets}
    confusions = tuple(one for one in sets if one.name in SINGLES)
    found = Measured(bundle.weights, split, bool(names), limit, figures, unread, confusions, errors)
    text = with_measured(bundle.card() if CARD in bundle.spec["files"] else f"# {bundle.name}\n", found)
    replace_card(bundle, text, diagram(sets, errors) if sets else None)
    return bundle.path / CARD


def count(rows: Sequence[Row], reader: Reader) -> tuple[tuple[Figure, ...], dict[str, str]]:
    """The rows' figures, and why some could not be read. Raises AffectError where none could."""
    figures: list[Figure] = []
    unread: dict[str, str] = {}
    for row in rows:
        try:
            figures.append(figure(row, reader))
        except AffectError as error:
            unread[row.name] = error.message
            if len(unread) == len(rows):
                raise
    return tuple(figures), unread


def figure(row: Row, reader: Reader) -> Figure:
    """A row, read and counted."""
    n, counts = row.count(reader)
    return Figure(row.name, n, row.metric, counts.value, counts.interval(), row.bar, row.reached(counts.value))


def readings(task: Task, reader: Reader) -> Readings:
    """First labels and their certainties."""
    items, records = reader.read(task)
    truth, read = (tuple(x) for x in ([item.labels[0] for item in items], [record["read"] for record in records]))
    return Readings(task.items, task.labels, truth, read, tuple(map(surety, records)))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the system refuses while a folder is written becomes AffectError `not_writable`."""
    try:
        yield
    except OSError as error:
        cure = "it must be a folder that you may write, with space on its disk"
        raise AffectError(f"{folder} cannot be written: {error.strerror}", cure, "not_writable") from error


def replace_card(bundle: Bundle, text: str, picture: bytes | None) -> None:
    """Puts card, picture (none removes an earlier one) and manifest into the folder; whatever else lies there stays."""
    with writing(bundle.path), tempfile.TemporaryDirectory(prefix=".card-", dir=bundle.path) as work:
        copy = Path(work)
        for name in bundle.spec["files"]:
            copy.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, copy / name)
        copy.joinpath(CARD).write_bytes(text.encode("utf-8"))
        copy.joinpath(PICTURE).unlink(missing_ok=True)
        if picture is not None:
            copy.joinpath(PICTURE).write_bytes(picture)
        write_manifest(copy, {**bundle.spec, "files": entries(bundle.spec["files"], picture is not None)})
        for name in (*[PICTURE] * (picture is not None), CARD, MANIFEST):
            copy.joinpath(name).replace(bundle.path / name)
        if picture is None:
            bundle.path.joinpath(PICTURE).unlink(missing_ok=True)


def entries(files: Mapping[str, Mapping[str, Any]], picture: bool) -> dict[str, Mapping[str, Any]]:
    """The manifest's files with the card and its picture, which have the licence and the origin of the others."""
    like = files.get(CARD) or next(iter(files.values()))
    ours = {key: like[key] for key in ("licence", "origin") if key in like}
    kept = {name: entry for name, entry in files.items() if name != PICTURE}
    return {**kept, CARD: ours, **({PICTURE: ours} if picture else {})}
