"""Corpora: the layouts that are understood, and the message of each kind of bad input."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus, hashed_split
from pipeline.corpora.published.speech_commands import (
    CLASSES_12,
    CLASSES_35,
    OTHER_WORDS,
    WANTED_WORDS,
    official_split,
)

RATE_HZ = 8000


def write(path: Path, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(seconds * RATE_HZ), 0.1), RATE_HZ)
    return path


def manifest(root: Path, text: str, name: str = "clips.csv") -> str:
    (root / name).write_text(text, encoding="utf-8")
    return f"csv:{root / name}"


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def by_id(corpus: Corpus) -> dict[str, tuple[tuple[str, ...], str]]:
    return {clip.id: (clip.labels, clip.split) for clip in corpus.clips}


# --- naming a corpus -----------------------------------------------------------------------------


def test_an_unknown_kind_names_the_known_and_the_nearest(tmp_path: Path) -> None:
    message = refusal(f"foldr:{tmp_path}")
    assert "known: folder, csv, " in message
    assert "Did you mean 'folder'?" in message


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'none'} does not exist" in refusal(f"folder:{tmp_path / 'none'}")
    (tmp_path / "share").symlink_to("unmounted")
    assert "is a link to 'unmounted', which does not exist" in refusal(
        f"folder:{tmp_path / 'share'}"
    )


def test_a_path_without_a_kind_is_answered_with_the_right_spelling(tmp_path: Path) -> None:
    assert f"folder:{tmp_path}" in refusal(str(tmp_path))


def test_a_file_where_a_folder_belongs_is_rejected(tmp_path: Path) -> None:
    assert "is a file" in refusal(f"folder:{write(tmp_path / 'a.wav')}")


@pytest.mark.parametrize("query", ["test", "test=0&test=0", "test=x", "tset=0.1", "test=1"])
def test_wrong_options_are_rejected(tmp_path: Path, query: str) -> None:
    write(tmp_path / "dog/a.wav")
    assert "test" in refusal(f"folder:{tmp_path}?{query}")


# --- folders -------------------------------------------------------------------------------------


def test_the_class_is_the_folder(tmp_path: Path) -> None:
    for name in ("dog/a.wav", "dog/deep/b.FLAC", "cat/c.wav", ".git/d.wav", "cat/.e.wav"):
        write(tmp_path / name)
    (tmp_path / "dog/notes.txt").write_text("x")
    corpus = read_corpus(f"folder:{tmp_path}?validation=0&test=0")
    assert [clip.id for clip in corpus.clips] == ["cat/c", "dog/a", "dog/deep/b"]
    assert [clip.labels for clip in corpus.clips] == [("cat",), ("dog",), ("dog",)]
    assert corpus.classes == ("cat", "dog")
    assert {clip.frames for clip in corpus.clips} == {800}
    assert corpus.notes == ("1 file(s) without an audio suffix left out: .txt 1",)


def test_split_folders_are_recognised_where_all_are_named_so(tmp_path: Path) -> None:
    for split in ("train", "valid", "Test"):
        write(tmp_path / split / "dog/x.wav")
    assert by_id(read_corpus(f"folder:{tmp_path}")) == {
        "Test/dog/x": (("dog",), "test"),
        "train/dog/x": (("dog",), "train"),
        "valid/dog/x": (("dog",), "validation"),
    }
    write(tmp_path / "extra/dog/x.wav")
    with pytest.raises(UsageError, match="look like splits, extra like classes"):
        read_corpus(f"folder:{tmp_path}")


def test_a_hashed_split_stays_as_the_corpus_grows(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"dog/{number}.wav", 0.01)
    before = by_id(read_corpus(f"folder:{tmp_path}"))
    for number in range(40, 60):
        write(tmp_path / f"dog/{number}.wav", 0.01)
    after = by_id(read_corpus(f"folder:{tmp_path}"))
    assert before.items() <= after.items()


def test_a_hashed_split_has_the_requested_shares() -> None:
    splits = Counter(hashed_split(str(n), validation=0.1, test=0.2) for n in range(20_000))
    assert splits["validation"] == pytest.approx(2000, abs=150)
    assert splits["test"] == pytest.approx(4000, abs=200)


def test_labels_may_come_from_the_name_or_not_at_all(tmp_path: Path) -> None:
    write(tmp_path / "7_anna_0.wav")
    write(tmp_path / "3_anna_1.wav")
    assert "lies in no class folder" in refusal(f"folder:{tmp_path}")
    write(tmp_path / "no.1a2b.wav")  # as machines that label in a browser name them
    assert read_corpus(f"folder:{tmp_path}?labels=prefix").classes == ("3", "7", "no")
    nameless = write(tmp_path / "_a.wav")
    message = refusal(f"folder:{tmp_path}?labels=prefix")
    assert "_a.wav: its name has nothing before the first _ (or use ?labels=folder" in message
    nameless.unlink()
    unlabelled = read_corpus(f"folder:{tmp_path}?labels=none")
    assert unlabelled.classes == ()
    assert {clip.labels for clip in unlabelled.clips} == {()}


def test_an_empty_folder_is_rejected(tmp_path: Path) -> None:
    assert "no clips" in refusal(f"folder:{tmp_path}")


def test_two_files_of_one_id_are_rejected(tmp_path: Path) -> None:
    write(tmp_path / "dog/a.wav")
    write(tmp_path / "dog/a.flac")
    assert "dog/a.wav: id 'dog/a' is already that of dog/a.flac" in refusal(f"folder:{tmp_path}")


def test_a_link_that_leaves_the_corpus_is_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "elsewhere/a.wav")
    root = tmp_path / "corpus"
    write(root / "dog/inside.wav")
    (root / "dog/link.wav").symlink_to(outside)
    (root / "dog/loop.wav").symlink_to(root / "dog/loop.wav")
    frames = {clip.id: clip.frames for clip in read_corpus(f"folder:{root}").clips}
    assert frames == {"dog/inside": 800, "dog/link": 0, "dog/loop": 0}
    (root / "dog/inside.wav").unlink()
    assert "1 lead out of the corpus by a link" in refusal(f"folder:{root}")
    (root / "cat").symlink_to(outside.parent)
    assert "cat: a link to a folder" in refusal(f"folder:{root}")


def test_a_link_inside_the_corpus_is_a_clip(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog/link.wav").symlink_to(write(tmp_path / "cat/a.wav"))
    assert len(read_corpus(f"folder:{tmp_path}").clips) == 2


def test_unreadable_clips_stay_listed_for_the_quarantine(tmp_path: Path) -> None:
    write(tmp_path / "dog/a.wav")
    (tmp_path / "dog/b.wav").write_text("no audio")
    corpus = read_corpus(f"folder:{tmp_path}")
    assert [(clip.frames, clip.source_rate_hz) for clip in corpus.clips] == [(800, RATE_HZ), (0, 0)]


def test_a_corpus_without_one_readable_clip_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\nx.wav,dog\n")
    assert "none of the 1 clips can be read, the first is x.wav" in refusal(
        f"csv:{tmp_path / 'a.csv'}"
    )


# --- manifests -----------------------------------------------------------------------------------


def test_a_manifest_is_read_with_all_its_columns(tmp_path: Path) -> None:
    write(tmp_path / "audio/a.wav", 1.0)
    text = (
        "\ufeffid, path ,labels,split,start_s,end_s\n"
        "one,audio/a.wav,dog;cat,train,,\n"
        "two,audio/a.wav,,val,0.25,0.5\n"
    )
    corpus = read_corpus(manifest(tmp_path, text))
    assert by_id(corpus) == {"one": (("dog", "cat"), "train"), "two": ((), "validation")}
    assert [clip.frames for clip in corpus.clips] == [8000, 2000]
    assert (corpus.classes, corpus.task) == (("cat", "dog"), "multi")


def test_a_tab_in_the_header_makes_it_tsv(tmp_path: Path) -> None:
    write(tmp_path / "a,b.wav")
    corpus = read_corpus(manifest(tmp_path, "path\tlabel\na,b.wav\tdog\n", "clips.tsv"))
    assert by_id(corpus).keys() == {"a,b"}
    assert corpus.task == "single"


def test_ids_default_to_the_path_and_the_start(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 1.0)
    text = "path,label,start_s,end_s\na.wav,x,,\na.wav,x,0,0.5\na.wav,x,0.50,\n"
    corpus = read_corpus(manifest(tmp_path, text))
    assert [clip.id for clip in corpus.clips] == ["a", "a#0", "a#0.5"]
    assert len({clip.split for clip in corpus.clips}) == 1


def test_fixed_classes_keep_their_order_and_reject_others(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    source = manifest(tmp_path, "path,label\na.wav,dog\n")
    assert read_corpus(f"{source}?classes=dog;cat").classes == ("dog", "cat")
    message = refusal(f"{source}?classes=dogs;cat")
    assert "line 2: unknown label 'dog', did you mean 'dogs'?" in message
    assert "known labels: dogs, cat" in message


def test_the_task_may_be_given(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    source = manifest(tmp_path, "path,label\na.wav,dog\n")
    assert read_corpus(f"{source}?task=multi").task == "multi"
    several = manifest(tmp_path, "path,label\na.wav,dog;cat\n", "several.csv")
    assert "line 2: 2 labels in a single-label corpus" in refusal(f"{several}?task=single")


def test_paths_may_be_relative_to_another_folder(tmp_path: Path) -> None:
    write(tmp_path / "sounds/a.wav")
    (tmp_path / "lists").mkdir()
    source = manifest(tmp_path / "lists", "path,label\na.wav,dog\n")
    assert read_corpus(f"{source}?root={tmp_path / 'sounds'}").root == tmp_path / "sounds"
    assert "is not a folder" in refusal(f"{source}?root={tmp_path / 'none'}")


def test_wrong_columns_are_all_named(tmp_path: Path) -> None:
    message = refusal(manifest(tmp_path, "filename,category,splt,id,id\na.wav,dog,train,,\n"))
    for part in ("missing column: path", "label (or labels)", "unknown column 'splt'", "twice"):
        assert part in message
    assert "found:  filename, category, splt, id, id" in message
    assert "known:  path, label or labels, id, split, start_s" in message


def test_annotation_columns_are_allowed(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    text = "path,label,speaker,keyword_start_s,keyword_end_s\na.wav,dog,anna,0.01,0.05\n"
    assert len(read_corpus(manifest(tmp_path, text)).clips) == 1


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    write(tmp_path / "corpus/a.wav", 1.0)
    text = (
        "id,path,label,split,start_s,end_s\n"
        "x,a.wav,dog,train,,\n"
        "x,a.wav,dog,train,,\n"
        ",a.wav,dog,train,,\n"
        "e,../a.wav,dog,train,,\n"
        "f,/etc/hosts,dog,train,,\n"
        "g,,dog,train,,\n"
        "h,a.wav,dog,,,\n"
        "i,a.wav,dog,train,soon,\n"
        "j,a.wav,dog,train,0.5,0.2\n"
        "k,a.wav,dog\n"
    )
    message = refusal(manifest(tmp_path / "corpus", text))
    for part in (
        "9 problems",
        "line 3: id 'x' is already that of line 2",
        "line 4: the id is empty",
        "line 5: path '../a.wav' leaves the corpus folder",
        "line 6: path '/etc/hosts' leaves the corpus folder",
        "line 7: the path is empty",
        "line 8: the split is empty",
        "line 9: start_s must be seconds from 0, got 'soon'",
        "line 10: end_s 0.2 is not after start_s 0.5",
        "line 11: 3 cells, the header has 6",
    ):
        assert part in message, part


def test_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    message = refusal(manifest(tmp_path, "path,label\n" + "../a.wav,x\n" * 30))
    assert message.count("leaves the corpus") < 21
    assert "and 39 more" in message


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"\xff\xfe\x00", b'path,label\n"a,b\n'])
def test_what_is_no_manifest_is_rejected_without_a_traceback(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "clips.csv").write_bytes(content)
    assert "corpus csv:" in refusal(f"csv:{tmp_path / 'clips.csv'}")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    assert "a folder, not a manifest" in refusal(f"csv:{tmp_path}")


# --- Speech Commands -----------------------------------------------------------------------------


def official_layout(root: Path) -> Path:
    """Two recordings by each of 10 speakers of every word, and two long recordings of noise."""
    for word in WANTED_WORDS + OTHER_WORDS[:4]:
        for speaker in range(10):
            write(root / word / f"{speaker:08x}_nohash_0.wav", 0.01)
    for noise in ("tap", "bike"):
        write(root / "_background_noise_" / f"{noise}.wav", 20)
    (root / "_background_noise_/README.md").write_text("noise")
    (root / "README.md").write_text("Speech Commands")
    lists = {"validation_list.txt": range(2), "testing_list.txt": range(2, 5)}
    for name, speakers in lists.items():
        lines = [f"{w}/{s:08x}_nohash_0.wav" for w in WANTED_WORDS + OTHER_WORDS for s in speakers]
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def test_twelve_labels_follow_the_protocol(tmp_path: Path) -> None:
    corpus = read_corpus(f"speech-commands:{official_layout(tmp_path)}")
    assert corpus.classes == CLASSES_12
    counts = Counter((clip.split, clip.labels[0]) for clip in corpus.clips)
    for split, speakers in {"train": 5, "validation": 2, "test": 3}.items():
        assert {counts[split, word] for word in WANTED_WORDS} == {speakers}
        assert counts[split, "_unknown_"] == counts[split, "_silence_"] == speakers


def test_silence_is_cut_from_the_stretch_of_its_split(tmp_path: Path) -> None:
    corpus = read_corpus(f"speech-commands:{official_layout(tmp_path)}")
    stretches = {"train": (0, 16), "validation": (16, 18), "test": (18, 20)}
    silences = [clip for clip in corpus.clips if clip.labels == ("_silence_",)]
    for clip in silences:
        first_s, last_s = stretches[clip.split]
        assert clip.end_s is not None
        assert first_s <= clip.start_s < clip.end_s <= last_s
        assert clip.frames == RATE_HZ
        assert clip.path.startswith("_background_noise_/")


def test_the_seed_chooses_the_unknown_words(tmp_path: Path) -> None:
    root = official_layout(tmp_path)
    chosen = [
        {c.id for c in read_corpus(f"speech-commands:{root}?seed={seed}").clips}
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_thirty_five_labels_need_no_noise(tmp_path: Path) -> None:
    for word in ("yes", "zero"):
        write(tmp_path / word / "0_nohash_0.wav")
    assert "_background_noise_" in refusal(f"speech-commands:{tmp_path}")
    corpus = read_corpus(f"speech-commands:{tmp_path}?labels=35")
    assert corpus.classes == CLASSES_35
    assert len(CLASSES_35) == 35
    assert [clip.labels for clip in corpus.clips] == [("yes",), ("zero",)]


def test_a_folder_that_is_no_word_is_an_unknown_label(tmp_path: Path) -> None:
    write(official_layout(tmp_path) / "banana/0_nohash_0.wav")
    assert "unknown label 'banana'" in refusal(f"speech-commands:{tmp_path}")


def test_one_list_without_the_other_is_rejected(tmp_path: Path) -> None:
    (official_layout(tmp_path) / "testing_list.txt").unlink()
    assert "validation_list.txt is there but not both" in refusal(f"speech-commands:{tmp_path}")


def test_without_lists_the_speaker_is_hashed(tmp_path: Path) -> None:
    root = official_layout(tmp_path)
    for name in ("testing_list.txt", "validation_list.txt"):
        (root / name).unlink()
    corpus = read_corpus(f"speech-commands:{root}?labels=35")
    assert all(clip.split == official_split(Path(clip.path).name) for clip in corpus.clips)


def test_the_hash_ignores_the_recording_and_has_the_official_shares() -> None:
    assert official_split("022cd682_nohash_0.wav") == official_split("022cd682_nohash_4.flac")
    splits = Counter(official_split(f"{n:08x}_nohash_0.wav") for n in range(10_000))
    assert splits["validation"] == pytest.approx(1000, abs=100)
    assert splits["test"] == pytest.approx(1000, abs=100)


def listed_layout(root: Path, header: str = "file,label,speaker,fold") -> Path:
    lines = [header]
    for fold in range(10):
        write(root / f"yes/{fold}.wav")
        lines.append(f"yes/{fold}.wav,yes,{fold},{fold}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def test_folds_become_splits(tmp_path: Path) -> None:
    root = listed_layout(tmp_path)
    splits = {c.id: c.split for c in read_corpus(f"speech-commands:{root}").clips}
    assert (splits["yes/8"], splits["yes/9"]) == ("validation", "test")
    assert Counter(splits.values())["train"] == 8
    query = "validation_folds=0&test_folds=1;2"
    splits = {c.id: c.split for c in read_corpus(f"speech-commands:{root}?{query}").clips}
    assert [splits[f"yes/{n}"] for n in range(4)] == ["validation", "test", "test", "train"]


def test_an_empty_label_in_the_list_is_an_unlabelled_clip(tmp_path: Path) -> None:
    root = listed_layout(tmp_path)
    listing = root / "metadata.csv"
    listing.write_text(listing.read_text().replace("yes/3.wav,yes,", "yes/3.wav,,"))
    labelled = {c.id: c.labelled for c in read_corpus(f"speech-commands:{root}").clips}
    assert [name for name, is_labelled in labelled.items() if not is_labelled] == ["yes/3"]


def test_a_fold_that_is_not_there_is_rejected(tmp_path: Path) -> None:
    message = refusal(f"speech-commands:{listed_layout(tmp_path)}?test_folds=11")
    assert "no clip in fold '11' of test_folds; folds: 0, 1" in message


def test_folds_need_the_list(tmp_path: Path) -> None:
    message = refusal(f"speech-commands:{official_layout(tmp_path)}?test_folds=1")
    assert "need a metadata.csv" in message


def test_metadata_with_wrong_columns_names_both(tmp_path: Path) -> None:
    message = refusal(f"speech-commands:{listed_layout(tmp_path, 'path,label,speaker,fold')}")
    assert "lacks the column(s) file; found: path, label, speaker, fold" in message


@pytest.mark.parametrize("meant", ["window_s", "overlap_s", "links"])
def test_a_mistyped_option_of_every_kind_is_recognised(meant: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"known: .*{meant}.*Did you mean '{meant}'"):
        read_corpus(f"folder:{tmp_path}?{meant}x=1")
