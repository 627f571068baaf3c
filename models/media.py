"""A video, sound or picture file -> a Clip, through PyAV. Training and live use read files through this alone.

Up to a minute is read whole; a longer stretch by seeking to pictures and windows of sound spread over it, so that two hours
cost what a minute costs. What can be read is kept, and what could not is said in the Clip's notes. Knows nothing of faces,
features or networks; which files may be opened at all is the affair of `models.container`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from av import Packet
from av.container import InputContainer

from models.container import MAX_PIXELS, Source, opened_source
from models.decoding import SAMPLE_RATE, Ear, cue_of
from models.errors import AffectError
from models.reading import Clip
from models.shots import Film, Picture, Shot, centres, shot_of, wanted_shots
from models.subtitles import Cue, Subtitles, joined, read_subtitles
from models.tracks import Tracks, Trouble, choose_tracks, measured_length, packets

WHOLE = 60.0  # seconds up to which a stretch is read whole, and of sound from a longer one
SLACK = 1.0  # seconds by which headers and tracks commonly differ
LOST, LOST_SHARE = 0.25, 0.05  # seconds, and the share of what was read, that may be missing without a word
SOUND_WINDOWS = 6  # in which the sound of a longer stretch is read
SOUND_WINDOW = WHOLE / SOUND_WINDOWS  # seconds
MEASURED = 32 << 20  # bytes up to which a file's length is measured, not believed
LEAD = 10.0  # seconds read before a stretch so that its first pictures have a key frame, where a format seeks to any packet
PREROLL = 0.3  # seconds decoded before a stretch of sound: decoders need a few frames to settle
LONGEST_WAVE = 3600.0  # seconds that load_wave reads
NOTHING_THERE = "its tracks hold nothing, or refer to another file, which is never opened"
DAMAGED = "it is damaged or of a kind that is not known here"
PICTURE_DAMAGED = f"{DAMAGED}, or has more than {MAX_PIXELS / 1e6:.0f} million pixels"
EXPORT = "export it again, as mp4, wav or png"
LONG_NOTE = "Longer than a minute: one reading covers all of it, from pictures and 60 s of sound spread over it."


def read_clip(
    path: str | Path,
    *,
    frames: int = 8,
    start: float | None = None,
    end: float | None = None,
    video: bool = True,
    audio: bool = True,
    subtitles: bool = True,
) -> Clip:
    """The stretch from `start` to `end` seconds of a file (all of it without them), with at most `frames` pictures.

    `-` is standard input. Frames lie at the centres of equal parts of the picture's length, their longer side at most 640.
    Raises AffectError: `not_found`, `is_folder`, `unreadable`, `empty`, `not_media`, `playlist`, `no_streams`,
    `bad_window`, `too_large`.
    """
    check_window(start, end)
    with opened_source(path) as source:
        tracks = choose_tracks(source, video, audio, subtitles)
        found = read_window(source, tracks, start or 0.0, end, frames)
        return clip_of(found, tracks, source)


def load_wave(path: str | Path, rate: int = SAMPLE_RATE) -> np.ndarray:
    """The sound of a file, float32 [N] mono at `rate`, at most an hour. Raises AffectError as `read_clip` does."""
    with opened_source(path) as source:
        tracks = choose_tracks(source, video=False, audio=True, subtitles=False)
        ear = Ear(0.0, LONGEST_WAVE, tracks.origin, Trouble(), rate)
        with source.container() as container:
            for packet in packets(container, tracks, 0.0, ear.trouble):
                ear.hear(packet)
                if ear.full:
                    break
            wave = ear.wave()
        if wave is None:
            raise AffectError(f"{source.name} holds no sound that can be read", "", "no_streams")
        return wave


def read_subtitle_file(path: str | Path, start: float, end: float) -> str:
    """The words of an .srt or .vtt file between two times, "" when none are said. Raises AffectError as `subtitle_file`."""
    return subtitle_file(path).words(start, end)


def subtitle_file(path: str | Path) -> Subtitles:
    """The cues and notes of an .srt or .vtt file. Raises AffectError `not_subtitle`, `too_large`, `not_found`, ..."""
    return read_subtitles(path)


# ---------------------------------------------------------------------- which stretch


@dataclass
class Found:
    """What was read between two times: pictures [(seconds, RGB)], sound, words."""

    start: float
    end: float
    duration: float
    pictures: list[Picture] = field(default_factory=list)
    wave: np.ndarray | None = None
    cues: list[Cue] = field(default_factory=list)
    trouble: Trouble = field(default_factory=Trouble)
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the stretch."""
        return self.end - self.start

    @property
    def empty(self) -> bool:
        """Whether nothing at all was read."""
        return not self.pictures and self.wave is None and not self.cues

    def read_words(self, packet: Packet[Any], time: float, until: float) -> None:
        """Keeps a subtitle that is shown within the stretch; a cue met twice is one."""
        cue = cue_of(packet, time, until) if time < self.end and until > self.start else None
        if cue and cue not in self.cues:
            self.cues.append(cue)


