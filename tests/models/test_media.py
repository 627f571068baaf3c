"""models.media: what can be read is read, what can't is said, and nothing but the named file is ever opened."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
import resource
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from models import container, media
from models.bundle import load_bundle
from models.errors import AffectError
from models.media import load_wave, read_clip, read_subtitle_file, subtitle_file
from models.reading import Clip
from runtime.speech import check_folder
from tests.media_files import make_film, make_image, make_wav, plain_picture, time_of, tone, with_matrix

RATE = 16000
COLOURS = {"R": (200, 30, 30), "G": (30, 200, 30), "B": (30, 30, 200), "Y": (200, 200, 30)}


def corners(time: float = 0.0, seconds: float = 0.0, width: int = 64, height: int = 48) -> np.ndarray:
    """Red and green above, blue and yellow below."""
    picture = np.zeros((height, width, 3), np.uint8)
    for place, colour in zip(((0, 0), (0, 1), (1, 0), (1, 1)), COLOURS.values(), strict=True):
        y, x = place[0] * height // 2, place[1] * width // 2
        picture[y : y + (height + 1) // 2, x : x + (width + 1) // 2] = colour
    return picture


def seen_corners(picture: np.ndarray) -> str:
    """The names of a picture's four corner colours."""
    high, wide = picture.shape[0] // 4, picture.shape[1] // 4
    places = ((high, wide), (high, 3 * wide), (3 * high, wide), (3 * high, 3 * wide))
    nearest = [
        min(COLOURS, key=lambda name: np.abs(picture[place].astype(int) - COLOURS[name]).sum()) for place in places
    ]
    return "".join(nearest)


def noise(time: float, seconds: float, width: int, height: int) -> np.ndarray:
    """Blocks that no codec makes small."""
    blocks = np.random.default_rng(round(time * 1000)).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)


def code_of(path: Path | str, **options: Any) -> str:
    """The code of the AffectError that reading a file raises."""
    with pytest.raises(AffectError) as raised:
        read_clip(path, **options)
    assert raised.value.message and "\n" not in str(raised.value)
    return raised.value.code


def assert_sound(clip: Clip) -> None:
    """What holds for any Clip."""
    assert clip.frames.dtype == np.uint8 and clip.frames.ndim == 4 and clip.frames.shape[3] == 3
    assert len(clip.frames) == len(clip.times) and max(clip.frames.shape[1:3]) <= 640
    assert np.isfinite(clip.times).all() and (np.diff(clip.times) > 0).all()
    assert 0 <= clip.start <= clip.end and np.isfinite(clip.duration)
    if clip.waveform is not None:
        assert clip.waveform.dtype == np.float32 and len(clip.waveform) <= 62 * RATE
        assert np.isfinite(clip.waveform).all() and np.abs(clip.waveform).max(initial=0) <= 1


# ---------------------------------------------------------------------- containers, codecs, pictures

FILMS = {
    "h264-aac.mp4": {},
    "h264-aac.mkv": {},
    "mpeg4-pcm.avi": {"codec": "mpeg4", "sound": "pcm_s16le"},
    "mpeg1-mp2.mpg": {"codec": "mpeg1video", "sound": "mp2", "fps": 25, "rate": 44100},
    "h264-mp2.ts": {"sound": "mp2", "rate": 44100},
    "vp8-opus.webm": {"codec": "libvpx", "sound": "libopus", "rate": 48000},
    "mjpeg-pcm.mov": {"codec": "mjpeg", "pixels": "yuvj420p", "sound": "pcm_s16le"},
    "h264-aac.flv": {"rate": 44100},
    "ffv1-flac-10bit.mkv": {"codec": "ffv1", "pixels": "yuv420p10le", "sound": "flac"},
    "grey.mkv": {"codec": "ffv1", "pixels": "gray"},
    "fragments.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
}


@pytest.mark.parametrize("name", FILMS)
def test_containers_and_codecs_give_the_right_moments(tmp_path: Path, name: str) -> None:
    """Eight frames from the middles of eight parts, each the picture that is shown at the time it is said to be of."""
    clip = read_clip(make_film(tmp_path / name, **FILMS[name]))
    assert_sound(clip)
    assert clip.frames.shape == (8, 48, 64, 3) and clip.duration == pytest.approx(2, abs=0.15)
    shown = np.array([time_of(frame, 2.0) for frame in clip.frames])
    assert np.abs(shown - clip.times).max() < 0.12  # a sound that begins before the picture moves it by up to 0.1 s
    assert np.abs(clip.times - (np.arange(8) + 0.5) / 4).max() < 0.15
    assert clip.waveform is not None and len(clip.waveform) == pytest.approx(2 * RATE, abs=0.15 * RATE)
    assert clip.waveform.std() == pytest.approx(0.35, abs=0.02)
    assert not clip.notes and clip.transcript is None and clip.transcript_source == "none"


