"""The sliding window: the last seconds of pictures and sound, and stretches of it as Clips. One thread's own.

Times are seconds of `time.monotonic`; a Clip's are seconds since `zero`. Knows nothing of devices, faces or readings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import av
import cv2
import numpy as np

from models.decoding import LONGER_SIDE, fitted
from models.reading import Clip
from models.sound import SAMPLE_RATE
from runtime.capture import Frame, Sound

GRID = 5.0  # pictures a second that are kept: a reading takes 8 of its stretch
MOST_FRAMES = 60  # and of a longer window fewer a second: 55 MB
APART = 0.05  # seconds that a sound's time may be off what was heard so far, before silence is put in or some left out


class SoundRing:
    """The last `seconds` of 16-kHz sound, without holes: silence where none came."""

    def __init__(self, seconds: float) -> None:
        self.samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        self.count = 0  # samples since `base`, of which the last ones are kept
        self.base: float | None = None

    @property
    def end(self) -> float:
        """When the last sample was taken; -inf before the first."""
        return float("-inf") if self.base is None else self.base + self.count / SAMPLE_RATE

    def add(self, time: float, samples: np.ndarray) -> np.ndarray:
        """Takes samples at their time; gives what was really added, silence put in and overlap left out."""
        if self.base is None or time - self.end > len(self.samples) / SAMPLE_RATE:
            self.base, self.count = time, 0
        gap = time - self.end
        if gap > APART:
            samples = np.concatenate([np.zeros(round(gap * SAMPLE_RATE), np.float32), samples])
        elif gap < -APART:
            samples = samples[round(-gap * SAMPLE_RATE) :]
        self.put(samples)
        return samples

    def put(self, samples: np.ndarray) -> None:
        """Writes samples behind the last ones, round the ring."""
        kept = samples[-len(self.samples) :]
        first = self.count + len(samples) - len(kept)
        self.samples[(first + np.arange(len(kept))) % len(self.samples)] = kept
        self.count += len(samples)

    def between(self, start: float, end: float) -> np.ndarray:
        """float32 [N]: what is kept of a stretch."""
        if self.base is None:
            return np.zeros(0, np.float32)
        oldest = max(0, self.count - len(self.samples))
        first = min(max(round((start - self.base) * SAMPLE_RATE), oldest), self.count)
        last = min(max(round((end - self.base) * SAMPLE_RATE), first), self.count)
        return self.samples[np.arange(first, last) % len(self.samples)]


class Window:
    """Pictures and sound of the last `seconds`."""

    def __init__(self, seconds: float, zero: float) -> None:
        self.seconds, self.zero = seconds, zero
        self.apart = max(1 / GRID, seconds / MOST_FRAMES)
        self.frames: deque[Frame] = deque()
        self.sound = SoundRing(seconds)
        self.resampler: av.AudioResampler | None = None
        self.rate = 0

    def due(self, time: float) -> bool:
        """Whether a picture of that time would be kept: cameras give five times more of them."""
        return not self.frames or time - self.frames[-1].time >= self.apart - 0.01

    def add_frame(self, frame: Frame) -> Frame:
        """Keeps a picture, its longer side in bounds as a file's is; gives it as it is kept."""
        height, width = frame.picture.shape[:2]
        size = fitted(width, height, 1.0)
        small = (
            frame.picture
            if max(width, height) <= LONGER_SIDE
            else cv2.resize(frame.picture, size, interpolation=cv2.INTER_AREA)
        )
        kept = Frame(frame.time, small)
        self.frames.append(kept)
        while frame.time - self.frames[0].time > self.seconds:
            self.frames.popleft()
        return kept

    def add_sound(self, sound: Sound) -> tuple[float, np.ndarray]:
        """Keeps sound at 16 kHz; gives what was added, and when it starts."""
        if sound.rate != self.rate:
            self.rate, self.resampler = sound.rate, av.AudioResampler("flt", "mono", SAMPLE_RATE)
        added = self.sound.add(sound.time, self.resampled(sound.samples))
        return self.sound.end - len(added) / SAMPLE_RATE, added

    def resampled(self, samples: np.ndarray) -> np.ndarray:
        """float32 [N] at `rate` to 16 kHz, what the filter holds back given with the next ones."""
        if self.rate == SAMPLE_RATE or self.resampler is None or not len(samples):
            return samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), "flt", "mono")
        frame.sample_rate = self.rate
        return np.concatenate([np.zeros(0, np.float32), *(p.to_ndarray()[0] for p in self.resampler.resample(frame))])

    def forget(self) -> None:
        """Everything: the machine slept, or somebody asked for silence."""
        self.frames.clear()
        self.sound = SoundRing(self.seconds)

    def clip(self, start: float, end: float, frames: int) -> Clip:
        """A stretch, not from before `zero`, with its sound and at most `frames` pictures, spread evenly."""
        start = max(start, self.zero)
        chosen = spread([frame for frame in self.frames if start <= frame.time <= end], frames)
        chosen = [frame for frame in chosen if frame.picture.shape == chosen[-1].picture.shape]
        pictures = np.stack([frame.picture for frame in chosen]) if chosen else np.zeros((0, 1, 1, 3), np.uint8)
        wave = self.sound.between(start, end)
        return Clip(
            start=start - self.zero,
            end=end - self.zero,
            frames=pictures,
            times=np.array([frame.time - self.zero for frame in chosen], np.float64),
            waveform=wave if len(wave) else None,
            duration=end - self.zero,
        )


def spread(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most so many, the middle ones of equal parts."""
    count = min(len(frames), most)
    return [frames[(2 * i + 1) * len(frames) // (2 * count)] for i in range(count)]
