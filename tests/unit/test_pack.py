"""Packing a corpus: what was packed is read back, and a repeated command goes on."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
from fuzzing import run

from cache_schema.errors import UsageError
from cache_schema.store.lock import write_lock
from pipeline.audio.decode import decode
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.pack.cli import main as pack_corpus
from pipeline.pack.pack import pack_corpus as pack_planned
from pipeline.pack.pack import plan_packing

RATE_HZ = 16_000


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Clips of different lengths, one unlabelled, some with two labels, all with unusual ids."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = ["path,labels,split,id"]
    for number in range(9):
        steps = np.random.default_rng(number).integers(-9000, 9000, 800 + 37 * number)
        soundfile.write(folder / f"{number}.flac", steps.astype(np.int16), RATE_HZ)
        labels = ("cat;dog" if number % 3 else "owl, old") if number else ""
        split = ("train", "validation", "test")[number % 3]
        lines.append(f'{number}.flac,"{labels}",{split},Zoë/{number}.5')
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder


def pack(corpus: Path, out: Path, *options: object, to: str = "hdf5-waveform") -> tuple[int, str]:
    text = f"csv:{corpus / 'clips.csv'}"
    return run(pack_corpus, text, "--to", to, "--out", out, *options)


def packed(corpus: Path, out: Path, *options: object, to: str = "hdf5-waveform") -> Corpus:
    code, output = pack(corpus, out, *options, to=to)
    assert code == 0, output
    return read_corpus(f"hdf5:{out}")


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def decoded(corpus: Corpus, rate_hz: int = RATE_HZ) -> dict[str, np.ndarray]:
    return {
        clip.id: decode(
            corpus.root / clip.path,
            start_s=clip.start_s,
            end_s=clip.end_s,
            sample_rate_hz=rate_hz,
        ).waveform
        for clip in corpus.clips
    }


def test_a_waveform_pack_is_the_corpus_again(corpus: Path, tmp_path: Path) -> None:
    again = packed(corpus, tmp_path / "packs")
    before = read_corpus(f"csv:{corpus / 'clips.csv'}")
    assert (again.classes, again.task) == (before.classes, before.task)
    facts = [
        {c.id: (c.labels, c.split, c.frames, c.source_rate_hz) for c in one.clips}
        for one in (before, again)
    ]
    assert facts[0] == facts[1]
    waveforms = decoded(again)
    for name, waveform in decoded(before).items():
        assert np.array_equal(waveform, waveforms[name])


@pytest.mark.parametrize("to", ["hdf5-waveform", "hdf5-mp3"])
def test_a_clip_with_none_of_the_classes_is_not_packed_as_an_unlabelled_one(
    tmp_path: Path, to: str
) -> None:
    rows = [[], None, ["cat"], ["cat", "dog"]]
    for number in range(len(rows)):
        soundfile.write(tmp_path / f"{number}.wav", np.full(800, 0.1), RATE_HZ)
    lines = [{"path": f"{i}.wav", "labels": row, "split": "train"} for i, row in enumerate(rows)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "packs"
    code, output = run(pack_corpus, f"jsonl:{tmp_path / 'c.jsonl'}", "--to", to, "--out", out)
    assert code == 0, output
    corpus = read_corpus(f"hdf5:{out}?validation_share=0&test_share=0")
    facts = {clip.id: (clip.labels, clip.none_present, clip.labelled) for clip in corpus.clips}
    assert facts == {
        "0": ((), True, True),
        "1": ((), False, False),
        "2": (("cat",), False, True),
        "3": (("cat", "dog"), False, True),
    }


def test_samples_of_more_than_16_bits_are_rounded_by_half_a_step(tmp_path: Path) -> None:
    (tmp_path / "corpus/cat").mkdir(parents=True)
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, 500).astype(np.float32)
    soundfile.write(tmp_path / "corpus/cat/a.wav", wave, RATE_HZ, subtype="FLOAT")
    soundfile.write(tmp_path / "corpus/cat/loud.wav", 3 * wave, RATE_HZ, subtype="FLOAT")
    text = f"folder:{tmp_path / 'corpus'}?validation=0&test=0"
    code, output = run(pack_corpus, text, "--to", "hdf5-waveform", "--out", tmp_path / "out")
    assert code == 0
    assert "train.h5: 2 clips, 1 clipped at full scale" in output
    again = decoded(read_corpus(f"hdf5:{tmp_path / 'out'}?validation_share=0&test_share=0"))
    assert np.abs(again["cat/a"] - wave).max() <= 0.5 / 32768
    assert np.array_equal(again["cat/loud"] > 0.99, 3 * wave > 0.99)


def test_an_mp3_pack_keeps_lengths_labels_and_sound(corpus: Path, tmp_path: Path) -> None:
    again = packed(corpus, tmp_path / "packs", "--sample-rate", 32_000, to="hdf5-mp3")
    before = read_corpus(f"csv:{corpus / 'clips.csv'}")
    assert {c.id: c.labels for c in again.clips} == {c.id: c.labels for c in before.clips}
    now = decoded(again, 32_000)
    for name, waveform in decoded(before, 32_000).items():
        assert len(now[name]) == len(waveform)
        assert np.corrcoef(now[name], waveform)[0, 1] > 0.95


def test_a_pack_has_the_layout_that_panns_reads(corpus: Path, tmp_path: Path) -> None:
    packed(corpus, tmp_path / "packs", "--sample-rate", 32_000)
    with h5py.File(tmp_path / "packs/train.h5") as pack:
        assert pack.attrs["sample_rate"] == 32_000
        assert pack["waveform"].dtype == np.int16
        assert pack["waveform"].shape[1] == 2 * (800 + 37 * 6)
        assert pack["target"].dtype == bool
        assert pack["target"][:].tolist() == [
            [False] * 3,
            [False, False, True],
            [False, False, True],
        ]
        assert pack["audio_name"][1].decode() == "Zoë/3.5.wav"
        assert not pack["waveform"][0][2 * 800 :].any()


def test_an_mp3_pack_has_the_layout_that_passt_reads(corpus: Path, tmp_path: Path) -> None:
    packed(corpus, tmp_path / "packs", to="hdf5-mp3")
    with h5py.File(tmp_path / "packs/validation.h5") as pack:
        assert h5py.check_vlen_dtype(pack["mp3"].dtype) == np.uint8
        assert pack["target"].dtype == np.uint8
        labels = np.unpackbits(pack["target"][0], count=3)
        assert labels.tolist() == [1, 1, 0]


def test_unusable_clips_are_left_out_and_listed(corpus: Path, tmp_path: Path) -> None:
    (corpus / "3.flac").write_bytes(b"")
    (corpus / "4.flac").write_bytes((corpus / "4.flac").read_bytes()[:300])
    code, output = pack(corpus, tmp_path / "packs")
    assert code == 0
    assert "train.h5: 2 clips, 1 unusable left out\n  Zoë/3.5: the file is empty" in output
    text = (tmp_path / "packs/validation.unusable.csv").read_text()
    rows = list(csv.reader(text.splitlines()))
    assert rows[0] == ["id", "reason"]
    assert rows[1][0] == "Zoë/4.5"
    assert not (tmp_path / "packs/test.unusable.csv").exists()
    assert len(read_corpus(f"hdf5:{tmp_path / 'packs'}").clips) == 7


def test_a_repeated_command_writes_only_what_is_missing(corpus: Path, tmp_path: Path) -> None:
    packed(corpus, tmp_path / "packs")
    before = content(tmp_path / "packs")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "packs").glob("*.h5")}
    (tmp_path / "packs/test.h5").unlink()
    (tmp_path / "packs/test.h5.partial").write_bytes(b"what a killed command left")
    packed(corpus, tmp_path / "packs")
    assert content(tmp_path / "packs") == before
    for name in ("train.h5", "validation.h5"):
        file = tmp_path / "packs" / name
        assert file.stat().st_mtime_ns == times[file]


def test_other_content_in_the_place_of_packs_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "packs"
    packed(corpus, out)
    before = content(out)
    (corpus / "clips.csv").write_text((corpus / "clips.csv").read_text().replace("dog", "fox"))
    code, output = pack(corpus, out)
    assert code == 2
    for name in ("train.h5", "validation.h5", "test.h5", "class_labels_indices.csv"):
        assert f"{name} is there, with other" in output
    assert content(out) == before
    (out / "train.h5").write_bytes(b"anything")
    assert pack(corpus, out)[0] == 2


def test_what_macos_puts_beside_packs_is_in_no_way(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "packs"
    packed(corpus, out)
    (out / "._train.h5").write_bytes(b"\0\5\26\7")
    assert pack(corpus, out)[0] == 0


def test_one_process_at_a_time_packs_into_a_folder(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "packs"
    with write_lock(out):
        code, output = pack(corpus, out)
    assert code == 1
    assert f"{out} is being written by process" in output
    assert not out.exists()
    assert pack(corpus, out)[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "packs"}


def test_packs_that_another_process_wrote_since_the_plan_are_left_alone(
    corpus: Path, tmp_path: Path
) -> None:
    out, found = tmp_path / "packs", read_corpus(f"csv:{corpus / 'clips.csv'}")
    late = plan_packing(found, "hdf5-waveform", out, 8_000)
    packed(corpus, out)
    before = content(out)
    with pytest.raises(UsageError, match=r"test\.h5 is there, with other content"):
        list(pack_planned(late, lambda split, clips: None))
    assert content(out) == before


def test_a_pack_of_a_split_that_another_corpus_had_is_not_mixed_in(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "packs"
    packed(corpus, out)
    lines = (corpus / "clips.csv").read_text().splitlines(keepends=True)
    (corpus / "clips.csv").write_text("".join([lines[0], *lines[1::3]]).replace("train", "eval"))
    for split in ("validation", "test"):
        (out / f"{split}.h5").unlink()
    code, output = pack(corpus, out)
    assert code == 2
    assert "train.h5 is there, with other content" in output
    assert not (out / "eval.h5").exists()


def test_one_rate_has_to_be_chosen(corpus: Path, tmp_path: Path) -> None:
    soundfile.write(corpus / "0.flac", np.full(900, 0.1), 10_000)
    code, output = pack(corpus, tmp_path / "packs", to="hdf5-mp3")
    assert code == 2
    assert "rates of 10000, 16000 Hz" in output
    assert "MP3 has no rate of 10000 Hz" in output
    assert not (tmp_path / "packs").exists()
    assert pack(corpus, tmp_path / "packs", "--sample-rate", 8000, to="hdf5-mp3")[0] == 0


@pytest.mark.parametrize("split", ["../up", ".", "a/b", "x" * 300])
def test_a_split_that_is_no_file_name_is_rejected(corpus: Path, tmp_path: Path, split: str) -> None:
    text = (corpus / "clips.csv").read_text().replace(",validation,", f",{split},")
    (corpus / "clips.csv").write_text(text)
    code, output = pack(corpus, tmp_path / "packs")
    assert code == 2
    assert "cannot be the name of a file" in output


def test_a_split_without_one_usable_clip_is_a_failure(corpus: Path, tmp_path: Path) -> None:
    for number in (2, 5, 8):
        (corpus / f"{number}.flac").write_bytes(b"")
    code, output = pack(corpus, tmp_path / "packs")
    assert code == 1
    assert "none of the 3 clips of test can be packed\n  - Zoë/2.5: the file is empty" in output
    assert not list((tmp_path / "packs").glob("test*"))


@pytest.mark.parametrize("to", ["hdf5-waveform", "hdf5-mp3"])
def test_groups_are_kept_and_stay_in_one_split(corpus: Path, tmp_path: Path, to: str) -> None:
    lines = (corpus / "clips.csv").read_text().replace(",validation,", ",train,").splitlines()
    lines = [f"{lines[0]},speaker", *(f"{line},Zoë {n % 4}" for n, line in enumerate(lines[1:]))]
    lines[-1] = lines[-1].removesuffix("Zoë 0")  # of nobody
    (corpus / "clips.csv").write_text("\n".join(lines) + "\n")
    text, out = f"csv:{corpus / 'clips.csv'}?group=speaker", tmp_path / "packs"
    code, output = run(pack_corpus, text, "--to", to, "--out", out)
    assert code == 0, output
    before = {clip.id: clip.group for clip in read_corpus(text).clips}
    assert set(before.values()) == {"Zoë 0", "Zoë 1", "Zoë 2", "Zoë 3", ""}
    again = read_corpus(f"hdf5:{out}?validation_share=0.5")
    assert {clip.id: clip.group for clip in again.clips} == before
    sides = {
        (clip.group, clip.split) for clip in again.clips if clip.split != "test" and clip.group
    }
    assert len(sides) == len({group for group, _ in sides})
    (corpus / "clips.csv").write_text("\n".join(lines).replace("Zoë 3", "Zoë 2") + "\n")
    assert (
        "train.h5 is there, with other content"
        in run(pack_corpus, text, "--to", to, "--out", out)[1]
    )


def test_a_pack_without_groups_has_no_dataset_of_them(corpus: Path, tmp_path: Path) -> None:
    packed(corpus, tmp_path / "packs")
    with h5py.File(tmp_path / "packs/train.h5") as pack:
        assert set(pack) == {"waveform", "target", "audio_name", "labelled", "samples"}


def test_an_unlabelled_corpus_is_packed(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus/a.wav", np.full(900, 0.1), RATE_HZ)
    text = f"folder:{tmp_path / 'corpus'}?labels=none&validation=0&test=0"
    for to in ("hdf5-waveform", "hdf5-mp3"):
        assert run(pack_corpus, text, "--to", to, "--out", tmp_path / to)[0] == 0
        again = read_corpus(f"hdf5:{tmp_path / to}?validation_share=0&test_share=0")
        assert (again.classes, again.clips[0].labels) == ((), ())


def test_a_disk_that_takes_no_more_is_reported_and_nothing_half_written_stays(
    corpus: Path, tmp_path: Path
) -> None:
    text, out = f"csv:{corpus / 'clips.csv'}", tmp_path / "packs"
    words = [sys.executable, "-m", "pipeline.pack.cli", text, "--to", "hdf5-waveform", "--out", out]
    limited = ["sh", "-c", 'ulimit -f 10; exec "$@"', "sh", *map(str, words)]
    ended = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "File too large" in ended.stderr
    assert "train.h5.partial" in ended.stderr
    assert [file.name for file in out.iterdir()] == ["class_labels_indices.csv"]
    assert pack(corpus, out)[0] == 0


@pytest.mark.parametrize("name", ["train.h5", "class_labels_indices.csv", "train.h5.partial"])
def test_a_folder_in_the_place_of_a_file_is_named_with_the_way_on(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    words = (f"csv:{corpus / 'clips.csv'}", "--to", "hdf5-waveform", "--out", tmp_path / "out")
    code, message = run(pack_corpus, *words)
    assert code in (1, 2)
    assert f"Is a directory ({tmp_path / 'out' / name})" in message
    assert "Move that folder away, or name another place, and repeat the command." in message
    assert (tmp_path / "out" / name).is_dir()
