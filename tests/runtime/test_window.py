"""The sliding window: what it keeps, and that a stretch of it is what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from models.sound import SAMPLE_RATE
from runtime.capture import Frame, Sound
from runtime.window import GRID, SoundRing, Window, spread


def sine(seconds: float, rate: int = SAMPLE_RATE, pitch: float = 300.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_sound_comes_out_as_it_went_in() -> None:
    """A stretch of the ring is the very samples, wherever the ring's end falls."""
    ring, wave = SoundRing(2.0), sine(7.0)
    for at in range(0, len(wave), 700):
        ring.add(100.0 + at / SAMPLE_RATE, wave[at : at + 700])
    assert ring.end == pytest.approx(107.0)
    assert np.array_equal(ring.between(105.5, 106.5), wave[round(5.5 * SAMPLE_RATE) : round(6.5 * SAMPLE_RATE)])
    assert len(ring.between(100.0, 106.0)) == SAMPLE_RATE  # only the last two seconds are there


def test_a_gap_is_silence_and_an_overlap_is_left_out() -> None:
    """After a hole, and after a clock that was set back, later sound still lies at its time."""
    ring = SoundRing(10.0)
    ring.add(0.0, sine(1.0))
    ring.add(2.0, sine(1.0))
    assert not ring.between(1.1, 1.9).any() and ring.between(2.1, 2.9).any()
    ring.add(2.5, np.ones(SAMPLE_RATE, np.float32))
    assert ring.end == pytest.approx(3.5) and ring.between(3.01, 3.49).min() == 1.0


def test_a_jitter_of_arrival_makes_no_holes() -> None:
    ring, wave = SoundRing(5.0), sine(3.0)
    for at in range(0, len(wave), 320):
        ring.add(at / SAMPLE_RATE + 0.03 * (at // 320 % 2), wave[at : at + 320])
    assert np.array_equal(ring.between(0.0, 3.0), wave)


def test_a_pause_longer_than_the_ring_starts_it_anew() -> None:
    ring = SoundRing(2.0)
    ring.add(0.0, sine(1.0))
    ring.add(1e6, sine(1.0))
    assert ring.end == pytest.approx(1e6 + 1)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_any_rate_becomes_16_khz(rate: int) -> None:
    """Half scale, 300 Hz, in step with its time."""
    window, wave = Window(5.0, zero=50.0), sine(2.0, rate)
    for at in range(0, len(wave), rate // 50):
        window.add_sound(Sound(50.0 + at / rate, wave[at : at + rate // 50], rate))
    heard = window.sound.between(50.5, 51.5)
    crossings = np.count_nonzero(np.diff(np.signbit(heard)))
    assert len(heard) == SAMPLE_RATE and crossings == pytest.approx(600, abs=4)
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.02)


def test_pictures_are_kept_at_the_grid_and_no_longer_than_the_window() -> None:
    """Memory is bounded: 30 pictures a second for a minute leave those of the last 4 s, five a second."""
    window, picture = Window(4.0, zero=0.0), np.zeros((48, 64, 3), np.uint8)
    for n in range(1800):
        if window.due(n / 30):
            window.add_frame(Frame(n / 30, picture))
    assert len(window.frames) == pytest.approx(4 * GRID, abs=2)
    assert window.frames[0].time >= 60 - 4.3


def test_large_pictures_are_made_as_small_as_a_file_s() -> None:
    kept = Window(4.0, zero=0.0).add_frame(Frame(0.0, np.zeros((1080, 1920, 3), np.uint8)))
    assert kept.picture.shape == (360, 640, 3)


def test_a_clip_is_a_stretch_in_the_session_s_time() -> None:
    window = Window(10.0, zero=1000.0)
    for n in range(50):
        window.add_frame(Frame(1000.0 + n / 5, np.full((4, 4, 3), n, np.uint8)))
    window.add_sound(Sound(1000.0, sine(10.0), SAMPLE_RATE))
    clip = window.clip(1002.0, 1006.0, frames=8)
    assert (clip.start, clip.end) == (2.0, 6.0)
    assert len(clip.frames) == 8 and clip.times[0] >= 2.0 and clip.times[-1] <= 6.0
    assert [round(t * 5) for t in clip.times] == [int(frame[0, 0, 0]) for frame in clip.frames]
    assert clip.waveform is not None and len(clip.waveform) == 4 * SAMPLE_RATE
    assert Window(10.0, zero=0.0).clip(0.0, 4.0, frames=8).waveform is None
    assert window.clip(990.0, 1001.0, frames=8).start == 0.0


def test_another_camera_in_a_stretch_leaves_its_own_pictures() -> None:
    """Pictures of two sizes can't be one array: the newer camera's are taken."""
    window = Window(10.0, zero=0.0)
    for n in range(20):
        window.add_frame(Frame(n / 5, np.zeros((4, 4 if n < 10 else 6, 3), np.uint8)))
    assert window.clip(0.0, 4.0, frames=8).frames.shape[1:] == (4, 6, 3)


def test_pictures_are_spread_evenly() -> None:
    frames = [Frame(float(n), np.zeros((1, 1, 3), np.uint8)) for n in range(80)]
    assert [frame.time for frame in spread(frames, 8)] == [5, 15, 25, 35, 45, 55, 65, 75]
    assert spread(frames[:3], 8) == frames[:3] and spread([], 8) == []
