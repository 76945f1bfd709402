"""Lists as other tools write them: separators, names of columns, encodings, labels, paths."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path

import pytest
from small_corpora.folder import write_clips

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.corpora.listings import fold_splits

CLIPS = ("a.wav", "b.wav", "c.wav")
ROWS = [("a.wav", "dog"), ("b.wav", "cat"), ("c.wav", "dog")]
SHOWS = ("Daily", "Q&A; live", "News")


def listing(root: Path, text: str | bytes, name: str = "clips.csv", *, kind: str = "csv") -> str:
    write_clips(root, CLIPS)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"{kind}:{root / name}"


def lines(root: Path, *rows: dict[str, object], name: str = "clips.jsonl") -> str:
    return listing(root, "\n".join(map(json.dumps, rows)), name, kind="jsonl")


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def labels(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    return {clip.id: clip.labels for clip in corpus.clips}


def command_in(message: str) -> str:
    """The corpus that a message names to read instead."""
    named = message.split("Read it as ")[1]
    assert ", with your other options" in named  # such as ?stratify, which it does not repeat
    (command,) = shlex.split(named.split(", with your other options")[0])
    return command


@pytest.mark.parametrize(
    "label",
    ["['dog', 'cat']", '["dog"]', "['dog' 'cat']", "[]", '[{"start": 0.1, "labels": ["dog"]}]',
     '{"choices": ["dog"]}', "{'dog'}", "('dog', 'cat')", "[1, 2]", "{}"],
)  # fmt: skip
@pytest.mark.parametrize("sep", [";", ","])
def test_a_list_as_a_program_writes_it_is_no_class(tmp_path: Path, label: str, sep: str) -> None:
    """A data frame's column of lists, and an export of annotations."""
    cell = label.replace('"', '""')
    corpus = listing(tmp_path, f'path,label\na.wav,"{cell}"\nb.wav,"{cell}"\nc.wav,cat\n')
    message = refusal(f"{corpus}?label_sep={sep}")
    assert "line 2: label" in message
    assert "is a list as a program writes it; write the names of the classes alone" in message


def test_brackets_in_the_name_of_a_class_are_its_own(tmp_path: Path) -> None:
    rows = [("a.wav", "[noise]"), ("b.wav", "{laugh}"), ("c.wav", "(' )"),
            ("d.wav", "['s Hof]"), ("e.wav", "(low)")]  # fmt: skip
    corpus = read_corpus(listing(tmp_path, "\n".join(map(",".join, [("path", "label"), *rows]))))
    assert set(corpus.classes) == {"[noise]", "{laugh}", "(' )", "['s Hof]", "(low)"}


@pytest.mark.parametrize(
    ("name", "text"), [("clips.csv", "path,label\n"), ("clips.jsonl", ""), ("clips.jsonl", "\n\n")]
)
def test_a_list_without_rows_is_named_whatever_lies_beside_it(
    tmp_path: Path, name: str, text: str
) -> None:
    corpus = listing(tmp_path, text, name, kind=name.partition(".")[2])
    assert "no clips: the list has no rows" in refusal(corpus)


def test_blanks_divide_no_cells(tmp_path: Path) -> None:
    """As Kaldi writes wav.scp; and a list of files without a header."""
    message = refusal(listing(tmp_path, "utt1 a.wav\nutt2 b.wav\n"))
    assert "write one above it: path. It is one column, as blanks divide no cells" in message
    assert "a second one, behind a comma, label" in message
    assert read_corpus(listing(tmp_path, "path\na.wav\n") + "?label=none").classes == ()


# --- separators and encodings --------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_any_usual_separator_and_encoding_is_read(
    tmp_path: Path, mark: str, encoding: str, newline: str
) -> None:
    text = newline.join(mark.join(row) for row in [("path", "label"), *ROWS, ("c.wav", "dö g")][:3])
    corpus = read_corpus(listing(tmp_path, text.encode(encoding)))
    assert labels(corpus) == {"a": ("dog",), "b": ("cat",)}


