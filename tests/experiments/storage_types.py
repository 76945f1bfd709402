"""What each storage type costs a student, on real Speech Commands, and how far it is from exact.

    python tests/experiments/storage_types.py ../shared TEACHER WORK_FOLDER

TEACHER is a folder that ``finetune-teacher`` wrote; it runs once for each storage type. The student
learns from the cache alone, without labels, and its logits at a temperature of 2, where the rest of the
top k is not exact: the worst that a storage type can do. A killed run goes on where it was. The
divergences are those of the stored targets from the teacher's float32 answers on the test split.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from esc10 import result, run, spread
from numpy.typing import NDArray

from cache_schema.reader import open_cache
from cache_schema.signal_names import FULL_SCALE
from pipeline.teachers import open_teacher

SEEDS = (0, 1, 2)
EPOCHS = 10
ATTENTION = "temporal_attention"
ARMS = {
    "f16": (),
    "u8log attention": (f"{ATTENTION}:storage=u8log",),
    "top-4 logits": ("logits:top_k=4",),
    "top-2 logits": ("logits:top_k=2",),
    "u8log attention, top-2 logits": (f"{ATTENTION}:storage=u8log", "logits:top_k=2"),
}
RECIPE = ["--student", "tc-resnet", "--epochs", EPOCHS, "--distill", "temporal=0.1",
          "--distill", "logits=0.9:temperature=2", "--label-weight", "0"]  # fmt: skip
BATCH = 16


def cached(shared: Path, teacher: Path, out: Path, arm: str) -> Path:
    """Run the teacher once, into a cache of one storage type."""
    cache = out / f"{arm.replace(', ', '-').replace(' ', '-')}.zarr"
    corpus = f"speech-commands:{shared / 'data/speech_commands_v2_12'}"
    signals = [word for signal in ARMS[arm] for word in ("--signal", signal)]
    where = ["--teacher", teacher, "--out", cache]
    run("precompute-teacher", corpus, *where, *signals, log=out / "log")
    return cache


def answers(teacher: Path, cache: Path) -> dict[str, list[NDArray[Any]]]:
    """The teacher's outputs for the cached waveforms of the test split, in float32."""
    opened = open_cache(cache)
    model = open_teacher(str(teacher), {}, classes=opened.classes, task=opened.task)
    model.load("cpu")
    found: dict[str, list[NDArray[Any]]] = {"logits": [], ATTENTION: []}
    for unit in opened.units("test"):
        rows = opened.read_unit(unit, ["waveform"]).signals["waveform"]
        waveforms_of_unit = [
            (rows[i] / np.float32(FULL_SCALE)).astype(np.float32) for i in range(len(rows))
        ]
        for first in range(0, len(waveforms_of_unit), BATCH):
            for output in model.infer(waveforms_of_unit[first : first + BATCH], list(found)):
                for name, value in output.items():
                    found[name].append(value)
    return found


def divergences(exact: dict[str, list[NDArray[Any]]], cache: Path) -> list[float]:
    """Mean KL(exact | stored), in nats: of the logits at temperatures 1 and 2, of the attention."""
    stored: dict[str, list[NDArray[Any]]] = {name: [] for name in exact}
    opened = open_cache(cache)
    for unit in opened.units("test"):
        rows = opened.read_unit(unit, list(exact)).signals
        for name, values in stored.items():
            values += [rows[name][i] for i in range(len(rows[name]))]
    logits = zip(exact["logits"], stored["logits"], strict=True)
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in logits]
    found = [
        [_divergence(_log_softmax(a / t), _log_softmax(b / t)) for a, b in pairs] for t in (1, 2)
    ]
    attention = zip(exact[ATTENTION], stored[ATTENTION], strict=True)
    found.append([_divergence(_log_shares(a), _log_shares(b)) for a, b in attention])
    return [float(np.mean(values)) for values in found]


def _log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values - np.logaddexp.reduce(values))


def _log_shares(values: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.maximum(values.astype(np.float64), 1e-12)
    return np.asarray(np.log(wide / wide.sum()))


def _divergence(log_p: NDArray[np.float64], log_q: NDArray[np.float64]) -> float:
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def score(cache: Path, out: Path, seed: int) -> float:
    """Train one student and give its test accuracy."""
    folder = out / f"{cache.stem}-{seed}"
    run("train-student", cache, "--out", folder, *RECIPE, "--seed", seed, log=out / "log")
    return float(result(folder)["splits"]["test"]["score"])


def main(shared: Path, teacher: Path, out: Path) -> None:
    """Cache every storage type, train its students and print a table."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    exact = answers(teacher, cached(shared, teacher, out, "f16"))
    print("| storage | KL of logits | KL at T = 2 | KL of attention | test accuracy | each seed |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for arm in ARMS:
        cache = cached(shared, teacher, out, arm)
        cells = [f"{value:.1e}" for value in divergences(exact, cache)]
        scores = [score(cache, out, seed) for seed in SEEDS]
        each = ", ".join(f"{100 * value:.1f}" for value in scores)
        print(f"| {arm} | {' | '.join(cells)} | {spread(scores)} | {each} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
