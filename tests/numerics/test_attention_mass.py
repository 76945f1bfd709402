"""The share of attention inside the clip: by hand, and again in NumPy, clip by clip."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_cache
import small_views
import torch
from click.testing import CliRunner, Result
from small_views import TEACHER_FIRST_S, TEACHER_HOP_S, TEST, TRAIN

from cache_schema.reader import open_cache
from student.evaluation import cli as evaluate_cli
from student.evaluation.attention_curves import clip_curves
from student.evaluation.attention_mass import attention_mass, mass_inside
from student.runs.checkpoint import save_weights, write_json
from student.runs.settings import build_student
from student.stream.unit_loader import UnitLoader, collate

TAUGHT = {"name": "temporal", "weight": 1.0, "options": {}, "teachers": [""]}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_views.write_views(tmp_path_factory.mktemp("mass") / "views.zarr")


def write_run(run: Path, student: str = "att-rnn", **changes: Any) -> Path:
    """A run whose student knows nothing yet."""
    torch.manual_seed(0)
    save_weights(run, build_student(student, {}, len(small_views.CLASSES)))
    config = {
        "student": student,
        "student_options": {},
        "distill": [],
        "classes": list(small_views.CLASSES),
        "task": "single",
        "class_map": None,
        "metric": None,
    }
    write_json(run / "config.json", config | changes)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("mass-run") / "run")


def evaluate(*words: object) -> Result:
    return CliRunner().invoke(evaluate_cli.main, [*map(str, words)])


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0.0, 4.0), 1.0),
        ((1.0, 2.0), 0.2),  # the whole of one frame
        ((1.5, 1.75), 0.05),  # a quarter of one
        ((0.5, 2.5), 0.1 * 0.5 + 0.2 + 0.3 * 0.5),
        ((3.0, 9.0), 0.4),
        ((5.0, 6.0), 0.0),
    ],
)
def test_frames_count_by_the_part_that_lies_inside(
    place: tuple[float, float], expected: float
) -> None:
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]])
    found = mass_inside(weights, torch.tensor([0.5]), 1.0, torch.tensor([place]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_rows_have_their_own_times_and_sums() -> None:
    weights = torch.tensor([[1.0, 1.0, 2.0], [0.3, 0.1, 0.0]])
    places = torch.tensor([[0.0, 0.25], [0.0, 0.25]])
    found = mass_inside(weights, torch.tensor([0.0, 0.25]), 0.5, places)
    # Row 0: half of frame 0 reaches from -0.25 to 0.25. Row 1: frame 0 from 0 to 0.5.
    assert found.tolist() == pytest.approx([0.125, 0.375], abs=1e-6)


def inside(weights: Any, first_s: float, hop_s: float, place: tuple[float, float]) -> float:
    """The same by fine sampling of time."""
    fine = 1000
    total = 0.0
    for frame, weight in enumerate(np.asarray(weights, np.float64)):
        times = first_s + (frame - 0.5 + (np.arange(fine) + 0.5) / fine) * hop_s
        total += weight * np.mean((place[0] <= times) & (times < place[1]))
    return total / float(np.sum(weights, dtype=np.float64))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("student_name", ["att-rnn", "tc-resnet"])
def test_it_is_the_mean_over_the_rows_of_view_0(
    views: Path, tmp_path: Path, split: str, student_name: str
) -> None:
    run, cache = write_run(tmp_path / "run", student_name), open_cache(views)
    torch.manual_seed(0)
    student = build_student(student_name, {}, 3).eval()
    wanted: dict[str, list[float]] = {"student": [], "teacher": [], "chance": []}
    loader = UnitLoader(cache, student.front_end, ())
    for unit in cache.units(split, 0):
        for place, clip in enumerate(range(unit.first_clip, unit.first_clip + unit.rows)):
            row, stretch = small_views.row(clip, 0), small_views.place(clip, 0)
            teacher = row["temporal_attention"]
            wanted["teacher"].append(inside(teacher, TEACHER_FIRST_S, TEACHER_HOP_S, stretch))
            batch = collate([(loader.load(unit), place)])
            with torch.no_grad():
                output = student(batch.features_BTM, batch.lengths_B)
                attribution = student.frame_attribution(output)[0].numpy()
            first_s = float(output.first_frame_s_B[0])
            wanted["student"].append(inside(attribution, first_s, output.hop_s, stretch))
            seconds = len(row["waveform"]) / small_views.RATE_HZ
            wanted["chance"].append((stretch[1] - stretch[0]) / seconds)
    found = attention_mass(run, cache, split)
    assert found is not None
    assert found.pop("clips") == (TRAIN if split == "train" else TEST)
    assert found == pytest.approx({k: np.mean(v) for k, v in wanted.items()}, abs=1e-3)


def test_a_cache_that_keeps_no_places_has_none(tmp_path: Path) -> None:
    classes = {"classes": list(small_cache.CLASSES)}
    run = write_run(tmp_path / "run", **classes)
    save_weights(run, build_student("att-rnn", {}, 2))
    old = open_cache(small_cache.copy_small_cache(tmp_path / "old.zarr"))
    assert attention_mass(run, old, "test") is None


def test_the_teacher_is_the_one_that_taught(views: Path, tmp_path: Path) -> None:
    taught_by_b = [{**TAUGHT, "teachers": ["b"]}]
    run = write_run(tmp_path / "run", distill=taught_by_b)
    found = attention_mass(run, open_cache(views), "test")
    assert found is not None
    assert found["teacher"] is None, "b's attention is not in this cache"
    assert 0 < found["student"] < 1


def test_the_command_reports_it(views: Path, run: Path) -> None:
    found = attention_mass(run, open_cache(views), "test")
    assert found is not None
    shown = evaluate(run, views)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[1] == (
        f"attention inside the clip: {found['student']:.1%}; teacher {found['teacher']:.1%}; by "
        f"chance {found['chance']:.1%} (3 clips)"
    )
    assert json.loads(evaluate(run, views, "--json").stdout)["attention_mass"] == found


def test_several_clips_and_runs_are_drawn_side_by_side(
    views: Path, run: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    other = write_run(tmp_path / "other", distill=[TAUGHT])
    words = ["--clip", "clip-6", "--clip", "clip-8", "--beside", other, "--plot"]
    shown = evaluate(run, views, *words, tmp_path / "several.png")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.strip().endswith("clip-6, clip-8; teacher, undistilled, distilled")
    one = evaluate(run, views, "--clip", "clip-6", "--plot", tmp_path / "new" / "one.png")
    assert one.exit_code == 0, one.output
    sizes = [_width(tmp_path / name) for name in ("several.png", "new/one.png")]
    assert sizes[0] > sizes[1]


def test_runs_of_one_name_are_distinguished_by_their_folders(views: Path, tmp_path: Path) -> None:
    """As the runs of a comparison, whose folders are all called seed-N."""
    distill = [TAUGHT]
    runs = [
        write_run(tmp_path / condition / "seed-0", distill=distill if condition != "none" else [])
        for condition in ("none", "temporal", "both")
    ]
    (clip,) = clip_curves(runs, open_cache(views), "test", ["clip-6"])
    assert list(clip.curves) == [
        "teacher",
        "undistilled (none/seed-0)",
        "distilled (temporal/seed-0)",
        "distilled (both/seed-0)",
    ]


def _width(picture: Path) -> int:
    return int.from_bytes(picture.read_bytes()[16:20], "big")


def test_a_picture_without_clips_has_those_that_the_run_is_most_wrong_on(
    views: Path, run: Path, tmp_path: Path
) -> None:
    predictions, picture = tmp_path / "p.csv", tmp_path / "p.png"
    assert evaluate(run, views, "--predictions", predictions).exit_code == 0
    with predictions.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    wrong = [row for row in rows if row["student"] != row["label"]]
    worst = sorted(wrong, key=lambda row: float(row[f"student {row['label']}"]))[:3]
    drawn = evaluate(run, views, "--plot", picture)
    assert drawn.exit_code == 0, drawn.output
    expected = [row["clip"] for row in worst] or [rows[0]["clip"]]
    assert f"{picture}: {', '.join(expected)};" in drawn.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plot", "p.png", "--mark-s", "0", "1"], "of one clip, got 0: add --clip ID"),
        (["--clip", "a"], "belong to --plot"),
        (["--plot", "p.png", "--clip", "a", "--clip", "b", "--mark-s", "0", "1"], "of one clip, got 2"),
        (["--plot", "p.png", "--clip", "nobody"], "no clip 'nobody'"),
        (["--plot", "p.png", "--clip", "nobody"], "--clips --split test"),
        (["--plot", "p.png", "--clip", "clip-6", "--mark-s", "90", "99"], "lies behind clip 'clip-6'"),
        (["--plot", "p.png", "--clip", "a", "--mark-s", "0.4", "0.1"], "--mark-s 0.4 0.1: the stretch"),
    ],
)  # fmt: skip
def test_wrong_words_are_rejected(views: Path, run: Path, words: list[str], message: str) -> None:
    refused = evaluate(run, views, *words)
    assert refused.exit_code == 2
    assert message in refused.stderr
