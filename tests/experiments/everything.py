"""Run what the ledgers lack: every cache, student, way to learn and seed of the tables.

    python tests/experiments/everything.py ../shared WORK_FOLDER [NAME ...] [--plan]
        [--jobs N] [--device cuda]

NAME is an experiment of ``ladders.py``, by default all. A cache is made only where a run on it is
missing; a killed command goes on where it was. On one GPU some processes side by side fill it:
``--device cuda --jobs 8``. With ``--plan`` the missing runs are counted and nothing is run.
"""

from __future__ import annotations

from pathlib import Path

import click
from esc10 import run
from ladders import EXPERIMENTS, HERE, Experiment


@click.command()
@click.argument("shared", type=click.Path(path_type=Path, exists=True))
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, type=click.Choice(list(EXPERIMENTS)))
@click.option("--plan", is_flag=True, help="Count what is missing, run nothing.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="As train-student takes it.")
def main(
    shared: Path, work: Path, names: tuple[str, ...], plan: bool, jobs: int, device: str
) -> None:
    """Run what the ledgers lack."""
    for name in names or EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        missing = missing_runs(experiment)
        counts = ", ".join(f"{cache} {count}" for cache, count in missing.items() if count)
        click.echo(f"{name}: {sum(missing.values())} runs missing ({counts or 'complete'})")
        if counts and not plan:
            complete(experiment, missing, shared, work, name, jobs, device)


def missing_runs(experiment: Experiment) -> dict[str, int]:
    """Count the runs of each cache that the ledger lacks."""
    counts = dict.fromkeys(experiment.caches, 0)
    for one, result in experiment.results_found().items():
        counts[one.cache] += result is None
    return counts


def complete(
    experiment: Experiment, missing: dict[str, int], shared: Path, work: Path, name: str,
    jobs: int, device: str,
) -> None:  # fmt: skip
    """Make the caches that are needed, and train on them."""
    work.mkdir(parents=True, exist_ok=True)
    needed = [cache for cache, count in missing.items() if count]
    for cache in needed:
        experiment.make(shared.resolve(), work, cache)
    # Folds are one block of a table: all of them, or none.
    caches = experiment.caches if experiment.config.get("folds") else needed
    train = f"{experiment.config.get('train', '')} --device {device}".strip()
    run("compare-students", *(work / f"{cache}.zarr" for cache in caches),
        "--config", HERE / experiment.ladder, "--train", train, "--jobs", jobs,
        "--ledger", experiment.ledger.path, "--out", work / f"compared-{name}",
        log=work / f"log-{name}")  # fmt: skip


if __name__ == "__main__":
    main()
