"""What no command can do is rejected with exit code 2 before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small_cache
import torch
from commands import write_tones
from fuzzing import run
from small_finetuning import write_base

from pipeline.finetune.cli import main as finetune_teacher
from pipeline.pack.cli import main as pack_corpus
from pipeline.precompute.cli import main as precompute_teacher
from pipeline.prepare.cli import main as prepare_corpus
from student.compare.cli import main as compare_students
from student.evaluation.cli import main as evaluate_student
from student.training.cli import main as train_student

HUGE = "9" * 5000


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("places")
    corpus = write_tones(root / "tones", per_class=2)
    base = write_base(root / "whisper", "whisper")
    return {
        "CORPUS": Path(f"folder:{corpus}"), "BASE": base,
        "CACHE": small_cache.write_small_cache(root / "small.zarr"),
    }  # fmt: skip


COMMANDS = {
    "precompute": (precompute_teacher, "CORPUS --teacher toy --out OUT"),
    "finetune": (finetune_teacher, "CORPUS --base BASE --out OUT"),
    "train": (train_student, "CACHE --student tc-resnet --out OUT"),
    "compare": (compare_students, "CACHE --student tc-resnet --condition none --out OUT"),
    "pack": (pack_corpus, "CORPUS --to hdf5-waveform --out OUT"),
    "prepare": (prepare_corpus, "esc-50 --out OUT"),
    "evaluate": (evaluate_student, "RUN CACHE"),
}
REFUSED = {
    "precompute": [
        ("--scheduler", "foo"), ("--scheduler", "tcp://a:99999"), ("--scheduler", "http://a:1"),
        ("--scheduler", ""), ("--scheduler", "tcp://[::1"), ("--plan", "--check", "x"),
        ("--plan", "--repair"), ("--check", "0"),
        ("--plan", "--scheduler", "a:1"), ("--check", HUGE), ("--check", "2", "--repair"),
        ("--signal", "logits:top_k=1", "--signal", "logits"), ("--views", HUGE), ("--seed", "-1"),
        ("--signal", "temporal_attention:storage=u8log", "--signal", "temporal_attention:storage=f16"),
        ("--unit-rows", HUGE), ("--workers", "99999"), ("--view", "mixup:alpha=1e300"),
        ("--view", "gain:low_db=-1e308"), ("--view", "gain:low_db=nan"), ("--teacher", "s3://a/b"),
        ("--teacher", "file:///a"), ("--seed", str(2**32)),
    ],
    "finetune": [
        ("--noise-snr-db", "-1e308", "1e308"), ("--noise-snr-db", "nan", "1"), ("--epochs", HUGE),
        ("--freeze-layers", "99"), ("--mixup", "1e300"), ("--learning-rate", "inf"), ("--seed", HUGE),
        ("--batch-size", HUGE), ("--threads", HUGE), ("--base", "gs://a/b"), ("--patience", HUGE),
    ],
    "train": [
        ("--distill", "logits=1:temperature=1e300"), ("--distill", "logits=1e300"),
        ("--distill", "logits=nan"), ("--student", "mobilenet:width=1e9"), ("--epochs", HUGE),
        ("--student", "ast-tiny:layers=1000000"), ("--seed", HUGE), ("--mixup", "1e300"),
        ("--label-weight", "1e300"), ("--threads", HUGE), ("--out", "CACHE"), ("--out", "CACHE/x"),
        ("--distill", "logits=1:warm_up_epochs=1e300"), ("--out", "CACHE/parts/part-000/logits"),
    ],
    "compare": [
        ("--seeds", "99999999999"), ("--jobs", HUGE), ("--train", f"--epochs {HUGE}"),
        ("--train", "--device cuda"), ("--out", "CACHE"), ("--plan", "--train", "--device mps"),
        ("--student", "mobilenet:width=1e9"), ("--plan", "--seeds", "99999999999"),
    ],
    "pack": [("--sample-rate", HUGE), ("--out", "CACHE/x")],
    "prepare": [("--out", "CACHE/x"), ("--from", "")],
    "evaluate": [
        ("--plot", "x.xyz", "--clip", "a"), ("--plot", "", "--clip", "a"), ("--mark-s", "nan", "1"),
        ("--plot", "CACHE/x.png", "--clip", "a"),
    ],
}  # fmt: skip
OUTPUTS = [name for name in COMMANDS if name != "evaluate"]
DEVICES = ("precompute", "finetune", "train")
CASES = [
    *((name, words) for name, several in REFUSED.items() for words in several),
    *((name, ("--out", o)) for name in OUTPUTS for o in ("", "ftp://a/b", "https://a/b")),
    *((n, ("--out", o)) for n in OUTPUTS if n != "precompute" for o in ("s3://a/b", "file:///a/b")),
    *((name, ("--device", d)) for name in DEVICES for d in ("cuda", "mps", "gpu", "", "cuda:x")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "words"), CASES, ids=lambda w: f"{w}"[:60])
def test_it_is_rejected_before_anything_is_written(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    cache = Path(shutil.copytree(places["CACHE"], tmp_path / "small.zarr"))
    before = small_cache.tree_bytes(tmp_path)
    known = {**places, "CACHE": cache, "OUT": tmp_path / "out", "RUN": tmp_path / "run"}
    command, usual = COMMANDS[name]
    given = [str(known.get(word, word)) for word in usual.split()]
    odd = [
        str(cache) + word.removeprefix("CACHE") if word.startswith("CACHE") else word
        for word in words
    ]
    code, screen = run(command, *given, *odd)
    assert code == 2, screen
    assert len(screen) < 20_000
    assert small_cache.tree_bytes(tmp_path) == before


def test_a_device_that_is_not_there_names_what_is(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    words = (places["CORPUS"], "--teacher", "toy", "--out", tmp_path / "x", "--device", "cuda:2")
    assert "available: cpu, cuda, cuda:0, cuda:1" in run(precompute_teacher, *words)[1]


@pytest.mark.parametrize(
    ("corpus", "why"),
    [
        ("esc:s3://a/b", "only folder, csv, jsonl are read at an address"),
        ("hdf5:http://a/b.h5", "only folder, csv, jsonl are read at an address"),
        ("csv:abfs://a/b.csv", "abfs:// is no kind of address"),
        ("csv:s3:/a/b.csv", "an address is s3://a/b.csv"),
    ],
)
def test_a_corpus_that_is_not_read_elsewhere_is_rejected(
    tmp_path: Path, corpus: str, why: str
) -> None:
    code, screen = run(precompute_teacher, corpus, "--teacher", "toy", "--out", tmp_path / "x")
    assert code == 2
    assert why in " ".join(screen.split())
