"""The figures of merit against numbers worked out by hand."""

import pytest

from models.metrics import accuracy, uar, weighted_f1

TRUTH = ["a", "a", "a", "b", "b", "c"]
READ = ["a", "a", "b", "b", "c", "d"]


def test_metrics_by_hand() -> None:
    assert accuracy(TRUTH, READ) == pytest.approx(3 / 6)
    assert uar(TRUTH, READ) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    f1_a, f1_b = 2 * 2 / (3 + 2), 2 * 1 / (2 + 2)
    assert weighted_f1(TRUTH, READ) == pytest.approx((3 * f1_a + 2 * f1_b + 0) / 6)
