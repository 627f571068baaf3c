"""llama.cpp's binding: the system's C++ runtime serves it and all that is loaded later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BINDING = """
import ctypes
ctypes.CDLL(None)._ZSt4cout  # std::cout, of whatever C++ runtime all libraries see
"""


def test_a_cpp_runtime_is_there_before_llama_cpp(tmp_path: Path) -> None:
    """A binding that looks for one when it is imported finds it (on Linux); it would not by itself."""
    (tmp_path / "llama_cpp.py").write_text(BINDING)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    for code, found in (("import llama_cpp", False), ("from runtime.llama import llama", sys.platform == "linux")):
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
        assert (done.returncode == 0) is found, done.stderr
