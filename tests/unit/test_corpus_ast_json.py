"""AST's data files: paths of another machine, classes in their order, and what is wrong with lists."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import fuzzing, mutated_json, only_reported, seeds
from hypothesis import given
from small_corpora.ast_json import CLASSES, write
from small_corpora.folder import write_clips

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def one_list(root: Path, *wavs: str, labels: str = "/m/0bt9lr") -> str:
    """A corpus whose training list alone is named, with these paths."""
    write(root)
    data = [{"wav": wav, "labels": labels} for wav in wavs]
    (root / "list.json").write_text(json.dumps({"data": data}))
    return f"ast-json:{root}?train=list.json"


def test_lists_become_splits_and_mids_become_names(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path))
    assert corpus.classes == tuple(name for _, name in CLASSES)
    assert corpus.task == "multi"
    clips = {clip.id: clip for clip in corpus.clips}
    assert clips["audio/train_1"].labels == ("Dog", "Chuckle, chortle")
    assert {clip.split for clip in corpus.clips} == {"train", "validation", "test"}
    assert corpus.notes == ("1 of 10 listed clips are not there, first: audio/gone.wav",)


def test_paths_may_be_relative_or_absolute_below_the_folder(tmp_path: Path) -> None:
    wavs = ("audio/train_0.wav", f"{tmp_path}/audio/train_1.wav", "./audio//train_2.wav")
    corpus = read_corpus(one_list(tmp_path, *wavs))
    assert [clip.id for clip in corpus.clips] == [f"audio/train_{n}" for n in range(3)]


def test_a_prefix_may_be_relative_and_stands_for_the_folder(tmp_path: Path) -> None:
    corpus = read_corpus(one_list(tmp_path, "./data/audio/train_0.wav") + "&prefix=./data")
    assert [clip.path for clip in corpus.clips] == ["audio/train_0.wav"]


def test_paths_elsewhere_are_rejected_with_the_way_out(tmp_path: Path) -> None:
    message = refusal(one_list(tmp_path, "/mnt/x.wav", "audio/train_0.wav"))
    assert f'list.json recording 1: "/mnt/x.wav" does not lie below {tmp_path}' in message
    assert "name with prefix=FOLDER" in message
    text = one_list(tmp_path, "/data2/x.wav", "/data/../etc/hosts", "/data/../../../y.wav")
    message = refusal(f"{text}&prefix=/data")
    assert '"/data2/x.wav" does not lie below /data' in message
    assert "path '../etc/hosts' leaves the corpus folder" in message
    assert "path '../../../y.wav' leaves the corpus folder" in message


def test_a_link_that_leaves_the_corpus_is_not_followed(tmp_path: Path) -> None:
    write_clips(tmp_path / "elsewhere", ("a.wav",))
    text = one_list(tmp_path / "corpus", "link.wav", "audio/train_0.wav")
    (tmp_path / "corpus/link.wav").symlink_to(tmp_path / "elsewhere/a.wav")
    assert [clip.frames for clip in read_corpus(text).clips] == [0, 3200]


def test_unknown_classes_and_wrong_items_are_all_listed(tmp_path: Path) -> None:
    text = one_list(tmp_path, "audio/train_0.wav", labels="/m/0bt9lr, /m/none")
    assert 'list.json recording 1: not in the list of classes: "/m/none"' in refusal(text)
    items: list[Any] = [
        3,
        {"wav": "a.wav"},
        {"wav": 1, "labels": ""},
        {"wav": "a" * 300, "labels": ""},
    ]
    (tmp_path / "list.json").write_text(json.dumps({"data": items}))
    message = refusal(text)
    for part in (
        "recording 1: expected texts wav and labels, got 3",
        'recording 2: expected texts wav and labels, got {"wav": "a.wav"}',
        "recording 3: expected texts",
    ):
        assert part in message, part


@pytest.mark.parametrize("content", ["", "[]", '{"data": {}}', "[" * 100_000, '{"data": NaN}'])
def test_what_is_no_list_is_rejected(tmp_path: Path, content: str) -> None:
    text = one_list(tmp_path)
    (tmp_path / "list.json").write_text(content)
    assert "list.json" in refusal(text)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("mid,name\n/m/x,Dog\n", "lacks the column(s) index, display_name; found: mid, name"),
        ("index,mid,display_name\n1,/m/x,Dog\n", "do not count from 0 to 0 in order"),
        ("index,mid,display_name\n0,/m/x,Dog\n1,/m/y,Dog\n", "same display_name stands twice"),
        ("index,mid,display_name\n0,/m/x\n", "line 2: 2 cells, the header has 3"),
        ('index,mid,display_name\n0,"/m/x,Dog\n', ": a quote that opens there is not closed"),
        ("index,mid,display_name\n", "there is no class"),
        ("", "found: none"),
    ],
)
def test_a_wrong_list_of_classes_is_rejected(tmp_path: Path, lines: str, wanted: str) -> None:
    text = one_list(tmp_path, "audio/train_0.wav")
    (tmp_path / "class_labels_indices.csv").write_text(lines)
    assert wanted in refusal(text)


def test_lists_must_be_named_and_there(tmp_path: Path) -> None:
    write(tmp_path)
    assert "?train=train.json&validation=valid.json" in refusal(f"ast-json:{tmp_path}")
    message = refusal(f"ast-json:{tmp_path}?train=none.json&classes=none.csv")
    assert "2 of its lists are missing\n  - none.csv\n  - none.json" in message
    assert "leads out" in refusal(
        f"ast-json:{tmp_path / 'audio'}?train=../datafiles_eval.json"
        "&classes=../class_labels_indices.csv"
    )


def test_a_corpus_of_which_nothing_is_there_is_rejected(tmp_path: Path) -> None:
    message = refusal(one_list(tmp_path, "gone.wav", "gone2.wav"))
    assert "2 of 2 listed clips are not there, first: gone.wav" in message


@fuzzing(100)
@given(seeds)
def test_a_mutated_list_is_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "mutated"
    text = one_list(root, "audio/train_0.wav", "audio/train_1.wav")
    content = mutated_json((root / "list.json").read_bytes(), Random(seed))
    (root / "list.json").write_bytes(content)
    with only_reported(UsageError):
        for note in read_corpus(text).notes:
            note.encode()
