"""The user's folders on each system: for what can be made again, for what can't, and for settings.

Needs nothing but the standard library: the installer uses it before anything is installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "affectgpt"
OWN = {"cache": "AFFECT_CACHE", "data": "AFFECT_DATA_HOME", "settings": "AFFECT_CONFIG"}
"""Variables that name our folder itself."""

SYSTEMS = {
    "win32": {
        "cache": ("LOCALAPPDATA", "~/AppData/Local"),
        "data": ("LOCALAPPDATA", "~/AppData/Local"),
        "settings": ("APPDATA", "~/AppData/Roaming"),
    },
    "darwin": {
        "cache": ("", "~/Library/Caches"),
        "data": ("", "~/Library/Application Support"),
        "settings": ("", "~/Library/Application Support"),
    },
    "linux": {
        "cache": ("XDG_CACHE_HOME", "~/.cache"),
        "data": ("XDG_DATA_HOME", "~/.local/share"),
        "settings": ("XDG_CONFIG_HOME", "~/.config"),
    },
}
"""System -> kind -> a variable that names the folder above ours, and that folder where the variable is not set."""


def user_folder(kind: str) -> Path:
    """Our folder of a kind (cache, data, settings), which may not be there. Where there is no home it begins with `~`."""
    if given := os.environ.get(OWN[kind]):
        return Path(given)
    variable, usual = SYSTEMS.get(sys.platform, SYSTEMS["linux"])[kind]
    return Path(os.path.expanduser(os.environ.get(variable) or usual)) / NAME  # noqa: PTH111  # stays "~" without a home
