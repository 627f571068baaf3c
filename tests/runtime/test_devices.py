"""What there is of cameras and microphones is listed, what can't be used is told with its cure, and nothing is printed."""

from __future__ import annotations

import ctypes
import errno
import importlib.abc
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from models.errors import AffectError
from runtime import devices as room
from runtime.devices import (
    Device,
    System,
    camera_trouble,
    cameras,
    find_camera,
    find_microphone,
    microphone_trouble,
    microphones,
    opencv,
    portaudio,
    privacy,
    quiet,
    to_rgb,
)

MAC, WINDOWS = System("darwin"), System("win32")
WEIRD = "Cam\x1b[31m\r\tera"


# --- cameras ------------------------------------------------------------------------------------------------------


def add_camera(here: System, number: int, name: str, index: int = 0) -> None:
    """As the kernel shows it, its node with it."""
    folder = here.cameras / f"video{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_bytes(f"{name}\n".encode())
    (folder / "index").write_text(f"{index}\n")
    here.node(number).touch()


def add_process(here: System, number: int, name: str, opened: Path) -> None:
    """One that has a file open."""
    folder = here.processes / str(number) / "fd"
    folder.mkdir(parents=True)
    (folder / "0").symlink_to("/dev/null")
    (folder / "7").symlink_to(opened)
    (folder.parent / "comm").write_text(f"{name}\n")


@pytest.fixture
def linux(tmp_path: Path) -> System:
    """A machine with camera 0, its second node 1, and camera 10 before camera 2 in the alphabet."""
    here = System("linux", tmp_path / "sys", tmp_path / "dev", tmp_path / "proc")
    here.nodes.mkdir()
    here.processes.mkdir()
    add_camera(here, 10, "Other")
    add_camera(here, 2, WEIRD)
    add_camera(here, 0, "HD Webcam: HD Webcam")
    add_camera(here, 1, "HD Webcam: HD Webcam", index=1)
    return here


class FakeCapture:
    """OpenCV's, for the cameras that `there` tells width, height and rate of."""

    there: ClassVar[dict[int, tuple[float, float, float]]] = {}
    open_now = 0

    def __init__(self, number: int) -> None:
        self.sizes = self.there.get(number)
        FakeCapture.open_now += 1

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return self.sizes is not None

    def get(self, what: int) -> float:
        import cv2

        assert self.sizes
        wanted = [cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS]
        return self.sizes[wanted.index(what)]

    def release(self) -> None:
        FakeCapture.open_now -= 1


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeCapture]]:
    """In OpenCV's place; every camera that is opened must be released."""
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "there", {})
    yield FakeCapture
    assert FakeCapture.open_now == 0


def test_linux_lists_nodes_that_give_pictures_by_number(linux: System) -> None:
    """With their names as they are, and without opening any."""
    found = cameras(probe=False, here=linux)
    assert [(device.number, device.name) for device in found] == [
        (0, "HD Webcam: HD Webcam"),
        (2, WEIRD),
        (10, "Other"),
    ]
    assert [device.default for device in found] == [True, False, False]
    assert {(device.kind, device.detail, device.trouble) for device in found} == {("camera", "", "")}


def test_a_probed_camera_tells_its_form_or_its_trouble(linux: System, capture: type[FakeCapture]) -> None:
    capture.there = {0: (640.0, 480.0, 29.97), 10: (0.0, 0.0, 0.0)}
    first, second, third = cameras(here=linux)
    assert first.detail == "640 x 480, 29.97 frames/s" and first.trouble == ""
    assert second.detail == "" and "another program" in second.trouble and second.cure
    assert third.detail == "" and third.trouble == ""


@pytest.mark.parametrize(("rate", "shown"), [(30.0, ", 30 frames/s"), (0.0, ""), (-1.0, ""), (float("nan"), "")])
def test_a_rate_that_a_camera_does_not_know_is_left_out(rate: float, shown: str, capture: type[FakeCapture]) -> None:
    capture.there = {0: (1280.0, 720.0, rate)}
    assert cameras(here=MAC)[0].detail == f"1280 x 720{shown}"


def test_a_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert cameras(here=System("linux", tmp_path / "sys", tmp_path, tmp_path)) == []


def test_nodes_count_where_the_list_is_hidden(tmp_path: Path) -> None:
    here = System("linux", tmp_path / "sys", tmp_path, tmp_path)
    for name in ("video3", "video", "videoX", "null"):
        (tmp_path / name).touch()
    assert cameras(probe=False, here=here) == [Device("camera", 3, "camera")]
    assert find_camera(3, here).name == "camera"


