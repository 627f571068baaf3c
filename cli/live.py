"""`affect live`: camera and microphone, read as it happens. Parses, starts a session, shows what it says; data on stdout."""

from __future__ import annotations

import json
import math
import os
import queue
import re
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import consent
from cli.errors import missing_module, say, visible
from models.errors import AffectError
from runtime.cache import discard_all

if TYPE_CHECKING:
    from runtime.live import Session, Wish

FORMATS = ("view", "jsonl", "text")
STUCK = 10.0  # seconds that a call which can't be interrupted takes at most, on a slow machine
SOURCE_HELP = "a file played as one in real time, or none."


def live(
    camera: Annotated[
        str, typer.Option("--camera", help=f"A camera by its number, {SOURCE_HELP}", metavar="N|PATH|none")
    ] = "0",
    microphone: Annotated[
        str,
        typer.Option(
            "--mic",
            help=f"A microphone by name or number, {SOURCE_HELP} The system's own without.",
            metavar="NAME|N|PATH|none",
        ),
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="List cameras and microphones, and end.")] = False,
    window: Annotated[
        float | None, typer.Option("--window", min=2, max=60, help="Seconds a reading looks back at most; 10 without.")
    ] = None,
    every: Annotated[
        str,
        typer.Option(
            "--every",
            metavar="S|auto",
            help="Read every S seconds (0.5 to 3600); auto: after speech and changes of face.",
        ),
    ] = "auto",
    form: Annotated[str, typer.Option("--format", help="view, jsonl (a record a reading) or text.")] = "view",
    folder: Annotated[
        str | None,
        typer.Option("-o", "--out", metavar="DIR", help="Folder for readings.jsonl, recordings, snapshots."),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Record picture and sound, too (with -o).")] = False,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="End after so many seconds.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Play files again and again.")] = False,
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle, by name or folder.")] = "nano",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=256, help="Threads; all cores without.")
    ] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="Choose among these labels alone: a,b,c.")] = None,
    asr_model: Annotated[
        Path | None, typer.Option("--asr-model", help="Folder of another Whisper model for CTranslate2.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", help="Language of the words, like en.")] = None,
    no_transcript: Annotated[bool, typer.Option("--no-transcript", help="Leave the words out.")] = False,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Show the picture as a mirror does; cameras are.")
    ] = None,
    smooth: Annotated[
        float, typer.Option("--smooth", min=0, max=1, help="Share of earlier readings in the labels on the screen.")
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to what is asked before the first run.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take that consent back, and end.")] = False,
) -> None:
    """Read camera and microphone as it happens, on this machine alone."""
    if revoke:
        print("consent taken back" if consent.revoke() else "no consent was given", file=sys.stderr)
        return
    if list_:
        list_devices(form == "jsonl")
        return
    check_usage(form, camera, microphone, folder, record, device)
    if not yes:
        consent.ask()
    wish = wish_for(
        camera=source_of(camera),
        microphone=None if microphone == "none" else microphone,
        window=window,
        every=seconds_of(every),
        loop=loop,
        seconds=seconds,
        folder=None if folder is None else Path(folder),
        record=record,
        bundle=bundle,
        device=device,
        threads=threads,
        labels=None if labels is None else labels.split(","),
        transcript=not no_transcript,
        language=language,
        asr_model=asr_model,
    )
    run(wish, form, mirror, smooth)


def wish_for(**options: Any) -> Wish:
    """The options as a Wish; what was not given has its one default there."""
    try:
        from runtime.live import Wish
    except ModuleNotFoundError as error:
        raise missing_module(error) from error

    if options["window"] is None:
        del options["window"]
    return Wish(**options)


def check_usage(form: str, camera: str, microphone: str, folder: str | None, record: bool, device: str) -> None:
    """Wrong usage ends with exit code 2 before anything is opened."""
    if form not in FORMATS:
        raise typer.BadParameter(f"{visible(form)} is none of {', '.join(FORMATS)}", param_hint="--format")
    if camera == "none" and microphone == "none":
        raise typer.BadParameter("without a camera and without a microphone there is nothing to read")
    if "-" in (camera, microphone):
        raise typer.BadParameter("standard input can't be played in real time: give a file")
    if folder == "":
        raise typer.BadParameter("give a folder", param_hint="-o")
    if record and folder is None:
        raise typer.BadParameter("--record needs a folder: -o DIR", param_hint="--record")
    if device not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"{visible(device)} is none of auto, cpu, cuda", param_hint="--device")


def source_of(camera: str) -> int | str | None:
    """A camera's number, a file's path, or None."""
    if camera == "none":
        return None
    return int(camera) if re.fullmatch(r"\d{1,4}", camera) else camera


def seconds_of(every: str) -> float | None:
    """Seconds, None for `auto`."""
    if every == "auto":
        return None
    try:
        found = float(every)
    except ValueError:
        found = math.nan
    if not 0.5 <= found <= 3600:
        raise typer.BadParameter(f"{visible(every)} is neither auto nor seconds from 0.5 to 3600", param_hint="--every")
    return found


# ---------------------------------------------------------------------- running


