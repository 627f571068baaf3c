"""`affect-export build`: a checkpoint becomes a bundle, stage by stage, and is verified through the runtime before it is done.

Everything is written beside the target and put in its place at the end: a bundle is there whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export import encoders
from export.card import card
from export.language import write_adapter
from export.verify import AGREE, Agreement, Reference, compare, rebuild
from models import checkpoint
from models.affect import AffectGPT
from models.bundle import check_name, write_manifest
from models.config import AffectConfig
from models.errors import AffectError
from models.items import Item, read_items
from models.language import Tokenizer
from models.packages import sha256
from models.prompt import PROMPT_VERSION

WEIGHTS_LICENCE = "CC-BY-NC-SA-4.0"  # RAVDESS', which the speech encoder and the LoRA were trained on
ADAPTER = "language.lora.gguf"
UNSURE_BELOW = 0.4  # calibrated probability of the first label under which a reading is `unsure`
FP32_COSINE, INT8_COSINE = 0.999, 0.99
MARGIN = 0.1  # probability of a self-check's label over the next one's
ITEMS = 203


@dataclass
class Build:
    """What the stages share."""

    trained: checkpoint.Checkpoint
    model: AffectGPT
    language: Path
    folder: Path
    say: Callable[[str], None]
    report: dict[str, Any]


def build(
    source: Path, out: Path, items: Path | None, language: Path, example: Path | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Exports the checkpoint folder `source` to the bundle folder `out`; gives the report that also lies in it.

    The folder's name becomes the bundle's. Raises AffectError `exists`, `bad_bundle` for a name that can't be one, `not_equal`
    when a graph or the labels differ too much, and what reading can raise.
    """
    if out.exists():
        raise AffectError(f"{out} is there already", "remove it, or choose another -o", "exists")
    check_name(out.name, "choose another -o: the folder's name becomes the bundle's")
    trained = checkpoint.load(source)
    check_base(trained, language)
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    made = Build(trained, rebuild(trained, language), language, work, say, {})
    try:
        export_encoders(made)
        export_language(made)
        finish(made, out.name, items, example)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return made.report


def check_base(trained: checkpoint.Checkpoint, language: Path) -> None:
    """The language model must be the one that the LoRA was trained on."""
    wanted = trained.frozen.get(language.name)
    if wanted != sha256(language):
        raise AffectError(f"{language.name} is not the language model that was trained on", "", "bad_weights")


def export_encoders(made: Build) -> None:
    """Four graphs: float32 against torch, then int8 storage (and int8 computing where that was measured to be faster)."""
    config, cosines = made.trained.config, {}
    graphs = encoders.export_all(config, made.model.vision, made.model.audio, made.folder)
    for name, (module, inputs, _) in encoders.examples(config, made.model.vision, made.model.audio).items():
        with torch.no_grad():
            wanted = module(*inputs.values()).numpy()
        target = made.folder / f"{name}.onnx"
        arrays = {key: value.numpy() for key, value in inputs.items()}
        exact = encoders.cosine(encoders.run(graphs[name], arrays), wanted)
        encoders.store(graphs[name], target, computes_int8=name.startswith("audio"))
        stored = encoders.cosine(encoders.run(target, arrays), wanted)
        graphs[name].unlink()
        cosines[name] = {"float32": exact, "int8": stored, "bytes": target.stat().st_size}
        made.say(
            f"{name}: cosine to torch {exact:.6f} in float32, {stored:.5f} as shipped, {target.stat().st_size / 1e6:.1f} MB"
        )
        if exact < FP32_COSINE or stored < INT8_COSINE:
            raise AffectError(
                f"{name} differs from the trained network", f"cosine {exact:.4f}, {stored:.4f}", "not_equal"
            )
    made.report["encoders"] = cosines


def export_language(made: Build) -> None:
    """The LoRA as an adapter over the packaged 4-bit base: merging and requantizing would round it away."""
    lora = {k.removeprefix("lora."): v.float().numpy() for k, v in made.trained.state.items() if k.startswith("lora.")}
    config = made.model.language.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    write_adapter(
        made.folder / ADAPTER, lora, alpha=made.trained.config.language.lora_alpha, heads=heads, kv_heads=kv_heads
    )
    made.report["adapter"] = {"bytes": (made.folder / ADAPTER).stat().st_size}


def finish(made: Build, name: str, items: Path | None, example: Path | None) -> None:
    """Manifest, verification, self-check, card; the manifest is written again with what they found."""
    spec = manifest(made, name)
    rows = save_selfcheck(made.folder, example) if example else []
    write(made, spec)
    chosen = list(islice(read_items(items), ITEMS)) if items else []
    agreement = verify(made, chosen) if chosen else None
    spec["verified"] = agreement is not None
    spec["selfcheck"] = {"items": expect(made, rows)}
    made.report["verified"] = None if agreement is None else {"n": agreement.n, "equal": agreement.equal}
    write(made, spec)


