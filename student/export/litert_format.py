"""LiteRT (``.tflite``), written by litert-torch and run by LiteRT; int8 is the AI Edge Quantizer's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.store.files import write_atomic
from student.export.converters import converting, hushed
from student.export.interface import Arrays, Exporter, Graph, TensorFacts

with hushed():
    import litert_torch
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils import qsv_utils, tfl_flatbuffer_utils

SIGNATURE = "serving_default"
# A convolution of each band on its own (DEPTHWISE_CONV_2D) is none.
_MIXING = ("CONV_2D", "FULLY_CONNECTED")


class LiteRtExporter(Exporter):
    """Files that Android, single-board computers and microcontrollers run."""

    file_name: ClassVar[str] = "model.tflite"
    packages: ClassVar[tuple[str, ...]] = (
        "litert-torch",
        "ai-edge-litert",
        "ai-edge-quantizer",
        "tflite-micro",
    )
    why_not_any_length: ClassVar[str] = (
        "litert-torch makes an axis of any size a negative one (broadcast_in_dim). Choose a length: "
        "--length-s 1"
    )
    why_not_waveform: ClassVar[str] = (
        "the front end computes in float64, which LiteRT cannot slice (tfl.strided_slice). Leave it "
        "out: the card has what is needed to write it"
    )

    def write(self, graph: Graph, path: Path) -> None:
        """See :class:`Exporter`."""
        with converting("LiteRT"):
            model = litert_torch.convert(_Named(graph).eval(), sample_kwargs=graph.inputs)
            content = model.model_content()
        write_atomic(path, whole(content, graph.metadata))

    def quantize(
        self, graph: Graph, floats: Path, path: Path, calibration: Sequence[Arrays]
    ) -> None:
        """See :class:`Exporter`; recurrence is computed in int8 with scales found as it runs."""
        content = floats.read_bytes()
        if graph.recurrent:
            write_atomic(path, _by_recipe(content, recipe.dynamic_wi8_afp32(), graph))
            return
        with converting("LiteRT"):
            recipes = static_recipes(content)
            quantizer = Quantizer(bytearray(content), recipes.get_quantization_recipe())
            ranges = calibrated(content, calibration, recipes)
            found = quantizer.quantize(ranges, enable_progress_report=False)
        write_atomic(path, whole(bytes(found.quantized_model), graph.metadata))

    def quantizes_weights_alone(self, graph: Graph) -> bool:
        """See :class:`Exporter`."""
        return True

    def quantize_weights(self, graph: Graph, floats: Path, path: Path) -> None:
        """See :class:`Exporter`."""
        content = floats.read_bytes()
        write_atomic(path, _by_recipe(content, recipe.weight_only_wi8_afp32(), graph))

    def calibrates(self, graph: Graph) -> bool:
        """Not for recurrences, whose activations are scaled as they run."""
        return not graph.recurrent

    def load(self, path: Path) -> LiteRtRunner:
        """See :class:`Exporter`."""
        return LiteRtRunner(path)

    def facts(self, path: Path) -> dict[str, str]:
        """See :class:`Exporter`: the arena of a microcontroller's runtime."""
        from student.export.arena import answers_as_litert, smallest_arena_bytes

        size_bytes = smallest_arena_bytes(path)
        told = "it cannot run this file" if size_bytes is None else f"{size_bytes:,} bytes"
        if size_bytes is not None and not answers_as_litert(path):
            told = "it answers otherwise than LiteRT: do not run this file in it"
        return {"arena of tflite-micro, found by trying with a host's reference kernels": told}


class _Named(nn.Module):
    """A graph's module called by its inputs' names, which gives its outputs with theirs."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.module = graph.module
        self.outputs = graph.outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        given = self.module(*inputs.values())
        given = (given,) if isinstance(given, torch.Tensor) else given
        return dict(zip(self.outputs, given, strict=True))


def _by_recipe(content: bytes, steps: Any, graph: Graph) -> bytes:
    """Quantise by a recipe that needs no ranges."""
    with converting("LiteRT"):
        quantizer = Quantizer(bytearray(content), steps)
        found = quantizer.quantize(enable_progress_report=False)
    return whole(bytes(found.quantized_model), graph.metadata)


def static_recipes(content: bytes) -> RecipeManager:
    """Quantise all but what lies before the first layer that mixes features, and that layer.

    The coefficients of one frame differ in range by a factor of twenty, and one scale for all of them
    rounds the small ones away: of 500 predictions of a TC-ResNet of 12 classes it changed 5 %, where 1 %
    change without it.
    """
    recipes = RecipeManager()
    recipes.load_quantization_recipe(recipe.static_wi8_ai8())
    recipes.add_quantization_config(
        ".*", TFLOperationName.INPUT, algorithm_key=AlgorithmName.NO_QUANTIZE
    )
    for scope in _up_to_first_layer(content):
        recipes.add_quantization_config(
            f"^{re.escape(scope)}$",
            TFLOperationName.ALL_SUPPORTED,
            algorithm_key=AlgorithmName.NO_QUANTIZE,
        )
    return recipes


def _up_to_first_layer(content: bytes) -> list[str]:
    """Name the operators as the quantizer does: by what they give."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    graph, scopes = model.subgraphs[0], []
    for operator in graph.operators:
        scopes.append(tfl_flatbuffer_utils.get_op_scope(operator, graph.tensors))
        if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) in _MIXING:
            break
    return scopes