def test_what_is_no_text_is_reported_with_how_to_convert_it(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, "path,label\na.wav,dög\n".encode("latin-1")))
    assert "not UTF-8 text (line 2, byte 18)" in message
    assert (
        "iconv -f WINDOWS-1252 -t UTF-8 LIST > LIST.utf8 (1252 is Western Europe; 1250" in message
    )
    mixed = "path,label\na.wav,dög\n".encode() + "b.wav,dög\n".encode("latin-1")
    message = refusal(listing(tmp_path, mixed))
    assert (
        "not UTF-8 text (line 3, byte 29), though 1 other line(s) with letters beyond ASCII are"
        in message
    )
    assert "iconv" not in message
    for encoding in ("utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        message = refusal(listing(tmp_path, "path,label\na.wav,dog\n".encode(encoding)))
        assert "as it holds zeros, probably UTF-32, or UTF-16 without a byte order mark" in message


def test_zero_bytes_within_a_list_are_found_and_not_taken_for_an_encoding(tmp_path: Path) -> None:
    for rest in (b"b.wav,d\0g\n", b"b.wav,dog\n" + bytes(500)):
        message = refusal(listing(tmp_path, b"path,label\na.wav,dog\n" + rest))
        assert f"line {3 + rest.count(b'dog')} holds a zero byte" in message
        assert "tr -d '\\0' < LIST" in message
        assert "UTF-16" not in message


def test_what_programs_write_for_an_empty_cell_is_noted(tmp_path: Path) -> None:
    rows = "path,label\na.wav,dog\nb.wav,NA\nc.wav,nan\nd.wav,NA\n"
    notes = " ".join(read_corpus(listing(tmp_path, rows.encode())).notes)
    assert "2 clip(s) are of the class 'NA', which programs write for an empty cell" in notes
    assert "1 clip(s) are of the class 'nan'" in notes


@pytest.mark.parametrize("tail", [b"b.wav,cat\n\n", b"a", b"\x00\xd8"])
def test_utf16_that_breaks_off_is_not_taken_for_another_encoding(
    tmp_path: Path, tail: bytes
) -> None:
    text = "path,label\na.wav,dog\n".encode("utf-16")
    message = refusal(listing(tmp_path, text + tail))
    assert "it begins as UTF-16 and is none from byte" in message
    assert "Save it anew as UTF-8" in message
    assert "iconv" not in message


def test_a_spreadsheets_empty_rows_are_no_clips(tmp_path: Path) -> None:
    text = "path,label,split\na.wav,dog,train\n,,\nb.wav,cat,train\n , ,\n,,,,\n"
    assert labels(read_corpus(listing(tmp_path, text))) == {"a": ("dog",), "b": ("cat",)}


def test_a_header_in_the_middle_is_no_clip(tmp_path: Path) -> None:
    first = "path,label\na.wav,dog\n"
    message = refusal(listing(tmp_path, first + "\ufeff" + first.replace("path", "path ")))
    assert "line 3: the header a second time, as of files joined by cat; delete the line" in message


def test_a_path_that_no_file_system_follows_is_a_fault_of_its_line(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, f"path,label\na.wav,dog\n{'a/' * 2100}x.wav,cat\n"))
    assert "line 3: 'a/a/" in message
    assert "is not a path that can be followed" in message
    assert len(message) < 500


def test_a_comment_above_the_header_is_named(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, "# made by hand\npath,label\na.wav,dog\n"))
    assert "# begins no comment: delete what stands above it" in message


def test_a_first_line_that_is_no_header_is_named_and_no_line_is_forged(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, "a.wav dog\nb.wav cat\n"))
    assert "if the first line is no header, write one above it, divided as the rows are" in message
    message = refusal(
        listing(tmp_path, '"x\nNothing was written. All is well.",label\na.wav,dog\n')
    )
    assert "\nNothing was written. All is well." not in message


def test_times_of_a_clock_are_reported_in_seconds(tmp_path: Path) -> None:
    text = "path,label,start_s,end_s\na.wav,dog,00:00:01.5,0:03\n"
    message = refusal(listing(tmp_path, text))
    assert "got '00:00:01.5'; write 1.5" in message
    assert "got '0:03'; write 3" in message


def test_seconds_with_a_comma_are_reported_with_the_point(tmp_path: Path) -> None:
    text = "path;label;start_s\na.wav;dog;0,1\n"
    assert "got '0,1'; write 0.1" in refusal(listing(tmp_path, text))


