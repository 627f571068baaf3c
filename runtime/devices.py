"""Cameras and microphones: which there are, why one can't be used and what helps, and any camera's picture as RGB.

Knows the systems' lists and privacy pages, OpenCV and PortAudio; nothing of streams, threads or what is read from them.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from models.errors import AffectError

LIST = "affect live --list"
TRIED = 4  # numbers of cameras that are opened where the system gives no list
CHANNELS = 2  # of a microphone, at most
CUT = 31  # characters of a name that Windows' oldest interface (MME) tells; its newer ones tell all


@dataclass(frozen=True)
class Device:
    """A "camera" or "microphone" (`kind`). `number` is what --camera and --mic take, `name` is the system's, control
    characters and all; `trouble` says why it can't be opened ("" when it can or was not tried), `cure` what helps."""

    kind: str
    number: int
    name: str
    detail: str = ""
    default: bool = False
    trouble: str = ""
    cure: str = ""


@dataclass(frozen=True)
class System:
    """`platform` as `sys.platform` has it; Linux's folders of cameras, of device nodes and of processes."""

    platform: str = sys.platform
    cameras: Path = Path("/sys/class/video4linux")
    nodes: Path = Path("/dev")
    processes: Path = Path("/proc")

    @property
    def linux(self) -> bool:
        """Whether there are such folders."""
        return self.platform.startswith("linux")

    def node(self, number: int) -> Path:
        """What is opened for a camera."""
        return self.nodes / f"video{number}"


HERE = System()

PRIVACY = {
    "darwin": "System Settings > Privacy & Security > {}: allow the terminal, then quit it and start it again",
    "win32": "Settings > Privacy & security > {}: let desktop apps access it",
}


def privacy(kind: str, platform: str = sys.platform) -> str:
    """Where the user allows a "camera" or "microphone" to programs; "" on a system without such a page."""
    return PRIVACY.get(platform, "").format(kind.capitalize())


# ---------------------------------------------------------------------- silence


class Quiet:
    """Within `with quiet:` what C code prints on its `stderr` is dropped, in all threads; it may be nested.

    PortAudio, libjpeg and FFmpeg print there whatever a device does, and have no switch. Their variable points to
    another file meanwhile; file descriptor 2 stays as it is, so that Python's stderr and children print as ever. What is
    lost, too, is what Python itself says when it dies. With glibc alone: musl's variable is a constant, Windows' builds
    print nothing, and elsewhere they go on printing.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.depth = 0
        self.own: int | None = None  # where C's stderr points to at other times

    def __enter__(self) -> None:
        """From the first of several on."""
        with self.lock:
            self.depth += 1
            if self.depth == 1 and (found := c_stderr()):
                self.own, found[0].value = found[0].value, found[1]

    def __exit__(self, *_: object) -> None:
        """Until the last of them ends."""
        with self.lock:
            self.depth -= 1
            if self.depth == 0 and (found := c_stderr()):
                found[0].value = self.own


quiet = Quiet()


@cache
def c_stderr() -> tuple[ctypes.c_void_p, int] | None:
    """glibc's variable `stderr` and a FILE on /dev/null, never closed; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return None
    libc.fopen.restype = ctypes.c_void_p
    nothing = libc.fopen(b"/dev/null", b"we")
    return (ctypes.c_void_p.in_dll(libc, "stderr"), nothing) if nothing else None


def opencv() -> Any:
    """The module cv2, which from now on logs nothing on stderr, unless OPENCV_LOG_LEVEL is set: it warns of each
    camera that is not there."""
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def portaudio() -> Any:
    """The module sounddevice with PortAudio started and ALSA silent.

    Raises AffectError `not_installed` without the module, `no_portaudio` where it does not find its library.
    """
    try:
        import sounddevice  # keeps file descriptor 2 away from PortAudio while that starts
    except ImportError as error:
        raise AffectError("sounddevice is not installed", 'pip install "affectgpt[live]"', "not_installed") from error
    except OSError as error:
        raise no_portaudio(error) from error
    silence_alsa()
    return sounddevice


def no_portaudio(error: OSError, platform: str = sys.platform) -> AffectError:
    """Its library is missing, or does not load."""
    missing = "not found" in str(error)
    words = "the PortAudio library is not installed" if missing else f"the PortAudio library does not load: {error}"
    cure = "pip install --force-reinstall sounddevice"
    if platform.startswith("linux"):
        cure = "Debian and Ubuntu: sudo apt-get install libportaudio2; Fedora: sudo dnf install portaudio"
    return AffectError(words, cure, "no_portaudio")


