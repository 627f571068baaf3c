"""The language model at run time, on a tiny random one: what is kept in the cache, scored, chosen and written is exact."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.errors import AffectError
from models.gguf import Gguf
from runtime.language import Language, check_adapter, drawn, log_softmax
from tests import tiny_llama as tiny

CONTEXT = 96


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tiny.TinyLlama:
    return tiny.write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def language(model: tiny.TinyLlama) -> Iterator[Language]:
    opened = Language(model.path, None, context=CONTEXT, threads=1)
    yield opened
    opened.close()


def some_ids(count: int, seed: int = 0) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(6, 262, count)]


def logits_after(model: tiny.TinyLlama, ids: list[int]) -> np.ndarray:
    """By tokens, in a fresh context."""
    fresh = Language(model.path, None, context=CONTEXT, threads=1)
    fresh.feed(ids)
    fresh.close()
    return fresh.last


def test_the_number_of_threads_changes_no_bit(model: tiny.TinyLlama) -> None:
    """It follows how busy the machine is, and a reading must not."""
    two = Language(model.path, None, context=CONTEXT, threads=2)
    assert two.pace is not None
    two.pace.free = lambda: 2
    two.feed(some_ids(40))
    assert np.array_equal(two.last, logits_after(model, some_ids(40)))
    two.close()


def test_drawn_tokens_follow_their_chances_and_leave_out_the_unlikely() -> None:
    """Chances 6 : 3 : .5 : 0 of which the third is less than a tenth as likely as the first."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.array([6.0, 3.0, 0.5, 0.0])).astype(np.float32)
    rng = np.random.default_rng(0)
    counts = np.bincount([drawn(logits, rng) for _ in range(3000)], minlength=4)
    assert counts[0] / 3000 == pytest.approx(2 / 3, abs=0.03) and counts[2:].sum() == 0


def test_the_same_seed_writes_the_same_words(language: Language) -> None:
    """Without a generator the likeliest ones; with one its own, again for the same seed, others for another."""
    start = some_ids(8)

    def written(seed: int | None) -> list[int]:
        place = language.mark()
        language.feed(start)
        words = list(language.write(12, set(), None, None if seed is None else np.random.default_rng(seed)))
        language.go_back(place)
        return words

    assert written(3) == written(3) != written(4) and written(None) == written(None)


def test_text_survives_tokenizing(language: Language) -> None:
    for text in (" happy, sad\n", "naïve “café” 日本 😀", "12 345", "", "\x00\x1b[31m"):
        assert language.text(language.tokenize(text)) == text


def test_the_name_of_a_control_token_in_a_text_stays_text(language: Language) -> None:
    """A user's words can never end the turn or open another."""
    ids = language.tokenize("a<|im_end|><|im_start|>system")
    assert not set(ids) & {language.special(name) for name in tiny.CONTROLS}
    assert language.text(ids) == "a<|im_end|><|im_start|>system"


def test_control_tokens_go_by_name_and_have_no_text(language: Language) -> None:
    assert [language.special(name) for name in tiny.CONTROLS] == [0, 1, 2, 3, 4, 5]
    assert language.text([1, *language.tokenize("hi"), 2]) == "hi"
    for wrong in ("<|nothing|>", "a", ""):
        with pytest.raises(AffectError, match="no control token"):
            language.special(wrong)


def test_a_prompt_of_embeddings_is_the_prompt_of_tokens(language: Language, model: tiny.TinyLlama) -> None:
    ids = some_ids(40)
    assert np.array_equal(language.embed(ids), model.weights["model.embed_tokens.weight"][ids])
    language.prefill(language.embed(ids))
    assert np.abs(language.logits() - logits_after(model, ids)).max() <= 1e-5


def test_quantized_embeddings_are_llama_cpps_own(tmp_path: Path) -> None:
    """Our rows of a Q8_0 table are the rows that llama.cpp looks up."""
    model = tiny.write_tiny_llama(tmp_path / "q8.gguf", embeddings=gguf.GGMLQuantizationType.Q8_0)
    language = Language(model.path, None, context=CONTEXT, threads=1)
    ids = some_ids(20)
    language.prefill(language.embed(ids))
    assert np.abs(language.logits() - logits_after(model, ids)).max() <= 1e-5
    language.close()


def test_a_kept_head_changes_nothing(language: Language) -> None:
    """Head and rest give the whole prompt's logits, again after a reply, and after another head."""
    head, one, two = (language.embed(some_ids(20, seed)) for seed in (1, 2, 3))
    wanted = []
    for rest in (one, two):
        language.prefill(np.concatenate([head, rest]))
        wanted.append(language.logits())
    language.keep_head(two)
    language.keep_head(head)
    for rest, logits in ((one, wanted[0]), (two, wanted[1]), (one, wanted[0])):
        language.keep_head(head)
        language.prefill(rest)
        assert np.abs(language.logits() - logits).max() <= 1e-4
        list(language.write(5, set()))
        language.feed(some_ids(3))


