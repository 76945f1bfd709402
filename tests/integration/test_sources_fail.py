"""A corpus that fails during a run: the unit fails, nothing is quarantined, the same command goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_finetuning
import soundfile
from commands import command, plain_environment, succeeded, write_tones
from fuzzing import run
from small_cache import tree_bytes

from cache_schema.errors import RunError
from cache_schema.inspection.summary import summary
from cache_schema.integrity.verify import verify
from cache_schema.metadata import CommitRecord
from cache_schema.reader import open_cache
from cache_schema.writer import draft_path
from pipeline.audio import decode as audio
from pipeline.pack.cli import main as pack_corpus
from pipeline.precompute.cli import main as precompute_teacher
from pipeline.precompute.precompute import Precompute
from pipeline.teachers.toy import ToyTeacher

# Runs a command in a process of its own where a disk fails once the corpus has been read.
FAILING = """
import errno, os, sys
from pathlib import Path
from pipeline.audio import decode, source
from pipeline.precompute import executors

decode.RETRY_PAUSES_S = (0.01, 0.01)
usual, computing = source._file, executors._run_here

def stale(path):
    if path.name == "{name}":
        raise OSError(errno.{number}, os.strerror(errno.{number}))
    return usual(path)

def failing(*args):
    source._file = stale
    yield from computing(*args)

executors._run_here = failing
from pipeline.precompute.cli import main
main()
"""

# A Dask cluster on a machine where the corpus' folder is empty.
ELSEWHERE = """
import errno
from pathlib import Path
from distributed import LocalCluster
from pipeline.audio import decode, source

usual = source._file
decode.RETRY_PAUSES_S = (0.01, 0.01)
source._file = lambda path: usual(path.parent / "not-mounted" / path.name)
if __name__ == "__main__":
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False, protocol="tcp://"
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "tones", per_class=4)


@pytest.mark.parametrize("number", ["ESTALE", "EIO", "ENOENT", "EACCES", "EMFILE"])
def test_a_unit_fails_with_the_path_and_the_same_command_goes_on(
    corpus: Path, tmp_path: Path, number: str
) -> None:
    words = [f"folder:{corpus}", "--teacher", "toy", "--unit-rows", "4"]
    plain, out = tmp_path / "plain", tmp_path / "out"
    succeeded(command("precompute-teacher", *words, "--out", plain))
    name = sorted(corpus.rglob("*.flac"))[5].name
    code = FAILING.format(name=name, number=number)
    failed = command("precompute-teacher", *words, "--out", out, program=code)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr
    assert f"{name} cannot be read" in failed.stderr
    assert "repeat the command" in failed.stderr
    assert summary(out)["parts"][0]["quarantined"] == 0
    succeeded(command("precompute-teacher", *words, "--out", out))
    assert tree_bytes(out) == tree_bytes(plain)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """Address of a running cluster that does not have the corpus."""
    (tmp_path / "cluster.py").write_text(ELSEWHERE)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=plain_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate("\n", timeout=60)


def test_a_worker_without_the_corpus_quarantines_nothing(
    corpus: Path, tmp_path: Path, elsewhere: str
) -> None:
    out = tmp_path / "out"
    words = [f"folder:{corpus}", "--teacher", "toy", "--out", out, "--unit-rows", 4]
    failed = command("precompute-teacher", *words, "--scheduler", elsewhere)
    assert failed.returncode == 1, failed.stdout
    assert "the corpus: " in failed.stderr
    assert "Give every worker the same package, corpus and cache" in failed.stderr
    assert summary(out)["parts"][0]["units_done"] == 0
    assert "0 rows quarantined" in succeeded(command("precompute-teacher", *words))


