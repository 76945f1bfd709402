"""ClearML, by its own client; ``CLEARML_OFFLINE_MODE=1`` keeps all in its own folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from student.runs.settings import flat_settings
from student.training.loggers.interface import PROJECT, RunLogger, scalars

OFFLINE = "offline-"


class ClearML(RunLogger):
    """A task of the project ``aftersound``; it takes nothing but what it is given."""

    library = "clearml"

    def __init__(self, run: Path, config: Mapping[str, Any], known: str | None) -> None:
        from clearml import Task

        # A session that was never sent cannot go on: the next one has all epochs.
        goes_on = known is not None and not known.startswith(OFFLINE)
        self._task = Task.init(
            project_name=PROJECT,
            task_name=run.name,
            reuse_last_task_id=False,
            continue_last_task=known if goes_on else False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=False,
            auto_connect_streams=False,
            auto_resource_monitoring=False,
        )
        self._task.set_initial_iteration(0)  # else those of a continued task are added up
        self._task.connect(flat_settings(dict(config)), name="settings")
        self.id = self._task.id
        self.last_epoch = self._task.get_last_iteration() if goes_on else 0

    def extend(self, entry: Mapping[str, Any]) -> None:
        """Write an epoch."""
        logger = self._task.get_logger()
        for name, value in scalars(entry).items():
            logger.report_scalar(name, name, value, entry["epoch"])

    def close(self) -> None:
        """Wait until all is sent, or written."""
        self._task.close()
