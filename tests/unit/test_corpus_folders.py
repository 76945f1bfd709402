"""What lies beside recordings: foreign folders, our own outputs, links, hub caches, odd paths."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import command, succeeded
from small_corpora import audioset, esc, fsd50k, sonyc_ust, speech_commands, urbansound8k

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.hub_cache import hub_repository
from pipeline.corpora.interface import Corpus
from pipeline.corpora.walk import files_below
from pipeline.corpus_summary import corpus_summary

RATE_HZ = 8000
ALL_TRAIN = "validation=0&test=0"


def write(path: Path, level: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(RATE_HZ // 5, level), RATE_HZ)
    return path


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def usable(corpus: Corpus) -> dict[str, str]:
    """Id and path of the clips that can be read."""
    return {clip.id: clip.path for clip in corpus.clips if clip.frames}


# --- foreign folders and outputs -----------------------------------------------------------------


@pytest.mark.parametrize(
    "beside", ["__MACOSX/dog/a.wav", "@eaDir/a.wav", ".cache/a.wav", "lost+found/a.wav"]
)
@pytest.mark.parametrize("inner", ["", "train/", "train/dog/"])
def test_folders_of_other_programs_are_no_classes(tmp_path: Path, beside: str, inner: str) -> None:
    for split in ("train", "test"):
        write(tmp_path / split / "dog/x.wav")
    before = read_corpus(f"folder:{tmp_path}")
    write(tmp_path / inner / beside)
    after = read_corpus(f"folder:{tmp_path}")
    assert (after.clips, after.classes) == (before.clips, ("dog",))
    named = f"{inner}{beside.split('/')[0]}/"
    assert any(named in note for note in after.notes) == (not beside.startswith("."))


def test_recordings_that_a_cloud_drive_keeps_are_counted(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / split / "dog/x.wav")
    for number in range(2):
        (tmp_path / f"train/dog/.y{number}.wav.icloud").write_bytes(b"bplist00")
    (note,) = [note for note in read_corpus(f"folder:{tmp_path}").notes if "iCloud" in note]
    assert note.startswith(
        "2 files are placeholders of iCloud, not downloaded, first train/dog/.y0.wav"
    )


@pytest.mark.parametrize("name", ["teacher", "cache.zarr", "runs", "notes"])
def test_a_folder_without_audio_is_no_class(tmp_path: Path, name: str) -> None:
    for split in ("train", "test"):
        write(tmp_path / split / "dog/x.wav")
    (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / name / "deep/notes.txt").write_text("no audio")
    assert {clip.split for clip in read_corpus(f"folder:{tmp_path}").clips} == {"train", "test"}


@pytest.mark.parametrize("splits", [("train", "test"), ("",)])
def test_a_cache_may_lie_in_its_corpus(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        for label in ("dog", "cat"):
            write(tmp_path / split / label / "x.wav")
    words = [f"folder:{tmp_path}?{ALL_TRAIN}", "--teacher", "toy", "--out", tmp_path / "c.zarr"]
    succeeded(command("precompute-teacher", *words))
    assert "nothing to do" in succeeded(command("precompute-teacher", *words))
    succeeded(command("pack-corpus", words[0], "--to", "hdf5-waveform", "--out", tmp_path / "p"))
    succeeded(command("pack-corpus", words[0], "--to", "hdf5-waveform", "--out", tmp_path / "p"))
    assert "nothing to do" in succeeded(command("precompute-teacher", *words))


def test_packs_of_packs_may_lie_among_them(tmp_path: Path) -> None:
    for name in ("dog/x.wav", "cat/y.wav"):
        write(tmp_path / "in" / name)
    packs = tmp_path / "packs"
    text = f"folder:{tmp_path / 'in'}?{ALL_TRAIN}"
    succeeded(command("pack-corpus", text, "--to", "hdf5-waveform", "--out", packs))
    again = [f"hdf5:{packs}?validation_share=0&test_share=0", "--to", "hdf5-waveform"]
    first = succeeded(command("pack-corpus", *again, "--out", packs / "again"))
    assert succeeded(command("pack-corpus", *again, "--out", packs / "again")).endswith(first[-40:])
    assert len(read_corpus(again[0], output=packs / "again").clips) == 2


# --- names of splits -----------------------------------------------------------------------------


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "bus", "car"):
        write(tmp_path / name / "x.wav")
    assert f"folder:{tmp_path}?splits=none" in refusal(f"folder:{tmp_path}")
    corpus = read_corpus(f"folder:{tmp_path}?splits=none&{ALL_TRAIN}")
    assert corpus.classes == ("bus", "car", "train")


def test_folders_at_the_top_may_be_folds(tmp_path: Path) -> None:
    for fold in range(1, 5):
        write(tmp_path / f"fold{fold}/dog/x.wav")
    text = f"folder:{tmp_path}?validation_folds=fold3&test_folds=fold4"
    corpus = read_corpus(text)
    assert {clip.id: clip.split for clip in corpus.clips} == {
        "fold1/dog/x": "train",
        "fold2/dog/x": "train",
        "fold3/dog/x": "validation",
        "fold4/dog/x": "test",
    }
    assert corpus.classes == ("dog",)
    assert "no clip in fold 'fold9' of test_folds; folds: fold1" in refusal(text[:-1] + "9")


def test_equal_stems_are_reported_with_the_option_that_distinguishes_them(tmp_path: Path) -> None:
    for name in ("dog/0.wav", "dog/0.flac"):
        write(tmp_path / name)
    assert "?ids=path" in refusal(f"folder:{tmp_path}")
    assert set(usable(read_corpus(f"folder:{tmp_path}?ids=path"))) == {"dog/0.wav", "dog/0.flac"}


# --- links ---------------------------------------------------------------------------------------


def linked(root: Path, what: str) -> Path:
    """A corpus of which a clip, a class, a split or everything is a link to a pool beside it."""
    corpus, pool = root / "corpus", root / "pool"
    for name in ("train/dog/a.wav", "test/dog/b.wav"):
        write(pool / name)
        write(corpus / name)
    place = corpus / what
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(pool / what)
    return corpus


@pytest.mark.parametrize("what", ["train/dog/a.wav", "train/dog", "train"])
def test_links_are_followed_as_far_as_requested(tmp_path: Path, what: str) -> None:
    corpus = linked(tmp_path, what)
    allowed = read_corpus(f"folder:{corpus}?links={tmp_path}")
    assert allowed.root == tmp_path
    assert usable(allowed) == {
        "train/dog/a": "corpus/train/dog/a.wav",
        "test/dog/b": "corpus/test/dog/b.wav",
    }
    assert {clip.split for clip in allowed.clips} == {"train", "test"}
    text = f"folder:{corpus}?links={corpus}"
    for narrow in (f"folder:{corpus}", text):
        if what.endswith(".wav"):
            assert set(usable(read_corpus(narrow))) == {"test/dog/b"}
        else:
            message = refusal(narrow)
            assert f"{what}: a link to a folder that leads to {tmp_path / 'pool' / what}" in message
            assert f"?links={tmp_path}" in message
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert f"?links={tmp_path}" in refusal(f"folder:{corpus}?links={elsewhere}")
    assert "is not a folder" in refusal(f"folder:{corpus}?links={tmp_path / 'none'}")


def test_a_circle_of_links_is_not_walked(tmp_path: Path) -> None:
    write(tmp_path / "dog/a.wav")
    (tmp_path / "dog/again").symlink_to(tmp_path)
    assert "dog/again: a link to a folder" in refusal(f"folder:{tmp_path}?links={tmp_path}")
    assert files_below(tmp_path).files == ["dog/a.wav"]


def test_linked_clips_are_cached_and_packed(tmp_path: Path) -> None:
    text = f"folder:{linked(tmp_path, 'train/dog')}?links={tmp_path}"
    words = [text, "--teacher", "toy", "--out", tmp_path / "c.zarr"]
    assert " 0 rows quarantined" in succeeded(command("precompute-teacher", *words))
    packed = command("pack-corpus", text, "--to", "hdf5-waveform", "--out", tmp_path / "p")
    assert "unusable" not in succeeded(packed)


def hub(root: Path, *names: str, kind: str = "datasets") -> Path:
    """A repository in the hub's cache with one snapshot; returns the snapshot."""
    repository = root / f"{kind}--someone--sounds"
    for number, name in enumerate(names):
        blob = write(repository / "blobs" / f"{number}.wav")
        link = repository / "snapshots/0123abcd" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob.rename(blob.with_suffix("")), link.parent))
    return repository / "snapshots/0123abcd"


