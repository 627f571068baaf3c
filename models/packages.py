"""Files that pinned packages carry: where they lie, and whether they are the ones that were pinned. Knows no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from models.errors import AffectError


def package_file(package: str, file: str) -> Path:
    """A file that an installed package carries. Raises AffectError `not_found` with the package's name."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed: Any = files(package) or []
    except PackageNotFoundError as error:
        raise AffectError(f"the package {package} is not installed", f"pip install {package}", "not_found") from error
    for entry in listed:
        if entry.name == file:
            return Path(str(entry.locate()))
    raise AffectError(f"the package {package} has no {file}", "", "not_found")


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