@cache
def silence_alsa() -> None:
    """ALSA tells its errors to a function that does nothing, instead of printing them.

    That is C's `abs`: it has no effect, whatever it is given, and unlike a callback of ours it may be called in
    PortAudio's threads at any time, without Python's lock and after Python's end.
    """
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # PortAudio was built without ALSA
            alsa = ctypes.CDLL("libasound.so.2")  # by this name it is the one that PortAudio has loaded
            alsa.snd_lib_error_set_handler(ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p))


# ---------------------------------------------------------------------- cameras


def cameras(probe: bool = True, here: System = HERE) -> list[Device]:
    """The cameras by number. With `probe` each is opened for its size and rate, and closed again.

    macOS and Windows give no list: there the first numbers are opened in any case, and what opens is a camera. All of
    them are tried, for one in the midst may be in use, or a virtual one that is off. Where none opens, camera 0 with its
    trouble stands for what may be there.
    """
    if here.linux:
        return [probed(device, here) for device in there(here)] if probe else there(here)
    found = [probed(camera(number, here), here) for number in range(TRIED)]
    return [device for device in found if not device.trouble] or found[:1]


def camera(number: int, here: System) -> Device:
    """A camera by its number, not opened; "camera" where the system tells no name."""
    name = text(here.cameras / f"video{number}" / "name") if here.linux else ""
    return Device("camera", number, name or "camera", default=number == 0)


def listed(here: System) -> list[int]:
    """Linux's numbers of cameras. A UVC camera has a second node, with an index of 1, that gives no pictures; where the
    system hides its list, as in some containers, every node counts."""
    if not here.cameras.is_dir():
        return numbers(here.nodes)
    return [number for number in numbers(here.cameras) if text(here.cameras / f"video{number}" / "index") in ("", "0")]


def numbers(folder: Path) -> list[int]:
    """Of the entries videoN."""
    return sorted(int(path.name[5:]) for path in folder.glob("video*") if re.fullmatch("[0-9]+", path.name[5:]))


def text(path: Path) -> str:
    """A file's one line; "" where the device has just gone."""
    try:
        return path.read_bytes().decode("utf-8", "replace").removesuffix("\n")
    except OSError:
        return ""


def probed(device: Device, here: System) -> Device:
    """The camera with its size and rate, or with its trouble."""
    detail = size_and_rate(device.number)
    if detail is not None:
        return replace(device, detail=detail)
    error = camera_trouble(device.number, here)
    return replace(device, trouble=error.message, cure=error.cure)


def size_and_rate(number: int) -> str | None:
    """What a camera says of its pictures, as far as it does; None when it can't be opened."""
    cv2 = opencv()
    with quiet:
        capture = cv2.VideoCapture(number)
        try:
            if not capture.isOpened():
                return None
            sizes = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
            width, height, rate = (capture.get(size) for size in sizes)
        finally:
            capture.release()
    parts = [f"{width:.0f} x {height:.0f}"] if width > 0 and height > 0 else []
    return ", ".join([*parts, f"{round(rate, 2):g} frames/s"] if 0 < rate < 1000 else parts)


def find_camera(number: int, here: System = HERE) -> Device:
    """The camera of that number, not opened. Raises AffectError `no_camera` where Linux has none; elsewhere opening
    decides."""
    if here.linux and number not in listed(here) and not here.node(number).exists():
        raise no_camera(number, here)
    return camera(number, here)


def camera_trouble(number: int, here: System = HERE) -> AffectError:
    """Why a camera can't be opened or gives nothing: `no_camera`, `camera_refused` or `camera_busy`, with its cure."""
    if not here.linux:
        return not_opened(number, here.platform)
    if not here.node(number).exists():
        return not_passed(number, here) if number in listed(here) else no_camera(number, here)
    if not os.access(here.node(number), os.R_OK | os.W_OK):
        cure = f"sudo usermod -aG video $USER, then log in again; in a container, pass {here.node(number)} in"
        cure += "; in a Flatpak, allow PipeWire's camera"
        return AffectError(f"{called(number, here)} may not be opened by this user", cure, "camera_refused")
    if number not in listed(here):
        words = f"camera {number} gives no pictures: it is a part of another{only(there(here))}"
        return AffectError(words, LIST, "no_camera")
    return busy(number, here)


def called(number: int, here: System) -> str:
    """A camera by number and name, for a message."""
    return f"camera {number} ({camera(number, here).name})"


def there(here: System) -> list[Device]:
    """Linux's cameras, none opened."""
    return [camera(number, here) for number in listed(here)]


def names(devices: Iterable[Device]) -> str:
    """Devices by number and name, for a message."""
    return ", ".join(f"{device.number} ({device.name})" for device in devices)


