"""top-k logits from the command line to a trained student: everything after the reader sees them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import command, succeeded, write_tones

from cache_schema.encodings import top_k
from cache_schema.errors import UsageError
from cache_schema.inspection.summary import clip_facts, teacher_accuracy
from cache_schema.reader import open_cache
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute

CLASSES = "low;middle;high;a;b;c"
SMALL = ["--signal", "logits:top_k=2", "--signal", "temporal_attention:storage=u8log"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=4, ragged=False)


@pytest.fixture(scope="module")
def caches(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same answers in full and small."""
    root = tmp_path_factory.mktemp("caches")
    words = [f"folder:{corpus}", "--teacher", f"toy:classes={CLASSES}"]
    succeeded(command("precompute-teacher", *words, "--out", root / "full"))
    succeeded(command("precompute-teacher", *words, "--out", root / "small", *SMALL))
    return root / "full", root / "small"


def test_the_reader_gives_every_class_its_logit(caches: tuple[Path, Path]) -> None:
    full, small = map(open_cache, caches)
    for unit in full.units("train"):
        (exact, stored) = (c.read_unit(unit, ["logits"]).signals["logits"] for c in (full, small))
        assert stored.shape == exact.shape
        assert stored.dtype == exact.dtype == np.float16
        codes = top_k.encode(exact, 2, "single")
        np.testing.assert_array_equal(stored, top_k.decode(codes, exact.shape[1]))
        np.testing.assert_array_equal(stored.argmax(axis=1), exact.argmax(axis=1))
    assert clip_facts(small, 0)["signals"]["logits"].shape == (6,)
    assert teacher_accuracy(small, "") == teacher_accuracy(full, "")


def test_a_student_learns_from_it(caches: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('low = ["low", "a"]\nhigh = "high"\nmiddle = "middle"\n')
    words = ["--student", "tc-resnet", "--out", tmp_path / "run", "--epochs", 1]
    losses = ["--distill", "logits=0.5", "--distill", "temporal=0.1"]
    mapped = ["--class-map", tmp_path / "map.toml"]
    output = succeeded(command("train-student", caches[1], *words, *losses, *mapped))
    assert "epoch 1/1" in output


def test_it_is_verified_shown_and_drawn(caches: tuple[Path, Path], tmp_path: Path) -> None:
    clip = open_cache(caches[1]).clip_ids()[0]
    words = ["--verify", "--clip", clip, "--plot", tmp_path / "clip.png"]
    output = succeeded(command("inspect-cache", caches[1], *words))
    assert "verified" in output
    assert "5 uint16" in output
    assert (tmp_path / "clip.png").is_file()


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        ("logits:top_k=6", "top_k=6, but the teacher has 6 classes; keep 1 to 5 of them"),
        ("logits:top_k=0", "top_k=0, but the teacher has 6 classes"),
        ("logits:top_k=-1", "top_k=-1, but the teacher has 6 classes"),
        ("logits:top_k=two", "option top_k of signal logits: expected int, got 'two'"),
        ("logits:top_k=2,storage=f16", "give storage or top_k, not both"),
        ("temporal_attention:top_k=2", "top_k is for logits, not for temporal_attention"),
        ("logits:topk=2", "Did you mean 'top_k'?"),
    ],
)
def test_what_cannot_be_stored_so_is_a_usage_error(
    corpus: Path, tmp_path: Path, signal: str, message: str
) -> None:
    words = {"corpora": (f"folder:{corpus}",), "teacher": f"toy:classes={CLASSES}"}
    with pytest.raises(UsageError) as caught:
        Precompute(Request(**words, out=tmp_path / "c", signals=(signal,))).planned()
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_nothing_can_be_left_out_of_one_class(corpus: Path, tmp_path: Path) -> None:
    words = {"corpora": (f"folder:{corpus}",), "teacher": "toy:classes=low"}
    with pytest.raises(UsageError, match=r"the teacher has 1 classes; leave out top_k$"):
        Precompute(Request(**words, out=tmp_path / "c", signals=("logits:top_k=1",))).planned()


def test_a_further_teacher_keeps_of_its_own_classes(
    corpus: Path, caches: tuple[Path, Path]
) -> None:
    words = [f"folder:{corpus}", "--teacher", "toy:classes=x;y", "--teacher-name", "b"]
    words += ["--signal", "logits:top_k=2", "--out", caches[0]]
    run = command("precompute-teacher", *words)
    assert run.returncode == 2
    assert "top_k=2, but the teacher has 2 classes; keep 1 to 1 of them" in run.stderr
