"""Plug-ins of somebody's own that do or declare what they should not: each is named for its author."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import cache_tones, command, succeeded, write_tones
from exported_students import write_run

from cache_schema.iterate import iterate_clips
from cache_schema.reader import open_cache

MODULE = """
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.views.interface import PlainStep
from student.export.interface import Exporter
from student.losses.logits import LogitsLoss
from student.metrics.interface import MetricValue, unbounded
from student.models.tc_resnet import TCResNet


class Endless(PlainStep):
    draws = ("gain",)
    def draw(self, samples, split, random):
        return (1.0,)
    def apply(self, audio, drawn):
        return replace(audio, waveform_S=audio.waveform_S / np.float32(self.size(audio.waveform_S)))
    def size(self, waveform_S):
        return 0.0

class Rms(Endless):
    def size(self, waveform_S):
        return np.sqrt(np.mean(waveform_S**2))

def half(predictions):
    return MetricValue(predictions.right().astype(np.float32).mean())

@unbounded
def log_likelihood(predictions):
    assert len(predictions.labels_NC) > len(predictions.classes)
    return MetricValue(-float(predictions.losses()[predictions.clips_N >= 0].mean()))

def bare(predictions):
    return 0.5

class Clash(LogitsLoss):
    def __init__(self, setup, *, teacher: str = "a"):
        super().__init__(setup)

class FromFile(LogitsLoss):
    def __init__(self, setup, *, matrix: Path):
        super().__init__(setup)

class Prompted(LogitsLoss):
    def __init__(self, setup, *, prompt: str = ""):
        super().__init__(setup)

class Deaf(TCResNet):
    front_end = "mfcc41"
    recipe = None

class Nothing(Exporter):
    file_name, packages = "model.none", ()
    def write(self, graph, path):
        pass
    def load(self, path):
        raise AssertionError("there is none")
