"""A plain convolutional network as an image encoder for grey face crops: pixels in, a grid of features out.

Eight 3 x 3 convolutions with batch norm, halved after every second one (VGG, arXiv 1409.1556, in the size that is usual for
48-pixel faces). Trained from random weights: at this size no pretrained package helped (docs/log.md).
"""

from __future__ import annotations

from torch import Tensor, nn

STAGES = (64, 128, 256, 512)  # channels of two convolutions each
WIDTH = STAGES[-1]


def conv(channels: int, out: int) -> list[nn.Module]:
    """Convolution, norm, activation."""
    return [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


class Encoder(nn.Module):
    """pixels float [B, 1, S, S] in -1..1 -> features [B, (S / 16)**2, 512]."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *STAGES[:-1])
        layers = [[*conv(i, o), *conv(o, o), nn.MaxPool2d(2)] for i, o in zip(inputs, STAGES, strict=True)]
        self.layers = nn.Sequential(*(layer for stage in layers for layer in stage))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels).flatten(2).transpose(1, 2)
