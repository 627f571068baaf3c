"""The encoders' room at run time: what does not fit this program is refused with words, before anything is read."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import AffectError
from runtime.encoders import check_norms, session


def norms(face: int, voice: int) -> dict[str, dict[str, list[float]]]:
    return {name: {"mean": [0.0] * n, "std": [1.0] * n} for name, n in (("face_norm", face), ("voice_norm", voice))}


def test_a_bundle_of_other_measurements_is_refused_with_words() -> None:
    """Else its numbers would be taken for others, or end in a traceback."""
    check_norms(norms(6, 6))
    for wrong in (norms(7, 6), norms(6, 5)):
        with pytest.raises(AffectError, match=r"measurements in (face|voice)_norm, the program 6") as caught:
            check_norms(wrong)
        assert caught.value.code == "bad_bundle" and "export the bundle again" in caught.value.cure


@pytest.mark.filterwarnings("error")
def test_a_device_that_is_not_there_is_said_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime itself would warn in its own, and go on with the CPU."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(AffectError, match="has no CUDA") as caught:
        session(tmp_path / "any.onnx", "cuda", 1)
    assert caught.value.code == "no_device"


def test_int8_sums_do_not_overflow_on_any_processor(tmp_path: Path) -> None:
    """Two products of 255 and 127 are more than 16 bits hold, which is where processors without VNNI add them up."""
    weights = np.full((64, 64), 127, np.int8)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    ends = (
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["n", 64])],
    )
    graph = helper.make_graph([node], "product", *ends, [numpy_helper.from_array(weights, "w")])
    path = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    x = np.full((4, 64), 255, np.uint8)
    assert (session(path, "cpu", 1).run(None, {"x": x})[0] == x.astype(int) @ weights.astype(int)).all()
