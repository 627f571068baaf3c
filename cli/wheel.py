"""Builds llama-cpp-python once and keeps the wheel: `python -m cli.wheel constraints.txt [--cuda]`.

The package comes as source only. This asks for the compiler in words before minutes are spent, sets the build flags,
says how far it is, and keeps the wheel in the user's cache by version, Python, platform, CPU and flags, so that a
second clone takes it from there. Needs the standard library alone: the Makefile runs it in an empty environment.
The wheel's path is all that goes to stdout.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from cli.errors import run_app
from models.errors import AffectError
from runtime.cache import WHEELS, cache_error, cache_folder

PACKAGE = "llama-cpp-python"
FLAGS = (
    "-DLLAVA_BUILD=OFF",
    "-DLLAMA_OPENSSL=OFF",
)  # picture models and TLS: 53 of 193 steps that we never call
CUDA_FLAGS = ("-DGGML_CUDA=ON",)
SECONDS_BETWEEN = 20
PROBE = "#include <cstdint>\n#include <stdio.h>\n#include <thread>\n#include <vector>\nint main() { return 0; }\n"
INSTALL = {
    "linux": "install a C++ compiler, on Debian and Ubuntu: apt-get install build-essential",
    "darwin": "xcode-select --install",
    "win32": "install the Visual Studio Build Tools with the C++ workload",
}


@dataclass(frozen=True)
class Build:
    """One build of the package: what makes its wheel different from another."""

    version: str
    cuda: bool = False
    extra_flags: str = ""  # the user's own CMAKE_ARGS

    @property
    def flags(self) -> str:
        """The CMAKE_ARGS of this build."""
        return " ".join([*FLAGS, *(CUDA_FLAGS if self.cuda else ()), *shlex.split(self.extra_flags)])

    @property
    def folder(self) -> str:
        """Where the cache keeps the wheel: the compiler tunes for this very CPU, so it is part of the key."""
        machine = [cpu(), *([card()] if self.cuda else [])]
        parts = (self.version, sys.implementation.cache_tag, sysconfig.get_platform(), *machine, self.flags)
        key = hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]
        return f"{WHEELS}/{PACKAGE}-{self.version}-{key}"


@dataclass
class Progress:
    """How far a build is, read from the lines that it prints (ninja says `[n/m]` before each step)."""

    done: int = 0
    steps: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=4000))

    def read(self, lines: Iterable[str]) -> None:
        """Takes the lines as they come."""
        for line in lines:
            self.tail.append(line.rstrip())
            step = re.match(r"\s*\[(\d+)/(\d+)\]", line)
            if step:
                self.done, self.steps = int(step[1]), int(step[2])

    def words(self, seconds: float) -> str:
        """One line for the user; the time left is an estimate after the first tenth."""
        spent = f"{seconds / 60:.1f} min"
        if not self.steps:
            return f"Compiling {PACKAGE}: fetching and configuring, {spent}"
        line = f"Compiling {PACKAGE}: step {self.done} of {self.steps}, {spent}"
        if self.done < self.steps / 10:
            return line
        return f"{line}, about {max(seconds * (self.steps / self.done - 1) / 60, 0.1):.1f} min left"


def cpu() -> str:
    """The CPU's instruction sets, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", info.read_text(errors="replace"), re.MULTILINE)
        if found:
            return " ".join(sorted(found[1].split()))
    return f"{platform.machine()} {platform.processor()}"


