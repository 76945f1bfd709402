"""Writing, sealing and reading back a cache."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_cache
import zarr

from cache_schema.errors import CacheError, RunError, UsageError
from cache_schema.inspection.summary import clip_facts, summary
from cache_schema.integrity.cleanup import remove_leftovers
from cache_schema.integrity.verify import verify
from cache_schema.metadata import SignedManifest
from cache_schema.reader import Ragged, UnitRows, open_cache
from cache_schema.store.files import canonical_json, sha256
from cache_schema.store.part_digests import chunk_keys
from cache_schema.writer import (
    MANIFEST,
    UnitRow,
    add_part,
    incomplete_units,
    load_manifest,
    missing_units,
    part_folder,
    seal,
    write_unit,
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cache.write_small_cache(tmp_path_factory.mktemp("cache") / "small.zarr")


@pytest.fixture
def cache_dir(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "small.zarr"))


def test_every_row_reads_back_as_written(pristine: Path) -> None:
    cache = open_cache(pristine)
    seen = 0
    for split in cache.splits:
        for unit in cache.units(split):
            read = cache.read_unit(unit, list(cache.signals))
            for row, position in enumerate(read.clip.tolist()):
                wanted = small_cache.row(position, unit.view, list(cache.signals)).signals
                for name, signal in read.signals.items():
                    np.testing.assert_array_equal(signal[row], wanted[name], err_msg=name)
                seen += 1
    assert (
        seen == 4 * 2 + 2 - 1
    )  # two views of four training clips, two test clips, one quarantined


def test_quarantined_rows_are_left_out_with_their_labels(pristine: Path) -> None:
    cache = open_cache(pristine)
    (unit,) = cache.units("test")
    read = cache.read_unit(unit, ["temporal_attention"])
    assert read.clip.tolist() == [5]
    assert read.labels.tolist() == [[0, 1]]
    assert isinstance(read.signals["temporal_attention"], Ragged)
    assert len(read.signals["temporal_attention"]) == 1


def add_teacher_b(root: Path, quarantined: int) -> None:
    """A further teacher's logits, its provenance and one row it could not use, in view 0."""
    first = small_cache.first_plan()
    signals = [small_cache.spec("logits@b", "fixed", [3], 3)]
    plan = first.model_copy(
        update={"name": "part-002", "signals": signals, "teacher": {"id": "b"}, "source": "cache"}
    )
    add_part(root, plan)
    for unit in range(len(plan.units.rows)):
        at = (plan.units.first_clip[unit], plan.units.view[unit])
        rows = [
            UnitRow(reason="too long for b")
            if (at[0] + i, at[1]) == (quarantined, 0)
            else UnitRow(signals={"logits@b": np.full(3, at[0] + i + 10 * at[1], np.float16)})
            for i in range(plan.units.rows[unit])
        ]
        write_unit(root, plan, unit, rows)
    seal(root, plan)


def test_rows_of_several_teachers_are_aligned_and_usable_to_all_that_are_requested(
    cache_dir: Path,
) -> None:
    add_teacher_b(cache_dir, quarantined=1)
    cache = open_cache(cache_dir)
    first, _, third, _ = cache.units("train")
    names = ["logits@b", "waveform", "logits"]
    read = cache.read_unit(first, names)
    assert read.clip.tolist() == [0, 2]
    assert read.signals["logits@b"][:, 0].tolist() == [0, 2]
    for row, clip in enumerate(read.clip.tolist()):
        wanted = small_cache.row(clip, 0, ["waveform", "logits"]).signals
        np.testing.assert_array_equal(read.signals["waveform"][row], wanted["waveform"])
        np.testing.assert_array_equal(read.signals["logits"][row], wanted["logits"])
    assert cache.read_unit(first, ["waveform", "logits"]).clip.tolist() == [0, 1, 2]
    assert cache.read_unit(third, names).signals["logits@b"][:, 0].tolist() == [10, 11, 12]
    (test,) = cache.units("test")
    assert cache.read_unit(test, names).clip.tolist() == [5]  # 4 is the first teacher's loss
    assert verify(cache_dir) == []


