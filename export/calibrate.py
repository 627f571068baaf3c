"""`affect-export calibrate`: how certain a bundle may be, measured through the very files that users run, on validation parts.

Changes the manifest's `temperatures` and `second_from`, and nothing else. Knows engines and items; nothing of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from export.measured import writing
from models.bundle import change_manifest
from models.calibration import Calibration, manifest, second_from, temperature
from models.items import Item
from runtime.engine import Engine
from runtime.quality import PAIRS, SENSES, SINGLES, Reader, of_one_feeling, sample
from runtime.reply import Asked

SINGLE, PAIR, THREE = 1000, 300, 600  # most items of a file, of each pair of senses, of all three
Answered = list[tuple[str, Asked]]  # true label, answer


def calibrate(engine: Engine, data: Path, tick: Callable[[str, int, int], None]) -> Mapping[str, Calibration]:
    """Measures the engine's bundle on the validation parts of a prepared folder and writes what it finds into its manifest.

    Gives it by set of inputs. Raises AffectError `not_found`, `too_few`, `not_writable`, and what reading can raise.
    """
    labels, found = engine.bundle.spec["labels"], dict[str, Calibration]()
    for kind, items in validation_items(Reader(engine, data, data, split="validation")).items():
        answers = ask(engine, kind, items, tick)
        found[kind] = measured(kind, answers, labels)
    with writing(engine.bundle.path):
        change_manifest(engine.bundle, manifest(found))
    return found


def validation_items(reader: Reader) -> dict[str, list[Item]]:
    """Items by set of inputs: single ones as the validation parts have them, composed ones of one feeling each."""
    found: dict[str, list[Item]] = {sense: [] for sense in ("visual", "audio", "text")}
    for kind, task in SINGLES.items():
        items = reader.items(task)
        found[SENSES[kind]] += sample(items, min(SINGLE, len(items)))
    for senses, count in (*((pair, PAIR) for pair in PAIRS), (("visual", "audio", "text"), THREE)):
        found["+".join(senses)] = of_one_feeling(reader, senses, count)
    return found


def ask(engine: Engine, kind: str, items: Sequence[Item], tick: Callable[[str, int, int], None]) -> Answered:
    """What the language model answers to each item that has something to read (a voice may be silence)."""
    answers = []
    for count, item in enumerate(items, 1):
        answer = engine.asked(item.faces, item.wave, item.words)
        answers += [] if answer is None else [(item.labels[0], answer)]
        tick(kind, count, len(items))
    return answers


def measured(kind: str, answers: Answered, labels: Sequence[str]) -> Calibration:
    """Temperature of a set of inputs over the labels that occur there; for several, what names a second one."""
    met = [place for place, label in enumerate(labels) if any(true == label for true, _ in answers)]
    scores = np.array([answer.scores[kind][met] for _, answer in answers])
    heat = temperature(scores, np.array([met.index(labels.index(true)) for true, _ in answers]))
    if "+" not in kind:
        return Calibration(heat)
    differ = [len({int(answer.scores[sense].argmax()) for sense in kind.split("+")}) > 1 for _, answer in answers]
    return Calibration(heat, second_from(np.array([answer.second for _, answer in answers]), np.array(differ), kind))