"""
PLUGINS = {
    "views": {"endless": "ill:Endless", "rms": "ill:Rms"},
    "metrics": {"half": "ill:half", "log-likelihood": "ill:log_likelihood"},
    "losses": {
        "clash": "ill:Clash", "from-file": "ill:FromFile", "prompted": "ill:Prompted",
        "ends": "ill_ends:Loss", "a:b": "ill:Clash",
    },
    "students": {"deaf": "ill:Deaf"},
    "exporters": {"nothing": "ill:Nothing"},
}  # fmt: skip


def install(folder: Path, plugins: dict[str, dict[str, str]]) -> Path:
    info = folder / "ill-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "ill.py").write_text(MODULE)
    (folder / "ill_ends.py").write_text("raise SystemExit(0)")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ill\nVersion: 1.0\n")
    groups = [
        "\n".join([f"[aftersound.{group}]", *(f"{k} = {v}" for k, v in entries.items())])
        for group, entries in plugins.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"), PLUGINS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cache_tones(tmp_path_factory.mktemp("cache"))


def ill(site: Path, name: str, *words: object) -> subprocess.CompletedProcess[str]:
    return command(name, *words, PYTHONPATH=str(site))


def train(site: Path, cache: Path, out: Path, *words: object) -> subprocess.CompletedProcess[str]:
    settings = ("--student", "tc-resnet", "--epochs", 1, "--device", "cpu")
    return ill(site, "train-student", cache, "--out", out, *settings, *words)


def precompute(site: Path, corpus: Path, view: str) -> subprocess.CompletedProcess[str]:
    out = corpus.parent / "c.zarr"
    words = ("--teacher", "toy", "--view", view, "--out", out)
    return ill(site, "precompute-teacher", f"folder:{corpus}", *words)


@pytest.mark.filterwarnings("ignore")
def test_a_view_that_spoils_every_clip_stops_the_job(site: Path, tmp_path: Path) -> None:
    run = precompute(site, write_tones(tmp_path / "tones", per_class=2), "endless")
    assert run.returncode == 1
    assert "view endless drew or made numbers that are not finite, of clip " in run.stderr
    assert "complete" not in run.stdout


def test_a_clip_that_a_view_spoils_is_put_aside(site: Path, tmp_path: Path) -> None:
    corpus = write_tones(tmp_path / "tones", per_class=2)
    silent = next((corpus / "train").rglob("*.flac"))
    soundfile.write(silent, np.zeros(8000), 16_000)
    assert "1 rows quarantined" in succeeded(precompute(site, corpus, "rms"))
    kept = list(iterate_clips(open_cache(tmp_path / "c.zarr"), "train", ["waveform"]))
    assert len(kept) == len(list((corpus / "train").rglob("*.flac"))) - 1
    assert all(np.abs(clip.signals["waveform"]).max() > 1000 for clip in kept)


def test_metrics_of_any_number_type_and_scale_are_kept(
    site: Path, cache: Path, tmp_path: Path
) -> None:
    succeeded(train(site, cache, tmp_path / "run", "--metric", "log-likelihood"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    scores = result["splits"]["test"]["scores"] if "splits" in result else result["test"]["scores"]
    assert scores["half"] == pytest.approx(scores["accuracy"])
    assert scores["log-likelihood"] < 0
    page = tmp_path / "run.html"
    succeeded(ill(site, "report-run", tmp_path / "run", "--cache", cache, "--out", page))
    assert "% log-likelihood" not in page.read_text()


def test_a_metric_that_gives_no_value_is_named_before_a_training(
    cache: Path, tmp_path: Path
) -> None:
    other = install(tmp_path / "site", {"metrics": {"bare": "ill:bare"}})
    run = train(other, cache, tmp_path / "run")
    assert run.returncode == 2
    assert "metric 'bare' of ill 1.0 gave 0.5 and no MetricValue of a number" in run.stderr
    assert not (tmp_path / "run").exists()


def test_what_a_loss_or_student_declares_wrongly_is_named(
    site: Path, cache: Path, tmp_path: Path
) -> None:
    clash = train(site, cache, tmp_path / "run", "--distill", "clash=0.5:teacher=b")
    assert clash.returncode == 2
    assert "an option teacher: every loss has one of that name" in clash.stderr
    deaf = train(site, cache, tmp_path / "run", "--student", "deaf")
    assert deaf.returncode == 2
    assert "student 'deaf' declares what cannot be" in deaf.stderr
    assert "front_end = 'mfcc41', one of mfcc, mfcc_8khz" in deaf.stderr
    assert "recipe = None, expected a student.recipes.Recipe" in deaf.stderr


def test_names_that_cannot_be_written_and_modules_that_end_the_process_are_listed(
    site: Path, cache: Path, tmp_path: Path
) -> None:
    listed = " ".join(succeeded(ill(site, "aftersound", "list", "losses")).split())
    assert "unusable: loss 'a:b' of ill 1.0 cannot be written" in listed
    assert "unusable: loss 'ends' of ill 1.0 cannot be imported from ill_ends:Loss" in listed
    unknown = train(site, cache, tmp_path / "run", "--distill", "a:b=1")
    assert unknown.returncode == 2
    assert "a:b" not in unknown.stderr.partition("known:")[2]


def test_the_content_of_a_file_that_an_option_names_is_a_setting(
    site: Path, cache: Path, tmp_path: Path
) -> None:
    matrix, ledger = tmp_path / "matrix.npy", tmp_path / "ledger.jsonl"
    loss = f"from-file=0.5:matrix={matrix}"
    words = ("--student", "tc-resnet", "--condition", loss, "--seeds", 1, "--ledger", ledger)
    words = (*words, "--train", "--epochs 1 --device cpu")
    lines = []
    for content in (b"one", b"two", b"one"):
        matrix.write_bytes(content)
        out = tmp_path / f"compared-{len(lines)}"
        succeeded(ill(site, "compare-students", cache, "--out", out, *words))
        lines.append(len(ledger.read_text().splitlines()))
    assert lines == [1, 2, 2]
    run = tmp_path / "run"
    succeeded(train(site, cache, run, "--distill", loss))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "files"}))
    succeeded(
        train(site, cache, run, "--distill", loss, "--epochs", 2)
    )  # begun by an earlier version
    matrix.write_bytes(b"three")
    again = train(site, cache, run, "--distill", loss, "--epochs", 2)
    assert again.returncode == 2
    assert "files.loss from-file matrix: the run has " in again.stderr


def test_a_value_with_a_blank_is_one_condition(site: Path, cache: Path, tmp_path: Path) -> None:
    condition = "prompted=0.5:prompt=dog `bark` <b> label=1"
    words = ("--student", "tc-resnet", "--condition", condition, "--seeds", 1)
    words = (*words, "--train", "--epochs 1 --device cpu", "--out", tmp_path / "compared")
    succeeded(ill(site, "compare-students", cache, *words))
    table = (tmp_path / "compared" / "table.md").read_text()
    assert "| ``prompted=0.5:prompt=dog `bark` <b> label=1`` |" in table
    assert "<b>" not in table.partition("\n\n")[2]


def test_an_exporter_that_writes_nothing_is_named(site: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "tc-resnet")
    words = ("--to", "nothing", "--length-s", 1, "--out", tmp_path / "out")
    found = ill(site, "export-student", run, *words)
    assert found.returncode == 1
    assert (
        "exporter nothing of ill 1.0 wrote no file model.none. Nothing was written" in found.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_without_its_distribution_names_it(site: Path, cache: Path, tmp_path: Path) -> None:
    succeeded(train(site, cache, tmp_path / "run", "--metric", "half"))
    found = command("report-run", tmp_path / "run", "--cache", cache, "--out", tmp_path / "r.html")
    assert found.returncode == 1
    assert "the version, that the run was trained with (ill 1.0)" in found.stderr