def only(devices: Sequence[Device]) -> str:
    """Where a device is missing, which ones are not: the rest of a message."""
    return f", there is only {names(devices)}" if devices else ""


def no_camera(number: int, here: System) -> AffectError:
    """Linux has none of that number."""
    cure = f"{LIST}; without a camera: --camera none"
    if not (found := there(here)):
        return AffectError("there is no camera", f"plug one in, then {cure}", "no_camera")
    return AffectError(f"there is no camera {number}{only(found)}", cure, "no_camera")


def not_passed(number: int, here: System) -> AffectError:
    """The system has a camera whose node is not here: this is a container, or a sandbox such as Flatpak's or snap's."""
    node = here.node(number)
    cure = f"docker run --device {node} (or what passes a device into this sandbox)"
    return AffectError(f"{called(number, here)} is not passed in: {node} is missing", cure, "camera_refused")


def not_opened(number: int, platform: str) -> AffectError:
    """macOS and Windows do not tell why a camera does not open; 0 is there more often than not."""
    words = f"camera {number} can't be opened: there is none, another program uses it, or this one may not"
    cure = "; ".join(filter(None, [LIST, "close what uses it", privacy("camera", platform)]))
    return AffectError(words, cure, "no_camera" if number else "camera_refused")


def busy(number: int, here: System) -> AffectError:
    """Another program uses a camera, or seems to: those of other users are not seen."""
    holders = ", ".join(f"{name} ({process})" for process, name in holding(here.node(number), here))
    if holders:
        return AffectError(f"{called(number, here)} is used by {holders}", "close it, or take another", "camera_busy")
    words = f"{called(number, here)} gives no pictures: another program may be using it"
    cure = f"close what uses it, or unplug it and plug it in again; {LIST}"
    return AffectError(words, cure, "camera_busy")


def holding(node: Path, here: System) -> list[tuple[int, str]]:
    """(number, name) of the other processes that have a node open, as far as this user may see."""
    folders = [folder for folder in here.processes.glob("[0-9]*") if folder.name != str(os.getpid())]
    found = [int(folder.name) for folder in folders if folder.name.isdecimal() and holds(folder, node)]
    return [(process, text(here.processes / str(process) / "comm")) for process in sorted(found)]


def holds(process: Path, node: Path) -> bool:
    """Whether one of a process's descriptors is that node; False for one that has ended or is another user's."""
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return False
    for descriptor in descriptors:
        with suppress(OSError):
            if descriptor.readlink() == node:
                return True
    return False


# ---------------------------------------------------------------------- microphones


def microphones(probe: bool = True) -> list[Device]:
    """The microphones by number; with `probe` each is asked whether it can be opened. Raises AffectError as
    `portaudio` does. PortAudio lists what there was when it started."""
    audio = portaudio()
    default = default_microphone(audio)
    found = [
        microphone(number, about, number == default)
        for number, about in enumerate(audio.query_devices())
        if about["max_input_channels"] > 0
    ]
    return [checked(device, audio) for device in found] if probe else found


def default_microphone(audio: Any) -> int:
    """The number of PortAudio's default, else of the first of its host interfaces that has one; -1 without any."""
    number = audio.default.device[0]
    if isinstance(number, int) and number >= 0:
        return number
    defaults = [interface["default_input_device"] for interface in audio.query_hostapis()]
    return next((number for number in defaults if number >= 0), -1)


def microphone(number: int, about: Any, default: bool) -> Device:
    """A line of PortAudio's list."""
    channels = about["max_input_channels"]
    detail = f"{about['default_samplerate']:.0f} Hz, {channels} channel{'s' if channels > 1 else ''}"
    return Device("microphone", number, about["name"], detail, default)


def checked(device: Device, audio: Any) -> Device:
    """The microphone with its trouble, if it has one."""
    try:
        about = audio.query_devices(device.number)
        channels, rate = min(CHANNELS, about["max_input_channels"]), about["default_samplerate"]
        with quiet:
            audio.check_input_settings(device=device.number, channels=channels, dtype="float32", samplerate=rate)
    except (audio.PortAudioError, ValueError) as error:
        trouble = microphone_trouble(error, device)
        return replace(device, trouble=trouble.message, cure=trouble.cure)
    return device


