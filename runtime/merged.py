"""The language model for a CPU: a base in a 4-bit kind that llama.cpp multiplies slowly, and the adapter over it, made one file
in 8 bits at first use and kept in the user's cache.

llama.cpp has no packed matrix product for Q4_1 and Q5_1: from Q8_0 it reads prompts 2.7 times and writes 1.25 times as fast, and
the values stay what they are (docs/log.md, 2026-11-26). Knows GGUF files; nothing of prompts or bundles.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

from models.gguf import Gguf
from runtime.cache import make_once
from runtime.language import check_adapter

FOLDER = "language"
FORM = 1  # of the merged file: a new number where the same two files give another one
SLOW = {Kind.Q4_1, Kind.Q5_1}
KEPT = 3  # merged files, the latest used ones: each has the size of a base
OWN = ("general.architecture", "general.file_type")  # which the writer says itself


def is_slow(base: Path) -> bool:
    """Whether a CPU multiplies slowly with what a base holds. Raises AffectError `not_found`, `bad_gguf`."""
    return any(tensor.kind in SLOW for tensor in Gguf(base).tensors.values())


def merged_model(base: Path, adapter: Path | None, hashes: tuple[str, ...]) -> Path:
    """The one file of both, whose sha256 sums are `hashes`. Raises AffectError `disk_full`, `no_cache`, `bad_gguf`,
    `bad_adapter`."""
    key = hashlib.sha256(" ".join([str(FORM), *hashes]).encode()).hexdigest()[:32]
    path = make_once(f"{FOLDER}/{key}.gguf", partial(write_merged, base, adapter))
    path.touch()
    drop_old(path.parent)
    return path


def drop_old(folder: Path) -> None:
    """Removes all but the files used last; one that a program on Windows has open stays."""
    files = sorted(folder.glob("*.gguf"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[KEPT:]:
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            continue


def write_merged(base: Path, adapter: Path | None, path: Path) -> None:
    """Every matrix W + (alpha / r) B A in Q8_0; what has no correction and is fast already is copied."""
    source, lora, scale = GGUFReader(base), {}, 0.0
    if adapter is not None:
        check_adapter(adapter, Gguf(base))
        over = GGUFReader(adapter)
        lora = {tensor.name: np.asarray(tensor.data, np.float32) for tensor in over.tensors}
        scale = float(over.fields["adapter.lora.alpha"].contents())
    writer = GGUFWriter(path, str(source.fields["general.architecture"].contents()))
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    copy_fields(source, writer)
    for tensor in source.tensors:
        a, b = (lora.get(f"{tensor.name}.lora_{side}") for side in "ab")
        add_matrix(writer, tensor, None if a is None or b is None else (scale / len(a)) * (b @ a))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def copy_fields(source: GGUFReader, writer: GGUFWriter) -> None:
    """Metadata, the tokenizer's among it."""
    for name, field in source.fields.items():
        if name not in OWN and not name.startswith("GGUF."):
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)


def add_matrix(writer: GGUFWriter, tensor: Any, correction: np.ndarray | None) -> None:
    """One tensor, corrected."""
    kind = Kind(tensor.tensor_type)
    if correction is None and kind not in SLOW:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=kind)
        return
    values = dequantize(tensor.data, kind)
    values = values if correction is None else values + correction
    writer.add_tensor(tensor.name, quantize(np.ascontiguousarray(values, np.float32), Kind.Q8_0), raw_dtype=Kind.Q8_0)
