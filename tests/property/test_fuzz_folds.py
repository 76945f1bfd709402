"""Lists with folds, whatever stands in them: the answer is a corpus or a message."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzzing import fuzzing, mutated_bytes, only_reported, seeds
from hypothesis import given
from small_corpora import esc, urbansound8k

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus

LAYOUTS = {"meta/esc50.csv": esc.write, "metadata/UrbanSound8K.csv": urbansound8k.write}


@pytest.fixture(scope="module", params=LAYOUTS)
def listed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    root = tmp_path_factory.mktemp("corpus")
    text = LAYOUTS[request.param](root)
    return text, root / request.param, (root / request.param).read_bytes()


@fuzzing(60)
@given(seeds)
def test_a_mutated_list_is_read_or_rejected(listed: tuple[str, Path, bytes], seed: int) -> None:
    text, file, content = listed
    file.write_bytes(mutated_bytes(content, random.Random(seed)))
    with only_reported(UsageError):
        corpus = read_corpus(text)
        assert len({clip.id for clip in corpus.clips}) == len(corpus.clips) > 0
        assert all(
            (corpus.root / c.path).resolve().is_relative_to(corpus.root) for c in corpus.clips
        )
