"""From a run to a folder for a device: write, try, quantise, try again, and say what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.errors import RunError, UsageError
from cache_schema.front_ends import FRONT_ENDS, front_end_features
from cache_schema.reader import open_cache
from student.export.bars import require_good_int8, require_same
from student.export.card import write_card
from student.export.clips import (
    TrialClip,
    TrialClips,
    check_source,
    generated_clips,
    given,
    held_out_clips,
    training_clips,
)
from student.export.draft import draft_of
from student.export.facts import Job, card_of
from student.export.forms import build_graph, check_form, front_end_graph, sample_count
from student.export.interface import Arrays, Exporter, Runner
from student.export.parity import Parity, Trial, steps
from student.export.promise import contract_of
from student.export.request import (
    Request,
    check_exporter,
    check_request,
    choose_form,
    load_exporter,
)
from student.export.vectors import VECTORS, write_vectors
from student.predict.contract import FEATURES, METADATA_KEY, WAVEFORM
from student.runs.checkpoint import load_student, weights_digest
from student.runs.predict import check_classes, read_config

Say = Callable[[str], None]

EVALUATED_CLIPS, FEWEST_EVALUATED = 500, 50
FEWEST_CALIBRATED = 20
# Steps of one clip differ little from those of the next.
STEP_CALIBRATION_CLIPS = 20
FRONT_END_BAR = 1e-4


def export(request: Request, say: Say) -> dict[str, Any]:
    """Write a run's student for a device; gives the card.

    Raises
    ------
    UsageError
        If the options do not go together, the student has no such form, the format's libraries are not
        installed, or there is something at ``--out``.
    RunError
        If the run is damaged, the format cannot hold the form, a bar is missed, or a signal stopped it.
        Nothing is left.
    """
    check_request(request)
    exporter = load_exporter(request.to)
    check_exporter(exporter, request)
    try:
        with draft_of(request.out) as draft:
            job = prepared(request, exporter)
            return _write(job, draft, say)
    except KeyboardInterrupt:
        raise RunError(
            "stopped. Nothing was written; repeat the command to begin anew.", kind="interrupted"
        ) from None


def prepared(request: Request, exporter: Exporter) -> Job:
    """Read the run, and choose the form."""
    config = read_config(request.run)
    student = load_student(request.run, config)
    cache = None if request.calibrate is None else open_cache(request.calibrate)
    spec = choose_form(request, student, cache)
    check_form(student, config["student"], spec)
    if cache is not None:
        check_classes(request.run, config, cache)
        check_source(cache, FRONT_ENDS[student.front_end], spec)
    graph = build_graph(student, spec)
    digest = weights_digest(request.run, student)
    contract = contract_of(request.run, config, student, spec, graph, digest)
    promised = {METADATA_KEY: contract.encode().decode()}
    return Job(
        request=request,
        exporter=exporter,
        config=config,
        student=student,
        spec=spec,
        cache=cache,
        graph=replace(graph, metadata=promised),
        contract=contract,
    )


def _write(job: Job, draft: Path, say: Say) -> dict[str, Any]:
    trial, calibration = _trial(job)
    path = draft / job.exporter.file_name
    job.exporter.write(job.graph, path)
    runner = job.exporter.load(path)
    parity = {"float": trial.compare(runner, exact=True)}
    say(_told(f"{path.name}, float, {path.stat().st_size:,} bytes", parity["float"]))
    require_same(parity["float"], job.spec, path.name)
    used = f"{len(calibration)} training clips of {job.request.calibrate}"
    calibrated = used if job.calibrates else ""
    if job.request.int8:
        runner, parity["int8"] = _quantised(job, path, runner, trial, calibration)
        say(_told(f"{path.name}, int8, {path.stat().st_size:,} bytes", parity["int8"]))
    if job.spec.takes == FEATURES and job.exporter.writes_front_end:
        _write_front_end(job, draft, trial.clips.clips)
    vectors = write_vectors(draft / VECTORS, trial, job.front_end)
    card = card_of(job, draft, runner, parity, calibrated, vectors)
    write_card(draft, card)
    return card


def _trial(job: Job) -> tuple[Trial, Sequence[TrialClip]]:
    """Read what the file is tried on, and what it is calibrated with."""
    name, calibration = job.student.front_end, list[TrialClip]()
    classes, task = job.contract.classes, job.contract.task
    if job.cache is None:
        clips = generated_clips(name, job.spec, len(classes))
        return Trial.of(job.student, job.spec, clips, task, classes), calibration
    if job.calibrates:
        calibration = list(training_clips(job.cache, name, job.spec, job.request.clips))
    clips = held_out_clips(job.cache, name, job.spec, EVALUATED_CLIPS, len(calibration))
    _require_enough(job, clips, len(calibration))
    return Trial.of(job.student, job.spec, clips, task, classes), calibration


def _require_enough(job: Job, clips: TrialClips, calibrated: int) -> None:
    """Refuse a cache too small to say anything by."""
    found, cache = len(clips.clips), job.request.calibrate
    needed = FEWEST_EVALUATED if job.request.int8 else 1
    if found < needed:
        raise UsageError(
            f"{cache} has {clips.source} for this form beside those that calibration takes; at least "
            f"{needed} are needed to evaluate the file. Choose another cache, fewer --clips, or no "
            "--int8",
            kind="clips",
        )
    if job.calibrates and calibrated < FEWEST_CALIBRATED:
        raise UsageError(
            f"{cache} has {calibrated} training clips for this form, at least {FEWEST_CALIBRATED} are "
            "needed to calibrate int8. Choose another cache, or no --int8",
            kind="clips",
        )


def _quantised(
    job: Job, path: Path, floats: Runner, trial: Trial, calibration: Sequence[TrialClip]
) -> tuple[Runner, Parity]:
    """Put the int8 file in the float one's place, if it holds its bars."""
    made = path.with_name(f"int8-{path.name}")
    job.exporter.quantize(job.graph, path, made, _calibration(job, floats, calibration))
    runner = job.exporter.load(made)
    parity = trial.compare(runner, exact=False)
    front_end_bytes = _front_end_bytes(job, path.parent) if job.spec.takes == WAVEFORM else 0
    require_good_int8(
        parity,
        made.stat().st_size - front_end_bytes,
        path.stat().st_size - front_end_bytes,
        has_step=not job.student.why_not_step and not job.streaming,
        name=path.name,
    )
    made.replace(path)
    return runner, parity


