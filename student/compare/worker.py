"""A process of a comparison: ``train-student`` that is given which splits to score.

When its standard input ends, its parent has ended, and it ends at once: a training that nothing waits
for would lock its run. The state of a run is whole at any moment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cache_schema.command_line.command import Command
from cache_schema.reader import open_cache
from cache_schema.store.address import CachePath
from cache_schema.terminal import echo
from student.training import cli as train_cli
from student.training.determinism import prepare_torch
from student.training.train import train

STDIN = 0


def _train(
    cache: CachePath,
    out: Path,
    device: str,
    threads: int,
    loggers: Sequence[str],
    score_on: Sequence[str],
    **options: Any,
) -> None:
    prepare_torch(threads)
    settings = train_cli.resolve(options)
    train(
        open_cache(cache),
        settings,
        out,
        device=device,
        log=echo,
        score_on=score_on,
        loggers=loggers,
    )


main = Command(
    "train-student",
    callback=_train,
    params=[
        click.Option(["--score-on"], multiple=True),
        *(
            parameter
            for parameter in train_cli.main.params
            if parameter.name not in ("config", "version", "plan")
        ),
    ],
)


def _end_with_parent() -> None:
    os.read(STDIN, 1)  # not sys.stdin, whose lock would be missed at the interpreter's end
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()
