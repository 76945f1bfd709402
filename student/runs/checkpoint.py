"""What a run leaves on disk: the student's weights, and the state that continues a training.

Both are written atomically. The weights are those of the student alone; distillation heads live in
the training state.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from cache_schema.errors import RunError, UsageError, is_out_of_memory
from cache_schema.store.files import sha256, write_atomic
from cache_schema.store.safe_open import read_plain
from cache_schema.text import one_line, shell_word
from student.models.interface import Student
from student.runs.run_config import CONFIG
from student.runs.run_result import RESULT
from student.runs.settings import build_student

WEIGHTS = "model.safetensors"
STATE = "training-state.pt"
STATE_FORMAT = 2
MAX_JSON_BYTES = 64 << 20
# Weights, their averages and two moments of each: of the largest student there is, many times over.
MAX_STATE_BYTES = 8 << 30
# Of a file of weights: names and shapes.
HEADER_BYTES = 16 << 20


def save_weights(run: Path, student: Student) -> None:
    """Write the student's weights."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in student.state_dict().items()}
    write_atomic(run / WEIGHTS, save_tensors(tensors))


def load_student(run: Path, config: dict[str, Any]) -> Student:
    """Rebuild a run's student with its best weights, in evaluation mode.

    Raises
    ------
    RunError
        If the weights are missing, damaged or not finite, or the settings name what is not installed.
    """
    path = run / WEIGHTS
    with named_in(run / CONFIG):
        student = build_student(
            config["student"], config["student_options"], len(config["classes"])
        )
    try:
        student.load_state_dict(load_tensors(read_plain(path, _most_bytes(student))))
    except (OSError, SafetensorError, RuntimeError) as error:
        if is_out_of_memory(error):  # the file is good
            raise
        if isinstance(error, FileNotFoundError) and not os.path.lexists(run / STATE):
            raise RunError(
                f"{run} has no student yet: no epoch of its training has ended. Wait for the training, "
                "or repeat the train-student command that began it",
                kind="weights",
            ) from None
        reason = " ".join(_words(error).split()).rstrip(".")  # torch has a line for each tensor
        raise RunError(
            f"{path} does not hold the weights of a {config['student']}: {reason}. {_way_out(run)}",
            kind="weights",
        ) from None
    tensors = student.state_dict().items()
    wild = [name for name, tensor in tensors if not bool(tensor.isfinite().all())]
    if wild:
        raise RunError(
            f"{path} has weights that are not finite, first {wild[0]}. {_way_out(run)}",
            kind="weights",
        )
    return student.eval()


def weights_digest(run: Path, student: Student) -> str:
    """SHA-256 of the file that a run's student was loaded from."""
    return sha256(read_plain(run / WEIGHTS, _most_bytes(student)))


def _most_bytes(student: Student) -> int:
    """Bytes that a student's weights take at most."""
    tensors: int = sum(t.numel() * t.itemsize for t in student.state_dict().values())
    return HEADER_BYTES + tensors


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the training state: tensors, numbers and strings only."""
    buffer = io.BytesIO()
    torch.save({"format": STATE_FORMAT, **state}, buffer)
    write_atomic(run / STATE, buffer.getvalue())


def load_state(run: Path) -> dict[str, Any] | None:
    """Read the training state, or None where there is none. Nothing in it can run code.

    Raises
    ------
    RunError
        If it cannot be read, another version wrote it, or a student is there without it.
    """
    path = run / STATE
    try:
        content = io.BytesIO(read_plain(path, MAX_STATE_BYTES))
    except FileNotFoundError:
        check_goes_on(run)
        return None
    except OSError as error:
        raise damaged_state(run, error) from None
    try:
        state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        if state["format"] == STATE_FORMAT:
            return state
    except Exception as error:  # whatever a damaged pickle makes of the unpickler
        if is_out_of_memory(error):  # the file is good
            raise
        raise damaged_state(run, error) from None
    raise _unusable(run, f"{path} has format {state['format']}, this version writes {STATE_FORMAT}")


def check_goes_on(run: Path) -> None:
    """Reject a run that lacks its state: trained anew its student would be replaced.

    Raises
    ------
    RunError
        Kind ``"damaged"``.
    """
    if (run / WEIGHTS).exists() and not (run / STATE).exists():
        raise _unusable(
            run,
            f"{run} holds a student, but not the training state to go on from ({STATE}): it can be "
            "used, and not be trained any further. Nothing was changed; put that file back, if it is "
            "elsewhere",
        )


def damaged_state(run: Path, error: Exception) -> RunError:
    """Give the refusal of a training state of which `error` came."""
    reason = _words(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    reason = reason.splitlines()[0][:80]
    kept = "; its student can be used as before" if (run / RESULT).exists() else ""
    return _unusable(run, f"{run / STATE} is damaged, or another version wrote it ({reason}){kept}")


def _words(error: Exception) -> str:
    """What an error says; of the disk's without number and path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _unusable(run: Path, problem: str) -> RunError:
    return RunError(
        f"{problem}. Choose another --out, or delete {run} to train anew.", kind="damaged"
    )


def write_json(path: Path, document: Any) -> None:
    """Write a readable JSON document."""
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON document, or None where there is none.

    Raises
    ------
    RunError
        If it is no plain file, too large or not JSON.
    """
    try:
        return json.loads(read_plain(path, MAX_JSON_BYTES).decode())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path} {error.strerror}", kind="damaged") from None
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not JSON: {error}. {anew(path.parent)}", kind="damaged"
        ) from None


@contextmanager
def named_in(document: Path) -> Iterator[None]:
    """Let an unknown plug-in or option be an error of the run's document that names it.

    Raises
    ------
    RunError
        Kind ``"plugin"``, naming the document.
    """
    try:
        yield
    except UsageError as error:
        recorded = (read_json(document.parent / CONFIG) or {}).get("plugins")
        used = sorted(map(one_line, recorded.values())) if isinstance(recorded, dict) else []
        names = f" ({', '.join(dict.fromkeys(used))})" if used else ""
        raise RunError(
            f"{document} names what is not installed here: {error}\nInstall the plug-in, or the "
            f"version, that the run was trained with{names}; or else it is damaged. "
            f"{anew(document.parent)}",
            kind="plugin",
        ) from None


def anew(run: Path) -> str:
    """What is left to do with a run that no command makes whole again."""
    return f"Put it back from a copy; or delete {shell_word(run)}, and train it again"


def _way_out(run: Path) -> str:
    """What to do about weights: a run that has ended is not trained on."""
    if os.path.lexists(run / RESULT):
        return anew(run)
    again = "Repeat the train-student command that began it, which writes those of a better epoch"
    return f"{again}. {anew(run)}"


def write_lines(path: Path, documents: list[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    write_atomic(path, "".join(json.dumps(document) + "\n" for document in documents).encode())
