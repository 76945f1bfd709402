"""One command runs what the ledgers of the experiments lack, and nothing else."""

from __future__ import annotations

from pathlib import Path

import esc10
import everything
import pytest
from click.testing import CliRunner, Result
from commands import command, forking_python, succeeded, write_tones
from ladders import Experiment

LADDER = (
    'student = ["tc-resnet"]\ncondition = ["none", "temporal=0.25"]\nseeds = 1\n'
    'train = "--epochs 1"\n'
)


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tiny experiment on tones in the place of all others; the list has which caches were made."""
    made: list[str] = []

    def make(shared: Path, work: Path, name: str) -> None:
        made.append(name)
        corpus = write_tones(work / "corpus", per_class=4)
        words = (f"folder:{corpus}", "--teacher", "toy", "--out", work / f"{name}.zarr")
        succeeded(command("precompute-teacher", *words))

    (tmp_path / "tones.toml").write_text(LADDER)
    tiny = Experiment(
        ("tones",), make, str(tmp_path / "tones.toml"), str(tmp_path / "results/tones.jsonl")
    )
    monkeypatch.setattr(everything, "EXPERIMENTS", {"tiny": tiny})
    monkeypatch.setattr(esc10, "script", lambda name: str(Path(forking_python()).with_name(name)))
    return made


def ran(tmp_path: Path, *words: object) -> Result:
    result = CliRunner().invoke(
        everything.main, [str(tmp_path), str(tmp_path / "work"), *map(str, words)]
    )
    assert result.exit_code == 0, result.output
    return result


def test_a_plan_counts_and_makes_nothing(tmp_path: Path, experiment: list[str]) -> None:
    assert "tiny: 2 runs missing (tones 2)" in ran(tmp_path, "--plan").stdout
    assert not experiment
    assert not (tmp_path / "work").exists()


def test_what_is_missing_is_run_once(tmp_path: Path, experiment: list[str]) -> None:
    ran(tmp_path, "--jobs", 2, "--device", "cpu")
    assert experiment == ["tones"]
    assert len((tmp_path / "results/tones.jsonl").read_text().splitlines()) == 2
    again = ran(tmp_path)
    assert "tiny: 0 runs missing (complete)" in again.stdout
    assert experiment == ["tones"]