def test_cells_that_need_quotes_are_reported_once(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, "path,label\na.wav,dog,cat\nb.wav,dog,cat\n"))
    assert message.count('stands in quotes: "dog,cat"') == 1
    message = refusal(listing(tmp_path, "path,label\na.wav\n"))
    assert "line 2: 1 cells, the header has 2" in message
    assert "stands in quotes" not in message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('a.wav,dog\n"b.wav,cat\nc.wav,dog\n', "line 3: a quote that opens there is not closed"),
        ('"a.wav,dog\nb.wav,"cat"\nc.wav,dog\n', "line 2: a quote that opens there is not closed"),
        ('a.wav,dog\nb.wav,"cat"s\n', "line 3: behind a cell in quotes stands neither ',' nor"),
        (f"a.wav,{'x' * 200_000}\n", "line 2: a cell of more than 131072 characters. Shorten it"),
    ],
)
def test_what_is_no_csv_is_reported_with_the_line_where_it_begins(
    tmp_path: Path, text: str, wanted: str
) -> None:
    message = refusal(listing(tmp_path, f"path,label\n{text}"))
    assert wanted in message
    assert message.endswith(", and repeat the command")


# --- names of columns ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["file", "filename", "File_Name", "filepath", "wav", "fname"])
@pytest.mark.parametrize("label", ["class", "category", "Target", "tag", "labels", "label"])
def test_other_names_of_columns_are_reported_with_a_command_that_reads_them(
    tmp_path: Path, path: str, label: str
) -> None:
    text = "\n".join(",".join(row) for row in [(path, label), *ROWS])
    command = command_in(refusal(listing(tmp_path, text)))
    assert labels(read_corpus(command)) == {"a": ("dog",), "b": ("cat",), "c": ("dog",)}


def test_the_proposed_command_takes_all_that_it_knows_and_names_the_rest(tmp_path: Path) -> None:
    header = "id,filename,category,fold,onset,offset,annotator"
    text = f"{header}\nx,a.wav,dog,1,0.05,0.1,me\ny,a.wav,cat,2,0.1,0.15,me\n"
    command = command_in(refusal(listing(tmp_path, text)))
    assert command.endswith(
        "?path=filename&label=category&split=fold&start_s=onset&end_s=offset&unknown=ignore"
    )
    corpus = read_corpus(f"{command}&test_folds=2")
    assert [(c.id, c.split, c.frames) for c in corpus.clips] == [
        ("x", "train", 800),
        ("y", "test", 800),
    ]
    assert "columns not read: annotator" in corpus.notes


def test_a_column_that_stands_twice_is_to_be_renamed(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, "path,label,label\na.wav,dog,cat\n"))
    assert "column 'label' stands twice" in message
    assert message.endswith(
        "Rename all but one column 'label' in the header, and repeat the command"
    )
    text = listing(tmp_path, "path,label,note,note\na.wav,dog,x,y\n")
    assert labels(read_corpus(f"{text}?unknown=ignore")) == {"a": ("dog",)}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_of_label_and_labels_an_option_names_the_one_to_read(tmp_path: Path, kind: str) -> None:
    text = listing(tmp_path, "path,label,labels\na.wav,dog,dog;cat\n")
    if kind == "jsonl":
        text = lines(tmp_path, {"path": "a.wav", "label": "dog", "labels": ["dog", "cat"]})
    command = command_in(refusal(text))
    assert labels(read_corpus(command)) == {"a": ("dog",)}
    other = command.replace("label=label", "label=labels")
    assert labels(read_corpus(other)) == {"a": ("dog", "cat")}


def test_an_index_without_a_name_is_passed_over(tmp_path: Path) -> None:
    for name in ("", "Unnamed: 0"):
        corpus = read_corpus(listing(tmp_path, f"{name},path,label\n0,a.wav,dog\n"))
        assert labels(corpus) == {"a": ("dog",)}
        assert corpus.notes == ("columns not read: 1 without a name",)


def test_a_list_without_a_header_is_reported(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, "a.wav,dog\nb.wav,cat\n"))
    assert "write one above it: path,label" in message


def test_an_unlabelled_list_is_reported(tmp_path: Path) -> None:
    source = listing(tmp_path, "path\na.wav\nb.wav\n")
    assert "label=none" in refusal(source)
    assert labels(read_corpus(f"{source}?label=none")) == {"a": (), "b": ()}


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = listing(tmp_path, "path,label\na.wav,dog\n")
    message = refusal(f"{source}?split=fold")
    assert "split=fold: no column of that name" in message
    assert command_in(message) == source
    source = listing(tmp_path, "file,klass,device\na.wav,dog,x\n")
    message = refusal(f"{source}?path=file&label=klas")
    assert "label=klas: no column of that name; the nearest is 'klass'" in message
    assert command_in(message) == f"{source}?path=file&label=klass&unknown=ignore"


