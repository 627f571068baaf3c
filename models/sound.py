"""Waveforms to what the network hears: windows of speech, Whisper's log-mel, and measurements of the voice.

numpy alone, the same code for training and live use. Sound is float32, 16 kHz, mono. Knows nothing of words, files or
networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SAMPLE_RATE = 16000
FFT, HOP, MELS = 400, 160, 80  # Whisper: 25-ms windows every 10 ms
FRAME = 640  # 40 ms, two periods of the lowest pitch
PITCH_LOW, PITCH_HIGH = 60.0, 420.0  # Hz
VOICED = 0.5  # normalised autocorrelation from which a frame has a pitch
FLOOR_DB = -55.0  # dBFS below which nothing counts as speech
BELOW_PEAK_DB = 32.0  # a frame further than this below the loud frames is a pause
BLOCK = 500  # frames whose pitch is found at once: 20 MB, whatever the length of the sound
MARGIN = 0.1  # seconds kept before the first and after the last speech


def log_mel(wave: np.ndarray, frames: int) -> np.ndarray:
    """float32 [N] -> [80, frames]: Whisper's log-mel of the sound padded or cut to `frames` * 160 samples."""
    padded = np.zeros(frames * HOP, np.float64)
    kept = wave[: len(padded)]
    padded[: len(kept)] = kept
    around = np.pad(padded, FFT // 2, mode="reflect")
    cut = np.lib.stride_tricks.sliding_window_view(around, FFT)[::HOP][:frames]
    power = np.abs(np.fft.rfft(cut * hann(), axis=1)) ** 2
    log = np.log10(np.maximum(power @ mel_filters().T, 1e-10)).T
    return ((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0).astype(np.float32)


@lru_cache(1)
def hann() -> np.ndarray:
    """The periodic Hann window."""
    return np.hanning(FFT + 1)[:-1]


@lru_cache(1)
def mel_filters() -> np.ndarray:
    """[80, 201] triangles on Slaney's mel scale, each of unit area."""
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    edges = mel_to_hertz(np.linspace(0.0, hertz_to_mel(SAMPLE_RATE / 2), MELS + 2))
    rise = (hertz[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hertz[None]) / np.diff(edges)[1:, None]
    return np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def hertz_to_mel(hertz: float) -> float:
    """Slaney's scale: linear to 1 kHz, logarithmic above."""
    return hertz * 3 / 200 if hertz < 1000 else 15.0 + np.log(hertz / 1000) * 27 / np.log(6.4)


def mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    """The inverse of hertz_to_mel."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))


def loudness(wave: np.ndarray) -> np.ndarray:
    """dBFS of every 40-ms frame, one per 10 ms: [frames]; a sound shorter than one frame has one."""
    centred = wave - np.mean(wave, dtype=np.float64) if len(wave) else wave  # a constant offset is no sound
    padded = np.pad(centred.astype(np.float64), (0, max(0, FRAME - len(wave))))
    total = np.concatenate([[0.0], np.cumsum(padded**2)])
    starts = np.arange(0, len(padded) - FRAME + 1, HOP)
    return 10 * np.log10((total[starts + FRAME] - total[starts]) / FRAME + 1e-12)


def active(levels: np.ndarray) -> np.ndarray:
    """bool [frames]: frames that are not much below the loud ones (95th percentile), nor below the floor."""
    return levels > max(FLOOR_DB, float(np.percentile(levels, 95)) - BELOW_PEAK_DB)


def is_silent(wave: np.ndarray) -> bool:
    """Whether nothing in the sound rises above the floor for 100 ms."""
    return int(np.sum(loudness(wave) > FLOOR_DB)) < 10 if len(wave) else True


def spoken_span(wave: np.ndarray) -> tuple[int, int]:
    """First and last sample of what is not silence, with a margin; the whole when all is silence."""
    frames = np.flatnonzero(active(loudness(wave)))
    if not len(frames):
        return 0, len(wave)
    margin = round(MARGIN * SAMPLE_RATE)
    return max(0, frames[0] * HOP - margin), min(len(wave), frames[-1] * HOP + FRAME + margin)


def windows(wave: np.ndarray, seconds: float = 5.0) -> np.ndarray:
    """[W, seconds * 16000]: the sound from its first to its last speech, cut in windows, the last one zero-padded."""
    first, last = spoken_span(wave)
    size = round(seconds * SAMPLE_RATE)
    count = max(1, -(-(last - first) // size))
    whole = np.zeros(count * size, np.float32)
    whole[: last - first] = wave[first:last]
    return whole.reshape(count, size)


@dataclass(frozen=True)
class VoiceMeasures:
    """What can be measured of a voice; nan where it can't."""

    pitch_hz: float  # median of the voiced frames
    loudness_db: float  # dBFS, mean power of the speech frames
    rate: float  # syllable nuclei per second from first to last speech
    pitch_range: float  # semitones between the 10th and the 90th percentile
    pause: float  # share of the frames from first to last speech that are silent
    voiced: float  # share of the speech frames that have a pitch


def measure_voice(wave: np.ndarray) -> VoiceMeasures:
    """Measures the whole sound."""
    levels = loudness(wave)
    speech = active(levels)
    if is_silent(wave) or not speech.any():
        return VoiceMeasures(*[float("nan")] * 6)
    first, last = np.flatnonzero(speech)[[0, -1]]
    inside = slice(int(first), int(last) + 1)
    track = pitch_track(wave, np.flatnonzero(speech))
    voiced = track[np.isfinite(track)]
    semitones = 12 * np.log2(voiced / 100) if len(voiced) >= 5 else np.full(1, np.nan)
    return VoiceMeasures(
        pitch_hz=float(np.median(voiced)) if len(voiced) >= 5 else float("nan"),
        loudness_db=float(10 * np.log10(np.mean(10 ** (levels[speech] / 10)))),
        rate=float(syllables(levels[inside]) / max(0.3, (last - first + 1) * HOP / SAMPLE_RATE)),
        pitch_range=float(np.subtract(*np.percentile(semitones, [90, 10]))),
        pause=float(1 - speech[inside].mean()),
        voiced=len(voiced) / max(1, len(track)),
    )


def pitch_track(wave: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Hz of the given 10-ms frames by normalised autocorrelation; nan where there is none, octave jumps taken out."""
    padded = np.pad(wave.astype(np.float64), (0, max(0, FRAME - len(wave))))
    cut = np.lib.stride_tricks.sliding_window_view(padded, FRAME)
    blocks = [frames[i : i + BLOCK] for i in range(0, len(frames), BLOCK)]
    found = np.concatenate([pitches(cut[block * HOP]) for block in blocks]) if blocks else np.zeros(0)
    middle = np.nanmedian(found) if np.isfinite(found).any() else np.nan
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(np.log2(found / middle)) < 0.8, found, np.nan)


def pitches(frames: np.ndarray) -> np.ndarray:
    """Hz of each frame [n, FRAME]; nan where it is not like itself a period later."""
    shortest, longest = int(SAMPLE_RATE / PITCH_HIGH), int(SAMPLE_RATE / PITCH_LOW)
    likeness = autocorrelation(frames - frames.mean(1, keepdims=True), longest + 2)
    inner = likeness[:, shortest : longest + 1]
    peak = (inner >= likeness[:, shortest - 1 : longest]) & (inner >= likeness[:, shortest + 1 : longest + 2])
    scored = np.where(peak, inner, 0.0)
    good = scored > 0.9 * scored.max(1, keepdims=True)  # of peaks nearly as high the shortest lag: no octave below
    return np.where(scored.max(1) > VOICED, SAMPLE_RATE / (good.argmax(1) + shortest), np.nan)


def autocorrelation(frames: np.ndarray, lags: int) -> np.ndarray:
    """[n, lags]: each frame's likeness to itself `lag` samples later, 1 for the same, whatever the overlap's energy."""
    size = 2 * frames.shape[1]
    spectrum = np.fft.rfft(frames, size, axis=1)
    raw = np.fft.irfft(np.abs(spectrum) ** 2, size, axis=1)[:, :lags]
    energy = np.concatenate([np.zeros((len(frames), 1)), np.cumsum(frames**2, 1)], 1)
    ends = frames.shape[1] - np.arange(lags)
    head, tail = energy[:, ends], energy[:, -1:] - energy[:, :lags]
    return raw / (np.sqrt(np.maximum(head * tail, 0)) + 1e-9)


def syllables(levels: np.ndarray) -> int:
    """Peaks of the smoothed level that stand 3 dB above the valleys around them: about one a syllable."""
    smooth = np.convolve(np.pad(levels, 3, mode="edge"), np.hanning(9)[1:-1] / np.hanning(9).sum(), "valid")
    count, valley, peak, rising = 0, smooth[0], smooth[0], True
    for level in smooth:
        if rising:
            peak = max(peak, level)
            if level < peak - 3.0:
                count, valley, rising = count + 1, level, False
        else:
            valley = min(valley, level)
            if level > valley + 3.0:
                peak, rising = level, True
    return count + int(rising and peak > smooth[0] + 3.0)
