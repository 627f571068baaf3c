"""Quotations: whatever a model would like to write, what stands in quotation marks stands in the words."""

from __future__ import annotations

import pytest

from runtime.quoting import Quoting

WORDS = "No, I don't. They said 'yes' twice, naïve me"


def line(words: str | None, *pieces: str) -> list[bool]:
    """Which pieces may follow one another, each after those before it that may."""
    quoting = Quoting(words)
    allowed = []
    for piece in pieces:
        allowed.append(quoting.allows(piece.encode()))
        if allowed[-1]:
            quoting.add(piece.encode())
    return allowed


@pytest.mark.parametrize(
    ("pieces", "allowed"),
    [
        (('The line goes "', "I", " don't", '".'), (True, True, True, True)),
        (('"', "i", "I", " dont", " don't", '"'), (True, False, True, False, True, True)),
        (('"', "on't", "hey", "They", " said they", ' said"'), (True, False, False, True, False, True)),
        (('"', "Th", '"', "ey", '"'), (True, True, False, True, True)),
        (('"I don', '"', "'t", '" and "', "twice", "", '" too'), (True, False, True, True, True, False, True)),
        (("said", " anything", ' "', '"'), (True, True, True, False)),
        ((' "me', "\n", " and", '"', "\n"), (True, False, False, True, True)),
    ],
)
def test_only_whole_words_of_the_transcript_are_quoted(pieces: tuple[str, ...], allowed: tuple[bool, ...]) -> None:
    """In their order and spelling, from a word's start to a word's end; outside of quotation marks anything goes."""
    assert line(WORDS, *pieces) == list(allowed)


def test_a_letter_may_come_in_pieces() -> None:
    quoting = Quoting(WORDS)
    for piece in (b'"', b"na", b"\xc3", b"\xafve", b'"'):
        assert quoting.allows(piece)
        quoting.add(piece)
    quoting.add(b'"na\xc3')
    assert not quoting.allows(b'"') and not quoting.allows(b"\xae")


def test_marks_within_the_words_end_a_quotation() -> None:
    assert line('so "yes" he said', '"', 'so "yes"', "yes", '"') == [True, False, True, True]


def test_without_words_nothing_is_quoted() -> None:
    for words in (None, "", "  "):
        assert line(words, "The voice", ' "', '""') == [True, False, False]
