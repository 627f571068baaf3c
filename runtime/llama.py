"""llama.cpp's binding; whoever needs it takes it from here.

Some compilers link a C++ runtime of their own into llama.cpp's libraries, and the binding shows their symbols to whatever is
loaded later: ONNX Runtime or numpy then crash, or llama.cpp does, by the order of the imports. The runtime that is shown
first serves all, so the system's is.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

if sys.platform == "linux":
    with suppress(OSError):  # a system that has none: its libraries can't need it
        ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)

import llama_cpp as llama

__all__ = ["llama"]