def test_json_lines_of_other_tools_are_read_by_the_same_options(tmp_path: Path) -> None:
    rows = [{"audio_filepath": p, "duration": 0.2, "command": label} for p, label in ROWS]
    message = refusal(lines(tmp_path, *rows))
    assert message.count("missing field: path") == 1
    assert "missing field: path (and 2 more)" in message
    corpus = read_corpus(command_in(message))
    assert labels(corpus) == {"a": ("dog",), "b": ("cat",), "c": ("dog",)}
    assert corpus.notes == ("fields not read: duration",)
    message = refusal(f"{command_in(message)}&split=fold")
    assert "split=fold: no line has that field" in message


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", "|", ";"])
def test_several_labels_in_one_are_reported_and_separated_if_requested(
    tmp_path: Path, mark: str
) -> None:
    text = f'path,label\na.wav,"dog{mark}cat"\nb.wav,dog\n'
    source = listing(tmp_path, text)
    apart = {"a": ("dog", "cat"), "b": ("dog",)}
    assert labels(read_corpus(f"{source}?label_sep={mark}")) == apart
    if mark == ";":
        assert labels(read_corpus(source)) == apart
        whole = read_corpus(f"{source}?label_sep=")
    else:
        whole = read_corpus(source)
        assert f"add ?label_sep={mark}" in refusal(f"{source}?classes=dog;cat")
    assert labels(whole)["a"] == (f"dog{mark}cat",)
    assert any(f"add ?label_sep={mark}" in note for note in whole.notes)


@pytest.mark.parametrize(("mark", "option"), [("+", "+"), ("/", "/"), (" & ", "%26")])
def test_a_mark_that_joins_classes_which_stand_by_themselves_is_noted(
    tmp_path: Path, mark: str, option: str
) -> None:
    alone = "b.wav,dog\nc.wav,cat\n"
    source = listing(tmp_path, f"path,label\na.wav,dog{mark}cat\n{alone}")
    assert any(f"add ?label_sep={option}" in note for note in read_corpus(source).notes)
    assert labels(read_corpus(f"{source}?label_sep={option}"))["a"] == ("dog", "cat")
    source = listing(tmp_path, f"path,label\na.wav,dog{mark}bird\n{alone}")
    assert read_corpus(source).notes == ()


def test_metadata_of_an_audio_folder_may_join_labels_too(tmp_path: Path) -> None:
    write_clips(tmp_path, CLIPS)
    (tmp_path / "metadata.csv").write_text('file_name,label\na.wav,"dog,cat"\nb.wav,dog\n')
    source = f"audio-folder:{tmp_path}?validation_share=0&test_share=0"
    assert any("?label_sep=," in note for note in read_corpus(source).notes)
    corpus = read_corpus(f"{source}&label_sep=,")
    assert (corpus.task, labels(corpus)) == ("multi", {"a": ("dog", "cat"), "b": ("dog",)})


def test_whole_numbers_are_classes_unless_they_are_text_elsewhere(tmp_path: Path) -> None:
    rows = [{"path": "a.wav", "label": 1}, {"path": "b.wav", "labels": [10, 1]}]
    assert labels(read_corpus(lines(tmp_path, *rows))) == {"a": ("1",), "b": ("10", "1")}
    message = refusal(lines(tmp_path, *rows, {"path": "c.wav", "label": "1"}))
    assert "line 1: label 1 is a number, text in line 3" in message
    for odd in (1.5, True, {}):
        assert "label must be text" in refusal(lines(tmp_path, {"path": "a.wav", "label": odd}))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_may_be_one_label_of_a_clip(tmp_path: Path, kind: str) -> None:
    rows = [("a.wav", "dog"), ("b.wav", "dog"), ("a.wav", "cat")]
    if kind == "csv":
        text = "\n".join(",".join(row) for row in [("path", "label"), *rows])
        source = listing(tmp_path, text)
    else:
        source = lines(tmp_path, *({"path": p, "label": label} for p, label in rows))
    assert "?rows=label" in refusal(source)
    corpus = read_corpus(f"{source}?rows=label")
    assert (corpus.task, labels(corpus)) == ("multi", {"a": ("dog", "cat"), "b": ("dog",)})


def test_rows_of_one_clip_in_two_splits_are_not_joined(tmp_path: Path) -> None:
    source = listing(tmp_path, "path,label,split\na.wav,dog,train\na.wav,cat,test\n")
    message = refusal(f"{source}?rows=label")
    assert "line 3: a is in split test, in line 2 in train; a clip has one split" in message


