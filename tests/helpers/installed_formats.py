"""Exporters whose libraries may be absent: those of LiteRT and ExecuTorch are in no other extra."""

from __future__ import annotations

import pytest

from cache_schema.errors import UsageError
from student.export.interface import Exporter
from student.export.request import load_exporter


def installed(name: str) -> Exporter:
    """Give an exporter; the test skips where its libraries are absent."""
    try:
        return load_exporter(name)
    except UsageError as error:
        if error.kind != "extra":
            raise
        pytest.skip(str(error))
