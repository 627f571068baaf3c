"""`affect-export card`: what was read stands in the card, once, and the bundle stays the bundle that it was."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from cli.export import app
from export import measured as room
from export.card import KNOWN, LIMITS, MEASURED, ONCE_SAID, Figure, Measured, Readings, known, replaced, with_measured
from export.diagram import calibration_errors, diagram
from models.bundle import CARD, load_bundle, write_manifest
from models.errors import AffectError
from runtime.engine import Engine
from runtime.quality import SINGLES
from runtime.rows import ROWS

SECTION = "## On the validation parts (this bundle, as users run it)"


def write(bundle: Path, data: Path, rows: str = "", n: int = 5) -> str:
    """Writes the card; gives its text."""
    engine = Engine.load(bundle, device="cpu", threads=1, language_model=data / "tiny.gguf")
    names = rows.split(",") if rows else []
    quality = bundle.parent / "quality"
    path = room.write_card(engine, data, quality, "validation", names, n, lambda name, done, of: None)
    return path.read_text(encoding="utf-8")


def test_the_whole_card_is_written_and_the_bundle_loads(bundle: Path, data: Path) -> None:
    """Every row, or why it could not be read, four confusions, a picture with its licence; the same weights under another
    hash."""
    before = load_bundle(bundle)
    rows = [row.name for row in ROWS]
    text = write(bundle, data, "")
    after = load_bundle(bundle)
    assert after.weights == before.weights and after.sha256 != before.sha256 and after.verified
    assert text.startswith("# tiny\n") and "## Licence" in text and text.count(SECTION) == 1
    unread = [name for name in rows if f"\n| {name} | " not in text]
    assert "all-fusion" in unread and {*unread} <= {"all-fusion", "agree", "conflict", "meld-spoken"}
    assert all(f", but not {name} (" in text for name in unread) and "heads-validation.jsonl is not there" in text
    assert [kind for kind in SINGLES if f"\n### {kind}: " not in text] == []
    entry, card = (after.spec["files"][name] for name in ("calibration.png", CARD))
    assert (entry["licence"], entry["origin"]) == (card["licence"], card["origin"])
    assert (bundle / "calibration.png").read_bytes().startswith(b"\x89PNG") and "(calibration.png)" in text
    assert list(bundle.glob(".card-*")) == []


def test_a_second_run_reads_nothing_and_changes_nothing(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run changed the manifest, and with it the bundle's hash; the records are still its own."""
    write(bundle, data, "voice,voice-noise,face-calibration")
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    monkeypatch.setattr(Engine, "read_items", None)
    write(bundle, data, "voice,voice-noise,face-calibration")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_quick_card_says_which_rows_it_has(bundle: Path, data: Path) -> None:
    """And a later one takes its place: a picture that nothing was drawn for is gone."""
    assert "these rows alone: voice, at most 5 items a row" in write(bundle, data, "voice")
    assert "calibration.png" in load_bundle(bundle).spec["files"]
    text = write(bundle, data, "voice-noise")
    assert "these rows alone: voice-noise, " in text and text.count(SECTION) == 1 and "### voice" not in text
    assert "calibration.png" not in text and not (bundle / "calibration.png").exists()
    assert "calibration.png" not in load_bundle(bundle).spec["files"]
    assert (
        "| noise | measured | row voice-noise, " in text and "| MP3 | not read for this card | row voice-mp3: " in text
    )


def test_what_lies_in_the_folder_besides_stays_out_of_the_manifest(bundle: Path, data: Path) -> None:
    bundle.joinpath("notes.txt").write_text("mine")
    write(bundle, data, "voice")
    assert "notes.txt" not in load_bundle(bundle).spec["files"] and (bundle / "notes.txt").read_text() == "mine"


