"""The tables of the experiments' page are what the ledgers hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
LEDGERS = sorted((EXPERIMENTS / "results").glob("*.jsonl"))


def test_tables_are_written_from_the_ledgers() -> None:
    run = subprocess.run(
        [sys.executable, EXPERIMENTS / "tables.py", "--check"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.stem)
def test_a_ledger_holds_each_run_once_with_its_bits(ledger: Path) -> None:
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    keys = [line["key"] for line in lines]
    assert len(set(keys)) == len(keys)
    for line in lines:
        for split in line["result"]["splits"].values():
            right = bin(int(split["right"], 16)).count("1")
            expected = split["scores"].get(
                "accuracy", right / split["clips"]
            )  # none of multi-label
            assert right / split["clips"] == pytest.approx(expected)
