"""precompute-teacher and inspect-cache as a user runs them, with the toy teacher."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import CLASSES, RATE_HZ, Started, command, succeeded, write_tones
from small_cache import tree_bytes
from small_corpora import sonyc_ust

from cache_schema.inspection.summary import clip_facts, find_clip
from cache_schema.metadata import CommitRecord
from cache_schema.reader import open_cache
from pipeline.audio.decode import decode
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute
from pipeline.teachers import open_teacher
from pipeline.teachers.checkpoints.random_init import write_untrained_encoder

ALL_SIGNALS = [
    "layer_attention",
    "attention_map",
    "frame_embedding",
    "clip_embedding",
    "mfcc",
    "log_mel",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones")


@pytest.fixture(scope="module")
def cache_dir(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("caches") / "tones.zarr"
    output = succeeded(precompute(corpus, out))
    assert "0 rows quarantined" in output
    return out


def precompute(corpus: Path, out: Path, *options: object):
    arguments = [f"folder:{corpus}", "--teacher", "toy", "--out", out, "--unit-rows", 8]
    return command("precompute-teacher", *arguments, *options)


def test_a_folder_of_a_teachers_name_does_not_take_its_place(
    corpus: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("toy").mkdir()
    succeeded(precompute(corpus, tmp_path / "c.zarr"))
    assert tree_bytes(tmp_path / "c.zarr") == tree_bytes(cache_dir)
    write_untrained_encoder(tmp_path / "toy", seed=0)
    both = precompute(corpus, tmp_path / "d.zarr")
    assert both.returncode == 2
    assert "give 'toy:' for the first, './toy' for the folder" in both.stderr
    assert not (tmp_path / "d.zarr").exists()
    arguments = [f"folder:{corpus}", "--out", "d.zarr", "--unit-rows", 8, "--teacher"]
    succeeded(command("precompute-teacher", *arguments, "toy:"))
    assert tree_bytes(tmp_path / "d.zarr") == tree_bytes(cache_dir)
    arguments[2] = "e.zarr"
    planned = succeeded(command("precompute-teacher", *arguments, "./toy", "--plan"))
    assert "none of the teacher's 2" in planned  # the folder's, where toy has the corpus' classes


def test_every_row_holds_what_the_teacher_outputs_for_the_cached_samples(
    corpus: Path, cache_dir: Path
) -> None:
    cache = open_cache(cache_dir)
    assert cache.splits == ("train", "validation", "test")
    teacher = open_teacher("toy", classes=cache.classes)
    for clip_id in cache.clip_ids()[::7]:
        facts = clip_facts(cache, find_clip(cache_dir, clip_id))
        decoded = decode(corpus / facts["path"], sample_rate_hz=RATE_HZ)
        samples = facts["signals"]["waveform"]
        np.testing.assert_array_equal(samples, np.round(decoded.waveform * 32768).astype(np.int16))
        (outputs,) = teacher.infer(
            [samples.astype(np.float32) / 32768], ["logits", "temporal_attention"]
        )
        for name, value in outputs.items():
            np.testing.assert_array_equal(facts["signals"][name], value.astype(np.float16))


def test_the_same_command_again_reports_that_all_is_done(corpus: Path, cache_dir: Path) -> None:
    before = tree_bytes(cache_dir)
    assert "nothing to do" in succeeded(precompute(corpus, cache_dir))
    assert tree_bytes(cache_dir) == before


def test_signals_and_views_are_added_without_touching_what_is_there(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    view = ["--view", "gain", "--view", "shift:max_s=0.05"]
    succeeded(precompute(corpus, out, *view))
    before = tree_bytes(out)
    named = [word for name in ALL_SIGNALS for word in ("--signal", name)]
    succeeded(precompute(corpus, out, *view, *named))
    middle = tree_bytes(out)
    succeeded(precompute(corpus, out, *view, *named, "--views", 3))
    after = tree_bytes(out)
    assert {key for key in before if middle[key] != before[key]} == {"manifest.json"}
    assert {key for key in middle if after[key] != middle[key]} == {"manifest.json"}
    cache = open_cache(out)
    assert cache.views == 3
    assert set(ALL_SIGNALS) < set(cache.signals)
    first, second = (clip_facts(cache, 0, view)["signals"] for view in (0, 2))
    assert first["waveform"].shape == second["waveform"].shape
    assert (first["waveform"] != second["waveform"]).any()
    np.testing.assert_allclose(second["attention_map"].astype(float).sum(axis=1), 1, atol=2e-3)
    at_once = tmp_path / "at_once"
    succeeded(precompute(corpus, at_once, *view, *named, "--views", 3))
    for name in cache.signals:
        again = clip_facts(open_cache(at_once), 0, 2)["signals"][name]
        np.testing.assert_array_equal(again, second[name])
    assert "verified" in succeeded(command("inspect-cache", out, "--verify"))


def test_two_workers_give_the_bytes_of_one_process(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    succeeded(precompute(corpus, tmp_path / "c", "--workers", 2))
    assert tree_bytes(tmp_path / "c") == tree_bytes(cache_dir)


def test_a_plan_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    output = succeeded(precompute(corpus, tmp_path / "c", "--plan", "--signal", "log_mel"))
    assert "48 clips" in output
    for word in ("log_mel", "waveform", "min", "Nothing was written"):
        assert word in output
    assert list(tmp_path.iterdir()) == []


def test_a_plan_knows_what_the_longest_clips_take(corpus: Path, tmp_path: Path) -> None:
    def said_mb(folder: Path) -> float:
        output = succeeded(precompute(folder, tmp_path / "c", "--plan"))
        found = re.search(r"takes about ([\d.]+) (MB|GB) of memory", " ".join(output.split()))
        assert found, output
        return float(found[1]) * (1000 if found[2] == "GB" else 1)

    shutil.copytree(corpus, tmp_path / "long")
    quiet_S, label = np.zeros(10 * 60 * 48_000, np.int16), next((tmp_path / "long").glob("*/*"))
    soundfile.write(label / "night.flac", quiet_S, 48_000)
    decoded = 4 * len(quiet_S) / 1e6
    assert said_mb(tmp_path / "long") >= said_mb(corpus) + decoded


def test_a_plan_counts_objects_and_prices_them(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    rates = tmp_path / "rates.json"
    rates.write_text('{"currency": "EUR", "write_1000": 1000, "read_1000": 500}')
    output = succeeded(precompute(corpus, tmp_path / "c", "--plan", "--rates", rates))
    part = cache_dir / "parts/part-000"
    written = [*part.glob("*/c/*"), *part.glob("commits/*.json")]
    written = [path for path in written if path.parts[-3] != "index"]
    assert f" in {len(written)} objects" in output
    assert f"{len(written):.2f} EUR to write" in output
    found = re.search(r"reads at most (\d+) objects", output)
    assert found
    assert f"{int(found[1]) / 2:.2f} EUR an epoch to read" in output
    cache = open_cache(cache_dir)
    assert int(found[1]) == len(list(cache.units("train", 0))) * len(cache.signals)


def test_rates_are_checked_before_the_corpus_is_read(tmp_path: Path) -> None:
    rates = tmp_path / "rates.json"
    rates.write_text('{"currency": "EUR", "write_1000": -1, "gpu": 3}')
    words = (
        "precompute-teacher",
        tmp_path / "no-corpus",
        "--teacher",
        "toy",
        "--out",
        tmp_path / "c",
    )
    run = command(*words, "--plan", "--rates", rates)
    assert run.returncode == 2
    assert "write_1000: Input should be greater than or equal to 0 (found -1)" in run.stderr
    assert "gpu: Extra inputs are not permitted (found 3)" in run.stderr
    run = command(*words, "--plan", "--rates", tmp_path / "none.json")
    assert run.returncode == 2
    assert "there is no such file" in run.stderr
    run = command(*words, "--rates", rates)
    assert run.returncode == 2
    assert "--rates belongs to --plan" in run.stderr


def test_another_recipe_is_rejected_with_both_values(corpus: Path, cache_dir: Path) -> None:
    run = precompute(corpus, cache_dir, "--seed", 5)
    assert run.returncode == 3
    assert "seed: cache 0, this run 5" in run.stderr
    run = precompute(corpus, cache_dir, "--teacher-option", "sample_rate_hz=8000")
    assert run.returncode == 3
    assert "audio.sample_rate_hz: cache 16000, this run 8000" in run.stderr
    assert "Nothing was written" in run.stderr


def test_another_corpus_is_rejected(corpus: Path, cache_dir: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(corpus, tmp_path / "other"))
    (other / "train/low/0.flac").unlink()
    run = precompute(other, cache_dir)
    assert run.returncode == 3
    assert "corpus.clips: cache 48, this run 47" in run.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--signal", "logit"], "Did you mean 'logits'"),
        (
            ["--view", "gian"],
            "known: crop, gain, mixup, noise, placement, shift, speed. Did you mean 'gain'?",
        ),
        (["--view", "gain:low=3"], "Did you mean 'low_db'"),
        (["--views", "2"], "--views 2 without --view"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "give one of them"),
        (["--check", "none"], "from 1 to 1000000000000, or 'all'"),
    ],
)
def test_wrong_options_are_usage_errors(
    corpus: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    run = precompute(corpus, tmp_path / "c", *options)
    assert run.returncode == 2, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "c").exists()


def test_an_unknown_teacher_names_the_known(corpus: Path, tmp_path: Path) -> None:
    arguments = [f"folder:{corpus}", "--teacher", "tooy", "--out", tmp_path / "c"]
    # Instead of HF_HUB_OFFLINE, which its library reads when it is imported.
    program = "from huggingface_hub import constants; constants.HF_HUB_OFFLINE = True\n"
    program += "from pipeline.precompute.cli import main; main()"
    run = command("precompute-teacher", *arguments, program=program)
    assert run.returncode in (1, 2)
    assert "'toy'" in run.stderr
    assert "Traceback" not in run.stderr


def test_bad_clips_are_quarantined_and_the_good_ones_are_all_there(
    corpus: Path, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(corpus, tmp_path / "bad"))
    folder = bad / "train/low"
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("not audio at all")
    whole = (folder / "0.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), RATE_HZ)
    soundfile.write(folder / "nan.wav", np.full(8000, np.nan, np.float32), RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "short.wav", np.zeros(10, np.float32), RATE_HZ)
    soundfile.write(folder / "eight.wav", 0.1 * np.ones((8000, 8), np.float32), RATE_HZ)
    soundfile.write(folder / "loud.wav", 1.5 * np.ones(8000, np.float32), RATE_HZ, subtype="FLOAT")
    output = succeeded(precompute(bad, tmp_path / "c"))
    assert "6 rows quarantined" in output
    report = json.loads(succeeded(command("inspect-cache", tmp_path / "c", "--json")))
    (part,) = report["parts"]
    assert {entry["clip"].rsplit("/", 1)[-1] for entry in part["quarantine"]} == {
        "empty", "text", "cut", "zero", "nan", "short",
    }  # fmt: skip
    assert all(
        entry["reason"] and str(tmp_path) not in entry["reason"] for entry in part["quarantine"]
    )
    assert part["limited_rows"] == 1
    assert "quarantined train/low/empty: " in output
    cache = open_cache(tmp_path / "c")
    kept = sum(len(cache.read_unit(u, []).clip) for s in cache.splits for u in cache.units(s))
    assert kept == 48 + 2


def test_check_finds_a_source_changed_in_place(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    assert "48 rows recomputed" in succeeded(precompute(corpus, cache_dir, "--check", "all"))
    other = Path(shutil.copytree(corpus, tmp_path / "other"))
    pair = [other / "train/low/0.flac", other / "train/low/1.flac"]
    out = tmp_path / "c"
    for path in pair:  # equal length and size, other content
        soundfile.write(path.with_suffix(".wav"), np.zeros(8000), RATE_HZ)
        path.unlink()
    succeeded(precompute(other, out))
    soundfile.write(pair[0].with_suffix(".wav"), np.full(8000, 0.25), RATE_HZ)
    run = precompute(other, out, "--check", "all")
    assert run.returncode == 3
    assert "source digest" in run.stderr
    assert "1 problem(s)" in run.stderr


def test_repair_recomputes_just_the_damaged_units(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(cache_dir, tmp_path / "c"))
    path = out / "parts/part-000/waveform/c/2"
    data = bytearray(path.read_bytes())
    data[100] ^= 8
    path.write_bytes(data)
    (out / "parts/part-000/commits/000001.json").unlink()
    run = command("inspect-cache", out, "--verify")
    assert run.returncode == 3
    assert "parts/part-000/waveform/c/2 (work unit 2, view 0, clips 16 to 23)" in run.stdout
    plain = precompute(corpus, out)
    assert plain.returncode == 3
    assert "Repeat the command with --repair" in plain.stderr
    output = succeeded(precompute(corpus, out, "--repair"))
    assert "2 work units to compute" in output
    assert tree_bytes(out) == tree_bytes(cache_dir)


def test_a_reader_that_goes_away_is_no_mistake_of_a_library(cache_dir: Path) -> None:
    """As head -1 does: the command ends without a word."""
    with Started("inspect-cache", cache_dir) as shown:
        shown.stdout.close()
        assert shown.wait() == 1
        assert shown.stderr.read() == ""


def test_inspect_shows_an_unfinished_cache(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    request = Request(corpora=(f"folder:{corpus}",), teacher="toy", out=out, unit_rows=8)

    def leave(_plan: object, record: CommitRecord) -> None:
        if record.unit == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Precompute(request).run(lambda _plan, _units: None, leave)
    output = succeeded(command("inspect-cache", out, "--verify"))
    assert "unfinished" in output
    assert "missing work units:" in output
    succeeded(precompute(corpus, out))
    assert "finished" in succeeded(command("inspect-cache", out))


def test_a_clip_is_shown_and_drawn(cache_dir: Path, tmp_path: Path) -> None:
    cache = open_cache(cache_dir)
    clip_id = cache.clip_ids()[3]
    picture = tmp_path / "clip.png"
    output = succeeded(command("inspect-cache", cache_dir, "--clip", clip_id, "--plot", picture))
    assert clip_id in output
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    run = command("inspect-cache", cache_dir, "--clip", clip_id[:-1] + "x")
    assert run.returncode == 2
    assert "no clip" in run.stderr


def test_the_report_as_json_has_the_teachers_score(cache_dir: Path) -> None:
    report = json.loads(succeeded(command("inspect-cache", cache_dir, "--json", "--verify")))
    assert report["damage"] == []
    assert set(report["teacher_score"]) == {"train", "validation", "test"}
    assert report["classes"] == sorted(CLASSES)
    assert report["statistics"]["temporal_attention"]["min"] > 0


def test_unlabelled_audio_is_cached_under_the_teachers_classes(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    words = [f"folder:{corpus}?labels=none", "--teacher", "toy:classes=a;b", "--out", out]
    succeeded(command("precompute-teacher", *words))
    cache = open_cache(out)
    assert cache.classes == ("a", "b")
    rows = cache.read_unit(cache.units("train")[0], ["logits"])
    assert not rows.labelled.any()
    run = ["train-student", out, "--student", "tc-resnet", "--out", tmp_path / "run", "--epochs", 1]
    output = succeeded(command(*run, "--distill", "logits=1"))
    assert "epoch 1/1" in output


def test_recordings_with_none_of_the_tags_train_and_are_scored(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path / "sonyc")
    untagged = [("test", "03_000100.wav", 0, ()), ("train", "02_000007.wav", 11, ())]
    others = [row for row in sonyc_ust.ANNOTATIONS if row[1] not in {row[1] for row in untagged}]
    sonyc_ust.write_annotations(tmp_path / "sonyc/annotations.csv", (*others, *untagged))
    out = tmp_path / "c"
    succeeded(command("precompute-teacher", text, "--teacher", "toy", "--out", out))
    cache = open_cache(out)
    for split, expected in (("train", [[0] * 8, [1, *[0] * 6, 1]]), ("test", [[0] * 8])):
        rows = cache.read_unit(cache.units(split)[0], [])
        assert sorted(rows.targets.tolist()) == expected
        assert rows.labelled.all()
    run = ["train-student", out, "--student", "tc-resnet", "--out", tmp_path / "run"]
    succeeded(command(*run, "--epochs", 1, "--distill", "logits=0.5"))
    scored = succeeded(command("evaluate-student", tmp_path / "run", out, "--json"))
    assert json.loads(scored)["clips"] == 1


def test_u8log_and_zstd_are_stored_verified_and_read(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    output = precompute(
        corpus, out, "--signal", "temporal_attention:storage=u8log", "--codec", "zstd"
    )
    succeeded(output)
    assert "verified" in succeeded(command("inspect-cache", out, "--verify"))
    plain, small = open_cache(cache_dir), open_cache(out)
    assert small.signals["temporal_attention"].dtype == "uint8"
    unit = plain.units("train")[0]
    (a, b) = (
        cache.read_unit(unit, ["waveform", "temporal_attention"]).signals
        for cache in (plain, small)
    )
    np.testing.assert_array_equal(a["waveform"].values, b["waveform"].values)
    exact = a["temporal_attention"].values.astype(float)
    np.testing.assert_allclose(b["temporal_attention"].values, exact, rtol=0.06)
    stored = [sum(p.stat().st_size for p in root.rglob("c/*")) for root in (cache_dir, out)]
    assert stored[1] < stored[0]
    run = precompute(corpus, tmp_path / "d", "--signal", "logits:storage=u8log")
    assert run.returncode == 2
    assert "storage=u8log is for temporal_attention" in run.stderr


def test_a_repair_that_gives_another_answer_loses_nothing(
    corpus: Path, cache_dir: Path, tmp_path: Path
) -> None:
    """A source changed in place cannot spoil a sealed cache; with it restored the repair works."""
    other, out = Path(shutil.copytree(corpus, tmp_path / "other")), tmp_path / "c"
    source = other / "train/low/0.flac"
    for name in ("0", "1"):  # equal length and size, other content
        (other / f"train/low/{name}.flac").unlink()
        soundfile.write(other / f"train/low/{name}.wav", np.zeros(8000), RATE_HZ)
    source = other / "train/low/0.wav"
    succeeded(precompute(other, out))
    before, original = tree_bytes(out), source.read_bytes()
    for chunk in (out / "parts/part-000/logits/c").glob("*/0"):
        chunk.write_bytes(bytes(chunk.stat().st_size))
    soundfile.write(source, np.full(8000, 0.25), RATE_HZ)
    run = precompute(other, out, "--repair")
    assert run.returncode == 3
    assert "now gives another result" in run.stderr
    source.write_bytes(original)
    succeeded(precompute(other, out, "--repair"))
    assert tree_bytes(out) == before


def test_odd_names_and_places_are_no_trouble(corpus: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(corpus / "train", tmp_path / "k[/b]lang ü"))
    out = tmp_path / "a cache"
    out.mkdir()  # an empty folder is as good as none
    succeeded(precompute(odd, f"{out}/"))
    assert "k[/b]" not in succeeded(command("inspect-cache", out, "--verify"))
    assert "finished" in succeeded(command("inspect-cache", out))
    blocked = tmp_path / "file"
    blocked.write_text("")
    run = precompute(corpus, blocked / "c")
    assert run.returncode == 2
    assert f"{blocked} is no folder" in run.stderr


def test_noise_may_lie_anywhere_and_is_known_by_its_content(corpus: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    long_samples = 10 * RATE_HZ  # so that each split has a stretch of its own
    soundfile.write(noise / "n.wav", np.random.default_rng(0).normal(0, 0.1, long_samples), RATE_HZ)
    out = tmp_path / "c"
    succeeded(precompute(corpus, out, "--view", f"noise:folder={noise}"))
    assert str(tmp_path).encode() not in (out / "parts/part-000/plan.json").read_bytes()
    moved = noise.rename(tmp_path / "elsewhere")
    assert "nothing to do" in succeeded(precompute(corpus, out, "--view", f"noise:folder={moved}"))
    soundfile.write(moved / "n.wav", np.zeros(long_samples) + 0.1, RATE_HZ)
    run = precompute(corpus, out, "--view", f"noise:folder={moved}")
    assert run.returncode == 3