def check_window(start: float | None, end: float | None) -> None:
    """Raises AffectError `bad_window` for a stretch that no file can have."""
    low = 0.0 if start is None else start
    if not (math.isfinite(low) and low >= 0):
        raise AffectError(f"a clip can't begin at {low:g} s", "give seconds from 0 on", "bad_window")
    if end is not None and not (math.isfinite(end) and end > low):
        raise AffectError(
            f"a clip that begins at {low:g} s can't end at {end:g} s", "the end lies behind the start", "bad_window"
        )


def read_window(source: Source, tracks: Tracks, start: float, end: float | None, frames: int) -> Found:
    """Reads a stretch in the way that fits its true length. Raises AffectError `bad_window`."""
    length = tracks.claimed
    if length is None or (length > WHOLE and tracks.size <= MEASURED):
        length = measured_length(source, tracks)
    last = length if end is None else min(end, length)
    if not tracks.wanted:
        return Found(start, max(start, last), length)
    if last - start > WHOLE + SLACK:
        found = read_long(source, tracks, Found(start, last, length), frames)
        if fits(found, frames):
            return found
        length = measured_length(source, tracks)  # the header lied
    found = read_whole(source, tracks, start, end, frames)
    if found.seconds > WHOLE + SLACK:  # it lied the other way
        length = measured_length(source, tracks)
        found = read_long(source, tracks, Found(start, length if end is None else min(end, length), length), frames)
        if not fits(found, frames):
            found = read_whole(source, tracks, start, start + WHOLE, frames)
            found.notes.append("No place in this file can be looked up; its first minute was read.")
    if start and found.empty:
        words = f"{source.name} is {found.duration:.1f} s long, there is nothing at {start:g} s"
        raise AffectError(words, "choose an earlier start", "bad_window")
    return found


def fits(found: Found, frames: int) -> bool:
    """Whether a long stretch gave what it should: half of its pictures, or half of a minute of sound."""
    return 2 * len(found.pictures) >= frames or (found.wave is not None and 2 * len(found.wave) >= WHOLE * SAMPLE_RATE)


# ---------------------------------------------------------------------- a minute or less


def read_whole(source: Source, tracks: Tracks, start: float, end: float | None, frames: int) -> Found:
    """A stretch of a minute: sound, words and the list of pictures first, then the few pictures that are wanted.

    Without `end` up to the file's end, but little more than a minute: a result longer than WHOLE was cut there.
    """
    limit = start + WHOLE + 2 * SLACK if end is None else end
    found = Found(start, limit, 0.0)
    shots: list[Shot] = []
    last, cut = listen(source, tracks, found, shots)
    found.end = min(limit, max(start, last))
    found.duration = max(last, tracks.claimed or 0.0) if cut else last
    if found.seconds <= WHOLE + SLACK:
        found.pictures = choose_pictures(source, tracks, found, shots, frames)
    if len(shots) == 1 and tracks.audio is None and not start and not cut:
        return still(found)
    if not (cut or tracks.partial) and (tracks.claimed or 0.0) - last > max(LOST, LOST_SHARE * last):
        found.notes.append(f"The file says that it is {tracks.claimed:.1f} s long; {last:.1f} s of it can be read.")
    return found


def still(found: Found) -> Found:
    """One image: it has no length."""
    pictures = [(0.0, picture) for _, picture in found.pictures]
    return Found(0.0, 0.0, 0.0, pictures, cues=found.cues, trouble=found.trouble)


def choose_pictures(source: Source, tracks: Tracks, found: Found, shots: list[Shot], frames: int) -> list[Picture]:
    """The pictures at the centres of equal parts, decoded from the nearest key frames before them."""
    wanted = wanted_shots(shots, found.start, found.end, frames)
    if not wanted or tracks.video is None:
        return []
    with source.container() as container:
        return Film(container, tracks, tracks.video, found.trouble).pictures(shots, wanted, found.start - LEAD)


