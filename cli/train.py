"""`affect-train`: prepare data and train. Parses, calls one function, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train AffectGPT: prepare the data, run the stages.", no_args_is_help=True, add_completion=False)


def say(line: str) -> None:
    """Progress goes to stderr."""
    typer.echo(line, err=True)


@app.command()
def data(
    source: Annotated[Path, typer.Argument(help="folder with ravdess/, fer2013.parquet and text/")],
    out: Annotated[Path, typer.Option("-o", "--out", help="prepared folder to write")] = Path("data/nano"),
) -> None:
    """Read the corpora once: splits, near-duplicates, measurements, seed weights."""
    from models.config import AffectConfig
    from models.items import write_items
    from trainer import datasets, mixture, seeds

    counts = datasets.prepare(source, out)
    write_items(out / "verify.jsonl", mixture.verification_rows(datasets.load(out)))
    seeds.collect(AffectConfig(), out)
    typer.echo("  ".join(f"{name} {count}" for name, count in counts.items()))


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help="name of a preset in models/presets")] = "nano",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value, e.g. train.joint.steps=100; data=MY.jsonl init=nano fine-tunes"),
    ] = None,
    data: Annotated[Path, typer.Option(help="prepared folder, from `affect-train data`")] = Path("data/nano"),
    out: Annotated[Path, typer.Option("-o", "--out", help="checkpoint folder")] = Path("runs/nano"),
    resume: Annotated[bool, typer.Option("--resume", help="go on in a folder that has a run in it")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="all stages in minutes on data made in code")] = False,
    stages: Annotated[str | None, typer.Option(help="comma-separated stages to run; all without")] = None,
    language: Annotated[
        Path | None, typer.Option(help="the language model's GGUF, when its package is not here")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
) -> None:
    """Train a preset, stage by stage, or fine-tune one on your own clips; every stage can be stopped and resumed."""
    from trainer.run import train

    train(
        preset,
        overrides or [],
        data,
        out,
        resume=resume,
        smoke=smoke,
        chosen=stages.split(",") if stages else None,
        language=language,
        device=device,
        say=say,
    )


@app.command()
def heads(
    run: Annotated[Path, typer.Argument(help="folder of a run, with its stages' files")],
    data: Annotated[Path, typer.Option(help="prepared folder, where what they say is written")] = Path("data/nano"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
) -> None:
    """Write down what the encoders' direct heads say, for the row `all-fusion` of `affect bench quality`."""
    from trainer.heads import write_heads
    from trainer.run import reopen

    for path in write_heads(reopen(run, data, device, say)):
        typer.echo(path)


@app.command()
def folds(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. train.voice.steps=300")] = None,
    leave: Annotated[int, typer.Option(min=1, help="actors that are left out at a time")] = 4,
    data: Annotated[Path, typer.Option(help="prepared folder, from `affect-train data`")] = Path("data/nano"),
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the throw-away models")] = Path("runs/folds"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
) -> None:
    """Train the voice branch without some actors, read those, until all were left out; nothing of it is kept in nano."""
    from statistics import mean, stdev

    from trainer.folds import leave_out
    from trainer.run import throwaway

    found = []
    for fold in leave_out(throwaway(overrides or [], data, out, device, say), leave):
        found.append(fold.uar)
        typer.echo(f"{' '.join(fold.actors):24}n {fold.n:4}  UAR {fold.uar:.3f}")
    typer.echo(f"{'mean':24}{len(found)} folds  UAR {mean(found):.3f}, standard deviation {stdev(found):.3f}")


def main() -> None:
    """Entry point of `affect-train`."""
    from cli.errors import run_app

    run_app(app, "affect-train")


if __name__ == "__main__":
    main()
