"""Manifests in JSON Lines: the fields of a CSV manifest, and the message of each kind of bad line."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from fuzzing import ODD_VALUES, fuzzing, mutated_bytes, only_reported, seeds
from hypothesis import given
from hypothesis import strategies as st
from small_corpora.csv import write as write_csv
from small_corpora.folder import write_clips
from small_corpora.jsonl import write as write_jsonl

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus

LINE = {"path": "a.wav", "label": "dog"}


def manifest(root: Path, *lines: object) -> str:
    write_clips(root, ("a.wav", "b.wav"))
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (root / "clips.jsonl").write_text("\n".join(texts), encoding="utf-8")
    return f"jsonl:{root / 'clips.jsonl'}"


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def test_json_lines_and_csv_report_the_same(tmp_path: Path) -> None:
    rows = (
        {"id": "one", "path": "a.wav", "labels": "dog;cat", "split": "val"},
        {
            "id": "two",
            "path": "b.wav",
            "labels": "",
            "split": "train",
            "start_s": 0.05,
            "end_s": 0.1,
        },
    )
    columns = ("id", "path", "labels", "split", "start_s", "end_s")
    lines = [",".join(columns), *(",".join(str(r.get(c, "")) for c in columns) for r in rows)]
    listed = read_corpus(manifest(tmp_path, *rows))
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    assert read_corpus(f"csv:{tmp_path / 'clips.csv'}") == listed
    assert [clip.split for clip in listed.clips] == ["validation", "train"]


def test_labels_may_be_a_list_with_any_characters(tmp_path: Path) -> None:
    corpus = read_corpus(
        manifest(tmp_path, {"path": "a.wav", "labels": ["rain; wind", " dog", ""]})
    )
    assert corpus.clips[0].labels == ("rain; wind", "dog")
    assert corpus.task == "multi"


def test_null_is_no_field_and_a_null_label_is_unlabelled(tmp_path: Path) -> None:
    row = {"path": "a.wav", "label": None, "id": None, "start_s": None, "split": None}
    corpus = read_corpus(manifest(tmp_path, row))
    assert [(clip.id, clip.labels) for clip in corpus.clips] == [("a", ())]


def test_an_empty_list_reports_that_none_of_the_classes_is_there(tmp_path: Path) -> None:
    rows = ({"path": "a.wav", "labels": []}, {"path": "b.wav", "label": "x"})
    corpus = read_corpus(manifest(tmp_path, *rows))
    assert corpus.task == "multi"
    assert [(clip.none_present, clip.labelled) for clip in corpus.clips] == [
        (True, True),
        (False, True),
    ]
    single = manifest(tmp_path, *rows) + "?task=single"
    assert "line 1: 0 labels in a single-label corpus" in refusal(single)


def test_blank_lines_and_separators_within_text_are_no_lines(tmp_path: Path) -> None:
    line = '{"path": "a.wav", "label": "left\u2028right"}\r'
    corpus = read_corpus(manifest(tmp_path, "", line, "  ", {"path": "b.wav", "label": "x"}, ""))
    assert corpus.classes == ("left\u2028right", "x")


def test_seconds_may_be_text(tmp_path: Path) -> None:
    corpus = read_corpus(manifest(tmp_path, LINE | {"start_s": "0.05", "end_s": 0.1}))
    assert [(clip.id, clip.frames) for clip in corpus.clips] == [("a#0.05", 800)]


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    message = refusal(
        manifest(
            tmp_path,
            LINE,
            "{not json",
            "[1]",
            {"label": "dog"},
            {"path": "a.wav"},
            LINE | {"labels": ["cat"]},
            LINE | {"splt": "train"},
            LINE | {"id": 3},
            LINE | {"id": "x", "start_s": True},
            '{"path": "a.wav", "path": "b.wav", "label": "x"}',
            {"path": "a.wav", "labels": ["dog", 1]},
            {"path": "../a.wav", "label": "dog"},
            '{"path": "b.wav", "label": "\\ud800"}',
            LINE | {"id": "y", "start_s": float("nan")},
            LINE | {"id": "z", "split": "train"},
            "1" * 5000,
        )
    )
    for part in (
        "line 2: not JSON (Expecting property name",
        "line 3: expected a JSON object, got [1]",
        "line 4: missing field: path",
        "line 5: missing field: label (or labels)",
        "line 6: fields label and labels: only one of them",
        "line 7: unknown field 'splt'",
        "line 8: id must be text, got 3; write it as text\n",
        "line 9: start_s must be a number, got true",
        "line 10: field 'path' stands twice",
        'line 11: labels must be text or a list of texts, got ["dog", 1]',
        "line 12: path '../a.wav' leaves the corpus folder",
        'line 13: label is not text that UTF-8 can hold: "\\ud800"',
        "line 14: start_s must be seconds from 0, got 'nan'",
        "line 1 has no split, line 15 has one",
        "line 16: a number of 5000 digits, at most 308 are read",
        "known fields: path, label or labels, id, split, start_s",
    ):
        assert part in message, part


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"path": "a.wav", "label": "a", "label": "b"}', "field 'label' stands twice"),
        ('{"path": "a.wav", "start_s": %s}' % ("9" * 5000), "a number of 5000 digits"),
        ('{"path": %s' % ("[" * 100_000), "JSON of too many levels"),
    ],
)
def test_an_object_that_cannot_be_read_is_not_taken_for_a_table(
    tmp_path: Path, line: str, problem: str
) -> None:
    message = refusal(manifest(tmp_path, line))
    assert f"line 1: {problem}" in message
    assert "csv:" not in message
    assert "a table with a header is read by csv:" in refusal(manifest(tmp_path, "path,label"))


def test_a_manifest_without_a_line_is_rejected(tmp_path: Path) -> None:
    assert "no clips" in refusal(manifest(tmp_path))
    assert "a folder, not a manifest" in refusal(f"jsonl:{tmp_path}")


def test_the_small_manifests_list_the_same_recordings(tmp_path: Path) -> None:
    ours, theirs = (read_corpus(w(tmp_path)) for w in (write_jsonl, write_csv))
    assert [(c.path, c.labels, c.split) for c in ours.clips] == [
        (c.path, c.labels, c.split) for c in theirs.clips
    ]


@fuzzing(150)
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["path", "label", "labels", "id", "split", "start_s", "end_s", "x"]),
            st.one_of(
                st.sampled_from(ODD_VALUES), st.sampled_from(["a.wav", "dog", "train", 0.05])
            ),
        ),
        max_size=3,
    )
)
def test_lines_of_any_values_are_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    with only_reported(UsageError):
        read_corpus(manifest(tmp_path_factory.getbasetemp() / "any", *rows))


@fuzzing(100)
@given(seeds)
def test_a_mutated_manifest_is_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    source = manifest(tmp_path_factory.getbasetemp() / "mutated", LINE, LINE | {"id": "b"})
    path = Path(source.partition(":")[2])
    path.write_bytes(mutated_bytes(path.read_bytes(), Random(seed)))
    with only_reported(UsageError):
        read_corpus(source)
