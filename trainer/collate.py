"""Items to the tensors of a Batch: prompt and reply as ids, the weight of every reply token, the rows of media.

The prompt is rendered by `models.prompt`, piece by piece, exactly as the runtime does. Knows ids and rows; the stage turns
rows into pixels and mel on its device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.language import Tokenizer, prompt_ids
from models.prompt import body, head, label_text
from trainer.mixture import Item


@dataclass(frozen=True)
class Tokens:
    """One item as ids, with the loss weight of each (0 for the prompt and the forced headings)."""

    ids: list[int]
    weights: list[float]


def tokens_of(item: Item, tokenizer: Tokenizer, counts: Mapping[str, int], reason_weight: float) -> Tokens:
    """Prompt and wanted reply. The label line's tokens share a weight of 1, but the token that ends the list has 1 of its
    own (or two labels are named on every item); the free words, where the item has them, share `reason_weight`."""
    prompt = prompt_ids([*head(), *body(item.present)], tokenizer, counts)
    labels = list(tokenizer.tokenize(label_text(item.reply.labels)))
    weights = [0.0] * len(prompt) + [1.0] * len(labels)
    ids = prompt + labels
    free: list[int] = []
    for line in item.reply.lines if item.reasoned else ():
        heading, words = tokenizer.tokenize(line.heading), tokenizer.tokenize(f" {line.words}\n")
        free += range(len(ids) + len(heading), len(ids) + len(heading) + len(words))
        ids += [*heading, *words]
        weights += [0.0] * (len(heading) + len(words))
    for place in free:
        weights[place] = reason_weight / len(free)
    return Tokens(ids, weights)


def pad(rows: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """ids, weights [B, L], right-padded to a multiple of 16."""
    longest = padded(max(len(row.ids) for row in rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        weights[index, : len(row.ids)] = torch.tensor(row.weights)
    return ids, weights


@dataclass(frozen=True)
class Blend:
    """Rows of media [V], rows that are blended into them [V] and the shares of those [V], mostly 0."""

    rows: Tensor
    others: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Rows:
    """A batch before its media are made: text tensors, and the media of the items that have them."""

    ids: Tensor
    weights: Tensor
    faces: Blend
    voices: Blend


@dataclass(frozen=True)
class Collator:
    """Items to Rows, by one tokenizer; `counts` are the soft tokens of a modality. A DataLoader's collate function.

    With `positions` a batch comes in parts of like length, shortest first, of at most so many positions with their padding:
    what a part needs of a device's memory is bounded, however long its longest line.
    """

    tokenizer: Tokenizer
    counts: Mapping[str, int]
    reason_weight: float
    positions: int | None = None

    def __call__(self, items: Sequence[Item]) -> list[Rows]:
        made = [(tokens_of(item, self.tokenizer, self.counts, self.reason_weight), item) for item in items]
        if self.positions is None:
            return [rows_of(made)]
        made.sort(key=lambda pair: len(pair[0].ids))
        return [rows_of(part) for part in cut(made, self.positions)]


def cut(made: Sequence[tuple[Tokens, Item]], positions: int) -> Iterator[Sequence[tuple[Tokens, Item]]]:
    """Items, shortest first, in parts of at most so many padded positions; an item that is longer is a part of its own."""
    start = 0
    for end in range(1, len(made) + 1):
        if end == len(made) or (end + 1 - start) * padded(len(made[end][0].ids)) > positions:
            yield made[start:end]
            start = end


def padded(length: int) -> int:
    """The next multiple of 16."""
    return -(-length // 16) * 16


def rows_of(made: Sequence[tuple[Tokens, Item]]) -> Rows:
    """Some items' tokens padded, and their rows of media."""
    faces = blend([(item.face, *item.blends.get("visual", (item.face, 0.0))) for _, item in made])
    voices = blend([(item.voice, *item.blends.get("audio", (item.voice, 0.0))) for _, item in made])
    return Rows(*pad([tokens for tokens, _ in made]), faces, voices)


def blend(found: Sequence[tuple[int | None, int | None, float]]) -> Blend:
    """Row, other row and its share of every item that has a row."""
    there = [item for item in found if item[0] is not None]
    rows, others = (torch.tensor([item[at] for item in there], dtype=torch.long) for at in (0, 1))
    return Blend(rows, others, torch.tensor([item[2] for item in there]))
