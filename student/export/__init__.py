"""Export a trained student: one file for each format, and one line here adds another."""

from __future__ import annotations

EXPORTERS: dict[str, str] = {
    "onnx": "student.export.onnx_format:OnnxExporter",
    "litert": "student.export.litert_format:LiteRtExporter",
    "executorch": "student.export.executorch_format:ExecuTorchExporter",
}

ANY_LENGTH = "any"
"""What stands for seconds: a form of any length."""
CALIBRATION_CLIPS = 200
"""How many clips int8 is calibrated with, unless others are requested."""
