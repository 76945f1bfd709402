"""--repair recomputes the damaged units and touches nothing else; a trainer stops before damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import command, succeeded, write_tones
from damage import flip
from small_cache import tree_bytes

from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute

TOY = ["--teacher", "toy", "--unit-rows", "8", "--view", "gain"]
GROWN = [*TOY, "--views", "2", "--signal", "layer_attention"]
WAVEFORM = "parts/part-000/waveform/c"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{write_tones(tmp_path_factory.mktemp('corpus') / 'tones')}"


@pytest.fixture(scope="module")
def pristine(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three parts: the first, a further signal for it, a second view."""
    out = tmp_path_factory.mktemp("caches") / "tones.zarr"
    succeeded(command("precompute-teacher", corpus, "--out", out, *TOY))
    succeeded(command("precompute-teacher", corpus, "--out", out, *GROWN))
    return out


def places(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each file."""
    files = [path for path in root.rglob("*") if path.is_file()]
    stats = {path.relative_to(root).as_posix(): path.stat() for path in files}
    return {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in stats.items()}


def test_only_damaged_units_are_recomputed(corpus: str, pristine: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(pristine, tmp_path / "c"))
    flip(out / WAVEFORM / "2")
    flip(out / "parts/part-001/layer_attention/c/0/0")
    flip(out / "parts/part-002/commits/000001.json")
    (out / "parts/part-002/logits/c/2/0").unlink()
    before = places(out)
    output = succeeded(command("precompute-teacher", corpus, "--out", out, *GROWN, "--repair"))
    assert "4 object(s) repaired" in output
    assert tree_bytes(out) == tree_bytes(pristine)
    touched = {key for key, place in places(out).items() if before.get(key) != place}
    records = {key for key in touched if "/commits/" in key}
    units = {
        "part-000": {2},
        "part-001": {0},
        "part-002": {1, 2},
    }
    assert records == {
        f"parts/{part}/commits/{unit:06d}.json" for part, some in units.items() for unit in some
    }
    for key in touched - records:
        _, part, _, _, unit, *_ = key.split("/")
        assert int(unit) in units[part], key


def test_a_damaged_index_is_made_again_from_the_records(
    corpus: str, pristine: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(pristine, tmp_path / "c"))
    flip(out / "parts/part-000/index/record_sha256/c/0/0")
    (out / "parts/part-001/index/index.json").unlink()
    before = places(out)
    succeeded(command("precompute-teacher", corpus, "--out", out, *GROWN, "--repair"))
    assert tree_bytes(out) == tree_bytes(pristine)
    touched = {key for key, place in places(out).items() if before.get(key) != place}
    parts = ("parts/part-000/index/", "parts/part-001/index/")
    assert all(key.startswith(parts) for key in touched)


@pytest.fixture
def unfinished(corpus: str, tmp_path: Path) -> Path:
    """The first three units of the first part."""
    request = Request(
        corpora=(corpus,), teacher="toy", out=tmp_path / "c", unit_rows=8, view_steps=("gain",)
    )
    precompute = Precompute(request)
    (plan,) = precompute.create_parts()
    assert len(list(precompute.compute(plan, [0, 1, 2]))) == 3
    return request.out


def test_repair_of_an_unfinished_cache_leaves_it_to_be_continued(
    corpus: str, pristine: Path, unfinished: Path
) -> None:
    record = unfinished / "parts/part-000/commits/000001.json"
    record.write_text(record.read_text().replace('"lengths":{', '"lengths":{ '))
    assert command("inspect-cache", unfinished, "--verify").returncode == 3
    repair = command("precompute-teacher", corpus, "--out", unfinished, *TOY, "--repair")
    assert "part-000/commits/000001.json (work unit 1, view 0" in succeeded(repair)
    assert "1 work units to compute" in repair.stdout
    succeeded(command("precompute-teacher", corpus, "--out", unfinished, *TOY))
    succeeded(command("precompute-teacher", corpus, "--out", unfinished, *GROWN))
    assert tree_bytes(unfinished) == tree_bytes(pristine)


def test_a_damaged_record_is_never_sealed(corpus: str, unfinished: Path) -> None:
    flip(unfinished / "parts/part-000/commits/000001.json")
    run = command("precompute-teacher", corpus, "--out", unfinished, *TOY)
    assert run.returncode == 3
    assert "work unit 1 of part-000 cannot be trusted" in run.stderr
    assert "unsealed/000001.sha256 records" in run.stderr
    assert "--repair" in run.stderr


def test_no_unit_is_written_into_arrays_of_another_layout(
    corpus: str, pristine: Path, unfinished: Path
) -> None:
    part = unfinished / "parts/part-000"
    shutil.copy(part / "waveform/zarr.json", part / "temporal_attention/zarr.json")
    before = tree_bytes(unfinished)
    run = command("precompute-teacher", corpus, "--out", unfinished, *TOY)
    assert run.returncode == 3
    assert "temporal_attention/zarr.json has digest" in run.stderr
    assert tree_bytes(unfinished) == before
    succeeded(command("precompute-teacher", corpus, "--out", unfinished, *TOY, "--repair"))
    succeeded(command("precompute-teacher", corpus, "--out", unfinished, *GROWN))
    assert tree_bytes(unfinished) == tree_bytes(pristine)


def test_metadata_and_clip_table_are_put_back(corpus: str, pristine: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(pristine, tmp_path / "c"))
    flip(out / "parts/part-001/layer_attention/zarr.json")
    (out / "parts/part-000/zarr.json").unlink()
    (out / "clips/labels/c/0/0").write_bytes(b"")
    (out / "zarr.json").write_bytes(b"{}")
    before = places(out)
    repair = command("precompute-teacher", corpus, "--out", out, *GROWN, "--repair")
    assert "4 object(s) repaired" in succeeded(repair)
    assert tree_bytes(out) == tree_bytes(pristine)
    touched = {key for key, place in places(out).items() if before.get(key) != place}
    assert len(touched) == 4


def test_an_older_manifest_never_costs_a_committed_unit(
    corpus: str, pristine: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    succeeded(command("precompute-teacher", corpus, "--out", out, *TOY))
    older = (out / "manifest.json").read_bytes()
    succeeded(command("precompute-teacher", corpus, "--out", out, *GROWN))
    (out / "manifest.json").write_bytes(older)
    before = tree_bytes(out)
    for option in ([], ["--repair"]):
        run = command("precompute-teacher", corpus, "--out", out, *GROWN, *option)
        assert run.returncode == 3, run.stderr
        assert "parts/part-001: 8 work units" in run.stderr
        assert "Put the latest manifest.json back" in run.stderr
    assert tree_bytes(out) == before
    run = command("inspect-cache", out, "--verify")
    assert run.returncode == 3
    assert "damaged parts/part-001: holds 8 commit records" in run.stdout


def test_a_trainer_stops_before_a_step_uses_a_damaged_chunk(pristine: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(pristine, tmp_path / "c"))
    flip(out / WAVEFORM / "1")
    run = tmp_path / "run"
    training = command("train-student", out, "--student", "tc-resnet", "--out", run, "--epochs", 1)
    assert training.returncode == 3, training.stderr
    assert "part-000/waveform/c/1 of work unit 1 fails its checksum" in training.stderr
    assert "Traceback" not in training.stderr
    assert not [path for path in run.rglob("*") if path.suffix in (".safetensors", ".pt")]
