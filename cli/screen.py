"""What `affect live` shows on a whole screen: lines of text of a `Shown`, and where the picture goes.

Knows nothing of devices, sessions, terminals or how a picture becomes cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from itertools import groupby
from zlib import crc32

from rich.cells import cell_len, set_cell_size
from rich.color import Color, ColorSystem
from rich.console import Console
from rich.style import Style
from rich.text import Text

from cli.errors import visible
from cli.halfblocks import Depth, fit
from cli.view import NOTICE, SENSES, measured, shorten, status
from models.reading import Label, Segment

STRIP = 120.0  # seconds that the strip at the bottom looks back
QUIETEST = -60.0  # dBFS at which the level meter is empty
SMALL = (60, 16)  # columns and rows below which there is no picture
MARGIN, GAP = 1, 2  # columns at both sides; between the two sides
ABOVE, BELOW = 2, 5  # rows over and under the two sides
RIGHT = 64  # columns in which a clue stands on one line
READABLE = 100  # columns in which lines are still easy to read
METER = 32  # columns of the left side at least
TITLE = 6  # columns of the titles beside what is read
REASON = 4  # lines of the reason that make room for no clue

KEYS = {
    "q": "quit",
    "space": "pause",
    "r": "record",
    "s": "snapshot",
    "m": "mute",
    "c": "camera",
    "?": "help",
}
HELP = {
    "q": "quit",
    "space": "pause: nothing is seen, heard or recorded",
    "r": "record picture and sound, or stop that",
    "s": "write the picture and its reading to files",
    "m": "mute the microphone",
    "c": "take the next camera",
    "?": "leave this help",
}
COLOURS = {
    "neutral": ("#a0a0a0", "white"),
    "calm": ("#4bb5ad", "cyan"),
    "happy": ("#f2c832", "yellow"),
    "sad": ("#4a76d4", "blue"),
    "angry": ("#d1453b", "red"),
    "fearful": ("#9a62c9", "magenta"),
    "disgusted": ("#74a03c", "green"),
    "surprised": ("#f29bc1", "bright_magenta"),
}
"""Label -> its colour where there are many, and among the 16 of the system."""
OTHERS = (
    ("#c98b5a", "bright_yellow"),
    ("#7fb2e5", "bright_blue"),
    ("#8fd18a", "bright_green"),
    ("#c6b8f0", "bright_cyan"),
    ("#e58f80", "bright_red"),
)
DARK = ("blue", "red", "magenta")  # of the 16, those that white is read on
SYSTEMS: dict[str, ColorSystem | None] = {
    "truecolor": ColorSystem.TRUECOLOR,
    "256": ColorSystem.EIGHT_BIT,
    "16": ColorSystem.STANDARD,
    "none": None,
}


@dataclass(frozen=True)
class Shown:
    """All that the screen shows.

    `shape` is the (height, width) of the camera's picture in pixels, None while there is none. `segment` is the last reading, or
    what is known of the one that forms. `strip` has (start, end, label) of the last readings, in seconds ago. Of the rest, in
    order: seconds recorded; dBFS; pictures a second; seconds from the end of speech to the first label and to the whole reading.
    """

    camera: str | None = None
    microphone: str | None = None
    shape: tuple[int, int] | None = None
    paused: bool = False
    muted: bool = False
    state: str = ""
    message: str = ""
    segment: Segment | None = None
    strip: tuple[tuple[float, float, str], ...] = ()
    recording: float | None = None
    level_db: float | None = None
    speaking: bool = False
    frames_shown: float = 0.0
    frames_captured: float = 0.0
    dropped: int = 0
    first_label: float | None = None
    whole: float | None = None
    memory_mb: float = 0.0
    device: str = ""
    help: bool = False


def forming(labels: tuple[Label, ...], reason: str = "") -> Segment:
    """What is known of a reading while it is written."""
    return Segment(0.0, 0.0, "ok", labels, None, reason, {}, None, ())


# ---------------------------------------------------------------------- where things go


@dataclass(frozen=True)
class Place:
    """Cells of the screen, counted from 0 at the top left."""

    row: int
    column: int
    columns: int
    rows: int


@dataclass(frozen=True)
class Places:
    """Where the picture goes, None where it is off; columns of the left side, 0 where there is one side."""

    picture: Place | None
    left: int


def layout(width: int, height: int, has_camera: bool, shape: tuple[int, int] | None = None) -> Places:
    """Places on a screen of so many columns and rows for a picture of that shape, or of 3:4."""
    if not has_camera or is_small(width, height):
        return Places(None, 0)
    inner = width - 2 * MARGIN
    most = max(round(0.48 * inner), inner - GAP - RIGHT)
    columns, rows = fit(*(shape or (3, 4)), most, height - ABOVE - BELOW - 1)
    return Places(Place(ABOVE, MARGIN, columns, rows), max(columns, min(most, METER)))


def is_small(width: int, height: int) -> bool:
    """Whether the screen has room for words alone."""
    return width < SMALL[0] or height < SMALL[1]


def compose(shown: Shown, width: int, height: int, depth: Depth) -> list[str]:
    """`height` lines of at most `width` cells, with escape codes as the depth allows; the picture's cells are left empty."""
    lines = small(shown, width, height, depth) if is_small(width, height) else large(shown, width, height, depth)
    return [painted(line, width, depth) for line in padded(lines, height)]


