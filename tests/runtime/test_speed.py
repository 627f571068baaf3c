"""Guards the files that `affect bench speed` times: as long as they say, and whole."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from runtime.speed import loop, repeat

EXAMPLE = Path(__file__).parents[2] / "examples" / "grid.mp4"


def test_a_repeated_clip_is_as_long_as_its_parts_and_decodes_whole(tmp_path: Path) -> None:
    loop(EXAMPLE, tmp_path / "clip.mp4", 2.0)
    repeat(tmp_path / "clip.mp4", tmp_path / "film.mp4", 3)
    with av.open(str(tmp_path / "film.mp4")) as film:
        times = [float(frame.time or 0) for frame in film.decode(video=0)]
    with av.open(str(tmp_path / "film.mp4")) as film:
        heard = sum(frame.samples for frame in film.decode(audio=0)) / 16000
    assert len(times) == 150 and times == sorted(times)
    assert times[-1] == pytest.approx(6.2, abs=0.3)
    assert heard == pytest.approx(6.2, abs=0.3)
