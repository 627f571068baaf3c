"""The language model at run time: a 4-bit GGUF file and a LoRA adapter through llama.cpp's low-level interface.

A prompt is a batch of embeddings, text and soft tokens alike; its constant head stays in the KV cache between prompts.
Knows ids, embeddings and grammars; nothing of clips, labels or what a prompt says.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import AffectError
from models.gguf import EMBEDDINGS, Gguf, Tensor
from runtime.llama import llama
from runtime.pace import Pace

SEQUENCES = 64  # the prompt's own and up to 63 candidates that share it
LIKELY = (48, 1024)  # likeliest tokens held against a grammar first: 0.2 and 0.4 ms; all 49,152 take 25 to 40
UNLIMITED = 1 << 30
FLOATS = {0, 1}  # ggml's f32 and f16
MIN_P = 0.1
FULL = 1  # llama_decode: no room left in the KV cache
TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def drawn(logits: np.ndarray, rng: np.random.Generator) -> int:
    """A token [V] in proportion to its probability, of those that are not too unlikely."""
    chances = np.exp(logits - logits.max(), dtype=np.float64)
    likely = np.flatnonzero(chances >= MIN_P)
    return int(rng.choice(likely, p=chances[likely] / chances[likely].sum()))


class Log:
    """llama.cpp's log: kept from the terminal unless `verbose`; its last error is for our own message."""

    def __init__(self) -> None:
        self.verbose, self.error = False, ""
        self.callback = llama.llama_log_callback(self.hear)  # llama.cpp holds no reference
        llama.llama_log_set(self.callback, ctypes.c_void_p(0))

    def hear(self, level: int, text: bytes, _: Any) -> None:
        """One piece of the log; 4 is an error."""
        line = text.decode("utf-8", "replace")
        if level == 4:
            self.error = line.strip()
        if self.verbose:
            sys.stderr.write(line)


LOG = Log()
llama.llama_backend_init()


class Batch:
    """A llama.cpp batch of embeddings, or of tokens where `width` is 0, with numpy views on its arrays."""

    def __init__(self, capacity: int, width: int) -> None:
        self.raw, self.capacity = llama.llama_batch_init(capacity, width, 1), capacity
        view = np.ctypeslib.as_array
        self.positions, self.wanted = view(self.raw.pos, (capacity,)), view(self.raw.logits, (capacity,))
        self.values = view(self.raw.embd, (capacity, width)) if width else view(self.raw.token, (capacity,))
        view(self.raw.n_seq_id, (capacity,))[:] = 1
        self.sequences = [self.raw.seq_id[i] for i in range(capacity)]

    def fill(self, values: Any, first: int, sequence: int = 0) -> None:
        """Rows of a sequence (the prompt's own is 0) from the position `first` on; logits are wanted of the last one."""
        count = self.raw.n_tokens = len(values)
        self.values[:count], self.positions[:count] = values, np.arange(first, first + count)
        self.wanted[:count], self.wanted[count - 1] = 0, 1
        for place in self.sequences[:count]:
            place[0] = sequence

    def fill_sequences(self, sequences: Sequence[Sequence[int]], first: int) -> None:
        """Tokens of several sequences (ids 1, 2, ...), each from `first` on; logits are wanted of every one."""
        flat = [(token, i, at) for i, ids in enumerate(sequences, 1) for at, token in enumerate(ids, first)]
        count = self.raw.n_tokens = len(flat)
        self.values[:count], self.positions[:count] = [f[0] for f in flat], [f[2] for f in flat]
        self.wanted[:count] = 1
        for place, (_, sequence, _) in zip(self.sequences, flat, strict=False):
            place[0] = sequence


