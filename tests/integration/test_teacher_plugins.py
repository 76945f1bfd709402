"""Teachers of somebody's own that do what a plug-in should not: each mistake is named for its author."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from commands import command, succeeded, write_tones

PLUGIN = """
import numpy as np
from pipeline.teachers.toy import ToyTeacher

class Odd(ToyTeacher):
    family = "odd"
    def __init__(self, *, how: str = "", layers: list[int] = [1], classes: str = "a;b"):
        super().__init__(classes=classes)
        self.how = how
    def infer(self, waveforms, signals):
        if self.how == "exit":
            raise SystemExit(0)
        outputs = super().infer(waveforms, signals)
        if self.how == "lists":
            outputs = [{name: value.tolist() for name, value in one.items()} for one in outputs]
        return outputs
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "tones", per_class=2)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    info = folder / "odd-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "odd.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aftersound.teachers]\nodd = odd:Odd\n")
    return folder


def precompute(
    corpus: Path, site: Path, teacher: str, *words: object
) -> subprocess.CompletedProcess[str]:
    return command(
        "precompute-teacher", f"folder:{corpus}", "--teacher", teacher,
        "--out", corpus.parent / "c.zarr", *words, PYTHONPATH=str(site),
    )  # fmt: skip


@pytest.mark.parametrize("processes", [(), ("--workers", 1)])
def test_one_that_ends_the_process_is_no_success(
    corpus: Path, site: Path, processes: tuple[object, ...]
) -> None:
    run = precompute(corpus, site, "odd:how=exit", *processes)
    assert run.returncode == 1
    assert "teacher odd:how=exit would have ended the process (SystemExit: 0)" in run.stderr
    assert "memory" not in run.stderr


def test_outputs_that_are_no_arrays_are_named(corpus: Path, site: Path) -> None:
    run = precompute(corpus, site, "odd:how=lists")
    assert run.returncode == 1
    assert "teacher odd gives logits as list, expected a NumPy array" in run.stderr


def test_an_option_of_a_type_that_no_text_has_is_named(corpus: Path, site: Path) -> None:
    run = precompute(corpus, site, "odd:layers=3")
    assert run.returncode == 2
    assert "option layers of teacher odd: its type list[int] is not one" in run.stderr
    assert not (corpus.parent / "c.zarr").exists()
    succeeded(precompute(corpus, site, "odd"))


def test_a_teacher_of_a_rate_that_no_student_takes_is_warned_of(
    corpus: Path, site: Path, tmp_path: Path
) -> None:
    out, telephone = tmp_path / "c.zarr", "toy:sample_rate_hz=8000"
    warning = "warning: the cache will have 8000 Hz, as its teacher takes"
    assert warning in succeeded(precompute(corpus, site, telephone, "--plan"))
    assert warning in succeeded(precompute(corpus, site, telephone))
    training = (
        "train-student",
        "--student",
        "ds-tc-resnet",
        "--epochs",
        1,
        "--out",
        tmp_path / "r",
    )
    run = command(*training, out)
    assert run.returncode == 3
    assert "a 16000-Hz teacher first; this one's outputs can be added to it by" in run.stderr
    # The way on, as the warning has it.
    both = corpus.parent / "both.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", both))
    added = ("--teacher", telephone, "--teacher-name", "tel", "--out", both)
    assert warning not in succeeded(command("precompute-teacher", f"folder:{corpus}", *added))
    succeeded(command(*training, both, "--distill", "temporal=0.2:teacher=tel"))
