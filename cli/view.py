"""How a reading looks on a terminal: one small panel a file, the same words without a terminal; and how a card does.

Text from outside (names, transcripts, the model's words) only ever becomes rich Text: no markup, no escapes. Colours say
nothing that words don't.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markdown import Markdown
from rich.panel import Panel
from rich.segment import Segment as Piece
from rich.table import Table
from rich.text import Text

from cli.errors import visible, visible_lines
from models.reading import Clue, Cost, Label, Reading, Segment

WIDTH = 80
BAR = 24
SENSES = {"visual": "Face", "audio": "Voice", "text": "Words"}
UNITS = {
    "pitch_hz": "pitch {:.0f} Hz",
    "loudness_db": "{:.0f} dBFS",
    "rate": "{:.1f} syllables/s",
    "mouth_open": "mouth {:.2f}",
    "smile": "smile {:+.2f}",
    "brow_raise": "brows {:.2f}",
}
PICTURE = re.compile(r"!\[([^\]\n]*)\]\(([^)\s]*)\)")  # rich leaves a line open after one, wider than it may be
NOTICE = "An estimate from looks, sound and words, not a fact about a person."


def panel(reading: Reading) -> Panel:
    """A whole reading."""
    parts: list[RenderableType] = []
    for segment in reading.segments:
        parts += [labels(segment.labels), *status(segment), Text(), *body(segment)]
    parts += [Text(), Text(cost(reading.cost), style="dim"), Text(NOTICE, style="dim")]
    return Panel(Group(*parts), title=Text(visible(reading.source)), title_align="left", width=WIDTH, padding=(0, 1))


def labels(found: tuple[Label, ...]) -> Table:
    """Named labels and those of some weight, with bars and per cent."""
    table = Table.grid(padding=(0, 1))
    shown = [label for i, label in enumerate(found) if label.named or (i < 3 and label.score >= 0.02)]
    for label in shown or found[:3]:
        filled = round(label.score * BAR)
        bar = Text("█" * filled, style="cyan") + Text("·" * (BAR - filled), style="dim")
        name = Text(visible(label.name), style="bold" if label.named else "")
        table.add_row(Text("▸" if label.named else " "), name, bar, Text(f"{label.score:4.0%}", justify="right"))
    return table


def status(segment: Segment) -> list[Text]:
    """What must be said of the labels: unsure, or senses that disagree."""
    lines = []
    if segment.status == "unsure":
        lines.append(Text("unsure: no label stands out", style="yellow"))
    if segment.conflict:
        said = ", ".join(f"{SENSES[k].lower()} {v}" for k, v in segment.conflict.items())
        lines.append(Text(visible(f"they disagree: {said}"), style="yellow"))
    return lines


def body(segment: Segment) -> list[RenderableType]:
    """Reason, clues, words, what was missing."""
    parts: list[RenderableType] = []
    if segment.reason:
        parts += [Text(visible(segment.reason)), Text()]
    table = Table.grid(padding=(0, 1))
    for name, title in SENSES.items():
        for clue in segment.clues.get(name, ()):
            table.add_row(Text(title, style="bold"), Text(f"{clue.start:.1f}-{clue.end:.1f} s"), Text(measured(clue)))
    if segment.transcript:
        table.add_row(Text("Said", style="bold"), Text(), Text(shorten(visible(segment.transcript))))
    if table.row_count:
        parts.append(table)
    if segment.missing:
        parts.append(Text("not read: " + ", ".join(SENSES[name].lower() for name in segment.missing)))
    return [*parts, *(Text(visible(f"note: {note}"), style="dim") for note in segment.notes)]


def measured(clue: Clue) -> str:
    """A clue's main values with their units."""
    return ", ".join(form.format(clue.values[name]) for name, form in UNITS.items() if name in clue.values)


def shorten(text: str, most: int = 200) -> str:
    """At most that many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cost(spent: Cost) -> str:
    """One line of what it took."""
    first = f"first label {spent.first_label_s:.1f} s, all {spent.total_s:.1f} s"
    return f"{first}, {spent.tokens_per_s:.0f} tokens/s, {spent.peak_rss_mb:.0f} MB"


def plain_labels(found: Mapping[str, float]) -> str:
    """Labels in one line."""
    return ", ".join(f"{name} {score:.0%}" for name, score in found.items())


def document(text: str) -> RenderableType:
    """A card in Markdown, WIDTH columns wide or as wide as there are; of pictures what they show and their file's name."""
    named = PICTURE.sub(r"\1 (\2)", visible_lines(text))
    return Harmless(Markdown(named, hyperlinks=False, code_theme="default"))


@dataclass(frozen=True)
class Harmless:
    """Something rendered, with what would act on a terminal spelled out: Markdown has names for characters (`&#13;`)."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Pieces of text with their styles, and nothing else."""
        for piece in console.render(self.inner, options.update(width=min(WIDTH, options.max_width))):
            yield Piece("\n".join(map(visible, piece.text.split("\n"))), piece.style)
