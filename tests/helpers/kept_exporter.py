"""An exporter that keeps the graph in memory: what is around a format, without a format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from student.export.interface import Arrays, Exporter, Graph, TensorFacts

GRAPHS: dict[int, Graph] = {}
INT8, WEIGHTS, FLOAT = b"int8", b"weights", b"float"


class KeptExporter(Exporter):
    """Its files hold the number of the graph."""

    file_name: ClassVar[str] = "model.kept"
    packages: ClassVar[tuple[str, ...]] = ("pytest", "no-such-distribution")
    error: ClassVar[float] = 0.0
    """Added to each answer of a float file."""
    int8_error: ClassVar[float] = 0.0
    """Times noise, added to each answer of an int8 file."""
    int8_bytes: ClassVar[int] = 100
    calibration: ClassVar[Sequence[Arrays]] = ()
    """What the last int8 file was calibrated with."""

    def write(self, graph: Graph, path: Path) -> None:
        """See :class:`Exporter`."""
        GRAPHS[len(GRAPHS)] = graph
        path.write_bytes(FLOAT + b" %d " % (len(GRAPHS) - 1) + bytes(1_000_000))

    def quantize(
        self, graph: Graph, floats: Path, path: Path, calibration: Sequence[Arrays]
    ) -> None:
        """See :class:`Exporter`."""
        type(self).calibration = calibration
        number = floats.read_bytes().split()[1]
        path.write_bytes(INT8 + b" " + number + b" " + bytes(self.int8_bytes))

    def quantize_weights(self, graph: Graph, floats: Path, path: Path) -> None:
        """See :class:`Exporter`; these have no error."""
        number = floats.read_bytes().split()[1]
        path.write_bytes(WEIGHTS + b" " + number + b" " + bytes(self.int8_bytes))

    def facts(self, path: Path) -> dict[str, str]:
        """See :class:`Exporter`."""
        return {"arena": f"{len(path.name)} | bytes"}

    def load(self, path: Path) -> KeptRunner:
        """See :class:`Exporter`."""
        kind, number = path.read_bytes().split()[:2]
        return KeptRunner(GRAPHS[int(number)], self, kind)


class KeptRunner:
    """The graph itself."""

    def __init__(self, graph: Graph, exporter: KeptExporter, kind: bytes) -> None:
        self.graph, self.exporter, self.kind = graph, exporter, kind
        self.random = np.random.default_rng(0)
        self.inputs = [
            TensorFacts(name=name, shape=tuple(value.shape), dtype="float32")
            for name, value in graph.inputs.items()
        ]
        self.outputs = [TensorFacts(name=n, shape=(1,), dtype="float32") for n in graph.outputs]

    def run(self, inputs: Arrays) -> dict[str, Any]:
        """See :class:`student.export.interface.Runner`."""
        given = [torch.from_numpy(np.array(inputs[name])) for name in self.graph.inputs]
        with torch.no_grad():
            found = self.graph.module(*given)
        values = found if isinstance(found, tuple) else (found,)
        answer = {n: v.numpy() for n, v in zip(self.graph.outputs, values, strict=True)}
        logits = answer["logits"]
        if self.kind == WEIGHTS:
            return answer
        if self.kind == FLOAT:
            logits = logits + np.float32(self.exporter.error)
        else:
            noise = self.random.standard_normal(logits.shape)
            logits = logits + np.float32(self.exporter.int8_error) * noise.astype(np.float32)
        return {**answer, "logits": logits}
