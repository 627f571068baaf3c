"""Configs: JSON in and out, nearest key on a mistake, contradictions refused."""

import json
from dataclasses import replace

import pytest

from models.config import AffectConfig, QFormerConfig, from_dict, override, preset, to_dict
from models.errors import AffectError
from trainer.config import RunConfig, StageConfig, TrainConfig


def test_json_out_and_in_is_the_same() -> None:
    config = AffectConfig()
    assert from_dict(AffectConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_the_nearest_key_is_named() -> None:
    with pytest.raises(AffectError, match=r"did you mean vision\.image_size"):
        from_dict(AffectConfig, {"vision": {"imagesize": 3}})


def test_contradictions_and_wrong_kinds_are_refused() -> None:
    with pytest.raises(AffectError, match="no multiple"):
        QFormerConfig(width=10, heads=4)
    with pytest.raises(AffectError, match="wants int"):
        from_dict(QFormerConfig, {"queries": "many"})


def test_overrides_reach_into_sections() -> None:
    run = override(from_dict(RunConfig, preset("nano")), {"train.joint.steps": 5, "train.joint.lr": "1e-3"})
    assert (run.train.joint.steps, run.train.joint.lr) == (5, 1e-3)


def test_a_section_that_names_one_key_keeps_the_rest_of_its_parents_default() -> None:
    """`train.face` of the preset names its mixing alone: its steps stay the face stage's, not any stage's."""
    config = from_dict(RunConfig, {"train": {"face": {"mixup": 0.1}}})
    assert config.train.face == replace(TrainConfig().face, mixup=0.1) != StageConfig(mixup=0.1)
