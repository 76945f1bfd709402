"""Other people's converters: what they print is kept back, and what they raise becomes one line."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from cache_schema.errors import RunError
from cache_schema.text import one_line

STANDARD_ERROR = 2
_SHOWN_CHARACTERS = 300


@contextmanager
def hushed() -> Iterator[None]:
    """Keep back warnings, logs, progress and what compiled code writes to standard error.

    It is the whole process that is silent: nothing else may run beside it.
    """
    disabled = logging.root.manager.disable
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:  # it is closed
        kept = None
    try:
        logging.disable(logging.CRITICAL)
        if kept is not None:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), STANDARD_ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(disabled)
        if kept is not None:
            os.dup2(kept, STANDARD_ERROR)
            os.close(kept)


@contextmanager
def converting(form: str) -> Iterator[None]:
    """Hush a converter, and report in one line what it cannot hold.

    Parameters
    ----------
    form : str
        Name of the format, as ``"LiteRT"``.

    Raises
    ------
    RunError
        Kind ``"format"``, of whatever it raises but errors of the disk and of memory.
    """
    try:
        with hushed():
            yield
    except (OSError, MemoryError, RunError):
        raise
    except Exception as error:  # torch, MLIR and protobuf have many
        raise RunError(
            f"{form} cannot hold this form: {_error_line(error)}", kind="format"
        ) from None


def _error_line(error: Exception) -> str:
    """Give the most useful line of a long message.

    Its first error; else how its cause's begins, where it has one, or its own last line.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or ["no message"]
    message = next(
        (line for line in lines if "error: " in line), lines[-1 if cause is error else 0]
    )
    message = message.partition("error: ")[2] or message
    return one_line(f"{type(cause).__name__}: {message}")[:_SHOWN_CHARACTERS]