def test_each_teacher_is_known_by_its_name(cache_dir: Path) -> None:
    assert list(open_cache(cache_dir).teachers) == [""]
    add_teacher_b(cache_dir, quarantined=1)
    cache = open_cache(cache_dir)
    assert cache.teachers == {"": cache.teacher, "b": {"id": "b"}}
    assert cache.teacher is not None
    assert cache.teacher["id"] == "small"
    assert {"logits", "logits@b"} < set(cache.signals)
    with pytest.raises(CacheError, match=r"'mfcc@b'.*--teacher-name b and --signal mfcc$"):
        cache.read_unit(cache.units("train")[0], ["mfcc@b"])


def test_a_clip_that_one_teacher_could_not_use_still_shows_the_others_answers(
    cache_dir: Path,
) -> None:
    add_teacher_b(cache_dir, quarantined=1)
    facts = clip_facts(open_cache(cache_dir), 1)
    assert not facts["quarantined"]
    assert "logits" in facts["signals"]
    assert "logits@b" not in facts["signals"]


def test_units_of_one_view(pristine: Path) -> None:
    cache = open_cache(pristine)
    assert [unit.view for unit in cache.units("train", view=1)] == [1, 1]
    assert cache.views == 2
    with pytest.raises(UsageError, match=r"'tset'; known: train, test\. Did you mean 'test'"):
        cache.units("tset")


def test_plain_zarr_opens_the_cache(pristine: Path) -> None:
    group = zarr.open_group(pristine, mode="r")
    logits = np.asarray(group["parts/part-000/logits"][:3])
    wanted = np.stack([small_cache.row(i, 0, ["logits"]).signals["logits"] for i in range(3)])
    np.testing.assert_array_equal(logits, wanted)
    assert (
        group["parts/part-000/temporal_attention"].metadata.codecs[-1].to_dict()["name"] == "crc32c"
    )


def test_a_missing_signal_names_the_command_that_adds_it(pristine: Path) -> None:
    cache = open_cache(pristine)
    with pytest.raises(CacheError, match=r"no signal 'mfcc'.*--signal mfcc") as caught:
        cache.read_unit(cache.units("train")[0], ["mfcc"])
    assert caught.value.kind == "missing_signal"


def test_an_unfinished_cache_reports_how_far_it_is(tmp_path: Path) -> None:
    plan = small_cache.lay_out(tmp_path / "c")
    write_unit(tmp_path / "c", plan, 1, small_cache.rows(plan, 1))
    assert missing_units(tmp_path / "c", plan) == [0, 2, 3, 4]
    with pytest.raises(CacheError, match="1 of 5 work units") as caught:
        open_cache(tmp_path / "c")
    assert caught.value.kind == "unfinished"
    with pytest.raises(CacheError, match="lacks 4 of 5"):
        seal(tmp_path / "c", plan)


@pytest.mark.parametrize("signal", ["logits", "temporal_attention"])
def test_a_unit_whose_chunk_a_copy_lacks_is_computed_again(
    pristine: Path, tmp_path: Path, signal: str
) -> None:
    """Copied while the cache was written, first the chunks, then the records."""
    root = tmp_path / "c"
    plan = small_cache.lay_out(root)
    for unit in range(5):
        write_unit(root, plan, unit, small_cache.rows(plan, unit))
    (part_folder(root, plan.name) / chunk_keys(plan, 2)[signal]).unlink()
    assert missing_units(root, plan) == []
    assert incomplete_units(root, plan) == [2]
    with pytest.raises(CacheError, match="lacks 1 of 5 work units, first 2"):
        seal(root, plan)
    write_unit(root, plan, 2, small_cache.rows(plan, 2))
    seal(root, plan)
    add_part(root, small_cache.second_plan())
    small_cache.compute(root, small_cache.second_plan())
    assert small_cache.tree_bytes(root) == small_cache.tree_bytes(pristine)


