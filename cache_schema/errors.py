"""What can go wrong, as a user meets it: one family of errors with a kind and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from cache_schema.text import one_line

MAX_LISTED = 20  # problems of one message
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator", "bad_alloc", "CUDA out of memory", "failed to map segment",
    "Cannot allocate memory",
)  # fmt: skip


class AftersoundError(Exception):
    """An error whose message is meant for the user and is shown without a traceback.

    Parameters
    ----------
    message : str
        Names the thing, shows both values and ends with the next command.
    kind : str
        A short stable word (``"stale"``, ``"unfinished"``) for callers and tests.
    """

    exit_code = 1

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it travel from a Dask worker: pickle would leave out `kind`."""
        return partial(type(self), kind=self.kind), self.args


class RunError(AftersoundError):
    """The run failed (exit code 1)."""

    exit_code = 1


class UsageError(AftersoundError, ValueError):
    """A wrong argument, option or configuration (exit code 2)."""

    exit_code = 2


class CacheError(AftersoundError):
    """The cache cannot be used for this purpose (exit code 3)."""

    exit_code = 3


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means too little memory: torch and the loader raise others than MemoryError.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("std::bad_alloc"))
    (True, True)
    >>> is_out_of_memory(RuntimeError("shapes do not match"))
    False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    of_library = isinstance(error, RuntimeError | ImportError)
    return of_library and any(mark in str(error) for mark in _OUT_OF_MEMORY)


def bullet_list(problems: Iterable[str], most: int | None = None) -> str:
    """Join problems one to a line, each with a bullet, for the body of a message; none forges a line.

    Examples
    --------
    >>> print(bullet_list(["one", "two", "three"], most=1))
      - one
      - and 2 more
    """
    lines = list(problems)
    if most is not None and len(lines) > most:
        lines = [*lines[:most], f"and {len(lines) - most} more"]
    return "\n".join(f"  - {one_line(line)}" for line in lines)
