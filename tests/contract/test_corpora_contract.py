"""The contract of every corpus adapter, on small layouts of its own and on real recordings."""

from __future__ import annotations

import csv
import importlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cache_schema.plugins import load_plugin
from pipeline.corpora import CORPORA, read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.plugin_checks import CORPUS_CHECKS, corpus_is_well_formed

LAYOUTS = Path(__file__).resolve().parents[1] / "helpers" / "small_corpora"


def _written(kind: str, folder: Path) -> str:
    """Write the small corpus of a kind in its official layout; returns the corpus text."""
    module = importlib.import_module(f"small_corpora.{kind.replace('-', '_')}")
    text: str = module.write(folder)
    return text


def _well_formed(text: str) -> Corpus:
    corpus_is_well_formed(lambda _: text, Path())
    return read_corpus(text)


def test_every_corpus_has_a_layout_here() -> None:
    written = {path.stem.replace("_", "-") for path in LAYOUTS.glob("[a-z]*.py")}
    assert written == set(CORPORA) != set(), (
        "a kind has helpers/small_corpora/KIND.py: write(folder)"
    )


@pytest.mark.parametrize("check", CORPUS_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", CORPORA)
def test_every_corpus(kind: str, check: Callable[..., None], tmp_path: Path) -> None:
    check(partial(_written, kind), tmp_path)


@pytest.mark.parametrize("kind", CORPORA)
def test_a_layout_has_every_split(tmp_path: Path, kind: str) -> None:
    corpus = read_corpus(_written(kind, tmp_path))
    assert {clip.split for clip in corpus.clips} == {"train", "validation", "test"}


@pytest.mark.parametrize("kind", CORPORA)
def test_outputs_and_foreign_folders_in_a_corpus_are_no_inputs(tmp_path: Path, kind: str) -> None:
    text = _written(kind, tmp_path / "corpus")
    before = read_corpus(text)
    (tmp_path / "corpus").rename(tmp_path / "original")
    for name in ("", "__MACOSX", "train/__MACOSX", "out", "old.zarr"):
        shutil.copytree(tmp_path / "original", tmp_path / "corpus" / name, dirs_exist_ok=True)
    (tmp_path / "corpus/old.zarr/zarr.json").write_text("{}")
    (tmp_path / "corpus/out.lock").write_text("{}")
    after = read_corpus(text, output=tmp_path / "corpus/out")
    assert (after.clips, after.classes) == (before.clips, before.classes)


@pytest.mark.parametrize("kind", CORPORA)
def test_links_are_an_option_of_every_kind(tmp_path: Path, kind: str) -> None:
    """Every file of the corpus is a link out of it, as in a tree of links."""
    text = _written(kind, tmp_path / "corpus")
    before = read_corpus(text)
    (tmp_path / "corpus").rename(tmp_path / "pool")
    for file in [p for p in (tmp_path / "pool").rglob("*") if p.is_file()]:
        link = tmp_path / "corpus" / file.relative_to(tmp_path / "pool")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    after = read_corpus(f"{text}{'&' if '?' in text else '?'}links={tmp_path}")
    assert after.root == tmp_path
    names = [(c.id, c.labels, c.split, c.frames) for c in before.clips]
    assert [(c.id, c.labels, c.split, c.frames) for c in after.clips] == names


@pytest.mark.parametrize("kind", CORPORA)
def test_adapters_take_options_by_name_only(kind: str) -> None:
    adapter = load_plugin(CORPORA, kind, "corpus")
    assert adapter.__code__.co_argcount == 1


# --- real recordings -----------------------------------------------------------------------------


def test_real_speech_commands(shared_dir: Path) -> None:
    corpus = _well_formed(f"speech-commands:{shared_dir / 'data/speech_commands_v2_12'}")
    assert len(corpus.clips) == 4195
    assert corpus.classes[:3] == ("_silence_", "_unknown_", "yes")
    counts = {s: sum(c.split == s for c in corpus.clips) for s in ("train", "validation", "test")}
    assert counts == {"train": 3340, "validation": 333, "test": 522}


def test_the_official_hash_sends_the_official_test_set_to_test(shared_dir: Path) -> None:
    folder = shared_dir / "data/speech_commands_v2_12"
    module = load_plugin(CORPORA, "speech-commands", "corpus").__globals__
    names = [p.name for word in module["WANTED_WORDS"] for p in (folder / word).iterdir()]
    assert len(names) > 3000
    assert {module["official_split"](name) for name in names} == {"test"}


def test_real_esc10_through_a_manifest(shared_dir: Path, tmp_path: Path) -> None:
    folder = shared_dir / "data/esc10"
    splits = {"5": "test", "4": "validation"}
    with (folder / "esc10.csv").open(newline="") as file:
        rows = [
            f"audio/{row['filename']},{row['category']},{splits.get(row['fold'], 'train')}"
            for row in csv.DictReader(file)
        ]
    (tmp_path / "esc10.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    corpus = _well_formed(f"csv:{tmp_path / 'esc10.csv'}?root={folder}")
    assert (len(corpus.clips), len(corpus.classes)) == (400, 10)
    assert {clip.frames for clip in corpus.clips} == {80_000}
    assert sum(clip.split == "test" for clip in corpus.clips) == 80


def test_real_spoken_digits_through_their_names(shared_dir: Path) -> None:
    corpus = _well_formed(f"folder:{shared_dir / 'data/fsdd'}?labels=prefix")
    assert len(corpus.clips) == 3000
    assert corpus.classes == tuple("0123456789")
    assert {clip.source_rate_hz for clip in corpus.clips} == {8000}
