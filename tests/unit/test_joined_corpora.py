"""Several corpora as one, and audio without labels beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.corpora.joined import read_corpora


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(800, 0.1), 8_000)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    write(tmp_path / "a", *(f"{split}/{c}/{n}.wav" for split in ("train", "test") for c in ("dog", "cat")
                            for n in (1, 2)))  # fmt: skip
    write(tmp_path / "b", *(f"train/{c}/{n}.wav" for c in ("cow", "cat") for n in (2, 3)))
    write(tmp_path / "more/flat", "x.wav", "y.wav")
    return tmp_path


def by_id(corpus: Corpus) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    return {clip.id: (clip.path, clip.split, clip.labels) for clip in corpus.clips}


def test_one_corpus_stays_as_it_is(sounds: Path) -> None:
    assert read_corpora([f"folder:{sounds}/a"]) == read_corpus(f"folder:{sounds}/a")


def test_classes_of_the_first_come_first_and_shared_ids_get_their_corpus_number(
    sounds: Path,
) -> None:
    corpus = read_corpora([f"folder:{sounds}/a", f"folder:{sounds}/b"])
    assert corpus.root == sounds
    assert corpus.classes == ("cat", "dog", "cow")
    found = by_id(corpus)
    assert len(found) == 12
    assert found["train/cat/2"] == ("a/train/cat/2.wav", "train", ("cat",))
    assert found["2/train/cat/2"] == ("b/train/cat/2.wav", "train", ("cat",))
    assert found["2/train/cow/3"] == ("b/train/cow/3.wav", "train", ("cow",))


def test_unlabelled_clips_all_train_and_lose_their_labels(sounds: Path) -> None:
    plain = read_corpora([f"folder:{sounds}/a"], [f"folder:{sounds}/more"])
    found = by_id(plain)
    assert found["flat/x"] == ("more/flat/x.wav", "train", ())
    assert plain.classes == ("cat", "dog")
    labelled = read_corpora([f"folder:{sounds}/a"], [f"folder:{sounds}/b"])
    assert {split for _, split, labels in by_id(labelled).values() if not labels} == {"train"}
    assert sum(not clip.labelled for clip in labelled.clips) == 4
    assert labelled.classes == ("cat", "dog")


def test_a_recording_that_is_labelled_is_not_unlabelled_too(sounds: Path) -> None:
    """Else the test clips would be trained on."""
    corpus = read_corpora([f"folder:{sounds}/a"], [f"folder:{sounds}"])
    paths = [clip.path for clip in corpus.clips]
    assert len(paths) == len(set(paths)) == 8 + 4 + 2
    assert {clip.split for clip in corpus.clips if clip.path.startswith("a/test")} == {"test"}
    assert any("8 clip(s)" in note and "left out" in note for note in corpus.notes)


def test_unlabelled_clips_of_groups_to_test_with_are_left_out(sounds: Path) -> None:
    """Else speakers that are to be new to the student would be trained on."""
    names = [f"s{speaker}_{n}.wav" for speaker in range(30) for n in range(2)]
    write(sounds / "said", *names)
    for number, name in enumerate(("labelled", "more")):
        lines = [f"said/{each},{each[:-6]}" for each in names[number::2]]
        (sounds / f"{name}.csv").write_text("\n".join(["path,speaker", *lines]))
    texts = [f"csv:{sounds}/{name}.csv?label=none&group=speaker" for name in ("labelled", "more")]
    corpus = read_corpora(texts[:1], texts[1:])
    sides: dict[str, set[str]] = {}
    for clip in corpus.clips:
        sides.setdefault(Path(clip.path).stem.partition("_")[0], set()).add(clip.split)
    assert all(len(splits) == 1 for splits in sides.values())
    held_out = sum(clip.split != "train" for clip in corpus.clips)
    assert held_out > 1
    assert len(corpus.clips) == 60 - held_out
    assert any(
        f"{held_out} clip(s)" in note and "validate or test" in note for note in corpus.notes
    )
    fewer = f"{texts[0]}&validation=0.9&test=0"  # nearly all validate
    [note] = (note for note in read_corpora([fewer], texts[1:]).notes if "left out" in note)
    assert "left out: their groups validate or test" in note
    plain = read_corpora(texts[:1], [texts[1].removesuffix("&group=speaker")])
    assert len(plain.clips) == 60
    assert any("more.csv" in note and "has no group=" in note for note in plain.notes)
    assert not any("has no group=" in note for note in read_corpora(texts[:1], texts[1:]).notes)


def test_a_group_of_unlabelled_audio_is_on_the_side_that_the_labelled_corpus_has_it(
    sounds: Path,
) -> None:
    """Whatever a hash of its name would choose; one that is not there follows the hash."""
    names = [f"s{speaker}_{n}.wav" for speaker in range(30) for n in range(2)]
    write(sounds / "speech", *names)
    labelled = [f"speech/s{speaker}_0.wav,s{speaker},{'test' if speaker == 3 else 'train'}"
                for speaker in range(20)]  # fmt: skip
    (sounds / "labelled.csv").write_text("\n".join(["path,speaker,split", *labelled]))
    more = [f"speech/s{speaker}_1.wav,s{speaker}" for speaker in range(30)]
    (sounds / "more.csv").write_text("\n".join(["path,speaker", *more]))
    texts = [f"csv:{sounds}/{name}.csv?label=none&group=speaker" for name in ("labelled", "more")]
    corpus = read_corpora(texts[:1], texts[1:])
    added = {clip.group for clip in corpus.clips if clip.path.endswith("_1.wav")}
    assert {f"s{speaker}" for speaker in range(20)} - added == {"s3"}
    gone = 30 - 1 - len(added)
    assert gone >= 1
    lacking = "its own splits validate or test with their groups, which the labelled clips lack"
    assert [note.partition(" left out: ")[2] for note in corpus.notes if "left out" in note] == [
        "their groups validate or test",
        f"{lacking} (shares do not with ?validation=0&test=0)",
    ]
    all_of_them = read_corpora(texts[:1], [f"{texts[1]}&validation=0&test=0"])
    assert len(all_of_them.clips) == 20 + 29


def test_groups_that_a_stratified_corpus_tests_with_are_left_out_of_unlabelled_audio(
    sounds: Path,
) -> None:
    names = [f"s{speaker}_{n}.wav" for speaker in range(9) for n in range(2)]
    write(sounds / "said", *names)
    for number, name in enumerate(("labelled", "more")):
        lines = [f"said/{each},{each[:-6]},{'ab'[int(each[1]) % 2]}" for each in names[number::2]]
        (sounds / f"{name}.csv").write_text("\n".join(["path,speaker,label", *lines]))
    labelled = f"csv:{sounds}/labelled.csv?group=speaker&stratify=true"
    more = f"csv:{sounds}/more.csv?group=speaker&validation=0&test=0"
    corpus = read_corpora([labelled], [more])
    held_out = {clip.group for clip in corpus.clips if clip.split != "train"}
    assert len(held_out) == 4  # two classes, each in validation and in test
    taught = {clip.group for clip in corpus.clips if clip.split == "train"}
    assert taught == {f"s{speaker}" for speaker in range(9)} - held_out


def test_corpora_of_two_tasks_are_rejected_with_both(sounds: Path) -> None:
    (sounds / "multi.csv").write_text("path,labels\nb/train/cow/2.wav,cow;cat\n")
    with pytest.raises(UsageError) as caught:
        read_corpora([f"folder:{sounds}/a", f"csv:{sounds}/multi.csv"])
    message = str(caught.value)
    assert f"task: folder:{sounds}/a has single, csv:{sounds}/multi.csv has multi" in message
    assert "--unlabelled" in message
    assert "is read as multi-label by ?task=multi (csv, jsonl, ast-json, hdf5)" in message
    (sounds / "one.csv").write_text("path,labels\na/train/cat/2.wav,cat\n")
    both = read_corpora([f"csv:{sounds}/one.csv?task=multi", f"csv:{sounds}/multi.csv"])
    assert both.task == "multi"
    joined = read_corpora([f"folder:{sounds}/a"], [f"csv:{sounds}/multi.csv"])
    assert joined.task == "single"


def test_an_id_with_a_corpus_number_of_its_own_is_no_other_clips(sounds: Path) -> None:
    (sounds / "one.csv").write_text(
        "path,label,id\na/train/dog/1.wav,dog,x\na/train/dog/2.wav,dog,2/x\n"
    )
    (sounds / "two.csv").write_text("path,label,id\nb/train/cat/2.wav,cat,x\n")
    corpus = read_corpora([f"csv:{sounds}/one.csv", f"csv:{sounds}/two.csv"])
    assert [clip.id for clip in corpus.clips] == ["x", "2/x", "2/2/x"]


def test_links_to_a_labelled_recording_are_not_unlabelled_audio(sounds: Path) -> None:
    links = sounds / "links"
    links.mkdir()
    (links / "soft.wav").symlink_to("../a/test/dog/1.wav")
    (links / "hard.wav").hardlink_to(sounds / "a/test/cat/2.wav")
    write(links, "own.wav")
    corpus = read_corpora([f"folder:{sounds}/a"], [f"folder:{links}?links={sounds}"])
    assert [clip.path for clip in corpus.clips if not clip.labelled] == ["links/own.wav"]
    assert any("2 clip(s)" in note and "left out" in note for note in corpus.notes)


def test_a_recording_in_two_labelled_corpora_is_reported_and_where_it_trains_and_tests(
    sounds: Path,
) -> None:
    (sounds / "train.csv").write_text(
        "path,label,split\na/test/dog/1.wav,dog,train\na/test/dog/2.wav,dog,test\n"
    )
    corpus = read_corpora([f"folder:{sounds}/a", f"csv:{sounds}/train.csv"])
    assert len(corpus.clips) == 10
    several, apart = corpus.notes[-2:]
    assert several == "2 recording(s) are in more than one corpus, first a/test/dog/1.wav"
    assert apart.startswith("warning: 1 of them are in different splits, first a/test/dog/1.wav: ")


def test_a_folder_named_like_an_option_has_no_option(sounds: Path) -> None:
    write(sounds / "labels=none", "x.wav")
    corpus = read_corpora([f"folder:{sounds}/a"], [f"folder:{sounds}/labels=none"])
    assert "labels=none/x.wav" in {clip.path for clip in corpus.clips}


def test_classes_that_look_alike_in_two_corpora_are_noted(sounds: Path) -> None:
    """As of a list from Windows and a folder from a Mac."""
    write(sounds / "m", "train/T\u00fcr/1.wav", "test/T\u00fcr/2.wav")
    write(sounds / "n", "train/Tu\u0308r/3.wav", "test/Tu\u0308r/4.wav")
    corpus = read_corpora([f"folder:{sounds}/m", f"folder:{sounds}/n"])
    assert len(corpus.classes) == 2
    assert (
        sum(
            "differ in case, Unicode form, blanks, apostrophes, hyphens or unseen marks alone"
            in note
            for note in corpus.notes
        )
        == 1
    )


def test_groups_of_one_name_in_two_corpora_are_noted(sounds: Path) -> None:
    for corpus, rows in (("a", ("K1", "K2")), ("b", ("K2", "K3"))):
        names = [f"{corpus}/{each}.wav" for each in rows]
        write(sounds / "kinds", *names)
        lines = [f"kinds/{name},{name[2:4]},yes" for name in names]
        (sounds / f"{corpus}.csv").write_text("\n".join(["path,child,label", *lines]))
    texts = [f"csv:{sounds}/{corpus}.csv?group=child" for corpus in "ab"]
    (note,) = (n for n in read_corpora(texts).notes if "one name in several corpora" in n)
    assert note.startswith("1 group(s) have one name in several corpora and count as one (K2)")
    assert not any("in several corpora" in n for n in read_corpora(texts[:1], texts[1:]).notes)
