"""What importing drags in: each package with the other side's stack missing."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA_BANS = [
    "torch",
    "transformers",
    "dask",
    "distributed",
    "soundfile",
    "soxr",
    "matplotlib",
    "pipeline",
    "student",
]
STUDENT_BANS = [
    "transformers",
    "huggingface_hub",
    "dask",
    "distributed",
    "soundfile",
    "soxr",
    "pipeline",
]
# Of formats whose libraries are in no other extra, as they bring what is banned.
LEFT_OUT = {f"student.export.{name}" for name in ("arena", "executorch_format", "litert_format")}
BANS = {"cache_schema": SCHEMA_BANS, "student": STUDENT_BANS, "pipeline": ["student"]}


def modules_of(package: str) -> list[str]:
    found = pkgutil.walk_packages([str(REPOSITORY / package)], f"{package}.")
    return [package, *(module.name for module in found if module.name not in LEFT_OUT)]


@pytest.mark.parametrize("package", BANS)
def test_every_module_imports_without_the_other_sides_stack(package: str) -> None:
    modules = modules_of(package)
    assert len(modules) > 10
    code = (
        "import importlib, sys\n"
        f"for name in {BANS[package]!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_planning_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "for name in ['torch', 'transformers', 'dask', 'distributed']: sys.modules[name] = None\n"
        "import pipeline.precompute.cli, pipeline.precompute.plan\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
