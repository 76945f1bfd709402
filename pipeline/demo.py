"""The whole way on an embedded default, offline: the public commands, one after the other.

The corpus is synthetic speech in noise. The teacher is a small transformer trained from scratch on
all of it. The students' corpus is a part of it, as a user's labelled corpus is small beside what
a large teacher has heard.
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
from pipeline.demo_corpus import write_demo_corpus
from pipeline.teachers.untrained import write_untrained_encoder

STUDENT = "tc-resnet"
DISTILLED = ("--distill", "temporal=0.1", "--distill", "logits=0.7:temperature=2")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: clips to train on, epochs, seeds."""

    teacher_clips: int
    student_clips: int
    teacher_epochs: int
    student_epochs: int
    seeds: int


FULL = Scale(teacher_clips=4000, student_clips=600, teacher_epochs=14, student_epochs=24, seeds=3)
QUICK = Scale(teacher_clips=1200, student_clips=200, teacher_epochs=6, student_epochs=6, seeds=1)


class Demo:
    """Runs and prints each command; finished steps are not done again.

    Parameters
    ----------
    folder : Path
        Where everything goes.
    scale : Scale
        How much of everything.
    say : callable
        Prints a line.
    """

    def __init__(self, folder: Path, scale: Scale, say: Callable[[str], None]) -> None:
        self.folder, self.scale, self.say = folder, scale, say
        self._started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> Path:
        """Run the whole way; returns the picture."""
        corpora = self.make_corpora()
        teacher = self.folder / "teacher"
        base = self.folder / "untrained-encoder"
        if not base.exists():
            write_untrained_encoder(base, seed=0)
        epochs = self.scale.teacher_epochs
        self.step("A small transformer learns the words (in earnest: fine-tune a pretrained one)")
        self.command(
            "finetune-teacher", f"csv:{corpora['teacher']}", "--base", base, "--out", teacher,
            "--pooling", "mean", "--epochs", epochs, "--learning-rate", 3e-3, "--batch-size", 32,
            "--patience", epochs, "--train-front-end",
        )  # fmt: skip
        self.step("The teacher speaks once: logits and attention into a Zarr cache")
        cache = self.folder / "cache.zarr"
        self.command(
            "precompute-teacher", f"csv:{corpora['student']}", "--teacher", teacher, "--out", cache
        )
        self.command("inspect-cache", cache, "--verify")
        self.step("Students learn from the cache alone, with and without the teacher's answers")
        runs = self.train_students(cache)
        self.print_table(runs)
        return self.draw(cache, runs)

    def make_corpora(self) -> dict[str, Path]:
        """Write the corpus once, and a manifest for the students with a part of its training clips."""
        self.step("Synthetic speech (espeak-ng) in noise; no voice is in two splits")
        folder = self.folder / "corpus"
        counts = {"train": self.scale.teacher_clips, "validation": 300, "test": 500}
        manifest = folder / "manifest.csv"
        if not manifest.is_file():
            manifest = write_demo_corpus(folder, clips_per_split=counts, seed=0, length_s=1.5)
        student = folder / "student.csv"
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        train = [row for row in rows if row["split"] == "train"]
        kept = train[:: max(1, len(train) // self.scale.student_clips)][: self.scale.student_clips]
        with student.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(kept + [row for row in rows if row["split"] != "train"])
        self.say(
            f"{len(train)} clips teach the teacher, {len(kept)} of them the students; "
            f"{counts['validation']} validate, {counts['test']} test."
        )
        return {"teacher": manifest, "student": student}

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
                     "--epochs", self.scale.student_epochs, "--seed", seed]
                )  # fmt: skip
        for words in commands:
            self.say(f"$ {_shell(words)}")
        with ThreadPoolExecutor(max_workers=2) as pool:
            for output in pool.map(lambda words: _run(words, echo=None), commands):
                self.say(output.strip().splitlines()[-1])
        return runs

    def print_table(self, runs: Mapping[str, Sequence[Path]]) -> None:
        """Print test accuracy with its spread over seeds, beside the teacher's."""
        results = {
            name: [json.loads((run / "result.json").read_text())["splits"]["test"] for run in paths]
            for name, paths in runs.items()
        }
        self.step(f"Test accuracy of {STUDENT} over {self.scale.seeds} seed(s)")
        teacher = results["undistilled"][0]["teacher_score"]
        self.say(f"{'teacher':<14}{teacher:7.1%}")
        for name, splits in results.items():
            scores = [split["score"] for split in splits]
            spread = f" ± {stdev(scores):.1%}" if len(scores) > 1 else ""
            each = ", ".join(f"{score:.1%}" for score in scores)
            self.say(f"{name:<14}{mean(scores):7.1%}{spread}   ({each})")
        pairs = zip(results["distilled"], results["undistilled"], strict=True)
        gains = [with_["score"] - without["score"] for with_, without in pairs]
        won = sum(gain > 0 for gain in gains)
        self.say(
            f"{'gain':<14}{mean(gains):+7.1%}   distillation wins in {won} of {len(gains)} seeds"
        )

    def draw(self, cache: Path, runs: Mapping[str, Sequence[Path]]) -> Path:
        """Draw a test clip: what the teacher attends to and where the students look."""
        with (self.folder / "corpus" / "student.csv").open(newline="", encoding="utf-8") as file:
            clip = next(row for row in csv.DictReader(file) if row["split"] == "test")
        picture = self.folder / "attention.png"
        self.command(
            "evaluate-student", runs["distilled"][0], cache, "--split", "test", "--plot", picture,
            "--clip", clip["id"], "--beside", runs["undistilled"][0],
            "--mark-s", clip["keyword_start_s"], clip["keyword_end_s"],
        )  # fmt: skip
        return picture

    def step(self, title: str) -> None:
        """Announce a step with the time so far."""
        self.say(f"\n[{time.monotonic() - self._started:4.0f} s] {title}")

    def command(self, *words: object) -> None:
        """Print a public command as a user would type it, and run it."""
        self.say(f"$ {_shell(words)}")
        _run(words, echo=self.say)


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
