"""--check over everything a cache can hold: storage types, added parts, views, teachers, bad clips."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import RATE_HZ, command, tone, write_tones

from cache_schema.errors import CacheError
from cache_schema.reader import open_cache
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute
from pipeline.precompute.spot_check import TOLERANCE, check
from pipeline.teachers.toy import ToyTeacher

SMALL = ("logits:top_k=2", "temporal_attention:storage=u8log")


def precompute(corpus: Path, out: Path, *signals: str, views: int = 2, **facts: str) -> Precompute:
    return Precompute(
        Request(
            corpora=(f"folder:{corpus}",),
            out=out,
            unit_rows=4,
            signals=signals,
            **({"teacher": "toy", "views": views, "view_steps": ("gain",)} | facts),
        )
    )


def run(requested: Precompute) -> Precompute:
    requested.run(lambda _plan, _units: None, lambda _plan, _record: None)
    return requested


def further(corpus: Path, out: Path) -> Precompute:
    """A teacher with a name, of other classes and another rate."""
    words = "toy:classes=a;b;c;d,sample_rate_hz=8000"
    return precompute(corpus, out, "logits:top_k=2", teacher=words, teacher_name="b", views=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readable tones, one file of text and one clip that is too short for the teacher."""
    root = write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=2)
    (root / "train/low/text.wav").write_text("not audio at all")
    soundfile.write(root / "train/low/short.wav", np.zeros(10, np.float32), RATE_HZ)
    for name in ("a", "b"):
        soundfile.write(root / f"train/low/{name}.wav", tone("low", 1.0, ord(name)), RATE_HZ)
    return root


@pytest.fixture(scope="module")
def cache_dir(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("caches") / "c"
    run(precompute(corpus, out, *SMALL, "log_mel", views=1))
    run(precompute(corpus, out, "mfcc", "layer_attention", "attention_map"))
    run(further(corpus, out))
    return out


def test_every_row_of_a_full_cache_is_found_as_it_was(corpus: Path, cache_dir: Path) -> None:
    report = check(precompute(corpus, cache_dir), None)
    parts = {part.plan.first_view: part.plan for part in open_cache(cache_dir).parts}
    assert report.rows == sum(sum(plan.units.rows) for plan in parts.values())
    assert set(report.deviations) == {
        "logits", "temporal_attention", "attention_dropped_mass", "waveform", "log_mel", "mfcc",
        "layer_attention", "attention_map", "view_draws",
    }  # fmt: skip
    assert max(report.deviations.values()) <= TOLERANCE
    named = check(further(corpus, cache_dir), None)
    assert named.rows == report.rows
    assert set(named.deviations) == {
        "logits@b", "temporal_attention@b", "attention_dropped_mass@b",
    }  # fmt: skip
    assert max(named.deviations.values()) <= TOLERANCE


def test_any_rows_show_that_all_sources_changed_in_place(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    """Whatever rows are drawn their sources are decoded again; two are of what never was audio."""
    other = Path(shutil.copytree(corpus, tmp_path / "other"))
    for path in other.rglob("*.*"):
        path.write_bytes(path.read_bytes()[:-1] + b"\xa5")  # equal size, equal length
    for _ in range(5):
        with pytest.raises(CacheError, match="3 rows checked") as caught:
            check(precompute(other, cache_dir), 3)
        assert "source digest" in str(caught.value)


def test_one_source_changed_in_place_is_named_in_all_its_views(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(corpus, tmp_path / "other"))
    soundfile.write(other / "train/low/a.wav", tone("low", 1.0, 7), RATE_HZ)
    with pytest.raises(CacheError) as caught:
        check(precompute(other, cache_dir), None)
    assert caught.value.exit_code == 3
    lines = [line for line in str(caught.value).splitlines() if "source digest" in line]
    assert [line.split(" (")[0] for line in lines] == ["  - train/low/a"] * 2
    assert "(view 0, part-000 " in lines[0]
    assert "(view 1, part-00" in lines[1]


def test_a_teacher_with_other_outputs_is_reported_with_its_deviation(
    corpus: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights by name, on hardware that rounds otherwise."""
    answer = ToyTeacher.infer

    def louder(self, waveforms, signals):
        found = answer(self, waveforms, signals)
        return [{name: value * np.float32(1.05) for name, value in row.items()} for row in found]

    monkeypatch.setattr(ToyTeacher, "infer", louder)
    with pytest.raises(
        CacheError, match=r"logits: deviates by [45]\.\d\de-02 of its scale"
    ) as caught:
        check(precompute(corpus, cache_dir), 3)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("damage", ["missing", "other"])
def test_a_record_that_is_not_the_sealed_one_is_damage(
    corpus: Path, cache_dir: Path, tmp_path: Path, damage: str
) -> None:
    out = Path(shutil.copytree(cache_dir, tmp_path / "c"))
    for path in out.glob("parts/*/commits/*.json"):  # whichever rows are drawn
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes().replace(b'"unit":', b'"unit" :'))
    words = ["--teacher", "toy", "--view", "gain", "--out", out, "--check", 2]
    found = command("precompute-teacher", f"folder:{corpus}", *words)
    assert found.returncode == 3, found.stderr
    assert "--repair" in found.stderr
    assert "Traceback" not in found.stderr
