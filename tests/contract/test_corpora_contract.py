"""What every corpus adapter promises, on small layouts of its own and on real recordings."""

from __future__ import annotations

import csv
import importlib
import shutil
from pathlib import Path

import pytest

from cache_schema.plugins import load_plugin
from pipeline.audio.decode import decode, resampled_length
from pipeline.audio.members import file_of
from pipeline.corpora import CORPORA, read_corpus
from pipeline.corpora.interface import Corpus

LAYOUTS = Path(__file__).resolve().parents[1] / "small_corpora"


def _written(kind: str, folder: Path) -> str:
    """Write the small corpus of a kind in its official layout; returns the corpus text."""
    module = importlib.import_module(f"small_corpora.{kind.replace('-', '_')}")
    text: str = module.write(folder)
    return text


def _holds_what_a_corpus_promises(corpus: Corpus) -> None:
    ids = [clip.id for clip in corpus.clips]
    assert len(set(ids)) == len(ids) > 0
    assert all(ids)
    assert corpus.root.is_absolute()
    assert len(set(corpus.classes)) == len(corpus.classes)
    for clip in corpus.clips:
        assert set(clip.labels) <= set(corpus.classes)
        assert corpus.task == "multi" or len(clip.labels) <= 1
        assert clip.split in {"train", "validation", "test"}
        assert clip.path == Path(clip.path).as_posix()
        assert (corpus.root / clip.path).resolve().is_relative_to(corpus.root)
        assert not clip.id.startswith("/")
        assert str(corpus.root) not in clip.id
        # A list may name what is gone: such a clip stays, to end in quarantine with its reason.
        there = file_of(corpus.root / clip.path).is_file()
        assert (clip.frames > 0) == (clip.source_rate_hz > 0) == there


def test_every_corpus_has_a_layout_here() -> None:
    written = {path.stem.replace("_", "-") for path in LAYOUTS.glob("[a-z]*.py")}
    assert written == set(CORPORA) != set()


@pytest.mark.parametrize("kind", CORPORA)
def test_an_adapter_keeps_its_promises(tmp_path: Path, kind: str) -> None:
    text = _written(kind, tmp_path)
    corpus = read_corpus(text)
    assert {clip.split for clip in corpus.clips} == {"train", "validation", "test"}
    _holds_what_a_corpus_promises(corpus)
    assert read_corpus(text) == corpus


@pytest.mark.parametrize("kind", CORPORA)
def test_clips_do_not_depend_on_where_the_corpus_lies(tmp_path: Path, kind: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deep"
    text = _written(kind, here)
    shutil.copytree(here, there)
    moved = text.replace(str(here), str(there))
    assert read_corpus(moved).clips == read_corpus(text).clips


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
def test_a_scanned_clip_decodes_to_its_planned_length(tmp_path: Path, kind: str) -> None:
    corpus = read_corpus(_written(kind, tmp_path))
    for clip in [clip for clip in corpus.clips if clip.frames][::3]:
        decoded = decode(
            corpus.root / clip.path, start_s=clip.start_s, end_s=clip.end_s, sample_rate_hz=8000
        )
        assert decoded.source_frames == clip.frames
        assert len(decoded.waveform) == resampled_length(clip.frames, clip.source_rate_hz, 8000)


@pytest.mark.parametrize("kind", CORPORA)
def test_adapters_take_options_by_name_only(kind: str) -> None:
    adapter = load_plugin(CORPORA, kind, "corpus")
    assert adapter.__code__.co_argcount == 1


# --- real recordings -----------------------------------------------------------------------------


def test_real_speech_commands(shared_dir: Path) -> None:
    corpus = read_corpus(f"speech-commands:{shared_dir / 'data/speech_commands_v2_12'}")
    _holds_what_a_corpus_promises(corpus)
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
    corpus = read_corpus(f"csv:{tmp_path / 'esc10.csv'}?root={folder}")
    _holds_what_a_corpus_promises(corpus)
    assert (len(corpus.clips), len(corpus.classes)) == (400, 10)
    assert {clip.frames for clip in corpus.clips} == {80_000}
    assert sum(clip.split == "test" for clip in corpus.clips) == 80


def test_real_spoken_digits_through_their_names(shared_dir: Path) -> None:
    corpus = read_corpus(f"folder:{shared_dir / 'data/fsdd'}?labels=prefix")
    _holds_what_a_corpus_promises(corpus)
    assert len(corpus.clips) == 3000
    assert corpus.classes == tuple("0123456789")
    assert {clip.source_rate_hz for clip in corpus.clips} == {8000}
