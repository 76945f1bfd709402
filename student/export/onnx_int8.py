"""Int8 of an ONNX file, by onnxruntime's quantisation.

Convolutions get weights and activations of 8 bits, a scale for each output channel and for each
activation, found on calibration clips. A recurrence feeds its own rounding back: its weights alone get 8
bits, and activations are scaled anew at every call, those of a whole GRU not at all. Weights alone are
to be had of everything.
"""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import (
    compute_data_quant_params,
    quantize_onnx_initializer,
)

from student.export.interface import Arrays, Graph

_WEIGHTED = ("Conv", "Gemm", "MatMul")
# Axis of a weight's outputs by what reads it; torch cuts a GRU's gates apart, in an order of its own.
_RECURRENT_AXES = {"GRU": 1, "LSTM": 1, "Slice": 0}
_OUTPUT_AXES = {"Conv": 0, "Gemm": 0, "MatMul": 1, **_RECURRENT_AXES}
# Smaller weights, of the first layers above all, change predictions and save little: of 500 of a
# MobileNet of 12 classes 1.2 % changed with those from 256 values on in int8, 0.4 % without.
_SMALLEST_WEIGHT = 1024
_INT8 = onnx.TensorProto.INT8


def quantized(floats: Path, graph: Graph, calibration: Sequence[Arrays]) -> onnx.ModelProto:
    """Give a file's model in int8.

    Raises
    ------
    OSError
        If there is no room for what is written on the way.
    """
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises on the root logger
    try:
        with tempfile.TemporaryDirectory(dir=floats.parent, prefix="int8-") as folder:
            made = Path(folder) / "int8.onnx"
            if graph.recurrent:
                _quantize_weights(floats, made)
            else:
                _quantize_all(floats, made, calibration)
            model = onnx.load(made)
            if graph.recurrent:
                model = with_int8_weights(model, _RECURRENT_AXES)
    except DecodeError:  # the model is sound: onnx writes its copy without looking whether it fits
        places = f"{floats.parent} or {tempfile.gettempdir()}"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), places) from None
    finally:
        logging.root.setLevel(level)
    del model.metadata_props[:]
    return model


def _quantize_weights(floats: Path, made: Path) -> None:
    model = onnx.load(floats)
    _gemm_as_product(model)
    quantize_dynamic(
        model,
        made,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_of_double(model),
    )


def _quantize_all(floats: Path, made: Path, calibration: Sequence[Arrays]) -> None:
    quantize_static(
        floats,
        made,
        _Reader(calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_up_to_first_layer(onnx.load(floats)),
    )


def with_int8_weights(
    model: onnx.ModelProto, axes: Mapping[str, int] = _OUTPUT_AXES
) -> onnx.ModelProto:
    """Give a model whose weights are restored from int8 as they are read; activations stay in float.

    Parameters
    ----------
    model : ModelProto
        Is changed.
    axes : mapping
        Operators whose weights are meant, with the axis of the outputs in them.
    """
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    tensors, restoring = [], []
    for tensor in model.graph.initializer:
        found = {axes.get(kind) for kind in readers.get(tensor.name, ())}
        large = np.prod(tensor.dims) >= _SMALLEST_WEIGHT and len(tensor.dims) > 1
        axis = found.pop() if len(found) == 1 else None
        if axis is None or not large or tensor.data_type != onnx.TensorProto.FLOAT:
            tensors.append(tensor)
            continue
        stored = _in_int8(tensor, axis)
        tensors += stored
        names = [one.name for one in stored]
        restoring.append(
            onnx.helper.make_node("DequantizeLinear", names, [tensor.name], names[0], axis=axis)
        )
    nodes = [*restoring, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:], model.metadata_props[:]
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(nodes)
    return model


def _in_int8(tensor: onnx.TensorProto, axis: int) -> list[onnx.TensorProto]:
    """Give a weight in int8, and the scale and zero point of each output."""
    rows = np.moveaxis(onnx.numpy_helper.to_array(tensor), axis, 0)
    found = [compute_data_quant_params(row.ravel(), _INT8, symmetric=False) for row in rows]
    zeros = np.array([zero for zero, _ in found], np.int8)
    scales = np.array([scale for _, scale in found], np.float32)
    small = quantize_onnx_initializer(tensor, _INT8, zeros, scales, axis)
    return [
        small,
        onnx.numpy_helper.from_array(scales, f"{tensor.name}_scale"),
        onnx.numpy_helper.from_array(zeros, f"{tensor.name}_zero"),
    ]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration inputs, one call after the other."""

    def __init__(self, calibration: Sequence[Arrays]) -> None:
        self._left: Iterator[Arrays] = iter(calibration)

    def get_next(self) -> Any:
        return next(self._left, None)


def _up_to_first_layer(model: onnx.ModelProto) -> list[str]:
    """Name the front end, what lies before the first layer that mixes its features, and that layer.

    They stay in float. The coefficients of a frame differ in range by a factor of twenty, and one
    scale for all of them rounds the small ones away: of 500 predictions of a TC-ResNet and of a
    DS-TC-ResNet of 12 classes it changed 5 and 6 %, where 1 and 2 % change without it. A convolution of
    each band on its own leaves them as different as they were.
    """
    doubles = set(_of_double(model))
    kept = []
    for node in model.graph.node:
        kept.append(node.name)
        groups = [a.i for a in node.attribute if a.name == "group"]
        mixes = node.op_type in _WEIGHTED and max(groups, default=1) == 1
        if mixes and node.name not in doubles:
            break
    return kept


def _of_double(model: onnx.ModelProto) -> list[str]:
    """Name the nodes of the front end: they compute in float64."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if any(types.get(name) == onnx.TensorProto.DOUBLE for name in (*node.input, *node.output))
    ]


def _gemm_as_product(model: onnx.ModelProto) -> None:
    """Write each dense layer as a product and a sum, the form whose weights can be quantised alone."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        facts = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = all(facts.get(key, 1.0) == 1.0 for key in ("alpha", "beta"))
        if (
            node.op_type != "Gemm"
            or node.input[1] not in weights
            or not plain
            or facts.get("transA")
        ):
            nodes.append(node)
            continue
        nodes += _product_and_sum(graph, node, weights[node.input[1]], bool(facts.get("transB")))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _product_and_sum(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto, turned: bool
) -> list[onnx.NodeProto]:
    values = onnx.numpy_helper.to_array(weight)
    name = f"{node.name}_weight"
    graph.initializer.append(onnx.numpy_helper.from_array(values.T if turned else values, name))
    if len(node.input) == 2:
        return [
            onnx.helper.make_node(
                "MatMul", [node.input[0], name], node.output, f"{node.name}_product"
            )
        ]
    product = f"{node.name}_product"
    return [
        onnx.helper.make_node("MatMul", [node.input[0], name], [product], product),
        onnx.helper.make_node("Add", [product, node.input[2]], node.output, f"{node.name}_sum"),
    ]
