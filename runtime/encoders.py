"""The exported encoders: face crops or whole frames, and log-mel windows in, soft tokens out, through onnxruntime.

Mirrors export/encoders.py. After a session is made its provider is read back: onnxruntime falls back to the CPU without a
word. Knows graphs and arrays; nothing of clips, prompts or language models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import AffectError
from models.faces import FaceMeasures
from models.pixels import normalise
from models.sound import VoiceMeasures

OPTIONS = {"cpu": {}, "cuda": {"cudnn_conv_algo_search": "HEURISTIC"}}  # the search takes .05 s for each new shape
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
CLIPPED = 3.0  # standard deviations
MEASURES: dict[str, type[FaceMeasures] | type[VoiceMeasures]] = {"face_norm": FaceMeasures, "voice_norm": VoiceMeasures}


def session(path: Path, device: str, threads: int) -> Any:
    """An onnxruntime session whose weights, stored in int8, are widened once. Raises AffectError `no_device`, `bad_bundle`."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise AffectError("onnxruntime is not installed", 'pip install "affectgpt[cpu]"', "not_installed") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 sums overflow on x86 without VNNI else
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the language model wants the cores next
    if PROVIDERS[device] not in ort.get_available_providers():
        raise no_provider(device)
    if device == "cuda":
        ort.preload_dlls()
    try:
        made = ort.InferenceSession(str(path), options, providers=[(PROVIDERS[device], OPTIONS[device])])
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise AffectError(f"{path.name} can't be loaded", str(error).splitlines()[0][:200], "bad_bundle") from error
    if made.get_providers()[0] != PROVIDERS[device]:
        raise no_provider(device)
    return made


def no_provider(device: str) -> AffectError:
    """What is said of a device that this onnxruntime, or this machine, has not."""
    cure = 'pip install "affectgpt[cuda]", or --device cpu'
    return AffectError(f"onnxruntime has no {PROVIDERS[device]}", cure, "no_device")


def check_norms(norms: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Raises AffectError `bad_bundle` where a bundle was trained with other measurements than this program takes."""
    for name, kind in MEASURES.items():
        for key in ("mean", "std"):
            if len(norms[name][key]) != len(fields(kind)):
                words = (
                    f"the bundle knows {len(norms[name][key])} measurements in {name}, the program {len(fields(kind))}"
                )
                raise AffectError(words, "pip install -U affectgpt, or export the bundle again", "bad_bundle")


class Encoders:
    """The four graphs of a bundle: `files` by name (`vision.frame`, `vision.clip`, `audio.window`, `audio.clip`)."""

    def __init__(
        self, files: Mapping[str, Path], norms: Mapping[str, Mapping[str, list[float]]], device: str, threads: int
    ) -> None:
        check_norms(norms)
        self.sessions = {name: session(path, device, threads) for name, path in files.items()}
        self.norms = norms

    def run(self, graph: str, **inputs: np.ndarray) -> np.ndarray:
        """One graph's output. Raises AffectError `encoder_failed`, as when a card has no memory left."""
        try:
            return np.asarray(self.sessions[graph].run(None, inputs)[0])
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            raise AffectError(f"{graph} failed: {str(error).splitlines()[0][:200]}", "", "encoder_failed") from error

    def faces(self, crops: np.ndarray) -> np.ndarray:
        """Grey crops uint8 [T, S, S], or RGB frames uint8 [T, S, S, 3] for a graph that takes them as they are.

        Returns tokens float32 [T, q, C].
        """
        return self.run("vision.frame", pixels=crops if crops.ndim == 4 else normalise(crops))

    def picture(self, tokens: np.ndarray, measures: np.ndarray) -> np.ndarray:
        """Frames' tokens [T, q, C] and raw measurements [M] (nan where unknown) -> soft tokens [N, D]."""
        return self.run("vision.clip", tokens=tokens, measures=self.standard("face_norm", measures))

    def windows(self, mel: np.ndarray) -> np.ndarray:
        """log-mel float32 [W, 80, F] -> states [W, S, C]."""
        return self.run("audio.window", mel=mel.astype(np.float32))

    def sound(self, states: np.ndarray, measures: np.ndarray) -> np.ndarray:
        """Windows' states [W, S, C] and raw measurements [M] -> soft tokens [N, D]."""
        return self.run("audio.clip", states=states, measures=self.standard("voice_norm", measures))

    def standard(self, norm: str, measures: np.ndarray) -> np.ndarray:
        """Measurements as the network saw them: standardised, clipped, 0 where unknown."""
        mean, std = (np.asarray(self.norms[norm][key], np.float32) for key in ("mean", "std"))
        return np.nan_to_num(np.clip((measures - mean) / std, -CLIPPED, CLIPPED)).astype(np.float32)
