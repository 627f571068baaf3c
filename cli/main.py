"""`affect`: the program's commands, each imported only when it is run, so that `affect --help` stays quick.

Knows the commands' names and help lines (a test holds these equal to the docstrings) and nothing of their work.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "analyze": "Read what the person in each FILE seems to feel, and why.",
    "bench": "Measure speed on this machine and quality on known data.",
    "bundles": "List, add and remove bundles (models), and show the cache.",
    "doctor": "Check what is installed and works; a cure for each red line.",
    "live": "Read camera and microphone as it happens, on this machine alone.",
}
"""Command -> help line; `cli/<command>.py` has a typer app `app`, or a function of the command's name."""


def load_command(name: str) -> Any:
    """Imports one command's module; gives the command that typer makes of it."""
    module = import_module(f"cli.{name}")
    command_app = getattr(module, "app", None)
    if command_app is None:
        command_app = typer.Typer(add_completion=False, rich_markup_mode=None)
        command_app.command(name)(getattr(module, name))
    return typer.main.get_command(command_app)


class LazyGroup(TyperGroup):
    """A group whose commands are stand-ins (name and help line) until one of them is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The real command for the one that was named."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else command, rest


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich would cost 80 ms
    pretty_exceptions_enable=False,
)


def print_version(wanted: bool) -> None:
    """The installed version, and nothing else, on stdout."""
    if wanted:
        print(program_version())
        raise typer.Exit


def program_version() -> str:
    """The version of the installed distribution; `0+unknown` when the source tree is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("affectgpt")
    except PackageNotFoundError:
        return "0+unknown"


@app.callback()
def affect(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """What the person in a clip seems to feel, and why. On this machine, without a network."""


def stand_in() -> None:
    """Never runs: LazyGroup puts the real command in its place."""


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(stand_in)


def main() -> None:
    """The console script `affect`."""
    from cli.errors import run_app

    run_app(app)


if __name__ == "__main__":
    main()
