"""One cache, several teachers, with the real commands: a toy of other classes, rates and a Whisper."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import RATE_HZ, command, succeeded, write_tones
from small_cache import tree_bytes

from cache_schema.errors import CacheError
from cache_schema.inspection.summary import clip_facts, find_clip
from cache_schema.metadata import Manifest, SignedManifest
from cache_schema.reader import open_cache
from cache_schema.store.files import canonical_json
from pipeline.audio.decode import resample
from pipeline.teachers import open_teacher
from pipeline.teachers.checkpoints.random_init import write_untrained_encoder

VIEWS = ["--view", "gain", "--view", "shift:max_s=0.05", "--seed", 3]
B = ["--teacher", "toy:classes=x;y", "--teacher-name", "b"]
OWN = ["logits", "temporal_attention", "attention_dropped_mass"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=4)


@pytest.fixture(scope="module")
def one_teacher(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two views in two parts of the first teacher's."""
    out = tmp_path_factory.mktemp("caches") / "one.zarr"
    succeeded(first(corpus, out))
    succeeded(first(corpus, out, "--views", 2))
    return out


@pytest.fixture(scope="module")
def two_teachers(corpus: Path, one_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(one_teacher, tmp_path_factory.mktemp("caches") / "two.zarr"))
    succeeded(precompute(corpus, out, *B))
    return out


