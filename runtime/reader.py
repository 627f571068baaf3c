"""The reader: a thread that loads the engine and reads what it is asked to, one stretch at a time, the newest first.

Knows the engine and requests; nothing of devices or screens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Any

from models.errors import AffectError
from models.reading import Clip, Reading
from runtime.occasions import Occasion

CUT_SHORT = "the reason was cut short: something newer was to be read"
Event = Callable[[str, Any], None]


@dataclass(frozen=True)
class Request:
    """A stretch to read, why, and the Unix time of its start."""

    clip: Clip
    occasion: Occasion
    wall: float = 0.0


class Reader:
    """Reads requests. `say` hears ("ready", engine), ("begun", request), ("labels", ...), ("words", ...), ("read", (request,
    Reading)), ("trouble", AffectError) and, when the engine can't be loaded, ("failed", AffectError).

    A newer request replaces one that waits; a reading in writing is finished unless its stretch is more than `stale`
    seconds old and another one waits.
    """

    def __init__(
        self, load: Callable[[], Any], source: str, options: Mapping[str, Any], stale: float, say: Event
    ) -> None:
        self.load, self.source, self.options, self.stale, self.say = load, source, options, stale, say
        self.engine: Any = None
        self.waiting: Request | None = None
        self.present: Request | None = None
        self.over = False  # nothing more will be asked for
        self.quit = False  # and nothing more is wanted
        self.cut = False
        self.replaced = 0  # requests that a newer one took the place of
        self.news = Condition()
        self.thread = Thread(target=self.run, name="reader", daemon=True)

    def start(self) -> None:
        """Begins to load."""
        self.thread.start()

    @property
    def busy(self) -> bool:
        """Whether it is reading."""
        return self.present is not None

    def ask(self, request: Request) -> None:
        """The next to read, in place of one that waits."""
        with self.news:
            self.replaced += self.waiting is not None
            self.waiting = request
            self.news.notify()

    def forget(self) -> None:
        """What waits is not wanted any more."""
        with self.news:
            self.waiting = None

    def finish(self) -> None:
        """Ends when all that was asked for is read."""
        with self.news:
            self.over = True
            self.news.notify()

    def stop(self) -> None:
        """Ends as soon as may be; what is being written is cut short."""
        with self.news:
            self.quit = self.over = True
            self.news.notify()

    def run(self) -> None:
        """The thread."""
        try:
            self.engine = self.load()
        except (AffectError, ModuleNotFoundError) as error:
            return self.say("failed", error)
        self.say("ready", self.engine)
        while request := self.next():
            self.read(request)
        return self.say("over", None)

    def next(self) -> Request | None:
        """The next request; None when there will be none."""
        with self.news:
            self.news.wait_for(lambda: self.waiting or self.over)
            self.present, self.waiting = (None if self.quit else self.waiting), None
            return self.present

    def read(self, request: Request) -> None:
        """One reading; what is wrong with it is said, and the next one may work."""
        from runtime.engine import Stopwatch

        self.cut = False
        self.say("begun", request)
        watch = Stopwatch(time.perf_counter() - (time.monotonic() - request.occasion.since))
        try:
            reading = self.engine.read_clip(
                request.clip, self.source, watch, on_event=self.say, stopped=self.stopped, **self.options
            )
            self.say("read", (request, self.told(reading)))
        except AffectError as error:
            self.say("trouble", error)
        finally:
            self.present = None

    def stopped(self) -> bool:
        """Whether to go on writing makes no sense any more."""
        request = self.present
        old = request is not None and time.monotonic() - request.occasion.end > self.stale
        self.cut = self.quit or (old and self.waiting is not None)
        return self.cut

    def told(self, reading: Reading) -> Reading:
        """The reading, with a note where its reason was cut short."""
        if not self.cut:
            return reading
        return replace(reading, segments=tuple(replace(s, notes=(*s.notes, CUT_SHORT)) for s in reading.segments))
