"""The robustness rows' changes do what they say, and the same to the same item every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import AffectError
from models.items import Item
from models.media import load_wave
from models.sound import SAMPLE_RATE
from runtime import perturb
from runtime.perturb import CHANGES, changed
from tests.media_files import make_wav

TIME = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
WAVE = sum(0.2 * np.sin(2 * np.pi * hertz * TIME) for hertz in (100, 1000, 5000)).astype(np.float32)
FACE = np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1))
SPEAKING = Path(__file__).parents[2] / "examples/grid.mp4"
WORDS = " ".join(f"word{n}" for n in range(400))


def item(name: str = "a") -> Item:
    return Item(name, FACE[None], WAVE, WORDS, ("sad",))


def power(wave: np.ndarray, hertz: float) -> float:
    """Of one frequency."""
    return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))[round(hertz * len(wave) / SAMPLE_RATE)])


def heard(change: str) -> np.ndarray:
    wave = changed(item(), change).wave
    assert wave is not None and wave.dtype == np.float32
    return wave


def seen(change: str) -> np.ndarray:
    faces = changed(item(), change).faces
    assert faces is not None and faces.shape == (1, 48, 48) and faces.dtype == np.uint8
    return faces[0]


def equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Both there, and the same."""
    return one is not None and other is not None and np.array_equal(one, other)


@pytest.fixture(autouse=True)
def synthesizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is to be said, a known sentence is: the program that says it need not be installed."""
    monkeypatch.setattr(perturb, "synthesized", lambda words, voice, pace: load_wave(SPEAKING))


@pytest.mark.parametrize("change", CHANGES)
def test_chance_is_the_items_own(change: str) -> None:
    first, again = changed(item(), change), changed(item(), change)
    assert equal(first.faces, again.faces) and equal(first.wave, again.wave)
    assert first.words == again.words and first.id == "a"
    whole = item()
    same = [equal(first.faces, whole.faces), equal(first.wave, whole.wave), first.words == WORDS]
    assert same.count(False) == 1, "one input is changed, and no other"


def test_noise_is_ten_decibels_below() -> None:
    rest = heard("noise") - WAVE
    assert 10 * np.log10(np.mean(WAVE**2) / np.mean(rest**2)) == pytest.approx(10, abs=0.3)
    assert not equal(heard("noise"), changed(item("b"), "noise").wave)


def test_a_telephone_passes_the_middle() -> None:
    wave = heard("telephone")
    assert power(wave, 1000) == pytest.approx(power(WAVE, 1000), rel=0.05)
    assert max(power(wave, 100), power(wave, 5000)) < 0.01 * power(WAVE, 1000)


def test_a_room_smears_and_mp3_keeps_time() -> None:
    """A click rings on; a tone that starts late starts no earlier after MP3, within its frame, and is as loud."""
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[1000] = 0.9
    rung = changed(Item("c", None, click, None, ()), "reverb").wave
    assert rung is not None and np.count_nonzero(np.abs(rung[2000:]) > 1e-4) > 500 and np.abs(rung[:1000]).max() < 1e-6
    late = np.where(TIME < 1, 0, WAVE).astype(np.float32)
    through = changed(Item("c", None, late, None, ()), "mp3").wave
    assert through is not None and len(through) == len(late)
    assert np.sqrt(np.mean(through[: SAMPLE_RATE - 2000] ** 2)) < 0.02
    assert np.sqrt(np.mean(through**2)) == pytest.approx(np.sqrt(np.mean(late**2)), rel=0.2)


def test_pictures_are_changed_as_named() -> None:
    assert np.abs(seen("jpeg").astype(int) - FACE).max() < 40
    assert np.abs(seen("half").astype(int) - FACE)[:, 2:-2].max() <= 3
    assert seen("dark").mean() == pytest.approx(0.35 * FACE.mean(), abs=1)
    assert np.array_equal(seen("masked")[:28], FACE[:28]) and (seen("masked")[30:, 8:-8] == 200).all()
    slope = seen("turned").astype(int)
    assert slope[10, 24] != slope[38, 24] and abs(int(slope[23:25, 23:25].mean()) - int(FACE[24, 23:25].mean())) <= 3


def test_misheard_words_are_fewer_and_none_is_new() -> None:
    words = (changed(item(), "misheard").words or "").split()
    assert {*words} <= {*WORDS.split()} and 400 * 0.87 < len(words) < 400 * 0.97
    assert words != sorted(words, key=lambda word: int(word[4:])), "some have changed places"
    assert changed(Item("d", None, None, "no", ()), "misheard").words == "no"


def test_spoken_words_are_what_a_recogniser_hears() -> None:
    words = changed(item(), "spoken").words or ""
    assert "now" in words.lower() and words != WORDS


def test_a_missing_synthesizer_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And a real program's sound is read, whatever its rate."""
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AffectError, match="espeak-ng is not installed"):
        perturb.synthesized("words", "en", 150)
    program = tmp_path / "espeak-ng"
    program.write_text(f'#!/bin/sh\nread -r line\n[ "$line" = words ] && exec {shell_cat()} "$0.wav"\n')
    program.chmod(0o755)
    make_wav(tmp_path / "espeak-ng.wav", np.round(WAVE * 32767).astype(np.int16), 8000)
    assert len(perturb.synthesized("words", "en", 150)) == pytest.approx(2 * len(WAVE), rel=0.01)


def shell_cat() -> str:
    """Where `cat` is."""
    return next(str(path) for path in (Path("/bin/cat"), Path("/usr/bin/cat")) if path.is_file())


@pytest.mark.parametrize("change", ["ordered", "mentioned"])
def test_a_sentence_is_added_about_another_feeling(change: str) -> None:
    words = changed(item(), change).words or ""
    assert words.startswith(WORDS) and "sad" not in words
    assert sum(feeling in words for feeling in perturb.FEELINGS) == 1
