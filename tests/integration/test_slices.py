"""``precompute-teacher --slice I/N``: tasks of a batch system's array make one cache."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import command, succeeded, write_tones
from small_cache import tree_bytes

from cache_schema.metadata import PartPlan
from cache_schema.store.lock import write_lock
from cache_schema.writer import incomplete_units, load_manifest, load_plans, missing_units
from pipeline.precompute import precompute as stage
from pipeline.precompute.inputs import Request

VIEWS = ("--view", "gain", "--views", 2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones")


def precompute(corpus: Path, out: Path, *options: object):
    words = [f"folder:{corpus}", "--teacher", "toy", "--out", out, "--unit-rows", 4, *options]
    return command("precompute-teacher", *words)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that one command made: its second view is a part of its own."""
    out = tmp_path_factory.mktemp("whole") / "c"
    succeeded(precompute(corpus, out, "--view", "gain"))
    succeeded(precompute(corpus, out, *VIEWS))
    return out


def test_slices_one_after_the_other_give_the_same_bytes(
    corpus: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    first = succeeded(precompute(corpus, out, "--view", "gain", "--slice", "2/3"))
    (plan,) = load_plans(out, load_manifest(out))
    others = len(missing_units(out, plan))
    assert f"{others} of other slices or already there" in first
    assert "work units left, which are other slices'" in first
    assert all(entry.index_sha256 is None for entry in load_manifest(out).parts)
    succeeded(precompute(corpus, out, "--view", "gain", "--slice", "1/3"))
    last = succeeded(precompute(corpus, out, "--view", "gain", "--slice", "3/3"))
    assert f"{out} is complete" in last
    assert "nothing to do" in succeeded(precompute(corpus, out, "--view", "gain", "--slice", "2/3"))
    for number in (3, 1, 2):
        succeeded(precompute(corpus, out, *VIEWS, "--slice", f"{number}/3"))
    assert tree_bytes(out) == tree_bytes(whole)


def test_other_work_units_than_a_part_was_begun_with_are_noted(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    assert "note: " not in succeeded(precompute(corpus, out, "--slice", "2/3"))
    shown = succeeded(precompute(corpus, out, "--slice", "2/3", "--unit-rows", 3))
    assert (
        "note: part-000 has work units of at most 4 rows, which stay as they are; --unit-rows 3 is"
        in shown
    )
    assert "note: " not in succeeded(precompute(corpus, out, "--slice", "2/3"))


def at_once(corpus: Path, out: Path, slices: Sequence[str], *options: object) -> None:
    with ThreadPoolExecutor(len(slices)) as pool:
        runs = pool.map(lambda text: precompute(corpus, out, *options, "--slice", text), slices)
        assert [run.returncode for run in runs] == [0] * len(slices)


def test_slices_at_once_give_the_same_bytes(corpus: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    at_once(corpus, out, ("1/3", "2/3", "3/3"), "--view", "gain")
    at_once(corpus, out, ("1/3", "2/3", "3/3"), *VIEWS)
    assert tree_bytes(out) == tree_bytes(whole)
    assert "nothing to do" in succeeded(precompute(corpus, out, *VIEWS))


def test_a_slice_that_failed_is_repeated_alone(corpus: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    succeeded(precompute(corpus, out, "--view", "gain", "--slice", "1/2"))
    (plan,) = load_plans(out, load_manifest(out))
    done = set(range(len(plan.units.rows))) - set(missing_units(out, plan))
    assert done == {u for u in range(len(plan.units.rows)) if u % 2 == 0}
    (out / f"parts/part-000/commits/{2:06d}.json").unlink()  # as if killed before
    succeeded(precompute(corpus, out, "--view", "gain", "--slice", "2/2"))
    assert missing_units(out, plan) == [2]
    succeeded(precompute(corpus, out, "--view", "gain", "--slice", "1/2"))
    succeeded(precompute(corpus, out, *VIEWS, "--slice", "1/1"))
    assert tree_bytes(out) == tree_bytes(whole)


def test_a_slice_calls_no_damaged_cache_complete(whole: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    shutil.copytree(whole, out)
    (out / f"parts/part-000/commits/{1:06d}.json").unlink()
    refused = precompute(corpus, out, *VIEWS, "--slice", "1/2")
    assert refused.returncode == 3
    assert (
        "was finished but lacks 1 work units, first 1. Repeat the command with --repair"
        in refused.stderr
    )


def test_a_slice_waits_for_the_seal_of_another(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    with ThreadPoolExecutor(1) as pool:
        with write_lock(out):
            run = pool.submit(precompute, corpus, out, "--slice", "1/1")
            with pytest.raises(TimeoutError):
                run.result(timeout=2)
        assert run.result().returncode == 0


def test_a_slice_that_sees_another_end_at_its_last_look_seals(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, looks = tmp_path / "c", []
    request = Request(corpora=(f"folder:{corpus}",), teacher="toy", out=out, unit_rows=4)
    succeeded(precompute(corpus, out, "--slice", "1/2"))
    (plan,) = load_plans(out, load_manifest(out))

    def looked(root: Path, plan: PartPlan) -> list[int]:
        found = incomplete_units(root, plan)
        looks.append(found)
        if len(looks) == 2:  # what is missing when this slice would seal
            list(stage.Precompute(request).compute(plan, found))
        return found

    monkeypatch.setattr(stage, "incomplete_units", looked)
    left = stage.Precompute(request).run_slice(1, 2, lambda *_: None, lambda *_: None)
    assert left == 0
    assert looks[1]
    assert load_manifest(out).sealed(plan.name)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "1/9999999"])
def test_what_is_no_slice_is_rejected(corpus: Path, tmp_path: Path, text: str) -> None:
    refused = precompute(corpus, tmp_path / "c", "--slice", text)
    assert refused.returncode == 2
    assert "expected I/N with I from 1 to N, and N up to 999999" in refused.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "other", [("--plan",), ("--check", "all"), ("--repair",), ("--scheduler", "127.0.0.1:9")]
)
def test_a_slice_beside_something_else_is_rejected(
    corpus: Path, tmp_path: Path, other: tuple[str, ...]
) -> None:
    refused = precompute(corpus, tmp_path / "c", "--slice", "1/2", *other)
    assert refused.returncode == 2
    assert other[0] in refused.stderr


def test_slices_of_another_recipe_are_rejected(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    succeeded(precompute(corpus, out, "--slice", "1/2"))
    refused = precompute(corpus, out, "--view", "gain", "--slice", "2/2")
    assert refused.returncode == 3
    assert "was made by another recipe" in refused.stderr