def find_microphone(wanted: str | int | None, platform: str = sys.platform) -> Device:
    """The microphone of that number (also as digits), of that name or the only one with this in its name, whatever the
    case; None: the default, or the only one. It is not opened.

    Raises AffectError `no_microphone` and `which_microphone`, and as `portaudio` does.
    """
    among = microphones(probe=False)
    found = matching(among, wanted, platform)
    if not found:
        raise no_microphone(wanted, among, platform)
    if len(found) > 1:
        which = "no microphone is the default" if wanted is None else f"several microphones are called {wanted}"
        raise AffectError(f"{which}: {names(found)}", "take one by its number: --mic N", "which_microphone")
    return found[0]


def matching(among: Sequence[Device], wanted: str | int | None, platform: str) -> list[Device]:
    """Those that may be meant."""
    if wanted is None:
        return [device for device in among if device.default][:1] or list(among)
    if isinstance(wanted, int) or re.fullmatch("[0-9]{1,9}", wanted):
        return [device for device in among if device.number == int(wanted)]
    exact = [device for device in among if device.name.casefold() == wanted.casefold()]
    return once(exact or [device for device in among if wanted.casefold() in device.name.casefold()], platform)


def once(found: Sequence[Device], platform: str) -> list[Device]:
    """Each microphone once: Windows has it under each of its interfaces, PortAudio's default one first. Elsewhere two of
    one name are two."""
    if platform != "win32":
        return list(found)
    first: dict[str, Device] = {}
    for device in found:
        first.setdefault(device.name[:CUT], device)
    return list(first.values())


def no_microphone(wanted: str | int | None, among: Sequence[Device], platform: str) -> AffectError:
    """None is meant, or there is none at all."""
    cure = f"{LIST}; without a microphone: --mic none"
    if among:
        return AffectError(f"there is no microphone {wanted}{only(among)}", cure, "no_microphone")
    return AffectError("there is no microphone", f"plug one in; {allowed(platform)}; {cure}", "no_microphone")


def allowed(platform: str) -> str:
    """What else keeps every microphone away: the privacy page, or on Linux the sound server."""
    return privacy("microphone", platform) or "pactl info tells whether PulseAudio or PipeWire runs"


DEVICE_GONE, DEVICE_BUSY, NO_SUCH_COMBINATION = -9996, -9985, -9993
NOT_GIVEN = {-9998: "as many channels", -9997: "this sample rate", -9994: "samples of this kind"}
"""PortAudio's error codes; the last of the first line is ALSA's whenever it can't open a device that is not busy."""


def microphone_trouble(error: Exception, device: Device, platform: str = sys.platform) -> AffectError:
    """What a PortAudioError, or sounddevice's ValueError for a name that is gone, means: `microphone_busy`,
    `no_microphone`, `microphone_form` (its rate or channels) or `microphone_refused`, with its cure."""
    number, who = error.args[1] if len(error.args) > 1 else None, f"microphone {device.name}"
    if number == DEVICE_BUSY:
        server = ", or take it from the sound server: --mic default" if platform.startswith("linux") else ""
        return AffectError(f"{who} is used by another program", f"close that{server}", "microphone_busy")
    if number == DEVICE_GONE or isinstance(error, ValueError) or said(error).startswith("Error querying device"):
        return AffectError(f"{who} is not there", f"plug it in, or take another: {LIST}", "no_microphone")
    if number in NOT_GIVEN:
        words = f"{who} does not give {NOT_GIVEN[number]}, though it says so ({device.detail})"
        return AffectError(words, f"take another: {LIST}", "microphone_form")
    why = "nothing answers" if number == NO_SUCH_COMBINATION else said(error)
    return AffectError(f"{who} can't be opened: {why}", f"{allowed(platform)}; {LIST}", "microphone_refused")


def said(error: Exception) -> str:
    """PortAudio's words, and the system's own where there are some: (words, code, (interface, code, words))."""
    words = str(error.args[0]) if error.args else type(error).__name__
    system = error.args[2][2] if len(error.args) > 2 else ""
    return f"{words}: {system}" if system else words


# ---------------------------------------------------------------------- pictures


def to_rgb(picture: np.ndarray | None) -> np.ndarray | None:
    """A camera's picture as contiguous uint8 [H, W, 3] RGB; None for none, an empty or an unknown one.

    Takes uint8 or uint16 BGR [H, W, 3], BGRA [H, W, 4], grey [H, W] or [H, W, 1], and uint8 YUYV [H, W, 2], W even.
    """
    if picture is None or picture.ndim not in (2, 3) or picture.size == 0 or picture.dtype not in (np.uint8, np.uint16):
        return None
    cv2 = opencv()
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if picture.dtype == np.uint8 and picture.shape[1] % 2 == 0:
        codes[2] = cv2.COLOR_YUV2RGB_YUYV
    if channels not in codes:
        return None
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    return cv2.cvtColor(np.ascontiguousarray(picture), codes[channels])
