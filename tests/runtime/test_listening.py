"""Speech as it comes: heard in pieces as in a whole, utterances with their ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.media import read_clip
from models.sound import SAMPLE_RATE
from runtime.listening import ENDED, Listener, Utterance
from runtime.speech import VAD_FRAME, Vad, speech_scores, speech_spans

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Three seconds with one sentence in them."""
    wave = read_clip(ROOT / "examples" / "grid.mp4", frames=1).waveform
    assert wave is not None
    return wave


def heard(wave: np.ndarray, piece: int, start: float = 0.0) -> tuple[list[Utterance], Listener]:
    listener, over = Listener(), []
    for at in range(0, len(wave), piece):
        over += listener.hear(start + at / SAMPLE_RATE, wave[at : at + piece])
    return over, listener


def test_frame_by_frame_is_as_the_whole(speech: np.ndarray) -> None:
    """Live use scores speech as files do, to the bit."""
    vad, whole = Vad(), speech[: len(speech) // VAD_FRAME * VAD_FRAME]
    assert [vad.score(frame) for frame in whole.reshape(-1, VAD_FRAME)] == speech_scores(whole).tolist()


@pytest.mark.parametrize("piece", [160, 320, 512, 4000])
def test_an_utterance_ends_where_the_file_s_speech_does(speech: np.ndarray, piece: int) -> None:
    """Whatever the size of the blocks: the same start and end as `affect analyze` finds, but for its margins."""
    wave = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), speech, np.zeros(SAMPLE_RATE, np.float32)])
    over, _ = heard(wave, piece, start=500.0)
    spans = speech_spans(wave)
    assert len(over) == len(spans) == 1
    assert over[0].start - 500 == pytest.approx(spans[0][0] + 0.2, abs=0.05)
    assert over[0].end - 500 == pytest.approx(spans[0][1] - 0.2, abs=0.05)


def test_an_utterance_is_over_soon_after_its_end(speech: np.ndarray) -> None:
    """The pause that ends it is the wait before the first label."""
    wave = np.concatenate([speech, np.zeros(SAMPLE_RATE, np.float32)])
    listener = Listener()
    for at in range(0, len(wave), 320):
        if over := listener.hear(at / SAMPLE_RATE, wave[at : at + 320]):
            assert (at + 320) / SAMPLE_RATE - over[0].end <= ENDED + 0.06
            return
    raise AssertionError("no utterance was over")


def test_silence_and_hum_are_nobody() -> None:
    hum = (0.05 * np.sin(2 * np.pi * 50 * np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)
    for wave in (np.zeros(5 * SAMPLE_RATE, np.float32), hum):
        over, listener = heard(wave, 320)
        assert over == [] and listener.speech() is None


def test_what_goes_on_can_be_ended(speech: np.ndarray) -> None:
    """The end of a file in the middle of a word ends the utterance."""
    _, listener = heard(speech[: round(1.2 * SAMPLE_RATE)], 320)
    assert listener.speech() is not None
    assert len(listener.finish()) == 1
    assert listener.finish() == []


def test_the_level_is_in_dbfs() -> None:
    _, listener = heard(np.full(SAMPLE_RATE, 0.1, np.float32), 320)
    assert listener.level == pytest.approx(-20, abs=0.1)
    assert heard(np.zeros(SAMPLE_RATE, np.float32), 320)[1].level == -100
