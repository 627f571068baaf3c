"""`affect analyze`: files in, readings out. Parses, calls the engine, prints; data on stdout, all else on stderr."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from cli.errors import WRONG_USAGE, missing_module, say, visible
from models.container import NAME_SHOWN, check_path, shown
from models.errors import AffectError
from runtime.cache import discard_all

FORMATS = ("text", "json", "jsonl")
FILES_HELP = "Video, sound or picture files; - is standard input; put -- before names that begin with a dash."


@dataclass(frozen=True)
class Wish:
    """What the command line asked for."""

    format: str
    quiet: bool
    verbose: bool
    options: dict[str, Any]


def analyze(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=FILES_HELP)],
    form: Annotated[
        str, typer.Option("--format", help="text, json (a document a file) or jsonl (a record a segment).")
    ] = "text",
    text: Annotated[str | None, typer.Option("--text", help="The words that are said (one FILE).")] = None,
    subtitle: Annotated[
        str | None, typer.Option("--subtitle", help="An .srt or .vtt file with the words (one FILE).")
    ] = None,
    start: Annotated[float | None, typer.Option("--from", min=0, help="Start, in seconds.")] = None,
    end: Annotated[float | None, typer.Option("--to", min=0, help="End, in seconds.")] = None,
    no_video: Annotated[bool, typer.Option("--no-video", help="Leave the picture out.")] = False,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    no_transcript: Annotated[bool, typer.Option("--no-transcript", help="Leave the words out.")] = False,
    asr_model: Annotated[
        Path | None, typer.Option("--asr-model", help="Folder of another Whisper model for CTranslate2.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", help="Language of the words, like en.")] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="Choose among these labels alone: a,b,c.")] = None,
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle, by name or folder.")] = "nano",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=256, help="Threads; all cores without.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Seconds of each stage on stderr.")] = False,
) -> None:
    """Read what the person in each FILE seems to feel, and why."""
    check_usage(files, form, text, subtitle, device)
    check_times(start, end)
    chosen = None if labels is None else labels.split(",")
    options = {
        "text": text,
        "subtitle": subtitle,
        "start": start,
        "end": end,
        "video": not no_video,
        "audio": not no_audio,
        "transcript": not no_transcript,
        "language": language,
        "labels": chosen,
    }
    stop_at_once()
    wish = Wish(form, quiet, verbose, options)
    faults = {name: fault(name) for name in files}
    engine = None
    if not all(faults.values()):  # nothing is loaded for a mistyped name
        engine = engine_for(files, wish, lambda: load_engine(bundle, device, threads, asr_model, chosen, quiet))
    failed = [name for name in files if not one_file(engine, name, wish, faults[name])]
    if failed:
        if len(files) > 1:
            print(
                f"affect: {len(failed)} of {len(files)} files failed: {', '.join(map(visible, failed))}",
                file=sys.stderr,
            )
        raise typer.Exit(1)


def check_usage(
    files: list[str],
    form: str,
    text: str | None,
    subtitle: str | None,
    device: str,
) -> None:
    """Wrong usage ends with exit code 2 before anything is loaded."""
    if form not in FORMATS:
        raise typer.BadParameter(f"{visible(form)} is none of {', '.join(FORMATS)}", param_hint="--format")
    if text is not None and subtitle is not None:
        raise typer.BadParameter("give --text or --subtitle, not both")
    if (text is not None or subtitle is not None) and len(files) > 1:
        raise typer.BadParameter("--text and --subtitle go with one FILE")
    if files.count("-") > 1:
        raise typer.BadParameter("standard input (-) can be read once")
    if device not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"{visible(device)} is none of auto, cpu, cuda", param_hint="--device")


def check_times(start: float | None, end: float | None) -> None:
    """Seconds are numbers, and in order."""
    if not all(math.isfinite(time) for time in (start or 0.0, end or 0.0)):
        raise typer.BadParameter("--from and --to are seconds, like 2.5")
    if start is not None and end is not None and end <= start:
        raise typer.BadParameter("--to must be after --from")


def stop_at_once() -> None:
    """Ctrl-C ends the process at once, also while a library computes: a thread of its own hears the signal.

    Nothing is lost by that: what is cached is written beside its place and renamed.
    """
    if sys.platform == "win32":  # a signal can wake nothing but a socket there
        signal.signal(signal.SIGINT, lambda *_: leave())
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)
    Thread(target=leave_when_told, args=(heard,), daemon=True).start()


def leave_when_told(heard: int) -> None:
    """Waits for the number of the signal."""
    while number := os.read(heard, 1):
        if number[0] == signal.SIGINT:
            leave()


def leave() -> None:
    """Exit code 130, the cursor shown again, nothing half-written left in the cache."""
    discard_all()
    os.write(2, b"\x1b[?25h\n" if os.isatty(2) else b"\n")
    os._exit(130)


def load_engine(
    bundle: str, device: str, threads: int | None, asr_model: Path | None, labels: list[str] | None, quiet: bool
) -> Any:
    """The engine, with a word about a bundle that was never verified. Raises AffectError."""
    try:
        from runtime.engine import Engine
    except ModuleNotFoundError as error:
        raise missing_module(error) from error

    engine = Engine.load(bundle, device, threads, asr_model)
    engine.wanted(labels)
    if not engine.bundle.verified and not quiet:
        print(f"affect: the bundle {visible(engine.bundle.name)} was never verified", file=sys.stderr)
    return engine


def fault(name: str) -> AffectError | None:
    """Why a file can't be opened, as far as its name tells."""
    try:
        check_path(name)
    except AffectError as error:
        return error
    return None