def test_equal_stems_in_a_list_are_distinguished_by_their_suffix(tmp_path: Path) -> None:
    write_clips(tmp_path, ("a.flac",))
    source = listing(tmp_path, "path,label\na.wav,dog\na.flac,cat\n")
    assert "?ids=path" in refusal(source)
    corpus = read_corpus(f"{source}?ids=path")
    assert labels(corpus) == {"a.wav": ("dog",), "a.flac": ("cat",)}


# --- splits --------------------------------------------------------------------------------------


def test_splits_may_be_folds(tmp_path: Path) -> None:
    rows = [{"path": p, "label": label, "fold": n} for n, (p, label) in enumerate(ROWS)]
    source = f"{lines(tmp_path, *rows)}?split=fold"
    assert {c.split for c in read_corpus(source).clips} == {"0", "1", "2"}
    corpus = read_corpus(f"{source}&validation_folds=1&test_folds=2")
    assert [c.split for c in corpus.clips] == ["train", "validation", "test"]
    assert "no clip in fold '7' of test_folds; folds: 0, 1, 2" in refusal(f"{source}&test_folds=7")
    plain = listing(tmp_path, "path,label\na.wav,dog\n")
    assert "name it with ?split=fold" in refusal(f"{plain}?test_folds=2")
    broken = listing(tmp_path, "path,label,split\na.wav,dog\n")
    message = refusal(f"{broken}?test_folds=2")
    assert "line 2: 2 cells, the header has 3" in message
    assert "1 problem\n" in message


def test_a_fold_in_two_forms_is_one_and_in_two_cases_must_serve_one_split(tmp_path: Path) -> None:
    names = ["K\u00fcche", "Ku\u0308che ", "Flur"]
    rows = [
        {"path": p, "label": label, "room": n} for n, (p, label) in zip(names, ROWS, strict=True)
    ]
    source = f"{lines(tmp_path, *rows)}?split=room"
    for written in names[:2]:
        corpus = read_corpus(f"{source}&test_folds={written}")
        assert [c.split for c in corpus.clips] == ["test", "test", "train"]
    rows[1]["room"] = "k\u00fcche"
    source = f"{lines(tmp_path, *rows)}?split=room"
    message = refusal(f"{source}&test_folds=K\u00fcche")
    assert r"'K\xfcche' (test), 'k\xfcche' (train); write them alike, or name them" in message
    corpus = read_corpus(f"{source}&test_folds=K\u00fcche;k\u00fcche")
    assert [c.split for c in corpus.clips] == ["test", "test", "train"]


# --- paths ---------------------------------------------------------------------------------------


def test_absolute_paths_within_the_corpus_are_relative_ones(tmp_path: Path) -> None:
    relative = read_corpus(listing(tmp_path, "path,label\na.wav,dog\nb.wav,cat\n"))
    text = f"path,label\n{tmp_path}/a.wav,dog\n{tmp_path}/x/../b.wav,cat\n"
    assert read_corpus(listing(tmp_path, text)) == relative
    (tmp_path / "link").symlink_to(tmp_path)
    through_link = f"csv:{tmp_path}/link/clips.csv"
    assert read_corpus(through_link) == relative
    (tmp_path / "clips.csv").write_text(
        f"path,label\n{tmp_path}/link/a.wav,dog\n{tmp_path}/b.wav,cat"
    )
    assert [c.path for c in read_corpus(through_link).clips] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("kind", ["csv", "audio-folder"])
@pytest.mark.parametrize("absolute", [True, False])
def test_paths_lead_out_only_as_far_as_requested(tmp_path: Path, kind: str, absolute: bool) -> None:
    write_clips(tmp_path / "pool", CLIPS)
    lists = tmp_path / "lists"
    lists.mkdir()
    pool = str(tmp_path / "pool") if absolute else "../pool"
    name, column = ("clips.csv", "path") if kind == "csv" else ("metadata.csv", "file_name")
    (lists / name).write_text(f"{column},label\n{pool}/a.wav,dog\n")
    source = f"csv:{lists / name}?" if kind == "csv" else f"audio-folder:{lists}?label=label&"
    message = refusal(source.rstrip("?&"))
    assert f"leaves the corpus folder {lists}" in message
    assert f"?links={tmp_path}" in message
    corpus = read_corpus(f"{source}links={tmp_path}")
    assert [(c.path, c.frames) for c in corpus.clips] == [("pool/a.wav", 3200)]
    if source.endswith("&"):  # the advice, added as it stands
        message = refusal(f"{source[:-1]}?links={tmp_path}")
        assert "an option after the first begins with & and not with ?: &links=" in message
    assert "leaves the corpus folder" in refusal(f"{source}links={lists}")


