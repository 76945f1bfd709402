"""Commands that write a folder: what holds other things is left as it is, with a message."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import command, succeeded, write_tones
from small_cache import tree_bytes

from cache_schema.errors import UsageError
from cache_schema.own_folder import check_own_folder
from pipeline.prepare.archives import OFFICIAL_CORPORA


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a cache of it, and a run."""
    root = tmp_path_factory.mktemp("made")
    write_tones(root / "corpus", per_class=3)
    words = [f"folder:{root / 'corpus'}", "--teacher", "toy", "--out", root / "c.zarr"]
    succeeded(command("precompute-teacher", *words))
    return root


def words_of(name: str, made: Path) -> list[object]:
    """Arguments of a command that writes a folder, without --out."""
    corpus, cache = f"folder:{made / 'corpus'}", made / "c.zarr"
    student = ["--student", "tc-resnet"]
    return {
        "precompute-teacher": [corpus, "--teacher", "toy"],
        "pack-corpus": [corpus, "--to", "hdf5-waveform"],
        "train-student": [cache, *student, "--epochs", 1],
        "compare-students": [
            cache,
            *student,
            "--condition",
            "none",
            "--seeds",
            1,
            "--train",
            "--epochs 1",
        ],
    }[name]


@pytest.mark.parametrize(
    "name", ["precompute-teacher", "pack-corpus", "train-student", "compare-students"]
)
@pytest.mark.parametrize("there", ["notes.txt", "photos/a.png", "config.json", "file"])
def test_a_folder_with_other_things_is_left_as_it_is(
    made: Path, tmp_path: Path, name: str, there: str
) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    else:
        (out / there).parent.mkdir(parents=True)
        (out / there).write_text("{}")
    before = tree_bytes(tmp_path)
    run = command(name, *words_of(name, made), "--out", out)
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    assert "Choose another --out" in run.stderr
    if there not in ("file", "config.json"):
        assert "is not empty and is no" in run.stderr
        assert there.split("/")[0] in run.stderr
    assert tree_bytes(tmp_path) == before


@pytest.mark.parametrize("name", ["precompute-teacher", "pack-corpus", "train-student"])
def test_an_empty_folder_is_written_to(made: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    if name == "precompute-teacher":
        planned = command(name, *words_of(name, made), "--out", tmp_path / "out", "--plan")
        assert "Nothing was written" in succeeded(planned)
    succeeded(command(name, *words_of(name, made), "--out", tmp_path / "out"))
    succeeded(command(name, *words_of(name, made), "--out", tmp_path / "out"))


def test_prepare_corpus_leaves_another_folder_in_its_place(tmp_path: Path) -> None:
    name = next(iter(OFFICIAL_CORPORA))
    (tmp_path / "from").mkdir()
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    run = command("prepare-corpus", name, "--out", tmp_path, "--from", tmp_path / "from")
    assert run.returncode == 1
    assert "is not the whole corpus" in run.stderr
    assert "Move it away and repeat the command" in run.stderr
    assert (tmp_path / name / "mine.txt").read_text() == "mine"


def test_what_a_killed_command_left_half_written_is_no_other_thing(tmp_path: Path) -> None:
    (tmp_path / "config.json.12-34.partial").write_text("{")
    check_own_folder(tmp_path, "run", "train-student", ("config.json",))
    (tmp_path / "pack.h5").touch()
    check_own_folder(tmp_path, "folder of packs", "pack-corpus", (".h5",))
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(UsageError, match=r"and holds 0.txt, 1.txt, 2.txt and 3 more"):
        check_own_folder(tmp_path, "cache", "precompute-teacher", ("manifest.json",))