def precompute(corpus: Path, out: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return command("precompute-teacher", f"folder:{corpus}", "--out", out, *options)


def first(corpus: Path, out: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return precompute(corpus, out, "--teacher", "toy", "--unit-rows", 5, *VIEWS, *options)


def test_a_second_teacher_answers_exactly_the_cached_samples_in_every_view(
    two_teachers: Path,
) -> None:
    cache = open_cache(two_teachers)
    assert list(cache.teachers) == ["", "b"]
    assert cache.teachers["b"]["classes"] == ["x", "y"]
    assert cache.teacher == cache.teachers[""]
    both = {"": open_teacher("toy", classes=cache.classes), "@b": open_teacher("toy:classes=x;y")}
    names = ["waveform", *(name + teacher for name in OWN for teacher in both)]
    seen = set()
    for split in cache.splits:
        for unit in cache.units(split):
            rows = cache.read_unit(unit, names)
            assert len(rows.clip) == unit.rows
            seen.add(unit.view)
            cached = [rows.signals["waveform"][row] for row in range(unit.rows)]
            waveforms = [samples.astype(np.float32) / 32768 for samples in cached]
            for suffix, teacher in both.items():
                for row, outputs in enumerate(teacher.infer(waveforms, OWN)):
                    for name, value in outputs.items():
                        found = rows.signals[name + suffix][row]
                        np.testing.assert_array_equal(found, value.astype(np.float16))
    assert seen == {0, 1}


def test_a_second_teacher_touches_nothing_but_the_manifest(
    one_teacher: Path, two_teachers: Path
) -> None:
    before, after = tree_bytes(one_teacher), tree_bytes(two_teachers)
    assert {key for key in before if after[key] != before[key]} == {"manifest.json"}
    new = {key.split("/")[1] for key in after.keys() - before.keys()}
    assert new == {"part-002", "part-003"}
    assert "verified" in succeeded(command("inspect-cache", two_teachers, "--verify"))


def test_asking_either_teacher_again_reports_that_all_is_done(
    corpus: Path, two_teachers: Path
) -> None:
    before = tree_bytes(two_teachers)
    assert "nothing to do" in succeeded(precompute(corpus, two_teachers, *B))
    assert "nothing to do" in succeeded(precompute(corpus, two_teachers, *B, *VIEWS))
    assert "nothing to do" in succeeded(first(corpus, two_teachers, "--views", 2))
    assert tree_bytes(two_teachers) == before


@pytest.fixture
def stopped(two_teachers: Path, tmp_path: Path) -> Path:
    """The second teacher was stopped in its second part."""
    out = Path(shutil.copytree(two_teachers, tmp_path / "c"))
    unseal(out, 3)
    (out / "parts/part-003/commits/000001.json").unlink()
    return out


def unseal(out: Path, part: int) -> None:
    """Take back that a part was sealed."""
    manifest = json.loads((out / "manifest.json").read_bytes())["manifest"]
    manifest["parts"][part]["index_sha256"] = None
    manifest["generation"] -= 1
    parsed = Manifest.model_validate_json(canonical_json(manifest))
    (out / "manifest.json").write_bytes(SignedManifest.of(parsed).encode())
    shutil.rmtree(out / f"parts/part-{part:03d}/index")


def test_only_the_teacher_that_began_a_part_finishes_it(
    corpus: Path, two_teachers: Path, stopped: Path
) -> None:
    before = tree_bytes(stopped)
    output = succeeded(first(corpus, stopped, "--views", 2))
    assert "nothing to do" in output
    assert "part-003 of teacher 'b' has 2 of 3 work units: what it adds is not read" in output
    assert tree_bytes(stopped) == before
    succeeded(precompute(corpus, stopped, *B))
    assert tree_bytes(stopped) == tree_bytes(two_teachers)


def test_a_part_that_is_unfinished_keeps_nobody_from_what_is_whole(
    corpus: Path, one_teacher: Path, stopped: Path, tmp_path: Path
) -> None:
    """Readers and further teachers go on, even where nobody will finish that part."""
    before, cache = open_cache(one_teacher), open_cache(stopped)
    for split in before.splits:
        for unit in before.units(split):
            for name in before.signals:
                wanted, found = (
                    one.read_unit(unit, [name]).signals[name] for one in (before, cache)
                )
                for row in range(unit.rows):
                    np.testing.assert_array_equal(found[row], wanted[row])
    assert [*cache.signals] == [*before.signals]
    with pytest.raises(CacheError, match=r"'logits@b' in view 1.*--teacher-name b"):
        cache.read_unit(cache.units("train", 1)[0], ["logits@b"])
    run = command(
        "train-student",
        stopped,
        "--student",
        "ds-tc-resnet",
        "--epochs",
        1,
        "--out",
        tmp_path / "r",
    )
    assert "part-003 of teacher 'b' has 2 of 3 work units" in run.stdout + run.stderr
    succeeded(run)
    unseal(stopped, 2)  # nothing of b is whole
    b = ("--distill", "logits=0.5:teacher=b", "--epochs", 1, "--out", tmp_path / "r2")
    run = command("train-student", stopped, "--student", "ds-tc-resnet", *b)
    assert run.returncode == 2
    assert "unknown teacher of" in run.stderr
    assert "part-003 of teacher 'b' has 2 of 3 work units: what it adds is not read" in run.stderr
    other = precompute(corpus, stopped, "--teacher", "toy:classes=x;z", "--teacher-name", "b")
    assert other.returncode == 3
    assert "by another --teacher-name WORD" in other.stderr
    assert "(--out, without --teacher-name)" in other.stderr
    succeeded(precompute(corpus, stopped, "--teacher", "toy:classes=x;z", "--teacher-name", "c"))
    assert open_cache(stopped).teachers["c"]["classes"] == ["x", "z"]
    assert open_cache(stopped).signals.keys() >= {f"{name}@c" for name in OWN}
    succeeded(precompute(corpus, stopped, *B))
    assert "verified" in succeeded(command("inspect-cache", stopped, "--verify"))


def test_a_further_teacher_waits_for_the_first(
    corpus: Path, one_teacher: Path, tmp_path: Path
) -> None:
    """It is given the first one's waveforms."""
    out = Path(shutil.copytree(one_teacher, tmp_path / "c"))
    unseal(out, 1)
    (out / "parts/part-001/commits/000001.json").unlink()
    run = precompute(corpus, out, *B)
    assert run.returncode == 3
    assert (
        "part-001 of the first teacher has 2 of 3 work units. Finish it first: repeat" in run.stderr
    )
    unseal(out, 0)
    (out / "parts/part-000/commits/000001.json").unlink()
    run = precompute(corpus, out, "--teacher", "toy:classes=x;y")
    assert run.returncode == 3
    assert "the cache was made with, or make another cache (--out)." in run.stderr


def test_a_later_signal_of_the_second_teacher_is_checked_against_its_own_logits(
    corpus: Path, two_teachers: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(two_teachers, tmp_path / "c"))
    output = succeeded(precompute(corpus, out, *B, "--signal", "layer_attention"))
    assert "part-004: layer_attention@b" in output
    assert "part-005: layer_attention@b" in output
    signals = open_cache(out).signals
    assert "layer_attention@b" in signals
    assert "layer_attention" not in signals
    output = succeeded(precompute(corpus, out, *B, "--check", "all"))
    assert "layer_attention@b 0.00e+00" in output
    assert "temporal_attention " not in output


def test_a_teacher_that_is_not_there_is_not_checked(
    corpus: Path, two_teachers: Path, tmp_path: Path
) -> None:
    unknown = precompute(corpus, two_teachers, *B[:-1], "c", "--check", "all")
    assert unknown.returncode == 3
    assert (
        "has nothing of teacher 'c'; teachers there: the first teacher, teacher 'b'"
        in unknown.stderr
    )


def test_more_views_come_from_the_first_teacher_and_then_from_each_other(
    corpus: Path, two_teachers: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(two_teachers, tmp_path / "c"))
    run = precompute(corpus, out, *B, "--views", 3)
    assert run.returncode == 3
    assert "has 2 view(s), requested are 3" in run.stderr
    assert "of the first teacher with --views 3" in run.stderr
    output = succeeded(first(corpus, out, "--views", 3))
    assert "teacher 'b' yet, which has not processed view(s) 2: repeat" in output
    cache = open_cache(out)
    assert "logits@b" not in cache.signals
    last = cache.units("train", view=2)[0]
    with pytest.raises(CacheError, match=r"'logits@b' in view 2.*--teacher-name b"):
        cache.read_unit(last, ["logits", "logits@b"])
    assert "has not processed view(s) 2" in succeeded(command("inspect-cache", out))
    assert "not processed" not in succeeded(precompute(corpus, out, *B))
    cache = open_cache(out)
    assert "logits@b" in cache.signals
    rows = cache.read_unit(last, ["logits", "logits@b"])
    assert rows.signals["logits@b"].shape == (last.rows, 2)


def test_a_teacher_of_another_rate_gets_the_cached_samples_resampled(
    corpus: Path, one_teacher: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(one_teacher, tmp_path / "c"))
    words = [
        "--teacher",
        "toy",
        "--teacher-option",
        "sample_rate_hz=11000",
        "--teacher-name",
        "low",
    ]
    succeeded(precompute(corpus, out, *words))
    plan = json.loads((out / "parts/part-002/plan.json").read_bytes())
    assert (plan["audio"]["waveform_hz"], plan["audio"]["sample_rate_hz"]) == (16_000, 11_000)
    assert plan["audio"]["resampler"].startswith("soxr HQ")
    cache = open_cache(out)
    teacher = open_teacher("toy", {"sample_rate_hz": "11000"}, classes=cache.classes)
    unit = cache.units("train", view=1)[0]
    rows = cache.read_unit(unit, ["waveform", "logits@low"])
    for row in range(unit.rows):
        samples_S = rows.signals["waveform"][row].astype(np.float32) / 32768
        (outputs,) = teacher.infer([resample(samples_S, RATE_HZ, 11_000)], ["logits"])
        wanted = outputs["logits"].astype(np.float16)
        np.testing.assert_array_equal(rows.signals["logits@low"][row], wanted)


def test_each_teacher_is_shown_with_its_signals_and_its_score(
    two_teachers: Path, corpus: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(two_teachers, tmp_path / "c"))
    succeeded(precompute(corpus, out, "--teacher", "toy", "--teacher-name", "twin"))
    report = json.loads(succeeded(command("inspect-cache", out, "--json")))
    teachers = report["teachers"]
    assert list(teachers) == ["", "b", "twin"]
    assert sorted(teachers["b"]["signals"]) == sorted(f"{name}@b" for name in OWN)
    assert sorted(teachers[""]["signals"]) == sorted(OWN)
    assert teachers["twin"]["score"] == teachers[""]["score"] == report["teacher_score"] != {}
    assert teachers["b"]["score"] == {}  # its classes are not the corpus'
    assert [part["teacher"] for part in report["parts"]] == ["", "", "b", "b", "twin", "twin"]
    assert "logits@b" in report["statistics"]
    picture = tmp_path / "clip.png"
    text = succeeded(command("inspect-cache", out, "--plot", picture))
    assert "teacher b toy (toy), 2 classes" in text
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_each_teachers_command_repairs_its_own_parts(
    corpus: Path, two_teachers: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(two_teachers, tmp_path / "c"))
    for key in ("part-000/logits/c/0/0", "part-002/logits@b/c/1/0"):
        chunk = out / "parts" / key
        chunk.write_bytes(bytes(chunk.stat().st_size))
    run = command("inspect-cache", out, "--verify")
    assert run.returncode == 3
    assert (
        "parts/part-002/logits@b/c/1/0 (work unit 1, view 0, clips 4 to 7, teacher 'b')"
        in run.stdout
    )
    run = first(corpus, out, "--repair")
    assert run.returncode == 3
    assert "1 object(s) repaired, 1 of another teacher's are damaged" in run.stderr
    assert "Repeat with --repair the precompute-teacher command of teacher 'b'" in run.stderr
    assert "1 object(s) repaired" in succeeded(precompute(corpus, out, *B, "--repair"))
    assert tree_bytes(out) == tree_bytes(two_teachers)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([*B[:3], "Bee"], 2, "--teacher-name 'Bee': expected one lower-case word"),
        ([*B[:3], ""], 2, "--teacher-name '': expected one lower-case word"),
        ([*B[:3], "c", "--signal", "mfcc"], 2, "signal mfcc is the waveform's"),
        ([*B[:3], "c", "--seed", 5], 3, "seed: cache 3, this run 5"),
        ([*B[:3], "c", "--view", "gain"], 3, "views.2 shift.step: cache 'shift', this run nothing"),
        (["--teacher", "toy:classes=x;z", *B[2:]], 3, "cache ['x', 'y'], this run ['x', 'z']"),
    ],
)
def test_what_does_not_fit_the_cache_is_rejected(
    corpus: Path, two_teachers: Path, options: list[object], code: int, message: str
) -> None:
    before = tree_bytes(two_teachers)
    run = precompute(corpus, two_teachers, *options)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert tree_bytes(two_teachers) == before


