"""nano reads English alone: other languages must be left out, English never."""

import pytest

from models.tongues import is_english


@pytest.mark.parametrize(
    "line",
    [
        "bin blue at f two now",
        "I can't believe you did that!",
        "",
        "No me gusta... just kidding",
        "Die hard is on!",
        "OK",
        "[NAME] is a man child who can't stand up",
        "😀 lol",
        "She said it was café au lait, you know?",
    ],
)
def test_english_is_read(line: str) -> None:
    assert is_english(line)


@pytest.mark.parametrize(
    "line",
    [
        "Ich habe das nicht gewusst",
        "je ne sais pas ce que tu veux",
        "我很高兴",
        "мне очень грустно",
        "no es lo que yo quiero",
        "Voor altijd!",
        "Så dejligt.",
        "¡Qué sorpresa tan bonita, señor!",
    ],
)
def test_other_languages_are_not(line: str) -> None:
    assert not is_english(line)