def engine_for(files: list[str], wish: Wish, load: Callable[[], Any]) -> Any:
    """The loaded engine; where there is none, each file gets its failure in the format that was asked for."""
    try:
        return load()
    except AffectError as error:
        if error.code not in WRONG_USAGE:
            for name in files:
                out_failure(name, wish, error)
        raise


def one_file(engine: Any, name: str, wish: Wish, wrong: AffectError | None = None) -> bool:
    """Reads and prints one file; False when it failed, or is known to be `wrong`. Wrong usage is raised."""
    try:
        if wrong is not None:
            raise wrong
        reading = read(engine, name, wish)
    except AffectError as error:
        if error.code in WRONG_USAGE:
            raise
        say("affect" if shown(name)[:NAME_SHOWN] in error.message else f"affect: {visible(name)}", error)
        out_failure(name, wish, error)
        return False
    for document in documents(reading, wish.format):
        out(document)
    if wish.verbose:
        spent = "  ".join(f"{key} {value:.3f}" for key, value in vars(reading.cost).items())
        print(f"affect: {visible(name)}: {spent}", file=sys.stderr)
    return True


def read(engine: Any, name: str, wish: Wish) -> Any:
    """One reading, shown as it forms when a person watches."""
    if wish.format != "text":
        return engine.read(name, **wish.options)
    from rich.console import Console

    from cli.view import panel

    console = Console(highlight=False)
    if not console.is_terminal or wish.quiet:
        reading = engine.read(name, **wish.options)
    else:
        reading = streamed(engine, name, wish, console)
    with console.capture() as shown:
        console.print(panel(reading), markup=False)
    put(shown.get())
    return reading


def watched(wish: Wish) -> bool:
    """Whether somebody looks at stderr and wants to see progress there."""
    return sys.stderr.isatty() and not wish.quiet


def streamed(engine: Any, name: str, wish: Wish, console: Any) -> Any:
    """Labels first, then the words as they are written, in place; they give way to the panel."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from cli.view import labels

    shown: dict[str, Any] = {"labels": Text(f"reading {visible(name)} ..."), "words": ""}

    with Live(console=console, transient=True, refresh_per_second=12) as live:

        def event(kind: str, payload: Any) -> None:
            if kind == "labels":
                shown["labels"] = labels(tuple(payload))
            elif kind == "words":
                shown["words"] += payload
            live.update(Group(shown["labels"], Text(), Text(visible(shown["words"]))))

        live.update(shown["labels"])
        return engine.read(name, **wish.options, on_event=event)


def out_failure(name: str, wish: Wish, error: AffectError) -> None:
    """What a program gets for a file that failed."""
    if wish.format != "text":
        out({"source": name, "error": {"code": error.code, "message": error.message, "cure": error.cure}})


def documents(reading: Any, form: str) -> Iterator[dict[str, Any]]:
    """What a format prints as JSON."""
    if form == "json":
        yield reading.document()
    elif form == "jsonl":
        yield from reading.records()


def out(document: dict[str, Any]) -> None:
    """One line of JSON on stdout."""
    put(json.dumps(document, ensure_ascii=True, allow_nan=False) + "\n")


def put(text: str) -> None:
    """Text on stdout, flushed; a reader that has gone ends the program quietly."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