def test_a_snapshot_of_the_hub_may_link_its_blobs_and_nothing_else(tmp_path: Path) -> None:
    snapshot = hub(tmp_path, "dog/a.wav", "cat/b.wav")
    (snapshot / "dog/secret.wav").symlink_to(write(tmp_path / "secret.wav"))
    corpus = read_corpus(f"folder:{snapshot}?{ALL_TRAIN}")
    assert set(usable(corpus)) == {"cat/b", "dog/a"}
    assert corpus.root == snapshot.parent.parent
    (snapshot / "clips.csv").write_text("path,label\ndog/a.wav,dog\ncat/b.wav,cat\n")
    assert len(usable(read_corpus(f"csv:{snapshot / 'clips.csv'}"))) == 2


def test_a_whole_repository_of_the_hub_is_answered_with_its_snapshots(tmp_path: Path) -> None:
    snapshot = hub(tmp_path, "dog/a.wav")
    for place in (snapshot.parent.parent, snapshot.parent, tmp_path):
        for kind in ("folder", "hugging-face", "audio-folder"):
            assert f"{kind}:{snapshot}" in refusal(f"{kind}:{place}")


def test_a_folder_called_snapshots_is_no_hub(tmp_path: Path) -> None:
    write(tmp_path / "snapshots/x/dog/a.wav")
    (tmp_path / "blobs").mkdir()
    assert hub_repository(tmp_path / "snapshots/x") is None
    assert read_corpus(f"folder:{tmp_path / 'snapshots/x'}").root == tmp_path / "snapshots/x"


