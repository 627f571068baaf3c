"""`affect bench`: speed on this machine, quality on known items. Parses, calls, prints a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import AffectError

if TYPE_CHECKING:
    from rich.status import Status

    from models.metrics import Counts
    from runtime.quality import Reader
    from runtime.rows import Row

app = typer.Typer(
    help="Measure speed on this machine and quality on known data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def bench() -> None:
    """Measure speed on this machine and quality on known data."""


def show(status: Status, name: str, done: int, of: int) -> None:
    """How far a task is, beside the spinner."""
    status.update(f"{name} {done}/{of}")


@app.command()
def quality(
    rows: Annotated[list[str] | None, typer.Argument(help="rows by name; all without")] = None,
    data: Annotated[Path, typer.Option(help="prepared folder, from `affect-train data`")] = Path("data/nano"),
    out: Annotated[
        Path, typer.Option("-o", "--out", help="folder of what was read; a second run goes on there")
    ] = Path("out/quality"),
    bundle: Annotated[str, typer.Option(help="bundle, by name or folder")] = "nano",
    split: Annotated[str, typer.Option(help="test, or validation to select on")] = "test",
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="items a row, drawn blindly")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="engines side by side; one a core without, 4 at most")] = None,
) -> None:
    """Read known items with the exported bundle; print each figure with its n and its bar."""
    from runtime.crowd import Crowd, crowd_size
    from runtime.engine import Engine
    from runtime.quality import Reader
    from runtime.rows import choose_rows

    chosen = choose_rows(rows or [])
    if not data.is_dir():
        raise AffectError(f"{data} is not there", f"make it with: affect-train data SOURCE -o {data}", "not_found")
    out.mkdir(parents=True, exist_ok=True)
    reader = Reader(Engine.load(bundle), data, out, split, limit)
    with Crowd(bundle, jobs or crowd_size(reader.engine)) as crowd:
        reader.crowd = crowd.segments if crowd.count > 1 else None
        if table_lacks(chosen, reader):
            raise typer.Exit(1)


def table_lacks(rows: Sequence[Row], reader: Reader) -> bool:
    """Prints the table, a row as soon as it is read; whether one could not be."""
    from rich.console import Console

    typer.echo(f"{'row':20}{'n':>6}  {'metric':12}{'value':>6}  {'95 %':15}bar")
    lacking = False
    for row in rows:
        with Console(stderr=True).status(row.name) as status:
            reader.tick = partial(show, status)
            try:
                line = told(row, *row.count(reader))
            except AffectError as error:  # the other rows are read all the same
                lacking, line = True, f"{row.name:20} not read: {error}"
        typer.echo(line)
    return lacking


def told(row: Row, count: int, counts: Counts) -> str:
    """One line of the table."""
    interval = "".join(f"{bound:7.3f}" for bound in counts.interval() or ())
    said = {True: "reached", False: "MISSED", None: ""}[row.reached(counts.value)]
    return f"{row.name:20}{count:>6}  {row.metric:12}{counts.value:>6.3f} {interval:15} {row.bar:10} {said}".rstrip()


@app.command()
def speed(
    example: Annotated[Path, typer.Argument(help="clip of a speaking face, looped to 10 s")] = Path(
        "examples/grid.mp4"
    ),
    bundle: Annotated[str, typer.Option(help="bundle, by name or folder")] = "nano",
    threads: Annotated[int | None, typer.Option(min=1, help="threads")] = None,
    hours: Annotated[bool, typer.Option("--hours/--no-hours", help="also a two-hour file, made first")] = False,
) -> None:
    """Time readings on this machine; medians of 5, with their bars."""
    from rich.console import Console

    from runtime.speed import machine, measure

    typer.echo(machine())
    with Console(stderr=True).status("") as status:
        for row in measure(example, bundle, threads, hours, status.update):
            typer.echo(row.line())


@app.command()
def live(
    example: Annotated[
        Path, typer.Argument(help="clip of a speaking face with pauses, played as camera and microphone")
    ] = Path("examples/grid.mp4"),
    bundle: Annotated[str, typer.Option(help="bundle, by name or folder")] = "nano",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    minutes: Annotated[float, typer.Option(min=0, help="also a run of so many minutes: memory, threads, clock")] = 0.0,
    plot: Annotated[Path | None, typer.Option(help="PNG of the memory in that run")] = None,
) -> None:
    """Watch `affect live` from outside: its preview, its latency, what it leaves behind."""
    from rich.console import Console

    from runtime.engine import choose_device
    from runtime.live_speed import measure
    from runtime.speed import machine

    typer.echo(machine())
    with Console(stderr=True).status("") as status:
        for row in measure(example, bundle, choose_device(device), minutes, plot, status.update):
            typer.echo(row.line())
