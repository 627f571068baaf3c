"""The picture of a card: accuracy over certainty for each set, with the readings in each bin (a reliability diagram).

Knows certainties and hits. The same ones give the same bytes: no setting of the user's, no date and no program's name is in it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from export.card import Readings
from models.metrics import BINS, binned, calibration, calibration_error

DPI = 120
COLUMNS = 3
PANEL = (3.2, 3.6)  # inches
EDGES = np.linspace(0, 1, BINS + 1)
BLUE, GREY = "#0072B2", "#767676"


def calibration_errors(readings: Readings) -> tuple[float, float]:
    """The expected calibration error, and what perfect calibration would show by chance at these certainties."""
    counts = calibration(readings.sure, readings.hits)
    error = calibration_error(counts.rows.sum(0), len(readings.sure))
    return error, error - counts.value


def diagram(sets: Sequence[Readings], errors: Mapping[str, tuple[float, float]]) -> bytes:
    """A PNG with a panel for each set."""
    columns = min(len(sets), COLUMNS)
    rows = -(-len(sets) // COLUMNS)
    with matplotlib.style.context("default", after_reset=True):
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subfigures(rows, columns, squeeze=False).ravel()
        for place, readings in zip(panels, sets, strict=False):
            panel(place, readings, *errors[readings.name])
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def panel(place: SubFigure, readings: Readings, error: float, chance: float) -> None:
    """One set: accuracy of each bin at its mean certainty above, how many readings it has below."""
    upper, lower = place.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = binned(readings.sure)
    n = bins.sum(0)
    there = n > 0
    certainty, accuracy = (np.asarray(x, float) @ bins[:, there] / n[there] for x in (readings.sure, readings.hits))
    upper.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1)
    upper.plot(certainty, accuracy, color=BLUE, linewidth=1, alpha=0.4)
    upper.scatter(
        certainty, accuracy, 4 + 60 * n[there] / n.max(), BLUE, clip_on=False
    )  # what few readings say is small
    upper.set_title(f"{readings.name}, n = {len(readings.sure)}\nECE {error:.3f} (by chance {chance:.3f})", fontsize=9)
    lower.bar(EDGES[:-1], n, width=1 / BINS, align="edge", color=BLUE, edgecolor="white", linewidth=0.5)
    dress(upper, "accuracy")
    dress(lower, "readings")
    upper.set_ylim(0, 1)
    lower.set_xlabel("certainty", fontsize=9)


def dress(axes: Axes, label: str) -> None:
    """Plain axes from 0 to 1 with small print."""
    axes.set_xlim(0, 1)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
