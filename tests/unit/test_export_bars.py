"""A file that misses a bar is rejected, with both values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cache_schema.errors import RunError
from student.export.bars import check_int8, check_parity
from student.export.forms import FormSpec
from student.export.parity import Parity, Scores, Unfilled

GOOD = Parity(
    clips=500,
    largest_difference=9e-6,
    rounding=1e-6,
    agreement=1.0,
    metric="accuracy",
    scores=Scores(500, 0.9, 0.9),
    held_out=Scores(0, None, None),
    unfilled=Unfilled(0, None),
    shapes=[],
    source="500 labelled clips: 500 of test",
)
FEATURES = FormSpec(kind="static", takes="features", samples=16_000)
WAVEFORM = replace(FEATURES, takes="waveform")


def test_a_file_that_answers_alike_passes() -> None:
    check_parity(GOOD, FEATURES, "model.onnx")
    check_parity(replace(GOOD, largest_difference=9e-5), WAVEFORM, "model.onnx")
    check_int8(GOOD, 350, 1000 * 1000, has_step=False, more_clips=True, name="model.onnx")


@pytest.mark.parametrize("difference", [1.1e-5, float("nan"), float("inf")])
def test_a_difference_above_the_bar_is_reported_with_it(difference: float) -> None:
    with pytest.raises(RunError) as caught:
        check_parity(replace(GOOD, largest_difference=difference), FEATURES, "model.onnx")
    assert f"largest difference {difference:.2g}, allowed 1e-05" in str(caught.value)
    assert "Nothing was written" in str(caught.value)


def test_a_student_of_more_rounding_is_held_to_its_own() -> None:
    check_parity(replace(GOOD, largest_difference=3e-5, rounding=1e-5), FEATURES, "model.onnx")
    for difference, rounding in ((4.1e-5, 1e-5), (1.1e-4, 1.0), (1e-3, float("nan"))):
        with pytest.raises(RunError, match="allowed"):
            check_parity(
                replace(GOOD, largest_difference=difference, rounding=rounding), FEATURES, "m"
            )


def test_another_class_is_reported() -> None:
    with pytest.raises(RunError, match=r"the same class for 99\.8% of the clips, needed 100 %"):
        check_parity(replace(GOOD, agreement=0.998), FEATURES, "model.onnx")


def int8_message(
    parity: Parity, bytes_int8: int, bytes_float: int, *, has_step: bool, more_clips: bool = True
) -> str:
    sizes, ways = (bytes_int8, bytes_float), {"has_step": has_step, "more_clips": more_clips}
    with pytest.raises(RunError) as caught:
        check_int8(parity, *sizes, **ways, name="model.onnx")
    return str(caught.value)


def test_all_bars_of_int8_are_reported_at_once() -> None:
    bad = replace(GOOD, agreement=0.9688, scores=Scores(500, 0.9, 0.8899))
    message = int8_message(bad, 400_000, 1_000_000, has_step=False)
    assert "misses 3 bar(s)" in message
    assert "the float student's class for 96.9% of 500 clips, needed 97%" in message
    assert "accuracy of them 0.8899, float 0.9000: allowed to lose 0.01" in message
    assert "400,000 bytes, float 1,000,000: 0.40 of it, allowed 0.35" in message
    assert "or calibrate with more clips (--clips)" in message
    assert "--streaming" not in message
    assert "--streaming" in int8_message(bad, 1, 2, has_step=True)
    exhausted = int8_message(bad, 1, 2, has_step=False, more_clips=False)
    assert exhausted.endswith("Export it in float (without --int8).")


def test_a_small_file_may_keep_more_of_its_size() -> None:
    check_int8(GOOD, 130_000, 297_000, has_step=False, more_clips=True, name="model.onnx")
    message = int8_message(GOOD, 140_000, 297_000, has_step=False)
    assert "140,000 bytes, float 297,000: 0.47 of it, allowed 0.45" in message
    assert "--clips" not in message, "which change no size"


def test_a_better_score_is_no_loss() -> None:
    check_int8(
        replace(GOOD, scores=Scores(500, 0.9, 0.95)),
        1,
        10,
        has_step=False,
        more_clips=True,
        name="model.onnx",
    )
    without = replace(GOOD, scores=Scores(0, None, None))
    check_int8(without, 1, 10, has_step=False, more_clips=True, name="model.onnx")