class Language:
    """A language model with room for `context` positions. Every method but `close` needs it open.

    Raises AffectError: `not_found`, `bad_gguf`, `bad_model`, `bad_adapter`, `no_device`.
    """

    def __init__(
        self,
        model: Path,
        adapter: Path | None,
        context: int = 1024,
        threads: int = 2,
        gpu: bool = False,
        verbose: bool = False,
    ) -> None:
        LOG.verbose, self.context = verbose, context
        self.file = Gguf(model)
        self.width = self.file.width
        if adapter:
            check_adapter(adapter, self.file)
        with ExitStack() as opened:
            self.model = load_model(model, gpu)
            opened.callback(llama.llama_model_free, self.model)  # and its adapter
            self.state = new_context(self.model, model.name, context, threads, gpu)
            opened.callback(llama.llama_free, self.state)
            if adapter:
                add_adapter(self.model, self.state, adapter)
            self.tokens, self.embeddings = Batch(context, 0), Batch(context, self.width)
            for batch in (self.tokens, self.embeddings):
                opened.callback(llama.llama_batch_free, batch.raw)
            self.opened = opened.pop_all()
        self.memory = llama.llama_get_memory(self.state)
        self.vocabulary = llama.llama_model_get_vocab(self.model)
        self.words = int(llama.llama_vocab_n_tokens(self.vocabulary))
        self.ends = [i for i in range(self.words) if llama.llama_vocab_is_eog(self.vocabulary, i)]
        self.pace = None if gpu else Pace.of(threads)
        self.pieces: dict[int, bytes] = {}
        self.head: np.ndarray | None = None
        self.position, self.pending = 0, list[int]()
        self.last = np.empty(0, np.float32)

    def tokenize(self, text: str) -> list[int]:
        """Ids of plain text: no control token is ever parsed and none added."""
        return self._tokenize(text, parse=False)

    def _tokenize(self, text: str, parse: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        found = (llama.llama_token * (len(data) + 2))()  # a token is a byte or more; some tokenizers add a space
        count = llama.llama_tokenize(self.vocabulary, data, len(data), found, len(found), False, parse)
        return found[:count]

    def special(self, name: str) -> int:
        """Id of a control token by its exact text. Raises AffectError `bad_model` when there is none."""
        ids = self._tokenize(name, parse=True)
        if len(ids) != 1 or not llama.llama_vocab_is_control(self.vocabulary, ids[0]):
            raise AffectError(f"the language model has no control token {name}", "", "bad_model")
        return ids[0]

    def embed(self, ids: Sequence[int]) -> np.ndarray:
        """The tokens' embeddings, float32 [n, width]."""
        return self.file.rows(EMBEDDINGS, ids)

    def text(self, ids: Sequence[int]) -> str:
        """The tokens' text; control tokens have none."""
        return b"".join(map(self.piece, ids)).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """A token's bytes, which may be less than a letter; a control token has none."""
        if token not in self.pieces:
            self.pieces[token] = self._piece(token)
        return self.pieces[token]

    def _piece(self, token: int, room: int = 64) -> bytes:
        data = ctypes.create_string_buffer(room)
        size = llama.llama_token_to_piece(self.vocabulary, token, data, room, 0, False)
        return data.raw[:size] if size >= 0 else self._piece(token, -size)

    def keep_head(self, embeddings: np.ndarray) -> None:
        """Prefills the start [n, width] that coming prompts share; with the head already kept this is free."""
        if self.head is not None and np.array_equal(self.head, embeddings):
            self._drop_after(len(self.head))
            return
        self.head = None
        self._drop_after(0)
        self._extend(embeddings)
        self.head = np.array(embeddings, np.float32)

    def prefill(self, embeddings: np.ndarray) -> None:
        """The prompt [n, width] after the head, as one batch; what followed the head before is dropped.

        Raises AffectError `too_long`, and `bad_bundle` for embeddings that are not finite.
        """
        self._drop_after(0 if self.head is None else len(self.head))
        self._extend(embeddings)

    def aside(self, embeddings: np.ndarray) -> np.ndarray:
        """Logits float32 [vocabulary] after another prompt [n, width] with the same head; the present one stays as it is.

        Raises AffectError `too_long`, and `bad_bundle` for embeddings that are not finite.
        """
        kept = 0 if self.head is None else len(self.head)
        self._check(embeddings)
        llama.llama_memory_seq_cp(self.memory, 0, 1, 0, kept)
        self.embeddings.fill(embeddings, kept, sequence=1)
        self._submit(self.embeddings)
        logits = self._row(len(embeddings) - 1)
        llama.llama_memory_seq_rm(self.memory, 1, -1, -1)
        return logits

    def feed(self, ids: Sequence[int]) -> None:
        """Appends forced tokens, in one batch with tokens chosen but not yet decoded. Raises AffectError `too_long`."""
        ids = [*self.pending, *ids]
        if ids:
            self._decode(self.tokens, ids)
        self.pending = []

    def logits(self) -> np.ndarray:
        """Of the next token, float32 [vocabulary]."""
        if self.pending:
            self.feed([])
        return self.last

    def mark(self) -> tuple[int, np.ndarray]:
        """The place after all that was fed and chosen, for `go_back`."""
        return self.position + len(self.pending), self.logits()

    def go_back(self, place: tuple[int, np.ndarray]) -> None:
        """Forgets what came after a `mark` of this prompt."""
        self._drop_after(place[0])
        self.last = place[1]

    def scores(self, candidates: Sequence[Sequence[int]], whole: bool = False) -> np.ndarray:
        """Log-probabilities float32 [n] over the whole vocabulary of each candidate's tokens coming next.

        Where the first tokens are distinct they alone decide, unless `whole`; else the whole sequences do, sharing the
        prompt's KV.
        """
        first = [ids[0] for ids in candidates]
        now = log_softmax(self.logits())
        if len(set(first)) == len(first) and not whole:
            return now[first]
        return now[first] + self._rest_scores(candidates)

    def _rest_scores(self, candidates: Sequence[Sequence[int]]) -> np.ndarray:
        """Log-probabilities of what follows each candidate's first token, as many at once as fit."""
        total: list[float] = []
        room = min(self.context - self.position, self.tokens.capacity)
        while len(total) < len(candidates):
            group: list[Sequence[int]] = []
            for ids in candidates[len(total) : len(total) + SEQUENCES - 1]:
                if sum(map(len, group)) + len(ids) > room:
                    break
                group.append(ids)
            if not group:
                raise self._too_long()
            total += self._group_scores(group)
        return np.array(total, np.float32)

    def _group_scores(self, group: Sequence[Sequence[int]]) -> list[float]:
        """The same for candidates that fit in the cache together."""
        if all(len(ids) == 1 for ids in group):
            return [0.0] * len(group)
        for sequence in range(1, len(group) + 1):
            llama.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
        self.tokens.fill_sequences([ids[:-1] for ids in group], self.position)
        self._submit(self.tokens)
        rows = iter(range(self.tokens.raw.n_tokens))
        scores = [sum(float(log_softmax(self._row(next(rows)))[token]) for token in ids[1:]) for ids in group]
        for sequence in range(1, len(group) + 1):
            llama.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        return scores

    def choose(self, grammar: str, max_tokens: int) -> list[int]:
        """The likeliest tokens, one after the other, that a GBNF grammar (rule `root`) allows, until it ends.

        Raises AffectError `bad_grammar`, `too_long`.
        """
        rules = llama.llama_sampler_init_grammar(self.vocabulary, grammar.encode(), b"root")
        if not rules:
            raise AffectError("a grammar can't be parsed", "", "bad_grammar")
        chosen: list[int] = []
        try:
            while len(chosen) < max_tokens and not self._ended(rules):
                token = self._pick(rules, self.logits())
                if token in self.ends:
                    break
                llama.llama_sampler_accept(rules, token)
                chosen.append(token)
                self.pending.append(token)
        finally:
            llama.llama_sampler_free(rules)
        return chosen

    def _ended(self, rules: Any) -> bool:
        """Whether the grammar allows an end and nothing else: every text starts with one of the single bytes."""
        flat = np.zeros(self.words, np.float32)
        ending, going_on = (np.isfinite(self._allow(rules, ids, flat)).any() for ids in (self.ends, self.letters))
        return bool(ending and not going_on)

    @cached_property
    def letters(self) -> list[int]:
        """The tokens of one byte."""
        one = ctypes.create_string_buffer(1)
        piece, words = llama.llama_token_to_piece, range(self.words)
        return [i for i in words if piece(self.vocabulary, i, one, 1, 0, False) == 1]

    @cached_property
    def breaks(self) -> set[int]:
        """The tokens with a newline in their text."""
        return {i for i in range(self.words) if b"\n" in self._piece(i)}

    def _pick(self, rules: Any, logits: np.ndarray) -> int:
        """The likeliest token that the grammar allows. Raises AffectError `bad_grammar` where there is none."""
        for ids in self._likely(logits):
            kept = self._allow(rules, ids, logits)
            if np.isfinite(kept).any():
                return int(ids[kept.argmax()])
        raise AffectError("a grammar allows no token", "", "bad_grammar")

    def _likely(self, logits: np.ndarray) -> Iterator[np.ndarray]:
        """The likeliest tokens, by number: some, then more, then all."""
        for count in LIKELY:
            if count < self.words:
                yield np.sort(np.argpartition(logits, -count)[-count:])
        yield np.arange(self.words)

    def _allow(self, rules: Any, ids: Any, logits: np.ndarray) -> np.ndarray:
        """Logits of `ids` float32 [n], -inf where the grammar forbids the token."""
        data = np.zeros(len(ids), TOKEN_DATA)
        data["id"], data["logit"] = ids, logits[ids]
        pointer = data.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
        array = llama.llama_token_data_array(data=pointer, size=len(ids), selected=-1, sorted=False)
        llama.llama_sampler_apply(rules, ctypes.byref(array))
        return data["logit"]

    def write(
        self,
        max_tokens: int,
        stop: set[int],
        stop_event: Callable[[], bool] | None = None,
        rng: np.random.Generator | None = None,
        allows: Callable[[bytes], bool] | None = None,
    ) -> Iterator[int]:
        """Tokens, yielded one by one, up to a token of `stop` or one that ends the reply: the likeliest ones, or drawn with
        `rng` from those that are at least MIN_P as likely as the likeliest (min-p sampling, arXiv 2407.01082); only those
        whose bytes `allows` takes.

        That last token is neither yielded nor in the cache: what comes next is fed. A full context ends the text, and
        so do `stop_event`, asked before each token, and a place where no token is allowed.
        """
        for _ in range(max_tokens):
            if self.position + len(self.pending) >= self.context or (stop_event and stop_event()):
                return
            token = self._next(rng, allows)
            if token is None or token in stop or token in self.ends:
                return
            self.pending.append(token)
            yield token

    def _next(self, rng: np.random.Generator | None, allows: Callable[[bytes], bool] | None) -> int | None:
        """The next token, None where none is allowed."""
        logits = self.logits()
        if allows is None:
            return int(logits.argmax()) if rng is None else drawn(logits, rng)
        for likely in self._likely(logits):
            if ids := [token for token in likely.tolist() if allows(self.piece(token))]:
                return ids[int(logits[ids].argmax()) if rng is None else drawn(logits[ids], rng)]
        return None

    def _drop_after(self, position: int) -> None:
        """Forgets the cache from a position on."""
        llama.llama_memory_seq_rm(self.memory, 0, position, -1)
        self.position, self.pending = position, []

    def _extend(self, embeddings: np.ndarray) -> None:
        """Embeddings [n, width] at the end of the cache."""
        self._check(embeddings)
        if len(embeddings):
            self._decode(self.embeddings, embeddings)

    def _check(self, embeddings: np.ndarray) -> None:
        """Raises AffectError `bad_bundle` for embeddings that are not [n, width] finite numbers, `too_long` for too many."""
        if self.position + len(embeddings) > self.context:
            raise self._too_long()
        if embeddings.ndim != 2 or embeddings.shape[1] != self.width:
            raise AffectError(
                f"the language model is {self.width} wide, its input {embeddings.shape}", "", "bad_bundle"
            )
        if not np.isfinite(embeddings).all():
            raise AffectError("the encoders gave numbers that are not finite", "", "bad_bundle")

    def _decode(self, batch: Batch, values: Any) -> None:
        """A batch at the end of the cache; its last row's logits are kept."""
        if self.position + len(values) > self.context:
            raise self._too_long()
        batch.fill(values, self.position)
        self._submit(batch)
        self.position += len(values)
        self.last = self._row(len(values) - 1)

    def _submit(self, batch: Batch) -> None:
        """llama_decode. After a failure the cache is empty. Raises AffectError `too_long`, `bad_model`."""
        code = self._decode_at_pace(batch)
        if code == 0:
            return
        llama.llama_memory_clear(self.memory, True)
        self.head, self.position, self.pending = None, 0, []
        raise self._too_long() if code == FULL else AffectError(f"llama.cpp failed ({code})", LOG.error, "bad_model")

    def _decode_at_pace(self, batch: Batch) -> int:
        """llama_decode with as many threads as get their cores; a card does not care."""
        if self.pace is None:
            return int(llama.llama_decode(self.state, batch.raw))
        began, used = time.perf_counter(), time.process_time()
        threads = self.pace.choose(began)
        llama.llama_set_n_threads(self.state, threads, threads)
        code = int(llama.llama_decode(self.state, batch.raw))
        now = time.perf_counter()
        self.pace.learn(now - began, time.process_time() - used, now)
        return code

    def _too_long(self) -> AffectError:
        return AffectError(f"the prompt and its reply are longer than {self.context} tokens", "", "too_long")

    def _row(self, row: int) -> np.ndarray:
        """A copy of a decoded row's logits, float32 [vocabulary]."""
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(self.state, row), (self.words,)).copy()

    def close(self) -> None:
        """Frees everything; a second call does nothing."""
        self.opened.close()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of logits [n], float32."""
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def load_model(path: Path, gpu: bool) -> Any:
    """llama.cpp's model, memory-mapped. Raises AffectError `no_device`, `bad_model`."""
    if gpu and not llama.llama_supports_gpu_offload():
        raise AffectError("llama.cpp was built without a GPU", "make cuda, or --device cpu", "no_device")
    params = llama.llama_model_default_params()
    params.n_gpu_layers = UNLIMITED if gpu else 0
    nothing = (ctypes.c_void_p * 1)(None)
    if not gpu:
        params.devices = ctypes.cast(nothing, ctypes.c_void_p)  # a build with CUDA leaves the card alone
    LOG.error = ""
    model = llama.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise AffectError(f"{path.name} is no language model llama.cpp can load", LOG.error, "bad_model")
    return model


