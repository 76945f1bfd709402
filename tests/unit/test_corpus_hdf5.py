"""Packs of PANNs and of PaSST and EfficientAT: what is read, and what is reported of bad ones."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_corpora import hdf5

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.formats import hdf5_pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hdf5.write(tmp_path)
    return tmp_path


def panns(file: Path, clips: int = 4, classes: int = 3) -> Path:
    waveforms = np.arange(clips * 800, dtype=np.int16).reshape(clips, 800)
    targets = np.arange(clips)[:, None] % classes == np.arange(classes)
    hdf5.write_waveform_pack(file, waveforms, targets)
    return file


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def splits(text: str) -> dict[str, int]:
    return Counter(clip.split for clip in read_corpus(text).clips)


def test_packed_bits_are_unpacked_and_named(folder: Path) -> None:
    corpus = read_corpus(f"hdf5:{folder}")
    assert corpus.classes == hdf5.CLASSES
    assert corpus.task == "multi"
    by_id = {clip.id: clip for clip in corpus.clips}
    assert by_id["00000"].labels == ("sound 0", "sound 9")
    assert (by_id["20001"].labels, by_id["20001"].split) == (("sound 2",), "test")
    assert by_id["10000"].split == "validation"
    assert {(clip.frames, clip.source_rate_hz) for clip in corpus.clips} == {(16_000, 32_000)}
    assert corpus.notes == ()


def test_a_pack_of_waveforms_without_names_has_numbered_classes(tmp_path: Path) -> None:
    corpus = read_corpus(
        f"hdf5:{panns(tmp_path / 'balanced_train.h5')}?validation_share=0&test_share=0"
    )
    assert corpus.classes == ("0", "1", "2")
    assert [clip.labels for clip in corpus.clips] == [("0",), ("1",), ("2",), ("0",)]
    assert corpus.clips[0].id == "Ybalanced_-0"
    assert "numbered from 0 to 2" in corpus.notes[0]


def test_splits_follow_the_names_of_the_packs(tmp_path: Path) -> None:
    for name in ("balanced_train.h5", "unbalanced_train_part00.h5", "eval.hdf5", "sounds.hdf"):
        panns(tmp_path / name)
    assert splits(f"hdf5:{tmp_path}?validation_share=0") == {"train": 12, "test": 4}
    assert "test_share=0.2 is of training clips for a split without any" in refusal(
        f"hdf5:{tmp_path}?test_share=0.2"
    )
    assert "names.csv is no pack" in refusal(f"hdf5:{tmp_path}?train=names.csv")
    address = f"hdf5:{tmp_path}?train=balanced_train.h5&validation=sounds.hdf&test_share=0"
    assert splits(address) == {"train": 4, "validation": 4}


def test_a_split_without_a_pack_gets_a_share_and_that_is_reported(tmp_path: Path) -> None:
    text = f"hdf5:{panns(tmp_path / 'all.h5', clips=400)}"
    counts = splits(text)
    assert 20 < counts["validation"] < 60
    assert 20 < counts["test"] < 60
    assert "validation_share=0 leaves them" in " ".join(read_corpus(text).notes)
    assert splits(f"{text}?validation_share=0&test_share=0") == {"train": 400}
    message = refusal(f"{text}?validation_share=0.5&test_share=0.5")
    assert "below 1 together, got validation_share=0.5 and test_share=0.5" in message
    notes = read_corpus(f"{text}?validation_share=0.125&test_share=0").notes
    assert any("for validation: 12.5 % of the training clips" in note for note in notes)


def test_classes_may_be_one_name_a_line(tmp_path: Path) -> None:
    panns(tmp_path / "train.h5")
    (tmp_path / "names.txt").write_text("cat\ndog\nold owl\n")
    assert read_corpus(f"hdf5:{tmp_path}?classes=names.txt").classes == ("cat", "dog", "old owl")
    (tmp_path / "names.txt").write_bytes("cat\ndog\nold owl\n".encode("utf-16"))
    assert read_corpus(f"hdf5:{tmp_path}?classes=names.txt").classes == ("cat", "dog", "old owl")
    (tmp_path / "names.txt").write_text("cat\ncat\n")
    message = refusal(f"hdf5:{tmp_path}?classes=names.txt")
    assert "'cat' stands there twice" in message
    assert "targets of 3 columns, the list of classes has 2 names" in message
    assert "No such file" in refusal(f"hdf5:{tmp_path}?classes=other.txt")


def test_fsd50ks_vocabulary_names_the_classes(tmp_path: Path) -> None:
    panns(tmp_path / "train.h5")
    lines = ["0,Accordion,/m/0mkg", "1,Acoustic_guitar,/m/042v_gx", "2,Alarm,/m/07pp_mv"]
    (tmp_path / "vocabulary.csv").write_text("\n".join(lines))
    corpus = read_corpus(f"hdf5:{tmp_path}?classes=vocabulary.csv")
    assert corpus.classes == ("Accordion", "Acoustic_guitar", "Alarm")


@pytest.mark.parametrize("header", ["index,mid,display_name", '"index","mid","display_name"'])
def test_the_header_of_audiosets_list_may_be_quoted(tmp_path: Path, header: str) -> None:
    panns(tmp_path / "train.h5")
    lines = [header, '0,/m/09x0r,"Speech"', '1,/m/05zppz,"Male speech, man speaking"', "2,/m/x,Dog"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    corpus = read_corpus(f"hdf5:{tmp_path}?classes=list.csv")
    assert corpus.classes == ("Speech", "Male speech, man speaking", "Dog")


def test_a_table_in_another_form_is_no_list_of_names(tmp_path: Path) -> None:
    panns(tmp_path / "train.h5")
    (tmp_path / "names.csv").write_text("number,name\n0,cat\n1,dog")
    assert "'0,cat' is no class; expected index,mid," in refusal(
        f"hdf5:{tmp_path}?classes=names.csv"
    )


def test_rows_that_panns_left_empty_are_no_clips(tmp_path: Path) -> None:
    with h5py.File(panns(tmp_path / "train.h5"), "r+") as pack:
        for row in (0, 2):
            pack["audio_name"][row], pack["target"][row], pack["waveform"][row] = b"", False, 0
    corpus = read_corpus(f"hdf5:{tmp_path}?validation_share=0&test_share=0")
    assert [clip.path for clip in corpus.clips] == ["train.h5!/waveform/1", "train.h5!/waveform/3"]
    assert "2 of 4 rows of train.h5 are empty, as PANNs leaves what it had not" in corpus.notes


def test_packs_are_found_in_folders_and_those_not_requested_are_reported(tmp_path: Path) -> None:
    (tmp_path / "unbalanced_train").mkdir()
    part = "unbalanced_train/unbalanced_train_part00.h5"
    for name in ("balanced_train.h5", part, "eval.h5"):
        panns(tmp_path / name)
    assert splits(f"hdf5:{tmp_path}?validation_share=0") == {"train": 8, "test": 4}
    corpus = read_corpus(f"hdf5:{tmp_path}?train={part}&test=eval.h5")
    assert len(corpus.clips) == 8
    assert "not read, as no option names it: pack balanced_train.h5" in corpus.notes
    assert "eval.h5 is named for train and for test; it serves one" in refusal(
        f"hdf5:{tmp_path}?train=eval.h5&test=eval.h5"
    )


def test_zeros_and_ones_beside_waveforms_are_labels_whatever_their_type(tmp_path: Path) -> None:
    (tmp_path / "bits").mkdir()
    for name in ("train.h5", "bits/train.h5"):
        with h5py.File(panns(tmp_path / name), "r+") as pack:
            targets = pack["target"][:].astype(np.uint8)
            del pack["target"]
            pack["target"] = targets * (128 if name.startswith("bits") else 1)
    no_shares = "?validation_share=0&test_share=0"
    plain = read_corpus(f"hdf5:{tmp_path / 'train.h5'}{no_shares}")
    assert [clip.labels for clip in plain.clips] == [("0",), ("1",), ("2",), ("0",)]
    bits = read_corpus(f"hdf5:{tmp_path / 'bits'}{no_shares}")
    assert [clip.labels for clip in bits.clips] == [("0",), ("8",), ("16",), ("0",)]


def test_bits_beyond_the_classes_are_rejected(folder: Path) -> None:
    with h5py.File(folder / "FSD50K.train_mp3.hdf", "r+") as pack:
        pack["target"][1, 1] = 0b00100000
    assert "train_mp3.hdf row 1: a label beyond the 10 classes" in refusal(f"hdf5:{folder}")


def test_a_clip_of_damaged_audio_stays_listed_for_the_quarantine(folder: Path) -> None:
    with h5py.File(folder / "FSD50K.train_mp3.hdf", "r+") as pack:
        pack["mp3"][1] = np.frombuffer(b"no audio at all", np.uint8)
    frames = {clip.id: clip.frames for clip in read_corpus(f"hdf5:{folder}").clips}
    assert frames["00001"] == 0
    assert frames["00000"] == 16_000


def test_the_same_clip_in_two_packs_is_rejected(folder: Path) -> None:
    shutil.copy(folder / "FSD50K.val_mp3.hdf", folder / "FSD50K.test_mp3.hdf")
    assert "id '10000' is already that of" in refusal(f"hdf5:{folder}")


def test_a_folder_without_packs_and_a_pack_by_a_link_are_rejected(folder: Path) -> None:
    (folder / "in").mkdir()
    assert "no packs" in refusal(f"hdf5:{folder / 'in'}")
    (folder / "in/train.h5").symlink_to(folder / "FSD50K.train_mp3.hdf")
    assert "train.h5 leads out" in refusal(f"hdf5:{folder / 'in'}")
    outside = refusal(f"hdf5:{folder / 'in'}?train=../FSD50K.train_mp3.hdf")
    assert "leads out" in outside


def damaged(file: Path, how: str) -> None:
    """Spoil a pack of waveforms."""
    with h5py.File(file, "r+") as pack:
        if how.startswith("no "):
            del pack[how[3:]]
        elif how == "rate":
            pack.attrs["sample_rate"] = "fast"
        elif how == "both":
            pack["mp3"] = [1]
        else:
            name, _, kind = how.partition(" as ")
            values: dict[str, object] = {
                "floats": np.full((4, 3), 0.5),
                "text": np.array([b"x"] * 4),
                "doubles": np.zeros((4, 10)),
                "numbers": np.arange(4),
                "few": np.array([b"a", b"b"]),
            }
            del pack[name]
            pack[name] = values[kind]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("no audio_name", "no dataset audio_name"),
        ("no waveform", "expected one dataset waveform or mp3, found: audio_name, target"),
        ("no target", "no dataset target"),
        ("both", "expected one dataset"),
        ("target as floats", "other values than 0 and 1"),
        ("target as text", "target has shape (4,), expected 2"),
        ("waveform as doubles", "waveform is float64"),
        ("audio_name as numbers", "audio_name is int64, expected bytes"),
        ("audio_name as few", "2 names, 4 groups, 4 targets and 4 recordings"),
        ("rate", "the attribute sample_rate is 'fast', expected a number of Hz up to 1000000"),
    ],
)
def test_what_is_wrong_with_a_pack_is_reported(tmp_path: Path, how: str, wanted: str) -> None:
    damaged(panns(tmp_path / "train.h5"), how)
    assert wanted in refusal(f"hdf5:{tmp_path}")


def test_packs_over_which_hdf5_crashes_are_named_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = hdf5_pack._first_read
    crashed = ("validation.h5", "test.h5")

    def read(folder: Path, name: str, split: str) -> None:
        if name in crashed:
            os.kill(os.getpid(), signal.SIGKILL)
        usual(folder, name, split)

    monkeypatch.setattr(hdf5_pack, "_first_read", read)
    for name in ("train.h5", *crashed):
        panns(tmp_path / name)
    message = refusal(f"hdf5:{tmp_path}")
    for name in crashed:
        assert f"{name}: damaged: reading it ends the process (Killed)" in message
    assert "train.h5" not in message


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_all_packs_that_cannot_be_opened_are_reported_at_once(tmp_path: Path, share: float) -> None:
    for name in ("train.h5", "test.h5"):
        content = panns(tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(share * len(content))])
    message = refusal(f"hdf5:{tmp_path}")
    assert "train.h5: the container cannot be read" in message
    assert "test.h5: the container cannot be read" in message


def test_a_list_of_classes_that_is_refused_is_no_wrong_usage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "class_labels_indices.csv":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path)

    (folder / "class_labels_indices.csv").touch()
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(PermissionError, match="class_labels_indices"):
        read_corpus(f"hdf5:{folder}")
