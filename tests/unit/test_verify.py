"""Damage of every kind in every stored object is found, named and never read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_cache
from click.testing import CliRunner

from cache_schema.errors import CacheError
from cache_schema.inspection.cli import main
from cache_schema.integrity.cleanup import remove_leftovers
from cache_schema.integrity.verify import verify
from cache_schema.reader import open_cache
from cache_schema.store import part_digests
from cache_schema.store.part_digests import layout_damage, read_record
from cache_schema.writer import MANIFEST, add_part, seal, write_unit


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cache.write_small_cache(tmp_path_factory.mktemp("cache") / "small.zarr")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path) -> None:
    path.unlink()


DAMAGES: list[Callable[[Path], None]] = [flip, truncate, empty, zero, delete]


def test_a_whole_cache_has_no_damage(pristine: Path) -> None:
    assert verify(pristine) == []


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_damage_in_each_object_is_named(
    pristine: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "c"))
    for key, content in small_cache.tree_bytes(pristine).items():
        if key == "manifest.json" and damage is delete:
            continue  # without its manifest a folder is no cache; see test_cache_writer_reader
        damage(root / key)
        assert key in [d.object for d in verify(root)], f"{damage.__name__} {key}"
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(content)
    assert verify(root) == []


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_chunk_is_never_read(
    pristine: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    chunks = [k for k in small_cache.tree_bytes(pristine) if k.startswith("parts") and "/c/" in k]
    data = [key for key in chunks if "/index/" not in key]
    assert len(data) == 5 * 5
    root = Path(shutil.copytree(pristine, tmp_path / "c"))
    for key in data:
        content = (root / key).read_bytes()
        damage(root / key)
        with pytest.raises(CacheError) as caught:
            read_everything(root)
        assert caught.value.kind == "damaged"
        assert key.split("/", 1)[1] in str(caught.value)
        (root / key).write_bytes(content)
    read_everything(root)


def test_swapped_and_stale_chunks_are_found(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "c"))
    first, second = (root / f"parts/part-000/temporal_attention/c/{i}" for i in (0, 3))
    a, b = first.read_bytes(), second.read_bytes()
    assert len(a) == len(b)
    first.write_bytes(b)
    second.write_bytes(a)
    found = {(d.unit, d.object.rsplit("/", 3)[1]) for d in verify(root)}
    assert found == {(0, "temporal_attention"), (3, "temporal_attention")}
    with pytest.raises(CacheError, match=r"temporal_attention/c/0 of work unit 0 ends in"):
        read_everything(root)


def test_a_stray_object_is_named(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "c"))
    (root / "clips/extra").write_bytes(b"x")
    assert [str(d) for d in verify(root)] == [
        "clips/extra: is not named by the manifest; delete it"
    ]


def test_what_an_operating_system_leaves_is_no_damage(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "c"))
    for name in (".DS_Store", "clips/._c", "parts/part-000/Icon\r", "parts/Thumbs.db"):
        (root / name).write_bytes(b"x")
    assert verify(root) == []
    (root / "parts/.DS_Store").mkdir()
    assert [d.object for d in verify(root)] == ["parts/.DS_Store"], "a folder is none of its files"


def begun(root: Path) -> Path:
    """A cache of one part with three of its five units."""
    plan = small_cache.lay_out(root)
    for unit in range(3):
        write_unit(root, plan, unit, small_cache.rows(plan, unit))
    return root


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_damage_in_each_object_of_an_unfinished_cache_is_named(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = begun(tmp_path / "c")
    assert verify(root) == []
    for key, content in small_cache.tree_bytes(root).items():
        if damage is delete and (key == "manifest.json" or "/commits/" in key):
            continue  # what has no record is not yet done
        damage(root / key)
        name = key.removeprefix("parts/part-000/") if "/unsealed/" in key else key
        assert any(name in str(found) for found in verify(root)), f"{damage.__name__} {key}"
        (root / key).write_bytes(content)
    assert verify(root) == []


def test_a_length_changed_in_an_unfinished_record_is_found(tmp_path: Path) -> None:
    root = begun(tmp_path / "c")
    record = small_cache.record_path(root, "part-000", 0)
    text = record.read_text()
    record.write_text(text.replace('"temporal_attention":[3,4,5]', '"temporal_attention":[3,5,4]'))
    assert record.read_text() != text
    (found,) = verify(root)
    assert (found.unit, found.rows) == (0, "view 0, clips 0 to 2")
    assert "unsealed/000000.sha256 records" in found.problem


def test_what_vouches_for_an_unfinished_part_goes_when_it_is_sealed(tmp_path: Path) -> None:
    root = begun(tmp_path / "c")
    assert (root / "parts/part-000/unsealed").is_dir()
    small_cache.compute(root, small_cache.first_plan())
    assert not (root / "parts/part-000/unsealed").exists()
    (root / "parts/part-000/unsealed").mkdir()  # as a kill leaves it
    remove_leftovers(root)
    assert not (root / "parts/part-000/unsealed").exists()


def test_an_older_manifest_is_distinguished_from_what_a_kill_leaves(tmp_path: Path) -> None:
    root = begun(tmp_path / "c")
    older = (root / MANIFEST).read_bytes()
    small_cache.compute(root, small_cache.first_plan())
    newer = small_cache.tree_bytes(root)
    (root / MANIFEST).write_bytes(older)
    assert [str(d) for d in verify(root)] == [
        "manifest.json: records part-000 as unfinished, which was sealed: it is an older one"
    ]
    seal(root, small_cache.first_plan())
    assert small_cache.tree_bytes(root) == newer


def test_a_part_that_another_slice_seals_meanwhile_is_not_damaged(
    pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = small_cache.first_plan(), pristine / "parts/part-000"
    asked = iter([True, False] * 2)  # what vouches for it goes between the question and the reading
    monkeypatch.setattr(part_digests, "is_unsealed", lambda _: next(asked))
    assert layout_damage(folder, plan) == []
    record, problems = read_record(folder, plan, 0)
    assert problems == []
    assert record is not None


def test_a_copy_of_a_part_beside_it_is_to_be_deleted_and_the_cache_is_not(
    pristine: Path, tmp_path: Path
) -> None:
    root = tmp_path / "c"
    shutil.copytree(pristine, root)
    copies = ("part-000 (copy)", "part-000 2")
    for name in copies:
        shutil.copytree(root / "parts/part-000", root / "parts" / name)
    found = verify(root)
    expected = [f"parts/{name}: is not named by the manifest; delete it" for name in copies]
    assert [str(one) for one in found] == expected
    assert all(one.stray for one in found)


def test_a_part_of_records_that_the_manifest_does_not_name_is_never_swept_away(
    pristine: Path, tmp_path: Path
) -> None:
    root = tmp_path / "c"
    small_cache.compute(root, small_cache.lay_out(root))
    older = (root / MANIFEST).read_bytes()
    add_part(root, small_cache.second_plan())
    (root / MANIFEST).write_bytes(older)
    assert verify(root) == []  # no record yet: what a kill leaves
    remove_leftovers(root)
    assert not (root / "parts/part-001").exists()
    shutil.copytree(pristine / "parts/part-001", root / "parts/part-001")
    assert [d.object for d in verify(root)] == ["parts/part-001"]
    with pytest.raises(
        CacheError, match=r"(?s)does not name 1 part\(s\).*part-001: 5 work units"
    ) as e:
        remove_leftovers(root)
    assert e.value.kind == "damaged"
    assert (root / "parts/part-001/commits/000000.json").is_file()


def read_everything(root: Path) -> None:
    cache = open_cache(root)
    for split in cache.splits:
        for unit in cache.units(split):
            rows = cache.read_unit(unit, list(cache.signals))
            assert np.isfinite(rows.signals["logits"]).all()


def test_a_link_is_not_called_damage_that_a_repair_would_fix(
    pristine: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(pristine, tmp_path / "linked.zarr")
    (root / "notes.txt").symlink_to(tmp_path)
    with pytest.raises(CacheError, match="links or no plain files") as caught:
        verify(root)
    assert caught.value.kind == "link"
    assert "notes.txt" in str(caught.value)


@pytest.mark.parametrize("key", [MANIFEST, "parts/part-000/plan.json"])
@pytest.mark.parametrize("damage", [flip, empty, delete], ids=lambda d: d.__name__)
def test_what_no_repair_makes_again_is_described_so(
    pristine: Path, tmp_path: Path, damage: Callable[[Path], None], key: str
) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "c"))
    damage(root / key)
    if key == MANIFEST and damage is delete:
        return  # that is no cache
    way = f"from a copy of the cache; or delete {root}, and repeat the precompute-teacher command"
    with pytest.raises(CacheError, match="--repair cannot make this again") as opened:
        open_cache(root)
    assert way in str(opened.value)
    (found,) = verify(root)
    assert found.lost
    assert "copy" not in str(found)
    assert "\n" not in str(found)
    shown = CliRunner().invoke(main, [str(root), "--verify"])
    assert shown.exit_code == 3
    assert f"First {key}: --repair cannot make this again" in shown.stderr
    assert way in shown.stderr