def test_a_bundle_without_a_card_gets_one(bundle: Path, data: Path) -> None:
    spec = load_bundle(bundle).spec
    bundle.joinpath(CARD).unlink()
    write_manifest(bundle, {**spec, "files": {k: v for k, v in spec["files"].items() if k != CARD}})
    assert write(bundle, data, "meld").startswith(f"# tiny\n\n{SECTION}\n")
    assert load_bundle(bundle).spec["files"][CARD]["licence"] == "CC-BY-NC-SA-4.0"


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_read(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr(Engine, "read_items", None)
    with pytest.raises(AffectError, match="cannot be written: Read-only file system") as refused:
        write(bundle, data, "voice")
    assert refused.value.code == "not_writable"


def test_the_command_parses_and_says_where_the_card_is(bundle: Path, data: Path, tmp_path: Path) -> None:
    options = ["--data", str(data), "--quality", str(tmp_path / "q"), "--language", str(data / "tiny.gguf")]
    done = CliRunner().invoke(
        app, ["card", str(bundle), *options, "--rows", "voice", "-n", "2", "--split", "validation"]
    )
    assert done.exit_code == 0 and done.stdout.strip() == str(bundle / CARD), done.output
    with pytest.raises(AffectError, match="no row dance"):
        CliRunner().invoke(app, ["card", str(bundle), *options, "--rows", "dance"], catch_exceptions=False)


# -------------------------------------------------------------------- words


VOICE = Readings("voice", ("happy", "sad"), ("happy", "sad", "sad"), ("happy", "happy", "sad"), (0.9, 0.6, 0.7))
NOISE = Figure("voice-noise", 3, "of clean", 0.5, (0.25, 0.75), ">= 0.80", False)


def found(*figures: Figure, errors: dict[str, tuple[float, float]] | None = None) -> Measured:
    return Measured("0" * 64, "test", False, None, figures, {}, (VOICE,), errors or {})


def test_figures_confusions_and_errors_are_those_that_were_counted() -> None:
    text = with_measured("# tiny\n", found(NOISE, errors={"voice": (0.25, 0.125)}))
    assert "| voice-noise | 3 | of clean | 0.500 | 0.250 to 0.750 | >= 0.80 MISSED |" in text
    assert (
        "| | hap | sad | n | recall |\n|---|---|---|---|---|\n| happy | 1 | 0 | 1 | 1.000 |\n| sad | 1 | 1 | 2 | 0.500 |"
        in text
    )
    assert "voice 0.250 (0.125)" in text and "every row" in text
    assert "row voice-noise, 0.500 of clean (0.250 to 0.750), bar MISSED: white noise" in text


def test_sections_are_replaced_where_they_stand() -> None:
    """Twice is once; what stands around them, before and after, stays as it was written."""
    text = "# tiny\n\nintro\n" + LIMITS.replace("the world.\n", "the world." + ONCE_SAID + "\n") + "\n## After\nmine\n"
    once = with_measured(text, found(NOISE))
    assert with_measured(once, found(NOISE)) == once and once.count(KNOWN) == 1 and "are untested." not in once
    assert (
        once.index("## Where it fails")
        < once.index(KNOWN)
        < once.index("## After\nmine\n")
        < once.index("## On the test")
    )
    other = with_measured(once, Measured("1" * 64, "validation", True, 7, (NOISE,), {}, (), {}))
    assert "On the test parts" not in other and other.index("## After") < other.index("## On the validation parts")
    assert replaced("# a\n\n## b\nx\n\n### c\ny\n\n## d\n", "## b", "## b\nz\n") == "# a\n\n## b\nz\n\n## d\n"


def test_what_fails_is_measured_refused_or_untested_and_nothing_else() -> None:
    """Each row that is named is there; none is promised without."""
    assert {row for _, row, _ in MEASURED} <= {row.name for row in ROWS}
    text = known([])
    for word in ("accents", "ages", "children", "skin tones"):
        assert f"| {word} | untested | |" in text
    assert "| masks | not read for this card | row face-masked: " in text
    assert "| other languages | refused, not read | " in text


def test_the_picture_has_the_same_bytes_again_whatever_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """One certainty of .95 that is right three of four times: .2 off."""
    import matplotlib

    sure = Readings("face", ("happy", "sad"), ("sad",) * 4, ("sad", "sad", "sad", "happy"), (0.95,) * 4)
    error, chance = calibration_errors(sure)
    assert error == pytest.approx(0.2) and 0 < chance < 0.2
    sets = [VOICE, sure]
    errors = {one.name: calibration_errors(one) for one in sets}
    first = diagram(sets, errors)
    monkeypatch.setitem(cast(dict[str, object], matplotlib.rcParams), "font.size", 20.0)
    assert diagram(sets, errors) == first and first.startswith(b"\x89PNG") and b"Software" not in first
