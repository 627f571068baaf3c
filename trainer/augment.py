"""Augmentation on the card: sound (shift, gain, noise, reverb, warp, masks) and faces (flip, turn, light, erase).

Everything is a batched tensor operation on the stage's device with its generator. Knows waveforms and pixels only.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from models.sound import mel_filters

MEL_HOP, MEL_FFT = 160, 400


class LogMel:
    """Whisper's log-mel of [B, N] waveforms on their device: the tensor twin of `models.sound.log_mel` (tested equal)."""

    def __init__(self, device: torch.device) -> None:
        self.filters = torch.from_numpy(mel_filters()).float().to(device)
        self.window = torch.hann_window(MEL_FFT, device=device)

    def __call__(self, waves: Tensor) -> Tensor:
        """float [B, N] -> [B, 80, N / 160]."""
        spectrum = torch.stft(waves, MEL_FFT, MEL_HOP, window=self.window, return_complex=True, pad_mode="reflect")
        mel = self.filters @ spectrum[..., :-1].abs().square()
        log = mel.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """[count] numbers between low and high."""
    return torch.rand(count, device=generator.device, generator=generator) * (high - low) + low


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, device=generator.device, generator=generator)


def shift(waves: Tensor, generator: Generator, longest: int = 8000) -> Tensor:
    """Each wave moved right by up to `longest` samples, zeros before it."""
    by = (uniform(len(waves), 0, longest, generator)).long()[:, None]
    index = torch.arange(waves.shape[1], device=waves.device)[None] - by
    return torch.where(index >= 0, waves.gather(1, index.clamp(min=0)), 0.0)


def reverb(waves: Tensor, generator: Generator, length: int = 4000) -> Tensor:
    """A room's echo: an exponentially fading random impulse response, 50 to 250 ms, mixed with the dry sound."""
    time = torch.arange(length, device=waves.device) / 16000
    fade = torch.exp(-6.9 * time[None] / uniform(len(waves), 0.05, 0.25, generator)[:, None])
    impulse = normal((len(waves), length), generator) * fade
    impulse = impulse / impulse.norm(dim=1, keepdim=True)
    size = waves.shape[1] + length
    wet = torch.fft.irfft(torch.fft.rfft(waves, size) * torch.fft.rfft(impulse, size), size)[:, : waves.shape[1]]
    return waves + wet * uniform(len(waves), 0.1, 0.7, generator)[:, None]


def noise(waves: Tensor, generator: Generator) -> Tensor:
    """Coloured noise at 5 to 35 dB below the speech."""
    spectrum = torch.fft.rfft(normal(tuple(waves.shape), generator))
    slope = uniform(len(waves), 0.0, 1.0, generator)[:, None]
    hertz = torch.arange(spectrum.shape[1], device=waves.device).clamp(min=1).float()[None]
    coloured = torch.fft.irfft(spectrum * hertz.pow(-slope), waves.shape[1])
    loud = waves.square().mean(1, keepdim=True).sqrt() * 10 ** (-uniform(len(waves), 5, 35, generator)[:, None] / 20)
    return waves + coloured / coloured.square().mean(1, keepdim=True).sqrt() * loud


def sometimes(waves: Tensor, changed: Tensor, chance: float, generator: Generator) -> Tensor:
    """Each row changed with that chance."""
    take = uniform(len(waves), 0, 1, generator) < chance
    return torch.where(take.view(-1, *[1] * (waves.dim() - 1)), changed, waves)


def augment_waves(waves: Tensor, generator: Generator) -> Tensor:
    """float [B, N] -> [B, N]."""
    waves = shift(waves, generator)
    waves = sometimes(waves, reverb(waves, generator), 0.3, generator)
    waves = sometimes(waves, noise(waves, generator), 0.5, generator)
    return waves * 10 ** (uniform(len(waves), -8, 8, generator)[:, None] / 20)


