"""What every view step must do: draws apart from work, lengths as declared, nothing else changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cache_schema.plugins import plugin_names
from pipeline.plugin_checks import VIEW_CHECKS
from pipeline.views import VIEWS


@pytest.mark.parametrize("check", VIEW_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugin_names(VIEWS, "view"))
def test_every_view_step(name: str, check: Callable[[str, Path], None], tmp_path: Path) -> None:
    check(name, tmp_path)
