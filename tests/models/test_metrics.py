"""The figures of merit against numbers worked out by hand, and their intervals."""

import numpy as np
import pytest

from models.metrics import Counts, accuracy, by_clip, calibration, confusion, ratio, uar, weighted_f1

TRUTH = ["a", "a", "a", "b", "b", "c"]
READ = ["a", "a", "b", "b", "c", "d"]


def test_metrics_by_hand() -> None:
    table = confusion(TRUTH, READ)
    assert Counts(table, accuracy).value == pytest.approx(3 / 6)
    assert Counts(table, uar).value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    f1_a, f1_b = 2 * 2 / (3 + 2), 2 * 1 / (2 + 2)
    assert Counts(table, weighted_f1).value == pytest.approx((3 * f1_a + 2 * f1_b + 0) / 6)


def test_an_interval_is_as_wide_as_chance_makes_it() -> None:
    """A share of .5 of 400 items: .5 +- 1.96 * sqrt(.25 / 400)."""
    hits = np.tile([0.0, 1.0], 200)
    assert ratio(hits, np.ones(400)).interval() == pytest.approx((0.451, 0.549), abs=0.01)
    assert ratio([1.0] * 9, [1.0] * 9).interval() == (1.0, 1.0)


def test_items_of_one_clip_count_as_one_draw() -> None:
    """Ten copies of forty clips are worth forty clips, not four hundred."""
    hits, clips = np.repeat(np.tile([0.0, 1.0], 20), 10), np.repeat(np.arange(40), 10).astype(str).tolist()
    counts = ratio(hits, np.ones(400))
    narrow, wide = counts.interval(), counts.interval(clips)
    assert narrow and wide and wide[1] - wide[0] > 2.5 * (narrow[1] - narrow[0])
    assert by_clip(np.ones((3, 2)), ["x", "y", "x"]).tolist() == [[2, 2], [1, 1]]


def test_different_things_have_no_interval() -> None:
    """Seven in seven clips: any clip drawn twice would leave one out, so that all draws lie below what was counted."""
    rows = np.eye(7)
    drawn = Counts(rows, lambda summed: float((summed > 0).sum())).interval()
    assert drawn and drawn[1] < 7
    assert Counts(rows, lambda summed: float((summed > 0).sum()), drawable=False).interval() is None


def test_nothing_counted_is_zero() -> None:
    assert ratio([], []).value == 0.0 and ratio([], []).interval() == (0.0, 0.0)


def test_calibration_counts_what_chance_does_not_explain() -> None:
    """Readings that are right as often as they are sure have no error left; a tenth too sure is a tenth."""
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.3, 1.0, 4000)
    right = (rng.random(4000) < sure).tolist()
    less = (rng.random(4000) < sure - 0.1).tolist()
    assert abs(calibration(sure.tolist(), right).value) < 0.01
    assert calibration(sure.tolist(), less).value == pytest.approx(0.09, abs=0.02)
