"""Training end to end in small: all stages run, a stopped run goes on exactly, mistakes are said."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import checkpoint
from models.emotions import LABELS
from models.errors import AffectError
from models.language import Tokenizer, lora_state
from tests.conftest import QUICK
from trainer.config import StageConfig
from trainer.datasets import load
from trainer.folds import leave_out
from trainer.heads import write_heads
from trainer.loop import Log, run_stage, summed
from trainer.reasons import KEYWORDS
from trainer.run import reopen, resolve, train
from trainer.smoke import SMOKE
from trainer.stages import STAGES, Room, build, following, load_trained, readings


def go(out: Path, *overrides: str, resume: bool = False, chosen: tuple[str, ...] | None = None) -> None:
    train(
        "nano", overrides, Path(), out, resume=resume, smoke=True, chosen=chosen, language=None, device="cpu", say=print
    )


def test_the_smoke_run_leaves_a_whole_checkpoint(smoke_run: Path) -> None:
    made = checkpoint.load(smoke_run)
    parts = {name.split(".")[0] for name in made.state}
    assert parts == {"vision", "audio", "lora"} and set(made.facts["temperatures"]) == set(made.facts["validation"])
    assert set(made.facts["second_from"]) == {kind for kind in made.facts["validation"] if "+" in kind}
    log = [json.loads(line) for line in (smoke_run / "metrics.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in log if row.get("event") == "done"} == set(STAGES)


def test_the_voice_stage_learns(smoke_run: Path) -> None:
    """A hum's pitch is its label: better than twice chance after 20 steps."""
    rows = [json.loads(line) for line in (smoke_run / "metrics.jsonl").read_text().splitlines()]
    (found,) = [row for row in rows if row["stage"] == "voice" and "validation_UAR" in row]
    assert found["validation_UAR"] > 0.25


def test_a_measured_levels_token_starts_out_as_its_word(smoke_run: Path, tmp_path: Path) -> None:
    """Below, within and above a deviation of 0.6: three words; the place of what was not measured has none of them."""
    data = smoke_run / "smoke-data"
    config, log = resolve("nano", SMOKE), Log(tmp_path, print)
    model = build(Room(config, load(data), data, data / "tiny.gguf", smoke_run, torch.device("cpu"), log))
    tokenizer, table = Tokenizer(data / "tiny.gguf"), model.language.get_input_embeddings().weight
    pitch = model.audio.soft.measure(torch.tensor([[z] + [0.0] * 5 for z in (-1.5, -0.7, -0.5, 0.5, 0.7, 9.0)]))[:, 0]
    words = [table[list(tokenizer.tokenize(f" {word}"))].mean(0) for word in KEYWORDS["pitch_hz"]]
    for found, word in zip(pitch, (0, 0, 1, 1, 2, 2), strict=True):
        assert torch.allclose(found, words[word], atol=1e-5)
    assert not any(torch.allclose(model.audio.soft.measure.places[0, -1], word) for word in words)


def test_refining_starts_from_what_the_joint_stage_left(smoke_run: Path) -> None:
    """Every trained part is filled, LoRA and branches alike; weights of another network are refused."""
    data, device = smoke_run / "smoke-data", torch.device("cpu")
    room = Room(
        resolve("nano", SMOKE), load(data), data, data / "tiny.gguf", smoke_run, device, Log(smoke_run / "..", print)
    )
    model, state = build(room), checkpoint.load(smoke_run).state
    load_trained(smoke_run, model)
    own = {f"vision.{k}": v for k, v in model.vision.state_dict().items()} | {
        f"lora.{k}": v for k, v in lora_state(model.language).items()
    }
    assert any(name.startswith("lora.") for name in own)
    assert all(torch.equal(value, state[name]) for name, value in own.items())
    model.language.model.layers = model.language.model.layers[:1]
    with pytest.raises(AffectError, match="another network"):
        load_trained(smoke_run, model)


def test_a_used_folder_is_refused_and_done_stages_are_kept(smoke_run: Path) -> None:
    quick = tuple(QUICK)
    before = (smoke_run / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(AffectError, match="has a run in it"):
        go(smoke_run, *quick)
    with pytest.raises(AffectError, match="another config"):
        go(smoke_run, "train.seed=9", resume=True)
    go(smoke_run, *quick, resume=True)
    assert (smoke_run / "model.safetensors").stat().st_mtime_ns == before


def test_unknown_stages_and_overrides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AffectError, match="no stage dance"):
        go(tmp_path / "a", chosen=("dance",))
    with pytest.raises(AffectError, match=r"unknown key"):
        go(tmp_path / "b", "train.joint.step=3")


class StopError(Exception):
    """Ends a run in its middle."""


