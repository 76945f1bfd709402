"""A request none of whose clips the teacher takes ends before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache_schema.errors import UsageError
from pipeline.precompute.inputs import Request, open_inputs
from pipeline.precompute.unit_inputs import _length_problem
from pipeline.teachers.toy import ToyTeacher

RATE_HZ, TEACHER_HZ = 8000, 16_000


def corpus(root: Path, *lengths_s: float) -> str:
    for number, length_s in enumerate(lengths_s):
        path = root / "train" / "dog" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(round(length_s * RATE_HZ), 0.1), RATE_HZ)
    return f"folder:{root}"


def refusal(text: str, root: Path, *steps: str) -> str:
    request = Request(corpora=(text,), teacher="toy", out=root / "c.zarr", view_steps=steps)
    with pytest.raises(UsageError) as caught:
        open_inputs(request)
    assert caught.value.kind == "lengths"
    assert not (root / "c.zarr").exists()
    return str(caught.value)


def test_clips_that_are_too_short_are_named_with_what_the_teacher_takes(tmp_path: Path) -> None:
    message = refusal(corpus(tmp_path, 0.005, 0.01), tmp_path)
    assert "none of the 2 clips that can be read" in message
    assert "takes, 0.02 s to 1800 s: by their headers they are of 0.005 s to 0.01 s" in message
    assert message.endswith("--view placement:length_s=1, and repeat the command")


def test_a_clip_that_is_a_sample_too_short_is_not_shown_as_the_shortest_taken() -> None:
    teacher = ToyTeacher()
    message = _length_problem(teacher.min_samples - 1, teacher)
    assert message == "0.0199375 s long; teacher toy takes 0.02 s to 1800 s"


def test_clips_that_are_too_long_are_to_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyTeacher, "max_samples", 2 * TEACHER_HZ)
    text = corpus(tmp_path, 2.5, 3)
    for given, option in ((text, "?"), (f"{text}?labels=folder", "&")):
        message = refusal(given, tmp_path)
        assert f"with '{given}{option}window_s=2', or" in message
        assert "--view crop:length_s=2" in message


def test_a_view_that_makes_every_clip_too_short_is_named(tmp_path: Path) -> None:
    message = refusal(corpus(tmp_path, 0.5), tmp_path, "gain", "crop:length_s=0.001")
    assert "they are of 0.5 s, and their views 0.001 s" in message
    assert "Give --view crop other lengths or leave it out" in message


def test_one_clip_that_fits_is_enough(tmp_path: Path) -> None:
    request = Request(
        corpora=(corpus(tmp_path, 0.005, 0.5),), teacher="toy", out=tmp_path / "c.zarr"
    )
    assert sorted(open_inputs(request).lengths.tolist()) == [0, RATE_HZ]