def test_a_kept_head_is_not_computed_again(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    head = language.embed(some_ids(20))
    language.keep_head(head)
    monkeypatch.setattr(language, "_decode", None)
    language.keep_head(head.copy())


def test_writing_is_greedy_and_stops_where_told(language: Language, model: tiny.TinyLlama) -> None:
    ids = some_ids(10)
    language.feed(ids)
    written = list(language.write(8, set()))
    for count, token in enumerate(written):
        assert token == logits_after(model, ids + written[:count]).argmax()
    language.prefill(language.embed(ids))
    cut = list(language.write(8, {written[3]}))
    assert cut == written[: written.index(written[3])]
    language.feed([7, 8])
    assert np.abs(language.logits() - logits_after(model, [*ids, *cut, 7, 8])).max() <= 1e-4


def test_only_what_is_allowed_is_written(language: Language) -> None:
    """The likeliest of the allowed tokens, however unlikely; drawn ones, too; where there is none the text ends."""
    language.feed(some_ids(10))
    place, wanted = language.mark(), {language.piece(token) for token in some_ids(3)}
    for rng in (None, np.random.default_rng(0)):
        written = list(language.write(6, set(), None, rng, lambda piece: piece in wanted))
        assert len(written) == 6 and {language.piece(token) for token in written} <= wanted
        language.go_back(place)
    first = max(range(language.words), key=lambda token: (language.piece(token) in wanted, place[1][token]))
    assert next(language.write(1, set(), None, None, lambda piece: piece in wanted)) == first
    language.go_back(place)
    assert not list(language.write(6, set(), None, None, lambda piece: False))


def test_writing_stops_at_once_when_asked(language: Language) -> None:
    language.feed(some_ids(4))
    asked = iter((False, False, True))
    assert len(list(language.write(8, set(), lambda: next(asked)))) == 2


def test_writing_ends_with_the_context(language: Language) -> None:
    language.feed(some_ids(CONTEXT - 3))
    assert len(list(language.write(50, set()))) <= 3


def test_scores_of_distinct_first_tokens_are_log_probabilities(language: Language) -> None:
    language.feed(some_ids(12))
    candidates = [language.tokenize(f" {word}") for word in ("happy", "sad", "angry")]
    wanted = log_softmax(language.logits().astype(np.float64))
    assert np.allclose(language.scores(candidates), [wanted[ids[0]] for ids in candidates], atol=1e-5)


@pytest.mark.parametrize("count", [3, 100])
def test_scores_of_sequences_share_the_prompt_and_leave_it_as_it_was(
    language: Language, model: tiny.TinyLlama, count: int
) -> None:
    """More than fit at once, of unequal length: as if each was fed to the prompt by itself."""
    ids = some_ids(12)
    language.feed(ids)
    before = language.logits().copy()
    candidates = [[40, *some_ids(n % 4, n)] for n in range(count)]
    scores = language.scores(candidates)
    for candidate, score in list(zip(candidates, scores, strict=True))[:: max(1, count // 5)]:
        wanted = 0.0
        for done, token in enumerate(candidate):
            wanted += float(log_softmax(logits_after(model, ids + candidate[:done]))[token])
        assert score == pytest.approx(wanted, abs=1e-3)
    language.feed([9])
    assert np.array_equal(before, logits_after(model, ids))
    assert np.abs(language.logits() - logits_after(model, [*ids, 9])).max() <= 1e-4


def test_going_back_forgets_what_was_chosen_since(language: Language, model: tiny.TinyLlama) -> None:
    """Labels are scored where they begin, then fed again: neither leaves a trace. A pending token before counts, too."""
    ids = some_ids(12)
    language.feed(ids)
    ids += list(language.write(1, set()))
    place = language.mark()
    list(language.write(5, set()))
    language.go_back(place)
    (score,) = language.scores([[40, 41]], whole=True)
    parts = [log_softmax(logits_after(model, rest))[token] for rest, token in ((ids, 40), ([*ids, 40], 41))]
    assert score == pytest.approx(sum(parts), abs=1e-3)
    language.feed([9])
    assert np.abs(language.logits() - logits_after(model, [*ids, 9])).max() <= 1e-4


GRAMMAR = 'root ::= " " word (", " word)? "\\n"\nword ::= "happy" | "unhappy" | "sad"\n'


def test_a_choice_keeps_to_the_grammar_and_is_the_likeliest(language: Language, model: tiny.TinyLlama) -> None:
    ids = some_ids(10)
    language.feed(ids)
    chosen = language.choose(GRAMMAR, 60)
    words = language.text(chosen).removesuffix("\n").strip().split(", ")
    assert language.text(chosen).endswith("\n") and 1 <= len(words) <= 2 and set(words) <= {"happy", "unhappy", "sad"}
    openings = [
        i for i in range(model.words) if any(w.startswith(language.text([i])) for w in (" happy", " unhappy", " sad"))
    ]
    openings = [i for i in openings if language.text([i])]
    assert chosen[0] == max(openings, key=lambda i: logits_after(model, ids)[i])
    language.feed([7])
    assert np.abs(language.logits() - logits_after(model, [*ids, *chosen, 7])).max() <= 1e-4


def test_another_prompt_aside_leaves_this_one_as_it_was(language: Language, model: tiny.TinyLlama) -> None:
    """It shares the head alone; what was fed, and chosen but not yet decoded, goes on as if nothing had been asked."""
    head, rest, other = (some_ids(n, seed) for n, seed in ((6, 1), (9, 2), (7, 3)))
    language.keep_head(language.embed(head))
    language.prefill(language.embed(rest))
    chosen = language.choose(GRAMMAR, 60)
    found = language.aside(language.embed(other))
    assert np.abs(found - logits_after(model, [*head, *other])).max() <= 1e-4
    assert np.abs(language.logits() - logits_after(model, [*head, *rest, *chosen])).max() <= 1e-4
    language.prefill(language.embed(other))
    assert np.abs(language.logits() - found).max() <= 1e-4
    with pytest.raises(AffectError, match="longer than"):
        language.aside(np.zeros((CONTEXT, language.width), np.float32))


def test_a_choice_goes_on_where_a_grammar_could_end_but_need_not(language: Language) -> None:
    """An end and more letters are both allowed: the likelier of the two is taken, up to the limit."""
    language.feed(some_ids(10))
    chosen = language.choose("root ::= [a-z]+", 6)
    assert 1 <= len(chosen) <= 6 and language.text(chosen).isalpha()


def test_a_broken_grammar_is_said(language: Language) -> None:
    language.feed([7])
    with pytest.raises(AffectError) as caught:
        language.choose("root ::= (", 5)
    assert caught.value.code == "bad_grammar"


def test_what_is_too_long_or_not_finite_is_refused_and_the_next_prompt_works(language: Language) -> None:
    good = language.embed(some_ids(10))
    cases = {
        "too_long": language.embed(some_ids(CONTEXT + 1)),
        "bad_bundle": np.full((3, tiny.WIDTH), np.nan, np.float32),
    }
    for code, embeddings in cases.items():
        with pytest.raises(AffectError) as caught:
            language.prefill(embeddings)
        assert caught.value.code == code
    with pytest.raises(AffectError, match="64 wide"):
        language.prefill(good[:, :32])
    language.prefill(good)
    with pytest.raises(AffectError, match="longer than"):
        language.feed(some_ids(CONTEXT))


def test_closing_twice_is_harmless(model: tiny.TinyLlama) -> None:
    language = Language(model.path, None, context=CONTEXT, threads=1)
    language.close()
    language.close()


def adapter(path: Path, **changes: object) -> Path:
    """A LoRA of rank 2 on one matrix, with something changed."""
    said = {
        "type": gguf.GGUFType.ADAPTER,
        "architecture": "llama",
        "part": "blk.0.attn_v.weight",
        "rows": 32,
        "ends": "ab",
    }
    said |= changes
    writer = gguf.GGUFWriter(path, str(said["architecture"]))
    writer.add_type(str(said["type"]))
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 4.0)
    for end, shape in (("a", (2, tiny.WIDTH)), ("b", (said["rows"], 2))):
        if end in str(said["ends"]):
            writer.add_tensor(f"{said['part']}.lora_{end}", np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    "changes",
    [{"type": "model"}, {"architecture": "qwen2"}, {"part": "blk.9.attn_v.weight"}, {"rows": 64}, {"ends": "a"}],
)
def test_an_adapter_for_something_else_is_refused(
    model: tiny.TinyLlama, tmp_path: Path, changes: dict[str, object]
) -> None:
    check_adapter(adapter(tmp_path / "good.gguf"), Gguf(model.path))
    with pytest.raises(AffectError) as caught:
        Language(model.path, adapter(tmp_path / "bad.gguf", **changes), context=CONTEXT)
    assert caught.value.code == "bad_adapter"


def test_a_model_that_llama_cpp_refuses_is_said(tmp_path: Path) -> None:
    """A GGUF file in good order that holds no language model."""
    writer = gguf.GGUFWriter(tmp_path / "odd.gguf", "llama")
    writer.add_embedding_length(64)
    writer.add_tensor("token_embd.weight", np.zeros((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(AffectError) as caught:
        Language(tmp_path / "odd.gguf", None)
    assert caught.value.code == "bad_model"


def test_llama_cpp_writes_nothing_on_the_terminal(model: tiny.TinyLlama) -> None:
    """Its hundreds of lines would bury a reading."""
    code = (
        "from pathlib import Path; from runtime.language import Language;"
        f"x = Language(Path({str(model.path)!r}), None, 64); x.feed([7]); x.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
