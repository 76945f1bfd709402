"""What is reported of a corpus before a pass: classes, splits, unreadable clips by reason, warnings."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.corpus_summary import FOLD, corpus_summary

RATE_HZ = 8000


def write(path: Path, seconds: float = 0.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(seconds * RATE_HZ), 0.1), RATE_HZ, format="WAV")
    return path


def folder(root: Path, **clips: int) -> Corpus:
    """A folder of classes below splits: ``train_dog=3`` is three clips of one."""
    for name, count in clips.items():
        for number in range(count):
            write(root.joinpath(*name.split("_"), f"{number}.wav"))
    return read_corpus(f"folder:{root}")


FEW = "(fewer than 100)"  # of all these corpora


def warnings(corpus: Corpus, kind: str = "folder", teacher: tuple[str, ...] = ()) -> list[str]:
    lines = (line for line in corpus_summary(corpus, kind, teacher) if FEW not in line)
    return [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


ALL = {
    "train_dog": 3,
    "train_cat": 2,
    "validation_dog": 1,
    "validation_cat": 1,
    "test_dog": 1,
    "test_cat": 1,
}


# --- the summary ---------------------------------------------------------------------------------


def test_classes_and_splits_are_counted_and_nothing_is_warned_of(tmp_path: Path) -> None:
    *lines, few = corpus_summary(folder(tmp_path, **ALL), "folder", ("dog", "cat", "cow"))
    assert few.startswith(f"warning: test has 2 labelled clips {FEW}")
    assert lines == [
        "classes   2 (single-label), 4 clip(s) of cat to 5 of dog",
        "clips     train: 5, validation: 2, test: 2",
    ]


@pytest.mark.parametrize(
    ("missing", "warning"),
    [
        ("train", "no split train: there is nothing to train a student on"),
        ("validation", "no split validation: students keep their last epoch, and finetune-teacher"),
        ("test", "no split test: students have no test score"),
    ],
)
def test_a_split_that_lacks_is_warned_of(tmp_path: Path, missing: str, warning: str) -> None:
    corpus = folder(tmp_path, **{k: n for k, n in ALL.items() if not k.startswith(missing)})
    (found,) = warnings(corpus)
    assert found.startswith(warning)


def test_folders_of_sites_above_the_classes_are_warned_of(tmp_path: Path) -> None:
    sites = {f"{site}_{label}": 4 for site in ("A", "B", "C") for label in ("cough", "heart")}
    corpus = folder(tmp_path, **sites)
    assert corpus.classes == ("A", "B", "C")
    found = "\n".join(warnings(corpus))
    assert (
        "each of the classes (A, B, C) holds the same folders (cough, heart): if those are" in found
    )
    assert "validation_folds=NAME&test_folds=NAME" in found
    read = read_corpus(f"folder:{tmp_path}?validation_folds=A&test_folds=B")
    assert read.classes == ("cough", "heart")
    assert {clip.split for clip in read.clips} == {"train", "validation", "test"}
    other = folder(tmp_path / "other", train_dog_s1=2, train_cat_s2=2)
    assert "holds the same folders" not in "\n".join(warnings(other))


def test_one_recording_in_windows_is_one_split(tmp_path: Path) -> None:
    write(tmp_path / "night.wav", 20)
    rows = "path,label,start_s,end_s\nnight.wav,cough,1,2\nnight.wav,wheeze,5,9\n"
    (tmp_path / "l.csv").write_text(rows)
    corpus = read_corpus(f"csv:{tmp_path}/l.csv?rows=event&window_s=2")
    found = [line for line in warnings(corpus, "csv") if line.startswith("no split")]
    assert len(found) == 2
    for line in found:
        assert (
            "of 1 recording(s) or group(s), and each is in one split as a whole: add others" in line
        )
        assert "share" not in line


def test_of_few_groups_no_larger_share_is_proposed(tmp_path: Path) -> None:
    for n in range(6):
        write(tmp_path / f"{n}.wav")
    rows = "".join(f"{n}.wav,{'ab'[n % 2]},s{n // 2}\n" for n in range(6))
    (tmp_path / "l.csv").write_text(f"path,label,who\n{rows}")
    listed = f"csv:{tmp_path}/l.csv?group=who"
    found = [w for w in warnings(read_corpus(listed), "csv") if w.startswith("no split")]
    assert found
    assert all("own split, stratify=true, for which a list needs three" in line for line in found)
    stratified = read_corpus(f"{listed}&stratify=true")
    assert {clip.split for clip in stratified.clips} == {"train", "validation", "test"}


def test_a_split_without_usable_or_labelled_clips_is_warned_of(tmp_path: Path) -> None:
    corpus = folder(tmp_path, **ALL)
    silent = [replace(c, frames=0) if c.split == "validation" else c for c in corpus.clips]
    assert warnings(replace(corpus, clips=tuple(silent))) == [
        "no clip of validation is usable: students keep their last epoch, and finetune-teacher needs one"
    ]
    bare = [replace(c, labels=()) if c.split == "test" else c for c in corpus.clips]
    assert warnings(replace(corpus, clips=tuple(bare))) == ["no clip of test is labelled"]
    none = [
        replace(c, labels=(), none_present=True) if c.split == "validation" else c
        for c in corpus.clips
    ]
    (negative,) = warnings(replace(corpus, clips=tuple(none), task="multi"))
    assert negative.startswith(
        "every labelled clip of validation has none of the classes: no score"
    )
    assert "test: 2 (0 labelled)" in corpus_summary(replace(corpus, clips=tuple(bare)), "folder")[1]


def test_classes_that_no_training_or_test_clip_has_are_warned_of(tmp_path: Path) -> None:
    corpus = folder(tmp_path, **{**ALL, "test_owl": 1, "train_cow": 1})
    assert warnings(corpus) == [
        "1 classes have no usable train clip to learn from: owl",
        "1 classes have no usable test clip to score them on: cow",
    ]


def test_one_class_alone_is_warned_of_unless_its_absence_is_a_label(tmp_path: Path) -> None:
    corpus = folder(tmp_path, train_dog=1, validation_dog=1, test_dog=1)
    (warning,) = warnings(corpus)
    assert "one class alone (dog): any model is always right" in warning
    assert warnings(replace(corpus, task="multi")) == []


def test_classes_outside_the_teachers_are_warned_of_with_the_class_map(tmp_path: Path) -> None:
    (warning,) = warnings(folder(tmp_path, **ALL), teacher=("Bark", "cat"))
    assert warning.startswith("1 of 2 classes are none of the teacher's 2 (dog)")
    assert "--class-map" in warning


def test_clips_of_a_length_that_the_teacher_does_not_take_are_counted(tmp_path: Path) -> None:
    corpus = folder(tmp_path, **ALL)
    lines = corpus_summary(corpus, "folder", wrong_length=corpus.clips[:2], takes="1 s to 30 s")
    assert lines[2:4] == [
        "unusable  2 of 9 by their headers",
        "  2 not of 1 s to 30 s, as the teacher takes them, first test/cat/0",
    ]
    assert any("no clip of test is usable" in line for line in lines)
    long = replace(corpus.clips[0], frames=700 * 192_000, source_rate_hz=192_000)
    lines = corpus_summary(corpus, "folder", wrong_length=[long], takes="1 s to 30 s")
    reason = "1 longer than is decoded at once (450 s at 192000 Hz), first test/cat/0: "
    assert lines[3] == f"  {reason}?window_s=10 cuts them"
    alone = [replace(c, frames=700 * 192_000, source_rate_hz=192_000) for c in corpus.clips[:2]]
    lines = corpus_summary(corpus, "folder", wrong_length=alone, takes="1 s to 30 s")
    assert any("no clip of test is usable" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "kind", "named"),
    [
        ("a.MP3", {"format": "MP3"}, True),
        ("a.wav", {"format": "WAV", "subtype": "GSM610"}, True),
        ("a.gsm", {"format": "RAW", "subtype": "GSM610"}, True),
        ("a.wav", {"format": "WAV", "subtype": "ALAW"}, False),
        ("a.flac", {"format": "FLAC"}, False),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, False),
    ],
)
def test_windows_of_what_is_decoded_from_its_beginning_are_counted(
    tmp_path: Path, name: str, kind: dict[str, str], named: bool
) -> None:
    corpus = folder(tmp_path, **ALL)
    soundfile.write(tmp_path / name, np.full(4 * RATE_HZ, 0.1), RATE_HZ, **kind)

    def lines(length_s: int) -> list[str]:
        window = replace(corpus.clips[0], path=name, frames=length_s * RATE_HZ)
        cut = [replace(window, start_s=float(s)) for s in range(3600)]
        whole = replace(corpus, clips=(*corpus.clips, *cut))
        return [line for line in corpus_summary(whole, "folder") if "decoding" in line]

    found = lines(1)
    assert len(found) == named
    if named:
        # 1 + ... + 3599 s before them, and the 3599 s of themselves; the first is at the beginning.
        assert f"3,599 clips within 1 {name[1:].lower()} recording(s), each from its" in found[0]
        assert ": 1,800.5 h for 1.0 h of clips; of FLAC copies the clips alone are read" in found[0]
    assert lines(1200) == [], "most of what is decoded is kept"


def test_an_unlabelled_corpus_is_reported(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"{number}.wav")
    corpus = read_corpus(f"folder:{tmp_path}?labels=none")
    assert corpus_summary(corpus, "folder")[0] == "classes   no clip is labelled"
    assert warnings(replace(corpus, classes=("a", "b")), teacher=("a", "b")) == []


@pytest.mark.parametrize(
    "names",
    [
        ("fold1", "fold2", "fold3"),
        ("1", "2", "10"),
        ("F-1", "F-2", "F-3"),
        ("2026-08", "2026-09", "2026-10"),
    ],
)
def test_folds_are_reported_with_the_option_that_takes_them(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        for label in ("dog", "cat"):
            write(tmp_path / name / label / "x.wav")
    rows = [f"{name}/{label}/x.wav,{label},{name}" for name in names for label in ("dog", "cat")]
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,split", *rows]))
    option = f"?validation_folds={names[1]}&test_folds={names[2]}"
    for kind, place in (("folder", tmp_path), ("csv", tmp_path / "clips.csv")):
        found = warnings(read_corpus(f"{kind}:{place}"), kind)
        if kind == "csv" or FOLD.fullmatch(names[0]):  # of folders it may be classes above others
            assert any("look like folds" in line and line.endswith(option) for line in found)
        assert not any("Give clips of it" in line for line in found) or kind == "folder"
        assert warnings(read_corpus(f"{kind}:{place}{option}"), kind) == []


@pytest.mark.parametrize(
    ("names", "expected"), [(("fold1", "fold2", "fold3"), True), (("0", "1", "2"), False)]
)
def test_folders_without_folders_of_classes_are_not_told_to_be_folds(
    tmp_path: Path, names: tuple[str, ...], expected: bool
) -> None:
    """The option would find no class in them; and digits are words."""
    for name in names:
        write(tmp_path / name / "x.wav")
    found = " ".join(warnings(read_corpus(f"folder:{tmp_path}"), "folder"))
    assert "validation_folds" not in found
    assert ("look like folds, and hold no folders of classes: list" in found) == expected


@pytest.mark.parametrize(
    "splits",
    [
        ("train_a", "train_b", "test"),
        ("part1x", "part2x", "part3x"),
        ("1", "2", "test"),
        ("1", "2"),
    ],
)
def test_other_splits_are_no_folds(tmp_path: Path, splits: tuple[str, ...]) -> None:
    """The official test would train, or nothing would."""
    rows = []
    for name in splits:
        for label in ("dog", "cat"):
            write(tmp_path / name / label / "x.wav")
            rows.append(f"{name}/{label}/x.wav,{label},{name}")
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,split", *rows]))
    found = warnings(read_corpus(f"csv:{tmp_path / 'clips.csv'}"), "csv")
    assert not any("look like folds" in line for line in found)
    assert any("no split train" in line for line in found)


# --- unreadable clips ----------------------------------------------------------------------------


def listing(root: Path, *rows: str, header: str = "path,label") -> str:
    (root / "clips.csv").write_text("\n".join([header, *rows]) + "\n")
    return f"csv:{root / 'clips.csv'}"


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ("dog\\x.wav", "paths use backslashes; write /"),
        ("dog/X.wav", "(there is dog/x.wav): names differ in upper and lower case"),
        ("DOG/x.WAV", "names differ in upper and lower case"),
        ("dog/x", "(there is dog/x.wav): paths lack the suffix .wav"),
        ("dog/x.mp3", "names differ in their suffix, .mp3 and .wav"),
        ("x.wav", "(there is dog/x.wav): paths lack the folder dog/"),
        ("old/dog/x.wav", "(there is dog/x.wav): files of these names lie elsewhere"),
        ("dog/a%20b.wav", "paths are percent-encoded"),
        ("dog/a%20b.wav?token=1", "paths have queries of addresses"),
        (unicodedata.normalize("NFC", "dog/é.wav"), "names differ in their Unicode form"),
        ("file:///data/x.wav", "paths are file:// addresses"),
        ("https://example.org/x.wav", "paths are addresses; csv and jsonl read those below one"),
        ("C:\\sounds\\x.wav", "paths begin with a drive"),
        ("nowhere.wav", "1 are not there, first nowhere.wav."),
        ("dog", "1 are folders"),
        ("empty.wav", "1 are empty files"),
        ("junk.wav", "1 cannot be decoded (not audio"),
        ("link.wav", "1 are links to nothing"),
    ],
)
def test_a_path_that_cannot_be_read_is_reported_with_how_it_may_be_meant(
    tmp_path: Path, listed: str, wanted: str
) -> None:
    for name in ("x.wav", "a b.wav", unicodedata.normalize("NFD", "é.wav")):
        write(tmp_path / "dog" / name)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "junk.wav").write_text("no audio" * 20)
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    message = refusal(listing(tmp_path, f'"{listed}",dog'))
    assert "none of the 1 clips can be read" in message
    assert wanted in message
    assert "leave" not in message


def test_a_name_in_several_folders_is_taken_for_none_of_them(tmp_path: Path) -> None:
    """Recorders on one schedule name their files alike: one site's sound beside another's labels."""
    for site in ("Ash Wood", "Birch", "Coed"):
        write(tmp_path / site / "0400.WAV")
    message = refusal(listing(tmp_path, "0400.WAV,dog"))
    assert "(there is Ash Wood/0400.WAV, Birch/0400.WAV, Coed/0400.WAV)" in message
    assert "several files are called so; write each path with its folder" in message
    assert "root=" not in message
    rows = ["0400.WAV,dog,Birch", "0400.WAV,cat,Coed"]
    message = refusal(listing(tmp_path, *rows, header="path,label,site") + "?group=site")
    assert "a path has its folder, perhaps Birch/0400.WAV" in message


def test_lists_in_a_folder_of_their_own_are_told_where_the_recordings_are(tmp_path: Path) -> None:
    """As Fluent Speech Commands has them."""
    write(tmp_path / "wavs/anna/x.wav")
    (tmp_path / "data").mkdir()
    source = listing(tmp_path / "data", "wavs/anna/x.wav,dog")
    message = refusal(source)
    assert f"they are below {tmp_path}: csv and jsonl take root={tmp_path}" in message
    assert len(read_corpus(f"{source}?root={tmp_path}").clips) == 1


@pytest.mark.parametrize(("unit", "factor"), [("milliseconds", 1000), ("samples", RATE_HZ)])
def test_other_units_than_seconds_are_recognised(tmp_path: Path, unit: str, factor: int) -> None:
    write(tmp_path / "x.wav", 30.0)
    rows = [f"x.wav,dog,{n * factor},{(n + 1) * factor}" for n in range(20, 25)]
    message = refusal(listing(tmp_path, *rows, header="path,label,start_s,end_s"))
    assert (
        f"5 have stretches outside their files, first x.wav (the segment {20 * factor}" in message
    )
    assert f"start_s and end_s look like {unit}; write seconds" in message


def test_ends_a_little_behind_the_last_sample_are_in_no_other_unit(tmp_path: Path) -> None:
    write(tmp_path / "x.wav", 1.0)
    message = refusal(listing(tmp_path, "x.wav,dog,0,1.05", header="path,label,start_s,end_s"))
    assert "the segment 0 s to 1.05 s does not lie inside the file, which is 1 s long" in message
    assert "look like" not in message


def test_reasons_are_grouped_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "good.wav")
    write(tmp_path / "B.wav")
    outside = write(tmp_path.parent / "outside.wav")
    (tmp_path / "link.wav").symlink_to(outside)
    gone = [f"gone{number}.wav,dog" for number in range(30)]
    rows = ["good.wav,dog", "b.wav,dog", "link.wav,dog", *gone]
    lines = corpus_summary(read_corpus(listing(tmp_path, *rows)), "csv")
    trust = f"if you trust it, add ?links={tmp_path.parent}"
    way_out = f"leads to {outside}, which is not followed; {trust}"
    start = lines.index("unusable  32 of 33 by their headers")
    assert lines[start + 1 : start + 4] == [
        "  30 are not there, first gone0.wav",
        "  1 are not there, first b.wav (there is B.wav): names differ in upper and lower case",
        f"  1 lead out of the corpus by a link, first link.wav, which {way_out}",
    ]


def test_many_clips_that_cannot_be_decoded_are_not_all_decoded_twice(tmp_path: Path) -> None:
    write(tmp_path / "good.wav")
    for number in range(30):
        (tmp_path / f"{number:02d}.wav").write_text("no audio" * 20)
    rows = [f"{number:02d}.wav,dog," for number in range(30)]
    source = listing(
        tmp_path, "good.wav,dog,", *rows, "good.wav,dog,9", header="path,label,start_s"
    )
    lines = corpus_summary(read_corpus(source), "csv")
    start = lines.index("unusable  31 of 32 by their headers")
    message_lines = lines[start + 1 : start + 4]
    assert message_lines[0].startswith("  20 cannot be decoded (not audio")
    assert message_lines[1].startswith("  1 have stretches outside their files, first good.wav")
    assert message_lines[2] == "  10 others cannot be read, first 20.wav"


def test_clips_of_published_lists_that_are_spelled_otherwise_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "Audio/x.wav")
    (tmp_path / "metadata.csv").write_text("file_name,label\naudio\\x.wav,dog\n")
    assert "(there is Audio/x.wav): names differ in upper" in refusal(f"audio-folder:{tmp_path}")