@pytest.mark.parametrize("probe", [True, False])
@pytest.mark.parametrize("here", [MAC, WINDOWS])
def test_elsewhere_a_camera_is_what_opens(here: System, probe: bool, capture: type[FakeCapture]) -> None:
    """Also behind one that does not: it may be in use, or a virtual one that is off."""
    capture.there = {1: (640.0, 480.0, 30.0), 3: (640.0, 480.0, 15.0)}
    assert [device.number for device in cameras(probe, here)] == [1, 3]


@pytest.mark.parametrize("here", [MAC, WINDOWS])
def test_where_none_opens_camera_0_tells_what_to_do(here: System, capture: type[FakeCapture]) -> None:
    (only,) = cameras(here=here)
    assert only.number == 0 and "this one may not" in only.trouble and privacy("camera", here.platform) in only.cure


def test_find_camera_opens_nothing(linux: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("cv2.VideoCapture")
    assert find_camera(2, linux) == Device("camera", 2, WEIRD)
    assert find_camera(7, WINDOWS) == Device("camera", 7, "camera")
    with pytest.raises(AffectError, match="no camera 7") as caught:
        find_camera(7, linux)
    assert caught.value.code == "no_camera" and "affect live --list" in caught.value.cure
    assert "0 (HD Webcam: HD Webcam)" in caught.value.message and "10 (Other)" in caught.value.message


def test_a_camera_that_is_not_there(linux: System, tmp_path: Path) -> None:
    gone = camera_trouble(7, linux)
    assert gone.code == "no_camera" and "only 0 (HD Webcam" in gone.message
    none = camera_trouble(0, System("linux", tmp_path, tmp_path, tmp_path))
    assert (none.code, none.message) == ("no_camera", "there is no camera") and "plug one in" in none.cure


def test_a_cameras_second_node_is_none(linux: System) -> None:
    assert camera_trouble(1, linux).code == "no_camera" and "part of another" in camera_trouble(1, linux).message


def test_a_camera_that_this_user_may_not_open(linux: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != linux.node(0))
    refused = camera_trouble(0, linux)
    assert refused.code == "camera_refused" and "HD Webcam" in refused.message
    assert "sudo usermod -aG video $USER" in refused.cure and str(linux.node(0)) in refused.cure
    assert camera_trouble(2, linux).code == "camera_busy"


def test_a_camera_that_a_container_does_not_have(linux: System) -> None:
    linux.node(0).unlink()
    refused = camera_trouble(0, linux)
    assert refused.code == "camera_refused" and f"--device {linux.node(0)}" in refused.cure


def test_a_busy_cameras_holders_are_named(linux: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that may be seen, and not this very process, nor one that ends meanwhile."""
    add_process(linux, 4242, "firefox", linux.node(0))
    add_process(linux, 812, "zoom", linux.node(0))
    add_process(linux, 813, "other", linux.node(2))
    add_process(linux, os.getpid(), "python", linux.node(0))
    (linux.processes / "900").mkdir()
    (linux.processes / "self").mkdir()
    busy = camera_trouble(0, linux)
    assert busy.code == "camera_busy" and busy.cure
    assert busy.message.endswith("is used by zoom (812), firefox (4242)")

    def hidden(path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", hidden)
    unseen = camera_trouble(0, linux)
    assert unseen.code == "camera_busy" and "may be using it" in unseen.message


@pytest.mark.parametrize(("number", "code"), [(0, "camera_refused"), (1, "no_camera")])
def test_elsewhere_all_that_may_be_wrong_is_told(number: int, code: str) -> None:
    for here, page in ((MAC, "System Settings > Privacy & Security > Camera"), (WINDOWS, "desktop apps")):
        trouble = camera_trouble(number, here)
        assert trouble.code == code and page in trouble.cure and "affect live --list" in trouble.cure
    assert camera_trouble(number, System("freebsd14")).cure == "affect live --list; close what uses it"


# --- microphones --------------------------------------------------------------------------------------------------


class FakeAudioError(Exception):
    """Stands for sounddevice.PortAudioError: words, PortAudio's code, (interface, code, words)."""


class FakeAudio:
    """The module sounddevice, with microphones by name, and speakers."""

    PortAudioError = FakeAudioError

    def __init__(self, names: Sequence[str], default: int = -1, defaults: Sequence[int] = ()) -> None:
        self.names, self.defaults = names, defaults
        self.default = type("Default", (), {"device": [default, -1]})
        self.failing: dict[int, Exception] = {}
        self.asked: list[dict[str, Any]] = []

    def query_devices(self, number: int | None = None) -> Any:
        found = [
            {"name": name, "max_input_channels": 0 if "speaker" in name else 32, "default_samplerate": 44100.0}
            for name in self.names
        ]
        return found if number is None else found[number]

    def query_hostapis(self) -> list[dict[str, int]]:
        return [{"default_input_device": number} for number in self.defaults]

    def check_input_settings(self, **settings: Any) -> None:
        self.asked.append(settings)
        if settings["device"] in self.failing:
            raise self.failing[settings["device"]]


@pytest.fixture
def audio(monkeypatch: pytest.MonkeyPatch) -> FakeAudio:
    """In sounddevice's place."""
    fake = FakeAudio(["speakers", "USB Audio: front", "usb audio: BACK", "Mic\x1b[2J", "USB"], default=3)
    monkeypatch.setattr(room, "portaudio", lambda: fake)
    return fake


def test_microphones_are_listed_without_speakers(audio: FakeAudio) -> None:
    """With their names as they are; each is asked for what it says that it gives, two channels at most."""
    found = microphones()
    assert [device.number for device in found] == [1, 2, 3, 4] and found[2].name == "Mic\x1b[2J"
    assert [device.default for device in found] == [False, False, True, False]
    assert {(device.kind, device.detail) for device in found} == {("microphone", "44100 Hz, 32 channels")}
    assert audio.asked[0] == {"device": 1, "channels": 2, "dtype": "float32", "samplerate": 44100.0}


def test_a_microphone_that_does_not_open_tells_why(audio: FakeAudio) -> None:
    audio.failing = {1: FakeAudioError("Device unavailable", -9985), 2: ValueError("No input device matching 2")}
    first, second, third, _ = microphones()
    assert "another program" in first.trouble and first.cure and "not there" in second.trouble and not third.trouble
    audio.asked.clear()
    assert [device.trouble for device in microphones(probe=False)] == [""] * 4 and audio.asked == []


@pytest.mark.parametrize(("default", "defaults", "chosen"), [(1, (2,), 1), (-1, (-1, 2), 2)])
def test_the_default_is_portaudios_or_a_host_interfaces(
    default: int, defaults: tuple[int, ...], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "portaudio", lambda: FakeAudio(["a", "b", "c"], default, defaults))
    assert find_microphone(None).number == chosen


def test_without_a_default_the_only_one_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "portaudio", lambda: FakeAudio(["speaker", "only"], -1, (-1,)))
    assert find_microphone(None).name == "only"
    monkeypatch.setattr(room, "portaudio", lambda: FakeAudio(["a", "b"]))
    with pytest.raises(AffectError, match=r"0 \(a\), 1 \(b\)") as caught:
        find_microphone(None)
    assert caught.value.code == "which_microphone"


@pytest.mark.parametrize(
    ("wanted", "number"), [(2, 2), ("2", 2), ("usb", 4), ("USB AUDIO: back", 2), ("front", 1), ("mic", 3)]
)
def test_a_microphone_is_found_by_number_name_or_part_of_it(wanted: str | int, number: int, audio: FakeAudio) -> None:
    assert find_microphone(wanted).number == number


def test_a_part_of_several_names_is_none(audio: FakeAudio) -> None:
    with pytest.raises(AffectError, match=r"1 \(USB Audio: front\), 2 \(usb audio: BACK\) \(take") as caught:
        find_microphone("audio", "linux")
    assert caught.value.code == "which_microphone" and "--mic N" in caught.value.cure


@pytest.mark.parametrize("wanted", ["nothing", 0, "0", 99, -1, "9" * 5000, "²"])
def test_a_microphone_that_is_not_there(wanted: str | int, audio: FakeAudio) -> None:
    """A speaker is none; digits beyond any number are a name."""
    with pytest.raises(AffectError, match=r"only 1 \(USB Audio: front\)") as caught:
        find_microphone(wanted)
    assert caught.value.code == "no_microphone" and "affect live --list" in caught.value.cure


@pytest.mark.parametrize(
    ("platform", "cure"),
    [("linux", "pactl info"), ("darwin", "Privacy & Security > Microphone"), ("win32", "desktop apps")],
)
def test_without_any_microphone(platform: str, cure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "portaudio", lambda: FakeAudio([]))
    with pytest.raises(AffectError, match=r"^there is no microphone \(") as caught:
        find_microphone(None, platform)
    assert caught.value.code == "no_microphone" and cure in caught.value.cure


def test_windows_interfaces_show_one_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, whose name is cut; elsewhere two of one name are two."""
    full = "Microphone (Realtek High Definition Audio)"
    monkeypatch.setattr(room, "portaudio", lambda: FakeAudio([full[:31], full, full, "Array"]))
    assert find_microphone("realtek", "win32").number == 0
    assert find_microphone(full, "win32").number == 1
    with pytest.raises(AffectError):
        find_microphone(full, "linux")


MICROPHONE = Device("microphone", 1, "Mic", "48000 Hz, 2 channels")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FakeAudioError("Device unavailable", -9985), "microphone_busy"),
        (FakeAudioError("Invalid device", -9996), "no_microphone"),
        (FakeAudioError("Error querying device 5"), "no_microphone"),
        (ValueError("No input device matching 'Mic'"), "no_microphone"),
        (FakeAudioError("Invalid sample rate", -9997), "microphone_form"),
        (FakeAudioError("Invalid number of channels", -9998), "microphone_form"),
        (FakeAudioError("Illegal combination of I/O devices", -9993), "microphone_refused"),
        (FakeAudioError("Unanticipated host error", -9999, (0, 5, "denied")), "microphone_refused"),
        (FakeAudioError(), "microphone_refused"),
    ],
)
@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_every_trouble_of_a_microphone_has_words_and_a_cure(error: Exception, code: str, platform: str) -> None:
    trouble = microphone_trouble(error, MICROPHONE, platform)
    assert trouble.code == code and "Mic" in trouble.message and trouble.cure


def test_a_refused_microphone_tells_where_it_is_allowed() -> None:
    error = FakeAudioError("Unanticipated host error", -9999, (0, -2147024891, "Access is denied."))
    windows = microphone_trouble(error, MICROPHONE, "win32")
    assert "Access is denied." in windows.message and "Privacy & security > Microphone" in windows.cure
    mac = microphone_trouble(error, MICROPHONE, "darwin")
    assert "System Settings > Privacy & Security > Microphone" in mac.cure
    assert "pactl info" in microphone_trouble(error, MICROPHONE, "linux").cure


# --- PortAudio ----------------------------------------------------------------------------------------------------


def test_without_sounddevice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AffectError) as caught:
        microphones()
    assert (caught.value.code, caught.value.cure) == ("not_installed", 'pip install "affectgpt[live]"')


class Failing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds sounddevice, and fails as it does while it is imported."""

    def __init__(self, words: str) -> None:
        self.words = words

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == "sounddevice" else None

    def exec_module(self, module: ModuleType) -> None:
        raise OSError(self.words)


@pytest.mark.parametrize(
    ("words", "told"),
    [("PortAudio library not found", "is not installed"), ("wrong ELF class", "does not load: wrong ELF class")],
)
def test_without_portaudio(words: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Failing(words), *sys.meta_path])
    with pytest.raises(AffectError, match=told) as caught:
        portaudio()
    assert caught.value.code == "no_portaudio"


