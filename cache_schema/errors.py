"""What can go wrong, as a user meets it: one family of errors with a kind and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

MAX_LISTED = 20  # problems of one message


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


def bullet_list(problems: Iterable[str], most: int | None = None) -> str:
    """Join problems one to a line, each with a bullet, for the body of a message.

    Examples
    --------
    >>> print(bullet_list(["one", "two", "three"], most=1))
      - one
      - and 2 more
    """
    lines = list(problems)
    if most is not None and len(lines) > most:
        lines = [*lines[:most], f"and {len(lines) - most} more"]
    return "\n".join(f"  - {line}" for line in lines)