def test_a_corpus_that_vanishes_before_it_is_packed_is_an_error(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.pack import pack

    monkeypatch.setattr(audio, "RETRY_PAUSES_S", (0.0,))
    usual = pack._write_pack

    def vanished(*args: Any) -> Any:
        if corpus.exists():
            corpus.rename(tmp_path / "unmounted")
        return usual(*args)

    monkeypatch.setattr(pack, "_write_pack", vanished)
    words = [f"folder:{corpus}", "--to", "hdf5-waveform", "--out", tmp_path / "packs"]
    code, output = run(pack_corpus, *words)
    assert code == 1
    assert "It could be read when this was planned" in output
    assert not list((tmp_path / "packs").glob("*.h5"))
    (tmp_path / "unmounted").rename(corpus)
    monkeypatch.undo()
    assert run(pack_corpus, *words)[0] == 0


def test_a_corpus_that_vanishes_before_fine_tuning_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "RETRY_PAUSES_S", (0.0,))
    root = tmp_path / "corpus"
    corpus, base = (
        small_finetuning.write_corpus(root),
        small_finetuning.write_base(tmp_path / "base"),
    )
    (root / next(clip.path for clip in corpus.clips if clip.frames)).unlink()
    with pytest.raises(RunError, match="It could be read when this was planned"):
        small_finetuning.run(corpus, base, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


# --- a teacher without an answer -----------------------------------------------------------------


def answering(monkeypatch: pytest.MonkeyPatch, value: float, only: float = 0.0) -> None:
    """Let the toy teacher's logits be a value for every clip, or for those as loud as `only`."""
    usual = ToyTeacher.infer

    def infer(self: ToyTeacher, waveforms: Any, signals: Any) -> Any:
        answers = usual(self, waveforms, signals)
        for waveform, answer in zip(waveforms, answers, strict=True):
            if float(np.abs(waveform).max()) >= only:
                answer["logits"] = np.full_like(answer["logits"], value)
        return answers

    monkeypatch.setattr(ToyTeacher, "infer", infer)


@pytest.mark.parametrize("unit_rows", [1, 4, 100])
@pytest.mark.parametrize(
    ("value", "expected"), [(np.nan, "logits has NaN"), (70_000.0, "beyond 65504")]
)
def test_a_teacher_that_answers_nothing_stops_the_run(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    expected: str,
    unit_rows: int,
) -> None:
    answering(monkeypatch, value)
    out = tmp_path / "out"
    words = [f"folder:{corpus}", "--teacher", "toy", "--out", out, "--unit-rows", unit_rows]
    code, output = run(precompute_teacher, *words)
    assert code == 1
    assert expected in output
    assert "no fault of the clips" in output
    assert summary(out)["parts"][0]["units_done"] == 0


@pytest.fixture
def grown(corpus: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    """A cache of two views, and the command that made it."""
    out = tmp_path / "out"
    words = [f"folder:{corpus}", "--teacher", "toy", "--view", "gain", "--out", out]
    words += ["--views", 2, "--unit-rows", 4]
    assert run(precompute_teacher, *words)[0] == 0
    return out, words


@pytest.mark.parametrize(
    "added", [["--signal", "layer_attention"], ["--teacher-name", "second"]], ids=lambda a: a[0][2:]
)
def test_what_a_teacher_cannot_give_is_taken_out_again_and_blocks_nothing(
    grown: tuple[Path, list[object]], monkeypatch: pytest.MonkeyPatch, added: list[str]
) -> None:
    out, words = grown
    before = tree_bytes(out)
    with monkeypatch.context() as patched:
        answering(patched, np.nan)
        code, output = run(precompute_teacher, *words, *added)
    assert code == 1
    assert "has NaN" in output
    assert f"What was begun to be added to {out} is taken out again" in output
    after = tree_bytes(out)
    assert {key for key in before | after if before.get(key) != after.get(key)} == {"manifest.json"}
    assert verify(out) == []
    for more in (["--signal", "mfcc40"], added, ["--teacher-name", "third"]):
        assert run(precompute_teacher, *words, *more)[0] == 0
    assert verify(out) == []


def test_parts_are_taken_out_of_the_middle_and_named_once(
    grown: tuple[Path, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher that was stopped may find others' parts behind its own."""
    out, words = grown
    second, third = ["--teacher-name", "second"], ["--teacher-name", "third"]
    with monkeypatch.context() as patched:
        patched.setattr(Precompute, "compute", interrupted)
        assert run(precompute_teacher, *words, *second)[0] == 1
    assert run(precompute_teacher, *words, *third)[0] == 0
    with monkeypatch.context() as patched:
        answering(patched, np.nan)
        assert "is taken out again" in run(precompute_teacher, *words, *second)[1]
    assert run(precompute_teacher, *words, *third, "--signal", "layer_attention")[0] == 0
    assert run(precompute_teacher, *words, *second)[0] == 0
    assert verify(out) == []
    assert set(open_cache(out).teachers) == {"", "second", "third"}


def interrupted(*_: object) -> Iterator[CommitRecord]:
    raise KeyboardInterrupt
    yield


@pytest.mark.parametrize("task", [[], ["--slice", "1/1"]], ids=["whole", "slice"])
@pytest.mark.parametrize("step", ["without a plan", "unnamed", "draft"])
def test_a_kill_while_parts_are_added_or_taken_out_blocks_nothing(
    grown: tuple[Path, list[object]], monkeypatch: pytest.MonkeyPatch, step: str, task: list[str]
) -> None:
    """What has no name in the manifest is out of the way, however far it was made or removed."""
    out, words = grown
    part = out / "parts" / "part-001"
    shutil.copytree(out / "parts" / "part-000", part, ignore=shutil.ignore_patterns("commits", "c"))
    if step == "without a plan":
        (part / "plan.json").unlink()
    if step == "draft":
        part.rename(draft_path(part))
        (draft_path(part) / "plan.json").unlink()
    assert run(precompute_teacher, *words, "--signal", "mfcc40", *task)[0] == 0
    assert verify(out) == []


@pytest.mark.parametrize("unit_rows", [1, 2])
def test_a_clip_that_a_teacher_cannot_answer_is_quarantined_even_alone_in_its_unit(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit_rows: int
) -> None:
    loud = sorted(corpus.rglob("*.flac"))[0]
    soundfile.write(loud, np.full(8000, 0.99), 16_000)
    answering(monkeypatch, np.nan, only=0.98)
    out = tmp_path / "out"
    words = [f"folder:{corpus}", "--teacher", "toy", "--out", out, "--unit-rows", unit_rows]
    code, output = run(precompute_teacher, *words)
    assert code == 0, output
    (entry,) = summary(out)["parts"][0]["quarantine"]
    assert entry["reason"] == "the teacher's logits has NaN"
