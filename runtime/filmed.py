"""An item as a film: its faces on a plain ground, its sound, its words as a subtitle track, in one mp4 file.

What was read from arrays in memory can so be read once more the way that a user's file is. Knows containers and arrays;
nothing of engines or figures.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.items import Item
from models.sound import SAMPLE_RATE

RATE = 8  # pictures a second
WIDTH, HEIGHT, FACE = 320, 256, 176  # pixels of a picture, and of the face in its middle
SILENT_SECONDS = 2.0  # how long a film without sound is
NEARLY_LOSSLESS = {"crf": "12", "preset": "veryfast"}
SUBTITLES = (
    b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[Events]\r\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


def film(item: Item, path: Path) -> Path:
    """Writes the item as an mp4 file, and returns its path."""
    import av

    seconds = SILENT_SECONDS if item.wave is None else len(item.wave) / SAMPLE_RATE
    with av.open(str(path), "w", format="mp4") as out:
        packets = [] if item.faces is None else shown(out, item.faces, seconds)
        packets += [] if item.wave is None else heard(out, item.wave)
        packets += [] if item.words is None else [said(out, item.words, seconds)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


def shown(out: Any, faces: np.ndarray, seconds: float) -> list[Any]:
    """H.264 packets of the faces uint8 [T, S, S], each for as long as the others."""
    import av

    stream = out.add_stream("libx264", rate=RATE)
    stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", NEARLY_LOSSLESS
    count = max(1, round(seconds * RATE))
    pictures = (picture(faces[n * len(faces) // count]) for n in range(count))
    frames = [av.VideoFrame.from_ndarray(grey, "gray") for grey in pictures]
    return [packet for frame in [*frames, None] for packet in stream.encode(frame)]


def picture(face: np.ndarray) -> np.ndarray:
    """uint8 [HEIGHT, WIDTH]: a face on a ground of its mean grey."""
    ground = np.full((HEIGHT, WIDTH), face.mean(), np.uint8)
    top, left = (HEIGHT - FACE) // 2, (WIDTH - FACE) // 2
    ground[top : top + FACE, left : left + FACE] = cv2.resize(face, (FACE, FACE), interpolation=cv2.INTER_CUBIC)
    return ground


def heard(out: Any, wave: np.ndarray) -> list[Any]:
    """AAC packets of a wave float32 [N], 16 kHz."""
    import av

    stream = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
    stream.bit_rate = 128_000
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None], np.float32), "fltp", "mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
    return [packet for part in (frame, None) for packet in stream.encode(part)]


def said(out: Any, words: str, seconds: float) -> Any:
    """One subtitle from the start to the end."""
    from av.subtitles.subtitle import SubtitleSet

    stream = out.add_stream("mov_text")
    stream.codec_context.subtitle_header = SUBTITLES
    line = " ".join(words.split()).replace("{", "(").replace("}", ")")  # braces are styling there
    cue = SubtitleSet.create(f"0,0,Default,,0,0,0,,{line}".encode(), 0, round(seconds * 1000), 0)
    packet = stream.codec_context.encode_subtitle(cue)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts, packet.dts, packet.duration = 0, 0, round(seconds * 1000)
    return packet
