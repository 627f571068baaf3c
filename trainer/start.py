"""Where fine-tuning starts from: a checkpoint, or a bundle whose stored weights are widened again.

A bundle tells no sizes of its network, so the preset tells them for both, and what does not fit it is refused. (Numbers of
attention heads leave no trace in weights: those of a bundle are believed.) Knows folders and networks; nothing of clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import checkpoint
from models.affect import AffectGPT
from models.bundle import Bundle, load_bundle
from models.clues import FACE, VOICE
from models.config import AffectConfig, to_dict
from models.errors import AffectError
from models.language import lora_state
from models.packages import sha256
from trainer.mixture import VALIDATION

CURE = "what the preset does not say is given as model.KEY=VALUE; an older one is trained again with `affect-train run`"
FACTS = ("face_norm", "voice_norm", "temperatures", "second_from")
GRAPHS = {"vision": ("vision.frame", "vision.clip"), "audio": ("audio.window", "audio.clip")}


@dataclass(frozen=True)
class Start:
    """What is known of a start before its network is built: `base` is the sha256 of its language model, `facts` are its
    norms and its calibration, `weights` gives its state for a network that is made as the config says."""

    told: str
    base: str
    facts: Mapping[str, Any]
    weights: Callable[[AffectGPT], Mapping[str, Tensor]]


def find_start(init: str, config: AffectConfig) -> Start:
    """A checkpoint's folder, a bundle's, or a bundle's name.

    Raises AffectError `not_found`, `other_network`, and what loading can raise.
    """
    folder = Path(init)
    if (folder / "config.json").is_file():
        return from_checkpoint(folder, config)
    try:
        bundle = load_bundle(init)
    except AffectError as error:
        if error.code != "no_bundle":
            raise
        words = f"init={init} is neither a checkpoint nor a bundle"
        raise AffectError(words, f"a folder of `affect-train run`, or {error.cure}", "not_found") from error
    return from_bundle(bundle, config)


def other_network(told: str, difference: str) -> AffectError:
    """The refusal of a start that does not fit."""
    words = f"{told} was made by another network than this program trains: {difference}"
    return AffectError(words, CURE, "other_network")


def from_checkpoint(folder: Path, config: AffectConfig) -> Start:
    """Raises AffectError `other_network` or `bad_checkpoint`."""
    made, told = checkpoint.load(folder), f"checkpoint {folder.resolve().name}"
    wanted = dict(leaves(to_dict(config)))
    for key, there in leaves(to_dict(made.config)):
        if there != wanted[key]:
            raise other_network(told, f"{key} is {there} there and {wanted[key]} here")
    facts = checked_facts(told, made.facts, config)
    return Start(told, next(iter(made.frozen.values()), ""), facts, lambda network: made.state)


def leaves(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def from_bundle(bundle: Bundle, config: AffectConfig) -> Start:
    """Raises AffectError `other_network`."""
    told, spec, given = f"bundle {bundle.name}", bundle.spec, bundle.spec["preprocessing"]
    wanted = {"picture": "face", "reply_form": "labels-first", "open_labels": False, "labels": list(config.labels)}
    sizes = {
        "image_size": config.vision.image_size,
        "frames": config.vision.frames,
        "window_seconds": config.audio.window_seconds,
        "max_windows": config.audio.max_windows,
    }
    for key, here in {**wanted, **sizes}.items():
        there = spec[key] if key in wanted else given.get(key)
        if there != here:
            raise other_network(told, f"{key} is {there} there and {here} here")
    facts = checked_facts(told, {**given, **{key: spec[key] for key in ("temperatures", "second_from")}}, config)
    return Start(told, spec["language"]["base"]["sha256"], facts, lambda network: bundle_state(bundle, network))


def bundle_state(bundle: Bundle, network: AffectGPT) -> dict[str, Tensor]:
    """The state that a bundle's files hold, as a checkpoint's. Raises AffectError `bad_bundle`, `bad_gguf`, `other_network`."""
    from trainer.widen import adapter_state, graph_state, unfolded

    state: dict[str, Tensor] = {}
    for branch, graphs in GRAPHS.items():
        found: dict[str, Tensor] = {}
        for graph in graphs:
            found |= graph_state(bundle.file(f"{graph}.onnx"))
        state |= {f"{branch}.{k}": v for k, v in unfolded(found, network.get_submodule(branch)).items()}
    language = network.language.config
    adapter = bundle.file(str(bundle.spec["language"]["adapter"]))
    lora, alpha = adapter_state(adapter, language.num_attention_heads, language.num_key_value_heads)
    if alpha != network.config.language.lora_alpha:
        raise other_network(f"bundle {bundle.name}", f"its LoRA's alpha is {alpha:g}")
    return state | {f"lora.{name}": value for name, value in lora.items()}


def checked_facts(told: str, given: Mapping[str, Any], config: AffectConfig) -> dict[str, Any]:
    """Norms and calibration. Raises AffectError `other_network` where one is missing or of another size."""
    for name, count in (("face_norm", len(FACE)), ("voice_norm", len(VOICE))):
        norm = given.get(name, {})
        if any(len(norm.get(key, ())) != count for key in ("mean", "std")):
            raise other_network(told, f"{name} is not of {count} measurements")
    for name, kinds in (("temperatures", VALIDATION), ("second_from", [k for k in VALIDATION if "+" in k])):
        absent = [kind for kind in kinds if kind not in given.get(name, {})]
        if absent:
            raise other_network(told, f"{name} has no {absent[0]}")
    return {name: given[name] for name in FACTS}


def check_base(start: Start, language: Path) -> None:
    """The language model must be the one that the start's LoRA was trained on.

    Raises AffectError `not_found` or `bad_weights`.
    """
    if not language.is_file():
        raise AffectError(f"no language model at {language}", "give another --language", "not_found")
    if start.base != sha256(language):
        raise AffectError(
            f"{language.name} is not the language model of {start.told}", "give --language", "bad_weights"
        )


def whole_state(network: AffectGPT) -> dict[str, Tensor]:
    """All that a checkpoint holds, by its names there."""
    state = {f"vision.{k}": v for k, v in network.vision.state_dict().items()}
    state |= {f"audio.{k}": v for k, v in network.audio.state_dict().items()}
    return state | {f"lora.{k}": v for k, v in lora_state(network.language).items()}


@torch.no_grad()
def fill(network: AffectGPT, state: Mapping[str, Tensor], told: str) -> None:
    """Every weight of the network from the state, and nothing left over. Raises AffectError `other_network`."""
    wanted = whole_state(network)
    for name, value in wanted.items():
        if name not in state:
            raise other_network(told, f"it has no {name}")
        if state[name].shape != value.shape:
            raise other_network(told, f"{name} is {list(state[name].shape)} there and {list(value.shape)} here")
    unknown = next((name for name in state if name not in wanted), None)
    if unknown:
        raise other_network(told, f"it has {unknown}")
    for name, value in wanted.items():
        value.copy_(state[name])
