"""The quantized runtime. It sends nothing anywhere: ONNX Runtime's own telemetry is off before anything imports it."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
