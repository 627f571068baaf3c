"""Sound as it comes -> whether somebody speaks, and where an utterance starts and ends (Silero VAD).

Times are seconds of `time.monotonic`. The same network and thresholds as for files (`runtime/speech.py`). Knows nothing of
devices or readings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.sound import SAMPLE_RATE
from runtime.speech import LEAST, NO_LONGER, SPEECH, VAD_FRAME, Vad

ENDED = 0.4  # seconds without speech after which an utterance is over: longer than the pause between two words
TICK = VAD_FRAME / SAMPLE_RATE
QUIETEST = -100.0  # dBFS that no sound is given as


@dataclass(frozen=True)
class Utterance:
    """Somebody spoke from `start` to `end`."""

    start: float
    end: float


class Listener:
    """Hears sound piece by piece. `utterance` is the one that is going on, up to the last speech in it."""

    def __init__(self) -> None:
        self.vad = Vad()
        self.rest = np.zeros(0, np.float32)
        self.speaking = False
        self.spoken = 0.0  # seconds of frames with speech in the utterance that is going on
        self.utterance: Utterance | None = None
        self.level = QUIETEST

    def hear(self, time: float, samples: np.ndarray) -> list[Utterance]:
        """Takes float32 [N] at 16 kHz whose first sample is of `time`; gives the utterances that are over now."""
        whole = np.concatenate([self.rest, samples])
        began = time - len(self.rest) / SAMPLE_RATE
        over = []
        for at in range(0, len(whole) - VAD_FRAME + 1, VAD_FRAME):
            self.tick(began + at / SAMPLE_RATE, self.vad.score(whole[at : at + VAD_FRAME]))
            over += self.finished(began + at / SAMPLE_RATE + TICK)
        self.rest = whole[len(whole) // VAD_FRAME * VAD_FRAME :]
        if len(samples):
            self.level = 10 * float(np.log10(np.mean(np.square(samples, dtype=np.float64)) + 10 ** (QUIETEST / 10)))
        return over

    def tick(self, time: float, score: float) -> None:
        """One frame of 32 ms that starts at `time`."""
        self.speaking = score >= (NO_LONGER if self.speaking else SPEECH)
        if self.speaking:
            self.spoken += TICK
            start = self.utterance.start if self.utterance else time
            self.utterance = Utterance(start, time + TICK)

    def finished(self, now: float) -> list[Utterance]:
        """The utterance, if it is over; one of less than a short word counts for nothing."""
        if self.utterance is None or now - self.utterance.end < ENDED:
            return []
        return self.finish()

    def finish(self) -> list[Utterance]:
        """The utterance that is going on, ended now."""
        last, spoken = self.utterance, self.spoken
        self.utterance, self.spoken, self.speaking = None, 0.0, False
        return [last] if last and spoken >= LEAST else []

    def speech(self) -> Utterance | None:
        """The utterance that is going on, once it is more than a click."""
        return self.utterance if self.spoken >= LEAST else None
