"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = {"voice": 20, "teacher": 2, "face": 4, "joint": 8, "refine": 2}
QUICK = [f"train.{stage}.steps={steps}" for stage, steps in STEPS.items()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what reads the data folder where there is none; each such test has a twin on data made in code."""
    if os.environ.get("AFFECT_DATA"):
        return
    left_out = [item for item in items if item.get_closest_marker("needs_data")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


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