def calibrated(
    content: bytes, calibration: Sequence[Arrays], recipes: RecipeManager
) -> dict[str, Any]:
    """Find the range of each tensor: the smallest and largest value of all clips.

    The quantizer's own way is a moving average from clip to clip, which cuts off the loudest.
    """
    calibrator = Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    calibrator.calibrate({SIGNATURE: [dict(inputs) for inputs in calibration]}, recipes)
    ranges: dict[str, Any] = calibrator.get_model_qsvs()
    return ranges


def whole(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put every buffer into the flatbuffer, and metadata beside them.

    A buffer may lie behind the flatbuffer, where LiteRT finds it and tflite-micro reads zeros
    without a word. Tensors get numbers for names: those that name which line of whose file each comes
    from are a tenth of a small file. The signature has the names of inputs and outputs.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    for graph in model.subgraphs:
        for number, tensor in enumerate(graph.tensors):
            tensor.name = f"{number:x}"
            _strip(tensor)
    entries = []
    for entry in model.metadata or []:
        if _text(entry.name) in metadata:
            model.buffers[entry.buffer].data = None
        else:
            entries.append(entry)
    for name, value in metadata.items():
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = name, len(model.buffers)
        buffer.data = np.frombuffer(value.encode(), np.uint8)
        model.buffers.append(buffer)
        entries.append(entry)
    model.metadata = entries
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _strip(tensor: Any) -> None:
    """Leave out what says nothing: an unrolled recurrence has thousands of tensors."""
    if tensor.quantization is not None and tensor.quantization.scale is None:
        tensor.quantization = None
    if tensor.shapeSignature is not None and min(tensor.shapeSignature, default=0) >= 0:
        tensor.shapeSignature = None


def outside_buffers(content: bytes) -> int:
    """Count the buffers that lie behind the flatbuffer."""
    model = schema.Model.GetRootAs(content, 0)
    return sum(model.Buffers(number).Offset() > 0 for number in range(model.BuffersLength()))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


class LiteRtRunner:
    """A written file in LiteRT, on one thread."""

    def __init__(self, path: Path) -> None:
        with hushed():
            self._interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
            self._interpreter.allocate_tensors()  # here it prints that it has XNNPACK
            self._run = self._interpreter.get_signature_runner(SIGNATURE)
        self.inputs = _ordered(self._run.get_input_details(), self._interpreter.get_input_details())
        self.outputs = _ordered(
            self._run.get_output_details(), self._interpreter.get_output_details()
        )

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See :class:`student.export.interface.Runner`."""
        found = self._run(
            **{facts.name: stored(inputs[facts.name], facts) for facts in self.inputs}
        )
        return {facts.name: restored(found[facts.name], facts) for facts in self.outputs}


def stored(values: NDArray[Any], facts: TensorFacts) -> NDArray[Any]:
    """Give float32 values as a tensor of a file holds them."""
    if facts.scale is None or facts.zero_point is None:
        return np.ascontiguousarray(values, facts.dtype)
    limits = np.iinfo(facts.dtype)
    steps = np.rint(values / facts.scale) + facts.zero_point
    return steps.clip(limits.min, limits.max).astype(facts.dtype)


def restored(values: NDArray[Any], facts: TensorFacts) -> NDArray[Any]:
    """Give what a tensor of a file holds as float32 values."""
    if facts.scale is None or facts.zero_point is None:
        return values
    steps: NDArray[Any] = values.astype(np.float32) - np.float32(facts.zero_point)
    return steps * np.float32(facts.scale)


def _ordered(by_name: Mapping[str, Any], in_order: Sequence[Any]) -> list[TensorFacts]:
    """Facts of a signature's tensors in the order of the graph."""
    places = [details["index"] for details in in_order]
    names = sorted(by_name, key=lambda name: places.index(by_name[name]["index"]))
    return [_facts(name, by_name[name]) for name in names]


def _facts(name: str, details: Mapping[str, Any]) -> TensorFacts:
    scale, zero_point = details["quantization"]
    return TensorFacts(
        name=name,
        shape=tuple(int(size) for size in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale) or None,
        zero_point=int(zero_point) if scale else None,
    )
