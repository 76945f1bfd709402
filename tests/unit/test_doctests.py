"""Every example in a docstring holds; those of the two packages' own are in test_notebooks."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
import small_cache

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cache_schema", "pipeline", "student")
WITH_A_CACHE = "cache_schema.writer"


def modules_with_examples() -> list[str]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            examples = doctest_lines(path)
            if examples and path.parent.name + path.name not in {
                f"{name}__init__.py" for name in PACKAGES
            }:
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found.append(name.removesuffix(".__init__"))
    return found


def doctest_lines(path: Path) -> list[str]:
    """Examples that are to be run."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if ">>> " in line and "+SKIP" not in line]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_hold(name: str, tmp_path: Path) -> None:
    given = cache_to_write(tmp_path / "small.zarr") if name == WITH_A_CACHE else {}
    found = doctest.testmod(importlib.import_module(name), extraglobs=given)
    assert found.attempted > 0
    assert found.failed == 0


def cache_to_write(root: Path) -> dict[str, object]:
    plan = small_cache.lay_out(root)
    return {"root": root, "plan": plan, "rows": small_cache.rows(plan, 0)}
