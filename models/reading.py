"""Clip (what goes in) and Reading (what comes out): the values that every room hands on, and their JSON.

Knows no decoder, no network and no console. `schema.json` beside this file is the Reading's JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SCHEMA_VERSION = 1
MODALITIES = ("visual", "audio", "text")


@dataclass(frozen=True)
class Clip:
    """A stretch of one recording; any modality may be absent.

    frames uint8 [T, H, W, 3] RGB with T >= 0; times float64 [T] seconds in the source;
    waveform float32 [N], 16 kHz mono, or None when there is no sound; transcript None when no words are known.
    """

    start: float
    end: float
    frames: np.ndarray
    times: np.ndarray
    waveform: np.ndarray | None = None
    transcript: str | None = None
    transcript_source: str = "none"  # given | subtitle | asr | none
    duration: float = 0.0  # of the whole source, seconds
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Label:
    """A word of the bundle's list with its calibrated probability; `named` when the reply wrote it.

    Where the list is open only named words are given; a score is then the model's own probability of that word.
    """

    name: str
    score: float
    named: bool = False


@dataclass(frozen=True)
class Clue:
    """One sentence of the reply about one modality; times in seconds, `values` measured on the clip."""

    text: str
    start: float
    end: float
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Segment:
    """One reading of one stretch: labels first, then the reason and its clues by modality."""

    start: float
    end: float
    status: str  # ok | unsure
    labels: tuple[Label, ...]
    conflict: Mapping[str, str] | None
    reason: str
    clues: Mapping[str, tuple[Clue, ...]]
    transcript: str | None
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """The words that the reply wrote, best first."""
        return tuple(label.name for label in self.labels if label.named)


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time per stage, decoding speed, and the process's peak resident memory."""

    load_s: float = 0.0
    decode_s: float = 0.0
    transcribe_s: float = 0.0
    encode_s: float = 0.0
    first_label_s: float = 0.0
    total_s: float = 0.0
    tokens_per_s: float = 0.0
    peak_rss_mb: float = 0.0


@dataclass(frozen=True)
class Reading:
    """What one source says: the JSON document of `affect analyze`. `source` is exactly as typed."""

    source: str
    program: Mapping[str, Any]  # version, device, threads
    bundle: Mapping[str, str]  # name, sha256
    segments: tuple[Segment, ...]
    cost: Cost

    def document(self) -> dict[str, Any]:
        """The `json` form: one document for the file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "program": dict(self.program),
            "bundle": dict(self.bundle),
            "segments": [segment_document(segment) for segment in self.segments],
            "cost": rounded(vars(self.cost)),
        }

    def records(self) -> list[dict[str, Any]]:
        """The `jsonl` form: one record per segment with source, program, bundle and cost repeated."""
        whole = self.document()
        segments = whole.pop("segments")
        return [{**whole, **segment} for segment in segments]


def segment_document(segment: Segment) -> dict[str, Any]:
    """A Segment as plain JSON values, numbers rounded to what is meaningful."""
    return {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "status": segment.status,
        "labels": [{"name": x.name, "score": round(x.score, 4), "named": x.named} for x in segment.labels],
        "conflict": dict(segment.conflict) if segment.conflict else None,
        "reason": segment.reason,
        "clues": {name: [clue_document(clue) for clue in segment.clues.get(name, ())] for name in MODALITIES},
        "transcript": segment.transcript,
        "missing": list(segment.missing),
        "notes": list(segment.notes),
    }


def clue_document(clue: Clue) -> dict[str, Any]:
    """A Clue as plain JSON values."""
    return {
        "text": clue.text,
        "start": round(clue.start, 3),
        "end": round(clue.end, 3),
        "values": rounded(clue.values),
    }


def rounded(values: Mapping[str, float], digits: int = 3) -> dict[str, float]:
    """The values rounded, NaN left out: JSON knows no NaN."""
    return {name: round(float(value), digits) for name, value in values.items() if np.isfinite(value)}
