"""AudioSet's lists of any content: segments come back as written, and nothing else is believed."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpora.published.audioset import Segment, parse_segments

NAMES = {f"/m/{number:03x}": f"class {number}" for number in range(8)}
VIDEOS = st.text(string.ascii_letters + string.digits + "-_", min_size=11, max_size=11)
SEGMENTS = st.builds(
    lambda video, start, length, mids: (video, start, start + length, mids),
    VIDEOS,
    st.integers(0, 40_000),
    st.integers(1, 10),
    st.lists(st.sampled_from(sorted(NAMES)), min_size=1, unique=True),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(SEGMENTS), st.sampled_from(["\n", "\r\n"]), st.sampled_from([", ", ","]))
def test_what_is_written_is_read(segments: list[tuple], newline: str, comma: str) -> None:
    lines = ["# Segments csv", '# "num_ytids', "# YTID, start_seconds"]
    lines += [
        comma.join([video, f"{start}.000", f"{end}.000", f'"{",".join(mids)}"'])
        for video, start, end, mids in segments
    ]
    problems: list[str] = []
    read = list(parse_segments(newline.join(lines), "x.csv", NAMES, problems))
    assert problems == []
    assert read == [
        (f"x.csv line {number}", Segment(video, start, end, tuple(NAMES[mid] for mid in mids)))
        for number, (video, start, end, mids) in enumerate(segments, 4)
    ]


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet=st.sampled_from('abcdefghijk_-0123456789., "#/m\n\r\t'), max_size=200))
def test_each_line_of_any_text_is_read_or_reported(text: str) -> None:
    problems: list[str] = []
    read = list(parse_segments(text, "x.csv", NAMES, problems))
    lines = [line.strip() for line in text.split("\n")]
    expected = [line for line in lines if line and not line.startswith("#")]
    assert len(read) + len(problems) == len(expected)
    assert all(segment.end_s > segment.start_s >= 0 for _, segment in read)
