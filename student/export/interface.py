"""What an exporter is: a student's device form becomes a file, which runs in its format's own runtime.

Axes have no suffixes here: an input may be a waveform, features, one frame of them, or a state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = Mapping[str, NDArray[Any]]
"""Values of all inputs, or of all outputs, by name."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that has any size from `smallest` on when the file runs; one of a name has one size."""

    name: str
    smallest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What is written: a module and how it is called.

    Attributes
    ----------
    module : nn.Module
        In evaluation mode, without gradients. Takes the inputs as positional arguments; gives a
        tensor, or a tuple in the order of `outputs`.
    inputs : dict of str to Tensor
        An example of each, float32, in the order of the module's arguments.
    outputs : tuple of str
        Names of what the module gives.
    dynamic_axes : dict of str to dict of int to Axis
        Axes of inputs that have no fixed size; empty for a form of fixed shapes.
    recurrent : bool
        Whether it is mainly recurrence: int8 then means weights, not activations, for formats that
        lose too much by the latter.
    metadata : dict of str to str
        To be kept in the file where its format has room for it.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic_axes: dict[str, dict[int, Axis]] = field(default_factory=dict)
    recurrent: bool = False
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFacts:
    """An input or output as the written file has it.

    Attributes
    ----------
    name : str
        As in the graph.
    shape : tuple of int or str
        An axis of any size has a name.
    dtype : str
        NumPy's name of the type.
    scale, zero_point
        Of a quantised tensor: its values are ``scale * (stored - zero_point)``.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class Runner(Protocol):
    """A written file, loaded into its own runtime with one thread."""

    @property
    def inputs(self) -> Sequence[TensorFacts]:
        """Inputs in the file's order."""

    @property
    def outputs(self) -> Sequence[TensorFacts]:
        """Outputs in the file's order."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Give all outputs, float32, of float32 inputs of the shapes above."""


class Exporter(ABC):
    """Base of all exporters; built without arguments."""

    file_name: ClassVar[str]
    """Name of the file in the export's folder, as ``model.onnx``."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose versions the card shows; ours are in the extra of the exporter's name."""
    why_not_any_length: ClassVar[str] = ""
    """Why it writes no graph with dynamic axes; empty if it does."""
    why_not_waveform: ClassVar[str] = ""
    """Why it writes no graph with the front end in it; empty if it does."""
    why_not_int8: ClassVar[str] = ""
    """Why it writes no int8; empty if it does."""
    weights_alone: ClassVar[str] = "weights alone"
    """What of a file of `quantize_weights` is int8, for the card."""
    writes_front_end: ClassVar[bool] = False
    """Whether a file of features gets a second one beside it, from waveforms to features."""

    @abstractmethod
    def write(self, graph: Graph, path: Path) -> None:
        """Write a graph to a new file.

        What else is needed may be written into the file's folder and removed again.

        Raises
        ------
        RunError
            If the format cannot hold the graph, in one line.
        OSError
            Of the disk.
        """

    def calibrates(self, graph: Graph) -> bool:
        """Whether int8 of this graph makes use of calibration inputs."""
        return True

    def quantize(
        self, graph: Graph, floats: Path, path: Path, calibration: Sequence[Arrays]
    ) -> None:
        """Write a graph to a new file in int8; raises as `write`.

        Parameters
        ----------
        graph : Graph
            What to write.
        floats : Path
            The file that `write` has made of it.
        path : Path
            The new file, in the same folder.
        calibration : sequence of mappings
            Inputs as the file will get them, of the shapes of the graph's examples; a step's with the
            states along clips. None where `calibrates` is false.
        """
        raise NotImplementedError

    def quantizes_weights_alone(self, graph: Graph) -> bool:
        """Whether `quantize_weights` makes another file than `quantize`; not by default."""
        return False

    def quantize_weights(self, graph: Graph, floats: Path, path: Path) -> None:
        """Write a graph to a new file with weights in int8 and activations in float; raises as `write`.

        It is tried where activations of 8 bits miss a bar, and the format has it.

        Parameters
        ----------
        graph : Graph
            What to write.
        floats : Path
            The file that `write` has made of it.
        path : Path
            The new file, in the same folder.
        """
        raise NotImplementedError

    @abstractmethod
    def load(self, path: Path) -> Runner:
        """Load a file that `write` has written."""

    def facts(self, path: Path) -> dict[str, str]:
        """Give what else the card shows of a written file, as its arena; nothing by default."""
        return {}
