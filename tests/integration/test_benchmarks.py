"""Each benchmark runs to its end on tiny inputs; what it measures there means nothing."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from commands import command, succeeded

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
# The command's own list; importing it would need its folder on the path.
LISTED = re.search(
    r"^BENCHMARKS = (\([^)]+\))", (BENCHMARKS / "__main__.py").read_text(), re.MULTILINE
)
assert LISTED


@pytest.mark.parametrize("name", ast.literal_eval(LISTED[1]))
def test_a_benchmark_gives_figures(name: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    program = f"import runpy; runpy.run_path({str(BENCHMARKS)!r}, run_name='__main__')"
    succeeded(command("benchmarks", name, "--quick", "--out", out, program=program))
    document = json.loads(out.read_text())
    figures = document["benchmarks"][name]
    assert figures
    assert all(figure["value"] is not None or figure["note"] for figure in figures)
    assert document["quick"]
    assert document["machine"]["cores"]