# --- how a path is written -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["what?", "a&b", "a#b", "100%", "a%20b", "a:b", "C:\\sounds", "é ü"]
)
def test_any_path_can_be_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / name / "dog/a.wav")
    (tmp_path / name / "clips.csv").write_text("path,label\ndog/a.wav,dog\n")
    escaped = name.replace("%", "%25").replace("?", "%3F").replace("&", "%26")
    for text in (
        f"folder:{tmp_path}/{escaped}",
        f"csv:{tmp_path}/{escaped}/clips.csv?root={tmp_path}/{escaped}",
    ):
        assert usable(read_corpus(text)) == {"dog/a": "dog/a.wav"}
    if "?" not in name:
        assert usable(read_corpus(f"folder:{tmp_path}/{name}"))
    else:
        assert "? is written %3F" in refusal(f"folder:{tmp_path}/{name}")


@pytest.mark.parametrize("text", ["C:\\data\\sounds", "C:/data/sounds", "d:\\"])
def test_a_path_of_windows_without_a_kind_is_reported(text: str) -> None:
    message = refusal(text)
    assert "lacks its kind: write KIND:PATH. " in message
    assert f"under WSL it is /mnt/{text[0].lower()}/" in message


def test_a_path_with_a_colon_and_without_a_kind_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a:b/dog/a.wav")
    assert f"for example folder:{tmp_path}/a:b" in refusal(f"{tmp_path}/a:b")


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        ("l.jsonl", "jsonl:{}/l.jsonl"),
        ("l.csv", "csv:{}/l.csv"),
        ("l.h5", "hdf5:{}/l.h5"),
        ("l.parquet", "hugging-face:{}"),
    ],
)
def test_the_kind_of_a_file_is_proposed_by_its_suffix(
    tmp_path: Path, name: str, proposed: str
) -> None:
    (tmp_path / name).touch()
    assert refusal(str(tmp_path / name)).endswith(f"for example {proposed.format(tmp_path)}")