def write(made: Build, spec: dict[str, Any]) -> None:
    """Card and manifest of what lies in the folder now."""
    (made.folder / "README.md").write_text(card(made.trained, made.report, spec), encoding="utf-8")
    licence = {"licence": WEIGHTS_LICENCE, "origin": "trained by this project"}
    names = [p.relative_to(made.folder).as_posix() for p in sorted(made.folder.rglob("*")) if p.is_file()]
    example = {"licence": "CC-BY-4.0", "origin": "examples/, see its README"}
    files = {n: example if n.startswith("selfcheck/") else licence for n in names if n != "affect.json"}
    write_manifest(made.folder, {**spec, "files": files})


def manifest(made: Build, name: str) -> dict[str, Any]:
    """affect.json without its files."""
    config, facts = made.trained.config, made.trained.facts
    return {
        "name": name,
        "version": "1",
        "reply_form": "labels-first",
        "wording": "drawn",
        "picture": "face",
        "labels": list(config.labels),
        "open_labels": False,
        "unsure_below": UNSURE_BELOW,
        "temperatures": dict(facts["temperatures"]),
        "second_from": dict(facts["second_from"]),
        "preprocessing": preprocessing(config, facts),
        "prompt": {"version": PROMPT_VERSION},
        "language": {"base": base(made), "adapter": ADAPTER, "languages": ["en"]},
        "licences": {"weights": WEIGHTS_LICENCE, "code": "Apache-2.0", "base": "Apache-2.0"},
        "selfcheck": {"items": []},
        "verified": False,
    }


def preprocessing(config: AffectConfig, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the runtime needs to make the encoders' inputs."""
    return {
        "image_size": config.vision.image_size,
        "frames": config.vision.frames,
        "window_seconds": config.audio.window_seconds,
        "max_windows": config.audio.max_windows,
        "face_norm": facts["face_norm"],
        "voice_norm": facts["voice_norm"],
    }


def base(made: Build) -> dict[str, str]:
    """Where the language model's base comes from."""
    package = made.trained.config.language.package
    known = made.language.name == made.trained.config.language.file
    return {
        "package": package if known else "",
        "version": version(package) if known else "",
        "file": made.language.name,
        "sha256": made.trained.frozen[made.language.name],
    }


def load_engine(made: Build) -> Any:
    """The runtime on the folder as it stands."""
    from runtime.engine import Engine

    return Engine.load(made.folder, device="cpu", language_model=made.language)


def verify(made: Build, items: list[Item]) -> Agreement:
    """First labels, torch against the runtime on the very files that users run. Raises AffectError `not_equal`."""
    engine = load_engine(made)
    norms = {key: made.trained.facts[key] for key in ("face_norm", "voice_norm")}
    reference = Reference(made.model, Tokenizer(made.language), norms)
    labels = made.trained.config.labels

    def read(item: Item) -> str:
        segment = engine.read_items(item.faces, item.wave, item.words, only_labels=True)
        return str(segment.labels[0].name)

    agreement = compare(reference, read, items, labels)
    made.say(f"first labels equal to torch's: {agreement.equal} of {agreement.n} ({agreement.share:.1%})")
    if agreement.share < AGREE:
        cure = f"at least {AGREE:.0%} must be equal; different: {', '.join(agreement.differing[:8])}"
        raise AffectError(
            f"only {agreement.share:.1%} of the first labels are the trained network's", cure, "not_equal"
        )
    return agreement


def save_selfcheck(folder: Path, example: Path) -> list[dict[str, Any]]:
    """One face and one voice of the example clip, and rows that name them."""
    from models.faces import FaceFinder, crop
    from models.media import read_clip
    from models.sound import windows

    clip = read_clip(example)
    found = [(frame, face) for frame, face in zip(clip.frames, FaceFinder().follow(clip.frames), strict=True) if face]
    if not found or clip.waveform is None:
        raise AffectError(f"{example.name} shows no speaking face", "choose another example", "bad_items")
    (folder / "selfcheck").mkdir()
    np.save(folder / "selfcheck/faces.npy", np.stack([crop(found[0][0], found[0][1], 48)]), allow_pickle=False)
    wave = np.round(windows(clip.waveform, 3.0)[:1] * 32767).astype(np.int16)
    np.save(folder / "selfcheck/voices.npy", wave, allow_pickle=False)
    face, voice = "selfcheck/faces.npy#0", "selfcheck/voices.npy#0"
    glad, cross = "I am so happy that you came!", "I hate you, get out of here!"
    shown = ((face, None, None), (None, voice, None), (None, None, glad), (face, voice, glad), (face, voice, cross))
    return [
        {"id": f"selfcheck-{n}", "face": f, "voice": v, "words": w, "labels": []} for n, (f, v, w) in enumerate(shown)
    ]


def expect(made: Build, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the label that this bundle gives, which every machine must get again. Processors round differently, so a row
    that is read with little margin is left out."""
    from models.items import read_item

    engine, firm = load_engine(made) if rows else None, []
    for row in rows:
        item = read_item(row, made.folder)
        assert engine is not None
        found = engine.read_items(item.faces, item.wave, item.words, only_labels=True)
        if len(found.named) == 1 and found.labels[0].score - found.labels[1].score >= MARGIN:
            firm.append({**row, "labels": list(found.named)})
    return firm