def listen(source: Source, tracks: Tracks, found: Found, shots: list[Shot]) -> tuple[float, bool]:
    """Fills in sound, words and shots. Returns the end of the last packet, and whether it stopped before the file's end."""
    ear = Ear(found.start, found.seconds, tracks.origin, found.trouble)
    reached = dict.fromkeys(tracks.pacing, 0.0)
    last = 0.0
    with source.container() as container:
        for packet in packets(container, tracks, found.start - LEAD, found.trouble):
            time, until = take(packet, tracks, found, ear, shots)
            last = max(last, until)
            reached[packet.stream_index] = time
            if min(reached[index] for index in tracks.pacing) > found.end + SLACK or time > found.end + 10 * SLACK:
                found.wave = ear.wave()
                return last, True
        found.wave = ear.wave()
    return last, False


def take(packet: Packet[Any], tracks: Tracks, found: Found, ear: Ear, shots: list[Shot]) -> tuple[float, float]:
    """One packet of the first pass: sound and words are decoded, a picture is only listed. Returns when it starts and ends."""
    if packet.stream_index == tracks.video:
        shots.append(shot_of(packet, tracks, len(shots)))
        return shots[-1].time, shots[-1].until
    time = tracks.time(packet) or 0.0
    until = time + tracks.length(packet)
    if packet.stream_index == tracks.words:
        found.read_words(packet, time, until)
    elif not ear.full and until > found.start - PREROLL:
        ear.hear(packet)
    return time, until


# ---------------------------------------------------------------------- more than a minute


def read_long(source: Source, tracks: Tracks, found: Found, frames: int) -> Found:
    """A long stretch: pictures near the centres of equal parts, and sound and words in windows spread alike."""
    found.notes.append(LONG_NOTE)
    if tracks.video is not None:
        with source.container() as container:
            found.pictures = Film(container, tracks, tracks.video, found.trouble).spread(found.start, found.end, frames)
    if tracks.audio is not None or tracks.words is not None:
        with source.container() as container:
            middles = centres(found.start, found.end, SOUND_WINDOWS)
            waves = [hear_window(container, tracks, found, middle - SOUND_WINDOW / 2) for middle in middles]
            heard = [wave for wave in waves if wave is not None]
            found.wave = np.concatenate(heard) if heard else None
    return found


def hear_window(container: InputContainer, tracks: Tracks, found: Found, start: float) -> np.ndarray | None:
    """The sound of one window; its words go to `found`. Words may be minutes apart: sound or picture tells where it ends."""
    ear = Ear(start, SOUND_WINDOW, tracks.origin, found.trouble)
    pace = tracks.video if tracks.audio is None else tracks.audio
    only = [index for index in (pace, tracks.words) if index is not None]
    for packet in packets(container, tracks, start - PREROLL, found.trouble, only):
        time = tracks.time(packet) or 0.0
        until = time + tracks.length(packet)
        if time > start + SOUND_WINDOW:
            break
        if packet.stream_index == tracks.words:
            found.read_words(packet, time, until)
        elif packet.stream_index == tracks.audio and until > start - PREROLL:
            ear.hear(packet)
    return ear.wave()


# ---------------------------------------------------------------------- what comes out


def clip_of(found: Found, tracks: Tracks, source: Source) -> Clip:
    """The Clip with its notes. Raises AffectError `not_media` when nothing of what was wanted can be decoded."""
    if found.empty and (tracks.wanted or tracks.notes):
        words = f"neither picture nor sound of {source.name} can be decoded: {undecoded(found, tracks)}"
        raise AffectError(words, EXPORT, "not_media")
    frames = (
        np.stack([picture for _, picture in found.pictures]) if found.pictures else np.zeros((0, 1, 1, 3), np.uint8)
    )
    transcript = joined(cue.text for cue in found.cues) or None
    return Clip(
        start=found.start,
        end=found.end,
        frames=frames,
        times=np.array([time for time, _ in found.pictures], np.float64),
        waveform=found.wave,
        transcript=transcript,
        transcript_source="subtitle" if transcript else "none",
        duration=found.duration,
        notes=(*tracks.notes, *found.notes, *troubles(found, tracks)),
    )


def undecoded(found: Found, tracks: Tracks) -> str:
    """Why nothing could be read, as far as can be told."""
    if tracks.notes:
        why = " ".join(tracks.notes).rstrip(".")
        return why[0].lower() + why[1:]
    if found.trouble == Trouble():
        return NOTHING_THERE
    return PICTURE_DAMAGED if found.trouble.picture else DAMAGED


def troubles(found: Found, tracks: Tracks) -> Iterator[str]:
    """What could not be read, as sentences."""
    if tracks.video is not None and not found.pictures:
        yield "The picture track could not be decoded."
    elif found.trouble.picture:
        yield "Parts of the picture could not be decoded."
    if tracks.audio is not None and found.wave is None:
        yield "The sound track could not be decoded."
    elif found.trouble.sound:
        yield "Parts of the sound could not be decoded."
    if found.trouble.file:
        yield "The file is damaged; what could be read of it was read."
