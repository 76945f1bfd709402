"""Caches computed from container files by several processes, each of which opens them for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import command, succeeded, write_tones
from fuzzing import run
from small_cache import tree_bytes
from small_corpora import hugging_face

from cache_schema.reader import Cache, open_cache
from pipeline.pack.cli import main as pack_corpus


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=4)


@pytest.fixture(scope="module")
def packs(tones: Path) -> Path:
    out = tones.parent / "packs"
    code, shown = run(pack_corpus, f"folder:{tones}", "--to", "hdf5-waveform", "--out", out)
    assert code == 0, shown
    return out


def precompute(corpus: str, out: Path, workers: int) -> Path:
    options = ["--teacher", "toy", "--unit-rows", 4, "--workers", workers]
    shown = succeeded(command("precompute-teacher", corpus, "--out", out, *options))
    assert " 0 rows quarantined" in shown
    return out


def answers(cache: Cache) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    ids, found = cache.clip_ids(), {}
    for split in cache.splits:
        for unit in cache.units(split):
            rows = cache.read_unit(unit, ("waveform", "logits"))
            waveforms, logits = rows.signals["waveform"], rows.signals["logits"]
            for row, clip in enumerate(rows.clip):
                found[ids[clip]] = (np.array(waveforms[row]), np.array(logits[row]))
    return found


@pytest.fixture(scope="module")
def cache(packs: Path) -> Path:
    return precompute(f"hdf5:{packs}", packs.parent / "packs.zarr", 0)


def test_workers_on_a_pack_write_the_bytes_of_one_process(
    packs: Path, cache: Path, tmp_path: Path
) -> None:
    there = precompute(f"hdf5:{packs}", tmp_path / "there.zarr", 2)
    assert tree_bytes(cache) == tree_bytes(there)


def test_a_teacher_outputs_for_a_pack_what_it_outputs_for_the_files(
    tones: Path, cache: Path, tmp_path: Path
) -> None:
    of_files = answers(open_cache(precompute(f"folder:{tones}", tmp_path / "files.zarr", 0)))
    of_packs = answers(open_cache(cache))
    assert of_files.keys() == of_packs.keys()
    for name, answer in of_files.items():
        for one, other in zip(answer, of_packs[name], strict=True):
            assert np.array_equal(one, other)


def test_workers_on_shards_write_the_bytes_of_one_process(tmp_path: Path) -> None:
    corpus = hugging_face.write(tmp_path / "shards")
    here = precompute(corpus, tmp_path / "here.zarr", 0)
    there = precompute(corpus, tmp_path / "there.zarr", 2)
    assert tree_bytes(here) == tree_bytes(there)
