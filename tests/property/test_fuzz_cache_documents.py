"""Caches whose documents are wrong, also with digests that agree, as a stranger can make them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import pytest
import small_cache
from fuzzing import fuzzing, mutated_bytes, mutated_json, run, seeds
from hypothesis import given
from resign_cache import sign, write_manifest

from cache_schema.documents import problems_of
from cache_schema.errors import CacheError
from cache_schema.inspection.cli import main as inspect_cache
from cache_schema.metadata import CommitRecord, Manifest, PartIndex, PartPlan, SignedManifest
from cache_schema.reader import open_cache
from cache_schema.store.files import canonical_json

DOCUMENTS = (
    "manifest.json",
    "parts/part-000/plan.json",
    "parts/part-001/plan.json",
    "parts/part-000/commits/000001.json",
    "parts/part-001/commits/000004.json",
    "parts/part-000/index/index.json",
    "parts/part-000/index/object_bytes/zarr.json",
    "parts/part-000/index/row_lengths/zarr.json",
    "parts/part-000/logits/zarr.json",
    "parts/part-001/attention_map/zarr.json",
    "clips/labels/zarr.json",
    "clips/id_offsets/zarr.json",
    "clips/id_bytes/zarr.json",
    "zarr.json",
)
MODELS = (Manifest, SignedManifest, PartPlan, CommitRecord, PartIndex)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cache.write_small_cache(tmp_path_factory.mktemp("cache") / "small.zarr")


def use(root: Path) -> None:
    """All that the schema offers over a cache; only its own errors may come out."""
    for options in ([], ["--verify"], ["--json", "--clip", "clip-1"]):
        run(inspect_cache, root, *options)
    try:
        cache = open_cache(root)
        for split in cache.splits:
            for unit in cache.units(split):
                rows = cache.read_unit(unit, list(cache.signals))
                assert all(len(rows.signals[name]) == len(rows.clip) for name in cache.signals)
        cache.clip_ids()
    except CacheError:
        pass


@fuzzing(400)
@given(seeds)
def test_a_document_is_valid_or_its_problems_are_reported(whole: Path, seed: int) -> None:
    dice = random.Random(seed)
    content = (whole / dice.choice(DOCUMENTS)).read_bytes()
    problems = problems_of(dice.choice(MODELS), mutated_json(content, dice))
    assert all(len(line) < 6000 for line in problems)


@pytest.fixture(scope="module")
def mine(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to change."""
    root = tmp_path_factory.mktemp("mutant") / "small.zarr"
    shutil.copytree(whole, root)
    return root


@contextmanager
def restored(root: Path, key: str) -> Iterator[Path]:
    """The path of an object that is put back afterwards, with all that :func:`sign` changes."""
    keys = {key, "manifest.json"}
    keys |= {f"parts/{p}/index/index.json" for p in ("part-000", "part-001")}
    before = {k: (root / k).read_bytes() for k in keys}
    try:
        yield root / key
    finally:
        for k, content in before.items():
            (root / k).write_bytes(content)


@fuzzing(25)
@given(seeds)
def test_a_damaged_document_never_ends_in_a_traceback(mine: Path, seed: int) -> None:
    dice = random.Random(seed)
    with restored(mine, dice.choice(DOCUMENTS)) as path:
        before = path.read_bytes()
        path.write_bytes(mutated_json(before, dice))
        use(mine)
        code, _ = run(inspect_cache, mine, "--verify")
        assert code == 3 or path.read_bytes() == before


@fuzzing(40)
@given(seeds)
def test_a_document_that_is_wrong_but_signed_never_ends_in_a_traceback(
    mine: Path, seed: int
) -> None:
    dice = random.Random(seed)
    with restored(mine, dice.choice(DOCUMENTS)) as path:
        if path.name == "manifest.json":
            mutant = mutated_json(canonical_json(json.loads(path.read_bytes())["manifest"]), dice)
            try:
                write_manifest(mine, json.loads(mutant))
            except (ValueError, RecursionError):
                path.write_bytes(mutant)
        else:
            path.write_bytes(mutated_json(path.read_bytes(), dice))
            sign(mine)
        use(mine)


@fuzzing(25)
@given(seeds)
def test_index_and_clip_table_that_are_wrong_but_signed_never_end_in_a_traceback(
    mine: Path, seed: int
) -> None:
    dice = random.Random(seed)
    folders = [mine / "clips", *(mine / f"parts/{p}/index" for p in ("part-000", "part-001"))]
    files = (path for folder in folders for path in folder.glob("*/c/**/*") if path.is_file())
    with restored(mine, dice.choice(sorted(files)).relative_to(mine).as_posix()) as path:
        content = mutated_bytes(path.read_bytes()[:-4], dice)
        path.write_bytes(content + int(google_crc32c.value(content)).to_bytes(4, "little"))
        sign(mine)
        use(mine)