def test_order_and_repetition_of_units_do_not_change_a_byte(pristine: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    plan = small_cache.lay_out(root)
    for unit in (4, 2, 0, 3, 2, 1, 4):
        write_unit(root, plan, unit, small_cache.rows(plan, unit))
    seal(root, plan)
    add_part(root, small_cache.second_plan())
    small_cache.compute(root, small_cache.second_plan())
    assert small_cache.tree_bytes(root) == small_cache.tree_bytes(pristine)


def test_adding_a_part_touches_nothing_but_the_manifest(tmp_path: Path) -> None:
    root = tmp_path / "c"
    small_cache.compute(root, small_cache.lay_out(root))
    before = small_cache.tree_bytes(root)
    add_part(root, small_cache.second_plan())
    small_cache.compute(root, small_cache.second_plan())
    after = small_cache.tree_bytes(root)
    assert {key for key in before if after[key] != before[key]} == {MANIFEST}


@pytest.mark.parametrize("mounted", [False, True])
def test_a_unit_is_not_written_where_the_cache_was(tmp_path: Path, mounted: bool) -> None:
    root = tmp_path / "c"
    plan = small_cache.lay_out(root)
    root.rename(tmp_path / "moved")
    if mounted:  # and is no more
        root.mkdir()
    with pytest.raises(RunError, match="c is not there any more: the cache was moved") as caught:
        write_unit(root, plan, 0, small_cache.rows(plan, 0))
    assert caught.value.kind == "moved"
    assert not root.exists() or not list(root.iterdir())


def test_sweep_removes_what_a_kill_leaves_and_nothing_else(cache_dir: Path) -> None:
    before = small_cache.tree_bytes(cache_dir)
    (cache_dir / "parts/part-000/logits/c/0/0.abc.partial").write_bytes(b"half")
    (cache_dir / "parts/part-000/index.partial/row_usable").mkdir(parents=True)
    (cache_dir / "parts/part-009").mkdir()
    (cache_dir / "parts/part-009/plan.json").write_bytes(b"{}")
    remove_leftovers(cache_dir)
    assert small_cache.tree_bytes(cache_dir) == before


def test_sealing_again_after_a_lost_index_gives_the_same_bytes(cache_dir: Path) -> None:
    before = small_cache.tree_bytes(cache_dir)
    shutil.rmtree(cache_dir / "parts/part-000/index")
    seal(cache_dir, small_cache.first_plan())
    assert small_cache.tree_bytes(cache_dir) == before


def test_other_values_after_sealing_are_rejected(cache_dir: Path) -> None:
    plan = small_cache.first_plan()
    write_unit(cache_dir, plan, 1, small_cache.rows(plan, 4))
    with pytest.raises(CacheError, match="was sealed as") as caught:
        seal(cache_dir, plan)
    assert caught.value.kind == "stale"
    open_cache(cache_dir)  # the old index is still there
    write_unit(cache_dir, plan, 1, small_cache.rows(plan, 1))
    seal(cache_dir, plan)
    assert verify(cache_dir) == []


def test_a_clip_with_none_of_the_classes_is_no_unlabelled_one(tmp_path: Path) -> None:
    clips = small_cache.clips()
    clips[1] = replace(clips[1], labels=(), none_present=True)
    clips[2] = replace(clips[2], labels=())
    cache = open_cache(small_cache.write_small_cache(tmp_path / "c.zarr", clips))
    assert cache.clip_table.clips(0, 6) == clips
    rows = cache.read_unit(cache.units("train")[0], [])
    assert rows.clip.tolist() == [0, 1, 2]
    assert rows.labelled.tolist() == [True, True, False]
    assert rows.targets.tolist() == [[1, 0], [0, 0], [0, 0]]
    assert [clip_facts(cache, place)["labelled"] for place in range(3)] == [True, True, False]
    assert verify(tmp_path / "c.zarr") == []


def test_a_view_is_labelled_if_all_that_is_mixed_in_it_is() -> None:
    shares = np.array([[0.25, 0.75], [0.3, 0], [0, 0], [-1, -1], [0, 0], [-1, -1]], np.float16)
    none_present = np.array([False, True, True, True, False, False])
    of_clips = np.zeros((6, 2), np.uint8)
    rows = UnitRows(np.arange(6), of_clips, none_present, {"view_labels": shares})
    assert rows.labelled.tolist() == [True, True, True, False, False, False]
    np.testing.assert_array_equal(rows.targets, np.maximum(shares, 0))


def test_a_hole_in_the_clip_table_never_passes_for_unlabelled_clips(cache_dir: Path) -> None:
    (chunk,) = (cache_dir / "clips/labels/c").rglob("0/0")
    chunk.unlink()
    cache = open_cache(cache_dir)
    with pytest.raises(CacheError, match=r"clips/labels/c/0/0 is missing"):
        cache.read_unit(cache.units("train")[0], [])


def test_no_cache_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"does not exist\. Make one: precompute-teacher"):
        load_manifest(tmp_path / "nothing")
    with pytest.raises(CacheError, match="is not a cache"):
        load_manifest(tmp_path)


