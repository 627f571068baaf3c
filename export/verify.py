"""Does the bundle say what the trained network says? First labels on items, torch against the very files that users run.

The one place that looks across: trained network on one side, `runtime` on the other. Knows items and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.affect import AffectGPT, Batch
from models.checkpoint import Checkpoint
from models.faces import FaceFinder
from models.inputs import hear, numbers, see
from models.items import Item
from models.language import Tokenizer, add_lora, load_base, lora_state, prompt_ids
from models.pixels import normalise
from models.prompt import Present, body, clean_words, head

AGREE = 0.97  # share of first labels that must be equal


def rebuild(checkpoint: Checkpoint, language: Path) -> AffectGPT:
    """The trained network in float32, in eval mode."""
    model = AffectGPT(checkpoint.config, add_lora(load_base(language), checkpoint.config.language))
    state = checkpoint.state
    model.vision.load_state_dict({k.removeprefix("vision."): v for k, v in state.items() if k.startswith("vision.")})
    model.audio.load_state_dict({k.removeprefix("audio."): v for k, v in state.items() if k.startswith("audio.")})
    with torch.no_grad():
        for name, value in lora_state(model.language).items():
            value.copy_(state[f"lora.{name}"])
    return model.eval()


class Reference:
    """The trained network reading items as the runtime does: same preprocessing, same prompt, full precision."""

    def __init__(self, model: AffectGPT, tokenizer: Tokenizer, norms: dict[str, Any]) -> None:
        self.model, self.tokenizer, self.norms, self.finder = model, tokenizer, norms, FaceFinder()
        self.counts = {"visual": model.vision.count, "audio": model.audio.count}
        self.first = [tokenizer.tokenize(f" {label}")[0] for label in model.config.labels]

    def standard(self, name: str, measures: Any) -> torch.Tensor:
        """Measurements [1, M] as the network wants them."""
        mean, std = (np.asarray(self.norms[name][key], np.float32) for key in ("mean", "std"))
        z = np.clip((numbers(measures) - mean) / std, -3, 3)
        return torch.from_numpy(np.nan_to_num(z).astype(np.float32))[None]

    @torch.no_grad()
    def scores(self, item: Item) -> np.ndarray:
        """Log-probabilities of the closed list at the first label."""
        audio = self.model.config.audio
        heard, words = hear(item.wave, audio.window_seconds, audio.max_windows), clean_words(item.words)
        present = Present(item.faces is not None, heard is not None, words)
        ids = torch.tensor([prompt_ids([*head(), *body(present)], self.tokenizer, self.counts)])
        batch = Batch(ids, torch.zeros(ids.shape))
        if item.faces is not None:
            seen = see(self.finder, item.faces)
            batch.pixels = torch.from_numpy(normalise(seen.crops))[None]
            batch.visual_measures = self.standard("face_norm", seen.measures)
        if heard is not None:
            batch.mel = torch.from_numpy(heard.mel)[None]
            batch.audio_measures = self.standard("voice_norm", heard.measures)
        logits = self.model.language.lm_head(self.model.hidden(batch)[:, -1])
        return np.asarray(logits[0, self.first].float().log_softmax(0))


@dataclass(frozen=True)
class Agreement:
    """How many first labels were equal, and the items that differed."""

    n: int
    equal: int
    differing: tuple[str, ...]

    @property
    def share(self) -> float:
        """Equal first labels over all."""
        return self.equal / max(1, self.n)


def compare(
    reference: Reference, read: Callable[[Item], str], items: Iterable[Item], labels: Sequence[str]
) -> Agreement:
    """First label by first label: `read` is the runtime's."""
    equal, differing = 0, []
    for item in items:
        if labels[int(reference.scores(item).argmax())] == read(item):
            equal += 1
        else:
            differing.append(item.id)
    return Agreement(equal + len(differing), equal, tuple(differing))
