"""The fingerprint of a corpus: over what, and that its bytes stay those of existing caches."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cache_schema.clip import Clip
from pipeline.corpora.interface import Corpus
from pipeline.corpora.walk import Bounds, reading_within
from pipeline.precompute.plan import corpus_facts


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Files, a container, links inside and outside, and what is not there."""
    root, outside = tmp_path.resolve() / "corpus", tmp_path.resolve() / "outside"
    for folder in (root / "a", outside):
        folder.mkdir(parents=True)
    (root / "a/one.wav").write_bytes(b"1")
    (root / "a/pack.h5").write_bytes(b"123")
    (outside / "far.wav").write_bytes(b"12345")
    (root / "again").symlink_to("a")
    (root / "near.wav").symlink_to("a/one.wav")
    (root / "far.wav").symlink_to(outside / "far.wav")
    (root / "out").symlink_to(outside)
    paths = ("near.wav", "a/one.wav", "again/one.wav", "a/pack.h5!/waveform/7", "a", "a/none.wav",
             "far.wav", "out/far.wav", "../outside/far.wav", "a/one.wav/none.wav")  # fmt: skip
    clips = [
        Clip(id=f"{9 - place}", path=path, labels=("x'y", "z"), split="train", end_s=1.5, frames=3)
        for place, path in enumerate(paths)
    ]
    clips[1] = replace(clips[1], labels=(), none_present=True, end_s=None)
    return Corpus(root=root, clips=tuple(clips), classes=("x'y", "z"), task="multi")


def fingerprint_of_sizes(corpus: Corpus, sizes: list[int]) -> str:
    lines = sorted(
        [
            clip.id, clip.path, [None] if clip.none_present else list(clip.labels), clip.split,
            clip.start_s, clip.end_s, size, clip.frames,
        ]
        for clip, size in zip(corpus.clips, sizes, strict=True)
    )  # fmt: skip
    return hashlib.sha256(repr(lines).encode()).hexdigest()


def test_a_fingerprint_is_over_what_rows_depend_on(corpus: Corpus) -> None:
    found = corpus_facts(corpus, corpus.clips).fingerprint
    assert found == fingerprint_of_sizes(corpus, [1, 1, 1, 3, -1, -1, -1, -1, -1, -1])


def test_links_that_may_be_followed_have_the_sizes_of_what_they_lead_to(
    corpus: Corpus, tmp_path: Path
) -> None:
    with reading_within(Bounds(reach=tmp_path.resolve())):
        found = corpus_facts(corpus, corpus.clips).fingerprint
    assert found == fingerprint_of_sizes(corpus, [1, 1, 1, 3, -1, -1, 5, 5, 5, -1])