def test_portaudios_cure_is_the_systems() -> None:
    missing = OSError("PortAudio library not found")
    linux = room.no_portaudio(missing, "linux").cure
    assert "apt-get install libportaudio2" in linux and "dnf install portaudio" in linux
    for platform in ("darwin", "win32"):
        assert room.no_portaudio(missing, platform).cure == "pip install --force-reinstall sounddevice"


# --- silence ------------------------------------------------------------------------------------------------------


def heard() -> list[Device]:
    """This machine's microphones; none where PortAudio is missing."""
    try:
        return microphones()
    except AffectError as error:
        assert error.code in ("no_portaudio", "not_installed")
        return []


def test_this_machines_devices_are_listed_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing on the descriptors, whatever the libraries in C meet."""
    found = [*cameras(), *heard()]
    assert all(isinstance(device, Device) and (device.detail or device.trouble) for device in found)
    assert room.size_and_rate(99) is None
    assert opencv().VideoCapture(99, opencv().CAP_V4L2).isOpened() is False
    assert capfd.readouterr() == ("", "")


def test_alsa_and_portaudio_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """ALSA never; PortAudio not within `quiet`, where it prints an expression for each call that fails."""
    for device in heard():
        with quiet, pytest.raises(portaudio().PortAudioError):
            portaudio().check_input_settings(device=device.number, channels=999)
    if "sounddevice" in sys.modules and sys.platform.startswith("linux"):
        alsa, opened = ctypes.CDLL("libasound.so.2"), ctypes.c_void_p()
        assert alsa.snd_pcm_open(ctypes.byref(opened), b"nonsense", 1, 0) < 0
    assert capfd.readouterr().err == ""


def c_prints(words: bytes) -> None:
    """As a library in C does on its stderr."""
    libc = ctypes.CDLL(None)
    libc.fputs(words, ctypes.c_void_p.in_dll(libc, "stderr"))


def test_quiet_keeps_c_alone_silent_and_gives_it_back(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where it is nested, or ends by an error; Python's stderr and the descriptor go on. Where C's stderr is no
    variable, nothing changes."""
    with pytest.raises(KeyError), quiet:
        with quiet:
            print("from Python", file=sys.stderr, flush=True)
        os.write(2, b"written\n")
        if room.c_stderr():
            c_prints(b"lost\n")
        raise KeyError
    if room.c_stderr():
        c_prints(b"from C\n")
    else:
        os.write(2, b"from C\n")
    assert capfd.readouterr().err == "from Python\nwritten\nfrom C\n"


