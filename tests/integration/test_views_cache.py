"""Caches of views with the real commands: a chain of steps, its draws and labels, noisy keywords."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import RATE_HZ, command, succeeded, write_tones
from small_cache import tree_bytes
from small_corpora import noisy_speech_commands
from small_finetuning import write_base

from cache_schema.reader import Cache, open_cache
from cache_schema.view_recipe import read_step
from pipeline.audio.decode import UnusableAudio, decode
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute

SEED = 11
LENGTH_S = 0.95
# A file that is no audio costs its own row and those that it is the partner of.
BROKEN = "train/low/broken"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=3)
    (root / f"{BROKEN}.wav").write_bytes(b"no audio")
    return root


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    noise = tmp_path_factory.mktemp("noise")
    for seed in range(2):
        waveform = np.random.default_rng(seed).uniform(-0.2, 0.2, 12 * RATE_HZ)
        soundfile.write(noise / f"{seed}.wav", waveform, RATE_HZ)
    return (
        "crop:length_s=0.9", "speed", "mixup", f"noise:folder={noise}",
        f"placement:length_s={LENGTH_S}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def four_views(
    corpus: Path, chain: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("caches") / "four.zarr"
    succeeded(precompute(corpus, chain, out, "--views", 4))
    return out


def precompute(
    corpus: Path, chain: tuple[str, ...], out: Path, *options: object
) -> subprocess.CompletedProcess[str]:
    steps = [word for step in chain for word in ("--view", step)]
    return command(
        "precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out,
        "--unit-rows", 4, "--seed", SEED, *steps, *options,
    )  # fmt: skip


def rows_of(cache: Cache) -> dict[tuple[int, int], dict[str, Any]]:
    """Every usable row by clip and view."""
    rows = {}
    for unit in (unit for split in cache.splits for unit in cache.units(split)):
        found = cache.read_unit(unit, sorted(cache.signals))
        for row, clip in enumerate(found.clip.tolist()):
            rows[clip, unit.view] = {name: found.signals[name][row] for name in cache.signals}
    return rows


def test_views_have_the_same_bytes_whatever_the_number_of_processes(
    corpus: Path, chain: tuple[str, ...], four_views: Path, tmp_path: Path
) -> None:
    succeeded(precompute(corpus, chain, tmp_path / "c", "--views", 4, "--workers", 3))
    assert tree_bytes(tmp_path / "c") == tree_bytes(four_views)


def test_more_views_later_are_the_views_of_a_cache_made_at_once(
    corpus: Path, chain: tuple[str, ...], four_views: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    succeeded(precompute(corpus, chain, out, "--views", 2))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files(out)}
    succeeded(precompute(corpus, chain, out, "--views", 4))
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before}
    assert [path.name for path in before if before[path] != after[path]] == ["manifest.json"]
    assert {path.relative_to(out).parts[1] for path in files(out) if path not in before} == {
        "part-001"
    }
    grown, at_once = rows_of(open_cache(out)), rows_of(open_cache(four_views))
    assert {view for _, view in grown} == {0, 1, 2, 3}
    assert grown.keys() == at_once.keys()
    for place, row in grown.items():
        for name, value in row.items():
            np.testing.assert_array_equal(value, at_once[place][name], err_msg=f"{name} of {place}")


def test_a_second_teacher_gets_views_of_any_length_that_its_command_does_not_name(
    corpus: Path, tmp_path: Path
) -> None:
    """Lengths are those that are cached; the request gives neither the steps nor the seed."""
    out, steps = tmp_path / "c", ("speed:low=0.5,high=2", "placement:length_s=0.3")
    succeeded(precompute(corpus, steps, out, "--views", 3))
    further = ("--teacher", "toy:classes=x;y", "--teacher-name", "b", "--out", out)
    succeeded(command("precompute-teacher", f"folder:{corpus}", *further))
    succeeded(precompute(corpus, steps, out, "--views", 3, "--signal", "mfcc"))
    rows = rows_of(open_cache(out)).values()
    assert len({len(row["waveform"]) for row in rows}) > 3
    for row in rows:
        assert len(row["temporal_attention@b"]) == len(row["temporal_attention"])
        assert row["logits@b"].shape == (2,)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_each_row_is_the_view_of_its_clip_with_its_draws_and_labels(
    corpus: Path, chain: tuple[str, ...], four_views: Path
) -> None:
    cache = open_cache(four_views)
    request = Request(
        corpora=(f"folder:{corpus}",),
        teacher="toy",
        out=four_views,
        view_steps=chain,
        seed=SEED,
        views=4,
    )
    precomputed = Precompute(request)
    rows, missing, mixed = rows_of(cache), [], 0
    views = [(place, view) for place in range(len(precomputed.inputs.clips)) for view in range(4)]
    for place, view in views:
        clip = precomputed.inputs.clips[place]
        if view and clip.split != "train":
            assert (place, view) not in rows
            continue
        try:
            source = decode(corpus / clip.path, sample_rate_hz=RATE_HZ)
            made = precomputed.inputs.recipe.make(source.waveform, clip, view)
        except UnusableAudio:
            missing.append((place, view))
            continue
        row = rows[place, view]
        assert np.array_equal(row["view_draws"], made.drawn_P)
        assert np.array_equal(row["view_labels"], made.labels_C.astype(np.float16))
        samples = np.round(made.waveform_S.astype(np.float64) * 32768)
        if np.abs(samples).max() < 32767:
            assert np.array_equal(row["waveform"], samples)
        drawn = dict(zip(cache.view_draw_names, made.drawn_P.tolist(), strict=True))
        assert clip.split == "train" or drawn["mixup.partner"] == -1
        assert len(row["waveform"]) >= round(LENGTH_S * RATE_HZ)
        assert row["view_labels"].sum() == pytest.approx(1, abs=2e-3)
        mixed += drawn["mixup.partner"] >= 0
    assert not set(missing) & rows.keys()
    assert len(missing) > 4  # of the broken file's own, and of its partners'
    assert mixed > 5


def test_quarantined_rows_name_the_partner(four_views: Path) -> None:
    report = json.loads(succeeded(command("inspect-cache", four_views, "--json")))
    (part,) = report["parts"]
    reasons = {entry["clip"]: entry["reason"] for entry in part["quarantine"]}
    assert reasons.pop(BROKEN).startswith("not audio")
    assert reasons
    assert all(text.startswith(f"its partner {BROKEN}: not audio") for text in reasons.values())


def test_check_and_repair_make_the_same_views_again(
    corpus: Path, chain: tuple[str, ...], four_views: Path, tmp_path: Path
) -> None:
    output = succeeded(precompute(corpus, chain, four_views, "--views", 4, "--check", 20))
    assert "20 rows recomputed" in output
    out = Path(shutil.copytree(four_views, tmp_path / "c"))
    for name in ("view_draws/c/1/0", "view_labels/c/2/0", "waveform/c/3"):
        (path,) = [p for p in files(out) if p.as_posix().endswith(name)]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 8
        path.write_bytes(data)
    output = succeeded(precompute(corpus, chain, out, "--views", 4, "--repair"))
    assert "3 work units to compute" in output
    assert tree_bytes(out) == tree_bytes(four_views)


def test_a_cache_without_steps_keeps_nothing_of_views(corpus: Path, tmp_path: Path) -> None:
    succeeded(precompute(corpus, (), tmp_path / "c"))
    cache = open_cache(tmp_path / "c")
    assert cache.view_draw_names == ()
    assert [part.plan.view_recipe for part in cache.parts] == [[]]
    assert not [name for name in tree_bytes(tmp_path / "c") if "view" in name]


def test_keywords_in_noise_reach_student_and_teacher(tmp_path: Path) -> None:
    text = noisy_speech_commands.write(tmp_path / "words")
    out = tmp_path / "noisy.zarr"
    succeeded(command("precompute-teacher", text, "--teacher", "toy", "--out", out, "--views", 2))
    cache = open_cache(out)
    rows = rows_of(cache)
    assert {view for _, view in rows} == {0, 1}
    places = set()
    for row in rows.values():
        assert len(row["waveform"]) == 1.5 * RATE_HZ
        drawn = dict(zip(cache.view_draw_names, row["view_draws"].tolist(), strict=True))
        assert drawn["clip.end_s"] - drawn["clip.start_s"] == pytest.approx(1, abs=1e-6)
        assert 0 <= drawn["noise.snr_db"] <= 10
        places.add(drawn["clip.start_s"])
    assert len(places) == len(rows)
    _, noise = (read_step(step) for step in cache.parts[0].plan.view_recipe)
    assert noise.loaded["recordings"] == {
        split: ["running_tap.wav", "white_noise.wav"] for split in ("train", "validation", "test")
    }
    base, tuned = write_base(tmp_path / "base"), tmp_path / "tuned"
    options = ["--base", base, "--out", tuned, "--epochs", 1, "--batch-size", 4]
    succeeded(command("finetune-teacher", text, *options))
    facts = json.loads((tuned / "training.json").read_text())["facts"]
    assert facts["views"] == cache.parts[0].plan.view_recipe
