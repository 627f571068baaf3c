"""Quotations: what a line has in quotation marks stands in the words, letter by letter.

The language model chooses where a quotation starts and ends; it can't misquote. Knows text; nothing of tokens or models.
"""

from __future__ import annotations

import re

MARK = b'"'
INSIDE = re.compile(rb"[\w'\x80-\xff]")  # a byte within a word


class Quoting:
    """Which pieces of text (UTF-8) may follow in a line, whose quotations are whole words of `words`; with None or words
    without any word, no quotation."""

    def __init__(self, words: str | None) -> None:
        self.sources = [part.strip() for part in (words or "").encode().split(MARK) if part.strip()]
        self.said = b""

    def add(self, piece: bytes) -> None:
        """The line goes on."""
        self.said += piece

    def allows(self, piece: bytes) -> bool:
        """Whether the line may go on with this piece."""
        if not self.quoting and MARK not in piece:
            return True
        if not piece:  # an end
            return False
        *closed, last = (self.said + piece).split(MARK)
        whole = all(self.stands(part, whole=True) for part in closed[1::2])
        return whole and (len(closed) % 2 == 0 or self.stands(last, whole=False))

    @property
    def quoting(self) -> bool:
        """Whether the line is within a quotation."""
        return self.said.count(MARK) % 2 == 1

    def stands(self, part: bytes, whole: bool) -> bool:
        """Whether a source has this part from the start of a word on, and up to the end of one, if `whole`."""
        if not part:
            return not whole and bool(self.sources)
        return any(
            starts(source, at) and (not whole or ends(source, at + len(part)))
            for source in self.sources
            for at in places(source, part)
        )


def places(source: bytes, part: bytes) -> list[int]:
    """Where the part stands in the source."""
    return [found.start() for found in re.finditer(rb"(?=" + re.escape(part) + rb")", source)]


def starts(source: bytes, at: int) -> bool:
    """Whether something that is no space starts here, and no word goes on."""
    return not source[at : at + 1].isspace() and not (
        INSIDE.match(source, at) and at > 0 and INSIDE.match(source, at - 1)
    )


def ends(source: bytes, at: int) -> bool:
    """Whether something that is no space ends before here, and no word goes on."""
    return not source[at - 1 : at].isspace() and not (INSIDE.match(source, at - 1) and INSIDE.match(source, at))
