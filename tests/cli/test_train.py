"""`affect-train`: its line for fine-tuning runs, and what is wrong with one is said in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from cli.train import app
from trainer.smoke import SMOKE

ROOT = Path(__file__).parents[2]


def test_one_line_fine_tunes(smoke_run: Path, tmp_path: Path) -> None:
    labels = ("happy", "sad", "happy", "sad")
    rows = [{"face": None, "voice": None, "words": f"line {n}", "labels": [x]} for n, x in enumerate(labels)]
    (tmp_path / "my.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = [key for key in SMOKE if key.startswith("model.")]
    words = ["run", "nano", *model, f"data={tmp_path}/my.jsonl", f"init={smoke_run}", "train.tune.passes=1"]
    done = CliRunner().invoke(
        app, [*words, "-o", str(tmp_path / "out"), "--language", str(smoke_run / "smoke-data/tiny.gguf")]
    )
    assert done.exit_code == 0, done.output
    assert {"config.json", "model.safetensors", "run.json", "metrics.jsonl"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    assert json.loads((tmp_path / "out/run.json").read_text())["init"] == str(smoke_run)


def test_a_wrong_line_is_one_line_on_stderr(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.train", "run", "nano", "data=my.jsonl", "-o", str(tmp_path / "out")]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("affect-train: data= without init= (") and done.stderr.count("\n") == 1
