"""Hugging Face data sets on disk: shards, labels, and what is reported of those that cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpora import hugging_face
from small_corpora.hugging_face import CLASSES, table, write, write_saved

from cache_schema.errors import UsageError
from pipeline.audio.decode import UnusableAudio, decode
from pipeline.corpora import read_corpus


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def one_shard(folder: Path, rows: pa.Table, name: str = "train.parquet", query: str = "") -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, folder / name)
    return f"hugging-face:{folder}?validation_share=0&test_share=0{query}"


def test_parquet_and_saved_forms_of_one_data_set_are_the_same_corpus(tmp_path: Path) -> None:
    hub = read_corpus(write(tmp_path / "hub"))
    saved = read_corpus(write_saved(tmp_path / "saved"))
    assert hub.classes == saved.classes == CLASSES
    assert hub.task == saved.task == "single"
    clips_of = [
        [(c.id, c.labels, c.split, c.frames) for c in corpus.clips] for corpus in (hub, saved)
    ]
    assert sorted(clips_of[0]) == sorted(clips_of[1])
    assert [clip.id for clip in saved.clips][:7] == [f"train/{row}" for row in range(6)] + [
        "validation/0"
    ]
    for one in hub.clips:
        other = next(clip for clip in saved.clips if clip.id == one.id)
        pair = [
            decode(corpus.root / clip.path, sample_rate_hz=16_000)
            for corpus, clip in ((hub, one), (saved, other))
        ]
        assert np.array_equal(pair[0].waveform, pair[1].waveform)
        assert pair[0].sha256 == pair[1].sha256


def test_a_saved_single_data_set_and_a_single_shard_are_read(tmp_path: Path) -> None:
    write_saved(tmp_path)
    assert len(read_corpus(f"hugging-face:{tmp_path / 'train'}").clips) == 6
    shard = next((tmp_path / "train").glob("*.arrow"))
    assert len(read_corpus(f"hugging-face:{shard}").clips) == 3


def test_the_splits_of_the_data_set_may_be_given(tmp_path: Path) -> None:
    for fold in range(4):
        one_shard(tmp_path, table(fold, [0, 1]), f"data/fold{fold}-00000-of-00001.parquet")
    text = f"hugging-face:{tmp_path}?train=fold0;fold1&validation=fold2&test=fold3"
    counts = Counter(clip.split for clip in read_corpus(text).clips)
    assert counts == {"train": 4, "validation": 2, "test": 2}
    assert "no split 'fold9' for test; splits: fold0" in refusal(f"{text};fold9")
    assert "fold0 is named for train and for test; it serves one" in refusal(f"{text};fold0")
    some = read_corpus(f"hugging-face:{tmp_path}?train=fold0&validation=fold2&test=fold3")
    assert "not read, as no option names it: split fold1" in some.notes


def test_several_classes_make_the_corpus_multi_label(tmp_path: Path) -> None:
    for kind in ("Sequence", "List", None):
        one = dict(hugging_face.CLASS)
        feature: Any = [one] if kind is None else {"feature": one, "_type": kind}
        corpus = read_corpus(one_shard(tmp_path, table(0, [[0, 2], [], [1]], feature)))
        assert (corpus.task, corpus.classes) == ("multi", CLASSES)
        assert [clip.labels for clip in corpus.clips] == [("cat", "owl"), (), ("dog",)]


def test_an_empty_list_reports_that_none_of_the_classes_is_there(tmp_path: Path) -> None:
    feature = {"feature": dict(hugging_face.CLASS), "_type": "List"}
    clips = read_corpus(one_shard(tmp_path, table(0, [[0, 2], [], None], feature))).clips
    assert [(clip.labels, clip.none_present) for clip in clips] == [
        (("cat", "owl"), False),
        ((), True),
        ((), False),
    ]


def test_a_zero_or_one_for_each_class_is_no_list_of_classes(tmp_path: Path) -> None:
    rows = [[0, 0, 1], [1, 0, 0], None]
    error_text = refusal(one_shard(tmp_path, table(0, rows, metadata=False)))
    assert "label has a 0 or 1 for each class, expected lists of classes" in error_text
    numbers = read_corpus(one_shard(tmp_path, table(0, [[0, 1], [1], []], metadata=False)))
    assert numbers.classes == ("0", "1")


def test_an_unknown_class_is_no_label(tmp_path: Path) -> None:
    corpus = read_corpus(one_shard(tmp_path, table(0, [-1, None, 2])))
    assert [clip.labels for clip in corpus.clips] == [(), (), ("owl",)]
    (tmp_path / "texts").mkdir()
    texts = read_corpus(one_shard(tmp_path / "texts", table(0, ["", "b"], metadata=False)))
    assert (texts.classes, texts.clips[0].labels) == (("b",), ())


def test_classes_that_are_named_twice_are_rejected(tmp_path: Path) -> None:
    feature = {**hugging_face.CLASS, "names": ["cat", "dog", "cat"]}
    assert "classes name 'cat' more than once" in refusal(
        one_shard(tmp_path, table(0, [0, 1, 2], feature))
    )


def test_names_serve_as_labels_where_no_types_are_recorded(tmp_path: Path) -> None:
    corpus = read_corpus(one_shard(tmp_path, table(0, ["b", "a", "b"], metadata=False)))
    assert corpus.classes == ("a", "b")
    unlabelled = read_corpus(one_shard(tmp_path, table(0, ["b"]), query="&label=none"))
    assert unlabelled.clips[0].labels == ()
    by_text = read_corpus(one_shard(tmp_path, table(0, [0]), query="&label=text"))
    assert by_text.clips[0].labels == ("x",)


def test_labels_in_one_text_are_reported_and_separated_if_requested(tmp_path: Path) -> None:
    text = one_shard(tmp_path, table(0, ["dog,cat", "dog"], metadata=False))
    whole = read_corpus(text)
    assert whole.classes == ("dog", "dog,cat")
    assert any("add ?label_sep=," in note for note in whole.notes)
    corpus = read_corpus(f"{text}&label_sep=,")
    assert (corpus.task, corpus.classes) == ("multi", ("cat", "dog"))
    assert [clip.labels for clip in corpus.clips] == [("dog", "cat"), ("dog",)]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [({"bytes": None, "path": "/home/ann/a.wav"}, "no bytes of audio"),
     ({"bytes": b"", "path": None}, "no bytes of audio"),
     (None, "no bytes of audio"),
     ({"bytes": b"none", "path": None}, "not audio")],
)  # fmt: skip
def test_a_row_without_audio_ends_in_quarantine(tmp_path: Path, value: Any, wanted: str) -> None:
    rows = [hugging_face.sound(0), value]
    corpus = read_corpus(one_shard(tmp_path, table(0, [0, 1], rows=rows)))
    assert [clip.frames > 0 for clip in corpus.clips] == [True, False]
    with pytest.raises(UnusableAudio, match=wanted) as caught:
        decode(corpus.root / corpus.clips[1].path, sample_rate_hz=16_000)
    assert "/" not in caught.value.reason


def test_columns_that_cannot_be_chosen_are_listed(tmp_path: Path) -> None:
    rows = table(0, [0, 1])
    twice = rows.append_column("more", rows["audio"]).replace_schema_metadata(None)
    assert "2 columns could be it (audio, more); set audio=COLUMN" in refusal(
        one_shard(tmp_path, twice)
    )
    assert read_corpus(one_shard(tmp_path, twice, query="&audio=more")).clips[0].frames
    message = refusal(one_shard(tmp_path, rows, query="&label=lable"))
    assert "label=lable: no column of that name; columns: audio, label, text; the near" in message
    assert "audio=text: no column of audio bytes" in refusal(
        one_shard(tmp_path, rows, query="&audio=text")
    )
    none = rows.drop_columns(["label"])
    assert "which column is the label? none is; set label=COLUMN or label=none" in refusal(
        one_shard(tmp_path, none)
    )


def test_labels_that_are_none_are_reported_with_their_rows(tmp_path: Path) -> None:
    assert "train.parquet row 1: label 7 is neither" in refusal(
        one_shard(tmp_path, table(0, [0, 7]))
    )
    assert "label 0.5 is neither" in refusal(one_shard(tmp_path, table(0, [0.5], metadata=False)))


def test_missing_and_disagreeing_shards_are_all_reported(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "data/train-00001-of-00002.parquet").unlink()
    other = table(0, [0], {"names": ["fox"], "_type": "ClassLabel"})
    pq.write_table(other, tmp_path / "data/validation-00000-of-00001.parquet")
    message = refusal(f"hugging-face:{tmp_path}")
    assert "split train: 1 of 2 shards are there" in message
    assert "other columns or classes than in the first shard" in message


def test_one_configuration_has_to_be_chosen(tmp_path: Path) -> None:
    for name in ("small", "large"):
        one_shard(tmp_path, table(0, [0]), f"{name}/train-00000-of-00001.parquet")
    assert "split train lies in large, small; name one" in refusal(f"hugging-face:{tmp_path}")
    assert len(read_corpus(f"hugging-face:{tmp_path / 'small'}").clips) == 1


def test_a_configuration_of_split_folders_is_named_above_them(tmp_path: Path) -> None:
    for name in ("small", "large"):
        for split in ("train", "test"):
            one_shard(tmp_path, table(0, [0]), f"{name}/{split}/0000.parquet")
    message = refusal(f"hugging-face:{tmp_path}")
    assert (
        "split train lies in large/train, small/train; name one as the path: large or small"
        in message
    )
    found = read_corpus(f"hugging-face:{tmp_path / 'small'}?validation_share=0").clips
    assert {clip.split for clip in found} == {"train", "test"}


def test_a_shard_of_numbers_is_named_by_its_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        one_shard(tmp_path, table(0, [0]), f"default/{split}/0000.parquet")
    corpus = read_corpus(f"hugging-face:{tmp_path}?validation_share=0")
    assert {(clip.id, clip.split) for clip in corpus.clips} == {
        ("train/0", "train"),
        ("test/0", "test"),
    }


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("form", [write, write_saved])
def test_a_truncated_shard_is_reported_or_its_rows_are_quarantined(
    tmp_path: Path, share: float, form: Any
) -> None:
    text = form(tmp_path)
    shard = (
        next(file for file in tmp_path.rglob("*test*/*.arrow"))
        if form is write_saved
        else next(tmp_path.rglob("test*.parquet"))
    )
    content = shard.read_bytes()
    shard.write_bytes(content[: int(share * len(content))])
    assert f"{shard.name}: the container cannot be read" in refusal(text)


@pytest.mark.parametrize(
    "state",
    [b"", b"[]", b"{}", b'{"_data_files": [1]}', b'{"_data_files": [{"filename": 3}]}', b"\xff",
     b'{"_data_files": [], "_indices_data_files": [{"filename": "x"}]}', b"[" * 100_000,
     b'{"_data_files": [{"filename": "../../outside.arrow"}]}',
     b'{"_data_files": [{"filename": "/etc/passwd"}]}',
     b'{"_data_files": [{"filename": "none.arrow"}]}'],
)  # fmt: skip
def test_a_state_that_is_none_is_rejected(tmp_path: Path, state: bytes) -> None:
    write_saved(tmp_path)
    (tmp_path / "train/state.json").write_bytes(state)
    assert str(tmp_path) in refusal(f"hugging-face:{tmp_path}")


def test_splits_that_are_none_are_rejected(tmp_path: Path) -> None:
    write_saved(tmp_path)
    for splits in ("train", [1], ["../train"], ["none"], ["x\0"], ["x" * 300], ["\ud800"]):
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        refusal(f"hugging-face:{tmp_path}")
    assert "no shards" in refusal(f"hugging-face:{Path(__file__).parent}")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path) -> None:
    text = write(tmp_path)
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from cache_schema.errors import UsageError\n"
        "from pipeline.corpora import read_corpus\n"
        "try: read_corpus(sys.argv[1])\n"
        "except UsageError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, text], capture_output=True, text=True, check=False
    )
    assert "pip install 'aftersound[hugging-face]'" in run.stdout, run.stderr
