"""What a corpus calls its clips and classes is printed by no command as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import PYTHON, forking_python
from fuzzing import run

from cache_schema.inspection.cli import main as inspect_cache
from pipeline.pack.cli import main as pack_corpus
from pipeline.precompute.cli import main as precompute_teacher
from student.compare.cli import main as compare_students
from student.evaluation.cli import main as evaluate_student
from student.export.cli import main as export_student
from student.training.cli import main as train_student

CLASSES = ("\x1b]owned\x07dog", "=1+1\u202e|<b>`$x$")
BAD = "\x9b2J\x1b[31mbad"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "sounds"
    for split, count in {"train": 4, "validation": 2, "test": 2}.items():
        for number, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                wave = 0.1 * np.random.default_rng(10 * number + i).standard_normal(8000)
                soundfile.write(root / split / name / f"\x1b[2J{i}.wav", wave, 16_000)
        (root / split / CLASSES[0] / f"{BAD}.wav").write_bytes(b"RIFF")
    return root


@pytest.fixture(scope="module")
def cache(corpus: Path) -> Path:
    plain = corpus.parent / "cache.zarr"
    safe(precompute_teacher, f"folder:{corpus}", "--teacher", "toy", "--out", plain)
    return plain.rename(corpus.parent / "=cache|\x1b[5m.zarr")  # no command makes such a name


def safe(command: object, *words: object, code: int = 0) -> str:
    """Run a command; its output must not touch a terminal."""
    found, screen = run(command, *words)  # type: ignore[arg-type]
    assert found == code, screen
    assert screen.replace("\n", "").replace("\t", "").isprintable(), repr(screen)
    return screen


def test_no_command_prints_it_raw(cache: Path, corpus: Path, tmp_path: Path) -> None:
    again = safe(
        precompute_teacher, f"folder:{corpus}", "--teacher", "toy", "--out", cache, "--plan"
    )
    assert again
    shown = safe(inspect_cache, cache)
    assert "\\x1b]owned\\x07dog" in shown
    assert "\\x9b2J\\x1b[31mbad" in shown
    assert "\\u001b" in safe(inspect_cache, cache, "--json")
    clip = f"train/{CLASSES[0]}/\x1b[2J0"
    safe(inspect_cache, cache, "--clip", clip)
    safe(inspect_cache, cache, "--clip", clip, "--plot", tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
    safe(inspect_cache, cache, "--clip", "\x1bnone", code=2)
    options = ("--student", "tc-resnet", "--epochs", "1", "--device", "cpu")
    safe(train_student, cache, *options, "--out", tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "run\x1b[1m")
    assert "owned" in safe(evaluate_student, tmp_path / "run\x1b[1m", cache, "--report")
    safe(evaluate_student, tmp_path / "run\x1b[1m", cache, "--json")
    picture = ("--plot", tmp_path / "y.svg", "--clip", f"test/{CLASSES[1]}/\x1b[2J0")
    safe(evaluate_student, tmp_path / "run\x1b[1m", cache, *picture)


def test_tables_hold_text_alone(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", forking_python())
    words = (
        "--student",
        "tc-resnet",
        "--condition",
        "none",
        "--seeds",
        1,
        "--out",
        tmp_path / "out",
    )
    safe(compare_students, cache, *words, "--train", "--epochs 1 --device cpu")
    table = (tmp_path / "out/table.md").read_text()
    assert "| =cache\\|\\\\x1b\\[5m |" in table.splitlines()[2]
    assert table.replace("\n", "").isprintable()
    row = (tmp_path / "out/table.csv").read_text().splitlines()[1]
    assert row.startswith("'=cache|\\x1b[5m,")


def test_a_packs_list_of_what_is_unusable_is_plain(corpus: Path, tmp_path: Path) -> None:
    safe(pack_corpus, f"folder:{corpus}", "--to", "hdf5-waveform", "--out", tmp_path / "packs")
    text = (tmp_path / "packs/train.unusable.csv").read_text()
    assert "\\x9b2J\\x1b[31mbad" in text
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["no-such-backend", "module://no_kernel.backend_inline"])
def test_an_odd_backend_of_matplotlib_is_no_matter(cache: Path, tmp_path: Path, name: str) -> None:
    """A notebook hands its own to commands of other environments; metrics import matplotlib."""
    options = ("--student", "ds-tc-resnet", "--epochs", "1", "--device", "cpu")
    code = "from student.training.cli import main; main()"
    found = subprocess.run(
        [PYTHON, "-c", code, cache, *options, "--out", tmp_path / "run"],
        capture_output=True, text=True, check=False, env={**os.environ, "MPLBACKEND": name},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


def test_a_device_card_holds_text_alone(cache: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    options = ("--student", "ds-tc-resnet", "--epochs", "1", "--device", "cpu")
    safe(train_student, cache, *options, "--out", run_folder)
    safe(
        export_student, run_folder, "--to", "onnx", "--length-s", "0.5", "--out", tmp_path / "phone"
    )
    for name in ("card.json", "CARD.md"):
        text = (tmp_path / "phone" / name).read_text()
        assert text.replace("\n", "").isprintable()
    card = json.loads((tmp_path / "phone/card.json").read_text())
    assert sorted(card["contract"]["classes"]) == sorted(CLASSES)