def warp_mel(mel: Tensor, generator: Generator) -> Tensor:
    """Time stretched by up to 15 % and frequency by up to 8 %: [B, 80, T]."""
    count = len(mel)
    theta = torch.zeros(count, 2, 3, device=mel.device)
    theta[:, 0, 0] = uniform(count, 0.87, 1.15, generator)
    theta[:, 0, 2] = theta[:, 0, 0] - 1  # stretched from the start, so that speech stays inside
    theta[:, 1, 1] = uniform(count, 0.92, 1.08, generator)
    theta[:, 1, 2] = theta[:, 1, 1] - 1
    grid = F.affine_grid(theta, [count, 1, *mel.shape[1:]], align_corners=False)
    return F.grid_sample(mel[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def mask_mel(mel: Tensor, generator: Generator) -> Tensor:
    """SpecAugment: two bands of up to 10 mels and two stretches of up to 0.3 s set to the clip's mean."""
    fill = mel.mean((1, 2), keepdim=True)
    for axis, longest in ((1, 10), (1, 10), (2, 30), (2, 30)):
        size = mel.shape[axis]
        width = uniform(len(mel), 0, longest, generator)[:, None]
        start = uniform(len(mel), 0, 1, generator)[:, None] * (size - width)
        at = torch.arange(size, device=mel.device)[None]
        hidden = (at >= start) & (at < start + width)
        mel = torch.where(hidden.unsqueeze(2 if axis == 1 else 1), fill, mel)
    return mel


def augment_faces(pixels: Tensor, generator: Generator) -> Tensor:
    """float [B, 1, S, S] in -1..1: flipped, turned by 10 degrees, scaled by a fifth, moved by a tenth, relit, a patch erased."""
    count = len(pixels)
    angle = uniform(count, -10, 10, generator) * math.pi / 180
    scale = uniform(count, -0.2, 0.2, generator).exp()
    flip = torch.where(uniform(count, 0, 1, generator) < 0.5, -1.0, 1.0)
    theta = torch.stack(
        [
            torch.stack([flip * scale * angle.cos(), -scale * angle.sin(), uniform(count, -0.2, 0.2, generator)], 1),
            torch.stack([flip * scale * angle.sin(), scale * angle.cos(), uniform(count, -0.2, 0.2, generator)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)
    contrast, light = uniform(count, 0.75, 1.3, generator), uniform(count, -0.15, 0.15, generator)
    pixels = (pixels * contrast.view(-1, 1, 1, 1) + light.view(-1, 1, 1, 1)).clamp(-1, 1)
    return erase(pixels, generator)


def erase(pixels: Tensor, generator: Generator) -> Tensor:
    """A rectangle of a tenth to half of each side, in one of two pictures, painted in one grey."""
    count, size = len(pixels), pixels.shape[-1]
    inside = torch.ones(count, 1, size, size, dtype=torch.bool, device=pixels.device)
    for axis in (2, 3):
        width = uniform(count, size / 10, size / 2, generator).view(-1, 1)
        start = uniform(count, 0, 1, generator).view(-1, 1) * (size - width)
        at = torch.arange(size, device=pixels.device)[None]
        hit = (at >= start) & (at < start + width)
        inside &= hit.view(count, 1, size, 1) if axis == 2 else hit.view(count, 1, 1, size)
    chosen = (uniform(count, 0, 1, generator) < 0.5).view(-1, 1, 1, 1)
    return torch.where(inside & chosen, uniform(count, -1, 1, generator).view(-1, 1, 1, 1), pixels)


def to_waves(arrays: Tensor) -> Tensor:
    """int16 [B, N] -> float in -1..1."""
    return arrays.float() / 32767


def to_pixels(arrays: Tensor) -> Tensor:
    """uint8 [B, S, S] -> float [B, 1, S, S] in -1..1, as `models.pixels.normalise` does."""
    return (arrays.float().unsqueeze(1) / 255 - 0.5) / 0.5