def card() -> str:
    """The NVIDIA cards' compute capabilities: CMake compiles for these alone."""
    tool = shutil.which("nvidia-smi")
    command = [tool or "", "--query-gpu=compute_cap", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() if tool else ""


def pinned_version(constraints: Path) -> str:
    """The version that the constraints file names."""
    found = re.search(rf"^{PACKAGE}==(\S+)", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise AffectError(f"{constraints} does not pin {PACKAGE}", "", "bad_constraints")
    return found[1]


def compiler(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The C++ compiler's command. Raises AffectError `no_compiler` with the line that installs one."""
    given = shlex.split(environ.get("CXX", ""))
    for command in [given] if given else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(command[0], path=environ.get("PATH")):
            return command
    what = f"the C++ compiler {given[0]} (from CXX) is not there" if given else "no C++ compiler was found"
    raise AffectError(what, INSTALL.get(sys.platform, INSTALL["linux"]), "no_compiler")


def check_compiler(command: list[str]) -> None:
    """Compiles ten words. Raises AffectError `no_headers` or `bad_compiler` with what the compiler said."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text(PROBE, encoding="utf-8")
        target = str(source.with_suffix(".out"))
        done = subprocess.run(
            [*command, "-std=c++17", str(source), "-o", target],
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode == 0:
        return
    cure = INSTALL.get(sys.platform, INSTALL["linux"])
    header = re.search(r"fatal error: '?([\w./+-]+)'?:? (?:No such file|file not found)", done.stderr)
    if header:
        raise AffectError(f"the compiler's header {header[1]} is missing", cure, "no_headers")
    said = next((line for line in done.stderr.splitlines() if "error" in line), f"exit code {done.returncode}")
    raise AffectError(f"{command[0]} cannot compile a small program: {said.strip()}", cure, "bad_compiler")


def check_cuda(environ: Mapping[str, str] = os.environ) -> None:
    """Looks for nvcc where CMake does. Raises AffectError `no_nvcc`."""
    usual = Path("/usr/local/cuda/bin/nvcc")
    if environ.get("CUDACXX") or shutil.which("nvcc", path=environ.get("PATH")) or usual.is_file():
        return
    cure = "install the CUDA toolkit, or name its nvcc: CUDACXX=/path/to/nvcc make cuda"
    raise AffectError("no CUDA compiler (nvcc) was found", cure, "no_nvcc")


def failure(tail: Iterable[str], log: Path) -> AffectError:
    """The one line of a long build log that matters, with its cure."""
    lines = list(tail)
    text = "\n".join(lines)
    if re.search(r"Killed|out of memory|cannot allocate memory", text, re.IGNORECASE):
        cure = f"CMAKE_BUILD_PARALLEL_LEVEL=1 make demo compiles one file at a time; the whole log: {log}"
        return AffectError("the compiler ran out of memory", cure, "build_failed")
    if "No space left on device" in text:
        return AffectError("the disk is full", "TMPDIR=/another/disk make demo", "disk_full")
    if re.search(r"No matching distribution|Could not fetch URL|Failed to establish a new connection", text):
        cure = f"check the network and pip's settings; the whole log: {log}"
        return AffectError(f"{PACKAGE} could not be downloaded", cure, "no_download")
    return AffectError(f"{PACKAGE} did not compile: {error_words(lines)}", f"the whole log: {log}", "build_failed")


def error_words(lines: list[str]) -> str:
    """The first error of a log; CMake says what it is on the line after."""
    for at, line in enumerate(lines):
        if "CMake Error" in line:
            return " ".join(part.strip() for part in lines[at : at + 2])
        if re.search(r"\berror\b.*:", line, re.IGNORECASE):
            return line.strip()
    return "no line of it says why"


def pip_command(version: str, folder: Path) -> list[str]:
    """The build through pip; its own cache is left out, because that knows nothing of build flags."""
    options = ["--no-deps", "--no-cache-dir", "--no-binary", PACKAGE, "--verbose", "--progress-bar", "off"]
    return [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        *options,
        "--wheel-dir",
        str(folder),
        f"{PACKAGE}=={version}",
    ]


def watch(
    command: list[str], environ: Mapping[str, str], say: Callable[[str], None], every: float = SECONDS_BETWEEN
) -> tuple[int, Progress]:
    """Runs the build; says every `every` seconds how far it is. Gives the exit code and the log."""
    began, progress = time.monotonic(), Progress()
    process = subprocess.Popen(
        command,
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    reader = Thread(target=progress.read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(every)
            if reader.is_alive():
                say(progress.words(time.monotonic() - began))
        return process.wait(), progress
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def build_wheel(build: Build, say: Callable[[str], None]) -> Path:
    """Compiles the wheel into the cache. Raises AffectError `build_failed` (and its kin) with the log's path."""
    cache = cache_folder()
    (cache / WHEELS).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=cache / WHEELS) as folder:
        environ = {**os.environ, "CMAKE_ARGS": build.flags, "PYTHONUNBUFFERED": "1"}
        code, progress = watch(pip_command(build.version, Path(folder)), environ, say)
        if code:
            log = cache / WHEELS / "last-build.log"
            log.write_text("\n".join(progress.tail), encoding="utf-8")
            raise failure(progress.tail, log)
        return keep(Path(folder), cache / build.folder)


def keep(made: Path, folder: Path) -> Path:
    """Puts the wheel in its place at once; another process may have been first with the same one."""
    wheel = next(made.glob("*.whl"))
    folder.mkdir(exist_ok=True)
    return wheel.replace(folder / wheel.name)


def kept_wheel(build: Build) -> Path | None:
    """The wheel of an earlier build."""
    return next(iter(sorted((cache_folder() / build.folder).glob("*.whl"))), None)


def find_or_build(build: Build, say: Callable[[str], None]) -> Path:
    """The wheel, compiled now if it never was on this machine."""
    kept = kept_wheel(build)
    if kept:
        say(f"{PACKAGE} {build.version}: compiled before, taken from {kept.parent}")
        return kept
    check_compiler(compiler())
    if build.cuda:
        check_cuda()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    usual = "a quarter of an hour on eight cores" if build.cuda else "8 minutes on two cores"
    say(f"{PACKAGE} {build.version} comes as source: compiling it once, about {usual} ({cores} here).")
    try:
        return build_wheel(build, say)
    except OSError as error:
        raise cache_error(error, cache_folder() / build.folder) from error


def say_on_stderr(line: str) -> None:
    """Progress goes to stderr: stdout has the wheel's path alone."""
    print(line, file=sys.stderr, flush=True)


def run() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cli.wheel", description="Build llama-cpp-python once, keep it.")
    parser.add_argument("constraints", type=Path, help="file that pins the version")
    parser.add_argument("--cuda", action="store_true", help="for NVIDIA cards")
    options = parser.parse_args()
    build = Build(pinned_version(options.constraints), options.cuda, os.environ.get("CMAKE_ARGS", ""))
    print(find_or_build(build, say_on_stderr))


def main() -> None:
    """Entry point of `python -m cli.wheel`."""
    run_app(run, "make")


if __name__ == "__main__":
    main()