@pytest.mark.parametrize("name", ["a.h264", "a.mjpeg"])
def test_a_stream_without_time_stamps_is_counted(tmp_path: Path, name: str) -> None:
    """A bare H.264 or JPEG stream: frames in order, evenly over it."""
    kind = {"a.h264": {"format": "h264"}, "a.mjpeg": {"format": "mjpeg", "codec": "mjpeg", "pixels": "yuvj420p"}}[name]
    clip = read_clip(make_film(tmp_path / name, sound=None, **kind))
    shown = np.array([time_of(frame, 2.0) for frame in clip.frames])
    assert len(shown) == 8 and np.abs(shown - (np.arange(8) + 0.5) / 4).max() < 0.15


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.jpg", "mjpeg", "yuvj444p"),
        ("a.png", "png", "rgb24"),
        ("alpha.png", "png", "rgba"),
        ("deep.png", "png", "rgb48be"),
        ("a.webp", "libwebp", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.bmp", "bmp", "bgr24"),
    ],
)
def test_one_image_has_its_colours_and_no_length(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    path = make_image(tmp_path / name, corners(), codec, pixels, *(["gif"] if name == "a.gif" else []))
    clip = read_clip(path)
    assert clip.frames.shape == (1, 48, 64, 3) and seen_corners(clip.frames[0]) == "RGBY"
    assert (clip.start, clip.end, clip.duration, *clip.times) == (0, 0, 0, 0) and clip.waveform is None


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    clip = read_clip(make_image(tmp_path / "a.png", np.full((9, 7), 123, np.uint8), "png", "gray"))
    assert clip.frames.shape == (1, 9, 7, 3) and (clip.frames == 123).all()


def test_a_colour_profile_is_passed_over(tmp_path: Path) -> None:
    """PyAV ends the whole process when the side data of such a frame is listed."""
    path = make_image(tmp_path / "a.png", corners(), "png", "rgb24")
    data, body = path.read_bytes(), b"iCCP" + b"sRGB\0\0" + zlib.compress(bytes(200))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:])
    assert seen_corners(read_clip(path).frames[0]) == "RGBY"


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), "RGBY"),
        ((0, 1, -1, 0), "BRYG"),  # clockwise, as a phone held upright writes it
        ((-1, 0, 0, -1), "YBGR"),
        ((0, -1, 1, 0), "GYRB"),
        ((-1, 0, 0, 1), "GRYB"),  # mirrored, as a front camera writes it
        ((0, 1, 1, 0), "RBGY"),
    ],
)
def test_frames_are_turned_as_the_file_says(tmp_path: Path, matrix: tuple[int, ...], expected: str) -> None:
    path = with_matrix(make_film(tmp_path / "a.mp4", seconds=0.5, sound=None, picture=corners), *matrix)
    frames = read_clip(path, frames=2).frames
    assert {seen_corners(frame) for frame in frames} == {expected}
    assert frames.shape[1:3] == ((64, 48) if matrix[0] == 0 else (48, 64))


def test_frames_are_scaled_down_but_never_up(tmp_path: Path) -> None:
    assert read_clip(make_image(tmp_path / "a.png", corners(0, 0, 1280, 960), "png", "rgb24")).frames.shape == (
        1,
        480,
        640,
        3,
    )
    assert read_clip(make_image(tmp_path / "b.png", corners(0, 0, 8, 6), "png", "rgb24")).frames.shape == (1, 6, 8, 3)
    assert read_clip(make_image(tmp_path / "c.png", corners(0, 0, 6, 3000), "png", "rgb24")).frames.shape == (
        1,
        640,
        1,
        3,
    )


def test_a_frame_of_8k_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """The JPEG was made from one grey, so that making it takes less than reading it."""
    path = make_image(tmp_path / "a.jpg", np.full((4320, 7680), 90, np.uint8), "mjpeg", "yuvj420p")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = read_clip(path)
    assert clip.frames.shape == (1, 360, 640, 3) and abs(int(clip.frames.mean()) - 90) < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_a_picture_of_one_pixel_is_read(tmp_path: Path) -> None:
    assert read_clip(make_film(tmp_path / "a.mkv", codec="ffv1", pixels="yuv444p", size=(1, 1))).frames.shape == (
        8,
        1,
        1,
        3,
    )


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        film = out.add_stream("mpeg4", rate=5)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        film.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for _ in range(3):
            out.mux(film.encode(av.VideoFrame.from_ndarray(corners()).reformat(format="yuv420p")))
        out.mux(film.encode(None))
    assert read_clip(path).frames.shape[1:] == (24, 64, 3)


def test_a_rate_that_varies_is_followed_by_time(tmp_path: Path) -> None:
    """Frames come from where they are shown, not from every n-th packet."""
    times = [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1.0, 1.05, 1.9]
    clip = read_clip(make_film(tmp_path / "a.mp4", times=times), frames=4)
    assert clip.times.round(2).tolist() == [0.25, 1.0, 1.05, 1.9] or clip.times.round(2).tolist() == [0.25, 1.0, 1.9]
    assert np.abs([time_of(f, 2.0) for f in clip.frames] - clip.times).max() < 0.05


def test_few_pictures_give_few_frames(tmp_path: Path) -> None:
    one = read_clip(make_film(tmp_path / "one.mp4", seconds=0.1, sound=None))
    assert len(one.frames) == 1 and one.waveform is None and one.end == 0
    three = read_clip(make_film(tmp_path / "three.mp4", seconds=0.3))
    assert len(three.frames) == 3 and three.end == pytest.approx(0.3, abs=0.1)


