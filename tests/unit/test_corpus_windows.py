"""Long recordings cut into windows: what is covered, how far apart, and what stays as it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from small_corpora import fsdd

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.audio.decode import decode, segment_frames
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.corpora.windows import MIN_HOP_S, Windows

RATE_HZ = 8000


def corpus_of(*clips: Clip) -> Corpus:
    return Corpus(root=Path("/"), clips=clips, classes=("dog",), task="single")


def recording(frames: int, rate_hz: int = RATE_HZ, start: int = 0) -> Clip:
    return Clip(
        id="a",
        path="a.wav",
        labels=("dog",),
        split="train",
        start_s=start / rate_hz,
        end_s=(start + frames) / rate_hz if start else None,
        frames=frames,
        source_rate_hz=rate_hz,
    )


def write(folder: Path, **lengths_s: float) -> str:
    (folder / "dog").mkdir()
    for name, length_s in lengths_s.items():
        samples = np.linspace(-0.5, 0.5, round(length_s * RATE_HZ))
        soundfile.write(folder / f"dog/{name}.wav", samples, RATE_HZ)
    return f"folder:{folder}?validation=0&test=0"


def frames_of(clip: Clip) -> tuple[int, int]:
    """First frame and the frame after the last, as the decoder will see them."""
    return segment_frames(10**9, clip.source_rate_hz, clip.start_s, clip.end_s)


@st.composite
def _cuts(draw: st.DrawFn) -> tuple[Windows, Clip]:
    window_s = draw(st.floats(0.002, 30))
    overlap_s = draw(st.floats(0, 1)) * (window_s - MIN_HOP_S)
    rate_hz = draw(st.sampled_from([1000, 8000, 11_025, 16_000, 44_100, 48_000]))
    # At most some thousand windows.
    hop = max(1, round((window_s - overlap_s) * rate_hz))
    frames = draw(st.integers(1, round(window_s * rate_hz) + 300 * hop))
    start = draw(st.sampled_from([0, 1, 12_345]))
    return Windows(window_s=window_s, overlap_s=overlap_s), recording(frames, rate_hz, start)


@given(_cuts())
def test_windows_cover_the_recording_inside_it_a_hop_apart(cut: tuple[Windows, Clip]) -> None:
    windows, clip = cut
    length = round(windows.window_s * clip.source_rate_hz)
    hop = round((windows.window_s - windows.overlap_s) * clip.source_rate_hz)
    first = round(clip.start_s * clip.source_rate_hz)
    last = first + clip.frames
    cuts = windows.cut(corpus_of(clip)).clips
    if clip.frames <= length:
        assert cuts == (clip,)
        return
    spans = [frames_of(window) for window in cuts]
    assert spans[0][0] == first
    assert all(stop <= last for _, stop in spans)
    assert {stop - start for start, stop in spans} == {length} == {w.frames for w in cuts}
    steps = [b[0] - a[0] for a, b in pairwise(spans)]
    assert set(steps[:-1]) <= {hop}
    assert all(step == hop or hop / 2 <= step < hop for step in steps[-1:])
    # Nothing between windows is left out, and at the end less than half a step.
    assert all(step <= length for step in steps)
    assert last - spans[-1][1] < hop / 2
    assert len({window.id for window in cuts}) == len(cuts)
    assert {(w.path, w.labels, w.split) for w in cuts} == {(clip.path, clip.labels, clip.split)}


def test_a_rest_of_half_a_window_gets_a_window_that_ends_with_the_recording() -> None:
    windows = Windows(window_s=2)
    cut = {
        tail_s: [clip.id for clip in windows.cut(corpus_of(recording(4 * RATE_HZ + tail))).clips]
        for tail_s, tail in {"0.99": 7920, "1": 8000, "1.5": 12_000}.items()
    }
    assert cut == {
        "0.99": ["a#0", "a#2"],
        "1": ["a#0", "a#2", "a#3"],
        "1.5": ["a#0", "a#2", "a#3.5"],
    }


def test_of_windows_that_overlap_a_rest_of_half_their_step_is_enough() -> None:
    """Recorders end some samples before the full minute: its last second is in a window too."""
    windows = Windows(window_s=3, overlap_s=1.5)
    cut = windows.cut(corpus_of(recording(60 * RATE_HZ - 8))).clips
    assert len(cut) == 39
    assert cut[-1].end_s == 60 - 8 / RATE_HZ
    assert len(windows.cut(corpus_of(recording(60 * RATE_HZ - 6001))).clips) == 38


def test_windows_of_a_stretch_are_named_by_their_place_in_the_file() -> None:
    clip = recording(4 * RATE_HZ, start=RATE_HZ)
    cut = Windows(window_s=2, overlap_s=1).cut(corpus_of(clip)).clips
    assert [(w.id, w.start_s, w.end_s) for w in cut] == [
        ("a#1", 1, 3),
        ("a#2", 2, 4),
        ("a#3", 3, 5),
    ]


def test_short_and_unreadable_clips_stay_as_they_are() -> None:
    clips = (recording(RATE_HZ), replace(recording(0), id="b", source_rate_hz=0))
    assert Windows(window_s=1).cut(corpus_of(*clips)).clips == clips


def test_every_kind_takes_windows_beside_its_own_options(tmp_path: Path) -> None:
    corpus = read_corpus(f"{write(tmp_path, long=2.5, short=0.5)}&window_s=1&overlap_s=0.5")
    ids = [clip.id for clip in corpus.clips]
    assert ids == ["dog/long#0", "dog/long#0.5", "dog/long#1", "dog/long#1.5", "dog/short"]
    (note,) = corpus.notes
    assert note == (
        "1 of 2 clips are longer than 1 s and cut into 4 windows, each with all labels of its "
        "recording; 0.0 s at their ends dropped"
    )
    digits = read_corpus(f"{fsdd.write(tmp_path / 'digits')}?window_s=0.05")
    assert {clip.frames for clip in digits.clips} == {400}
    assert {clip.id.count("#") for clip in digits.clips} == {1}


def test_windows_decode_to_their_stretch_of_the_recording(tmp_path: Path) -> None:
    corpus = read_corpus(f"{write(tmp_path, long=2.5)}&window_s=1&overlap_s=0.25")
    whole = decode(tmp_path / "dog/long.wav", sample_rate_hz=RATE_HZ).waveform
    for clip in corpus.clips:
        decoded_window = decode(
            tmp_path / clip.path, start_s=clip.start_s, end_s=clip.end_s, sample_rate_hz=RATE_HZ
        )
        first = round(clip.start_s * RATE_HZ)
        assert decoded_window.source_frames == clip.frames == RATE_HZ
        np.testing.assert_array_equal(decoded_window.waveform, whole[first : first + RATE_HZ])


def test_a_window_with_the_id_of_another_clip_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, a=2)
    lines = "id,path,label,start_s,end_s\na,dog/a.wav,dog,,\na#1,dog/a.wav,dog,0,0.5\n"
    (tmp_path / "clips.csv").write_text(lines)
    with pytest.raises(UsageError, match="1 windows have the ids of other clips\n  - 'a#1'"):
        read_corpus(f"csv:{tmp_path / 'clips.csv'}?window_s=1&overlap_s=0")


@pytest.mark.parametrize(
    "query",
    [
        "overlap_s=1",
        "window_s=0",
        "window_s=-1",
        "window_s=nan",
        "window_s=inf",
        "window_s=2&overlap_s=2",
        "window_s=2&overlap_s=-1",
        "window_s=2&overlap_s=nan",
        "window_s=ten",
        "window_s=2&window_s=2",
    ],
)
def test_windows_of_no_length_are_rejected(tmp_path: Path, query: str) -> None:
    with pytest.raises(UsageError, match=r"(window|overlap)_s"):
        read_corpus(f"{write(tmp_path, a=2)}&{query}")
