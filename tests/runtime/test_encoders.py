"""The encoders' room at run time: what does not fit this program is refused with words, before anything is read."""

import pytest

from models.errors import AffectError
from runtime.encoders import check_norms


def norms(face: int, voice: int) -> dict[str, dict[str, list[float]]]:
    return {name: {"mean": [0.0] * n, "std": [1.0] * n} for name, n in (("face_norm", face), ("voice_norm", voice))}


def test_a_bundle_of_other_measurements_is_refused_with_words() -> None:
    """Else its numbers would be taken for others, or end in a traceback."""
    check_norms(norms(6, 6))
    for wrong in (norms(7, 6), norms(6, 5)):
        with pytest.raises(AffectError, match=r"measurements in (face|voice)_norm, the program 6") as caught:
            check_norms(wrong)
        assert caught.value.code == "bad_bundle" and "export the bundle again" in caught.value.cure
