"""`affect bench`: speed on this machine, quality on known items. Parses, calls, prints a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


@app.command()
def quality(
    rows: Annotated[list[str] | None, typer.Argument(help="rows by name; all without")] = None,
    data: Annotated[Path, typer.Option(help="prepared folder, from `affect-train data`")] = Path("data/nano"),
    out: Annotated[
        Path, typer.Option("-o", "--out", help="folder of what was read; a second run goes on there")
    ] = Path("out/quality"),
    bundle: Annotated[str, typer.Option(help="bundle, by name or folder")] = "nano",
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="items a row, drawn blindly")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="threads")] = None,
) -> None:
    """Read known items with the exported bundle; print each figure with its n and its bar."""
    from runtime.engine import Engine  # isort: skip  # llama.cpp before numpy
    from rich.console import Console

    from runtime.quality import choose_rows, read_row

    chosen = choose_rows(rows or [])
    engine = Engine.load(bundle, threads=threads)
    out.mkdir(parents=True, exist_ok=True)
    figures = []
    for row in chosen:
        with Console(stderr=True).status(row.name) as status:
            figures.append(
                read_row(engine, row, data, out, limit, lambda i, n, row=row: status.update(f"{row.name} {i}/{n}"))  # type: ignore[misc]
            )
    typer.echo(f"{'row':16}{'n':>6}  {'metric':12}{'value':>7}  bar")
    for f in figures:
        bar = f"near {f.row.near:.3f}" if f.row.near is not None else f">= {f.row.least:.2f}" if f.row.least else ""
        said = {True: "reached", False: "MISSED", None: ""}[f.reached]
        typer.echo(f"{f.row.name:16}{f.n:>6}  {f.row.metric:12}{f.value:>7.3f}  {bar:12} {said}")


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
    from runtime.speed import machine, measure  # isort: skip  # llama.cpp before numpy
    from rich.console import Console

    typer.echo(machine())
    with Console(stderr=True).status("") as status:
        for row in measure(example, bundle, threads, hours, status.update):
            said = (
                "" if not row.bar else f"<= {row.bar:g} {row.unit:4} {'reached' if row.value <= row.bar else 'MISSED'}"
            )
            typer.echo(f"{row.name:28}{row.value:>9.2f} {row.unit:9}{said}")
