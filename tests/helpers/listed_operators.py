"""Imported, it lets torch's exporter list its operators once: anew for each file takes a second."""

from __future__ import annotations

import functools
import logging

from torch.onnx._internal.exporter._registration import ONNXRegistry

listed = functools.cache(ONNXRegistry.from_torchlib)
ONNXRegistry.from_torchlib = staticmethod(listed)  # type: ignore[method-assign, assignment]
logging.disable(logging.WARNING)  # torchvision, which nothing here needs, is not installed
listed(opset_version=18)  # as torch.onnx.export asks for them
logging.disable(logging.NOTSET)
