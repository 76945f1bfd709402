"""A student trains, and is scored, where teacher stack, audio decoder and corpus do not exist."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from commands import command, plain_environment, succeeded, write_tones
from safetensors import safe_open

BLOCKED = [
    "transformers",
    "huggingface_hub",
    "dask",
    "distributed",
    "soundfile",
    "soxr",
    "pipeline",
]

# Some libraries look at what is installed, not at what can be imported: torchmetrics for one.
UNINSTALLED = f"""
import importlib.metadata as metadata, sys
installed = metadata.distribution
def distribution(name):
    if name in {BLOCKED!r}:
        raise metadata.PackageNotFoundError(name)
    return installed(name)
metadata.distribution = distribution
for name in {BLOCKED!r}:
    sys.modules[name] = None
"""


def without_the_teachers_stack(
    *commands: tuple[str, list[object]],
) -> subprocess.CompletedProcess[str]:
    """Run the mains of commands in one process where what a teacher needs is not installed."""
    code = UNINSTALLED
    for module, words in commands:
        code += f"from {module} import main\nmain({[*map(str, words)]!r}, standalone_mode=False)\n"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=plain_environment(),
        check=False,
    )


def test_it_trains_from_the_cache_alone_and_keeps_no_head(tmp_path: Path) -> None:
    corpus, cache, run = tmp_path / "corpus", tmp_path / "cache.zarr", tmp_path / "run"
    write_tones(corpus, per_class=6)
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", cache))
    shutil.rmtree(corpus)
    distill = ["--distill", "temporal=0.2", "--distill", "logits=0.3"]
    train = [cache, "--student", "tc-resnet", "--out", run, "--epochs", 2, *distill]
    evaluate = [run, cache, "--json"]
    output = succeeded(
        without_the_teachers_stack(
            ("student.training.cli", train), ("student.evaluation.cli", evaluate)
        )
    )
    assert "\nteacher: train accuracy" in output
    score = output[output.index("\n{") :]
    assert (
        json.loads(score)["score"]
        == json.loads((run / "result.json").read_text())["splits"]["test"]["score"]
    )
    with safe_open(run / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert names
    assert {name.split(".")[0] for name in names} == {
        "stem", "stem_norm", "blocks", "classifier",
    }  # fmt: skip
