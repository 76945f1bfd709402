"""MLflow, by its own client, at ``MLFLOW_TRACKING_URI`` or where MLflow writes by default."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from student.runs.settings import flat_settings
from student.training.loggers.interface import PROJECT, RunLogger, scalars

# MLflow takes no others: the loss ``logits@b`` of a second teacher is ``logits:b`` there.
NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")
ALWAYS_THERE = "seconds"  # every epoch has it


class MLflow(RunLogger):
    """A run of the experiment ``aftersound``, or of ``MLFLOW_EXPERIMENT_NAME``."""

    library = "mlflow"

    def __init__(self, run: Path, config: Mapping[str, Any], known: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        if known is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
            self.id = self._client.create_run(experiment, run_name=run.name).info.run_id
            flat = flat_settings(dict(config))
            params = [Param(_name(key), str(value)) for key, value in flat.items()]
            self._client.log_batch(self.id, params=params)
        else:
            self.id = known
            self._client.update_run(known, status="RUNNING")
            points = self._client.get_metric_history(known, ALWAYS_THERE)
            self.last_epoch = max((point.step for point in points), default=0)

    def extend(self, entry: Mapping[str, Any]) -> None:
        """Write an epoch."""
        from mlflow.entities import Metric

        now_ms, step = int(1000 * time.time()), entry["epoch"]
        metrics = [Metric(_name(key), value, now_ms, step) for key, value in scalars(entry).items()]
        self._client.log_batch(self.id, metrics=metrics)

    def close(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self.id)


def _name(text: str) -> str:
    return NOT_IN_NAMES.sub(":", text)
