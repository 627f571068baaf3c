"""An opened file -> which of its streams are read, and their packets in order. Decodes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av import Packet
from av.container import InputContainer
from av.stream import Disposition, Stream

from models.container import CURE, MAX_PIXELS, MP4_MARKS, PYAV_ERRORS, Source
from models.errors import AffectError

COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
TEXTS = ("subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text")
LOWEST_RATE, HIGHEST_RATE = 1000, 10_000_000  # samples a second of a sound track that is read
MOST_CHANNELS = 64  # that FFmpeg mixes
RATES = (0.1, 1000)  # pictures a second that are believed
USUAL_RATE = 25  # pictures a second where the file doesn't say it


@dataclass
class Trouble:
    """Packets that could not be read, by kind."""

    picture: int = 0
    sound: int = 0
    file: int = 0


@dataclass(frozen=True)
class Tracks:
    """The chosen streams by index, None where there is none. Times of the file begin at `origin` seconds."""

    video: int | None
    audio: int | None
    words: int | None
    origin: float
    claimed: float | None  # length in seconds, by the header
    size: int  # bytes
    picture_length: float  # seconds of a picture whose packet doesn't say it
    partial: bool  # a track was left out that may be longer
    notes: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[int]:
        """The indices of the chosen streams."""
        return [index for index in (self.video, self.audio, self.words) if index is not None]

    @property
    def pacing(self) -> list[int]:
        """The streams that say how far a file was read: subtitles come and go."""
        return [index for index in (self.video, self.audio) if index is not None] or self.wanted

    def time(self, packet: Packet[Any]) -> float | None:
        """When a packet is shown or heard, None when it doesn't say."""
        ticks = packet.dts if packet.pts is None else packet.pts
        return None if ticks is None or not packet.time_base else float(ticks * packet.time_base) - self.origin

    def length(self, packet: Packet[Any]) -> float:
        """Seconds for which a packet is shown or heard, 0 when it doesn't say."""
        return float((packet.duration or 0) * (packet.time_base or 0))


def choose_tracks(source: Source, video: bool, audio: bool, subtitles: bool) -> Tracks:
    """Looks into a file. Raises AffectError `not_media`, `playlist`, `no_streams`."""
    with source.container() as container:
        pictures = [stream for stream in container.streams.video if not stream.disposition & COVERS]
        sounds = list(container.streams.audio)
        if not container.streams and source.head()[4:8] in MP4_MARKS:
            raise source.cut_off()
        if not pictures and not sounds:
            raise AffectError(f"{source.name} holds neither picture nor sound", CURE, "no_streams")
        seen, notes = checked(*best(pictures if video else [], "picture"), picture_fault)
        heard, more = checked(*best(sounds if audio else [], "sound"), sound_fault)
        texts = [stream for stream in container.streams.subtitles if subtitles and is_text(stream)]
        length = container.duration
        return Tracks(
            video=seen.index if seen else None,
            audio=heard.index if heard else None,
            words=texts[0].index if texts else None,
            origin=(container.start_time or 0) / 1e6,
            claimed=length / 1e6 if length and length > 0 else None,
            size=os.fstat(source.file.fileno()).st_size,
            picture_length=1 / picture_rate(seen),
            partial=bool((pictures and not video) or (sounds and not audio)),
            notes=notes + more,
        )


def checked(
    stream: Stream | None, notes: tuple[str, ...], fault: Callable[[Any], str]
) -> tuple[Stream | None, tuple[str, ...]]:
    """The stream unless it has a fault, which is then its only note."""
    words = fault(stream) if stream else ""
    return (None, (words,)) if words else (stream, notes)


def picture_fault(stream: Any) -> str:
    """Why a picture stream is not read, "" when it is."""
    wide, high = stream.codec_context.width, stream.codec_context.height
    return f"The picture of {wide} x {high} pixels is too large to be read." if wide * high > MAX_PIXELS else ""


def sound_fault(stream: Any) -> str:
    """Why a sound stream is not read, "" when it is. Some say their rate and channels only when they are decoded."""
    rate, channels = stream.rate or LOWEST_RATE, stream.codec_context.channels
    if channels > MOST_CHANNELS:
        return f"The sound has {channels} channels and was not read."
    return "" if LOWEST_RATE <= rate <= HIGHEST_RATE else f"The sound has {rate} samples a second and was not read."


def picture_rate(stream: Any) -> float:
    """Pictures a second."""
    rate = float(stream.average_rate or 0) if stream else 0.0
    return rate if RATES[0] <= rate <= RATES[1] else USUAL_RATE


def is_text(stream: Stream) -> bool:
    """Whether a subtitle stream is text; pictures of text are not read."""
    return stream.codec_context is not None and stream.codec_context.name in TEXTS


def best(streams: Sequence[Stream], kind: str) -> tuple[Stream | None, tuple[str, ...]]:
    """The default one of the streams that can be decoded, else the first of them; with a note about what was passed over."""
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        return None, ((f"The {kind} track is of a kind that can't be decoded here.",) if streams else ())
    chosen = next((stream for stream in known if stream.disposition & Disposition.default), known[0])
    return chosen, ((f"The file has {len(streams)} {kind} tracks; one was read.",) if len(streams) > 1 else ())


def measured_length(source: Source, tracks: Tracks) -> float:
    """Seconds up to the end of the last packet: reads all of the file, decodes nothing."""
    last, pictures = 0.0, 0
    with source.container() as container:
        for packet in packets(container, tracks, 0.0, Trouble()):
            pictures += packet.stream_index == tracks.video
            time = tracks.time(packet)
            last = max(last, pictures * tracks.picture_length if time is None else time + tracks.length(packet))
    return last


def packets(
    container: InputContainer, tracks: Tracks, start: float, trouble: Trouble, only: Sequence[int] = ()
) -> Iterator[Packet[Any]]:
    """The packets of the chosen streams (or `only` some) from about `start` on; a damaged file ends early."""
    chosen = list(only) or tracks.wanted
    if not chosen:
        return
    try:
        if start > 0:
            seek(container, tracks, start, chosen[0])
        for packet in container.demux(*(container.streams[index] for index in chosen)):
            if packet.size:
                yield packet
    except PYAV_ERRORS:
        trouble.file += 1


def seek(container: InputContainer, tracks: Tracks, seconds: float, index: int) -> None:
    """To the key frame of a stream at or before a time."""
    stream = container.streams[index]
    base = stream.time_base or Fraction(1, 1_000_000)
    container.seek(int((seconds + tracks.origin) / base), stream=stream)
