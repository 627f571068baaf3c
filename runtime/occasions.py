"""When to read: somebody has finished speaking, a face has come or changed its look, or so many seconds have passed.

Times are seconds of `time.monotonic`. Knows what was heard and seen; nothing of devices, networks or readings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from runtime.listening import Utterance
from runtime.speech import MARGIN

LOOKS = 3  # looks at a face whose mean counts: a blink is one
CHANGED = 0.6  # spreads of the training faces: happy ones lie so far from neutral ones; who speaks calmly moves by .4
REST = 2.0  # seconds between two readings of a face
SHORT, LONG = 1.5, 2.5  # seconds: the shortest stretch, so that it has some pictures; and that of a face that changed
GONE = 3.0  # seconds without a face after which the next one is a first face
FIRST_WORDS = 1.0  # seconds of the first voice after which it is read


@dataclass(frozen=True)
class Look:
    """A face in a picture of `time`: [M] measurements in spreads of the training's faces, nan where unknown; None: no face."""

    time: float
    measures: np.ndarray | None


@dataclass(frozen=True)
class Occasion:
    """A stretch to read: from `start` to `end`; `since` is when what it is about had happened; `why` names it."""

    start: float
    end: float
    since: float
    why: str  # utterance | voice | face | every | end


class Occasions:
    """Says when there is something to read, of at most `window` seconds; every `every` seconds where that is given."""

    def __init__(self, window: float, every: float | None, align: float) -> None:
        self.window, self.every, self.align = window, every, align
        self.looks: deque[Look] = deque(maxlen=LOOKS)
        self.read: np.ndarray | None = None  # the look that was read last
        self.face_read = self.asked = self.happened = float(
            "-inf"
        )  # when a face, anything was read; when there was anything
        self.due = float("-inf")  # when the clock next asks
        self.first_voice = True
        self.speech_from: float | None = None  # where the part of the present speech starts that is still to be read

    # ------------------------------------------------------------------ what happens

    def heard(self, over: Sequence[Utterance], going_on: Utterance | None) -> list[Occasion]:
        """Utterances that are over, and one that goes on."""
        found = [self.ended(utterance) for utterance in over]
        if going_on is not None:
            self.happened = max(self.happened, going_on.end)
            self.speech_from = going_on.start if self.speech_from is None else self.speech_from
            found += [] if self.every else self.goes_on(going_on)
        return [occasion for occasion in found if occasion]

    def ended(self, utterance: Utterance) -> Occasion | None:
        """The end of an utterance, unless all of it was read while it went on, or the clock says when to read."""
        start = utterance.start if self.speech_from is None else self.speech_from
        self.speech_from, self.happened = None, max(self.happened, utterance.end)
        if self.every or start >= utterance.end:
            return None
        return self.stretch(start - MARGIN, utterance.end + MARGIN, utterance.end, "utterance")

    def goes_on(self, utterance: Utterance) -> list[Occasion]:
        """The first voice, and a speech that fills the window."""
        start = utterance.start if self.speech_from is None else self.speech_from
        if self.first_voice and utterance.end - start >= FIRST_WORDS:
            self.first_voice = False
            return [self.stretch(start - MARGIN, utterance.end, utterance.end, "voice")]
        if utterance.end - start >= self.window - MARGIN:
            self.speech_from = utterance.end
            return [self.stretch(start - MARGIN, utterance.end, utterance.end, "voice")]
        return []

    def seen(self, look: Look) -> list[Occasion]:
        """A look at the camera's picture: the first face, one that came back, or one that looks otherwise than when it was
        read last. While somebody speaks the end of that is waited for."""
        if look.measures is None:
            if self.looks and look.time - self.looks[-1].time > GONE:
                self.looks.clear()
                self.read = None
            return []
        self.looks.append(look)
        self.happened = max(self.happened, look.time)
        if self.every or self.speech_from is not None or len(self.looks) < LOOKS or look.time - self.face_read < REST:
            return []
        if self.read is not None and np.isfinite(self.read).any() and self.change() < CHANGED:
            return []
        return [self.stretch(max(look.time - LONG, self.face_read), look.time, look.time, "face")]

    def tick(self, now: float) -> list[Occasion]:
        """So many seconds have passed, and something happened in them."""
        if not self.every or now < self.due:
            return []
        self.due = max(self.due + self.every, now)  # after a rest the clock starts anew
        if self.happened <= self.asked:
            return []
        return [self.stretch(self.aligned(now), now, now, "every")]

    def last(self, now: float) -> list[Occasion]:
        """The end of everything: what was not read yet."""
        start = now - self.window if self.asked == float("-inf") else max(self.asked, now - self.window)
        if self.happened <= self.asked or (not self.every and self.speech_from is None and self.read is not None):
            return []
        return [self.stretch(start if self.speech_from is None else self.speech_from - MARGIN, now, now, "end")]

    # ------------------------------------------------------------------ what is read

    def stretch(self, start: float, end: float, since: float, why: str) -> Occasion:
        """An occasion of a length in bounds; the present look counts as read."""
        self.asked = max(self.asked, since)
        if len(self.looks) == LOOKS:
            self.read, self.face_read = self.mean(), self.looks[-1].time
        return Occasion(max(min(start, end - SHORT), end - self.window), end, since, why)

    def aligned(self, now: float) -> float:
        """Where a stretch up to now starts: with the speech, or whole windows of the sound encoder later, so that windows that
        were encoded before are used again."""
        if self.speech_from is None:
            return now - self.window
        behind = max(0.0, now - self.window - self.speech_from)
        return self.speech_from + self.align * ceil(behind / self.align)

    def change(self) -> float:
        """How far the present look is from the one read last: root mean square over what was measured in both."""
        apart = self.mean() - (self.read if self.read is not None else 0.0)
        known = apart[np.isfinite(apart)]
        return float(np.sqrt(np.mean(np.square(known)))) if len(known) else 0.0

    def mean(self) -> np.ndarray:
        """The mean of the last looks [M], nan where one is unknown."""
        seen = np.array([look.measures for look in self.looks if look.measures is not None])
        known = np.isfinite(seen)
        return np.where(known.any(0), np.where(known, seen, 0.0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
