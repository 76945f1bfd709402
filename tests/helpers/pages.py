"""The pages of documentation, by their paths in the repository."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = (
    "",
    "cache_schema",
    "pipeline",
    "student",
    "data",
    "tests/experiments",
    "tests/benchmarks",
    "tests/examples",
)
PAGES = {
    page.relative_to(REPOSITORY).as_posix(): page.read_text(encoding="utf-8")
    for folder in FOLDERS
    for page in sorted((REPOSITORY / folder).glob("*.md"))
}