def test_a_json_array_is_reported_with_how_to_become_lines(tmp_path: Path) -> None:
    text = json.dumps([{"path": "a.wav", "label": "dog"}], indent=1)
    message = refusal(listing(tmp_path, text, "clips.json", kind="jsonl"))
    assert "objects are not a line each" in message
    assert "jq -c '.[]'" in message
    cut = refusal(listing(tmp_path, text[:-1], kind="jsonl"))
    assert "jq -c '.[]'" in cut
    message = refusal(listing(tmp_path, '["a.wav","dog"]\n', kind="jsonl"))
    assert 'line 1: expected a JSON object, got ["a.wav","dog"]' in message
    assert "jq" not in message


CLIP = {"path": "a.wav", "label": "dog"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (json.dumps({"meta": {"pages": 1}, "data": [CLIP]}), "jq -c '.data[]' LIST"),
        (json.dumps({"data": {"my clips": [CLIP]}}, indent=2), "jq -c '.data.\"my clips\"[]' LIST"),
        (json.dumps({"it's": [CLIP]}), "jq -c '.\"it'\"'\"'s\"[]' LIST"),
        (json.dumps(CLIP, indent=2) * 2, "jq -c . LIST"),
        (json.dumps(CLIP | {"events": [{"start": 1}]}, indent=2), "jq -c . LIST"),
    ],
)
def test_json_of_an_api_is_reported_with_how_to_become_lines(
    tmp_path: Path, text: str, wanted: str
) -> None:
    message = refusal(listing(tmp_path, text, kind="jsonl"))
    assert wanted in message
    assert "not JSON" not in message


def test_a_list_of_one_line_is_one(tmp_path: Path) -> None:
    row = json.dumps({"audio": "a.wav", "category": "x", "words": [{"w": "hi"}]})
    assert "?path=audio&label=category&unknown=ignore" in refusal(
        listing(tmp_path, row, kind="jsonl")
    )


def test_columns_called_by_numbers_are_no_times(tmp_path: Path) -> None:
    source = listing(tmp_path, "0,1,2\na.wav,x,9\nb.wav,y,9\n")
    assert "Audacity" not in refusal(source)
    assert "?path=0&label=1&unknown=ignore" in refusal(f"{source}?path=0&label=1")


def test_lines_with_lists_of_objects_are_lines(tmp_path: Path) -> None:
    row = json.dumps(CLIP | {"events": [{"start": 1}]})
    for text in (row, f"{row}\n{row.replace('a.wav', 'b.wav')}\n"):
        corpus = read_corpus(f"{listing(tmp_path, text, kind='jsonl')}?unknown=ignore")
        assert len(corpus.clips) == text.count("path")


def test_a_fold_with_a_semicolon_in_its_name_is_named_alone(tmp_path: Path) -> None:
    rows = [
        {"path": p, "label": label, "show": s} for (p, label), s in zip(ROWS, SHOWS, strict=True)
    ]
    source = f"{lines(tmp_path, *rows)}?split=show"
    corpus = read_corpus(f"{source}&validation_folds=Q%26A; live&test_folds=News;")
    assert {clip.split for clip in corpus.clips} == {"train", "validation", "test"}
    assert fold_splits(["1", "2", "1;2"], "", "1;2", []) == {"1": "test", "2": "test"}
    message = refusal(f"{source}&validation_folds=Q%26A; live;News")
    assert "one with ; in its name is given alone, or renamed" in message


def test_classes_whose_apostrophes_differ_are_named(tmp_path: Path) -> None:
    names = ("O'Brien", "O\u2019Brien", "Ada")
    rows = [{"path": p, "label": n} for (p, _), n in zip(ROWS, names, strict=True)]
    (note,) = read_corpus(lines(tmp_path, *rows)).notes
    assert "\"O'Brien\" and 'O\\u2019Brien' differ in case" in note


