"""How many threads should work while other programs want the cores, too.

llama.cpp's threads wait for each other hundreds of times a token, spinning. Where the system has put one of them aside for
another program, all wait for it: two threads beside one busy program are 10 to 50 times slower than one thread, which waits
for nobody. So their number follows from how many cores look free and, once they work, from the share of the cores that
they got. Knows clocks and the system's counts; nothing of models.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MISSED = 0.5  # cores that threads get too few on the average where another program wants one; else some .1 a thread
MEASURED = 0.1  # seconds of work that the average is of
FREE_WAIT, FIRST_WAIT, LONGEST_WAIT = 1.0, 4.0, 60.0  # seconds until more threads are tried again
RUNNING = Path("/proc/loadavg")  # "0.52 0.61 0.70 3/412 8123": 3 threads of the whole machine want a core now


def free_cores() -> int:
    """Cores of the machine that nobody but the caller wants at this moment; all of them where the system does not tell."""
    cores = os.cpu_count() or 1
    try:
        running = int(RUNNING.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return cores
    return max(1, cores - max(0, running - 1))


@dataclass
class Pace:
    """`threads` to use now, of `most`; `until` the time (perf_counter) at which more are tried again; `seconds` and `used` of
    the work since it was last looked at."""

    most: int
    threads: int
    free: Callable[[], int] = free_cores
    until: float = float("-inf")
    wait: float = FIRST_WAIT
    seconds: float = 0.0
    used: float = 0.0

    @classmethod
    def of(cls, most: int, free: Callable[[], int] = free_cores) -> Pace:
        """With all threads, if their cores are free."""
        return cls(most, most, free)

    def choose(self, now: float) -> int:
        """The number of threads for work that begins at `now`. While all of them work there is nothing to ask: those that
        wait for more work spin, and look like another program's."""
        if now >= self.until:
            self.threads = min(self.most, self.free())
            self.until = float("inf") if self.threads == self.most else now + FREE_WAIT
        return self.threads

    def learn(self, seconds: float, used: float, now: float) -> None:
        """After work of so many seconds in which the threads used so many seconds of processor time."""
        self.seconds, self.used = self.seconds + seconds, self.used + used
        if self.seconds >= MEASURED:
            self.judge(self.used / self.seconds, now)
            self.seconds = self.used = 0.0

    def judge(self, cores: float, now: float) -> None:
        """Fewer threads where they got too few cores; where all of them got theirs, patience starts anew."""
        if self.threads - cores < MISSED:
            self.wait = FIRST_WAIT if self.threads == self.most else self.wait
        elif self.threads > 1:
            self.threads = max(1, min(self.threads - 1, int(cores)))
            self.until, self.wait = now + self.wait, min(2 * self.wait, LONGEST_WAIT)
