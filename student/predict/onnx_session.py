"""Run an exported student's ONNX file: the only module that imports onnxruntime.

The file may come from a stranger. It is read whole, as one plain file of bounded size; what it keeps
elsewhere is not read; and its graph must be called as its contract states.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import RunError, UsageError, bullet_list
from cache_schema.store.safe_open import read_plain
from cache_schema.text import one_line
from student.predict.contract import (
    EXPORT_A_RUN,
    METADATA_KEY,
    Contract,
    TensorSpec,
    parse_contract,
)
from student.predict.onnx_operators import operators

MAX_MODEL_BYTES = 1 << 30
_FATAL = 4  # of onnxruntime's levels of messages: below it it writes to stderr on its own
_SHOWN_CHARACTERS = 200
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_TYPES = {"float32": "tensor(float)", "int8": "tensor(int8)"}
_REPEATING = {"Loop", "Scan", "SequenceMap"}
_EXPORT_AGAIN = f"Export the run again: {EXPORT_A_RUN}"


class OnnxSession:
    """A graph in onnxruntime, on one thread. See `open_onnx`.

    Attributes
    ----------
    contract : Contract
        How it is called; the graph agrees.
    """

    def __init__(self, path: Path, session: Any, contract: Contract) -> None:
        self.contract = contract
        self._path, self._session = path, session

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Give all outputs, by name.

        Raises
        ------
        RunError
            If the graph fails, or gives something else than its contract states or what is not finite.
        """
        try:
            found = self._session.run(None, dict(inputs))
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime has an exception for each of its codes
            raise RunError(
                f"{self._path} cannot be run: {_first_line(error)}", kind="onnx"
            ) from None
        outputs = {
            spec.name: value for spec, value in zip(self.contract.outputs, found, strict=True)
        }
        self._check(outputs)
        return outputs

    def _check(self, outputs: Mapping[str, NDArray[np.float32]]) -> None:
        problems = []
        for spec in self.contract.outputs:
            value = outputs[spec.name]
            if not _fits(spec, value.shape):
                problems.append(
                    f"{spec.name} has shape {value.shape}, its contract states {spec.shape}"
                )
            elif not np.isfinite(value).all():
                problems.append(f"{spec.name} has values that are not finite")
        if problems:
            raise RunError(
                f"{self._path} gave what its contract does not state\n{bullet_list(problems)}\n"
                f"{_EXPORT_AGAIN}",
                kind="onnx",
            )


def open_onnx(path: Path) -> OnnxSession:
    """Open an exported ONNX file; a link is not followed.

    Raises
    ------
    UsageError
        Kind ``"extra"``: onnxruntime is not installed.
    RunError
        If it cannot be read, is no ONNX file of ``export-student``, or its graph is not called as its
        contract states.
    """
    onnxruntime = _onnxruntime()
    try:
        content = read_plain(path, MAX_MODEL_BYTES)
    except OSError as error:
        raise RunError(
            f"{path}: {error.strerror}. Name a run of train-student, or an ONNX file of export-student",
            kind="missing",
        ) from None
    _check_ends(content, path)
    # Tensors that a graph keeps in other files are looked for here, and there are none.
    with tempfile.TemporaryDirectory() as nowhere:
        session = _loaded(onnxruntime, content, path, nowhere)
    try:
        contract = parse_contract(_recorded(session, path).encode(), str(path))
        _check_contract(session, contract, path)
    except UnicodeError:
        raise RunError(
            f"{path} is damaged: its text is no UTF-8. {_EXPORT_AGAIN}", kind="onnx"
        ) from None
    return OnnxSession(path, session, contract)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            "an ONNX file needs onnxruntime: pip install 'aftersound[onnx]'", kind="extra"
        ) from None
    return onnxruntime


def _check_ends(content: bytes, path: Path) -> None:
    """Reject operators that repeat others: no signal ends a run that turns for ever."""
    found = {*operators(content)} & _REPEATING
    if found:
        raise RunError(
            f"{path} has operators that repeat others ({', '.join(sorted(found))}), which no exported "
            f"student has and which may have no end. {_EXPORT_AGAIN}",
            kind="onnx",
        )


def _loaded(onnxruntime: Any, content: bytes, path: Path, folder: str) -> Any:
    onnxruntime.set_default_logger_severity(_FATAL)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime has an exception for each of its codes
        raise RunError(
            f"{path} is not an ONNX file that can be run: {_first_line(error)}. {_EXPORT_AGAIN}",
            kind="onnx",
        ) from None


def _recorded(session: Any, path: Path) -> str:
    found: str | None = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if found is None:
        raise RunError(
            f"{path} has no contract ({METADATA_KEY}): export-student did not write it. "
            f"Export a run: {EXPORT_A_RUN}",
            kind="contract",
        )
    return found


def _check_contract(session: Any, contract: Contract, path: Path) -> None:
    """Compare a graph's inputs and outputs with its contract."""
    problems = [
        *_differences("input", session.get_inputs(), contract.inputs),
        *_differences("output", session.get_outputs(), contract.outputs),
    ]
    if problems:
        raise RunError(
            f"{path} is not called as its contract states; {len(problems)} problem(s)\n"
            f"{bullet_list(problems)}\n{_EXPORT_AGAIN}",
            kind="contract",
        )


def _differences(what: str, found: list[Any], declared: list[TensorSpec]) -> list[str]:
    names, expected = [node.name for node in found], [spec.name for spec in declared]
    if names != expected:
        has, states = (", ".join(map(one_line, some[:8])) for some in (names, expected))
        return [f"{what}s {has}; the contract states {states}"]
    problems = []
    for node, spec in zip(found, declared, strict=True):
        shape = tuple(size if isinstance(size, int) else None for size in node.shape)
        if node.type != _TYPES[spec.dtype] or shape != tuple(spec.shape):
            problems.append(
                f"{what} {spec.name}: {node.type} of shape {list(shape)}, the contract states "
                f"{spec.dtype} of {spec.shape}"
            )
    return problems


def _fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    return len(shape) == len(spec.shape) and all(
        want is None or size == want for size, want in zip(shape, spec.shape, strict=True)
    )


def _first_line(error: Exception) -> str:
    """Give onnxruntime's message without its own name and number before it."""
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return one_line(_CODE.sub("", first)[:_SHOWN_CHARACTERS].rstrip(". "))