@pytest.mark.parametrize("marks", [("x", "", "X"), ("1", "0", "1"), ("TRUE", "FALSE", "TRUE")])
def test_a_column_of_marks_is_no_class_without_a_word(
    tmp_path: Path, marks: tuple[str, ...]
) -> None:
    rows = "".join(f"{p},{mark},x\n" for (p, _), mark in zip(ROWS, marks, strict=True))
    source = listing(tmp_path, f"path,Robin,Wren\n{rows}")
    corpus = read_corpus(f"{source}?label=Robin&unknown=ignore")
    assert any("if the list has a column for each class, with marks" in n for n in corpus.notes)
    plain = read_corpus(listing(tmp_path, "path,label\na.wav,1\nb.wav,2\n"))
    assert plain.notes == ()


def test_exported_labels_of_audacity_are_named(tmp_path: Path) -> None:
    for text in ("0.5\t1.25\tRobin\n2\t3\tWren\n", "0,500000\t1,250000\tRobin\n"):
        message = refusal(listing(tmp_path, text))
        assert "as Audacity exports labels" in message
        assert "with the columns path, start_s, end_s and label" in message


def test_labels_on_lines_of_a_cell_are_told_what_separates_them(tmp_path: Path) -> None:
    source = listing(tmp_path, 'path,label\na.wav,"Robin\nWren"\nb.wav,Robin\n')
    (note,) = read_corpus(source).notes
    assert "add ?label_sep=%0A" in note
    assert read_corpus(f"{source}?label_sep=%0A").classes == ("Robin", "Wren")


def test_what_is_left_out_of_a_list_may_be_times(tmp_path: Path) -> None:
    header = "Datei;Kategorie;Beginn;Ende"
    source = listing(tmp_path, f"{header}\na.wav;dog;0,5;1\n")
    message = refusal(f"{source}?path=Datei&label=Kategorie")
    assert "that leaves Beginn, Ende out: if two of them say where clips begin" in message


def test_absolute_paths_of_another_machine_are_reported_with_their_prefix(tmp_path: Path) -> None:
    text = "path,label\n/home/bob/sounds/a.wav,dog\n/home/bob/sounds/b.wav,cat\n"
    source = listing(tmp_path, text)
    message = refusal(source)
    assert "line 2: path '/home/bob/sounds/a.wav' leaves the corpus folder" in message
    assert message.count("?prefix=/home/bob/sounds") == 1
    here = read_corpus(listing(tmp_path, "path,label\na.wav,dog\nb.wav,cat\n", "here.csv"))
    assert read_corpus(f"{source}?prefix=/home/bob/sounds").clips == here.clips
    rooted = listing(tmp_path, "path,label\n/a.wav,dog\n/b.wav,cat\n")
    assert "?prefix=/" in refusal(rooted)
    assert read_corpus(f"{rooted}?prefix=/").clips == here.clips


def test_a_clip_in_two_groups_is_named_with_them(tmp_path: Path) -> None:
    """As of a listening test, where each row is one listener's label."""
    source = listing(tmp_path, "path,label,listener\na.wav,dog,L0\na.wav,cat,L1\nb.wav,dog,L0\n")
    message = refusal(f"{source}?group=listener&rows=label")
    assert (
        "1 problem\n  - line 3: a is in group L1, in line 2 in L0; a clip has one group" in message
    )


def test_recordings_that_are_listed_twice_are_no_stretches(tmp_path: Path) -> None:
    source = listing(tmp_path, "id,path,label\n1,a.wav,dog\n2,a.wav,cat\n3,b.wav,dog\n")
    assert not [note for note in read_corpus(source).notes if "stretch(es)" in note]


def test_an_offset_alone_is_no_end(tmp_path: Path) -> None:
    message = refusal(listing(tmp_path, "file,offset,class\na.wav,0.05,wren\n"))
    assert "?path=file&label=class&unknown=ignore'" in message


@pytest.mark.parametrize("begins", ["OFFSET", "start", "start_s"])
def test_stretches_that_have_a_duration_need_their_ends(tmp_path: Path, begins: str) -> None:
    """As of Kaleidoscope and NeMo: where OFFSET begins a stretch it is not taken for its end."""
    source = listing(tmp_path, f"IN FILE,{begins},DURATION,class\na.wav,0.05,0.1,wren\n", "k.csv")
    message = refusal(f"{source}?path=IN FILE")
    assert (
        f"Rows begin at {begins} and last DURATION: add a column end_s, the sum of both" in message
    )
    text = f"IN FILE,{begins},DURATION,end_s,class\na.wav,0.05,0.1,0.15,wren\n"
    message = refusal(f"{listing(tmp_path, text, 'k.csv')}?path=IN FILE")
    [way] = [line for line in message.splitlines() if line.startswith("Read it as ")]
    [clip] = read_corpus(shlex.split(way.removeprefix("Read it as "))[0].rstrip(",")).clips
    assert (clip.start_s, clip.end_s, clip.labels) == (0.05, 0.15, ("wren",))


