"""A path, a pipe or standard input -> an opened container that can reach nothing but that one file.

FFmpeg gets bytes, never a name: no protocol is opened by name, formats whose content names other files are refused before
their header is read, and a request for another file is answered with nothing and remembered. The one place where the
errors of PyAV and of the file system become an AffectError. Knows nothing of frames, sound or clips.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError

from models.errors import AffectError

MAX_PIPED = 4 << 30  # bytes taken from a pipe into a temporary file
MAX_PIXELS = 1 << 26  # of one picture: twice 8K; a decoded 8-bit 4:4:4 frame is then 200 MB
BUFFER = 1 << 16  # bytes FFmpeg asks for at once
CHUNK = 1 << 20
NAME_SHOWN = 60  # characters of a name that is too long
STANDARD_INPUT = "-"
PYAV_ERRORS = (FFmpegError, ValueError, OverflowError, MemoryError, OSError)
"""What PyAV raises on a damaged file: FFmpeg's own errors, plain ones for values out of range, and the disk's."""

NAMING_OTHERS = (
    "alias_pix,applehttp,asf_stream,avisynth,bluray,brender_pix,concat,concatf,dash,dvdvideo,ffmetadata,hls,image2,image2pipe,"
    "imf,mms,mpegts_dash,rtp,rtp_mpegts,rtsp,sap,sdp,smoothstreaming,svg_pipe,vapoursynth,vobsub,webm_dash_manifest"
)
MADE_OF_TEXT = (
    "adf,ansi,aqtitle,bin,idf,jacosub,lavfi,lrc,microdvd,mpl2,mpsub,pjs,realtext,sami,sbg,scc,stl,subviewer,subviewer1,"
    "tedcaptions,ttml,tty,vplayer,xbin,alsa,fbdev,kmsgrab,oss,pulse,v4l2,video4linux2,x11grab,xcbgrab,data,sdr2"
)
"""Devices, and formats that show any text as a picture or as subtitles: a letter named film.mp4 is not media."""
DENIED = frozenset(f"{NAMING_OTHERS},{MADE_OF_TEXT}".split(","))
PLAYLIST_MARKS = (
    b"#EXTM3U",
    b"ffconcat",
    b"file '",
    b'file "',
    b"<MPD",
    b"<SmoothStreaming",
    b"v=0",
    b"[playlist]",
    b"[internetshortcut]",
    b"<playlist",
    b"<asx",
    b"<smil",
)
PLAYLIST_MARKS_WITHIN = (b"<mpd ", b"\nfile ", b'file "', b"index 01", b"<compositionplaylist", b"<playlist")
REFERENCE_MARKS = (b"rmra", b"rmda")  # of a QuickTime movie that only names others
MP4_MARKS = (b"ftyp", b"mdat")  # behind four bytes: an mp4 or mov
CURE = "give a video, sound or picture file"


@dataclass
class Source:
    """One seekable file under its safe name. `asked` collects what its content wanted opened besides."""

    name: str
    file: BinaryIO
    asked: list[str] = field(default_factory=list)
    interrupted: bool = False

    @contextmanager
    def container(self) -> Iterator[InputContainer]:
        """The file opened from its start by FFmpeg. Raises AffectError `not_media`, `playlist`."""
        try:
            opened = av.open(
                Reader(self),
                "r",
                options=OPTIONS | {"format_whitelist": allowed_formats()},
                metadata_errors="replace",
                buffer_size=BUFFER,
                io_open=self.refuse,
            )
        except PYAV_ERRORS as error:
            raise self.refusal(error) from error
        with opened:
            try:
                yield opened
            finally:
                self.check()

    def refuse(self, url: str, flags: int, options: dict[str, str]) -> BinaryIO:
        """What FFmpeg gets when the content names another file: nothing."""
        self.asked.append(url)
        return io.BytesIO()

    def check(self) -> None:
        """Raises what could not be raised inside FFmpeg: Ctrl-C, and AffectError `playlist`."""
        if self.interrupted:
            raise KeyboardInterrupt
        if self.asked:
            raise self.of_others()

    def refusal(self, error: Exception) -> AffectError:
        """The one map from what PyAV raised on opening to words."""
        self.check()
        head = self.head()
        if isinstance(error, MemoryError):
            return AffectError(f"{self.name} needs more memory than there is", "", "too_large")
        if isinstance(error, OSError) and not isinstance(error, FFmpegError):
            return unreadable(self.name, error)
        if names_others(head):
            return AffectError(
                f"{self.name} is a playlist or a list of files, which are never opened", CURE, "playlist"
            )
        if head[4:8] in MP4_MARKS:
            return self.cut_off()
        return AffectError(f"{self.name} is not a video, sound or picture file, or it is damaged", CURE, "not_media")

    def of_others(self) -> AffectError:
        """What is said of a file that wants others opened."""
        return AffectError(f"{self.name} names other files, which are never opened", CURE, "playlist")

    def cut_off(self) -> AffectError:
        """What is said of an mp4 without an index of pictures and sound: of the start of one, mostly."""
        if any(mark in self.head() for mark in REFERENCE_MARKS):
            return self.of_others()
        words = f"{self.name} is cut off or damaged: it has no index of pictures and sound"
        return AffectError(words, "copy or record it again", "not_media")

    def head(self) -> bytes:
        """The first bytes of the file."""
        self.file.seek(0)
        return self.file.read(4096)


OPTIONS = {
    "protocol_whitelist": "none",
    "max_pixels": str(MAX_PIXELS),
    "enable_drefs": "0",
    "use_absolute_path": "0",
}


class Reader:
    """What FFmpeg reads from: the file from its start, without its name.

    Nothing may be raised into FFmpeg: Ctrl-C there is remembered and ends the file, a bad position is answered with -1.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.file = source.file
        # With an ID3 tag longer than what is probed (a large cover) only the name tells FFmpeg what follows.
        self.name = "sound.mp3" if source.head()[:3] == b"ID3" else ""
        self.file.seek(0)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        try:
            return b"" if self.source.interrupted else self.file.read(size)
        except KeyboardInterrupt:
            self.source.interrupted = True
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position, -1 for one that can't be."""
        try:
            return self.file.seek(offset, whence)
        except KeyboardInterrupt:
            self.source.interrupted = True
            return -1
        except (OSError, ValueError, OverflowError):
            return -1

    def tell(self) -> int:
        """The position."""
        return self.file.tell()

    def seekable(self) -> bool:
        """Always: pipes were copied to a file."""
        return True

    def readable(self) -> bool:
        """Always."""
        return True


