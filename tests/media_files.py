"""Media made in code: pictures whose grey says their time, tones whose pitch says theirs, and headers that lie.

The grey of a picture at t seconds of a film of `seconds` is `grey_at(t, seconds)`; a reader can be checked by it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

DARK, LIGHT = 40, 210
LOSSLESS = {"crf": "18", "preset": "ultrafast"}


def grey_at(time: float, seconds: float) -> float:
    """The grey level of a film's picture at a time."""
    return DARK + (LIGHT - DARK) * time / seconds


def time_of(picture: np.ndarray, seconds: float) -> float:
    """The time that a picture's grey says."""
    return (float(picture.mean()) - DARK) / (LIGHT - DARK) * seconds


def tone(seconds: float, rate: int, pitch: float = 440.0) -> np.ndarray:
    """float32 [N] sine at half scale."""
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def plain_picture(time: float, seconds: float, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3] of one grey."""
    return np.full((height, width, 3), round(grey_at(time, seconds)), np.uint8)


def make_film(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    codec: str | None = "libx264",
    pixels: str = "yuv420p",
    gop: int = 12,
    sound: str | None = "aac",
    rate: int = 16000,
    sounds: int = 1,
    words: list[tuple[float, float, str]] | None = None,
    words_codec: str = "mov_text",
    picture: Callable[[float, float, int, int], np.ndarray] = plain_picture,
    times: list[float] | None = None,
    sound_from: float = 0.0,
    wave: np.ndarray | None = None,
    options: dict[str, str] | None = None,
    format: str | None = None,  # noqa: A002 - as av.open calls it
) -> Path:
    """A file with a film, tones and subtitles, any of them left out by None."""
    with av.open(str(path), "w", format=format, options=options or {}) as out:
        film = add_film(out, codec, fps, size, pixels, gop) if codec else None
        tracks = [out.add_stream(sound, rate=rate, layout="mono") for _ in range(sounds)] if sound else []
        text = out.add_stream(words_codec) if words else None
        if text is not None:
            text.codec_context.subtitle_header = ASS_HEADER
        moments: list[tuple[float, Callable[[], None]]] = []
        if film is not None:
            shown = times or [n / fps for n in range(round(seconds * fps))]
            moments += [(t, partial(put_picture, out, film, picture, t, seconds, size, pixels)) for t in shown]
        for number, track in enumerate(tracks):
            heard = tone(seconds, rate, 440.0 * (number + 1)) if wave is None else wave
            moments += waves(out, track, heard, rate, sound_from)
        moments += [(cue[0], partial(put_words, out, text, *cue)) for cue in words or ()]
        for _, write in sorted(moments, key=lambda moment: moment[0]):
            write()
        for stream in [film, *tracks]:
            if stream is not None:
                put(out, stream, None)
    return path


ASS_HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[Events]\r\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


def add_film(out: Any, codec: str, fps: int, size: tuple[int, int], pixels: str, gop: int) -> Any:
    """A picture stream whose clock ticks in milliseconds, so that any rate can vary."""
    film = out.add_stream(codec, rate=fps)
    film.width, film.height = size
    film.pix_fmt = pixels
    film.codec_context.gop_size = gop
    if codec == "libx264":
        film.options = LOSSLESS
    if codec not in ("mpeg1video", "mpeg2video", "mpeg4", "libvpx"):
        film.codec_context.time_base = Fraction(1, 1000)
    return film


def picture_frame(picture: np.ndarray, pixels: str, time: float) -> av.VideoFrame:
    """A frame with its time in milliseconds."""
    frame = av.VideoFrame.from_ndarray(picture).reformat(format=pixels)
    frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
    return frame


def put_picture(
    out: Any,
    film: Any,
    picture: Callable[[float, float, int, int], np.ndarray],
    time: float,
    seconds: float,
    size: tuple[int, int],
    pixels: str,
) -> None:
    """One picture of a film."""
    put(out, film, picture_frame(picture(time, seconds, *size), pixels, time))


def put(out: Any, stream: Any, frame: Any) -> None:
    """Encodes and writes; None ends the stream."""
    for packet in stream.encode(frame):
        out.mux(packet)


def waves(out: Any, stream: Any, wave: np.ndarray, rate: int, begin: float) -> list[tuple[float, Callable[[], None]]]:
    """A mono wave in pieces of the length that the encoder wants: when to write each, and how."""
    context = stream.codec_context
    context.open()
    step = context.frame_size or 1024
    convert = av.AudioResampler(context.format.name, context.layout.name, rate)

    def write(start: int) -> None:
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + step], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start + round(begin * rate), Fraction(1, rate)
        for converted in convert.resample(frame):
            put(out, stream, converted)

    return [(begin + start / rate, partial(write, start)) for start in range(0, len(wave), step)]


def put_words(out: Any, stream: Any, start: float, end: float, text: str) -> None:
    """One subtitle."""
    data = f"0,0,Default,,0,0,0,,{text}".encode()
    cue = av.subtitles.subtitle.SubtitleSet.create(data, 0, round((end - start) * 1000), round(start * 1_000_000))
    packet = stream.codec_context.encode_subtitle(cue)
    packet.stream = stream
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = round(start * 1000)
    packet.duration = round((end - start) * 1000)
    out.mux(packet)


def make_wav(
    path: Path, samples: np.ndarray, rate: int, channels: int = 1, kind: int = 1, claimed: int | None = None
) -> Path:
    """A RIFF file written by hand: `kind` 1 for integers, 3 for floats; `claimed` bytes of sound where the header lies."""
    data = samples.tobytes()
    width = samples.dtype.itemsize
    length = len(data) if claimed is None else claimed
    form = struct.pack(
        "<HHIIHH", kind, channels, rate, min(rate * channels * width, 2**32 - 1), channels * width, 8 * width
    )
    riff = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length)
    path.write_bytes(b"RIFF" + struct.pack("<I", min(len(riff) + length, 2**32 - 1)) + riff + data)
    return path


def make_image(path: Path, picture: np.ndarray, codec: str, pixels: str, format: str = "image2") -> Path:  # noqa: A002
    """One picture file."""
    with av.open(str(path), "w", format=format) as out:
        stream = out.add_stream(codec, rate=1)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = pixels
        layout = {2: "gray", 3: "rgb24", 4: "rgba"}[picture.shape[2] if picture.ndim == 3 else 2]
        put(out, stream, av.VideoFrame.from_ndarray(picture, layout).reformat(format=pixels))
        put(out, stream, None)
    return path


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Writes a display matrix into an mp4's first track: x' = ax + cy, y' = bx + dy."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
