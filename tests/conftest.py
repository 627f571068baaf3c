"""What every test may ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = {"voice": 20, "teacher": 2, "face": 4, "joint": 8, "refine": 2}
QUICK = [f"train.{stage}.steps={steps}" for stage, steps in STEPS.items()]


def sound_server() -> bool:
    """Whether PulseAudio, or PipeWire in its place, answers."""
    return bool(shutil.which("pactl")) and subprocess.run(["pactl", "info"], capture_output=True).returncode == 0


LEFT_OUT = {
    "needs_data": ("AFFECT_DATA is not set", lambda: bool(os.environ.get("AFFECT_DATA"))),
    "needs_sound_server": ("no PulseAudio or PipeWire answers pactl info", sound_server),
    "needs_tmux": ("tmux is not installed", lambda: bool(shutil.which("tmux"))),
}
"""Mark -> why its tests are left out, and whether they can run. Where AFFECT_LIVE_TESTS is set, the live ones run and fail."""


def lacking() -> dict[str, str]:
    """The marks whose tests are left out here, with the reason."""
    wanted = {"needs_sound_server", "needs_tmux"} if os.environ.get("AFFECT_LIVE_TESTS") else set()
    return {mark: why for mark, (why, there) in LEFT_OUT.items() if mark not in wanted and not there()}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs something that is not here; the last lines of the run say so. What reads the data folder has twins
    on data made in code."""
    config.stash[REASONS] = {}
    for mark, why in lacking().items():
        left_out = [item for item in items if item.get_closest_marker(mark)]
        items[:] = [item for item in items if item not in left_out]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            config.stash[REASONS][mark] = f"{len(left_out)} tests marked {mark} left out: {why}"


REASONS = pytest.StashKey[dict[str, str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line for each kind of test that was left out."""
    for line in config.stash.get(REASONS, {}).values():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def affect_data() -> Path:
    """The folder named by AFFECT_DATA."""
    return Path(os.environ["AFFECT_DATA"])


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of every stage, trained small on data made in code; `smoke-data` in it is its prepared folder."""
    from trainer.run import train

    out = tmp_path_factory.mktemp("smoke") / "run"
    train("nano", QUICK, Path(), out, resume=False, smoke=True, chosen=None, language=None, device="cpu", say=print)
    return out


@pytest.fixture(scope="session")
def tiny_bundle(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke checkpoint as a bundle, verified on its own validation items."""
    from export.build import build
    from models.items import write_items
    from trainer.datasets import load
    from trainer.mixture import verification_rows

    data = smoke_run / "smoke-data"
    rows = verification_rows(load(data), each=10)  # 70: two may be ties, which rounding decides
    write_items(data / "verify.jsonl", rows)
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    build(smoke_run, out, data / "verify.jsonl", data / "tiny.gguf", None, print)
    return out