# ---------------------------------------------------------------------- sound


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", "pcm_s16le", 8000),
        ("a.mp3", "libmp3lame", 44100),
        ("a.m4a", "aac", 48000),
        ("a.flac", "flac", 192000),
        ("a.opus", "libopus", 48000),
    ],
)
def test_sound_alone_becomes_16_khz(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    """The tone keeps its pitch whatever the file's rate, and there is no picture."""
    clip = read_clip(make_film(tmp_path / name, codec=None, sound=codec, rate=rate, seconds=1))
    assert_sound(clip)
    assert len(clip.frames) == 0 and clip.waveform is not None and abs(len(clip.waveform) - RATE) < 0.1 * RATE
    spectrum = np.abs(np.fft.rfft(clip.waveform * np.hanning(len(clip.waveform))))
    assert spectrum.argmax() * RATE / len(clip.waveform) == pytest.approx(440, abs=2)


def test_waves_are_exact_where_nothing_is_converted(tmp_path: Path) -> None:
    """16 kHz mono goes through untouched; NaN and infinities become silence, what is too loud is clipped."""
    wave = tone(1, RATE)
    assert np.array_equal(load_wave(make_wav(tmp_path / "a.wav", wave, RATE, kind=3)), wave)
    broken = wave.copy()
    broken[[10, 20, 30, 40]] = np.nan, np.inf, -np.inf, 1e30
    heard = load_wave(make_wav(tmp_path / "b.wav", broken, RATE, kind=3))
    assert heard[[10, 20, 30, 40]].tolist() == [0, 0, 0, 1] and np.array_equal(heard[50:], wave[50:])


@pytest.mark.parametrize("channels", [2, 3, 6, 24])
def test_any_number_of_channels_is_mixed(tmp_path: Path, channels: int) -> None:
    samples = np.repeat((tone(0.5, RATE) * 20000).astype(np.int16)[:, None], channels, 1)
    wave = load_wave(make_wav(tmp_path / "a.wav", samples, RATE, channels))
    assert len(wave) == RATE // 2 and 0.1 < wave.std() < 0.6


@pytest.mark.parametrize("rate", [1000, 384000, 4_000_000])
def test_strange_rates_are_read(tmp_path: Path, rate: int) -> None:
    clip = read_clip(make_wav(tmp_path / "a.wav", (tone(0.1, rate) * 20000).astype(np.int16), rate))
    assert clip.waveform is not None and len(clip.waveform) == pytest.approx(RATE / 10, abs=100)


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_rates_without_speech_are_refused_with_their_number(tmp_path: Path, rate: int) -> None:
    path = make_wav(tmp_path / "a.wav", np.zeros(4000, np.int16), rate)
    with pytest.raises(AffectError, match=f"{rate} samples a second"):
        read_clip(path)


def test_one_sound_track_of_several_is_read_with_a_note(tmp_path: Path) -> None:
    clip = read_clip(make_film(tmp_path / "a.mkv", sounds=2))
    assert clip.waveform is not None and "2 sound tracks" in clip.notes[0]
    assert np.abs(np.fft.rfft(clip.waveform)).argmax() / len(clip.waveform) * RATE == pytest.approx(440, abs=5)


def test_sound_lies_where_the_file_puts_it(tmp_path: Path) -> None:
    """A track that begins late has silence before it, so that its times are the picture's."""
    clip = read_clip(make_film(tmp_path / "a.mkv", seconds=2, sound="pcm_s16le", sound_from=0.5))
    assert (
        clip.waveform is not None
        and not clip.waveform[: RATE // 2 - 80].any()
        and clip.waveform[RATE // 2 + 80 :].std() > 0.3
    )


def test_the_cover_of_an_album_is_no_face(tmp_path: Path) -> None:
    sound = make_film(tmp_path / "a.mp3", codec=None, sound="libmp3lame", rate=44100, seconds=1).read_bytes()
    cover = make_image(tmp_path / "c.jpg", noise(0, 0, 512, 512), "mjpeg", "yuvj444p").read_bytes()
    body = b"\0image/jpeg\0\3\0" + cover
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = bytes((len(frame) >> shift) & 127 for shift in (21, 14, 7, 0))
    (tmp_path / "b.mp3").write_bytes(b"ID3\3\0\0" + size + frame + sound)
    with av.open(str(tmp_path / "b.mp3")) as there:
        assert there.streams.video, "the cover is there to be passed over"
    clip = read_clip(tmp_path / "b.mp3")
    assert len(clip.frames) == 0 and clip.waveform is not None and not clip.notes


def test_what_is_not_wanted_is_not_read(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", words=[(0, 1, "hello")])
    assert len(read_clip(path, video=False).frames) == 0
    assert read_clip(path, audio=False).waveform is None
    assert read_clip(path, subtitles=False).transcript is None
    nothing = read_clip(path, video=False, audio=False, subtitles=False)
    assert len(nothing.frames) == 0 and nothing.waveform is None and nothing.transcript is None
    assert not read_clip(path, video=False).notes + read_clip(path, audio=False).notes + nothing.notes


# ---------------------------------------------------------------------- stretches


def test_a_window_holds_only_what_lies_in_it(tmp_path: Path) -> None:
    words = [(0.0, 0.9, "before"), (1.1, 1.4, "within"), (3.5, 3.9, "behind")]
    for path in (
        make_film(tmp_path / "a.mp4", seconds=4, gop=40, words=words),
        make_film(tmp_path / "a.mkv", seconds=4, gop=40, words=words, words_codec="subrip"),
    ):
        clip = read_clip(path, start=1.0, end=3.0, frames=4)
        assert (clip.start, clip.end) == (1, 3) and clip.duration == pytest.approx(4, abs=0.1)
        assert np.abs([time_of(f, 4.0) for f in clip.frames] - clip.times).max() < 0.12 and len(clip.frames) == 4
        assert clip.times.min() >= 1 and clip.times.max() < 3
        assert clip.waveform is not None and len(clip.waveform) == 2 * RATE
        assert clip.transcript == "within" and clip.transcript_source == "subtitle"
    assert read_clip(path, start=3.0, end=99).end == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize(
    "window", [(-1, None), (float("nan"), None), (2, 1), (1, 1), (0, float("inf")), (99, None), (99, 100)]
)
def test_windows_outside_the_file_are_refused(tmp_path: Path, window: tuple[float, float | None]) -> None:
    assert code_of(make_film(tmp_path / "a.mp4"), start=window[0], end=window[1]) == "bad_window"


def loop_film(source: Path, target: Path, times: int, every: float) -> Path:
    """The packets of a file again and again, `every` seconds apart."""
    with av.open(str(source)) as read, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in read.streams}
        found = [packet for packet in read.demux() if packet.size]
        for turn in range(times):
            for packet in found:
                again = av.Packet(bytes(packet))
                again.time_base, again.stream = packet.time_base, streams[packet.stream_index]
                shift = round(turn * every / packet.time_base)
                again.pts, again.dts, again.duration = packet.pts + shift, packet.dts + shift, packet.duration
                again.is_keyframe = packet.is_keyframe
                out.mux(again)
    return target


@pytest.mark.parametrize(("name", "codec", "fps"), [("a.mp4", "libx264", 5), ("a.mpg", "mpeg2video", 25)])
def test_two_hours_cost_what_a_minute_costs(
    tmp_path: Path, name: str, codec: str, fps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames and sound from all of it, in 5 s and 60 MB; a window of it is read like a short file."""
    minute = make_film(
        tmp_path / f"minute{name[1:]}", seconds=60, fps=fps, codec=codec, sound="mp2", rate=32000, gop=25
    )
    path = loop_film(minute, tmp_path / name, 118, 61.0)
    monkeypatch.setattr(media, "MEASURED", 0)  # as a file of many gigabytes
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = read_clip(path)
    assert time.perf_counter() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10
    assert_sound(clip)
    assert clip.duration == pytest.approx(118 * 61, abs=2) and "longer than a minute" in clip.notes[0].lower()
    assert len(clip.frames) == 8 and np.abs(clip.times / clip.duration - (np.arange(8) + 0.5) / 8).max() < 0.01
    assert np.abs([time_of(f, 60.0) for f in clip.frames] - clip.times % 61).max() < 1.5
    assert (
        clip.waveform is not None
        and len(clip.waveform) == pytest.approx(60 * RATE, abs=RATE)
        and clip.waveform.std() > 0.3
    )
    part = read_clip(path, start=3600, end=3605)
    assert len(part.frames) == 8 and part.waveform is not None and len(part.waveform) == 5 * RATE
    assert np.abs([time_of(f, 60.0) for f in part.frames] - part.times % 61).max() < 1.5


def test_subtitles_of_a_long_file_come_from_where_the_sound_comes_from(tmp_path: Path) -> None:
    words = [(second, second + 4.0, f"at {second}") for second in range(0, 300, 5)]
    clip = read_clip(
        make_film(tmp_path / "a.mkv", seconds=300, fps=1, sound="pcm_s16le", words=words, words_codec="subrip")
    )
    assert clip.transcript is not None
    heard = [int(word) for word in clip.transcript.split() if word.isdigit()]
    assert 12 <= len(heard) <= 20 and heard == sorted(heard) and heard[0] < 30 and heard[-1] > 270


def test_words_far_apart_are_not_searched_through_the_whole_file_where_sound_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture tells where a window ends; a gigabyte would be read six times in search of the next subtitle."""
    words = [(22.0, 24.0, "heard"), (40.0, 42.0, "between two windows")]
    path = make_film(tmp_path / "a.mkv", seconds=300, fps=5, sound="pcm_s16le", words=words, words_codec="subrip")
    monkeypatch.setattr(media, "MEASURED", 0)
    asked: list[int] = []
    read = container.Reader.read
    monkeypatch.setattr(container.Reader, "read", lambda self, size: asked.append(size) or read(self, size))
    clip = read_clip(path, audio=False)
    assert clip.waveform is None and len(clip.frames) == 8 and clip.transcript == "heard"
    assert sum(asked) < path.stat().st_size


def test_a_header_that_lies_about_the_length_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, for a small file, and for one too large to be measured beforehand."""
    data = make_film(tmp_path / "a.mkv", seconds=3).read_bytes()
    at = data.index(b"\x44\x89\x88") + 3  # Duration, milliseconds as a double
    for measured in (32 << 20, 0):
        monkeypatch.setattr(media, "MEASURED", measured)
        for claimed in (7_200_000.0, 10.0):
            (tmp_path / "b.mkv").write_bytes(data[:at] + struct.pack(">d", claimed) + data[at + 8 :])
            clip = read_clip(tmp_path / "b.mkv")
            assert clip.end == clip.duration == pytest.approx(3, abs=0.1) and len(clip.frames) == 8
            assert clip.waveform is not None and len(clip.waveform) == pytest.approx(3 * RATE, abs=RATE // 10)
            assert any("of it can be read" in note for note in clip.notes) == (claimed > 10)


def test_a_header_that_hides_a_long_file_is_found_out(tmp_path: Path) -> None:
    data = make_film(tmp_path / "a.mkv", seconds=100, fps=2, sound="pcm_s16le").read_bytes()
    at = data.index(b"\x44\x89\x88") + 3
    (tmp_path / "b.mkv").write_bytes(data[:at] + struct.pack(">d", 2000.0) + data[at + 8 :])
    clip = read_clip(tmp_path / "b.mkv")
    assert clip.duration == pytest.approx(100, abs=0.6) and clip.times[-1] > 85 and len(clip.frames) == 8


def test_a_wav_that_claims_four_gigabytes_is_read_to_its_end(tmp_path: Path) -> None:
    clip = read_clip(make_wav(tmp_path / "a.wav", (tone(3, RATE) * 20000).astype(np.int16), RATE, claimed=2**32 - 1))
    assert clip.waveform is not None and len(clip.waveform) == 3 * RATE and clip.end == 3


# ---------------------------------------------------------------------- damage


def test_a_file_that_ends_early_is_read_up_to_there(tmp_path: Path) -> None:
    data = make_film(
        tmp_path / "a.mp4", seconds=4, size=(160, 120), picture=noise, options={"movflags": "faststart"}
    ).read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) // 2])
    clip = read_clip(tmp_path / "b.mp4")
    assert_sound(clip)
    assert len(clip.frames) >= 6 and 1 < clip.end < 3 and "4.0 s long" in clip.notes[0]


def test_what_the_user_left_out_is_not_missed(tmp_path: Path) -> None:
    """A film whose sound goes on after its last picture: whole, said or not, whichever of both is read."""
    film = make_film(tmp_path / "a.mkv", seconds=2, sound="pcm_s16le", wave=tone(3, RATE))
    assert read_clip(film, audio=False).notes == read_clip(film).notes == ()


def test_a_third_of_a_second_that_is_cut_off_is_missed(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", seconds=3, size=(160, 120), picture=noise, options={"movflags": "faststart"})
    cut = tmp_path / "b.mp4"
    cut.write_bytes(film.read_bytes()[: int(film.stat().st_size * 0.88)])
    assert any("3.0 s long; 2." in note for note in read_clip(cut).notes)


@pytest.mark.parametrize(("channels", "words"), [(255, "255 channels"), (0, "damaged")])
def test_channels_that_can_not_be_mixed_are_said(tmp_path: Path, channels: int, words: str) -> None:
    data = bytearray(make_wav(tmp_path / "a.wav", np.zeros(25500, np.int16), RATE).read_bytes())
    data[22:24] = channels.to_bytes(2, "little")
    (tmp_path / "b.wav").write_bytes(data)
    with pytest.raises(AffectError, match=words) as raised:
        read_clip(tmp_path / "b.wav")
    assert raised.value.cure.startswith("export it again")


def test_tracks_that_hold_nothing_are_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(AffectError, match="its tracks hold nothing"):
        read_clip(make_wav(tmp_path / "a.wav", np.zeros(0, np.int16), RATE))


@pytest.mark.parametrize("open_it", [read_clip, subtitle_file, load_bundle, check_folder])
def test_a_name_that_is_too_long_is_no_file(open_it: Callable[[Any], Any]) -> None:
    name = "x" * 5000
    with pytest.raises(AffectError, match="xxx") as raised:
        open_it(Path(name) if open_it is check_folder else name)
    assert len(raised.value.message) < 120


def test_an_mp4_without_its_index_says_so(tmp_path: Path) -> None:
    data = make_film(tmp_path / "a.mp4", picture=noise).read_bytes()
    for kept in (len(data) // 2, 100):
        (tmp_path / "b.mp4").write_bytes(data[:kept])
        with pytest.raises(AffectError, match="cut off") as raised:
            read_clip(tmp_path / "b.mp4")
        assert raised.value.code == "not_media" and "index" in raised.value.message


def test_a_broken_sound_track_leaves_the_picture(tmp_path: Path) -> None:
    """Each AAC packet overwritten: the frames are read, the sound is missing, and a note says it."""
    path = make_film(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as there:
        places = [(packet.pos, packet.size) for packet in there.demux(audio=0) if packet.size and packet.pos]
    for place, size in places:
        data[place : place + size] = b"\xff" * size
    path.write_bytes(data)
    clip = read_clip(path)
    assert len(clip.frames) == 8 and clip.waveform is None and clip.notes == ("The sound track could not be decoded.",)


def test_samples_that_are_no_numbers_are_no_sound(tmp_path: Path) -> None:
    """All of them: there is nothing to decode; some of them: silence there, and a note."""
    some = tone(1, RATE).astype(np.float32)
    some[100:200] = np.nan
    clip = read_clip(make_wav(tmp_path / "a.wav", some, RATE, kind=3))
    assert clip.notes == ("Parts of the sound could not be decoded.",)
    assert clip.waveform is not None and not clip.waveform[110:190].any() and clip.waveform[300:].any()
    assert code_of(make_wav(tmp_path / "b.wav", np.full(RATE, np.nan, np.float32), RATE, kind=3)) == "not_media"


def test_a_broken_picture_track_leaves_the_sound(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mov", codec="png", pixels="rgb24", sound="pcm_s16le")
    data = path.read_bytes().replace(b"IDAT", b"JDAT").replace(b"IHDR", b"JHDR")
    path.write_bytes(data)
    clip = read_clip(path)
    assert (
        len(clip.frames) == 0
        and clip.waveform is not None
        and clip.notes == ("The picture track could not be decoded.",)
    )


def test_damage_in_the_middle_keeps_the_rest(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mkv", codec="mjpeg", pixels="yuvj420p", sound="pcm_s16le", picture=noise)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 8] = bytes(len(data) // 8)
    path.write_bytes(data)
    clip = read_clip(path)
    assert_sound(clip)
    assert len(clip.frames) >= 4 and clip.waveform is not None and len(clip.waveform) > RATE


def test_a_bomb_of_pixels_is_not_decoded(tmp_path: Path) -> None:
    """900 million pixels in 1 kB: refused before any memory is taken."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(tmp_path / "a.png") == "not_media"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_what_is_no_media_is_named(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    for data, code in (
        (b"", "empty"),
        (b"a", "not_media"),
        (random.Random(0).randbytes(100_000), "not_media"),
        (b"Dear reader,\nthis is a letter.\n" * 1000, "not_media"),
        (bytes(1_000_000), "not_media"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n", "not_media"),
    ):
        path.write_bytes(data)
        assert code_of(path) in (code, "no_streams"), data[:20]
    assert code_of(tmp_path) == "is_folder"
    assert code_of(tmp_path / "nothing") == code_of(path / "below") == code_of("\0") == "not_found"
    assert code_of("/dev/null") == "unreadable"
    assert code_of(make_wav(path, np.zeros(0, np.int16), RATE)) == "not_media"


def test_a_file_without_frames_has_no_streams(tmp_path: Path) -> None:
    words = make_film(tmp_path / "a.mkv", codec=None, sound=None, words=[(0, 1, "hello")], words_codec="subrip")
    assert code_of(words) == "no_streams"
    with av.open(str(tmp_path / "b.mkv"), "w") as out:
        film = out.add_stream("mpeg4", rate=5)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        film.codec_context.open()
        out.start_encoding()
    assert code_of(tmp_path / "b.mkv") == "not_media"


def test_what_may_not_be_read_and_a_failing_disk_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are simulated: the tests may run as a user to whom nothing is forbidden."""
    path = make_film(tmp_path / "a.mp4")

    def forbidden(self: Path, *_: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    class Failing(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", forbidden)
        assert code_of(path) == "unreadable"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: Failing(self))
        assert code_of(path) == "unreadable"


def test_ctrl_c_while_ffmpeg_reads_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt inside the callback would be swallowed by the binding; it has to come out of read_clip."""
    path = make_film(tmp_path / "a.mp4")

    class Interrupting(io.FileIO):
        reads = 0

        def read(self, size: int = -1) -> bytes:
            Interrupting.reads += 1
            if Interrupting.reads == 4:
                raise KeyboardInterrupt
            return super().read(size) or b""

    monkeypatch.setattr(Path, "open", lambda self, mode: Interrupting(self))
    with pytest.raises(KeyboardInterrupt):
        read_clip(path)
    assert Interrupting.reads >= 4


def test_damage_never_raises_anything_else_never_hangs_never_grows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """120 damaged files from a fixed seed: bytes changed, cut, removed and doubled, numbers in headers made huge."""
    films = [
        make_film(tmp_path / "a.mp4", picture=noise, words=[(0.2, 1, "hello")]),
        make_film(tmp_path / "b.mkv", picture=noise, codec="mpeg4", sound="pcm_s16le"),
        make_film(tmp_path / "c.mp3", codec=None, sound="libmp3lame", rate=44100),
        make_wav(tmp_path / "d.wav", (tone(2, RATE) * 30000).astype(np.int16), RATE),
        make_film(tmp_path / "e.ts", sound="mp2", rate=44100, picture=noise),
        make_image(tmp_path / "f.jpg", noise(0, 0, 64, 64), "mjpeg", "yuvj420p"),
    ]
    whole = [film.read_bytes() for film in films]
    capfd.readouterr()
    before, path = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, tmp_path / "damaged"
    for seed in range(120):
        dice = random.Random(seed)
        path.write_bytes(damaged(dice.choice(whole), dice))
        began = time.perf_counter()
        try:
            assert_sound(read_clip(path, **dice.choice(({}, {}, {"start": 0.3, "end": 1.1}, {"video": False}))))
        except AffectError as error:
            assert error.code in ("not_media", "no_streams", "bad_window", "too_large")
        assert time.perf_counter() - began < 5, seed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10
    assert capfd.readouterr() == ("", ""), "neither FFmpeg nor PyAV writes to the console"


def damaged(data: bytes, dice: random.Random) -> bytes:
    """A file with one kind of damage."""
    bad, kind = bytearray(data), dice.randrange(5)
    if kind == 0:
        return bytes(bad[: dice.randrange(1, len(bad))])
    if kind == 1:
        for _ in range(dice.randrange(1, 60)):
            bad[dice.randrange(len(bad))] = dice.randrange(256)
    elif kind == 2:
        for _ in range(dice.randrange(1, 10)):
            bad[dice.randrange(min(600, len(bad)))] = dice.choice((0, 255, 127, 128))
    elif kind == 3:
        at = dice.randrange(len(bad))
        bad[at : at + dice.randrange(1, 400)] = bad[dice.randrange(len(bad)) :][: dice.randrange(1, 4000)]
    else:
        for _ in range(dice.randrange(1, 8)):
            at = max(0, len(bad) - dice.randrange(4, 3000))
            bad[at : at + 4] = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
    return bytes(bad)


# ---------------------------------------------------------------------- names, pipes


@pytest.mark.parametrize(
    "name",
    [
        "with space.mp4",
        "new\nline.mp4",
        "quo'te\".mp4",
        "😀.mp4",
        "-rf.mp4",
        "%03d.mp4",
        "a*?[b].mp4",
        "file:x.mp4",
        "http:x",
        "\x1b[31m.mp4",
    ],
)
def test_any_name_is_just_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = make_film(tmp_path / "a.mp4", seconds=0.3).read_bytes()
    Path(name).write_bytes(data)
    assert len(read_clip(name).frames) == 3
    Path(name).write_bytes(b"nothing")
    with pytest.raises(AffectError) as raised:
        read_clip(name)
    assert str(raised.value).isprintable()


def piped(data: bytes) -> int:
    """The reading end of a pipe into which a thread writes."""
    reading, writing = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as file:
            file.write(data)

    threading.Thread(target=write, daemon=True).start()
    return reading


def test_standard_input_and_pipes_are_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An mp4 whose index lies at its end needs seeking, which a pipe can't."""
    data = make_film(tmp_path / "a.mp4").read_bytes()
    with os.fdopen(piped(data)) as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", pipe)
        assert len(read_clip("-").frames) == 8
    with os.fdopen(piped(b"")) as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", pipe)
        assert code_of("-") == "empty"
    with (tmp_path / "a.mp4").open() as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", file)
        assert len(read_clip("-").frames) == 8
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", None)
        assert code_of("-") == "unreadable"
    os.mkfifo(tmp_path / "fifo")
    threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(data,), daemon=True).start()
    assert len(read_clip(tmp_path / "fifo").frames) == 8


def test_an_endless_pipe_is_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_PIPED", 1 << 20)
    with os.fdopen(piped(bytes(4 << 20))) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert code_of("-") == "too_large"


def test_a_pipe_that_finds_no_room_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, os.fdopen(piped(bytes(2 << 20))) as pipe:
        monkeypatch.setattr(container.tempfile, "TemporaryFile", lambda: full)
        monkeypatch.setattr(sys, "stdin", pipe)
        with pytest.raises(AffectError, match="has no room") as raised:
            read_clip("-")
    assert raised.value.code == "disk_full" and "TMPDIR" in raised.value.cure


# ---------------------------------------------------------------------- nothing else is opened


class Canaries:
    """A web server and a named pipe that tell when somebody opens them."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[str] = []
        self.fifo = folder / "canary.ts"
        os.mkfifo(self.fifo)
        self.server = HTTPServer(("127.0.0.1", 0), self.handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.stopped = False
        self.threads = [
            threading.Thread(target=self.server.serve_forever, args=(0.01,)),
            threading.Thread(target=self.watch),
        ]
        for thread in self.threads:
            thread.start()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        return Handler

    def watch(self) -> None:
        """Opening a pipe for writing works only while somebody has it open for reading."""
        while not self.stopped:
            try:
                os.close(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK))
                self.seen.append(self.fifo.name)
            except OSError:
                time.sleep(0.001)

    def stop(self) -> None:
        self.stopped = True
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[Canaries]:
    made = Canaries(tmp_path)
    yield made
    made.stop()


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{0}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet><Representation id="1" bandwidth="1" '
    'mimeType="video/mp4"><BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
LISTS = {
    "a.m3u8": HLS,
    "film.mp4": HLS,
    "a.ffconcat": "ffconcat version 1.0\nfile {0}\n",
    "a.txt": "file '{0}'\n",
    "a.mpd": DASH,
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "a.cue": 'FILE "{0}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "a.pls": "[playlist]\nFile1={0}\n",
    "a.xspf": '<?xml version="1.0"?>\n<playlist><trackList><track><location>{0}</location></track></trackList></playlist>',
    "a.url": "[InternetShortcut]\nURL={0}\n",
    "a.asx": '<asx version="3"><entry><ref href="{0}"/></entry></asx>',
}
PICTURES = {
    "a.svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{0}"/></svg>',
    "canary%03d.ts": "a pattern of names",
    "a.idx": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
    "a.ram": "{0}\n",
}


def test_playlists_and_lists_of_files_open_nothing(
    tmp_path: Path, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each of the three defences holds by itself: formats, protocols, and the answer to what is asked for."""
    for target in (canaries.fifo.name, str(canaries.fifo), f"file://{canaries.fifo}", f"{canaries.address}/x.ts"):
        for name, words in (LISTS | PICTURES).items():
            (tmp_path / name).write_text(words.format(target))
            assert code_of(tmp_path / name) == "playlist" if name in LISTS else code_of(tmp_path / name)
        monkeypatch.setattr(container, "DENIED", frozenset())
        for name in LISTS | PICTURES:
            assert code_of(tmp_path / name)
        monkeypatch.setattr(container, "OPTIONS", {})
        for name in ("a.m3u8", "a.ffconcat", "a.mpd"):
            assert code_of(tmp_path / name) == "playlist"
        monkeypatch.undo()
    time.sleep(0.02)
    assert canaries.seen == []


def test_the_canaries_sing(tmp_path: Path, canaries: Canaries) -> None:
    """Without the defences the same files do open what they name: the test above tests something."""
    for target, name in ((canaries.fifo.name, "a.ffconcat"), (f"{canaries.address}/x.ts", "a.m3u8")):
        (tmp_path / name).write_text(LISTS[name].format(target))
        open_doors = {"protocol_whitelist": "file,http,tcp", "safe": "0"}
        with (
            pytest.raises((av.error.FFmpegError, ValueError)),
            av.open(str(tmp_path / name), options=open_doors) as opened,
        ):
            list(opened.demux())
    assert set(canaries.seen) == {canaries.fifo.name, "/x.ts"}


def with_reference(data: bytes, target: Path) -> bytes:
    """A QuickTime film whose first track lies in another file: a data reference of kind `alis` with a whole path."""
    path = str(target).encode()
    path += b"\0" * (len(path) % 2)
    alias = (
        bytes(10)
        + b"\1x"
        + bytes(26)
        + bytes(12)
        + b"\1y"
        + bytes(62)
        + bytes(16)
        + struct.pack(">HH", 1, 1)
        + bytes(16)
    )
    alias += struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", len(alias) + 12, b"alis", 0) + alias
    old = data.index(b"dref") - 4
    size = struct.unpack(">I", data[old : old + 4])[0]
    new = struct.pack(">I4sII", len(entry) + 16, b"dref", 0, 1) + entry
    film = bytearray(data[:old] + new + data[old + size :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        at = film.index(box) - 4
        film[at : at + 4] = struct.pack(">I", struct.unpack(">I", film[at : at + 4])[0] + len(new) - size)
    return bytes(film)


def test_a_film_that_refers_to_another_file_does_not_open_it(
    tmp_path: Path, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mov's external data reference; with FFmpeg's own switch turned on the request arrives and is refused."""
    data = make_film(tmp_path / "a.mov", codec="mjpeg", pixels="yuvj420p", sound=None).read_bytes()
    (tmp_path / "b.mov").write_bytes(with_reference(data, canaries.fifo))
    try:
        read_clip(tmp_path / "b.mov")
    except AffectError as error:
        assert error.code in ("not_media", "playlist")
    monkeypatch.setattr(container, "OPTIONS", {"enable_drefs": "1", "use_absolute_path": "1"})
    with pytest.raises(AffectError) as raised:
        read_clip(tmp_path / "b.mov")
    assert raised.value.code == "playlist", "the reference was found and asked for: the file is a real case"
    time.sleep(0.02)
    assert canaries.seen == []


def test_reading_makes_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a socket was made")

    path = make_film(tmp_path / "a.mp4", seconds=0.3)
    monkeypatch.setattr(socket, "socket", refuse)
    assert len(read_clip(path).frames) == 3


# ---------------------------------------------------------------------- words

SRT = (
    "1\n00:00:00,500 --> 00:00:01,500\n<i>Hello</i> {\\an8}you\n\n"
    "2\n00:00:02,000 --> 00:00:03,000\nand <font color='red'>you</font>,\nMüller &amp; Søn\n"
)
VTT = (
    "WEBVTT - a title\n\nNOTE this is not said\n\nSTYLE\n::cue { color: red }\n\nintro\n00:00.500 --> 00:01.500 align:start\n"
    "<v Anna>Hello</v> <00:00:01.000>you\n\n00:00:02.000 --> 00:00:03.000\nand you,\nMüller &amp; Søn\n"
)


@pytest.mark.parametrize("text", [SRT, VTT, SRT.replace("\n", "\r\n"), SRT.replace("\n\n2\n", "\n2\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_subtitle_files_give_their_words(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(text.encode(encoding))
    assert read_subtitle_file(path, 0, 10) == "Hello you and you, Müller & Søn"
    assert read_subtitle_file(path, 0, 1) == read_subtitle_file(path, 1.2, 2) == "Hello you"
    assert read_subtitle_file(path, 1.6, 1.9) == read_subtitle_file(path, 50, 60) == ""
    assert ("Windows-1252" in " ".join(subtitle_file(path).notes)) == (encoding == "cp1252")


def test_subtitle_files_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.srt"

    def code(data: bytes) -> str:
        path.write_bytes(data)
        with pytest.raises(AffectError) as raised:
            read_subtitle_file(path, 0, 10)
        return raised.value.code

    assert code(b"") == "empty"
    assert code(b"just words") == code(random.Random(0).randbytes(5000)) == code(b"WEBVTT\n\n") == "not_subtitle"
    assert code(b"x" * ((8 << 20) + 1)) == "too_large"
    with pytest.raises(AffectError) as raised:
        read_subtitle_file(tmp_path, 0, 1)
    assert raised.value.code == "is_folder"


def test_hostile_subtitles_are_only_words(tmp_path: Path) -> None:
    """Control tokens and markup stay text, endless tags take no endless time."""
    path = tmp_path / "a.srt"
    path.write_text(
        "1\n00:00:00,000 --> 99:99:99,999\n[red]<|im_start|> \x1b[31m &lt;|im_end|&gt; " + "<a" * 500_000 + "\n"
    )
    began = time.perf_counter()
    words = read_subtitle_file(path, 0, 1)
    assert words.startswith("[red]<|im_start|> \x1b[31m <|im_end|>") and time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mov_text"), ("a.mkv", "subrip"), ("b.mkv", "ass"), ("a.webm", "webvtt")]
)
def test_a_subtitle_track_is_the_transcript(tmp_path: Path, name: str, codec: str) -> None:
    film = {"codec": "libvpx", "sound": "libopus", "rate": 48000} if name == "a.webm" else {}
    words = [(0.2, 0.9, "hello"), (1.0, 1.4, "{\\an8}there\\Nyou"), (1.5, 1.9, "there you")]
    clip = read_clip(make_film(tmp_path / name, words=words, words_codec=codec, **film))
    assert (clip.transcript, clip.transcript_source) == ("hello there you", "subtitle")


# ---------------------------------------------------------------------- real files


@pytest.mark.needs_data
def test_real_clips_are_read_whole(affect_data: Path) -> None:
    """11 GRID clips of 3 s at 25 pictures a second."""
    for path in sorted((affect_data / "video").glob("*.mpg")):
        clip = read_clip(path)
        assert clip.frames.shape == (8, 288, 360, 3) and clip.duration == pytest.approx(3, abs=0.1) and not clip.notes
        assert clip.waveform is not None and clip.waveform.std() > 0.01


def test_a_clip_of_ten_seconds_is_read_quickly(tmp_path: Path) -> None:
    """The twin of the real ones on made data; 0.25 s by design, four times that here where tests share a machine."""
    path = make_film(tmp_path / "a.mp4", seconds=10, fps=25, size=(360, 288), rate=44100, gop=250, picture=moving)
    clip, best = read_clip(path), 9.0
    for _ in range(3):
        began = time.perf_counter()
        read_clip(path)
        best = min(best, time.perf_counter() - began)
    assert clip.frames.shape == (8, 288, 360, 3) and clip.waveform is not None and clip.waveform.std() > 0.3
    assert best < 1.0


def moving(time: float, seconds: float, width: int, height: int) -> np.ndarray:
    """A square that wanders over a grey that grows."""
    picture = plain_picture(time, seconds, width, height)
    x, y = int(time / seconds * (width - 40)), height // 3
    picture[y : y + 40, x : x + 40] = 255
    return picture
