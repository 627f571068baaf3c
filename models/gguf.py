"""A GGUF file without llama.cpp: its metadata, its list of tensors, and rows of one tensor as floats.

The header is read once with bounds on everything, so that a hostile file is refused with words before llama.cpp opens
it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). String arrays, the tokenizer's, are stepped over: reading
98,000 of them takes the `gguf` package two seconds. Knows nothing of prompts, tokens or networks.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from models.errors import AffectError

CURE = "take the file again from where it came"
MOST_FIELDS = 4096
MOST_TENSORS = 1 << 16
LONGEST_NAME = 1 << 10  # bytes of a key or a tensor's name
LONGEST_TEXT = 1 << 20  # bytes of a value; chat templates have some 10,000
STRING, ARRAY = 8, 9
SCALARS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d")))
EMBEDDINGS = "token_embd.weight"

Value = int | float | bool | str | None


@dataclass(frozen=True)
class Tensor:
    """One tensor: shape with the rows first, `kind` as ggml numbers its types, its bytes from `start` of the file on."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


class Cursor:
    """Numbers and texts from a place that never leaves the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def skip(self, count: int) -> int:
        """Steps over `count` bytes and returns where they start. Raises ValueError beyond the end."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise ValueError("it ends too early")
        return start

    def number(self, form: str) -> int | float | bool:
        """One little-endian number, by its struct letter."""
        value: int | float | bool = struct.unpack_from("<" + form, self.data, self.skip(struct.calcsize("<" + form)))[0]
        return value

    def count(self, most: int, what: str) -> int:
        """An unsigned 64-bit count of at most `most`."""
        value = int(self.number("Q"))
        if value > most:
            raise ValueError(f"it claims {value} {what}")
        return value

    def text(self, most: int) -> str:
        """A string."""
        size = self.count(most, "bytes of text")
        start = self.skip(size)
        return self.data[start : start + size].decode("utf-8", "replace")

    def value(self) -> Value:
        """A metadata value; None for an array, which is stepped over."""
        kind = int(self.number("I"))
        if kind == STRING:
            return self.text(LONGEST_TEXT)
        if kind == ARRAY:
            self.pass_array()
            return None
        return self.number(scalar(kind))

    def pass_array(self) -> None:
        """Steps over an array of numbers or strings."""
        kind, count = int(self.number("I")), self.count(len(self.data), "elements")
        if kind != STRING:
            self.skip(count * struct.calcsize("<" + scalar(kind)))
            return
        data, at, end, size = self.data, self.at, len(self.data) - 8, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at > end:
                raise ValueError("it ends too early")
            at += 8 + size(data, at)[0]
        self.at = at
        self.skip(0)


def scalar(kind: int) -> str:
    """The struct letter of a kind of number. Raises ValueError."""
    if not SCALARS.get(kind):
        raise ValueError(f"it has values of an unknown kind {kind}")
    return SCALARS[kind]


@cache
def block(kind: int) -> tuple[int, int]:
    """(numbers, bytes) of one block of a ggml type. Raises ValueError."""
    from gguf.constants import GGML_QUANT_SIZES

    found = {int(name): sizes for name, sizes in GGML_QUANT_SIZES.items()}.get(kind)
    if found is None:
        raise ValueError(f"it has tensors of an unknown type {kind}")
    return found