def _calibration(job: Job, floats: Runner, clips: Sequence[TrialClip]) -> list[Arrays]:
    """Inputs as the file gets them; a step's with the states of the float file."""
    if not job.streaming:
        return [{job.spec.takes: given(clip, job.spec)[None]} for clip in clips]
    chosen = islice(clips, STEP_CALIBRATION_CLIPS)
    return [inputs for c in chosen for inputs, _ in steps(floats, c, job.spec, job.front_end)]


def _front_end_bytes(job: Job, draft: Path) -> int:
    """Size of the front end alone, which stays in float and counts in no comparison of sizes."""
    path = draft / f"front-end-{job.exporter.file_name}"
    samples = job.front_end.window_samples if job.streaming else job.spec.samples
    job.exporter.write(front_end_graph(job.front_end, samples), path)
    size = path.stat().st_size
    path.unlink()
    return size


def _write_front_end(job: Job, draft: Path, clips: Sequence[TrialClip]) -> None:
    """Write the front end beside a file of features, for whoever has no other one.

    Raises
    ------
    RunError
        If it gives other features than its NumPy reference.
    """
    path = draft / f"front_end{Path(job.exporter.file_name).suffix}"
    job.exporter.write(front_end_graph(job.front_end), path)
    runner = job.exporter.load(path)
    random = np.random.default_rng(0)
    lengths = [sample_count(frames, job.front_end) + 1 for frames in (1, 30, 200)]
    waves = [random.normal(0, 0.1, samples).astype(np.float32) for samples in lengths]
    waves += [clip.waveform_S for clip in clips[:3] if clip.waveform_S is not None]
    worst = 0.0
    for wave in waves:
        found_BTM = runner.run({WAVEFORM: wave[None]})[FEATURES]
        expected_TM = front_end_features(wave, job.front_end)
        same = found_BTM.shape == (1, *expected_TM.shape)
        worst = max(worst, float(np.abs(found_BTM[0] - expected_TM).max()) if same else np.inf)
    if not worst <= FRONT_END_BAR:
        raise RunError(
            f"{path.name} gives other features than the student was trained on: largest difference "
            f"{worst:.2g}, allowed {FRONT_END_BAR:g}. Nothing was written.",
            kind="parity",
        )


def _told(what: str, parity: Parity) -> str:
    said = (
        f"{what}: same class for {parity.agreement:.1%} of {parity.source}, largest difference "
        f"{parity.largest_difference:.2g}"
    )
    if parity.file_score is None or parity.student_score is None:
        return said
    return (
        f"{said}, {parity.metric} {parity.file_score:.4f} (student {parity.student_score:.4f}, "
        f"{parity.labelled_clips} clips)"
    )
