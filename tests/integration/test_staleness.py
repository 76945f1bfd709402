"""A cache is rejected where anything that its numbers depend on has changed, with both values."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import RATE_HZ, command, succeeded, tone, write_tones
from safetensors.numpy import load_file, save_file
from small_cache import tree_bytes

from cache_schema.reader import open_cache
from pipeline.audio.decode import DECODER, RESAMPLER
from pipeline.teachers import open_teacher
from pipeline.teachers.checkpoints.random_init import write_untrained_encoder

COMMITS = ("a" * 40, "b" * 40)

# Another release of a library, or of this program, is a process in which one fact is another.
OTHER_LIBRARIES = (
    "import numpy, soundfile, soxr; numpy.__version__ = '1.0.0'; soxr.__version__ = '0.0.9'; "
    "soundfile.__libsndfile_version__ = '0.9.9'"
)
OTHER_LOG_MEL = (
    "from dataclasses import replace; from cache_schema.front_ends import FRONT_ENDS as presets; "
    "presets['log_mel'] = replace(presets['log_mel'], high_hz=6500.0)"
)
SHIFTED = ["--view", "gain:low_db=-6,high_db=6", "--view", "shift:max_s=0.1"]
SHIFTED_FURTHER = [*SHIFTED[:3], "shift:max_s=0.2"]
SMALL = ["--signal", "logits:top_k=2", "--signal", "temporal_attention:storage=u8log"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=2)


def precompute(
    corpus: Path, out: Path, *options: object, release: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command, changed as by another release if a program for that is given."""
    words = [f"folder:{corpus}", "--out", out, *options]
    if "--teacher" not in options:
        words += ["--teacher", "toy"]
    program = f"{release}\nfrom pipeline.precompute.cli import main\nmain()" if release else ""
    return command("precompute-teacher", *words, program=program)


def refused(run: subprocess.CompletedProcess[str], *facts: str) -> None:
    assert run.returncode == 3, run.stdout + run.stderr
    assert "made by another recipe" in run.stderr
    assert "Traceback" not in run.stderr
    for fact in facts:
        assert fact in run.stderr


