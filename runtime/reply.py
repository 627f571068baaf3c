"""The reply to a prompt, written in the bundle's form: labels then lines, or prose then labels; a closed list or open words.

Knows the language model and the wording of replies; nothing of clips, encoders or what was measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.calibration import Calibration, softmax
from models.prompt import (
    CONTENT_TOKENS,
    LABELS_HEADING,
    PROSE_TOKENS,
    Present,
    Reply,
    conflict,
    headings,
    open_grammar,
    rest_grammar,
    split_labels,
)
from models.reading import Clue, Label, Segment
from runtime.language import Language, log_softmax
from runtime.quoting import Quoting

LABEL_TOKENS = 160  # the grammar ends sooner: three open labels, letter by letter
Event = Callable[[str, Any], None]
Ask = Callable[[str], np.ndarray]  # sense -> logits [vocabulary] of the first label when nothing else is there


@dataclass(frozen=True)
class Found:
    """Labels with their probabilities, the named ones as they were written, and what each sense says where they differ."""

    scores: Mapping[str, float]
    named: tuple[str, ...]
    conflict: Mapping[str, str] | None


@dataclass(frozen=True)
class Asked:
    """Log-probabilities [labels] of the first label by set of inputs (all, and each alone), not calibrated, and the
    probability that a second one follows."""

    scores: Mapping[str, np.ndarray]
    second: float


@dataclass
class Written:
    """A reply as a Segment without times; when its labels were known (perf_counter), tokens and seconds of the reason."""

    segment: Segment
    known: float
    tokens: int
    seconds: float


class Writer:
    """Writes replies to prompts that `language` has just read, as a bundle's `spec` wants them. One reply at a time."""

    def __init__(self, language: Language, spec: Mapping[str, Any]) -> None:
        self.language, self.spec = language, spec
        self.newline = language.tokenize("\n")
        self.stopped: Callable[[], bool] | None = None
        self.tokens, self.seconds, self.known = 0, 0.0, 0.0
        self.rng: np.random.Generator | None = None

    def write(
        self, present: Present, allowed: Sequence[str], only_labels: bool, seed: int, say: Event, ask: Ask
    ) -> Written:
        """A whole reply; labels of `allowed`, any words where it is empty. `only_labels` ends it as soon as they are known.
        Labels are the likeliest ones; the reason's words, too, or drawn, the same ones for the same `seed`. Where the reply
        wavers between one label and more, each sense is asked alone: if they differ, that is a conflict.

        `say` gets ("words", piece) as the reason forms and ("labels", [Label, ...]) once.
        """
        self.tokens, self.seconds = 0, 0.0
        self.rng = np.random.default_rng(seed) if self.spec["wording"] == "drawn" else None
        prose = self.prose(say) if self.spec["reply_form"] == "prose" else None
        found = self.closed(present, allowed, ask) if allowed else self.open()
        labels = self.tell(found, say)
        named, said = found.named, found.conflict
        reply = Reply(named, {}, prose or "")
        if prose is None and not only_labels:
            reply = self.lines(present, named, say)
        if not allowed and prose is None:
            said = differing(reply.conclusion, named, present)
        clues = {name: (Clue(words, 0.0, 0.0),) for name, words in reply.clues.items()}
        status = "ok" if labels[0].score >= self.spec["unsure_below"] else "unsure"
        segment = Segment(0.0, 0.0, status, labels, said, reply.reason, clues, None, ())
        return Written(segment, self.known, self.tokens, self.seconds)

    # ------------------------------------------------------------------ labels

    def tell(self, found: Found, say: Event) -> tuple[Label, ...]:
        """Labels best first; they are known now."""
        labels = [Label(name, score, name in found.named) for name, score in found.scores.items()]
        labels.sort(key=lambda label: (-label.score, label.name))
        self.known = time.perf_counter()
        say("labels", labels)
        return tuple(labels)

    def closed(self, present: Present, allowed: Sequence[str], ask: Ask) -> Found:
        """Calibrated probabilities over the allowed labels, from the language model's own first label token; named ones."""
        scores = self.first(allowed) / Calibration.of(self.spec, present.key).temperature
        place = int(scores.argmax())
        self.language.feed(self.language.tokenize(f" {allowed[place]}"))
        alone = self.alone(present, allowed, ask) if self.wavers(present) else {}
        differ = len(set(alone.values())) > 1
        others = [label for label in dict.fromkeys(alone.values() if differ else allowed) if label != allowed[place]]
        rest = self.language.choose(rest_grammar(others, least=int(differ)), LABEL_TOKENS)
        chances = dict(zip(allowed, softmax(scores).tolist(), strict=True))
        named = split_labels(allowed[place] + self.language.text(rest))
        return Found(chances, named, alone if differ else None)

    def asked(self, present: Present, ask: Ask) -> Asked:
        """What calibration is measured on: scores of the bundle's labels for all inputs and for each alone, and a second
        label's probability after the one that a reading would name."""
        labels = self.spec["labels"]
        scores = {sense: log_softmax(ask(sense))[self.beginnings(labels)] for sense in present.modalities}
        scores[present.key] = self.first(labels)
        self.language.feed(self.language.tokenize(f" {labels[int(scores[present.key].argmax())]}"))
        return Asked(scores, self.second())

    def first(self, allowed: Sequence[str]) -> np.ndarray:
        """Log-probabilities of the allowed labels coming next."""
        return self.language.scores([self.language.tokenize(f" {label}") for label in allowed]).astype(float)

    def wavers(self, present: Present) -> bool:
        """Whether several senses give a reply that may go on after its first label, which was fed: the bundle's calibration
        says from which probability on."""
        if len(present.modalities) < 2 or self.spec["reply_form"] == "prose":
            return False
        return self.second() >= Calibration.of(self.spec, present.key).second_from

    def second(self) -> float:
        """The probability that another label follows, of that or the line's end."""
        logits = self.language.logits()
        more, end = (float(logits[self.language.tokenize(text)[0]]) for text in (",", "\n"))
        return 1 / (1 + math.exp(min(end - more, 700)))

    def alone(self, present: Present, allowed: Sequence[str], ask: Ask) -> dict[str, str]:
        """What each sense is read as without the others, by the label's first token."""
        first = self.beginnings(allowed)
        return {sense: allowed[int(ask(sense)[first].argmax())] for sense in present.modalities}

    def beginnings(self, labels: Sequence[str]) -> list[int]:
        """The first token of each label."""
        return [self.language.tokenize(f" {label}")[0] for label in labels]

    def open(self) -> Found:
        """The named words, each with its probability, over the whole vocabulary, of being written first."""
        place = self.language.mark()
        chosen = self.language.choose(open_grammar(), LABEL_TOKENS)
        named = split_labels(self.language.text(chosen))
        self.language.go_back(place)
        found = self.language.scores([self.language.tokenize(f" {word}") for word in named], whole=True)
        self.language.feed(chosen)
        return Found(dict(zip(named, np.exp(found).tolist(), strict=True)), named, None)

    # ------------------------------------------------------------------ the reason

    def prose(self, say: Event) -> str:
        """The reason before the labels: free words up to a newline; then the labels' heading."""
        text = self.line([], PROSE_TOKENS, self.language.breaks, say)
        self.language.feed([*self.newline, *self.language.tokenize(LABELS_HEADING)])
        return text

    def lines(self, present: Present, named: tuple[str, ...], say: Event) -> Reply:
        """The lines after the labels: forced headings, free words."""
        lines: dict[str, str] = {}
        for index, (name, heading) in enumerate(headings(present)):
            forced = [*(self.newline if index else []), *self.language.tokenize(heading)]
            lines[name] = self.line(forced, CONTENT_TOKENS, set(self.newline), say, Quoting(present.words))
        return Reply(named, {k: v for k, v in lines.items() if k != "conclusion"}, lines["conclusion"])

    def line(self, forced: Sequence[int], most: int, stop: set[int], say: Event, quoting: Quoting | None = None) -> str:
        """What follows the forced tokens, up to one of `stop`; counted and timed. Free words but for its quotations."""
        began = time.perf_counter()
        self.language.feed(forced)
        written: list[int] = []
        for piece in self.pieces(most, stop, written, quoting):
            say("words", piece)
        self.tokens += len(written)
        self.seconds += time.perf_counter() - began
        return self.language.text(written).strip()

    def pieces(self, most: int, stop: set[int], written: list[int], quoting: Quoting | None) -> Iterator[str]:
        """The text of a line as it forms; its tokens are gathered in `written`."""
        shown = ""
        allows = None if quoting is None else quoting.allows
        for token in self.language.write(most, stop, self.stopped, self.rng, allows):
            written.append(token)
            if quoting is not None:
                quoting.add(self.language.piece(token))
            text = self.language.text(written)
            if not text.endswith("\ufffd"):  # a letter of several tokens is not whole yet
                yield text[len(shown) :]
                shown = text


def differing(conclusion: str, labels: Sequence[str], present: Present) -> dict[str, str] | None:
    """What the conclusion says that the present senses show, where they differ."""
    said = {k: v for k, v in (conflict(conclusion, labels) or {}).items() if k in present.modalities}
    return said if len(set(said.values())) > 1 else None


def nothing(allowed: Sequence[str]) -> Segment:
    """The reading of no input at all: no label of the list stands out, an open list has none."""
    labels = tuple(Label(name, 1 / len(allowed)) for name in allowed)
    return Segment(
        0.0, 0.0, "unsure", labels, None, "", {}, None, (), ("nothing to read: no face, no voice, no words",)
    )
