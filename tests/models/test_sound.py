"""Sound to numbers: Whisper's own log-mel, windows that hold the speech, and measurements that follow what was put in."""

from __future__ import annotations

import csv
import math
import tracemalloc
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from models.sound import SAMPLE_RATE, VoiceMeasures, is_silent, log_mel, measure_voice, spoken_span, windows

FORMANTS = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240)], float)  # Hz of a, i and u


def voice(seconds: float, pitch: float = 150.0, rate: float = 4.0, peak: float = 0.3) -> np.ndarray:
    """Sung vowels: harmonics of `pitch` under three formants, `rate` of them a second."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    formants = FORMANTS[(time * rate).astype(int) % 3]
    wave = np.zeros(len(time))
    for harmonic in np.arange(1, int(7000 / pitch)) * pitch:
        loud = sum(1 / (1 + ((harmonic - formants[:, i]) / (60 + 30 * i)) ** 2) for i in range(3))
        wave += loud * np.sin(2 * np.pi * harmonic * time)
    wave *= np.clip(np.sin(np.pi * (time * rate % 1)), 0, 1) ** 0.5
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


@pytest.mark.parametrize("frames", [500, 1000])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 3.0, 12.0])
def test_log_mel_is_whispers_own(frames: int, seconds: float) -> None:
    """The encoder was trained on exactly these numbers, whether the sound is padded or cut."""
    from transformers import WhisperFeatureExtractor

    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    padded = np.zeros(frames * 160, np.float32)
    padded[: len(noise)] = noise[: len(padded)]
    theirs = WhisperFeatureExtractor()(padded, sampling_rate=SAMPLE_RATE, padding=False, return_tensors="np")
    ours = log_mel(noise, frames)
    assert ours.shape == (80, frames)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs["input_features"][0], atol=1e-4)


@pytest.mark.parametrize("pitch", [80.0, 110.0, 150.0, 220.0, 300.0, 390.0])
def test_pitch_is_found_from_a_low_mans_to_a_childs(pitch: float) -> None:
    """Neither an octave off nor rounded by more than 2 %."""
    measured = measure_voice(voice(2.0, pitch))
    assert measured.pitch_hz == pytest.approx(pitch, rel=0.02)
    assert measured.voiced > 0.9
    assert measured.pitch_range < 1.0


def test_pitch_range_is_the_interval_that_was_sung() -> None:
    """Two notes a fifth apart are 7 semitones."""
    both = np.concatenate([voice(1.0, 120.0), voice(1.0, 180.0)])
    assert measure_voice(both).pitch_range == pytest.approx(7.0, abs=0.5)


def test_an_octave_off_is_taken_for_an_error() -> None:
    """What lies 0.8 octaves from the median is dropped: in speech it is the search that jumped, not the voice."""
    both = np.concatenate([voice(2.0, 110.0), voice(0.5, 220.0)])
    assert measure_voice(both).pitch_range < 1.0


def test_noise_is_hardly_voiced() -> None:
    """A hiss has no pitch, and says so with nan rather than with a number."""
    measured = measure_voice(np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32))
    assert measured.voiced < 0.05
    assert math.isnan(measured.pitch_hz)


@pytest.mark.parametrize("rate", [2.0, 3.0, 4.0, 5.0])
def test_rate_counts_syllables(rate: float) -> None:
    assert measure_voice(voice(3.0, rate=rate)).rate == pytest.approx(rate, abs=0.4)


def test_loudness_follows_the_gain_and_nothing_else_does() -> None:
    """Half the amplitude is 6 dB less; pitch and pace stay."""
    loud, soft = measure_voice(voice(2.0)), measure_voice(voice(2.0) / 2)
    assert loud.loudness_db - soft.loudness_db == pytest.approx(6.02, abs=0.05)
    assert (soft.pitch_hz, soft.rate) == (loud.pitch_hz, loud.rate)


def test_a_constant_offset_changes_nothing() -> None:
    """Cheap microphones add one: it is no loudness, and silence with it stays silence."""
    assert is_silent(silence(2.0) + np.float32(0.2))
    plain, moved = measure_voice(voice(2.0)), measure_voice(voice(2.0) + np.float32(0.2))
    np.testing.assert_allclose(astuple(moved), astuple(plain), rtol=1e-3)


def test_pause_is_the_share_of_silence_between_the_words() -> None:
    """Silence before and after does not count."""
    wave = np.concatenate([silence(2.0), voice(1.0), silence(1.0), voice(1.0), silence(2.0)])
    assert measure_voice(wave).pause == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize("wave", [silence(0), silence(0.001), silence(3.0), silence(1.0) + np.float32(np.nan)])
def test_silence_has_no_voice(wave: np.ndarray) -> None:
    """Also a broken one, and one shorter than a frame: every measurement is nan, nothing is raised."""
    assert is_silent(wave)
    assert all(math.isnan(value) for value in astuple(measure_voice(wave)))


def test_a_click_is_silence_and_a_voice_is_not() -> None:
    click = silence(1.0)
    click[5000:5010] = 0.9
    assert is_silent(click)
    assert not is_silent(voice(0.5))


def test_windows_hold_all_of_the_speech_and_no_silence_around_it() -> None:
    spoken = voice(7.0)
    wave = np.concatenate([silence(3.0), spoken, silence(4.0)])
    cut = windows(wave, 5.0)
    assert cut.shape == (2, 5 * SAMPLE_RATE)
    assert cut.dtype == np.float32
    first, last = spoken_span(wave)
    assert first == pytest.approx(3.0 * SAMPLE_RATE, abs=0.2 * SAMPLE_RATE)
    np.testing.assert_array_equal(cut.reshape(-1)[: last - first], wave[first:last])
    assert np.sum(cut**2) == pytest.approx(np.sum(wave**2), rel=1e-4)
    assert not cut.reshape(-1)[last - first :].any()


@pytest.mark.parametrize("seconds", [0.0, 0.1, 5.0, 20.0])
def test_windows_of_anything_have_the_asked_length(seconds: float) -> None:
    """Silence and nothing too: one window at least."""
    cut = windows(silence(seconds), 5.0)
    assert len(cut) >= 1
    assert cut.shape[1] == 5 * SAMPLE_RATE


def test_the_measurements_of_a_minute_need_little_memory() -> None:
    """The pitch is searched in blocks: peak memory does not grow with the square of anything."""
    wave = np.tile(voice(2.0), 30)
    tracemalloc.start()
    measure_voice(wave)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_blocks_do_not_show() -> None:
    """Speech longer than a block measures as its repeated part does."""
    short, long = measure_voice(voice(2.0)), measure_voice(np.tile(voice(2.0), 6))
    assert long.pitch_hz == short.pitch_hz
    assert long.voiced == pytest.approx(short.voiced, abs=0.03)


def test_an_excited_voice_measures_higher_and_louder_than_a_calm_one() -> None:
    """The property that the recordings below show, on made voices."""
    calm, angry = measure_voice(voice(2.0, 120.0, 3.0, 0.05)), measure_voice(voice(2.0, 260.0, 3.0, 0.5))
    assert angry.pitch_hz > 1.3 * calm.pitch_hz
    assert angry.loudness_db > calm.loudness_db + 10


@pytest.mark.needs_data
def test_recorded_anger_measures_higher_and_louder_than_calm(affect_data: Path) -> None:
    """RAVDESS actors 1-4: angry against calm; women against men."""
    from models.media import load_wave

    found: dict[str, list[VoiceMeasures]] = {}
    with (affect_data / "ravdess" / "index.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["actor"]) <= 4 and row["emotion"] in ("calm", "angry")]
    for row in rows:
        measured = measure_voice(load_wave(affect_data / "ravdess" / row["file"]))
        found.setdefault(row["emotion"], []).append(measured)
        found.setdefault(row["sex"], []).append(measured)
    pitch = {name: np.nanmedian([m.pitch_hz for m in rows]) for name, rows in found.items()}
    loud = {name: np.mean([m.loudness_db for m in rows]) for name, rows in found.items()}
    assert pitch["angry"] > 1.2 * pitch["calm"]
    assert loud["angry"] > loud["calm"] + 8
    assert 90 < pitch["male"] < 190 < pitch["female"] < 330
