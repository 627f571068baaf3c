"""A bundle's files -> the network's weights again: int8 widened, folded names undone, the LoRA's rows put back.

Mirrors export/encoders.py and export/language.py, which write them. Knows graphs, names and numbers; nothing of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from models.adapter import STORED, separate, trained_name, turned_parts
from models.errors import AffectError
from models.gguf import Gguf

PREFIX = "branch."  # the exporter's module around a branch
CONSTANT = ".knots"  # of the network itself
CHAIN = 4  # nodes from a product in int8 to its bias: a cast, a scale, the sum


def graph_state(path: Path) -> dict[str, Tensor]:
    """A graph's float weights by the branch's names for them. Raises AffectError `bad_bundle`."""
    try:
        graph = onnx.load(path, load_external_data=False).graph
        found = named(graph, widened(graph))
    except (DecodeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise AffectError(f"the weights in {path.name} can't be read", str(error)[:200], "bad_bundle") from error
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in found.items()}


def widened(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Every constant by the name that nodes know it by, what is stored in int8 as floats."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = dict(stored)
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            values, scale, zero = (found.pop(name) for name in node.input)
            found[node.output[0]] = floats(values, scale, zero, axis)
        if node.op_type == "MatMulInteger":  # named so by quantize_dynamic
            scale = stored[node.input[1].removesuffix("_quantized") + "_scale"]
            found[node.input[1]] = floats(stored[node.input[1]], scale, stored[node.input[3]], 1)
    return found


def floats(stored: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int) -> np.ndarray:
    """(stored - zero) * scale, with one scale and zero for all or for each index of `axis`."""
    shape = [-1 if i == axis else 1 for i in range(stored.ndim)] if scale.size > 1 else [1] * stored.ndim
    return (stored.astype(np.float32) - zero.reshape(shape).astype(np.float32)) * scale.reshape(shape)


def named(graph: onnx.GraphProto, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The branch's own: those that kept their names, and the linear layers' weights, which the exporter turned and renamed:
    their biases, which kept theirs, tell whose they are."""
    own = [name for name in values if name.startswith(PREFIX) and not name.endswith(CONSTANT)]
    found = {name.removeprefix(PREFIX): values[name] for name in own}
    after = {name: node for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type in ("MatMul", "MatMulInteger") and node.input[1] in values:
            bias = bias_after(node, after)
            if bias:
                found[bias.removeprefix(PREFIX).removesuffix("bias") + "weight"] = values[node.input[1]].T
    return found


def bias_after(node: onnx.NodeProto, after: Mapping[str, onnx.NodeProto]) -> str:
    """The name of the bias that is added to a product, "" where none is."""
    at: Any = node
    for _ in range(CHAIN):
        at = after.get(at.output[0])
        if at is None or at.op_type not in ("Cast", "Mul", "Add"):
            return ""
        if at.op_type == "Add":
            return next((name for name in at.input if name.startswith(PREFIX) and name.endswith(".bias")), "")
    return ""


def unfolded(state: Mapping[str, Tensor], branch: nn.Module) -> dict[str, Tensor]:
    """The state with the batch norms that the exporter folded into the convolutions before them: as norms that only add."""
    found, names = dict(state), [name for name, _ in branch.named_modules()]
    for name, norm in branch.named_modules():
        shift = found.pop(f"{names[names.index(name) - 1]}.weight_bias", None)
        if isinstance(norm, nn.BatchNorm2d) and shift is not None:
            one = torch.ones_like(shift)
            parts = {"weight": one, "bias": shift, "running_mean": one * 0, "running_var": one - norm.eps}
            found |= {f"{name}.{key}": value for key, value in parts.items()}
            found[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return found


def adapter_state(path: Path, heads: int, kv_heads: int) -> tuple[dict[str, Tensor], float]:
    """The matrices of an adapter, named as `models.language.lora_state` does, and its alpha.

    Raises AffectError `not_found` or `bad_gguf`.
    """
    file = Gguf(path)
    alpha, turned = file.metadata.get("adapter.lora.alpha"), turned_parts(file.architecture, heads, kv_heads)
    if not isinstance(alpha, float):
        raise file.refused("it has no LoRA")
    found = {}
    for stored, tensor in file.tensors.items():
        values, part = file.rows(stored, range(tensor.shape[0])), STORED.fullmatch(stored)
        rows = turned.get(part[2], 0) if part and part[3] == "b" else 0
        if rows and len(values) % (2 * rows):
            raise file.refused(f"{len(values)} rows of {stored} are no {rows} heads")
        found[trained_name(stored)] = torch.from_numpy(separate(values, rows).copy() if rows else values)
    return found, alpha
