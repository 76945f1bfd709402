"""From a run to a folder for a device: write, try, quantise, try again, and report what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.errors import RunError, UsageError
from cache_schema.front_ends import FRONT_ENDS, front_end_features, sample_count
from cache_schema.plugins import plugin_origin
from cache_schema.reader import open_cache
from student.export import CALIBRATION_CLIPS, EXPORTERS
from student.export.bars import INT8_LOSS, check_int8, check_parity
from student.export.browser_page import read_runtime, write_page
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
from student.export.draft import draft_of, drafts_left
from student.export.facts import ExportJob, card_of
from student.export.form_contract import contract_of
from student.export.forms import build_graph, check_form, front_end_graph
from student.export.interface import Arrays, Exporter, Runner
from student.export.parity import Parity, Trial, steps
from student.export.request import (
    ExportRequest,
    check_exporter,
    check_request,
    choose_form,
    load_exporter,
)
from student.export.vectors import VECTORS, write_vectors
from student.predict.contract import FEATURES, METADATA_KEY, WAVEFORM
from student.runs.checkpoint import load_student, weights_digest
from student.runs.predict import check_classes, read_config
from student.stream.lengths import MAX_CUT, TrainingLengths

Log = Callable[[str], None]

EVALUATED_CLIPS, MIN_EVALUATED = 500, 50
MIN_CALIBRATED = 20
# Steps of one clip differ little from those of the next.
STEP_CALIBRATION_CLIPS = 20
FRONT_END_BAR = 1e-4
WEIGHTS_AND_ACTIVATIONS = "weights and activations"


def export(request: ExportRequest, log: Log) -> dict[str, Any]:
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
    runtime = None if request.page is None else read_runtime(request.page)
    try:
        with draft_of(request.out) as draft:
            job = prepared(request, exporter)
            _log_length(job, log)
            _log_shortest(job, log)
            if runtime is not None:
                write_page(draft, runtime)
            card = _write(job, draft, log)
    except KeyboardInterrupt:
        raise RunError(
            "stopped. Nothing was written; repeat the command to begin anew.", kind="interrupted"
        ) from None
    for left in drafts_left(request.out):
        log(f"note: {left} is of an export that was killed; delete it, unless one is under way")
    return card


def prepared(request: ExportRequest, exporter: Exporter) -> ExportJob:
    """Read the run, and choose the form."""
    config = read_config(request.run)
    student = load_student(request.run, config)
    cache = None if request.calibrate is None else open_cache(request.calibrate)
    spec, why_length = choose_form(request, student, exporter, cache)
    check_form(student, config["student"], spec)
    if cache is not None:
        check_classes(request.run, config, cache)
        check_source(cache, FRONT_ENDS[student.front_end], spec)
    graph = build_graph(student, spec)
    digest = weights_digest(request.run, student)
    contract = contract_of(request.run, config, student, spec, graph, digest)
    promised = {METADATA_KEY: contract.encode().decode()}
    return ExportJob(
        request=request,
        exporter=exporter,
        config=config,
        student=student,
        spec=spec,
        why_length=why_length,
        cache=cache,
        graph=replace(graph, metadata=promised),
        contract=contract,
    )


def _log_length(job: ExportJob, log: Log) -> None:
    """Report the length that was chosen here, or warn of a requested one that fits few clips."""
    samples, rate_hz = job.spec.samples, job.front_end.sample_rate_hz
    if job.why_length:
        length = "any length" if samples is None else f"{samples / rate_hz:.4g} s"
        log(f"clips of {length}: {job.why_length} (--length-s changes it)")
    elif job.cache is not None and samples is not None:
        lengths = TrainingLengths.of(job.cache, job.front_end)
        share = lengths.share_longer(samples)
        if share > MAX_CUT:
            log(
                f"warning: the file takes {samples / rate_hz:.4g} s, and {share:.0%} of the training "
                "clips are longer: only their beginning is used, here and on the device, and the scores "
                "below are of that. Leave --length-s out: what is chosen then holds them"
            )


def _log_shortest(job: ExportJob, log: Log) -> None:
    """Say below which length a file of any length does not answer as its student."""
    if job.spec.kind == "dynamic" and job.spec.shortest_frames > 1:
        shortest_s = job.contract.shortest_samples / job.front_end.sample_rate_hz
        log(
            f"note: the file takes {job.spec.shortest_frames} frames at least ({shortest_s:.4g} s): "
            "shorter clips are filled up with silence, and get another answer than its student's"
        )


def _log_filled(job: ExportJob, parity: Parity, log: Log) -> None:
    """Warn of a student that answers otherwise where silence follows a clip."""
    own, filled, samples = parity.unfilled.student, parity.held_out.student, job.spec.samples
    if own is None or filled is None or samples is None or own - filled <= INT8_LOSS:
        return
    length_s = samples / job.front_end.sample_rate_hz
    why_not = job.student.why_not_any_length or job.exporter.why_not_any_length
    any_length = "" if why_not else ", or export it with --length-s any"
    log(
        f"warning: silence fills {parity.unfilled.clips} of {parity.held_out.clips} held-out clips up "
        f"to {length_s:.4g} s, which the student has not learned: {parity.metric} {filled:.4f} of them "
        f"all, and {own:.4f} on their own sound. Train it on clips of one length (precompute-teacher "
        f"--view placement:length_s={length_s:.4g}){any_length}"
    )


def _write(job: ExportJob, draft: Path, log: Log) -> dict[str, Any]:
    trial, calibration = _trial(job)
    path = draft / job.exporter.file_name
    job.exporter.write(job.graph, path)
    _check_written(job, path)
    runner = job.exporter.load(path)
    parity = {"float": trial.compare(runner, exact=True)}
    log(_parity_line(f"{path.name}, float, {path.stat().st_size:,} bytes", parity["float"]))
    _log_filled(job, parity["float"], log)
    check_parity(parity["float"], job.spec, path.name)
    quantised = ""
    if job.request.int8:
        runner, parity["int8"], quantised = _quantised(job, path, runner, trial, calibration, log)
        said = f"{path.name}, int8 of {quantised}, {path.stat().st_size:,} bytes"
        log(_parity_line(said, parity["int8"]))
    used = f"{len(calibration)} training clips of {job.request.calibrate}"
    calibrated = used if quantised == WEIGHTS_AND_ACTIVATIONS and job.calibrates else ""
    if job.spec.takes == FEATURES and job.exporter.writes_front_end:
        _write_front_end(job, draft, trial.clips.clips)
    vectors = write_vectors(draft / VECTORS, trial, job.front_end)
    card = card_of(job, draft, runner, parity, quantised, calibrated, vectors)
    write_card(draft, card)
    return card


def _check_written(job: ExportJob, path: Path) -> None:
    """Reject an exporter that has not written the file that it was to write."""
    if path.is_symlink() or not path.is_file():
        origin = plugin_origin(EXPORTERS, job.request.to, "exporter")
        of = f" of {origin}" if origin else ""
        raise RunError(
            f"exporter {job.request.to}{of} wrote no file {job.exporter.file_name}. Nothing was "
            "written. Repair or uninstall its distribution",
            kind="plugin",
        )


def _trial(job: ExportJob) -> tuple[Trial, Sequence[TrialClip]]:
    """Read what the file is tried on, and what it is calibrated with."""
    name, calibration = job.student.front_end, list[TrialClip]()
    classes, task = job.contract.classes, job.contract.task
    if job.cache is None:
        clips = generated_clips(name, job.spec, len(classes))
        return Trial.of(job.student, job.spec, clips, task, classes), calibration
    if job.calibrates:
        count = job.request.clips or CALIBRATION_CLIPS
        calibration = list(training_clips(job.cache, name, job.spec, count))
    clips = held_out_clips(job.cache, name, job.spec, EVALUATED_CLIPS, len(calibration))
    _check_enough_clips(job, clips, len(calibration))
    return Trial.of(job.student, job.spec, clips, task, classes), calibration


def _check_enough_clips(job: ExportJob, clips: TrialClips, calibrated: int) -> None:
    """Reject a cache too small to judge by."""
    found, cache = len(clips.clips), job.request.calibrate
    needed = MIN_EVALUATED if job.request.int8 else 1
    if found < needed:
        beside, ways = "", "leave --calibrate out and give --length-s"
        if job.calibrates:
            beside, ways = " beside those that calibration takes", "fewer --clips, or no --int8"
        raise UsageError(
            f"{cache} has {clips.source} for this form{beside}; at least {needed} are needed to "
            f"evaluate the file. Choose another cache, or {ways}",
            kind="clips",
        )
    if job.calibrates and calibrated < MIN_CALIBRATED:
        raise UsageError(
            f"{cache} has {calibrated} training clips for this form, at least {MIN_CALIBRATED} are "
            "needed to calibrate int8. Choose another cache, or no --int8",
            kind="clips",
        )


def _quantised(
    job: ExportJob,
    path: Path,
    floats: Runner,
    trial: Trial,
    calibration: Sequence[TrialClip],
    log: Log,
) -> tuple[Runner, Parity, str]:
    """Put the int8 file in the float one's place, if it holds its bars; gives of what it is int8.

    Where activations of 8 bits miss a bar, weights alone are tried, if the format has that.
    """
    made = path.with_name(f"int8-{path.name}")
    job.exporter.quantize(job.graph, path, made, _calibration(job, floats, calibration))
    _check_written(job, made)
    quantised = WEIGHTS_AND_ACTIVATIONS
    try:
        wanted = job.request.clips or CALIBRATION_CLIPS
        more_clips = job.calibrates and not job.streaming and len(calibration) == wanted
        runner, parity = _held_to_int8(job, path, made, trial, more_clips=more_clips)
    except RunError as error:
        if error.kind != "int8" or not job.exporter.quantizes_weights_alone(job.graph):
            raise
        log(_first_line_of(error, job.exporter.weights_alone))
        made.unlink()
        job.exporter.quantize_weights(job.graph, path, made)
        _check_written(job, made)
        quantised = job.exporter.weights_alone
        runner, parity = _held_to_int8(job, path, made, trial, more_clips=False)
    made.replace(path)
    return runner, parity, quantised


def _first_line_of(error: RunError, alternative: str) -> str:
    problems = [line.strip(" -") for line in str(error).splitlines() if line.startswith("  - ")]
    return (
        f"int8 of {WEIGHTS_AND_ACTIVATIONS} misses a bar ({'; '.join(problems)}); of {alternative}:"
    )


def _held_to_int8(
    job: ExportJob, path: Path, made: Path, trial: Trial, *, more_clips: bool
) -> tuple[Runner, Parity]:
    """Run an int8 file and refuse it if it misses a bar."""
    runner = job.exporter.load(made)
    parity = trial.compare(runner, exact=False)
    front_end_bytes = _front_end_bytes(job, path.parent) if job.spec.takes == WAVEFORM else 0
    check_int8(
        parity,
        made.stat().st_size - front_end_bytes,
        path.stat().st_size - front_end_bytes,
        has_step=not job.student.why_not_step and not job.streaming,
        more_clips=more_clips,
        name=path.name,
    )
    return runner, parity


def _calibration(job: ExportJob, floats: Runner, clips: Sequence[TrialClip]) -> list[Arrays]:
    """Inputs as the file gets them; a step's with the states of the float file."""
    if not job.streaming:
        return [{job.spec.takes: given(clip, job.spec)[None]} for clip in clips]
    chosen = islice(clips, STEP_CALIBRATION_CLIPS)
    return [inputs for c in chosen for inputs, _ in steps(floats, c, job.spec, job.front_end)]


def _front_end_bytes(job: ExportJob, draft: Path) -> int:
    """Size of the front end alone, which stays in float and counts in no comparison of sizes."""
    path = draft / f"front-end-{job.exporter.file_name}"
    samples = job.front_end.window_samples if job.streaming else job.spec.samples
    job.exporter.write(front_end_graph(job.front_end, samples), path)
    size = path.stat().st_size
    path.unlink()
    return size


def _write_front_end(job: ExportJob, draft: Path, clips: Sequence[TrialClip]) -> None:
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


def _parity_line(what: str, parity: Parity) -> str:
    line = (
        f"{what}: same class for {parity.agreement:.1%} of {parity.source}, largest difference "
        f"{parity.largest_difference:.2g}"
    )
    if parity.scores.clips and not parity.held_out.clips:
        return f"{line}; no clip is held out, so how good it is is not known"
    if parity.held_out.file is None or parity.held_out.student is None:
        return line
    return (
        f"{line}; {parity.metric} {parity.held_out.file:.4f} (student {parity.held_out.student:.4f}) on "
        f"{parity.held_out.clips} held-out clips"
    )
