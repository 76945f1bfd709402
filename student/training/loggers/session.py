"""The loggers of a training under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cache_schema.errors import RunError, UsageError
from cache_schema.plugins import load_plugin
from cache_schema.text import one_line
from student.runs.checkpoint import read_json, write_json
from student.training.loggers import ALWAYS, LOGGERS
from student.training.loggers.interface import RunLogger

IDS = "loggers.json"


def logger_class(name: str) -> type[RunLogger]:
    """Look a logger up by name.

    Raises
    ------
    UsageError
        Kind ``"extra"``: its library is not installed.
    """
    found: type[RunLogger] = load_plugin(LOGGERS, name, "logger")
    if find_spec(found.library) is None:
        raise UsageError(
            f"--logger {name} needs {found.library}: pip install 'aftersound[{name}]'", kind="extra"
        )
    return found


class LoggerSession:
    """TensorBoard and the loggers that were asked for, from a start of a training to its end.

    One that fails while a training is under way is left out with a warning, and gets what it missed
    at the next start. TensorBoard's file is the run's own, and its errors are.

    Parameters
    ----------
    names : sequence of str
        Keys of ``LOGGERS``.
    run : Path
        Folder of the run.
    config : mapping
        Content of its ``config.json``.
    log : callable
        Receives warnings.

    Raises
    ------
    RunError
        Kind ``"logger"``: one cannot be opened.
    """

    def __init__(
        self, names: Sequence[str], run: Path, config: Mapping[str, Any], log: Callable[[str], None]
    ) -> None:
        self._log = log
        self._open: dict[str, RunLogger] = {ALWAYS: logger_class(ALWAYS)(run, config, None)}
        ids = read_json(run / IDS)
        ids = ids if isinstance(ids, dict) else {}
        for name in dict.fromkeys(names):
            known = ids.get(name)
            try:
                found = logger_class(name)(run, config, known if isinstance(known, str) else None)
            except Exception as error:
                self.close()
                again = f", delete {run / IDS} for a new run there" if known else ""
                raise RunError(
                    f"logger {name} cannot be opened: {_first_line(error)}\nNothing was trained. Repair "
                    f"that{again}, or leave --logger {name} out.",
                    kind="logger",
                ) from error
            self._open[name] = found
            ids[name] = found.id
        if len(self._open) > 1:
            write_json(run / IDS, ids)

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Bring all up to the finished epochs."""
        entries = list(history)
        self._each(lambda logger: logger.begin(entries))

    def extend(self, entry: Mapping[str, Any]) -> None:
        """Write an epoch everywhere."""
        self._each(lambda logger: logger.extend(entry))

    def close(self) -> None:
        """End all sessions."""
        self._each(lambda logger: logger.close())

    def _each(self, act: Callable[[RunLogger], None]) -> None:
        for name, logger in list(self._open.items()):
            try:
                act(logger)
            except Exception as error:
                if name == ALWAYS:
                    raise
                self._log(f"warning: logger {name} is left out: {_first_line(error)}")
                del self._open[name]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {one_line(lines[0])}" if lines else type(error).__name__
