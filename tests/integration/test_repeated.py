"""Recordings that are there twice: learned from and tested with, or under two labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import command, succeeded, write_tones

from cache_schema.inspection.repeated import repeated_cautions
from cache_schema.reader import open_cache


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "tones", per_class=2)


def cautions(corpus: Path, *more: str) -> tuple[list[str], str]:
    """What is noted of a cache of the corpus, and what the command printed."""
    out = corpus.with_suffix(".zarr")
    shown = command(
        "precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out, *more
    )
    return repeated_cautions(open_cache(out)), succeeded(shown)


def test_recordings_of_one_split_each_are_no_matter(corpus: Path) -> None:
    found, shown = cautions(corpus)
    assert found == []
    assert "byte by byte" not in shown


def test_what_is_learned_and_tested_is_named(corpus: Path) -> None:
    for split in ("test", "validation"):
        shutil.copy(corpus / "train/high/0.flac", corpus / split / "high/again.flac")
    (caution,), shown = cautions(corpus)
    assert caution.startswith("1 recording(s) that are validated or tested with are in train too")
    assert f"({split}/high/again = train/high/0)" in caution
    assert f"warning: {caution}" in shown


def test_recordings_that_are_put_aside_are_no_matter(corpus: Path) -> None:
    for place in ("train/high", "test/high"):
        soundfile.write(corpus / place / "click.flac", np.zeros(1), 16_000)
    found, shown = cautions(corpus)
    assert found == []
    assert "2 rows quarantined" in shown


def test_two_labels_of_one_recording_are_named(corpus: Path) -> None:
    shutil.copy(corpus / "train/high/0.flac", corpus / "train/low/again.flac")
    (caution,), _ = cautions(corpus)
    assert caution.startswith(
        "1 recording(s) are there twice, byte by byte, with different labels "
        "(train/high/0 = train/low/again): "
    )


def test_windows_of_a_recording_may_have_labels_of_their_own(corpus: Path) -> None:
    rows = "a.flac,one,0,0.3,train\na.flac,two,0.3,0.6,train\na.flac,one,0,0.3,test\n"
    shutil.copy(corpus / "train/high/0.flac", corpus.parent / "a.flac")
    (corpus.parent / "l.csv").write_text(f"id,path,label,start_s,end_s,split\n{_numbered(rows)}")
    out = corpus.parent / "l.zarr"
    text = f"csv:{corpus.parent}/l.csv"
    succeeded(command("precompute-teacher", text, "--teacher", "toy", "--out", out))
    (caution,) = repeated_cautions(open_cache(out))
    assert caution.startswith("1 recording(s) that are validated or tested with are in train too")


def _numbered(rows: str) -> str:
    return "".join(f"{number},{row}\n" for number, row in enumerate(rows.splitlines()))
