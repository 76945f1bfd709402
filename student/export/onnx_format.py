"""ONNX, written by torch's exporter and run by onnxruntime; int8 is onnxruntime's quantisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions

from cache_schema.errors import RunError
from cache_schema.store.files import write_atomic
from student.export.converters import converting
from student.export.interface import Arrays, Axis, Exporter, Graph, TensorFacts
from student.predict.contract import METADATA_KEY
from student.predict.onnx_session import open_onnx

OPSET = 20
_FATAL = 4  # of onnxruntime's levels of messages: below it it writes to stderr on its own
_DTYPES = {"tensor(float)": "float32", "tensor(int8)": "int8", "tensor(uint8)": "uint8"}


class OnnxExporter(Exporter):
    """Files that phones, browsers and small computers run."""

    file_name: ClassVar[str] = "model.onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    writes_front_end: ClassVar[bool] = True

    def write(self, graph: Graph, path: Path) -> None:
        """See :class:`Exporter`."""
        model = traced(graph)
        for node in model.graph.node:  # where in whose file each came from
            del node.metadata_props[:]
            node.doc_string = ""
        del model.graph.metadata_props[:], model.metadata_props[:]
        save(model, graph, path)

    def calibrates(self, graph: Graph) -> bool:
        """Not for recurrences, whose weights alone are quantised."""
        return not graph.recurrent

    def quantize(
        self, graph: Graph, floats: Path, path: Path, calibration: Sequence[Arrays]
    ) -> None:
        """See :class:`Exporter`."""
        from student.export.onnx_int8 import quantized

        save(quantized(floats, graph, calibration), graph, path)

    def quantizes_weights_alone(self, graph: Graph) -> bool:
        """See :class:`Exporter`."""
        return True

    def quantize_weights(self, graph: Graph, floats: Path, path: Path) -> None:
        """See :class:`Exporter`."""
        from student.export.onnx_int8 import with_int8_weights

        save(with_int8_weights(onnx.load(floats)), graph, path)

    def load(self, path: Path) -> OnnxRunner:
        """See :class:`Exporter`; a file with a contract is checked against it."""
        runner = OnnxRunner(path)
        if METADATA_KEY in runner.metadata:
            open_onnx(path)
        return runner


def traced(graph: Graph) -> onnx.ModelProto:
    """Let torch trace a graph."""
    axes = [_sizes(graph.dynamic_axes.get(name, {})) for name in graph.inputs]
    with converting("ONNX"):
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(axes) if graph.dynamic_axes else None,
            verbose=False,
        )
    if program is None:
        raise RunError("torch's exporter gave no ONNX program", kind="format")
    model: onnx.ModelProto = program.model_proto
    _check_axes(model, graph)
    return model


def _sizes(dims: Mapping[int, Axis]) -> dict[int, Any]:
    """Axes as torch takes them; by name alone, where any size will do, it traces once and not twice."""
    if all(axis.smallest == 1 for axis in dims.values()):
        return {number: axis.name for number, axis in dims.items()}
    return {n: torch.export.Dim(axis.name, min=axis.smallest) for n, axis in dims.items()}


def _check_axes(model: onnx.ModelProto, graph: Graph) -> None:
    """Reject an axis that tracing has given the size of the example."""
    for value in model.graph.input:
        for number in graph.dynamic_axes.get(value.name, {}):
            found = value.type.tensor_type.shape.dim[number]
            if not found.dim_param:
                raise RunError(
                    f"ONNX cannot hold this form: axis {number} of {value.name} would always have "
                    f"the size {found.dim_value}",
                    kind="format",
                )


def save(model: onnx.ModelProto, graph: Graph, path: Path) -> None:
    """Write a model with a graph's metadata."""
    for key, value in graph.metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    write_atomic(path, model.SerializeToString())


class OnnxRunner:
    """A written file in onnxruntime, on one thread."""

    def __init__(self, path: Path) -> None:
        options = SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        self._session = InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = [_facts(node) for node in self._session.get_inputs()]
        self.outputs = [_facts(node) for node in self._session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See :class:`student.export.interface.Runner`."""
        found = self._session.run(None, {name: np.asarray(a) for name, a in inputs.items()})
        return {facts.name: value for facts, value in zip(self.outputs, found, strict=True)}


def _facts(node: Any) -> TensorFacts:
    return TensorFacts(name=node.name, shape=tuple(node.shape), dtype=_DTYPES[node.type])
