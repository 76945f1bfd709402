"""The spoken demo corpus: deterministic, balanced, its annotations true."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache_schema.errors import UsageError
from pipeline.audio.decode import decode
from pipeline.corpora import read_corpus
from pipeline.demo.corpus import write_demo_corpus
from pipeline.demo.scene import CLASSES
from pipeline.demo.speakers import VARIANTS, speakers, speech_of, utterances

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="needs espeakng-loader"
)
CLIPS = {"train": 11, "test": 3}


@pytest.fixture(scope="module")
def corpus_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    return write_demo_corpus(folder, clips_per_split=CLIPS, seed=3)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.flac")}


@needs_espeak
def test_the_corpus_reads_as_a_manifest(corpus_manifest: Path) -> None:
    corpus = read_corpus(f"csv:{corpus_manifest}")
    assert len(corpus.clips) == 14
    assert corpus.classes == tuple(sorted(CLASSES))
    assert {(clip.frames, clip.source_rate_hz) for clip in corpus.clips} == {(32_000, 16_000)}
    assert sorted(c.labels[0] for c in corpus.clips if c.split == "train") == sorted(CLASSES)


@needs_espeak
def test_another_process_writes_the_same_bytes(corpus_manifest: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.demo.corpus import write_demo_corpus;"
        "write_demo_corpus(Path(sys.argv[1]), clips_per_split={'test': 2}, seed=3)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "again")], check=True)
    again = files_of(tmp_path / "again")
    assert len(again) == 2
    assert again.items() <= files_of(corpus_manifest.parent).items()


@needs_espeak
def test_the_word_is_where_the_manifest_has_it(corpus_manifest: Path) -> None:
    with corpus_manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        start_s, end_s = float(row["keyword_start_s"]), float(row["keyword_end_s"])
        assert 0 <= start_s < end_s <= 2.0
        assert 0.1 < end_s - start_s < 1.0
    assert len({row["keyword_start_s"] for row in rows}) == len(rows)


@needs_espeak
def test_clips_are_audible_and_never_clipped(corpus_manifest: Path) -> None:
    for path in corpus_manifest.parent.rglob("*.flac"):
        wave = decode(path, sample_rate_hz=16_000).waveform
        assert 0.1 < np.abs(wave).max() < 0.95
        assert np.sqrt(np.mean(wave**2)) > 0.005


@needs_espeak
def test_another_seed_makes_another_corpus(corpus_manifest: Path, tmp_path: Path) -> None:
    write_demo_corpus(tmp_path / "other", clips_per_split={"test": 1}, seed=4)
    (other,) = files_of(tmp_path / "other").values()
    assert other not in files_of(corpus_manifest.parent).values()


@needs_espeak
def test_every_word_of_a_speaker_sounds_different() -> None:
    voice = speakers("test")[0]
    waves = speech_of(voice).samples
    assert tuple(waves) == utterances(voice)
    assert len({wave.tobytes() for wave in waves.values()}) == len(waves)


def test_no_voice_is_in_two_splits() -> None:
    variants = [variant for names in VARIANTS.values() for variant in names]
    assert len(set(variants)) == len(variants)
    everyone = [voice for split in VARIANTS for voice in speakers(split)]
    assert len(set(everyone)) == len(everyone)


@needs_espeak
def test_a_finished_corpus_is_left_alone(corpus_manifest: Path) -> None:
    before = corpus_manifest.stat().st_mtime_ns
    again = write_demo_corpus(corpus_manifest.parent, clips_per_split=CLIPS, seed=3)
    assert again == corpus_manifest
    assert corpus_manifest.stat().st_mtime_ns == before


@needs_espeak
def test_a_folder_with_another_corpus_is_rejected(corpus_manifest: Path) -> None:
    with pytest.raises(UsageError, match="holds another one") as caught:
        write_demo_corpus(corpus_manifest.parent, clips_per_split=CLIPS, seed=4)
    assert '"seed": 3' in str(caught.value)
    assert '"seed": 4' in str(caught.value)


def test_a_folder_with_other_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="holds other files"):
        write_demo_corpus(tmp_path, clips_per_split=CLIPS, seed=0)


@pytest.mark.parametrize("clips", [{}, {"train": 0}, {"train": -1, "test": 2}, {"dev": 3}])
def test_senseless_numbers_are_rejected(tmp_path: Path, clips: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="clips_per_split"):
        write_demo_corpus(tmp_path, clips_per_split=clips, seed=0)


def test_a_clip_too_short_for_a_word_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least 1\.5, got 0\.5"):
        write_demo_corpus(tmp_path, clips_per_split=CLIPS, seed=0, length_s=0.5)


def test_a_missing_synthesiser_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UsageError, match=r"pip install 'aftersound\[demo\]'"):
        write_demo_corpus(tmp_path / "new", clips_per_split=CLIPS, seed=0)
    assert not (tmp_path / "new").exists()