def large(shown: Shown, width: int, height: int, depth: Depth) -> list[Text]:
    """Two sides, or one without a camera, between the head and the foot."""
    inner = width - 2 * MARGIN
    places = layout(width, height, shown.camera is not None, shown.shape)
    rows = height - ABOVE - BELOW
    middle = two_sides(shown, places, inner, rows, depth) if places.picture else one_side(shown, inner, rows, depth)
    foot = [doing(shown), strip(shown.strip, inner, depth), marks(inner), truth(shown, inner), keys(inner)]
    lines = [head(shown, inner), Text(), *middle, *foot]
    return [Text.assemble(" " * MARGIN, cut(line, inner)) for line in lines]


def two_sides(shown: Shown, places: Places, width: int, rows: int, depth: Depth) -> list[Text]:
    """The picture's empty cells and the meter under them; beside it what was read."""
    picture = places.picture.rows if places.picture else 0
    area = padded([Text("no picture yet", "dim")] if shown.shape is None else [], picture)
    blank = [Text()] if picture + 3 <= rows else []
    left = padded([*area, *blank, meter(shown, places.left)], rows)
    right = body(shown, width - places.left - GAP, rows, depth)
    return [Text.assemble(wide(one, places.left + GAP), other) for one, other in zip(left, right, strict=True)]


def one_side(shown: Shown, width: int, rows: int, depth: Depth) -> list[Text]:
    """The meter over what was read."""
    first = meter(shown, min(width, RIGHT) - len("  no camera"))
    return [
        Text.assemble(first, "  ", ("no camera", "dim")),
        Text(),
        *body(shown, min(width, READABLE), rows - 2, depth),
    ]


def small(shown: Shown, width: int, height: int, depth: Depth) -> list[Text]:
    """Labels; then, as rows allow, the keys, the head, the line of truth, what is done now, the reason."""
    above = [head(shown, width)] if height >= 4 else []
    below = [keys(width)] if height >= 2 else []
    below = [truth(shown, width), *below] if height >= 5 else below
    below = [doing(shown), *below] if height >= 6 else below
    return [*above, *body(shown, width, height - len(above) - len(below), depth), *below]


# ---------------------------------------------------------------------- head and foot


def head(shown: Shown, width: int) -> Text:
    """The program, what it does with what it sees, and what that is; on a narrow screen the second alone."""
    line = Text(" ").join(badges(shown))
    if line.cell_len + len("affect live  ") <= width:
        line = Text.assemble(("affect live", "bold"), "  ", line)
    room = width - line.cell_len - GAP
    return Text.assemble(line, " " * GAP, sources(shown, room)) if room > 20 else line


def badges(shown: Shown) -> list[Text]:
    """What must not be missed; by capitals where there is no colour."""
    found = [("LOCAL ONLY", "bold reverse")]
    if shown.recording is not None:
        found.append((f"REC {clock(shown.recording)}", "bold white on red"))
    found += [("PAUSED", "bold reverse yellow")] * shown.paused + [("MUTED", "bold reverse yellow")] * shown.muted
    return [Text(f" {words} ", style) for words, style in found]


