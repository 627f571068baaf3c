"""How a batch is cut: every item is in one part, and no part holds more than a device has room for."""

import pytest

from models.prompt import Present, Reply
from trainer.collate import Tokens, cut, pad
from trainer.mixture import Item

ITEM = Item(None, None, Present(False, False, "so"), Reply(("happy",), {}, ""), "happy", "words")


def lines(*lengths: int) -> list[tuple[Tokens, Item]]:
    """Items of some lengths, sorted."""
    return [(Tokens([1] * length, [1.0] * length), ITEM) for length in sorted(lengths)]


@pytest.mark.parametrize("lengths", [(5,), (16, 16, 16, 16), (9, 100, 30, 31, 33), (40, 41, 700)])
def test_no_part_is_larger_than_it_may_be(lengths: tuple[int, ...]) -> None:
    """An item that is longer than all that fits is alone: one line never blows up the others' padding."""
    parts = list(cut(lines(*lengths), positions=96))
    assert [len(tokens.ids) for part in parts for tokens, _ in part] == sorted(lengths)
    for part in parts:
        ids, _ = pad([tokens for tokens, _ in part])
        assert ids.numel() <= 96 or len(part) == 1


def test_parts_are_as_large_as_they_may_be() -> None:
    assert [len(part) for part in cut(lines(*[16] * 7), positions=48)] == [3, 3, 1]