def test_who_wants_opencvs_log_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setenv("OPENCV_LOG_LEVEL", "WARNING")
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    opencv()
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_WARNING
    monkeypatch.delenv("OPENCV_LOG_LEVEL")
    opencv()
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT
    cv2.utils.logging.setLogLevel(before)


@pytest.mark.needs_sound_server
def test_a_sound_servers_microphone_can_be_opened() -> None:
    """As ALSA's `pulse` or `default`."""
    found = find_microphone(None)
    assert found.default and [device.trouble for device in microphones() if device.number == found.number] == [""]


# --- pictures -----------------------------------------------------------------------------------------------------

BLUE, GREEN, RED = 10, 120, 250


@pytest.mark.parametrize(
    ("pixel", "wide"),
    [((BLUE, GREEN, RED), np.uint8), ((BLUE, GREEN, RED, 7), np.uint8), ((BLUE, GREEN, RED), np.uint16)],
)
def test_colours_come_as_rgb(pixel: tuple[int, ...], wide: type) -> None:
    raw = np.full((3, 5, len(pixel)), pixel, wide) * (256 if wide is np.uint16 else 1)
    rgb = to_rgb(raw.astype(wide))
    assert rgb is not None and rgb.shape == (3, 5, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    assert (rgb == (RED, GREEN, BLUE)).all()


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1)])
@pytest.mark.parametrize(("wide", "value"), [(np.uint8, 77), (np.uint16, 77 * 256 + 200)])
def test_grey_comes_as_rgb(shape: tuple[int, ...], wide: type, value: int) -> None:
    rgb = to_rgb(np.full(shape, value, wide))
    assert rgb is not None and rgb.shape == (3, 5, 3) and rgb.dtype == np.uint8 and (rgb == 77).all()