def sources(shown: Shown, width: int) -> Text:
    """The names of what is read; each is cut to its share of the width."""
    camera, microphone = safe(shown.camera or ""), safe(shown.microphone or "")
    names = [f"camera {camera}"] * bool(camera) + [f"mic {microphone}"] * bool(microphone)
    if camera and camera == microphone:
        names = [camera]
    first, *others = names or [""]
    rest = GAP + cell_len(others[0]) if others else 0
    left = cut(Text(first, "dim"), max(width - rest, (width - GAP) // 2))
    return left if not others else left + cut(Text(" " * GAP + others[0]), width - left.cell_len)


def doing(shown: Shown) -> Text:
    """What is done now, and a passing note or trouble."""
    state = "press space to go on" if shown.paused else safe(shown.state)
    words = [Text(state, "bold")] * bool(state) + [Text(safe(shown.message), "yellow")] * bool(shown.message)
    return Text("   ").join(words)


def strip(runs: Sequence[tuple[float, float, str]], width: int, depth: Depth) -> Text:
    """The last two minutes, a run of cells for each reading with its label's name; later ones lie over earlier ones."""
    owner = [-1] * width
    for number, (start, end, _) in enumerate(runs):
        first, last = (round((STRIP - clamped(age, 0.0, STRIP)) / STRIP * width) for age in (start, end))
        owner[first:last] = [number] * (last - first)
    line = Text()
    for number, cells in groupby(owner):
        count = len(list(cells))
        line.append_text(run(runs[number][2], count, depth) if number >= 0 else Text("·" * count, "dim"))
    return line


def run(label: str, width: int, depth: Depth) -> Text:
    """A label's name in so many cells, on its colour; without colours a line shows how far it goes."""
    name = safe(label)
    name = f" {name}" if depth != "none" and cell_len(name) + 2 <= width else name
    if depth == "none" and cell_len(name) < width:
        return Text(name + "-" * (width - cell_len(name)))
    return Text(set_cell_size(name, width), ground(label, depth))


def marks(width: int) -> Text:
    """What time the cells of the strip stand for."""
    ages = (120, 90, 60, 30) if width >= 78 else (120, 60)
    line = ""
    for age in ages:
        line = line.ljust(round((STRIP - age) / STRIP * width)) + f"-{clock(age)}"
    return Text(line.ljust(width - 3) + "now", "dim")


def truth(shown: Shown, width: int) -> Text:
    """What it costs: pictures a second, what was lost, seconds to an answer, memory, processor; as much as fits."""
    first, whole = (f"{x:.1f} s" if x is not None else "-" for x in (shown.first_label, shown.whole))
    rates = f"{shown.frames_shown:2.0f} of {shown.frames_captured:2.0f} frames/s"
    cost = [f"{shown.memory_mb:.0f} MB", *([safe(shown.device)] if shown.device else [])]
    rest = [*([rates] if shown.camera is not None else []), f"{shown.dropped} dropped"]
    long = "   ".join([*rest, f"after speech: first label {first}, whole reading {whole}", *cost])
    if cell_len(long) <= width:
        return Text(long, "dim")
    return Text(leading([*rest, f"label {first}, all {whole}", *cost], width), "dim")


def keys(width: int) -> Text:
    """The keys; where not all fit, the first ones and the one for help."""
    shown = list(KEYS)
    while len(shown) > 1 and len("  ".join(f"{key} {KEYS[key]}" for key in shown)) > width:
        shown.pop(-2 if len(shown) > 2 else -1)
    return Text("  ").join(Text.assemble((key, "bold"), f" {KEYS[key]}") for key in shown)


def leading(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit."""
    count = next((n for n in range(len(parts), 1, -1) if cell_len("  ".join(parts[:n])) <= width), 1)
    return "  ".join(parts[:count])


# ---------------------------------------------------------------------- what was read


def meter(shown: Shown, width: int) -> Text:
    """The microphone's level, and whether somebody speaks, in words."""
    if shown.microphone is None:
        return Text("no microphone", "dim")
    if shown.muted:
        return Text("mic off: m turns it on", "dim")
    level = "  -" if shown.level_db is None else f"{clamped(shown.level_db, -99, 0):3.0f}"
    cells = max(0, width - len(f"mic  {level} dB  no speech"))
    share = 1 - clamped(shown.level_db if shown.level_db is not None else QUIETEST, QUIETEST, 0) / QUIETEST
    said = Text("speech", "bold") if shown.speaking else Text("no speech", "dim")
    return Text.assemble("mic ", bar(share, cells, "cyan"), f" {level} dB  ", said)


def body(shown: Shown, width: int, rows: int, depth: Depth) -> list[Text]:
    """Exactly `rows` lines: labels and what must be said of them, the reason, its clues."""
    if shown.help:
        return padded(explained(width), rows)
    if shown.segment is None:
        return padded([Text("nothing read yet" if rows > 2 or not shown.state else safe(shown.state), "dim")], rows)
    doubts = [line for text in status(shown.segment) for line in text.wrap(console(), width)]
    top = [*bars(shown.segment.labels, width, rows, depth), *doubts, Text()]
    reason = wrapped(safe(shown.segment.reason.strip()), width)
    room = rows - len(top)
    rest = fitting(details(shown.segment, width), room - min(len(reason), REASON) - 1)
    reason = newest(reason, room - len(rest) - bool(rest))
    return padded([*top, *reason, *([Text()] if rest else []), *rest], rows)


def explained(width: int) -> list[Text]:
    """What each key does, what the numbers are, and what a reading is."""
    lines = [line for key, words in HELP.items() for line in under(key, "", [words], width)]
    numbers = "frames/s: pictures drawn of those that came. label, all: seconds from the end of speech to both"
    return [*wrapped(NOTICE, width), Text(), *lines, Text(), *wrapped(numbers, width, "dim")]


def bars(labels: tuple[Label, ...], width: int, rows: int, depth: Depth) -> list[Text]:
    """A line for each label that there is room for: name, bar in its colour, per cent; on a narrow screen no bar."""
    shown = labels[: min(rows, 8 if rows >= 26 else 3)]
    longest = max([9, *(cell_len(safe(label.name)) for label in shown)])
    names = min(longest, max(width // 2, width - 20))
    cells = width - names - len("▸   100%")
    lines = []
    for label in shown:
        share, style = f"{clamped(label.score, 0, 1):.0%}", "bold" if label.named else ""
        if cells < 1:
            lines.append(Text(f"{safe(label.name)[: max(1, width - len(share) - 1)]} {share}", style))
            continue
        drawn = bar(label.score, cells, ink(label.name, depth))
        name = (set_cell_size(safe(label.name), names), style)
        lines.append(Text.assemble("▸ " if label.named else "  ", name, " ", drawn, f"{share:>5}"))
    return lines


def bar(share: float, cells: int, style: str | Style) -> Text:
    """That share of the cells filled."""
    filled = round(clamped(share, 0.0, 1.0) * cells)
    return Text.assemble(("█" * filled, style), ("·" * (cells - filled), "dim"))


def details(segment: Segment, width: int) -> list[list[Text]]:
    """The clues with their seconds and what was measured, the words, what was missing, notes; each a few lines."""
    said = [f'"{shorten(safe(segment.transcript))}"'] if segment.transcript else []
    groups = []
    for name in SENSES:
        for clue in segment.clues.get(name, ()):
            parts = measured(clue).split(", ") if name != "text" else said
            groups.append(under(SENSES[name], f"{clue.start:.1f}-{clue.end:.1f} s", parts, width))
    if said and not segment.clues.get("text"):
        groups.append(under("Said", "", said, width))
    if segment.missing:
        groups.append(wrapped("not read: " + ", ".join(SENSES.get(x, safe(x)).lower() for x in segment.missing), width))
    return groups + [wrapped(f"note: {safe(note)}", width, "dim") for note in segment.notes]


def under(title: str, span: str, parts: Sequence[str], width: int) -> list[Text]:
    """A title and its seconds, and beside it what goes on under itself."""
    room = max(1, width - TITLE)
    first = "  ".join(part for part in (span, *parts[:1]) if part)
    lines = [line for text in packed([first, *parts[1:]], room) for line in wrapped(text, room)] or [Text()]
    lines[0].stylize("dim", 0, len(span))
    titles = [title, *[""] * (len(lines) - 1)]
    return [Text.assemble((f"{at:<{TITLE}}", "bold"), line) for at, line in zip(titles, lines, strict=True)]


def packed(parts: Sequence[str], width: int) -> list[str]:
    """A list in lines of so many cells, broken between its parts."""
    lines = list(parts[:1])
    for part in parts[1:]:
        lines[-1] += ","
        if cell_len(lines[-1]) + len(part) + 2 > width:
            lines.append(part)
        else:
            lines[-1] += f" {part}"
    return lines


def fitting(groups: Sequence[Sequence[Text]], rows: int) -> list[Text]:
    """The first groups of lines that so many rows hold."""
    lines: list[Text] = []
    for group in groups:
        if len(lines) + len(group) > rows:
            break
        lines += group
    return lines


def newest(lines: list[Text], rows: int) -> list[Text]:
    """The last lines of a text that grows, marked where something stands before them."""
    if len(lines) <= rows:
        return lines
    first, *kept = lines[len(lines) - rows :] if rows > 0 else [Text()]
    rest = first.plain.partition(" ")[2]
    return [Text(f"… {rest}" if rest else "…"), *kept][: max(0, rows)]


# ---------------------------------------------------------------------- text


def safe(text: str) -> str:
    """Text from outside in one line that acts on no terminal, and that every terminal takes to be equally wide."""
    return visible(text).replace("\ufe0f", "")


def clock(seconds: float) -> str:
    """Minutes and seconds, hours when there are any."""
    whole = int(clamped(seconds, 0, 360000))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def clamped(value: float, low: float, high: float) -> float:
    """The value within bounds; what is no number is the lower one."""
    return min(max(value, low), high) if value == value else low


def cut(line: Text, width: int) -> Text:
    """At most so many cells; the last one says that something is cut off."""
    line.truncate(max(0, width), overflow="ellipsis")
    return line


def wide(line: Text, width: int) -> Text:
    """Exactly so many cells."""
    line = cut(line, width)
    return Text.assemble(line, " " * (width - line.cell_len))


def wrapped(text: str, width: int, style: str = "") -> list[Text]:
    """The text in lines of so many cells, broken between words."""
    lines = list(Text(text, style).wrap(console(), max(1, width))) if text else []
    for line in lines:
        line.rstrip()
    return lines


def padded(lines: Sequence[Text], rows: int) -> list[Text]:
    """Exactly so many lines."""
    return [*lines[: max(0, rows)], *(Text() for _ in range(rows - len(lines)))]


def ink(label: str, depth: Depth) -> Style:
    """A label's colour for what is drawn."""
    return Style(color=colour(label, depth))


def ground(label: str, depth: Depth) -> Style:
    """A label's colour under a text that is read on it."""
    found = colour(label, depth)
    if depth == "16":
        return Style(color="bright_white" if found.name in DARK else "black", bgcolor=found)
    red, green, blue = found.get_truecolor()
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 125
    return Style(color=Color.parse("color(16)" if light else "color(231)"), bgcolor=found)


@lru_cache(maxsize=256)
def colour(label: str, depth: Depth) -> Color:
    """A label's colour; words of no list get one by their letters."""
    many, system = COLOURS.get(label) or OTHERS[crc32(label.encode("utf-8", "replace")) % len(OTHERS)]
    if depth == "16":
        return Color.parse(system)
    return Color.parse(many).downgrade(SYSTEMS[depth] or ColorSystem.TRUECOLOR)


@lru_cache(maxsize=1)
def console() -> Console:
    """What rich asks for the names of styles; it writes nothing."""
    return Console(file=StringIO(), force_terminal=True, legacy_windows=False, width=80)


def painted(line: Text, width: int, depth: Depth) -> str:
    """A line with its escape codes."""
    pieces, system = cut(line, width).render(console()), SYSTEMS[depth]
    return "".join(
        piece.style.render(piece.text, color_system=system) if piece.style else piece.text for piece in pieces
    )
