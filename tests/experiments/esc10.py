"""What experiments share: ESC-10's clips, public commands, results as text."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from commands import plain_environment, script

FOLDS = (1, 2, 3, 4, 5)


def clips(shared: Path) -> list[dict[str, str]]:
    """Rows of esc10.csv: filename, fold, category."""
    with (shared / "data/esc10/esc10.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(name: str, *arguments: object, log: Path) -> None:
    """Run a public command; its output goes to the log."""
    with log.open("a", encoding="utf-8") as file:
        subprocess.run(
            [script(name), *map(str, arguments)],
            stdout=file,
            stderr=subprocess.STDOUT,
            check=True,
            env=plain_environment(),
        )


def result(folder: Path) -> dict[str, Any]:
    """What a training scored."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    mean = 100 * statistics.mean(values)
    return (
        f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"
    )
