"""The files of tests/examples run as they are, on small audio."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import PYTHON, forking_python, plain_environment, write_tones
from pages import REPOSITORY
from small_finetuning import RATE_HZ, TONE_HZ, write_base

from cache_schema.reader import open_cache

EXAMPLES = REPOSITORY / "tests/examples"


def run(name: str, *words: object, **environment: str) -> str:
    """Run a script of the examples with the commands of this installation first in its path."""
    folders = [Path(forking_python()).parent, Path(PYTHON).parent, os.environ["PATH"]]
    paths = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        ["bash", EXAMPLES / name, *map(str, words)],
        capture_output=True, text=True, check=False, timeout=500,
        env=plain_environment() | {"PATH": paths} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def spotter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the keyword spotter's script makes of recordings in a folder for each class."""
    folder = tmp_path_factory.mktemp("spotter")
    recordings = write_tones(folder / "recordings", per_class=8, ragged=False)
    base = write_base(folder / "base", "whisper")
    output = run("keyword_spotter.sh", recordings, base, folder / "work", 2)
    assert output.splitlines()[-1].strip()
    return folder / "work"


def test_a_keyword_spotter_from_ones_own_recordings(spotter: Path) -> None:
    assert open_cache(spotter / "words.zarr").views == 4
    assert "<html" in (spotter / "report.html").read_text(encoding="utf-8")
    assert (spotter / "phone/model.onnx").is_file()


def test_the_notebook_runs_from_its_first_cell_to_its_last(
    spotter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORK", str(spotter))
    book = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for cell in book["cells"]:
        assert not cell.get("outputs"), "kept without outputs, which would be of one machine"
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    shown = capsys.readouterr().out
    assert re.search(r"\d+ of \d+ test clips are right", shown)
    assert "their peaks are" in shown


def test_a_tagger_of_long_recordings(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    for site in range(16):  # by their hashes, some are in every split
        samples_S = 0.02 * random.standard_normal(8 * RATE_HZ)
        for place, labels in enumerate((("low",), ("high",), ("low", "high"), ())):
            span = slice(2 * place * RATE_HZ, 2 * (place + 1) * RATE_HZ)
            time_s = np.arange(2 * RATE_HZ) / RATE_HZ
            for label in labels:
                samples_S[span] += 0.3 * np.sin(2 * np.pi * TONE_HZ[label] * time_s)
            rows.append((f"{site}.wav", ";".join(labels), 2 * place, 2 * place + 2, f"site{site}"))
        soundfile.write(tmp_path / f"{site}.wav", samples_S, RATE_HZ)
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "start_s", "end_s", "site"])
        writer.writerows(rows)
    base, work = write_base(tmp_path / "base", "whisper"), tmp_path / "work"
    shown = run("sound_tagger.sh", tmp_path / "list.csv", tmp_path / "0.wav", base, work, 1)
    assert "mAP" in shown
    with (work / "tags.csv").open(newline="") as file:
        tags = list(csv.DictReader(file))
    assert {float(row["start_s"]) for row in tags} == {float(second) for second in range(7)}
    assert {row["class"] for row in tags} == set(TONE_HZ)


def test_an_array_of_tasks_makes_a_cache(tmp_path: Path) -> None:
    corpus, out = write_tones(tmp_path / "tones", per_class=4), tmp_path / "c.zarr"
    for task in (2, 1):
        run(
            "slurm_array.sh", f"folder:{corpus}", "toy", out,
            SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_COUNT="2",
        )  # fmt: skip
    assert len(open_cache(out).clip_ids()) == 30


def test_the_image_copies_what_is_there_and_installs_extras_that_exist() -> None:
    lines = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in shlex.split(line)[1:-1]]
    assert copied
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    (extras,) = re.findall(r"/src\[(.+)\]", "\n".join(lines))
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))
