"""``stream-audio``: a student's detections in a stream, as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from cache_schema.command_line.command import Command, Number
from cache_schema.errors import RunError, UsageError
from cache_schema.paths import LocalPath
from cache_schema.terminal import echo
from cache_schema.text import one_line
from cache_schema.truncation import MAX_RATE_HZ, MIN_RATE_HZ
from student.predict.cli import MAX_WINDOW_S
from student.predict.detections import Detector, frame_scores, window_scores
from student.predict.pcm import FORMATS, INPUT, read_pipe, standard_input
from student.predict.predictor import Predictor, open_predictor
from student.predict.recordings import (
    UnusableRecording,
    read_recording,
)
from student.predict.stretches import window_samples

WINDOW_S, HOP_S = 1.0, 0.1
MAX_TIME_S = 3600.0

Blocks = Iterator[NDArray[np.float32]]


@click.command("stream-audio", cls=Command)
@click.argument("model", type=LocalPath())
@click.argument("source", type=LocalPath())
@click.option(
    "--rate",
    type=click.IntRange(MIN_RATE_HZ, MAX_RATE_HZ),
    metavar="HZ",
    help="Rate of bare samples on standard input. Default: the student's.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="What bare samples are, one channel. Default: S16_LE.",
)
@click.option("--threshold", type=Number(0, 1), default=0.5, show_default=True, metavar="SCORE")
@click.option(
    "--refractory-s",
    type=Number(0, MAX_TIME_S),
    default=1.0,
    show_default=True,
    metavar="S",
    help="After a detection its class is not reported again for so long.",
)
@click.option(
    "--window-s",
    type=Number(0.01, MAX_WINDOW_S),
    metavar="S",
    help="Take windows, as a student without steps always does. Default: the length it was "
    f"exported for, or that nearly all clips had that a run learned from; else {WINDOW_S:g}.",
)
@click.option(
    "--hop-s",
    type=Number(0.01, MAX_TIME_S),
    metavar="S",
    help=f"From one window to the next. Default: {HOP_S:g}.",
)
def main(
    model: Path,
    source: Path,
    rate: int | None,
    form: str | None,
    threshold: float,
    refractory_s: float,
    window_s: float | None,
    hop_s: float | None,
) -> None:
    """Print what MODEL detects in SOURCE: a recording, or - for standard input.

    MODEL is a run of train-student, or an exported ONNX file, which needs no torch. Each line of output
    is a class whose score has risen to the threshold (with one label for each clip, the likeliest):
    where in seconds, the class, the score. A student with steps predicts after every frame and keeps
    its state, any other one takes a window at a time:

    arecord -f S16_LE -r 16000 -c 1 | stream-audio MODEL -
    """
    piped = str(source) == "-"
    if not piped and (rate or form):
        raise UsageError(
            f"--rate and --format are for bare samples on {INPUT}; {source} states both itself",
            kind="options",
        )
    pipe = standard_input() if piped else None
    predictor = open_predictor(model)
    rate_hz = predictor.sample_rate_hz
    read = read_pipe(pipe, rate_hz, rate, form) if pipe else read_recording(source, rate_hz)
    blocks = _Counted(read)
    scores = _scores(predictor, blocks, window_s, hop_s)
    detector = Detector(predictor.classes, predictor.task, threshold, refractory_s)
    try:
        _print_detections(scores, detector)
    except UnusableRecording as problem:
        raise RunError(f"{INPUT if piped else source}: {problem}", kind="recordings") from None
    except BrokenPipeError:  # whoever read the output has seen enough
        return
    except KeyboardInterrupt:  # the way to end a stream that has no end
        pass
    echo(f"{blocks.samples / rate_hz:.1f} s processed", err=True)


class _Counted:
    """Blocks of samples, counted on their way."""

    def __init__(self, blocks: Blocks) -> None:
        self.samples = 0
        self._blocks = blocks

    def __iter__(self) -> Blocks:
        for block_S in self._blocks:
            self.samples += len(block_S)
            yield block_S


def _scores(
    predictor: Predictor, blocks: _Counted, window_s: float | None, hop_s: float | None
) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Print how the stream is cut, and yield the scores."""
    stepper = None if window_s or hop_s else predictor.stepper()
    if stepper is not None:
        echo(f"frame by frame, every {1000 * stepper.front_end.hop_s:g} ms", err=True)
        return frame_scores(stepper, iter(blocks))
    window = window_samples(predictor, window_s, WINDOW_S)
    hop = max(1, round((hop_s or HOP_S) * predictor.sample_rate_hz))
    seconds = [samples / predictor.sample_rate_hz for samples in (window, hop)]
    echo("windows of {:g} s, every {:g} s".format(*seconds), err=True)
    return window_scores(predictor, iter(blocks), window, hop)


def _print_detections(
    scores: Iterator[tuple[float, NDArray[np.float64]]], detector: Detector
) -> None:
    for start_s, scores_C in scores:
        for found in detector.update(start_s, scores_C):
            echo(f"{found.start_s:.2f}\t{one_line(found.label)}\t{found.score:.4f}")