def test_a_second_teacher_has_no_views_of_its_own(
    corpus: Path, two_teachers: Path, tmp_path: Path
) -> None:
    """Views come from the first teacher's command, if the cache can have any."""
    run = precompute(corpus, two_teachers, *B, "--views", 3)
    assert run.returncode == 3
    assert (
        "has 2 view(s), requested are 3: teacher 'b' reads the views that are there" in run.stderr
    )
    assert "Add some first: repeat the precompute-teacher command" in run.stderr
    plain = tmp_path / "plain.zarr"
    succeeded(precompute(corpus, plain, "--teacher", "toy"))
    run = precompute(corpus, plain, *B, "--views", 2)
    assert run.returncode == 3
    assert "made without --view, so that none can be added: leave --views out" in run.stderr
    succeeded(precompute(corpus, plain, *B))


def test_a_named_teacher_needs_a_cache_to_be_added_to(corpus: Path, tmp_path: Path) -> None:
    run = precompute(corpus, tmp_path / "c", *B)
    assert run.returncode == 3
    assert "Make it first, by a teacher without a name" in run.stderr
    assert not (tmp_path / "c").exists()


def test_unlabelled_audio_keeps_the_first_teachers_classes(corpus: Path, tmp_path: Path) -> None:
    out, unlabelled = tmp_path / "c", f"folder:{corpus}?labels=none"
    words = ["precompute-teacher", unlabelled, "--out", out, "--teacher"]
    succeeded(command(*words, "toy:classes=a;b"))
    succeeded(command(*words, "toy:classes=x;y;z", "--teacher-name", "b"))
    succeeded(command(*words, "toy", "--teacher-name", "same"))
    cache = open_cache(out)
    assert cache.classes == ("a", "b")
    assert [t["classes"] for t in cache.teachers.values()] == [
        ["a", "b"], ["x", "y", "z"], ["a", "b"],
    ]  # fmt: skip