def allowed_formats() -> str:
    """FFmpeg's list of formats that may be opened: all that this build knows but the refused ones."""
    names = {part for name in av.formats_available for part in name.split(",")}
    return ",".join(sorted(names - DENIED))


def names_others(head: bytes) -> bool:
    """Whether a file's first bytes are those of a playlist, a list of files or a session description."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    low = text.lower()
    marked = any(low.startswith(mark.lower()) for mark in PLAYLIST_MARKS)
    return marked or (b"\0" not in text and any(mark in low for mark in PLAYLIST_MARKS_WITHIN))


@contextmanager
def opened_source(path: str | Path) -> Iterator[Source]:
    """A file, a pipe, or `-` for standard input, as a Source.

    Raises AffectError `not_found`, `is_folder`, `unreadable`, `empty`, `too_large`.
    """
    with opened_file(path) as file:
        yield Source(shown(path), file)


@contextmanager
def opened_file(path: str | Path) -> Iterator[BinaryIO]:
    """The seekable binary file behind a path, a pipe or `-`. Raises AffectError as `opened_source` does."""
    name = shown(path)
    try:
        with seekable(standard_input() if path == STANDARD_INPUT else open_path(path), name) as file:
            empty = file.seek(0, os.SEEK_END) == 0
            file.seek(0)
            if empty:
                raise AffectError(f"{name} is empty", "give a file with something in it", "empty")
            yield file
    except OSError as error:
        raise unreadable(name, error) from error


def open_path(path: str | Path) -> BinaryIO:
    """Opens a file or a pipe; a folder or a device is refused before it is opened."""
    check_path(path)
    return Path(path).open("rb")


def check_path(path: str | Path) -> None:
    """Whether a path names a file or a pipe, without opening it; `-` always does. Raises AffectError `not_found`,
    `is_folder`, `unreadable`."""
    if path == STANDARD_INPUT:
        return
    try:
        if "\0" in str(path) or not str(path):
            raise FileNotFoundError
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise unreadable(shown(path), error) from error
    if stat.S_ISDIR(mode):
        raise unreadable(shown(path), IsADirectoryError())
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise AffectError(f"{shown(path)} is a device, not a file", CURE, "unreadable")


def is_file(path: Path) -> bool:
    """Whether a file is there; not where no file can be, as under a name that is too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def standard_input() -> BinaryIO:
    """Standard input, unless it is closed or a person's keyboard."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise AffectError(
            "standard input is not a pipe", "pipe a file into it, as in: cat clip.mp4 | affect analyze -", "unreadable"
        )
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb")


def seekable(file: BinaryIO, name: str) -> BinaryIO:
    """The file itself, or a pipe's content in a temporary file."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    with file:
        return copied(file, name)


def copied(file: BinaryIO, name: str) -> BinaryIO:
    """A pipe's content in a temporary file that has no name. Raises AffectError `too_large`."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    size = 0
    while piece := file.read(CHUNK):
        size += len(piece)
        if size > MAX_PIPED:
            kept.close()
            raise AffectError(f"{name} gives more than {MAX_PIPED >> 30} GB", "save it to a file first", "too_large")
        write_piece(kept, piece, name)
    return kept


def write_piece(kept: BinaryIO, piece: bytes, name: str) -> None:
    """Raises AffectError `disk_full`."""
    try:
        kept.write(piece)
    except OSError as error:
        words = f"{tempfile.gettempdir()} has no room for what {name} gives: {error.strerror}"
        raise AffectError(words, "free some space there, or set TMPDIR to another folder", "disk_full") from error


def unreadable(name: str, error: OSError) -> AffectError:
    """The one map from the file system's errors to words."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) and "://" in name:
        return AffectError(f"{name} is an address, and nothing is ever fetched", "save it to a file first", "not_found")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return AffectError(f"{name} is not there", "check the name", "not_found")
    if isinstance(error, IsADirectoryError):
        return AffectError(f"{name} is a folder", "name the files in it", "is_folder")
    if isinstance(error, PermissionError):
        return AffectError(f"{name} may not be read", "check its rights", "unreadable")
    if error.errno == errno.ENAMETOOLONG:
        return AffectError(f"{name[:NAME_SHOWN]}... is longer than a name can be", "check the name", "not_found")
    return AffectError(f"{name} can't be read: {error.strerror or error}", "", "unreadable")


def shown(path: str | Path) -> str:
    """A name as it may stand in a message: one line, printable, `standard input` for `-`, quotes for an empty one."""
    if path == STANDARD_INPUT:
        return "standard input"
    text = str(path) or "''"
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii") for c in text
    )
