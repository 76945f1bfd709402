"""What a logger of a run is: it gets each epoch once, as ``metrics.jsonl`` has it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

PROJECT = "aftersound"


class RunLogger(ABC):
    """A place that a run's curves are written to.

    Names are those of ``metrics.jsonl``, and the step is the epoch, from 1. A run that goes on adds to
    what is there; where that is on a server, it is found by its `id`.

    Parameters
    ----------
    run : Path
        Folder of the run; its name is shown.
    config : mapping
        Content of its ``config.json``.
    known : str or None
        The `id` that an earlier start of this run had.

    Attributes
    ----------
    id : str
        What names the run there.
    last_epoch : int
        The last one that is there already.
    """

    library: ClassVar[str]
    """What is imported; the extra of the logger's name brings it."""

    id: str = ""
    last_epoch: int = 0

    @abstractmethod
    def __init__(self, run: Path, config: Mapping[str, Any], known: str | None) -> None: ...

    @abstractmethod
    def extend(self, entry: Mapping[str, Any]) -> None:
        """Write an epoch."""

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Write the finished epochs that are not there yet."""
        for entry in history:
            if entry["epoch"] > self.last_epoch:
                self.extend(entry)

    @abstractmethod
    def close(self) -> None:
        """End the session; the run may go on in another."""


def scalars(entry: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of an epoch by their names."""
    return {name: value for name, value in entry.items() if isinstance(value, float)}
