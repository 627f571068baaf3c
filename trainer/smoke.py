"""`affect-train run --smoke`: every stage in minutes on a CPU, on data made in code and a tiny language model.

The data has a rule that can be learned (a bright half of the face, a pitch, a word per label), so a test can ask whether
training learns. Knows arrays; nothing of real corpora.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.clues import FACE, VOICE
from models.config import AffectConfig
from models.emotions import LABELS
from models.encoders import whisper
from trainer.datasets import Corpus, Line, Sources, save
from trainer.seeds import FILE

SMOKE = (
    "model.audio.layers=1",
    "model.audio.width=64",
    "model.audio.heads=2",
    "model.audio.window_seconds=1.0",
    "model.language.lora_rank=4",
    "train.validation=64",
    "train.voice.steps=30",
    "train.voice.batch=16",
    "train.voice.warmup=5",
    "train.teacher.steps=12",
    "train.teacher.batch=16",
    "train.teacher.warmup=3",
    "train.face.steps=12",
    "train.face.batch=16",
    "train.face.warmup=3",
    "train.joint.steps=30",
    "train.joint.batch=8",
    "train.joint.warmup=5",
    "train.refine.steps=10",
    "train.refine.batch=8",
    "train.refine.warmup=2",
)
WORDS = dict(zip(LABELS, ("table", "river", "sunshine", "rain", "fire", "spider", "mud", "thunder"), strict=True))
PER_LABEL = 12


def make_smoke_data(config: AffectConfig, folder: Path) -> tuple[Path, Path]:
    """Writes a prepared folder and a tiny language model; returns both paths. The same bytes every time."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    save(folder, Corpus(smoke_faces(rng), smoke_voices(rng, config.audio.window_seconds), smoke_lines()))
    save_seeds(config, folder)
    return folder, tiny_language_model(folder / "tiny.gguf")


def labels_and_splits() -> tuple[list[str], list[str]]:
    """PER_LABEL rows of each label, every third of them for validation."""
    labels = [label for label in LABELS for _ in range(PER_LABEL)]
    return labels, ["validation" if i % 3 == 2 else "train" for i in range(len(labels))]


def smoke_faces(rng: np.random.Generator) -> Sources:
    """Noise with a bright band whose height is the label's."""
    labels, splits = labels_and_splits()
    faces = rng.integers(0, 90, (len(labels), 48, 48)).astype(np.uint8)
    for face, label in zip(faces, labels, strict=True):
        top = 6 * LABELS.index(label)
        face[top : top + 6] += 150
    measures = rng.normal(size=(len(labels), len(FACE))).astype(np.float32)
    return Sources(faces, labels, splits, measures, [""] * len(labels))


def smoke_voices(rng: np.random.Generator, seconds: float) -> Sources:
    """A hum whose pitch is the label's, in noise."""
    labels, splits = labels_and_splits()
    time = np.arange(round(seconds * 16000)) / 16000
    pitch = np.array([100.0 * 1.35 ** LABELS.index(label) for label in labels])
    waves = 0.4 * np.sin(2 * np.pi * pitch[:, None] * time) + 0.02 * rng.normal(size=(len(labels), len(time)))
    measures = rng.normal(size=(len(labels), len(VOICE))).astype(np.float32)
    measures[:, 0] = np.log(pitch)
    return Sources(np.round(waves * 20000).astype(np.int16), labels, splits, measures, [""] * len(labels))


def smoke_lines() -> list[Line]:
    """Lines with a word that only their label has."""
    frames = (
        "there is {0} here",
        "I see {0} again",
        "it was {0}",
        "oh, {0}!",
        "only {0} and no more",
        "look at the {0}",
    )
    labels, splits = labels_and_splits()
    rows = enumerate(zip(labels, splits, strict=True))
    return [Line(frames[i % len(frames)].format(WORDS[label]), label, split, "smoke") for i, (label, split) in rows]


def save_seeds(config: AffectConfig, folder: Path) -> None:
    """A random speech encoder in the place of the packages'."""
    from safetensors.torch import save_file

    voice = whisper.Encoder(config.audio).state_dict()
    save_file({f"voice.{k}": v.contiguous() for k, v in voice.items()}, folder / FILE)


CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|c3|>", "<|c4|>", "<|c5|>")
WIDTH, LAYERS, HEADS, FEED_FORWARD = 64, 2, 2, 128


def byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte value."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges: the control tokens, every byte, and each label word with its leading space as one token."""
    tokens, merges = [*CONTROLS, *byte_letters()], []
    for word in (f"\u0120{label}" for label in LABELS):
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    return tokens, merges


def tiny_language_model(path: Path) -> Path:
    """A random llama of two layers as a GGUF file with a byte-level tokenizer: the shape of SmolLM2 in small."""
    import gguf

    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(CONTROLS) + [1] * (len(tokens) - len(CONTROLS)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    for name, shape in tensor_shapes(len(tokens)).items():
        scale = 1.0 if name.endswith("norm.weight") else 0.0
        values = torch.full(shape, scale) if scale else torch.randn(shape) / shape[-1] ** 0.5
        writer.add_tensor(name, values.numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensor_shapes(vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """llama.cpp's tensor names and shapes."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary_size, WIDTH), "output_norm.weight": (WIDTH,)}
    for i in range(LAYERS):
        square = {f"blk.{i}.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
        shapes |= {f"blk.{i}.attn_norm.weight": (WIDTH,), f"blk.{i}.ffn_norm.weight": (WIDTH,), **square}
        shapes |= {f"blk.{i}.ffn_{part}.weight": (FEED_FORWARD, WIDTH) for part in ("gate", "up")}
        shapes[f"blk.{i}.ffn_down.weight"] = (WIDTH, FEED_FORWARD)
    return shapes
