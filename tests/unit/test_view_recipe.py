"""Views as a cache keeps them: what was drawn, what is true of a mixture, views in several parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_cache
import small_views
from click.testing import CliRunner
from small_views import DRAW_NAMES, RECIPE, TEST, TRAIN, VIEWS

from cache_schema.errors import CacheError
from cache_schema.inspection import cli as inspect_cli
from cache_schema.inspection.summary import clip_facts, summary, teacher_accuracy
from cache_schema.metadata import PartPlan, UnitTable
from cache_schema.reader import open_cache
from cache_schema.view_recipe import draw_names, place_within, read_step
from cache_schema.writer import add_part
from student.metrics.interface import true_classes
from student.metrics.teacher import teacher_predictions
from student.stream.stream import Stream
from student.stream.unit_loader import UnitLoader


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_views.write_views(tmp_path_factory.mktemp("views") / "views.zarr")


def inspected(*words: object) -> str:
    done = CliRunner().invoke(inspect_cli.main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_columns_are_named_by_the_recipe() -> None:
    assert draw_names(RECIPE) == DRAW_NAMES
    assert draw_names([*RECIPE, RECIPE[0]])[-1] == "placement-2.start_s"
    assert draw_names(["gain", "{'step': 'shift'}"]) == ("clip.start_s", "clip.end_s")


@pytest.mark.parametrize("text", ["gain", "{'step': 'gain'}", "{}", '{"step": 3}', "[" * 9999])
def test_what_is_no_step_is_none(text: str) -> None:
    assert read_step(text) is None


def test_a_place_is_given_where_it_is_a_part() -> None:
    assert place_within(np.array([0.5, 1.0, 7.0], np.float32), 1.0) == (0.5, 1.0)
    assert place_within(np.array([0.0, 1.0 - 1e-7], np.float32), 1.0) is None
    assert place_within(np.array([0.5, 0.5], np.float32), 1.0) is None
    assert place_within(np.array([np.nan, np.nan], np.float32), 1.0) is None


def test_every_view_reads_back_from_its_own_part(views: Path) -> None:
    cache = open_cache(views)
    assert cache.views == VIEWS
    assert cache.view_draw_names == DRAW_NAMES
    names = list(cache.signals)
    assert set(names) == set(small_views.row(0, 0))
    seen = []
    for split in cache.splits:
        for unit in cache.units(split):
            rows = cache.read_unit(unit, names)
            for place, clip in enumerate(rows.clip.tolist()):
                wanted = small_views.row(clip, unit.view)
                for name in names:
                    stored = rows.signals[name][place]
                    assert stored.dtype == wanted[name].dtype
                    np.testing.assert_array_equal(stored, wanted[name], err_msg=name)
                seen.append((clip, unit.view))
    every = [(clip, view) for clip in range(TRAIN) for view in range(VIEWS)]
    assert sorted(seen) == sorted([*every, *((TRAIN + i, 0) for i in range(TEST))])


@pytest.mark.parametrize("epoch", range(2 * VIEWS))
def test_epochs_take_turns_over_views_of_all_parts(views: Path, epoch: int) -> None:
    cache = open_cache(views)
    loader = UnitLoader(cache, "mfcc", ("clip_embedding", "temporal_attention"))
    stream = Stream(loader, "train", batch_size=4, seed=0)
    view, clips = epoch % VIEWS, []
    for batch in stream.epoch(epoch):
        for place, clip in enumerate(batch.clips.tolist()):
            clips.append(clip)
            assert batch.signals["clip_embedding"][place].tolist() == [clip, view]
            wanted = small_views.row(clip, view)
            own_frames = int(batch.signal_lengths["temporal_attention"][place])
            attention = batch.signals["temporal_attention"][place, :own_frames].numpy()
            np.testing.assert_array_equal(attention, wanted["temporal_attention"].astype("f4"))
            # Its own labels, not the clip's; without any it takes no part.
            np.testing.assert_array_equal(batch.labels_BC[place], wanted["view_labels"])
            assert bool(batch.labelled_B[place]) == (clip != TRAIN - 1)
    assert sorted(clips) == list(range(TRAIN))


def test_views_without_labels_of_their_own_have_their_clips(tmp_path: Path) -> None:
    cache = open_cache(small_views.write_views(tmp_path / "plain.zarr", labelled=False))
    assert cache.target_signals == ()
    stream = Stream(UnitLoader(cache, "mfcc", ()), "train", batch_size=9, seed=0)
    (batch,) = stream.epoch(2)
    for place, clip in enumerate(batch.clips.tolist()):
        hard = np.eye(3)[clip % 3] * (clip != TRAIN - 1)
        assert batch.labels_BC[place].tolist() == hard.tolist()


def test_a_held_out_split_has_the_same_labels_either_way(views: Path) -> None:
    cache = open_cache(views)
    (unit,) = cache.units("test")
    rows = cache.read_unit(unit, cache.target_signals)
    np.testing.assert_array_equal(rows.targets, rows.labels)


def test_a_mixture_counts_for_its_larger_share() -> None:
    shares = np.array([[0.25, 0.75, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]], np.float32)
    assert true_classes(shares, "single").astype(int).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert true_classes(shares, "multi").astype(int).tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_the_teacher_is_scored_on_mixtures(views: Path) -> None:
    cache = open_cache(views)
    taught = teacher_predictions(cache, "train")
    assert taught is not None
    assert len(taught.labels_NC) == TRAIN - 1
    wanted = [np.argmax(small_views.labels(clip, 0)) for clip in range(TRAIN - 1)]
    assert taught.labels_NC.argmax(1).tolist() == wanted
    logits = [small_views.row(clip, 0)["logits"].argmax() for clip in range(TRAIN - 1)]
    right = np.mean(np.array(logits) == wanted)
    assert teacher_accuracy(cache, "")["train"] == right


def test_inspection_reports_the_recipe(views: Path) -> None:
    assert summary(views)["parts"][1]["view_recipe"][0] == json.loads(RECIPE[0])
    lines = [line.strip() for line in inspected(views).splitlines()]
    assert "view step placement:length_s=1, draws start_s" in lines
    assert "view step noise:low_db=0,high_db=9, draws recording, snr_db" in lines
    assert "recordings train 2: rain.wav, sea.wav; test 1: fan.wav" in lines
    assert not any("view_draws" in line for line in lines if line.startswith("gives"))


def test_inspection_reports_a_recipe_of_plain_words(tmp_path: Path) -> None:
    old = small_cache.copy_small_cache(tmp_path / "old.zarr")
    assert open_cache(old).view_draw_names == ()
    assert "view step gain" in inspected(old)
    assert clip_facts(open_cache(old), 0)["drawn"] == []


def test_inspection_reports_what_was_drawn_for_each_view_of_a_clip(views: Path) -> None:
    drawn = json.loads(inspected(views, "--json", "--clip", "clip-1"))["clip"]["drawn"]
    assert drawn == [
        {
            "view": view,
            "clip.start_s": 0.25,
            "clip.end_s": 0.5 + 0.125 * view,
            "placement.start_s": 0.25,
            "noise.recording": "sea.wav",
            "noise.snr_db": float(view),
        }
        for view in range(VIEWS)
    ]
    held_out = clip_facts(open_cache(views), TRAIN)["drawn"]
    assert [(view["view"], view["noise.recording"]) for view in held_out] == [(0, "fan.wav")]


def test_a_recipe_that_does_not_fit_its_draws_is_damage(views: Path) -> None:
    cache = open_cache(views)
    plan: PartPlan = cache.parts[0].plan
    cache.parts[0].plan = plan.model_copy(update={"view_recipe": RECIPE[:1]})
    with pytest.raises(CacheError, match=r"in rows of \[5\], its recipe has 3: clip.start_s"):
        _ = cache.view_draw_names


def later_part(first_view: int, sizes: list[int]) -> PartPlan:
    """A seventh part over one view, cut in its own way."""
    table = UnitTable(
        split=["train"] * len(sizes), view=[first_view] * len(sizes),
        first_clip=np.cumsum([0, *sizes[:-1]]).tolist(), rows=sizes,
    )  # fmt: skip
    part = small_views.plan(6, 3, labelled=False, own=False)
    return part.model_copy(
        update={"first_view": first_view, "units": table, "unit_rows": max(sizes)}
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (later_part(3, [1, 5]), "part-006 cuts its views into other work units than part-002"),
        (later_part(5, [5, 1]), "part-006 begins with view 5, expected view 4"),
        (later_part(2, [5, 1]), "part-006 begins with view 2, expected view 3"),
    ],
)
def test_parts_that_do_not_lie_side_by_side_are_rejected(
    views: Path, tmp_path: Path, part: PartPlan, message: str
) -> None:
    root = Path(shutil.copytree(views, tmp_path / "views.zarr"))
    add_part(root, part)
    small_views.compute(root, part)
    with pytest.raises(CacheError, match=message):
        open_cache(root)


def test_the_place_of_a_clip_is_drawn(views: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from cache_schema.inspection.plot import plot_clip

    cache = open_cache(views)
    facts = clip_facts(cache, 1)
    pictures = []
    for number, draws in enumerate(([0.25, 0.5], [0.0, 1.1])):
        place = np.array([*draws, 0, 0, 0], np.float32)
        picture = tmp_path / f"{number}.png"
        plot_clip(cache, facts | {"signals": facts["signals"] | {"view_draws": place}}, picture)
        pictures.append(picture.read_bytes())
    assert pictures[0] != pictures[1]