@pytest.mark.parametrize("links", ["", "?links={}"])
def test_a_link_to_a_folder_that_holds_it_is_reported_without_advice_that_cannot_help(
    links: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write(tmp_path / name / "0.wav")
    (tmp_path / "b" / "up").symlink_to("..")
    message = refusal(f"folder:{tmp_path}{links.format(tmp_path)}")
    assert "b/up: a link to a folder that holds it" in message
    assert "delete the link" in message
    assert "add ?links=" not in message


def test_a_stratified_folder_has_every_class_in_every_split(tmp_path: Path) -> None:
    for label in ("dog", "cat"):
        for number in range(3):
            write(tmp_path / label / f"{number}.wav")
    corpus = read_corpus(f"folder:{tmp_path}?stratify=true")
    sides = {(clip.labels[0], clip.split) for clip in corpus.clips}
    assert len(sides) == 6
    for split in ("train", "test"):
        write(tmp_path / "own" / split / "dog" / "1.wav")
    message = refusal(f"folder:{tmp_path}/own?stratify=true&validation=0&test=0.3")
    assert "stratify=true chooses splits, and the folders test, train are splits" in message
    assert "test=0.3 is a share of clips whose split is chosen, and the folders test" in message
    assert "validation=0" not in message


def test_splits_below_classes_are_rejected_and_not_shared_out_anew(tmp_path: Path) -> None:
    for split in ("train", "Test"):
        for name in ("dog", "cat"):
            write(tmp_path / "sounds" / name / split / "a.wav")
    message = refusal(f"folder:{tmp_path}/sounds")
    assert "the folders below the classes, Test, train, look like splits" in message
    assert "(train/dog)" in message
    assert len(read_corpus(f"folder:{tmp_path}/sounds?splits=none").clips) == 4
    write(tmp_path / "sounds/dog/loud/a.wav")
    assert len(read_corpus(f"folder:{tmp_path}/sounds").clips) == 5


def test_classes_that_look_alike_are_noted(tmp_path: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301", "Dog", "dog", "cat"):
        write(tmp_path / "sounds" / name / "a.wav")
    notes = read_corpus(f"folder:{tmp_path}/sounds?{ALL_TRAIN}").notes
    assert [note.partition(" differ")[0] for note in notes] == [
        "classes 'Dog' and 'dog'",
        r"classes 'cafe\u0301' and 'caf\xe9'",
    ]


@pytest.mark.parametrize(
    "kind",
    [esc, urbansound8k, fsd50k, audioset, sonyc_ust, speech_commands],
    ids=lambda k: k.__name__,
)
@pytest.mark.parametrize("named", ["above", "below"])
def test_a_published_corpus_is_found_one_folder_off(tmp_path: Path, kind: Any, named: str) -> None:
    """As archives unpack twice, or where somebody names the folder of the recordings."""
    inner = tmp_path / "unpacked/my sounds"
    inner.parent.mkdir()
    wanted = read_corpus(kind.write(inner))
    adapter = kind.write.__module__.rpartition(".")[2].replace("_", "-")
    place = (
        inner.parent if named == "above" else next(one for one in inner.iterdir() if one.is_dir())
    )
    with pytest.raises(UsageError) as caught:
        read_corpus(f"{adapter}:{place}")
    message = str(caught.value)
    assert f"They are in {inner}: name it, '{adapter}:{inner}'" in message
    assert wanted.root == inner


def test_spoken_digits_are_found_one_folder_off(tmp_path: Path) -> None:
    """Their recordings may be named themselves, so that there is none below."""
    write(tmp_path / "master/recordings/7_anna_0.wav")
    way = f"They are in {tmp_path}/master: name it, fsdd:{tmp_path}/master"
    assert way in refusal(f"fsdd:{tmp_path}")


def test_recordings_of_another_layout_are_said_to_be_there(tmp_path: Path) -> None:
    write(tmp_path / "a/b/c/yes/1.wav")
    message = refusal(f"fsdd:{tmp_path}")
    assert "no clips; the 1 audio file(s) below" in message
    assert "lie where this kind of corpus has none, first a/b/c/yes/1.wav" in message


def test_lists_of_splits_beside_folders_of_words_are_named(tmp_path: Path) -> None:
    for name in ("yes/a.wav", "no/b.wav"):
        write(tmp_path / name)
    (tmp_path / "testing_list.txt").write_text("yes/a.wav\n")
    wanted = "testing_list.txt not read, and splits chosen by a hash"
    assert any(note.startswith(wanted) for note in read_corpus(f"folder:{tmp_path}").notes)


def test_folders_that_are_no_training_split_are_told_how_one_trains(tmp_path: Path) -> None:
    names = [f"{s}/{c}/{n}.wav" for s in ("dev", "eval") for c in ("a", "b") for n in range(3)]
    for name in names:
        write(tmp_path / name)
    lines = corpus_summary(read_corpus(f"folder:{tmp_path}?ids=path"), "folder")
    assert any("name the others, as in ?test_folds=FOLDER" in line for line in lines)
    corpus = read_corpus(f"folder:{tmp_path}?ids=path&test_folds=eval")
    assert {clip.split for clip in corpus.clips} == {"train", "test"}
