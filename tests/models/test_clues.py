"""What a clue claims: levels by their words, whole words alone, the longest wording of a measurement."""

import numpy as np
import pytest

from models.clues import (
    FACE,
    UNMEASURED,
    VOICE,
    WORDS,
    claims,
    frame,
    level,
    plain_words,
    quotes,
    sentences,
    vocabulary,
)
from models.prompt import Present
from trainer.reasons import wanted


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


@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        ("The voice is low, of even pace and neither loud nor soft.", "the voice is _."),
        ("On the face the lips are shut and the eyes are at rest.", "on the face _."),
        ('The person says "I am sad. Very".', "the person says _."),
        ("So the person comes across as angry.", "so the person comes across as _."),
        ("The face looks happy, but the voice sounds sad.", "the face looks _, but the voice sounds _."),
    ],
)
def test_a_frame_is_a_sentence_without_what_it_tells(sentence: str, wanted: str) -> None:
    assert frame(sentence) == wanted


def test_a_full_stop_inside_a_quotation_ends_nothing() -> None:
    reason = 'The voice is low. The words "No. Never" are said. That reads as sad.'
    assert sentences(reason) == ["The voice is low.", 'The words "No. Never" are said.', "That reads as sad."]
    assert quotes(reason) == ["No. Never"] and "never" not in plain_words(reason)


def test_what_training_teaches_is_in_the_vocabulary() -> None:
    rng = np.random.default_rng(0)
    for seed in range(300):
        z = dict.fromkeys([*VOICE, *FACE], float(rng.normal()))
        shown = {"visual": "happy", "audio": str(rng.choice(["happy", "sad"])), "text": "happy"}
        reply = wanted(np.random.default_rng(seed), Present(True, True, "come here now"), shown, z, z)
        assert vocabulary().issuperset(plain_words(reply.reason))
    assert vocabulary().issuperset(plain_words(" ".join(UNMEASURED.values()))) and "dog" not in vocabulary()