def test_a_newer_format_is_rejected_with_both_versions(cache_dir: Path) -> None:
    path = cache_dir / MANIFEST
    manifest = json.loads(path.read_bytes())["manifest"] | {"format_version": 2}
    path.write_bytes(
        SignedManifest(manifest=manifest, digest=sha256(canonical_json(manifest))).encode()
    )
    with pytest.raises(CacheError, match="cache format 2; this program reads up to 1") as caught:
        open_cache(cache_dir)
    assert caught.value.kind == "too_new"


def test_a_record_from_another_unit_is_noticed(cache_dir: Path) -> None:
    shutil.copy(
        small_cache.record_path(cache_dir, "part-000", 1),
        small_cache.record_path(cache_dir, "part-000", 4),
    )
    with pytest.raises(CacheError, match="is of another plan"):
        seal(cache_dir, small_cache.first_plan())


def test_a_unit_of_silence_and_one_that_is_quarantined_as_a_whole_are_stored_like_any_other(
    tmp_path: Path,
) -> None:
    plan = small_cache.lay_out(tmp_path / "c")
    silent = UnitRow(
        signals={
            "logits": np.zeros(2, np.float16),
            "temporal_attention": np.zeros(3, np.float16),
            "waveform": np.zeros(100, np.int16),
        }
    )
    for unit, count in enumerate(plan.units.rows):
        row = UnitRow(reason="file is empty") if unit == 2 else silent
        write_unit(tmp_path / "c", plan, unit, [row] * count)
    seal(tmp_path / "c", plan)
    assert verify(tmp_path / "c") == []
    cache = open_cache(tmp_path / "c")
    assert len(cache.read_unit(cache.units("test")[0], ["logits"]).clip) == 0
    read = cache.read_unit(cache.units("train", 0)[0], ["logits", "waveform"])
    assert (read.signals["logits"] == 0).all()
    assert (read.signals["waveform"].lengths == 100).all()


def test_a_hole_in_any_column_of_the_clip_table_is_rejected(cache_dir: Path) -> None:
    (cache_dir / "clips/frames/c/0").unlink()
    with pytest.raises(CacheError, match=r"clips/frames/c/0 is missing"):
        open_cache(cache_dir).clip_table.clips(0, 1)


def test_an_unfinished_cache_with_a_damaged_record_is_not_summed_up(tmp_path: Path) -> None:
    plan = small_cache.lay_out(tmp_path / "c")
    write_unit(tmp_path / "c", plan, 1, small_cache.rows(plan, 1))
    path = small_cache.record_path(tmp_path / "c", "part-000", 1)
    document = json.loads(path.read_bytes())
    del document["objects"]["waveform"]
    path.write_bytes(canonical_json(document))
    with pytest.raises(CacheError, match=r"record of work unit 1 of part-000 has digest"):
        summary(tmp_path / "c")
