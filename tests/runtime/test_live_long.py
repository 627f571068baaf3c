"""A run of two minutes on a loop, watched from outside: what grows, what is left over, whether the clock drifts.

Half an hour of the same is `affect bench live --minutes 30`.
"""

from __future__ import annotations

from pathlib import Path

from runtime.live_speed import long_rows

ROOT = Path(__file__).parents[2]


def test_two_minutes_leave_nothing_behind() -> None:
    """Memory grows by less than 50 MB after the first minute, no thread and no handle more, the clock off by less than 100 ms."""
    clip = str(ROOT / "examples" / "grid.mp4")
    rows = {row.name: row for row in long_rows(("--camera", clip, "--mic", clip, "--loop"), 2.0, None, lambda _: None)}
    missed = [row.line() for row in rows.values() if row.bar is not None and row.value > row.bar]
    assert missed == [] and rows["readings"].value >= 20
