"""Lists of events: windows have the labels of what sounds in them, and none where nothing does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.events import labels_within
from pipeline.corpora.interface import Corpus, Event

RATE_HZ = 8000
EVENTS = """recording,onset,offset,sound,site
dawn.wav,0.5,3.0,robin,wood
dawn.wav,2.0,9.0,rain,wood
dawn.wav,4.2,4.8,robin;wren,wood
short.wav,0.0,1.0,wren,lake
quiet.wav,,,,lake
"""
NAMED = "path=recording&start_s=onset&end_s=offset&label=sound&group=site"
LENGTHS_S = {"dawn.wav": 12.0, "short.wav": 2.0, "quiet.wav": 8.0}


@pytest.fixture
def events(tmp_path: Path) -> str:
    for name, length_s in LENGTHS_S.items():
        soundfile.write(tmp_path / name, np.full(round(length_s * RATE_HZ), 0.1), RATE_HZ)
    (tmp_path / "events.csv").write_text(EVENTS)
    return f"csv:{tmp_path}/events.csv?{NAMED}&rows=event"


def labels(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    return {clip.id: clip.labels for clip in corpus.clips}


def test_windows_have_the_events_that_lie_in_them(events: str) -> None:
    corpus = read_corpus(f"{events}&window_s=4")
    assert corpus.task == "multi"
    assert corpus.classes == ("rain", "robin", "wren")
    assert labels(corpus) == {
        "dawn#0": ("robin", "rain"),
        "dawn#4": ("rain", "robin", "wren"),
        "dawn#8": (),
        "short": ("wren",),
        "quiet#0": (),
        "quiet#4": (),
    }
    # Without an event they have none of the classes; nothing of a labelled recording is unlabelled.
    assert all(clip.labelled for clip in corpus.clips)
    assert {clip.group for clip in corpus.clips} == {"wood", "lake"}
    assert len({clip.split for clip in corpus.clips if clip.path == "dawn.wav"}) == 1
    assert any("each with the labels of the events in it" in note for note in corpus.notes)


def test_without_windows_the_option_is_named(events: str) -> None:
    with pytest.raises(UsageError, match="add &window_s=5"):
        read_corpus(events)


def test_stretches_over_others_are_noted_with_the_option(events: str, tmp_path: Path) -> None:
    (note,) = (
        note
        for note in read_corpus(events.replace("&rows=event", "")).notes
        if "begin inside another" in note
    )
    assert note.startswith("2 stretch(es)")
    assert "rows=event" in note
    (tmp_path / "apart.csv").write_text(
        "path,label,start_s,end_s\ndawn.wav,a,0,2\ndawn.wav,b,2,4\n"
    )
    assert read_corpus(f"csv:{tmp_path}/apart.csv").notes == ()


def test_a_recording_in_two_splits_is_reported(events: str, tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text(
        "path,label,start_s,end_s,split\ndawn.wav,a,0,2,train\ndawn.wav,b,2,4,test\n"
    )
    with pytest.raises(
        UsageError, match=r"line 3: dawn\.wav is in split test, an earlier event of it in train"
    ):
        read_corpus(f"csv:{tmp_path}/two.csv?rows=event&window_s=4")


@given(
    st.lists(
        st.builds(
            lambda start, length, label: Event(start, start + length, (label,)),
            st.integers(0, 50),
            st.integers(1, 20),
            st.sampled_from("abc"),
        ),
        max_size=8,
    ),
    st.integers(0, 50),
    st.integers(1, 20),
)
def test_an_event_is_a_label_where_half_of_it_or_of_the_window_lies_in_it(
    found: list[Event], start: int, length: int
) -> None:
    cells = set(range(start, start + length))
    expected = set()
    for event in found:
        own = set(range(int(event.start_s), int(event.end_s)))
        if 2 * len(own & cells) >= min(len(own), length) and own & cells:
            expected |= {*event.labels}
    assert set(labels_within(found, start, start + length)) == expected


def listed(folder: Path, rows: str) -> str:
    (folder / "own.csv").write_text(f"path,label,start_s,end_s,split\n{rows}")
    return f"csv:{folder}/own.csv?rows=event&window_s=4"


@pytest.mark.usefixtures("events")
def test_events_behind_the_end_are_noted_and_milliseconds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"2 of 2 events .* first of dawn: at 1000 s.* divide mill"
    ):
        read_corpus(listed(tmp_path, "dawn.wav,a,1000,2000,train\ndawn.wav,b,3000,4000,train\n"))
    with pytest.raises(UsageError, match=r"at 12\.000002 s, where .* at 12 s.* are seconds$"):
        read_corpus(listed(tmp_path, "dawn.wav,a,12.000002,13,train\n"))
    corpus = read_corpus(listed(tmp_path, "dawn.wav,a,1,2,train\ndawn.wav,b,12,14,train\n"))
    assert any(
        note.startswith("warning: 1 of 2 events begin behind the end") for note in corpus.notes
    )


@pytest.mark.usefixtures("events")
def test_a_list_without_any_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no row names what sounds"):
        read_corpus(listed(tmp_path, "dawn.wav,,,,train\nquiet.wav,,,,test\n"))


@pytest.mark.usefixtures("events")
def test_one_recording_under_two_paths_is_one(tmp_path: Path) -> None:
    corpus = read_corpus(listed(tmp_path, "dawn.wav,a,0,2,train\n./dawn.wav,b,0,2,train\n"))
    assert corpus.clips[0].labels == ("a", "b")


@pytest.mark.usefixtures("events")
def test_one_recording_in_two_spellings_loses_no_event(tmp_path: Path) -> None:
    rows = "dawn.wav,a,0,2,train\nDawn.WAV,b,4,6,train\n"
    with pytest.raises(UsageError, match=r"line 3: Dawn\.WAV is dawn\.wav of line 2 in other"):
        read_corpus(listed(tmp_path, rows))
    (tmp_path / "quiet.wav").rename(tmp_path / "Dawn.WAV")  # another file
    assert labels(read_corpus(f"{listed(tmp_path, rows)}&ids=path"))["dawn.wav#4"] == ()


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("prefix", ["C:/Vib", r"\\NAS01\Vib$"])
def test_windows_does_not_tell_capitals_in_a_prefix(tmp_path: Path, prefix: str) -> None:
    rows = f"{prefix}/dawn.wav,a,0,2,train\n{prefix.lower()}/dawn.wav,b,4,6,train\n"
    corpus = read_corpus(f"{listed(tmp_path, rows)}&prefix={prefix}")
    assert labels(corpus) == {"dawn#0": ("a",), "dawn#4": ("b",), "dawn#8": ()}


@pytest.mark.usefixtures("events")
def test_events_that_end_far_behind_their_recording_are_noted(tmp_path: Path) -> None:
    notes = read_corpus(
        listed(tmp_path, "dawn.wav,a,5,6500,train\ndawn.wav,b,1,12.4,train\n")
    ).notes
    (note,) = [note for note in notes if "end behind" in note]
    assert note.startswith(
        "1 of 2 events end behind the end of their recording, first of dawn: at 6500 s"
    )
    assert "where the recording ends at 12 s. They are taken up to there" in note


RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tSpecies\n"
    "1\tSpectrogram 1\t1\t0.5\t3.0\tdawn.wav\trobin\n"
    "2\tSpectrogram 1\t1\t8.1\t11.9\tdawn.wav\twren\n"
)


def test_a_selection_table_of_raven_is_read_as_its_message_says(
    events: str, tmp_path: Path
) -> None:
    table = tmp_path / "dawn.selections.txt"
    table.write_text(RAVEN)
    with pytest.raises(UsageError, match="unknown column 'Begin File'") as caught:
        read_corpus(f"csv:{table}")
    command = str(caught.value).split("Read it as '")[1].split("'")[0]
    assert "with &rows=event&window_s=5" in str(caught.value)
    windows = read_corpus(f"{command}&rows=event&window_s=4").clips
    assert [(clip.start_s, clip.labels) for clip in windows] == [
        (0.0, ("robin",)), (4.0, ()), (8.0, ("wren",)),
    ]  # fmt: skip


def test_a_table_of_several_files_of_raven_names_where_rows_begin_in_each(tmp_path: Path) -> None:
    table = tmp_path / "night.txt"
    lines = RAVEN.splitlines()
    offsets = ["File Offset (s)", "0.5", "2.1"]
    table.write_text("".join(f"{line}\t{o}\n" for line, o in zip(lines, offsets, strict=True)))
    with pytest.raises(UsageError) as caught:
        read_corpus(f"csv:{table}")
    assert "Of a sequence of files Begin Time (s) counts from the first" in str(caught.value)
    assert "there begin at File Offset (s), and add a column of ends" in str(caught.value)


def test_rows_of_one_recording_without_times_are_perhaps_events(
    events: str, tmp_path: Path
) -> None:
    table = tmp_path / "dawn.selections.txt"
    table.write_text(RAVEN)
    named = f"csv:{table}?path=Begin File&label=Species&unknown=ignore"
    with pytest.raises(UsageError, match="name its times: "):
        read_corpus(named)


def test_a_table_of_birdnet_is_told_its_columns(events: str, tmp_path: Path) -> None:
    table = tmp_path / "birdnet.csv"
    table.write_text(
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        "0.0,3.0,Erithacus rubecula,robin,0.91,dawn.wav\n"
    )
    with pytest.raises(UsageError, match=r"label=Common name&start_s=Start \(s\)") as caught:
        read_corpus(f"csv:{table}")
    told = re.search(r"'csv:[^']*(\?path=File[^']*)'", str(caught.value))
    assert told
    assert read_corpus(f"csv:{table}{told[1]}").classes == ("robin",)


def test_events_without_times_are_none(tmp_path: Path, events: str) -> None:
    """Each would sound all the while."""
    (tmp_path / "plain.csv").write_text(
        "recording,sound,onset\ndawn.wav,robin,1\ndawn.wav,rain,2\n"
    )
    plain = (
        f"csv:{tmp_path}/plain.csv?path=recording&label=sound&unknown=ignore&rows=event&window_s=4"
    )
    with pytest.raises(UsageError, match="rows=event, and no row says when") as caught:
        read_corpus(plain)
    assert "columns not read: onset" in str(caught.value)
    (tmp_path / "empty.csv").write_text("path,label,start_s,end_s\ndawn.wav,robin,,\n")
    with pytest.raises(UsageError, match="rows=event, and no row says when"):
        read_corpus(f"csv:{tmp_path}/empty.csv?rows=event&window_s=4")
    assert read_corpus(f"{plain}&start_s=onset").classes == ("rain", "robin")
