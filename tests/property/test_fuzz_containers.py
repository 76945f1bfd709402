"""Packs and shards with any damage: read, quarantined or rejected with what is wrong; never a crash."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzzing, mutated_bytes, mutated_json, only_reported, seeds
from hypothesis import given
from small_corpora import hdf5, hugging_face

from cache_schema.errors import UsageError
from pipeline.audio.decode import UnusableAudio, decode
from pipeline.corpora import read_corpus


def panns(folder: Path) -> str:
    folder.mkdir()
    waveforms = np.arange(1600, dtype=np.int16).reshape(4, 400)
    hdf5.write_waveform_pack(folder / "train.h5", waveforms, np.eye(4, 3, dtype=bool))
    return f"hdf5:{folder}"


FORMS: dict[str, Callable[[Path], str]] = {
    "panns": panns,
    "passt": hdf5.write,
    "parquet": hugging_face.write,
    "arrow": hugging_face.write_saved,
}


@pytest.fixture(scope="module", params=FORMS)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return FORMS[request.param](tmp_path_factory.mktemp("corpora") / request.param)


@fuzzing(30)
@given(seeds)
def test_a_mutated_container_is_read_or_rejected(corpus: str, seed: int) -> None:
    dice = random.Random(seed)
    folder = Path(corpus.partition(":")[2])
    file = dice.choice(sorted(file for file in folder.rglob("*") if file.is_file()))
    before = file.read_bytes()
    mutated = mutated_json if file.suffix == ".json" else mutated_bytes
    try:
        file.write_bytes(mutated(before, dice))
        with only_reported(UsageError):
            found = read_corpus(corpus)
            for clip in found.clips[:6]:
                with only_reported(UnusableAudio):
                    decode(found.root / clip.path, sample_rate_hz=16_000)
    finally:
        file.write_bytes(before)
