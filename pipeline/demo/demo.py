"""The whole way on an embedded default, offline: the public commands, one after the other.

The corpus is synthetic speech in noise. The teacher is a small transformer trained from scratch on
most of it; the students get other clips of it, few of them labelled.
"""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from cache_schema.errors import RunError
from pipeline.demo.corpus import write_demo_corpus
from pipeline.demo.speakers import KEYWORDS

STUDENT = "tc-resnet"
LENGTH_S = 1.5
DISTILLED = ("--distill", "temporal=0.1", "--distill", "logits=0.7:temperature=2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything: clips to train on, epochs, seeds."""

    teacher_clips: int
    teacher_epochs: int
    labelled_clips: int
    unlabelled_clips: int
    student_epochs: int
    seeds: int
    export_options: tuple[str, ...]


FULL = Scale(
    teacher_clips=3600,
    teacher_epochs=12,
    labelled_clips=400,
    unlabelled_clips=800,
    student_epochs=14,
    seeds=3,
    export_options=("--int8",),
)
QUICK = Scale(
    teacher_clips=1200,
    teacher_epochs=6,
    labelled_clips=100,
    unlabelled_clips=200,
    student_epochs=5,
    seeds=1,
    export_options=(),  # after so few steps 8 bits change too many predictions
)


class Demo:
    """Runs and prints each command; finished steps are not done again.

    Parameters
    ----------
    folder : Path
        Where everything goes.
    scale : Scale
        How much of everything.
    echo : callable
        Prints a line.
    """

    def __init__(self, folder: Path, scale: Scale, echo: Callable[[str], None]) -> None:
        self.folder, self.scale, self.echo = folder, scale, echo
        self._started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> Path:
        """Run the whole way; returns the picture."""
        corpora = self.make_corpora()
        teacher = self.folder / "teacher"
        base = self.folder / "untrained-encoder"
        if not base.exists():
            # Imported here: torch and transformers, which --help need not wait for.
            from pipeline.teachers.checkpoints.random_init import write_untrained_encoder

            write_untrained_encoder(base, seed=0)
        epochs = self.scale.teacher_epochs
        self.step("A small transformer learns the words (in earnest: fine-tune a pretrained one)")
        self.command(
            "finetune-teacher", f"csv:{corpora['teacher']}", "--base", base, "--out", teacher,
            "--pooling", "mean", "--epochs", epochs, "--learning-rate", 3e-3, "--batch-size", 32,
            "--patience", epochs, "--train-front-end",
        )  # fmt: skip
        self.step("The teacher runs once: logits and attention into a Zarr cache")
        cache = self.folder / "cache.zarr"
        self.command(
            "precompute-teacher", f"csv:{corpora['student']}", "--teacher", teacher, "--out", cache
        )
        self.command("inspect-cache", cache, "--verify")
        self.step("Students learn from the cache alone, with and without the teacher's outputs")
        runs = self.train_students(cache)
        self.step(f"Test accuracy of {STUDENT} over {self.scale.seeds} seed(s)")
        for line in score_lines(runs):
            self.echo(line)
        picture = self.draw(cache, runs)
        self.export(cache, runs["distilled"][0])
        return picture

    def make_corpora(self) -> dict[str, Path]:
        """Write the corpus, and two manifests that share no training clip.

        The teacher's is labelled. Of the students' clips most are not, as most audio is: only a
        student that learns from the teacher can learn from those.
        """
        self.step("Synthetic speech (espeak-ng) in noise; no voice is in two splits")
        folder, scale = self.folder / "corpus", self.scale
        ours = scale.labelled_clips + scale.unlabelled_clips
        counts = {"train": scale.teacher_clips + ours, "validation": 300, "test": 500}
        manifest = write_demo_corpus(folder, clips_per_split=counts, seed=0, length_s=LENGTH_S)
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        train = [row for row in rows if row["split"] == "train"]
        held_out = [row for row in rows if row["split"] != "train"]
        labelled = train[scale.teacher_clips : scale.teacher_clips + scale.labelled_clips]
        unlabelled = [row | {"label": ""} for row in train[-scale.unlabelled_clips :]]
        self.echo(
            f"{scale.teacher_clips} clips teach the teacher; {len(labelled)} other labelled ones and "
            f"{len(unlabelled)} unlabelled ones the students; {counts['validation']} validate, "
            f"{counts['test']} test."
        )
        return {
            "teacher": _write_manifest(
                folder / "teacher.csv", train[: scale.teacher_clips] + held_out
            ),
            "student": _write_manifest(folder / "student.csv", labelled + unlabelled + held_out),
        }

    def train_students(self, cache: Path) -> dict[str, list[Path]]:
        """Train every seed with and without distillation, two processes at a time."""
        arms: dict[str, Sequence[str]] = {"undistilled": (), "distilled": DISTILLED}
        runs: dict[str, list[Path]] = {name: [] for name in arms}
        commands = []
        for seed in range(self.scale.seeds):
            for name, distill in arms.items():
                run = self.folder / "runs" / f"{name}-{seed}"
                runs[name].append(run)
                commands.append(
                    ["train-student", cache, "--student", STUDENT, "--out", run, *distill,
                     "--epochs", self.scale.student_epochs, "--seed", seed,
                     "--no-spec-augment"]  # it pays in long trainings only
                )  # fmt: skip
        for words in commands:
            self.echo(f"$ {_shell(words)}")
        with ThreadPoolExecutor(max_workers=2) as pool:
            for output in pool.map(lambda words: _run(words, echo=None), commands):
                self.echo(output.strip().splitlines()[-1])
        return runs

    def draw(self, cache: Path, runs: Mapping[str, Sequence[Path]]) -> Path:
        """Draw a test clip: what the teacher attends to and where the students look."""
        clip = self.keyword_clip()
        picture = self.folder / "attention.png"
        self.command(
            "evaluate-student", runs["distilled"][0], cache, "--split", "test", "--plot", picture,
            "--clip", clip["id"], "--beside", runs["undistilled"][0],
            "--mark-s", clip["keyword_start_s"], clip["keyword_end_s"],
        )  # fmt: skip
        return picture

    def export(self, cache: Path, run: Path) -> None:
        """Write a student for a device, and let the file classify a recording."""
        self.step("The distilled student becomes a file for a device, which classifies a recording")
        out = self.folder / "device"
        if not out.exists():
            options = self.scale.export_options
            self.command(
                "export-student", run, "--to", "onnx", "--out", out, *options, "--calibrate", cache
            )
        self.command("predict-audio", out, self.folder / "corpus" / self.keyword_clip()["path"])

    def keyword_clip(self) -> dict[str, str]:
        """The first test clip with a keyword."""
        with (self.folder / "corpus" / "student.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
        return next(row for row in rows if row["label"] in KEYWORDS)

    def step(self, title: str) -> None:
        """Announce a step with the time so far."""
        self.echo(f"\n[{time.monotonic() - self._started:4.0f} s] {title}")

    def command(self, *words: object) -> None:
        """Print a public command as a user would type it, and run it."""
        self.echo(f"$ {_shell(words)}")
        _run(words, echo=self.echo)


def score_lines(runs: Mapping[str, Sequence[Path]]) -> list[str]:
    """Give test accuracy with its spread over seeds, beside the teacher's, and what was gained."""
    results = {
        name: [json.loads((run / "result.json").read_text())["splits"]["test"] for run in paths]
        for name, paths in runs.items()
    }
    lines = [f"{'teacher':<14}{results['undistilled'][0]['teacher_score']:7.1%}"]
    for name, splits in results.items():
        scores = [split["score"] for split in splits]
        spread = f" ± {stdev(scores):.1%}" if len(scores) > 1 else ""
        each = ", ".join(f"{score:.1%}" for score in scores)
        lines.append(f"{name:<14}{mean(scores):7.1%}{spread}   ({each})")
    pairs = zip(results["distilled"], results["undistilled"], strict=True)
    gains = [with_["score"] - without["score"] for with_, without in pairs]
    won = sum(gain > 0 for gain in gains)
    wins = f"distillation wins in {won} of {len(gains)} seeds"
    return [*lines, f"{'gain':<14}{mean(gains):+7.1%}   {wins}"]


def _write_manifest(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _shell(words: Sequence[object]) -> str:
    return shlex.join(str(word) for word in words)


def _run(words: Sequence[object], echo: Callable[[str], None] | None) -> str:
    """Run a console script of this environment; returns its output, which `echo` sees as it comes."""
    script = str(Path(sys.executable).with_name(str(words[0])))
    arguments = [str(word) for word in words[1:]]
    process = subprocess.Popen(
        [script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if echo is not None:
            echo(line.rstrip())
    if process.wait() != 0:
        raise RunError(
            f"{_shell(words)} ended with exit code {process.returncode}\n{''.join(lines)}",
            kind="command",
        )
    return "".join(lines)
