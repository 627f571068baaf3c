"""The language model while it is trained: the base of a GGUF file, frozen, with LoRA on every linear layer.

Knows tokens and embeddings; nothing of pictures or sound. The base is the very 4-bit grid that users run, widened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import LanguageConfig
from models.errors import AffectError
from models.prompt import Control, Media, Piece, Text

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PLACEHOLDERS = {"visual": 4, "audio": 5}  # control ids that SmolLM2 never writes (its last ids are real words)


class Tokenizer:
    """Plain text to ids with no control token ever parsed and none added; control tokens by their exact name."""

    def __init__(self, path: Path) -> None:
        from transformers import AutoTokenizer

        self.path = path
        self.fast = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
        self.tokenize = lru_cache(1 << 16)(self._tokenize)  # most pieces of prompts and replies come again and again

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Path]]:
        """A worker process reads the file again: the cache can't be pickled."""
        return Tokenizer, (self.path,)

    def _tokenize(self, text: str) -> tuple[int, ...]:
        """Ids of plain text."""
        return tuple(self.fast(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def special(self, name: str) -> int:
        """Id of a control token. Raises AffectError `bad_tokenizer` when there is none of that name."""
        ids: Any = self.fast.convert_tokens_to_ids([name, "<|endoftext|>"])
        if ids[0] is None or ids[0] == self.fast.unk_token_id != ids[1]:
            raise AffectError(f"the tokenizer has no {name}", "", "bad_tokenizer")
        return int(ids[0])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens left out."""
        return str(self.fast.decode(list(ids), skip_special_tokens=True))


def prompt_ids(pieces: Sequence[Piece], tokenizer: Tokenizer, counts: Mapping[str, int]) -> list[int]:
    """Ids of a prompt, every piece by itself; a modality's `counts` placeholders stand for its soft tokens."""
    ids: list[int] = []
    for piece in pieces:
        match piece:
            case Text(text):
                ids += tokenizer.tokenize(text)
            case Control(name):
                ids.append(tokenizer.special(name))
            case Media(modality):
                ids += [PLACEHOLDERS[modality]] * counts[modality]
    return ids


def load_base(path: Path) -> nn.Module:
    """The frozen causal LM of a GGUF file in float32. Raises AffectError `not_found`."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if not path.is_file():
        raise AffectError(f"no language model at {path.name}", 'pip install "affectgpt[cpu]"', "not_found")
    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    return model.requires_grad_(False).eval()


class LoraLinear(nn.Module):
    """A frozen linear layer with a low-rank correction: W x + (alpha / r) B A x (arXiv 2106.09685), B zero at first.

    A and B stay in float32 and are cast to the layer's type, never the layer's input to theirs: half the memory traffic.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        low = F.linear(x, self.lora_A.to(x.dtype))
        return self.base(x) + F.linear(low, (self.lora_B * self.scale).to(x.dtype))


def add_lora(model: nn.Module, config: LanguageConfig) -> nn.Module:
    """LoRA of `config.lora_rank` on every linear layer of the blocks, in place; only it is trained."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if name in LORA_TARGETS and isinstance(child, nn.Linear):
                setattr(parent, name, LoraLinear(child, config.lora_rank, config.lora_alpha))
    return model


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The LoRA's matrices by layer name: `layers.3.self_attn.q_proj.lora_A` [r, in] and `.lora_B` [out, r]."""
    return {name.removeprefix("model."): value for name, value in model.named_parameters() if ".lora_" in name}
