"""The consent that `affect live` asks for before its first run: one screen, remembered for the user, revocable.

Knows a terminal and one small file; nothing of devices.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from pathlib import Path

from models.errors import AffectError
from models.folders import user_folder

VERSION = 1  # of the text: who agreed to an older one is asked again
TEXT = """\
affect live watches and listens
-------------------------------
What is captured    The picture of a camera and the sound of a microphone, while
                    it runs. From them it estimates what a person seems to feel,
                    and it is often wrong.
Where it goes       Nowhere: all is computed on this machine, with no network.
                    Nothing is written to disk unless you give a folder (-o);
                    pictures and sound only with --record or the key r.
Who must be told    Everybody who can be seen or heard. In the European Union
                    that is the law (AI Act, Article 50(3)).
Where it is         At workplaces and in schools in the European Union (AI Act,
forbidden           Article 5(1)(f)), and wherever recording people who did not
                    agree is. No decision about a person may rest on it.

This is remembered for you; affect live --revoke takes it back.
"""
QUESTION = "Type yes to agree, anything else to leave: "


def consent_file() -> Path:
    """Where the user's consent is kept."""
    return user_folder("settings") / "consent.json"


def given() -> bool:
    """Whether the user agreed to this text."""
    try:
        return bool(json.loads(consent_file().read_text(encoding="utf-8"))["version"] == VERSION)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remember() -> None:
    """Keeps the consent; where that can't be written it counts for this run alone."""
    path = consent_file()
    try:
        if not path.is_absolute():  # there is no home
            raise FileNotFoundError(errno.ENOENT, "there is no home folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"version": VERSION, "given": time.strftime("%Y-%m-%d")}) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"affect: the consent can't be remembered: {error.strerror}", file=sys.stderr)


def revoke() -> bool:
    """Takes the consent back; whether there was one. Raises AffectError `no_consent` where it can't be removed."""
    try:
        consent_file().unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise AffectError(f"{consent_file()} can't be removed: {error.strerror}", "remove it", "no_consent") from error
    return True


def answer() -> str:
    """What the user types; Ctrl-C goes on from a new line."""
    try:
        return sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise


def ask() -> None:
    """Asks, unless the user agreed before. Raises AffectError `no_consent`."""
    if given():
        return
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise AffectError(
            "nobody has agreed to being watched yet", "run affect live on a terminal once, or give --yes", "no_consent"
        )
    print(TEXT, file=sys.stderr)
    print(QUESTION, end="", file=sys.stderr, flush=True)
    if answer().strip().lower() != "yes":
        raise AffectError("nothing was opened", "start it again and type yes to agree", "no_consent")
    remember()