def run(wish: Wish, form: str, mirror: bool | None, smooth: float) -> None:
    """A session from its beginning to its end."""
    from runtime.live import Session

    events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    threading.excepthook = lambda defect: events.put(("failed", defect.exc_value))
    session = Session(wish, lambda kind, payload: events.put((kind, payload)))
    show = shown_as(form, session, mirror, smooth)
    quits = quit_signals(events)
    code = None
    try:
        with show:
            session.start()
            code = attend(session, events, show, wish.seconds)
    finally:
        if code is None:  # an error: what computes is waited for, or the interpreter's end would abort
            session.stop(STUCK)
    leave(session, show, code, quits)


def attend(session: Session, events: Any, show: Any, seconds: float | None) -> int:
    """Hands the session's events to what shows them, until the end; gives the exit code."""
    until = math.inf if seconds is None else time.monotonic() + seconds
    while True:
        kind, payload = show.wait(events)
        if kind == "failed":
            raise missing_module(payload) if isinstance(payload, ModuleNotFoundError) else payload
        if kind in ("over", "quit"):
            return 0 if payload is None else 128 + int(payload)
        if kind:
            show.event(kind, payload)
        session.check()
        if time.monotonic() >= until:
            until = math.inf
            session.finish()


def quit_signals(events: Any) -> dict[int, Any]:
    """SIGINT, SIGTERM and SIGHUP end the session in order; gives the handlers that stood there."""
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [int(getattr(signal, name)) for name in names]
    return {number: signal.signal(number, lambda n, _: events.put(("quit", n))) for number in numbers}


def leave(session: Session, show: Any, code: int, quits: dict[int, Any]) -> None:
    """Ends the session; a thread in a call that can't be interrupted does not hold the program up. What failed on the way, as a
    disk that was full, is said where it was on a screen, and is the exit code."""
    in_time = session.stop()
    for number, handler in quits.items():
        signal.signal(number, handler)
    if session.failure is not None and code == 0:
        code = 1
        if not isinstance(show, Plain):
            say("affect", session.failure)
    if not in_time:
        sys.stdout.flush()
        discard_all()
        os._exit(code)
    if code:
        raise typer.Exit(code)


def shown_as(form: str, session: Session, mirror: bool | None, smooth: float) -> Any:
    """What shows the session: a screen, records, or lines where there is no terminal for a screen."""
    from cli.terminal import is_capable

    if form == "jsonl":
        return Records()
    if form == "text" or not is_capable(sys.stdin, sys.stdout):
        return Lines()
    from cli.watch import View

    return View(session, session.camera_device is not None if mirror is None else mirror, smooth)


class Plain:
    """What is common to records and lines: no screen to restore, troubles on stderr."""

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, events: Any) -> tuple[str, Any]:
        """The next event, ("", None) when there is none for a while."""
        try:
            return events.get(timeout=0.2)
        except queue.Empty:
            return "", None

    def event(self, kind: str, payload: Any) -> None:
        """Troubles are said; the rest is up to the format."""
        if kind == "trouble":
            error = payload[1] if isinstance(payload, tuple) else payload
            if error is not None:
                say("affect", error)
            else:
                print(f"affect: {payload[0]}: works again", file=sys.stderr)


class Records(Plain):
    """One line of JSON a reading on stdout, at once, and nothing else there."""

    def event(self, kind: str, payload: Any) -> None:
        """A reading's record."""
        from cli.analyze import out

        super().event(kind, payload)
        if kind == "read":
            out(payload[1])


class Lines(Plain):
    """A few lines of text a reading."""

    def event(self, kind: str, payload: Any) -> None:
        """A reading in words."""
        from cli.analyze import put

        super().event(kind, payload)
        if kind == "read":
            put(told(payload[0]))


def told(reading: Any) -> str:
    """A reading as lines."""
    segment = reading.segments[0]
    named = ", ".join(f"{label.name} {label.score:.0%}" for label in segment.labels if label.named) or "nothing to read"
    unsure = " (unsure)" if segment.status == "unsure" else ""
    lines = [
        f"{clock(segment.start)}-{clock(segment.end)}  {named}{unsure}",
        segment.reason,
        segment.transcript and f'said: "{segment.transcript}"',
    ]
    return "\n  ".join(visible(line) for line in lines if line) + "\n"


def clock(seconds: float) -> str:
    """Minutes and seconds: 1:02.5."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


# ---------------------------------------------------------------------- devices


def list_devices(as_json: bool) -> None:
    """Cameras and microphones, each with whether it can be opened."""
    from runtime.devices import cameras, microphones

    found = cameras()
    try:
        found += microphones()
    except AffectError as error:
        say("affect", error)
    if as_json:
        print("".join(json.dumps(asdict(device)) + "\n" for device in found), end="")
        return
    for device in found:
        default = ", the default" if device.default else ""
        option = "--camera" if device.kind == "camera" else "--mic"
        state = f"can't be opened: {device.trouble} ({device.cure})" if device.trouble else "can be opened"
        print(
            visible(f"{option} {device.number}  {device.name}: {device.detail}{default}; {state}".replace(": ;", ";"))
        )
    for kind in ("camera", "microphone"):
        if not any(device.kind == kind for device in found):
            print(f"no {kind}")