@pytest.fixture(scope="module")
def cache_dir(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("caches") / "c"
    succeeded(precompute(corpus, out, *SHIFTED, *SMALL, "--signal", "log_mel"))
    return out


@pytest.mark.parametrize(
    ("options", "release", "facts"),
    [
        ([*SHIFTED, "--seed", 5], "", ["seed: cache 0, this run 5"]),
        ([*SHIFTED, "--codec", "zstd"], "", ["codec: cache 'crc32c', this run 'zstd'"]),
        ([*SHIFTED, "--teacher-option", "classes=a;b"], "", [
            "teacher.classes: cache ['high', 'low', 'middle'], this run ['a', 'b']",
        ]),
        (SHIFTED_FURTHER, "", ["shift.options.max_s: cache '0.1', this run '0.2'"]),
        ([*SHIFTED, "--signal", "logits:top_k=1"], "", [
            "storage.logits: cache 'top_k=2', this run 'top_k=1'",
        ]),
        ([*SHIFTED, "--signal", "temporal_attention:storage=f16"], "", [
            "storage.temporal_attention: cache 'u8log', this run 'f16'",
        ]),
        # Another signal requested; the cached features stay another preset's.
        ([*SHIFTED, "--signal", "mfcc"], OTHER_LOG_MEL, [
            "front_ends.log_mel.high_hz: cache 7000.0, this run 6500.0",
        ]),
        (SHIFTED, OTHER_LIBRARIES, [
            f"teacher.libraries.numpy: cache '{np.__version__}', this run '1.0.0'",
            f"audio.resampler: cache '{RESAMPLER}', this run 'soxr HQ 0.0.9'",
            f"audio.decoder: cache '{DECODER}', this run 'libsndfile 0.9.9'",
        ]),
    ],
)  # fmt: skip
def test_another_recipe_is_rejected_with_both_values(
    corpus: Path, cache_dir: Path, options: list[object], release: str, facts: list[str]
) -> None:
    before = tree_bytes(cache_dir)
    refused(precompute(corpus, cache_dir, *options, release=release), *facts)
    assert tree_bytes(cache_dir) == before


def test_a_check_rejects_another_recipe_first(corpus: Path, cache_dir: Path) -> None:
    run = precompute(corpus, cache_dir, *SHIFTED, "--seed", 5, "--check", 1)
    refused(run, "seed: cache 0, this run 5")


def test_other_features_that_nothing_depends_on_are_no_matter(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    succeeded(precompute(corpus, out, release=OTHER_LOG_MEL))
    assert "part-001: log_mel" in succeeded(precompute(corpus, out, "--signal", "log_mel"))
    (first, second) = (part.plan.audio for part in open_cache(out).parts)
    assert "front_ends" not in first
    assert second["front_ends"]["log_mel"]["high_hz"] == 7000.0


def test_what_is_not_given_of_storage_is_as_it_is_there(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(cache_dir, tmp_path / "c"))
    assert "nothing to do" in succeeded(precompute(corpus, out, *SHIFTED))
    succeeded(precompute(corpus, out, *SHIFTED, "--views", 2))
    for part in open_cache(out).parts:
        assert part.plan.signal("logits").dtype == "uint16"
        assert part.plan.signal("temporal_attention").dtype == "uint8"


def test_another_corpus_is_rejected_with_both_fingerprints(corpus: Path, tmp_path: Path) -> None:
    other, out = Path(shutil.copytree(corpus, tmp_path / "other")), tmp_path / "c"
    succeeded(precompute(other, out))
    cached = open_cache(out).manifest.corpus.fingerprint
    (other / "train/low/0.flac").rename(other / "train/high/9.flac")  # another label
    run = precompute(other, out)
    refused(run, f"corpus.fingerprint: cache '{cached}', this run '")
    (other / "train/high/9.flac").rename(other / "train/low/0.flac")
    assert "nothing to do" in succeeded(precompute(other, out))
    soundfile.write(other / "train/low/0.flac", tone("low", 1.3, 77), RATE_HZ)  # another length
    refused(precompute(other, out), f"corpus.fingerprint: cache '{cached}', this run '")


def test_a_teacher_is_known_by_its_weights_not_by_its_name(corpus: Path, tmp_path: Path) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "c"
    write_untrained_encoder(teacher, seed=0)
    succeeded(precompute(corpus, out, "--teacher", teacher))
    copied = Path(shutil.copytree(teacher, tmp_path / "elsewhere" / "renamed"))
    assert "nothing to do" in succeeded(precompute(corpus, out, "--teacher", copied))
    os.utime(copied / "model.safetensors", (1, 1))
    assert "nothing to do" in succeeded(precompute(corpus, out, "--teacher", copied))

    weights = load_file(teacher / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] + 1e-6
    save_file(weights, teacher / "model.safetensors", {"format": "pt"})
    was, now = (
        open_teacher(str(folder)).provenance["weights_sha256"] for folder in (copied, teacher)
    )
    refused(
        precompute(corpus, out, "--teacher", teacher),
        f"teacher.weights_sha256: cache '{was}', this run '{now}'",
    )


def test_another_revision_is_rejected_with_both_values(corpus: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--teacher"
    for commit in COMMITS:
        write_untrained_encoder(repository / "snapshots" / commit, seed=0)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMITS[0])
    # Instead of HF_HUB_CACHE, which its library reads when it is imported.
    hub = (
        f"from huggingface_hub import constants; constants.HF_HUB_CACHE = {str(tmp_path / 'hub')!r}"
    )
    out, teacher = tmp_path / "c", ["--teacher", "some/teacher"]
    succeeded(precompute(corpus, out, *teacher, release=hub))
    assert "nothing to do" in succeeded(precompute(corpus, out, *teacher, release=hub))
    (repository / "refs/main").write_text(COMMITS[1])
    run = precompute(corpus, out, *teacher, release=hub)
    refused(run, f"teacher.revision: cache '{COMMITS[0]}', this run '{COMMITS[1]}'")


def test_another_teacher_is_named_and_no_fact_is_a_piece_of_a_document(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    succeeded(precompute(corpus, out))
    run = precompute(corpus, out, "--teacher", "ensemble:members=toy;toy")
    refused(
        run,
        "by the teacher toy where this run has ensemble",
        "teacher.members.2.family: cache nothing, this run 'toy'",
        f"teacher.libraries.numpy: cache '{np.__version__}', this run nothing",
        "by another --teacher-name WORD",
    )
    assert "{" not in run.stderr
