"""`affect bundles`: the models that are there, and what was made from them on this machine.

Knows where bundles lie and how one is copied so that it is whole or not there. Checking is `models/bundle.py`'s.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import visible
from models.bundle import EMBEDDED, MANIFEST, NAME, Bundle, added_bundles, bundle_folders, load_bundle
from models.errors import AffectError
from runtime.cache import cache_error, cache_folder, clear, entries

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def bundles() -> None:
    """List, add and remove bundles (models), and show the cache."""


@app.command("list")
def list_bundles() -> None:
    """List the bundles by name, with size and origin."""
    for name, folder in bundle_folders().items():
        print(visible(describe(name, folder)))


def describe(name: str, folder: Path) -> str:
    """One line about a bundle; a bad one says what is wrong with it. Hashes are `affect doctor`'s to check."""
    where = "comes with the program" if folder.is_relative_to(EMBEDDED) else f"added, {folder}"
    try:
        bundle = load_bundle(folder, verify=False)
    except AffectError as error:
        return f"{name:<16} unusable: {error}"
    size = sum(entry["bytes"] for entry in bundle.spec["files"].values()) / 1e6
    stamp = "" if bundle.verified else "  UNVERIFIED"
    return f"{name:<16} {bundle.spec['version']:<8} {size:6.1f} MB  {where}{stamp}"


@app.command()
def add(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle folder.")]) -> None:
    """Check a bundle folder and copy it among the user's own."""
    bundle = load_bundle(folder)
    if bundle.name in bundle_folders():
        own = not EMBEDDED.joinpath(bundle.name).exists()
        cure = f"affect bundles remove {bundle.name}" if own else "give it another name when it is exported"
        raise AffectError(f"there is a bundle named {bundle.name} already", cure, "bundle_exists")
    copy_bundle(bundle, added_bundles())
    print(f"added {bundle.name}: affect analyze --bundle {bundle.name} FILE")
    if not bundle.verified:
        print(
            f"{bundle.name} is unverified: it was not held against the network that it came from",
            file=sys.stderr,
        )


def copy_bundle(bundle: Bundle, home: Path) -> Path:
    """Copies the manifest and the files that it names, checks the copy, and renames it into place."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=home) as staging:
            copy = Path(staging) / bundle.name
            for name in (MANIFEST, *bundle.spec["files"]):
                target = copy / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle.path / name, target)
            if load_bundle(copy).sha256 != bundle.sha256:
                raise AffectError(f"{bundle.path} changed while it was copied", "add it again", "bad_bundle")
            return copy.rename(home / bundle.name)
    except OSError as error:
        problem = cache_error(error, home)
        raise AffectError(problem.message, f"free or allow space in {home}", problem.code) from error


@app.command()
def remove(name: Annotated[str, typer.Argument(help="A name that `affect bundles list` shows.")]) -> None:
    """Remove a bundle that was added."""
    if NAME.fullmatch(name) and EMBEDDED.joinpath(name, MANIFEST).is_file():
        raise AffectError(f"{name} comes with the program and stays", "", "bundle_embedded")
    folder = added_bundles() / name
    if not NAME.fullmatch(name) or not folder.is_dir():
        raise AffectError(f"no added bundle is named {name}", "affect bundles list", "no_bundle")
    gone = Path(tempfile.mkdtemp(prefix=".removing-", dir=folder.parent))
    folder.rename(gone / name)
    shutil.rmtree(gone, ignore_errors=True)
    print(f"removed {name}")


@app.command()
def cache(clear_it: Annotated[bool, typer.Option("--clear", help="Empty it.")] = False) -> None:
    """Show what was made once on this machine, or clear it (compiled wheels stay)."""
    folder = cache_folder()
    if clear_it:
        print(f"freed {clear() / 1e6:.1f} MB in {visible(os.fspath(folder))}")
        return
    kept = entries()
    for name, size in kept:
        print(f"{size / 1e6:9.1f} MB  {visible(name)}")
    print(f"{sum(size for _, size in kept) / 1e6:9.1f} MB  in {visible(os.fspath(folder))}")
