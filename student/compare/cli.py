"""``compare-students``: a ladder of distillation over caches, students and seeds."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cache_schema.command_line.command import Command
from cache_schema.command_line.parameters import PluginText
from cache_schema.errors import RunError, UsageError
from cache_schema.inspection.cache_cautions import teacher_cautions
from cache_schema.limits import MAX_PROCESSES
from cache_schema.own_folder import check_own_folder
from cache_schema.paths import PAGES, CacheArgument, OutputFile, OutputPath
from cache_schema.plugins import plugin_names
from cache_schema.reader import Cache, open_cache
from cache_schema.report.extra import require_report
from cache_schema.store.address import CachePath, resolved
from cache_schema.store.lock import write_lock
from cache_schema.store.safe_open import check_no_links
from cache_schema.terminal import echo
from cache_schema.text import shell_word
from student.compare.conditions import (
    LADDER,
    Condition,
    parse_condition,
    signals_as_they_are,
    supported_conditions,
)
from student.models import STUDENTS

if TYPE_CHECKING:
    from student.compare.runner import ComparisonRunner

MAX_SEEDS = 1000
MAX_FACTOR = 100

_Named = TypeVar("_Named", str, Condition)


@click.command("compare-students", cls=Command, goes_on=True)
@click.argument("caches", nargs=-1, required=True, type=CacheArgument())
@click.option(
    "--student",
    "students",
    required=True,
    multiple=True,
    type=PluginText(STUDENTS, "student"),
    metavar="NAME[:option=value,...]",
    help=f"Repeatable: {', '.join(plugin_names(STUDENTS, 'student'))}.",
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="'LOSS=WEIGHT[:...] ... [label=W] [unlabelled=N] [| ...]'",
    help="What students learn from beside the labels, repeatable: none, or losses as --distill takes "
    "them, separated by spaces, with the label weight of a sum that is not convex, and how many "
    "unlabelled clips if not all. A value may be a list, 0.1;0.5. Of alternatives, separated by | or "
    f"from lists, validation chooses one. Default, as far as caches serve it: {'; '.join(LADDER)}.",
)
@click.option("--seeds", type=click.IntRange(1, MAX_SEEDS), default=3, show_default=True)
@click.option(
    "--train",
    default="",
    metavar="'--epochs 10 ...'",
    help="Options of train-student for all runs alike.",
)
@click.option(
    "--halving",
    type=click.IntRange(2, MAX_FACTOR),
    metavar="N",
    help="Choose by successive halving: train all alternatives for a part of the epochs, the best 1 of "
    "N of them anew for N times as many, and so on. Default: train all for all epochs.",
)
@click.option("--out", required=True, type=OutputPath(), help="Folder of runs and tables.")
@click.option(
    "--folds", is_flag=True, help="The caches are folds of one corpus: one block in the table."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_PROCESSES),
    help="Trainings at once, a core each. Default: the cores it may use, or one for each of --devices.",
)
@click.option(
    "--devices",
    metavar="N,N,...",
    help="Numbers of the GPUs to divide the trainings among. Default: what train-student takes.",
)
@click.option(
    "--ledger",
    type=OutputPath(dir_okay=False),
    help="File of finished runs, a JSON line each: what is there is not trained again, wherever it "
    "was trained; what ends is added.",
)
@click.option(
    "--report",
    type=OutputFile(PAGES),
    metavar="FILE.html",
    help="Page of the outcome, with curves, classes and clips, once all is done.",
)
@click.option(
    "--png",
    type=OutputPath(file_okay=False),
    metavar="FOLDER",
    help="With --report: write each of its charts and clips as a picture too.",
)
@click.option("--plan", is_flag=True, help="Measure and show the cost, write nothing.")
def main(
    caches: tuple[CachePath, ...],
    students: tuple[str, ...],
    conditions: tuple[str, ...],
    seeds: int,
    train: str,
    halving: int | None,
    out: Path,
    folds: bool,
    jobs: int | None,
    devices: str | None,
    ledger: Path | None,
    report: Path | None,
    png: Path | None,
    plan: bool,
) -> None:
    """Train every student on every CACHE with each condition and seed, and compare on the test split.

    Killed at any moment, the same command continues. The test split is read by what is chosen alone.
    """
    named = cache_names(caches)
    opened = {name: open_cache(path) for name, path in named.items()}
    # Imported here: seconds that neither --help nor a refusal need take.
    from student.compare.known_runs import KnownRuns
    from student.compare.ledger import Ledger
    from student.compare.plan import cost_table
    from student.compare.runner import DOCUMENT, ComparisonRunner
    from student.compare.runs import Comparison, check_comparison
    from student.training.determinism import prepare_torch
    from student.training.train import corpus_warnings

    _check_ledger(ledger, out, report, png)
    if report is not None:
        require_report("--report")
    if png is not None:
        _check_png(png, report)
    prepare_torch(1)
    gpus = _gpus(devices) if devices is not None else []
    jobs = jobs or len(gpus) or _cores()
    ladder = _ladder(conditions, opened)
    comparison = Comparison(
        out, named, _each_once("student", students), ladder, seeds, _words(train), halving
    )
    check_no_links(out, "comparison", error=RunError)
    check_own_folder(out, "comparison", "compare-students", (DOCUMENT,))
    check_comparison(comparison, opened, folds=folds)
    used = signals_as_they_are(ladder)
    for cache in opened.values():
        cautions = (teacher_cautions(cache, name, signals=used) for name in cache.teachers)
        taught = (line for lines in cautions for line in lines)
        for warning in [*corpus_warnings(cache), *taught]:
            echo(f"warning: {warning}")
    known = KnownRuns(comparison, opened, Ledger(ledger) if ledger else None)
    if plan:
        for line in cost_table(comparison, opened, known.results, jobs):
            echo(line)
        return
    with write_lock(out):
        runner = ComparisonRunner(comparison, opened, known, folds=folds)
        runner.run(jobs, gpus)
        if report is not None:
            _write_report(runner, opened, ledger, report, png)


def _check_png(png: Path, report: Path | None) -> None:
    from cache_schema.report.pictures import check_pictures

    if report is None:
        raise UsageError("--png belongs to --report FILE.html", kind="options")
    check_pictures(png, "compare-students", report)


def _write_report(
    runner: ComparisonRunner,
    caches: dict[str, Cache],
    ledger: Path | None,
    report: Path,
    png: Path | None,
) -> None:
    """Write the page of a comparison that is done."""
    from student.report.comparison import comparison_blocks, comparison_command
    from student.report.report import write_report

    blocks, left_out = comparison_blocks(runner.comparison, runner.rows(), caches)
    for line in left_out:
        echo(f"left out of the report: {line}")
    if blocks:
        command = comparison_command(runner.comparison, runner.folds, ledger, report, png)
        title = "What each way of learning brings"
        echo(write_report(blocks, report, title=title, command=command, png=png))


def cache_names(paths: Sequence[CachePath]) -> dict[str, CachePath]:
    """Name caches after their folders.

    Raises
    ------
    UsageError
        If two have the same name, which tables and folders could not distinguish.
    """
    named: dict[str, CachePath] = {}
    for path in paths:
        name = resolved(path).name.removesuffix(".zarr")
        if resolved(named.setdefault(name, path)) != resolved(path):
            raise UsageError(
                f"two caches are called {name!r}: {named[name]} and {path}. Rename one: a cache stays "
                "what it is wherever it lies.",
                kind="options",
            )
    return named


def _check_ledger(ledger: Path | None, out: Path, *pages: Path | None) -> None:
    """Reject a ledger in the place of what else the comparison writes."""
    from student.compare.runner import TABLES
    from student.compare.runs import RUNS

    if ledger is None:
        return
    file, folder = (Path(os.path.realpath(path)) for path in (ledger, out))
    if file in {Path(os.path.realpath(page)) for page in pages if page is not None}:
        raise UsageError(
            f"--ledger {ledger} is also where --report and --png write; name another file, for example "
            f"--ledger {shell_word(f'{out}.jsonl')}",
            kind="options",
        )
    if file == folder or (
        file.is_relative_to(folder) and file.relative_to(folder).parts[0] in (*TABLES, RUNS)
    ):
        raise UsageError(
            f"--ledger {ledger} is, or lies in, what --out {out} is written to; name another file, for "
            f"example --ledger {shell_word(f'{out}.jsonl')}",
            kind="options",
        )


def _cores() -> int:
    """Cores that this process may use, of which a batch system gives some; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(text: str) -> list[str]:
    """Read ``0,1``: GPUs that torch sees, each once; gives their names for ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    UsageError
        For anything else, with how many there are.
    """
    import torch  # kept out of --help

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    names = visible if len(visible) == count else [str(number) for number in range(count)]
    numbers = [int(part) if part.strip().isdecimal() else -1 for part in text.split(",")]
    if len(set(numbers)) < len(numbers) or not all(0 <= n < count for n in numbers):
        seen = f"{count}, numbered from 0" if count else "none"
        raise UsageError(
            f"--devices {text}: expected numbers of GPUs, each once, joined by commas; torch sees "
            f"{seen}. Without the option train-student takes what there is",
            kind="options",
        )
    return [names[number] for number in numbers]


def _words(text: str) -> tuple[str, ...]:
    """Split the options of ``train-student`` as a shell does."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"--train {text!r} is no list of options: {error}", kind="options"
        ) from None


def _each_once(option: str, named: Iterable[_Named]) -> tuple[_Named, ...]:
    """Keep the first of what is named more than once, with a line that says so."""
    counts = Counter(named)
    for one, count in counts.items():
        if count > 1:
            echo(f"warning: --{option} {one} is given {count} times; it is trained once")
    return tuple(counts)


def _ladder(texts: tuple[str, ...], caches: dict[str, Cache]) -> tuple[Condition, ...]:
    """Read the conditions, each once; of the usual ones those that the caches can serve."""
    if texts:
        return _each_once("condition", map(parse_condition, texts))
    conditions, left_out = supported_conditions(LADDER, caches.values())
    for condition, reason in left_out.items():
        echo(f"left out {condition}: {reason}")
    return tuple(conditions)
