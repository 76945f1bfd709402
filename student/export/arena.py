"""Memory that a microcontroller's runtime needs: found by trying, with tflite-micro on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.export.converters import hushed
from student.export.interface import Arrays, TensorFacts
from student.export.litert_format import LiteRtRunner, restored, stored

with hushed():
    from tflite_micro.python.tflite_micro import runtime

MAX_ARENA_BYTES = 1 << 26
STEP_BYTES = 16  # to which the arena is aligned
# Largest difference from LiteRT as a share of the answers' range: of float answers, and of int8 ones.
FLOAT_SHARE, INT8_SHARE = 1e-3, 0.25


class MicroRunner:
    """A ``.tflite`` file in tflite-micro with the reference kernels, which a microcontroller has too.

    It has its tensors by number: their names are those that LiteRT reads in the same file.

    Parameters
    ----------
    path : Path
        The file.
    arena_bytes : int
        Memory for all tensors and what belongs to them.

    Raises
    ------
    RuntimeError
        If the arena is too small, or tflite-micro lacks an operator; it does not name which.
    """

    def __init__(self, path: Path, arena_bytes: int = MAX_ARENA_BYTES) -> None:
        content, named = path.read_bytes(), LiteRtRunner(path)
        self.inputs: list[TensorFacts] = named.inputs
        self.outputs: list[TensorFacts] = named.outputs
        with hushed():
            self._interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See :class:`student.export.interface.Runner`."""
        for place, facts in enumerate(self.inputs):
            self._interpreter.set_input(stored(inputs[facts.name], facts), place)
        self._interpreter.invoke()
        return {
            facts.name: restored(self._interpreter.get_output(place), facts)
            for place, facts in enumerate(self.outputs)
        }


def smallest_arena_bytes(path: Path) -> int | None:
    """Find the smallest arena by bisection; None where tflite-micro cannot run the file.

    It is that of a 64-bit host with the reference kernels: a 32-bit target needs less for its
    pointers, and its optimised kernels may need more for scratch.
    """
    if not _fits(path, MAX_ARENA_BYTES):
        return None
    low, high = 0, MAX_ARENA_BYTES // STEP_BYTES
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(path, middle * STEP_BYTES):
            high = middle
        else:
            low = middle
    return high * STEP_BYTES


def answers_as_litert(path: Path) -> bool:
    """Whether tflite-micro gives about LiteRT's answer to noise: what it does not know it may ignore.

    It restores weights with the scale of their first channel where there is one for each, and says
    nothing (its ``DEQUANTIZE``). The kernels of int8 differ by a few steps, by far less than this asks.
    """
    small, large = MicroRunner(path), LiteRtRunner(path)
    random = np.random.default_rng(0)
    noise = {
        facts.name: random.standard_normal([int(n) for n in facts.shape]).astype(np.float32)
        for facts in large.inputs
    }
    found, expected = small.run(noise), large.run(noise)
    return all(
        np.abs(found[facts.name] - expected[facts.name]).max()
        <= (FLOAT_SHARE if facts.scale is None else INT8_SHARE) * np.ptp(expected[facts.name])
        for facts in large.outputs
    )


def _fits(path: Path, size_bytes: int) -> bool:
    """Whether a file runs with so large an arena."""
    try:
        runner = MicroRunner(path, size_bytes)
        shapes = {facts.name: [int(size) for size in facts.shape] for facts in runner.inputs}
        zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        with hushed():
            runner.run(zeros)
    except RuntimeError:
        return False
    return True