def new_context(model: Any, name: str, context: int, threads: int, gpu: bool) -> Any:
    """llama.cpp's context: one KV cache that all sequences share. Raises AffectError `bad_model`."""
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = context
    params.n_threads = params.n_threads_batch = threads
    params.n_seq_max, params.kv_unified = SEQUENCES, True
    params.offload_kqv = params.op_offload = gpu
    LOG.error = ""
    state = llama.llama_init_from_model(model, params)
    if not state:
        raise AffectError(f"{name} can't be run", LOG.error, "bad_model")
    return state


def add_adapter(model: Any, state: Any, path: Path) -> None:
    """The LoRA of a GGUF file, at its full strength. Raises AffectError `bad_adapter`."""
    LOG.error = ""
    adapter = llama.llama_adapter_lora_init(model, str(path).encode())
    if not adapter:
        raise AffectError(f"{path.name} is no adapter llama.cpp can load", LOG.error, "bad_adapter")
    one = (ctypes.c_float * 1)(1.0)
    if llama.llama_set_adapters_lora(state, (llama.llama_adapter_lora_p_ctypes * 1)(adapter), 1, one):
        raise AffectError(f"{path.name} can't be used", LOG.error, "bad_adapter")


def check_adapter(path: Path, base: Gguf) -> None:
    """Holds an adapter against the model it is for. Raises AffectError `bad_adapter`."""
    file = Gguf(path)
    if file.metadata.get("general.type") != "adapter" or file.metadata.get("adapter.type") != "lora":
        raise AffectError(f"{path.name} is no LoRA adapter", "", "bad_adapter")
    if file.architecture != base.architecture:
        raise AffectError(
            f"{path.name} is for {file.architecture}, the model is {base.architecture}", "", "bad_adapter"
        )
    for name in file.tensors:
        part = name.removesuffix(".lora_a").removesuffix(".lora_b")
        a, b = file.tensors.get(f"{part}.lora_a"), file.tensors.get(f"{part}.lora_b")
        to = base.tensors.get(part)
        if a is None or b is None or to is None or not fits(a, b, to):
            raise AffectError(f"{path.name} does not fit the language model at {name}", "", "bad_adapter")


def fits(a: Tensor, b: Tensor, to: Tensor) -> bool:
    """Whether A [r, in] and B [out, r], floats both, correct a matrix [out, in]."""
    matrices = len(a.shape) == len(b.shape) == len(to.shape) == 2
    return {a.kind, b.kind} <= FLOATS and matrices and a.shape[0] == b.shape[1] and (b.shape[0], a.shape[1]) == to.shape