@pytest.mark.parametrize(
    ("folder", "prefix"), [("C:\\Users\\Bob\\my clips\\", "C:/Users/Bob/my clips"), ("d:/", "d:"),
                           ("\\\\nas\\sounds\\", "//nas/sounds")],
)  # fmt: skip
def test_paths_of_a_windows_machine_are_reported_with_their_prefix(
    tmp_path: Path, folder: str, prefix: str
) -> None:
    write_clips(tmp_path, ("dog/a.wav",))
    listed = folder + ("dog/a.wav" if "\\" not in folder else "dog\\a.wav")
    source = listing(tmp_path, f"path,label\n{listed},dog\n{folder}b.wav,cat\n")
    assert f"?prefix={prefix}" in refusal(source)
    here = read_corpus(listing(tmp_path, "path,label\ndog/a.wav,dog\nb.wav,cat\n", "here.csv"))
    for given in (prefix, folder):
        assert read_corpus(f"{source}?prefix={given}").clips == here.clips


def test_the_line_that_gives_excel_the_separator_is_no_header(tmp_path: Path) -> None:
    corpus = read_corpus(listing(tmp_path, "sep=;\npath;label\na.wav;dog\n"))
    assert labels(corpus) == {"a": ("dog",)}
    assert "line 3: the path is empty" in refusal(listing(tmp_path, "sep=|\npath|label\n|dog\n"))


def test_a_table_that_is_called_json_lines_is_reported(tmp_path: Path) -> None:
    source = listing(tmp_path, "path,label\na.wav,dog\n", kind="jsonl")
    assert "a table with a header is read by csv:" in refusal(source)


@pytest.mark.parametrize(
    ("data", "way"),
    [
        (b"PK\x03\x04" + bytes(200), "save the sheet as CSV"),
        (gzip.compress(b"path,label\n", mtime=0), "gunzip it"),
    ],
    ids=["workbook", "gzip"],
)
def test_a_list_that_is_packed_is_rejected_with_the_way_to_it(
    tmp_path: Path, data: bytes, way: str
) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(UsageError, match=way) as caught:
        read_corpus(f"csv:{tmp_path}/list.csv")
    assert "iconv" not in str(caught.value)


def test_the_command_of_a_list_in_an_odd_place_can_be_pasted(tmp_path: Path) -> None:
    (tmp_path / "l'été [1]").mkdir()
    source = listing(tmp_path / "l'été [1]", "file,class\na.wav,dog\nb.wav,cat\n")
    assert labels(read_corpus(command_in(refusal(source)))) == {"a": ("dog",), "b": ("cat",)}


def test_an_ampersand_in_a_value_is_named_with_how_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "Q&A=1").mkdir()
    text = listing(tmp_path, b"path,label\na.wav,dog\n")
    message = refusal(f"{text}?root={tmp_path}/Q&A=1")
    assert "unknown option of corpus csv 'A'" in message
    assert message.endswith("In a value & is written %26, and % is %25")
    assert "%26" not in refusal(f"{text}?rooot=1")


def test_a_patient_whose_name_two_systems_write_is_one_group(tmp_path: Path) -> None:
    names = ["Andr\u00e9", "\u200fAndre\u0301", "Zo\u00eb\u202c", "Zoe\u0308"] * 6
    rows = [f"{number}.wav,dog,{name}" for number, name in enumerate(names)]
    write_clips(tmp_path, [f"{number}.wav" for number in range(len(rows))])
    text = "\n".join(["path,label,patient", *rows]) + "\n"
    corpus = read_corpus(
        f"{listing(tmp_path, text.encode())}?group=patient&validation=0.4&test=0.4"
    )
    assert {clip.group for clip in corpus.clips} == {"Andr\u00e9", "Zo\u00eb"}
    for group in ("Andr\u00e9", "Zo\u00eb"):
        assert len({clip.split for clip in corpus.clips if clip.group == group}) == 1


def test_numbers_and_texts_in_one_list_of_labels_are_named(tmp_path: Path) -> None:
    message = refusal(lines(tmp_path, {"path": "a.wav", "labels": [7, "x"]}))
    assert "numbers and texts are not mixed" in message
    assert "not mixed" not in refusal(lines(tmp_path, {"path": "a.wav", "labels": [0.5]}))
