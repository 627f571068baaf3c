"""What a clue claims: levels by their words, whole words alone, the longest wording of a measurement."""

import pytest

from models.clues import WORDS, claims, level


@pytest.mark.parametrize(
    ("clue", "sense", "wanted"),
    [
        ("The voice is low and of even pace.", "audio", {"pitch_hz": 0, "rate": 1}),
        ("It is neither high nor low, and soft.", "audio", {"pitch_hz": 1, "loudness_db": 0}),
        ("High-pitched and unhurried.", "audio", {"pitch_hz": 2, "rate": 0}),
        ("The lips are shut and the eyes are at rest.", "visual", {"mouth_open": 0, "eye_open": 1}),
        ("Slowly flowing, highly strung.", "audio", {}),
        ("The brows are raised.", "audio", {}),
    ],
)
def test_claims(clue: str, sense: str, wanted: dict[str, int]) -> None:
    assert claims(clue, sense) == wanted


def test_every_wording_claims_its_own_level_and_nothing_else() -> None:
    for sense, table in WORDS.items():
        for name, levels in table.items():
            for at, wordings in enumerate(levels):
                for wording in wordings:
                    assert claims(f"One hears or sees that {wording}.", sense) == {name: at}


def test_levels() -> None:
    assert [level(z) for z in (-2, -0.5, 0.5, 2)] == [0, 1, 1, 2]