def test_a_clip_too_long_for_the_second_teacher_stays_the_firsts_and_weights_are_distinguished(
    corpus: Path, tmp_path: Path
) -> None:
    longer = Path(shutil.copytree(corpus, tmp_path / "tones"))
    noise = 0.1 * np.random.default_rng(0).standard_normal(31 * RATE_HZ)
    soundfile.write(longer / "train/low/long.flac", noise, RATE_HZ)
    models = [tmp_path / "one", tmp_path / "other"]
    for seed, folder in enumerate(models):
        write_untrained_encoder(folder, seed=seed)
    out = tmp_path / "c"
    succeeded(precompute(longer, out, "--teacher", "toy"))
    output = succeeded(precompute(longer, out, "--teacher", models[0], "--teacher-name", "big"))
    assert "1 rows quarantined" in output
    assert "train/low/long: 31 s long; teacher whisper takes" in output
    cache = open_cache(out)
    (unit,) = cache.units("train")
    alone = cache.read_unit(unit, ["waveform", "logits"])
    both = cache.read_unit(unit, ["waveform", "logits", "logits@big"])
    position = find_clip(out, "train/low/long")
    assert len(alone.clip) == unit.rows == 13
    assert both.clip.tolist() == [clip for clip in alone.clip.tolist() if clip != position]
    kept = np.isin(alone.clip, both.clip)
    np.testing.assert_array_equal(both.signals["logits"], alone.signals["logits"][kept])
    assert "logits" in clip_facts(cache, position)["signals"]

    digests = [open_teacher(str(folder)).provenance["weights_sha256"] for folder in models]
    named = precompute(longer, out, "--teacher", models[1], "--teacher-name", "big")
    for run in (named, precompute(longer, out, "--teacher", models[1])):
        assert run.returncode == 3
        assert "keep both teachers in this one by another --teacher-name" in run.stderr
    assert f"weights_sha256: cache '{digests[0]}', this run '{digests[1]}'" in named.stderr