class Gguf:
    """An open GGUF file. `metadata` holds numbers and texts (None for arrays), `tensors` goes by name.

    Raises AffectError `not_found`, or `bad_gguf` for a file that is not GGUF, is cut short or claims absurd sizes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise AffectError(f"{path.name} can't be read", error.strerror or CURE, "not_found") from error
        except ValueError as error:
            raise AffectError(f"{path.name} is empty", CURE, "bad_gguf") from error
        try:
            self.metadata, self.tensors = read_header(Cursor(self.data))
        except ValueError as error:
            raise self.refused(str(error)) from error

    def refused(self, why: str) -> AffectError:
        """The error for this file."""
        return AffectError(f"{self.path.name} is no usable GGUF file: {why}", CURE, "bad_gguf")

    @property
    def architecture(self) -> str:
        """`llama`, `qwen2`, ..."""
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str) -> int:
        """A whole number of the architecture's own, like `attention.head_count`. Raises AffectError `bad_gguf`."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if not isinstance(value, int) or not 0 < value < 1 << 24:
            raise self.refused(f"{self.architecture}.{key} is {'not there' if value is None else value}")
        return value

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.number("attention.head_count")

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values: as many as `heads` where the file names none."""
        key = "attention.head_count_kv"
        return self.number(key) if f"{self.architecture}.{key}" in self.metadata else self.heads

    @property
    def width(self) -> int:
        """Numbers of one token's embedding."""
        return self.number("embedding_length")

    def rows(self, name: str, ids: Sequence[int]) -> np.ndarray:
        """Rows of a matrix, float32 [len(ids), columns]. Only these rows are read and dequantized.

        Raises AffectError `bad_gguf` where the file has no such matrix, IndexError for a row that it doesn't have.
        """
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize

        tensor = self.tensors.get(name)
        if tensor is None or len(tensor.shape) != 2:
            raise self.refused(f"it has no matrix {name}")
        stored = np.frombuffer(self.data, np.uint8, tensor.size, tensor.start).reshape(tensor.shape[0], -1)
        picked = stored[np.asarray(ids, np.int64)]
        try:
            values = dequantize(picked, GGMLQuantizationType(tensor.kind))
        except NotImplementedError as error:
            raise self.refused(str(error)) from error
        return np.ascontiguousarray(values, np.float32).reshape(len(ids), tensor.shape[1])


def read_header(cursor: Cursor) -> tuple[Mapping[str, Value], Mapping[str, Tensor]]:
    """Metadata and tensors. Raises ValueError with what is wrong."""
    if cursor.data[:4] != b"GGUF":
        raise ValueError("it does not start like one")
    cursor.skip(4)
    version = int(cursor.number("I"))
    if version not in (2, 3):
        raise ValueError(f"version {version} is not known here")
    tensors = cursor.count(MOST_TENSORS, "tensors")
    metadata: dict[str, Value] = {}
    for _ in range(cursor.count(MOST_FIELDS, "fields")):
        key = cursor.text(LONGEST_NAME)
        metadata[key] = cursor.value()
    return metadata, read_tensors(cursor, tensors, metadata.get("general.alignment", 32))


def read_tensors(cursor: Cursor, count: int, alignment: Value) -> dict[str, Tensor]:
    """The list of tensors, each within the file. Raises ValueError."""
    if not isinstance(alignment, int) or alignment <= 0 or alignment > 1 << 16 or alignment & (alignment - 1):
        raise ValueError(f"its alignment is {alignment}")
    found = [read_tensor(cursor) for _ in range(count)]
    data = -(-cursor.at // alignment) * alignment
    placed = {t.name: Tensor(t.name, t.shape, t.kind, data + t.start, t.size) for t in found}
    if len(placed) < count:
        raise ValueError("two of its tensors have one name")
    for tensor in placed.values():
        if tensor.start + tensor.size > len(cursor.data):
            raise ValueError(f"it ends before the end of {tensor.name!r}")
    return placed


def read_tensor(cursor: Cursor) -> Tensor:
    """One entry of the list; `start` counts from the first tensor's byte. Raises ValueError."""
    name = cursor.text(LONGEST_NAME)
    dimensions = int(cursor.number("I"))
    if not 1 <= dimensions <= 4:
        raise ValueError(f"{name!r} has {dimensions} dimensions")
    shape = tuple(cursor.count(1 << 40, "rows") for _ in range(dimensions))[::-1]
    kind, start = int(cursor.number("I")), int(cursor.number("Q"))
    numbers, size = block(kind)
    if 0 in shape or shape[-1] % numbers:
        raise ValueError(f"{name!r} has the shape {shape}")
    return Tensor(name, shape, kind, start, prod(shape) // numbers * size)