def test_yuyv_comes_as_rgb() -> None:
    """Two pixels in four bytes: Y, U, Y, V. A red of Y 81, U 90, V 240 beside a darker one."""
    rgb = to_rgb(np.array([[[81, 90], [41, 240]]] * 2, np.uint8))
    assert rgb is not None and rgb.shape == (2, 2, 3) and rgb.flags.c_contiguous
    assert np.abs(rgb[0, 0].astype(int) - (254, 0, 0)).max() <= 2 and rgb[0, 1, 0] < 220


def test_a_view_is_taken_as_well() -> None:
    raw = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    rgb = to_rgb(raw[::-2, ::2])
    assert rgb is not None and rgb.flags.c_contiguous and (rgb == raw[::-2, ::2, ::-1]).all()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((3, 0), np.uint8),
        np.zeros(7, np.uint8),
        np.zeros((1, 3, 5, 3), np.uint8),
        np.zeros((3, 5, 5), np.uint8),
        np.zeros((3, 5, 2), np.uint8),
        np.zeros((3, 4, 2), np.uint16),
        np.zeros((3, 4, 3), np.float32),
        np.zeros((3, 4), bool),
    ],
)
def test_no_picture_and_an_unknown_one_are_none(raw: np.ndarray | None) -> None:
    assert to_rgb(raw) is None
