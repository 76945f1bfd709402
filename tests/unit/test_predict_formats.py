"""What is written of an answer: escaped, complete, and read back as it was."""

from __future__ import annotations

import csv
import doctest
import io
import json
from types import ModuleType

import numpy as np
import pytest

from cache_schema.terminal import Terminal
from student.predict import exported, formats
from student.predict.exported import probabilities
from student.predict.formats import bars, csv_header, csv_rows, json_line, table
from student.predict.prediction import Prediction
from student.predict.stretches import StretchPrediction

CLASSES = ("=1+1", "yes\x1b[31m", "no,\n|")
SCORES = (0.2, 0.7, 0.1)
NAME = "rec\u202ex\x07.wav"


def answered(frames: int = 4, scores: tuple[float, ...] = SCORES) -> StretchPrediction:
    prediction = Prediction(
        classes=CLASSES,
        logits_C=np.log(np.array(scores, np.float32)),
        probabilities_C=np.array(scores),
        times_T=0.02 + 0.04 * np.arange(frames),
        attention_T=np.arange(1, frames + 1) / max(1, sum(range(frames + 1))),
    )
    return StretchPrediction(NAME, 1.5, 2.5, 16_000, prediction)


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_csv_has_the_likeliest_class_of_a_single_label_task() -> None:
    header, row = rows_of(f"{csv_header(False)}\n{csv_rows(answered(), 'single', None, False)}")
    assert dict(zip(header, row, strict=True)) == {
        "recording": "rec\\u202ex\\x07.wav",
        "start_s": "1.5",
        "end_s": "2.5",
        "class": "yes\\x1b[31m",
        "score": "0.7",
    }


def test_csv_has_every_class_of_a_multi_label_task_and_no_formula() -> None:
    rows = rows_of(csv_rows(answered(), "multi", None, False))
    assert [row[3] for row in rows] == ["yes\\x1b[31m", "'=1+1", "no,\\n|"]


@pytest.mark.parametrize("top", [1, 2, 3, 50])
def test_top_limits_what_is_reported(top: int) -> None:
    assert len(rows_of(csv_rows(answered(), "single", top, False))) == min(top, 3)
    assert len(json.loads(json_line(answered(), "multi", top, False))["classes"]) == min(top, 3)


def test_csv_has_the_frames_in_three_cells() -> None:
    header, row = rows_of(f"{csv_header(True)}\n{csv_rows(answered(), 'single', None, True)}")
    found = dict(zip(header, row, strict=True))
    assert (found["first_frame_s"], found["hop_s"]) == ("1.52", "0.04")
    assert found["attention"] == "0.1 0.2 0.3 0.4"


def test_json_reads_back_as_it_was() -> None:
    line = json_line(answered(), "multi", None, True)
    assert "\n" not in line
    assert "\x1b" not in line
    found = json.loads(line)
    assert found["recording"] == NAME
    assert found["classes"][0] == {"class": CLASSES[1], "score": 0.7}
    assert len(found["classes"]) == 3
    assert (found["first_frame_s"], found["hop_s"]) == (1.52, 0.04)
    assert found["attention"] == [0.1, 0.2, 0.3, 0.4]


def shown(
    rows: list[StretchPrediction], task: str, top: int | None = None, frames: bool = False
) -> str:
    out = io.StringIO()
    Terminal(file=out, width=160).print(table(rows, task, top, frames))
    return out.getvalue()


def test_a_table_shows_what_is_likelier_than_not() -> None:
    text = shown([answered(scores=(0.8, 0.7, 0.1))], "multi")
    assert "=1+1" in text
    assert "yes\\x1b[31m" in text
    assert "no," not in text
    assert "\x1b[31m" not in text
    assert "none above 0.5; first =1+1" in shown([answered(scores=(0.3, 0.2, 0.1))], "multi")
    assert shown([answered()], "single").count("0.7000") == 1
    assert "0.1000" in shown([answered()], "single", top=3)


def test_a_table_shows_where_it_listened() -> None:
    text = shown([answered()], "single", frames=True)
    assert "1.64" in text  # the last frame of four
    assert "▂▄▆█" in text


def test_bars_are_never_more_than_a_line() -> None:
    assert len(bars(np.ones(1000))) == 40
    assert bars(np.zeros(5)) == "     "
    assert bars(np.array([1.0])) == "█"


@pytest.mark.parametrize("module", [exported, formats])
def test_examples_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted) == (0, 1)


def test_scores_of_any_size_are_probabilities() -> None:
    logits_C = np.array([-1e4, -1.0, 0.0, 1e4], np.float32)
    np.testing.assert_allclose(probabilities(logits_C, "multi"), [0, 1 / (1 + np.e), 0.5, 1])
    np.testing.assert_allclose(probabilities(logits_C, "single"), [0, 0, 0, 1])
    np.testing.assert_allclose(probabilities(logits_C[1:3], "single").sum(), 1)
