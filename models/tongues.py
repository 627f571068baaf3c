"""Is a line English? nano's language model reads nothing else, and a misread line is worse than a missing one.

A vote of function words and scripts, enough to refuse; it is no language identifier. Knows words only.
"""

from __future__ import annotations

import unicodedata

ENGLISH_WORDS = """
the a an and or but if of to in on at is are was were be been am i you he she it we they me him her us them my your his our
their this that these those not no yes do does did don't can can't will would what why who how when where with for from so
just oh okay all now there here have has had up out about get got go like know think i'm it's you're that's
"""
OTHER_WORDS = """
der die das und ist nicht ich du wir ihr ein eine mit auf zu den dem sich auch es sie bin bist hast habe wie warum
le la les un une et est pas je tu nous vous il elle dans pour que qui avec sur ce cette mais oui non
el los las y es yo nosotros una en con por para pero muy esta esto como porque si
lo gli e io sono che di per ma questo questa come perche
o os um uma eu voce nao mas isso com por ele ela de een het en niet ik jij wij zijn dat voor maar
"""
AMBIGUOUS = frozenset(
    ("die", "den", "am", "per", "come", "la", "un", "en", "y", "e", "o", "de", "es", "um", "yo", "dat")
)
ENGLISH = frozenset(ENGLISH_WORDS.split())
OTHERS = frozenset(OTHER_WORDS.split()) - ENGLISH - AMBIGUOUS


def is_english(words: str) -> bool:
    """False where the letters are mostly of another script, where other languages' function words outnumber English ones, and
    where a letter that English lacks stands beside none of English."""
    letters = [c for c in words if c.isalpha()]
    latin = sum("LATIN" in unicodedata.name(c, "") for c in letters)
    if letters and latin < 0.7 * len(letters):
        return False
    said = [word.strip(".,!?;:()'") for word in words.lower().replace("\u2019", "'").split()]
    foreign, english = (sum(word in known for word in said) for known in (OTHERS, ENGLISH))
    return foreign <= english and (english > 0 or all(c.isascii() for c in letters))