def run_small(folder: Path, optimizer: str, stop_at: int | None = None) -> torch.Tensor:
    """Twelve steps on noise; saves after every step; may be stopped."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    stage = StageConfig(steps=12, batch=4, warmup=2, ema=0.9, save_every_s=0.0, optimizer=optimizer)

    def loss(step: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        if step == stop_at:
            raise StopError
        yield module(torch.randn(4, 4, generator=generator)).pow(2).mean()

    run_stage("small", module, stage, loss, folder, Log(folder, print), torch.device("cpu"), 0)
    return torch.cat([value.flatten() for value in module.state_dict().values()])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_stopped_stage_goes_on_exactly(optimizer: str, tmp_path: Path) -> None:
    """Stopped at step 7 and resumed: the same weights, to the bit, as one that was never stopped."""
    whole = run_small(tmp_path / "whole", optimizer)
    with pytest.raises(StopError):
        run_small(tmp_path / "cut", optimizer, stop_at=7)
    assert torch.equal(run_small(tmp_path / "cut", optimizer), whole)


def test_one_part_of_a_batch_is_in_memory_at_a_time() -> None:
    """Each part's gradient is there before the next part is computed, and together they are those of the whole batch."""
    module, rows, seen = torch.nn.Linear(4, 1), torch.randn(6, 4), []

    def parts() -> Iterator[torch.Tensor]:
        for part in rows.split(2):
            seen.append(module.weight.grad is None)
            yield module(part).pow(2).sum() / len(rows)

    total = summed(parts(), torch.device("cpu"))
    found = module.weight.grad
    module.zero_grad(set_to_none=True)
    whole = module(rows).pow(2).mean()
    whole.backward()
    assert seen == [True, False, False] and float(total) == pytest.approx(float(whole.detach()))
    assert found is not None and module.weight.grad is not None and torch.allclose(found, module.weight.grad, atol=1e-6)


def test_a_teacher_is_followed() -> None:
    """No loss where both say the same; the gradient leads to what the teacher says, which itself gets none."""
    teacher, x = torch.nn.Linear(3, 4), torch.randn(5, 3)
    assert float(following(teacher(x), teacher, x).detach()) == pytest.approx(0.0, abs=1e-6)
    logits = torch.zeros(5, 4, requires_grad=True)
    following(logits, teacher, x).backward()
    wanted = (teacher(x) / 2).softmax(1) - 0.25
    assert logits.grad is not None and torch.allclose(-logits.grad.sign(), wanted.sign())
    assert teacher.weight.grad is None


def test_what_direct_heads_say_is_written_down(smoke_run: Path) -> None:
    """Of every face and voice outside training, and what the stage itself read."""
    data = smoke_run / "smoke-data"
    room = reopened(smoke_run)
    for path, split in zip(write_heads(room), ("validation", "test"), strict=True):
        rows = {row["id"]: row["scores"] for row in map(json.loads, path.read_text().splitlines())}
        corpus = load(data)
        faces, voices = corpus.faces.rows(split), corpus.voices.rows(split)
        assert {*rows} == {*(f"face-{n}" for n in faces), *(f"voice-{n}" for n in voices)}
        assert all(sum(scores.values()) == pytest.approx(1, abs=1e-3) for scores in rows.values())
        if split == "validation":
            read = readings(smoke_run)["visual"]
            assert all(max(rows[f"face-{n}"], key=rows[f"face-{n}"].__getitem__) == LABELS[read[n]] for n in faces)
    with pytest.raises(AffectError, match=r"has no face.safetensors"):
        write_heads(replace(room, folder=data))


def test_actors_who_are_left_out_are_read(smoke_run: Path, tmp_path: Path) -> None:
    """Each actor is read once, by a model that never heard them; a second call finds the models made."""
    room = reopened(smoke_run)
    voices = room.corpus.voices
    groups = [str(n % 3 + 9) for n in range(len(voices.labels))]
    brief = replace(room.config, train=replace(room.config.train, voice=StageConfig(steps=2, batch=4, warmup=1)))
    room = replace(
        room, config=brief, folder=tmp_path, corpus=replace(room.corpus, voices=replace(voices, groups=groups))
    )
    found = list(leave_out(room, 2))
    assert [fold.actors for fold in found] == [("9", "10"), ("11",)]
    assert [fold.n for fold in found] == [sum(g in fold.actors for g in groups) for fold in found]
    assert list(leave_out(room, 2)) == found and not (tmp_path / "voice.safetensors").exists()
    with pytest.raises(AffectError, match="3 actors make no two folds of 3"):
        list(leave_out(room, 3))


def reopened(folder: Path) -> Room:
    """The room of the smoke run."""
    config, data = resolve("nano", [*SMOKE, *QUICK]), folder / "smoke-data"
    return Room(config, load(data), data, data / "tiny.gguf", folder, torch.device("cpu"), Log(folder, print))


def test_a_run_is_opened_again_with_its_own_config(smoke_run: Path, tmp_path: Path) -> None:
    room = reopen(smoke_run, smoke_run / "smoke-data", "cpu", print)
    assert room.config == reopened(smoke_run).config and room.folder == smoke_run
    with pytest.raises(AffectError, match="has no run in it"):
        reopen(tmp_path, smoke_run / "smoke-data", "cpu", print)
