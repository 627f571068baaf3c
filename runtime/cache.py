"""The user's cache folder: files made once from what is installed, by content, never half-written.

Knows paths only, and needs nothing but the standard library: the installer uses it before anything is installed.
Two processes that make the same file at once each write their own; the last rename wins, the content is the same.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from models.errors import AffectError
from models.folders import user_folder

WHEELS = "wheels"  # compiled for minutes: `clear` keeps them


def preferred_folder() -> Path:
    """`AFFECT_CACHE`, else the platform's folder for caches."""
    return user_folder("cache")


def cache_folder() -> Path:
    """The cache folder, made; where that can't be written (a read-only home), one of the user's own under the
    temporary folder. Raises AffectError `no_cache` when neither can."""
    for folder in (preferred_folder(), fallback_folder()):
        if writable(folder):
            return folder
    cure = "set AFFECT_CACHE to a folder that you may write"
    raise AffectError(f"the cache folder {preferred_folder()} cannot be written", cure, "no_cache")


def fallback_folder() -> Path:
    """The user's own folder below the temporary one."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"affectgpt-{user}"


def writable(folder: Path) -> bool:
    """Whether a file can be made there (a missing folder is made, for this user alone), and whether the folder is the
    user's own: in a shared place another user could have put it there first.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


unfinished: set[str] = set()  # files that this process is making


def make_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cached file `name` (a relative path that holds its content's hash), made by `build(partial path)` if missing.

    Whatever ends `build` early leaves nothing behind. Raises AffectError `disk_full` or `no_cache`.
    """
    target = cache_folder() / name
    if target.is_file():
        return target
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        os.close(handle)
        unfinished.add(partial)
        build(Path(partial))
        settle(Path(partial), target)
    except OSError as error:
        raise cache_error(error, target) from error
    finally:
        if partial:
            discard(partial)
    return target


def discard(partial: str) -> None:
    """Removes a file that is not finished."""
    Path(partial).unlink(missing_ok=True)
    unfinished.discard(partial)


def discard_all() -> None:
    """Removes what this process is making, when it ends without finishing; what the system holds on to stays."""
    for partial in list(unfinished):
        with suppress(OSError):
            discard(partial)


def settle(partial: Path, target: Path) -> None:
    """Puts a finished file in its place, on the disk before under its name."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    try:
        partial.replace(target)
    except PermissionError:  # Windows: another process made it first and has it open
        if not target.is_file():
            raise


def cache_error(error: OSError, target: Path) -> AffectError:
    """What an OSError while writing to the cache means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cure = f"free some space in {target.parent}, or set AFFECT_CACHE to a folder on another disk"
        return AffectError("the disk is full", cure, "disk_full")
    cure = "set AFFECT_CACHE to a folder that you may write"
    return AffectError(f"cannot write {error.filename or target}: {error.strerror}", cure, "no_cache")


def entries() -> list[tuple[str, int]]:
    """(name, bytes) of what the cache holds, by name; half-written files of a killed process among them."""
    folder = cache_folder()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]


def clear() -> int:
    """Removes all but the compiled wheels; gives the bytes freed."""
    folder = cache_folder()
    freed = sum(size for name, size in entries() if not name.startswith(f"{WHEELS}/"))
    for path in folder.iterdir():
        if path.is_dir() and path.name != WHEELS:
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file():
            path.unlink(missing_ok=True)
    return freed
