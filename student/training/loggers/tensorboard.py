"""A run's curves for TensorBoard, in one file: written anew when a run goes on, then appended to.

torch's ``SummaryWriter`` begins a file at every start, and its thread ends in a traceback where the
disk is full.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cache_schema.store.files import named_in_errors, write_atomic
from cache_schema.store.safe_open import open_for_writing
from student.training.loggers.interface import RunLogger, scalars

CURVES = "tensorboard/events.out.tfevents.run"


class TensorBoard(RunLogger):
    """The file ``tensorboard/`` of a run; every run has one."""

    library = "tensorboard"

    def __init__(self, run: Path, config: Mapping[str, Any], known: str | None) -> None:
        self.path = run / CURVES

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Write the file with all finished epochs, whatever a kill left of it."""
        # Imported here: what a refusal need not wait for.
        from tensorboard.compat.proto.event_pb2 import Event

        version = _record(Event(wall_time=time.time(), file_version="brain.Event:2"))
        write_atomic(self.path, version + b"".join(_point(entry) for entry in history))

    def extend(self, entry: Mapping[str, Any]) -> None:
        """Append an epoch."""
        with named_in_errors(self.path), open_for_writing(self.path, "ab") as file:
            file.write(_point(entry))

    def close(self) -> None:
        """Every epoch is written already."""


def _point(entry: Mapping[str, Any]) -> bytes:
    """Encode the numbers of an epoch."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=one) for name, one in scalars(entry).items()]
    return _record(Event(wall_time=time.time(), step=entry["epoch"], summary=Summary(value=values)))


def _record(event: Any) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
