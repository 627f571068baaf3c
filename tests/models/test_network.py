"""The network's parts against plain formulas and against transformers, in small."""

import struct

import numpy as np
import pytest
import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

from models.affect import KNOT, MeasureTokens, SoftTokens, VisionBranch
from models.config import AudioConfig, LanguageConfig, QFormerConfig, VisionConfig
from models.encoders import vgg, whisper
from models.errors import AffectError
from models.language import LoraLinear, add_lora, lora_state
from models.qformer import QFormer


def test_a_masked_state_is_never_looked_at() -> None:
    torch.manual_seed(0)
    qformer = QFormer(QFormerConfig(queries=3, layers=2, width=32, heads=4), 16).eval()
    states, mask = torch.randn(2, 5, 16), torch.tensor([[1, 1, 1, 0, 0], [1] * 5], dtype=torch.bool)
    changed = states.clone()
    changed[0, 3:] = 99.0
    assert torch.equal(qformer(states, mask), qformer(changed, mask))
    assert torch.allclose(qformer(states, mask)[0], qformer(states[:1, :3])[0], atol=1e-6)


def test_whispers_layer_is_transformers() -> None:
    """Same weights, same states as transformers' WhisperEncoderLayer."""
    torch.manual_seed(0)
    theirs = WhisperEncoderLayer(WhisperConfig(d_model=32, encoder_attention_heads=4, encoder_ffn_dim=128)).eval()
    ours = whisper.EncoderLayer(32, 4).eval()
    attention = theirs.self_attn
    with torch.no_grad():
        attention_parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        ours.qkv.weight.copy_(torch.cat([part.weight for part in attention_parts]))
        ours.qkv.bias.copy_(torch.cat([attention.q_proj.bias, torch.zeros(32), attention.v_proj.bias]))
    for mine, its in ((ours.out, attention.out_proj), (ours.fc1, theirs.fc1), (ours.fc2, theirs.fc2)):
        mine.load_state_dict(its.state_dict())
    x = torch.randn(2, 7, 32)
    wanted = theirs(x, None)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    assert torch.allclose(ours(x), wanted, atol=1e-5)


def test_a_ctranslate2_file_is_read_and_a_broken_one_refused() -> None:
    values = np.arange(6, dtype="<f2").reshape(2, 3)
    name = b"encoder/x\x00"
    spec = b"Spec\x00"
    data = struct.pack("<IH", 6, len(spec)) + spec + struct.pack("<II", 3, 1)
    data += struct.pack("<H", len(name)) + name + struct.pack("<BIIBI", 2, 2, 3, 4, 12) + values.tobytes()
    read = whisper.read_ctranslate2(data)
    assert np.array_equal(read["encoder/x"].numpy(), values.astype(np.float32))
    with pytest.raises(AffectError):
        whisper.read_ctranslate2(data[:-5])
    with pytest.raises(AffectError):
        whisper.read_ctranslate2(b"nonsense")


def test_the_image_encoder_halves_four_times() -> None:
    """48 pixels give a 3 x 3 grid of 512 numbers."""
    assert vgg.Encoder().eval()(torch.zeros(2, 1, 48, 48)).shape == (2, 9, vgg.WIDTH)


def test_a_clip_of_equal_frames_is_the_frame() -> None:
    """Positions start at zero: a frame position that training never saw changes nothing."""
    torch.manual_seed(0)
    branch = VisionBranch(VisionConfig(), 24).eval()
    tokens, measures = torch.randn(1, 1, 4, 256), torch.zeros(1, 6)
    once, often = branch.clip(tokens, measures), branch.clip(tokens.repeat(1, 8, 1, 1), measures)
    assert torch.allclose(once, often, atol=1e-4)


def test_soft_tokens_have_the_size_of_words() -> None:
    soft = SoftTokens(16, 3, 24)
    soft.scale.fill_(0.25)
    size = soft(torch.randn(2, 4, 16), torch.randn(2, 3))[:, :4].pow(2).mean().sqrt()
    assert size.item() == pytest.approx(0.25, rel=1e-2)


def test_a_measurements_token_lies_between_two_learned_places() -> None:
    """It is at one, moves evenly to the next, stays at the outermost; what was not measured has a place of its own."""
    tokens = MeasureTokens(2, 5)
    places, knots = tokens.places.detach(), tokens.knots

    def at(z: float) -> torch.Tensor:
        return tokens(torch.tensor([[z, 0.0]]))[0].detach()

    assert torch.allclose(at(knots[3].item())[0], places[0, 3], atol=1e-5)
    assert torch.allclose(at(knots[3].item() + KNOT / 4)[0], places[0, 3] * 0.75 + places[0, 4] * 0.25, atol=1e-5)
    assert torch.allclose(at(9.0)[0], places[0, -2], atol=1e-5) and torch.allclose(at(-9.0)[0], places[0, 0], atol=1e-5)
    assert torch.equal(at(1.0)[1], places[1, -1])


def test_lora_is_the_merged_matrix() -> None:
    """W x + (alpha / r) B A x equals (W + (alpha / r) B A) x, and nothing at the start."""
    torch.manual_seed(0)
    base = nn.Linear(8, 6)
    lora = LoraLinear(base, 2, 4.0)
    x = torch.randn(5, 8)
    assert torch.equal(lora(x), base(x))
    nn.init.normal_(lora.lora_B)
    merged = base.weight + 2.0 * lora.lora_B @ lora.lora_A
    assert torch.allclose(lora(x), x @ merged.T + base.bias, atol=1e-5)


def test_lora_goes_on_every_linear_of_the_blocks() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    small = LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=20)
    model = add_lora(LlamaForCausalLM(small), LanguageConfig(lora_rank=3))
    state = lora_state(model)
    assert len(state) == 2 * 7 * 2 and state["layers.1.mlp.down_proj.lora_A"].shape == (3, 32)
    assert AudioConfig().mel_frames == 500
