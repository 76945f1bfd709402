"""ExecuTorch (``.pte``) for XNNPACK, written and run by executorch; int8 is torchao's, by PT2E."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from cache_schema.errors import RunError
from cache_schema.store.files import write_atomic
from cache_schema.text import one_line
from student.export.converters import converting, hushed
from student.export.interface import Arrays, Exporter, Graph, TensorFacts

with hushed():
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
    from executorch.runtime import Runtime
    from torchao.quantization.pt2e.constant_fold import constant_fold
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    # XNNPACK takes a thread for each core, torch's settings or not; unsafe once a file is loaded.
    _unsafe_reset_threadpool(1)

METHOD = "forward"
_WEIGHTED = (
    torch.ops.aten.conv1d.default,
    torch.ops.aten.conv2d.default,
    torch.ops.aten.linear.default,
)
# The first layers, of few weights, see the most of the sound.
_SMALLEST_WEIGHT = 1024
_RELU = torch.ops.aten.relu.default
# A program has its tensors by number; these methods of it give their names.
INPUT_NAMES, OUTPUT_NAMES = "aftersound.inputs", "aftersound.outputs"


class ExecuTorchExporter(Exporter):
    """Files that apps built with ExecuTorch run on phones, by XNNPACK."""

    file_name: ClassVar[str] = "model.pte"
    packages: ClassVar[tuple[str, ...]] = ("executorch", "torchao")
    weights_alone: ClassVar[str] = "weights, and activations by scales found as it runs"
    why_not_any_length: ClassVar[str] = (
        "XNNPACK reshapes with one axis of any size, and clips and frames are two. Choose a length: "
        "--length-s 1"
    )
    why_not_waveform: ClassVar[str] = (
        "the front end computes in float64, and ExecuTorch has no magnitude of complex128. Leave it "
        "out: the card has what is needed to write it"
    )

    def write(self, graph: Graph, path: Path) -> None:
        """See :class:`Exporter`."""
        with converting("ExecuTorch"), torch.no_grad():
            program = torch.export.export(graph.module, _example(graph))
            if graph.recurrent:
                program = torch.export.export(_in_dense_layers(program), _example(graph))
            content = lowered(program, graph)
        write_atomic(path, content)

    def quantize(
        self, graph: Graph, floats: Path, path: Path, calibration: Sequence[Arrays]
    ) -> None:
        """See :class:`Exporter`; recurrence is computed in int8 with scales found as it runs."""
        if graph.recurrent:
            self.quantize_weights(graph, floats, path)
            return
        with converting("ExecuTorch"), torch.no_grad():
            traced = torch.export.export(graph.module, _example(graph)).module()
            kept = _up_to_first_layer(traced)
            _part_activations(traced, kept)
            quantizer = XNNPACKQuantizer().set_global(
                get_symmetric_quantization_config(is_per_channel=True)
            )
            quantizer.set_filter_function(lambda node: node.name not in kept)
            runs = [_given(inputs, graph) for inputs in calibration]
            content = _quantised(traced, quantizer, graph, runs)
        write_atomic(path, content)

    def quantizes_weights_alone(self, graph: Graph) -> bool:
        """Of layers over two axes and dense ones; a recurrence has been quantised so already."""
        return not graph.recurrent and any(
            isinstance(layer, nn.Conv2d | nn.Linear)
            and getattr(layer, "groups", 1) == 1
            and layer.weight.numel() >= _SMALLEST_WEIGHT
            for layer in graph.module.modules()
        )

    def quantize_weights(self, graph: Graph, floats: Path, path: Path) -> None:
        """See :class:`Exporter`; XNNPACK has no int8 weights for float activations."""
        with converting("ExecuTorch"), torch.no_grad():
            program = torch.export.export(graph.module, _example(graph))
            if graph.recurrent:
                traced = _in_dense_layers(program)
            else:  # a layer that is joined with a rectifier has no int8 of this kind
                traced = program.module()
                _part_activations(traced, {node.name for node in traced.graph.nodes})
            quantizer = _ScaledAsItRuns().set_global(
                get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
            )
            quantizer.set_filter_function(
                lambda node: not (_each_on_its_own(node) or _is_small(node))
            )
            # There is nothing to calibrate: one run shows the weights.
            content = _quantised(traced, quantizer, graph, [_example(graph)])
        write_atomic(path, content)

    def calibrates(self, graph: Graph) -> bool:
        """Not for recurrences, whose activations are scaled as they run."""
        return not graph.recurrent

    def load(self, path: Path) -> ExecuTorchRunner:
        """See :class:`Exporter`."""
        return ExecuTorchRunner(path)


def _in_dense_layers(program: ExportedProgram) -> GraphModule:
    """Write a recurrence as what XNNPACK computes as a whole: dense layers and slices of each frame.

    The layers share their weights, which are one in the file. It has no int8 for anything else in
    a recurrence, nor for what is computed of a weight, such as a part of it.
    """
    aten = torch.ops.aten
    ways = {
        aten.gru.input: torch.export.default_decompositions()[aten.gru.input],
        aten.addmm.default: _dense_sum,
        aten.split.Tensor: _slices,
        aten.chunk.default: _chunks,
    }
    traced: GraphModule = program.run_decompositions(ways).module()
    constant_fold(traced)
    return traced


def _dense_sum(added: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    return added + nn.functional.linear(values, weights.t())


def _slices(values: Tensor, size: int, axis: int = 0) -> list[Tensor]:
    starts = range(0, values.shape[axis], size)
    return [torch.ops.aten.slice.Tensor(values, axis, start, start + size) for start in starts]


def _chunks(values: Tensor, count: int, axis: int = 0) -> list[Tensor]:
    return _slices(values, -(-values.shape[axis] // count), axis)


class _ScaledAsItRuns(XNNPACKQuantizer):  # type: ignore[misc]
    """Leaves numbers as they are: made float tensors, they would make float indices."""

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        return model


def _is_small(node: Node) -> bool:
    """Whether it is a layer of so few weights that int8 of its input costs more than it saves."""
    weights = node.args[1] if node.target in _WEIGHTED else None
    return isinstance(weights, Node) and weights.meta["val"].numel() < _SMALLEST_WEIGHT


def _up_to_first_layer(traced: GraphModule) -> set[str]:
    """Name the first layer that mixes features, and what lies before it: they stay in float.

    The coefficients of one frame differ in range by a factor of twenty, and one scale for all of them
    rounds the small ones away.
    """
    names: set[str] = set()
    for node in traced.graph.nodes:
        if node.op != "call_function":  # the weights of all layers come first
            continue
        names.add(node.name)
        if node.target in _WEIGHTED and not _each_on_its_own(node):
            break
    return names


def _part_activations(traced: GraphModule, layers: set[str]) -> None:
    """Compute the activations behind some layers on their own.

    ExecuTorch 1.5 joins a rectifier with a convolution over one axis before it, and takes the result for
    quantised if that is what reads it: of float inputs XNNPACK then refuses to make int8 ones
    (``xnn_status_invalid_parameter``). It does not join a clamp.
    """
    for node in traced.graph.nodes:
        if node.target == _RELU and node.args[0].name in layers:
            node.target, node.args = torch.ops.aten.clamp.default, (node.args[0], 0)
    traced.recompile()


def _quantised(
    traced: GraphModule,
    quantizer: XNNPACKQuantizer,
    graph: Graph,
    runs: Sequence[tuple[Tensor, ...]],
) -> bytes:
    prepared = prepare_pt2e(traced, quantizer)
    for inputs in runs:
        prepared(*inputs)
    return lowered(torch.export.export(convert_pt2e(prepared), _example(graph)), graph)


def _each_on_its_own(node: Node) -> bool:
    """Whether it is a convolution of each band on its own, which leaves them as different as before."""
    if node.target not in _WEIGHTED:
        return False
    groups = node.args[6] if len(node.args) > 6 else 1  # by position, as torch.export has it
    return bool(groups != 1)


def _example(graph: Graph) -> tuple[Tensor, ...]:
    return tuple(graph.inputs.values())


def _given(inputs: Arrays, graph: Graph) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(inputs[name]) for name in graph.inputs)


def lowered(program: ExportedProgram, graph: Graph) -> bytes:
    """Give XNNPACK what it can compute, and the names and metadata as methods of the program."""
    texts = {
        INPUT_NAMES: " ".join(graph.inputs),
        OUTPUT_NAMES: " ".join(graph.outputs),
        **graph.metadata,
    }
    edge = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods=texts
    )
    content: bytes = edge.to_executorch().buffer
    return content


@contextmanager
def _running() -> Iterator[None]:
    """Hush the runtime, and report in one line what it cannot run of what the converter wrote."""
    try:
        with hushed():
            yield
    except RuntimeError as error:
        raise RunError(
            f"ExecuTorch cannot run this form: {one_line(str(error))}", kind="format"
        ) from None


class ExecuTorchRunner:
    """A written file in ExecuTorch's runtime, on one thread; it has run once when it is loaded."""

    def __init__(self, path: Path) -> None:
        with _running():
            self._program = Runtime.get().load_program(path.read_bytes())
            self._method = self._program.load_method(METHOD)
        about = self._method.metadata
        inputs = [about.input_tensor_meta(place) for place in range(about.num_inputs())]
        outputs = [about.output_tensor_meta(place) for place in range(about.num_outputs())]
        self.inputs = self._named(INPUT_NAMES, inputs)
        self.outputs = self._named(OUTPUT_NAMES, outputs)
        self._run_once()

    def _named(self, method: str, tensors: Sequence[Any]) -> list[TensorFacts]:
        names = self._program.load_method(method).execute([])[0].split()
        return [
            TensorFacts(name=name, shape=tuple(tensor.sizes()), dtype="float32")
            for name, tensor in zip(names, tensors, strict=True)
        ]

    def _run_once(self) -> None:
        """Show what it cannot run: to keep its messages back costs more than a small file's run."""
        zeros = [torch.zeros([int(size) for size in facts.shape]) for facts in self.inputs]
        with _running():
            self._method.execute(zeros)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See :class:`student.export.interface.Runner`."""
        given = [
            torch.from_numpy(np.ascontiguousarray(inputs[facts.name], np.float32))
            for facts in self.inputs
        ]
        found = self._method.execute(given)
        return {facts.name: value.numpy() for facts, value in zip(self.outputs, found, strict=True)}
