"""Train a student from a cache: what is rejected and reported before, the loop, the scores after."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.cautions import perfect_teacher
from cache_schema.errors import CacheError, RunError, UsageError, bullet_list
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.inspection.cache_cautions import corpus_cautions, flat_cautions
from cache_schema.own_folder import check_own_folder
from cache_schema.reader import Cache
from cache_schema.signal_names import (
    LOGITS,
    TEMPORAL_ATTENTION,
    qualified,
    signal_of,
    teacher_of,
)
from cache_schema.store.files import PARTIAL_SUFFIX
from cache_schema.store.lock import write_lock
from cache_schema.store.safe_open import check_no_links
from cache_schema.text import shell_word
from student.metrics import (
    MAIN_METRIC,
    Score,
    check_metric,
    check_metrics,
    is_share,
    measure,
    measure_all,
    teacher_score,
)
from student.metrics.interface import Predictions
from student.metrics.teacher import teacher_predictions
from student.runs.checkpoint import (
    STATE,
    WEIGHTS,
    load_state,
    load_student,
    read_json,
    write_json,
)
from student.runs.predict import run_predictions
from student.runs.run_config import CONFIG, config_problems
from student.runs.run_result import (
    CLIP_S,
    EXTENDED,
    PLANNED,
    RESULT,
    STEPS,
    is_outdated,
    result_problems,
)
from student.runs.settings import (
    FILES,
    Settings,
    diff_settings,
    distillation_as_json,
    student_class,
)
from student.stream.class_map import coverage_report
from student.stream.epoch_rows import usable_clips
from student.stream.lengths import TrainingLengths
from student.stream.teacher_selection import teacher_classes
from student.stream.unit_loader import feature_sources
from student.training.loggers.session import IDS, LoggerSession, logger_class
from student.training.loggers.tensorboard import CURVES
from student.training.loop import METRIC_LINES, TRAIN, VALIDATION, Log, Trainer
from student.training.objective import (
    Objective,
    build_objective,
    check_class_map,
    class_maps,
)
from student.training.processes import Processes

TEST = "test"
HELD_OUT = (VALIDATION, TEST)


def train(
    cache: Cache,
    settings: Settings,
    run: Path,
    *,
    device: str,
    log: Log,
    score_on: Sequence[str] = HELD_OUT,
    loggers: Sequence[str] = (),
) -> dict[str, Any]:
    """Train, or continue a training, and score it.

    Parameters
    ----------
    cache : Cache
        An open cache with a ``train`` split.
    settings : Settings
        What to train and how.
    run : Path
        Folder of the run; made here.
    device : str
        Fabric's name of the accelerator: ``"cpu"``, ``"cuda"`` or ``"auto"``.
    log : callable
        Receives a line at a time for the user.
    score_on : sequence of str
        Splits to score at the end, as far as the cache has them. A run that is finished but for a
        score is scored without training.
    loggers : sequence of str
        Keys of ``LOGGERS`` that get the curves too.

    Under ``torchrun`` all processes call it; the first one writes the run and reports.

    Returns
    -------
    dict
        The content of ``result.json``.

    Raises
    ------
    UsageError
        If the folder holds a run of other settings, with both values; if the processes cannot divide
        the lanes.
    RunError
        If a loss is not finite, naming the clips; if another process writes the run; if a signal
        stopped the training.
    """
    processes = Processes.of_torchrun()
    processes.check_lanes(settings.lanes)
    for name in loggers:
        logger_class(name)  # an error for one that is not installed
    check_trainable(cache, settings)
    objective = build_objective(cache, settings)
    splits = [split for split in score_on if split in cache.splits]
    with processes.joined(device):
        if not processes.writes:
            processes.wait()  # until the first has written the settings
            return _train(cache, settings, run, objective, device, _silent, splits, (), processes)
        with write_lock(run):
            begin_run(run, settings, cache)
            processes.wait()
            return _train(cache, settings, run, objective, device, log, splits, loggers, processes)


def begin_run(run: Path, settings: Settings, cache: Cache) -> None:
    """Write a run's settings, or check that they are as before; remove what a kill left half-written."""
    check_no_links(run, "run", error=RunError)
    create_or_resume_run(run, resolved_run(run, settings, cache)[1])
    for name in (CONFIG, STATE, METRIC_LINES, WEIGHTS, RESULT, CURVES, IDS):
        for left_by_a_kill in run.glob(f"{name}.*{PARTIAL_SUFFIX}"):
            left_by_a_kill.unlink()


def _silent(line: str) -> None:
    """Report nothing: the first process does."""


def _train(
    cache: Cache,
    settings: Settings,
    run: Path,
    objective: Objective,
    device: str,
    log: Log,
    splits: list[str],
    loggers: Sequence[str],
    processes: Processes,
) -> dict[str, Any]:
    source, config = resolved_run(run, settings, cache)
    config = checked_run(run, config)[0]
    done = finished_result(run, splits, config)
    if done is not None:
        load_student(run, config)  # else what is reported as done would be of no use
        log(f"{run} is finished: {done.get('epochs')} of {settings.recipe.epochs} epochs are done")
        return done
    for warning in corpus_warnings(cache):
        log(f"warning: {warning}")
    _report_coverage(cache, settings, log)
    scores = {split: _teacher(cache, settings, split) for split in (TRAIN, VALIDATION)}
    defined = {split: found for split, found in scores.items() if found and found.defined}
    nothing = _missing_score_reason(cache, settings)
    name = f"teacher {settings.teacher}" if settings.teacher else "teacher"
    log(
        f"{name}: " + ("; ".join(f"{split} {found}" for split, found in defined.items()) or nothing)
    )
    for warning in _teacher_warnings(cache, settings, defined.get(TRAIN)):
        log(f"warning: {warning}")
    opened: AbstractContextManager[LoggerSession | None] = nullcontext()
    if processes.writes:
        opened = closing(LoggerSession(loggers, run, config, log))
    with opened as session:
        # Now, as its clock starts.
        training = Trainer(cache, settings, run, objective, device, source, processes)
        training.teacher = {split: found.json_value for split, found in defined.items()}
        training.run_epochs(log, session)
    if processes.writes:
        finish(run, training, splits)
    processes.wait()  # for the result
    result: dict[str, Any] = read_json(run / RESULT)
    return result


def finished_result(
    run: Path, splits: Sequence[str], config: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Read a finished run's result; None where it is none, a score lacks, or more epochs follow."""
    found = read_json(run / RESULT)
    if result_problems(found) or is_outdated(found, config):
        return None
    result: dict[str, Any] = found
    return result if result["splits"].keys() >= set(splits) else None


def corpus_warnings(cache: Cache) -> list[str]:
    """What a cache's corpus lacks that scores would not show."""
    warnings = [f"{cache.root}: {line}" for line in corpus_cautions(cache)]
    if VALIDATION not in cache.splits:
        warnings.append(f"{cache.root} has no split {VALIDATION}: the last epoch is kept")
    return warnings


def check_trainable(cache: Cache, settings: Settings) -> None:
    """Reject what no training could begin with; signals are for the objective to find.

    Raises
    ------
    UsageError
        For a class map, metric or split that the cache has not, or if there is nothing to learn.
    CacheError
        Kind ``"empty"`` where no training clip can be used.
    """
    check_class_map(cache, settings)
    if TRAIN not in cache.splits:
        raise UsageError(
            f"{cache.root} has no split {TRAIN!r} to train on; it has: {', '.join(cache.splits)}",
            kind="split",
        )
    if settings.patience is not None and VALIDATION not in cache.splits:
        raise UsageError(
            f"--patience {settings.patience} needs validation scores, and {cache.root} has no split "
            f"{VALIDATION!r}; it has: {', '.join(cache.splits)}. Leave --patience out",
            kind="options",
        )
    _check_epoch(cache, settings)
    if settings.metric is not None:
        check_metric(settings.metric, cache.task)
    check_metrics(cache.task, tuple(cache.classes))
    _check_targets(cache, settings)


def _check_epoch(cache: Cache, settings: Settings) -> None:
    """Reject numbers of labelled and unlabelled clips that no epoch of the cache could have."""
    share, wanted = settings.labelled_share, settings.unlabelled
    if share is None and wanted is None:
        return
    if share is not None and not settings.distill:
        raise UsageError(
            f"--labelled-share {share} without --distill: training by labels alone leaves unlabelled "
            "clips out. Leave it out, or let the teacher teach, for example --distill logits=1",
            kind="options",
        )
    labelled, unlabelled = map(len, usable_clips(cache, TRAIN))
    if share is not None and not labelled:
        raise UsageError(
            f"--labelled-share {share}: no training clip of {cache.root} is labelled. Leave it out",
            kind="options",
        )
    if share is not None and not (unlabelled if wanted is None else wanted):
        raise UsageError(
            f"--labelled-share {share}: every clip that is learned from is labelled. Leave it out",
            kind="options",
        )
    if wanted is not None and (wanted > unlabelled or not labelled + wanted):
        raise UsageError(
            f"--unlabelled {wanted}: {cache.root} has {unlabelled} unlabelled training clips, and "
            f"{labelled} labelled ones. Leave it out to learn from all",
            kind="options",
        )
    if wanted and not settings.distill:
        raise UsageError(
            f"--unlabelled {wanted} without --distill: nothing teaches a student on these clips. Let "
            "the teacher teach, for example --distill logits=0.5, or give --unlabelled 0",
            kind="options",
        )


def _check_targets(cache: Cache, settings: Settings) -> None:
    """Reject a training that could teach nothing."""
    if not cache.classes:
        raise UsageError(
            f"{cache.root} has no classes: its corpus has no labels and its teacher no classifier. "
            "Give labels, or a teacher made by finetune-teacher.",
            kind="classes",
        )
    units = cache.units(TRAIN, view=0)
    if not any(len(cache.read_unit(unit, ()).clip) for unit in units):
        raise CacheError(
            f"every training clip of {cache.root} is quarantined; see inspect-cache "
            f"{shell_word(cache.root)}",
            kind="empty",
        )
    if not settings.distill and settings.label_weight == 0:
        raise UsageError(
            "--label-weight 0 without --distill leaves nothing to learn from. Leave it out, or let the "
            "teacher teach, for example --distill logits=1",
            kind="options",
        )
    if not settings.distill and not any(cache.read_unit(u, ()).labelled.any() for u in units):
        raise UsageError(
            f"no training clip of {cache.root} is labelled; let the teacher teach, for example "
            "--distill logits=1",
            kind="labels",
        )


def _teacher(cache: Cache, settings: Settings, split: str) -> Score | None:
    """Score the teacher that the run learns from."""
    return teacher_score(
        cache,
        split,
        metric=settings.metric,
        class_map=settings.class_map,
        teacher=settings.teacher,
    )


def _missing_score_reason(cache: Cache, settings: Settings) -> str:
    """Explain why the teacher of a run has no score, where it has none."""
    if qualified(LOGITS, settings.teacher) not in cache.signals:
        return "no cached logits"
    classes = teacher_classes(cache, settings.teacher)
    lacking = [name for name in cache.classes if name not in classes]
    if lacking and settings.class_map is None:
        return (
            f"its {len(classes)} classes lack {len(lacking)} of the cache's {len(cache.classes)}, first "
            f"{lacking[0]!r}; --class-map FILE.toml can name which stand for which"
        )
    return "no labelled clips to score it on"


def _teacher_warnings(cache: Cache, settings: Settings, score: Score | None) -> list[str]:
    """What a run's teachers leave it to learn."""
    found = []
    if score is not None and settings.distill and is_share(score.metric):
        found = perfect_teacher(score.value, score.metric)
    for entry in settings.distill:
        if "sharpen" in entry.options:  # what the warning would advise
            continue
        for signal in entry.signals:
            if signal_of(signal) == TEMPORAL_ATTENTION:
                found += flat_cautions(cache, signal)
    return found


def _report_coverage(cache: Cache, settings: Settings, log: Log) -> None:
    """Describe what a class map makes of each teacher's classes."""
    if settings.class_map is None:
        return
    for name, class_map in class_maps(cache, settings).items():
        classes = teacher_classes(cache, teacher_of(name))
        for line in [name, *coverage_report(class_map, cache.classes, classes)]:
            log(line)


def check_out(run: Path, settings: Settings, cache: Cache) -> None:
    """Reject a folder that `train` would not write to; nothing is written."""
    check_no_links(run, "run", error=RunError)
    checked_run(run, resolved_run(run, settings, cache)[1])


def resolved_run(run: Path, settings: Settings, cache: Cache) -> tuple[str, dict[str, Any]]:
    """Give the signal that a run reads features from, and its resolved settings.

    Features that were added to the cache after a run began make no other run of it: it goes on with
    the waveform.
    """
    sources = feature_sources(cache, FRONT_ENDS[student_class(settings.student).front_end])
    wanted = [(source, settings.resolved(cache, source)) for source in sources]
    before = read_json(run / CONFIG)
    if not isinstance(before, dict):
        return wanted[0]
    return min(wanted, key=lambda pair: len(diff_settings(before, pair[1])))


def create_or_resume_run(run: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Write the run's settings, or check that they are as before but for more epochs; give them."""
    wanted, before = checked_run(run, config)
    if before is None or wanted.get(EXTENDED, []) != before.get(EXTENDED, []):
        write_json(run / CONFIG, wanted)
    return wanted


def checked_run(run: Path, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Check that a run may be trained by these settings; gives them, and those that it has.

    Raises
    ------
    UsageError
        If the folder holds other things, or a run of other settings.
    RunError
        If its settings are damaged.
    """
    check_own_folder(run, "run", "train-student", (CONFIG, STATE, Path(CURVES).parts[0]))
    before = read_json(run / CONFIG)
    other = f"Choose another --out, or delete {run} to train anew."
    if before is None:
        if (run / STATE).exists():
            raise RunError(f"{run} holds a training without its {CONFIG}. {other}", kind="damaged")
        return config, None
    if not isinstance(before, dict):
        raise RunError(
            f"{run / CONFIG} holds no settings of a run: {before!r:.60}. {other}", kind="damaged"
        )
    if not {"student", "recipe"} <= before.keys():
        raise UsageError(
            f"{run / CONFIG} is no settings of a run. Nothing was written. Choose another --out.",
            kind="exists",
        )
    if FILES in config:  # which runs of earlier versions have not recorded
        before = {FILES: config[FILES], **before}
    extended = _extended(run, before, config)
    config |= {EXTENDED: extended} if extended else {}
    if extended != before.get(EXTENDED, []):
        load_state(run)  # or config.json would name epochs that the run cannot train
        return config, before
    changes = diff_settings(before, config)
    if changes:
        raise UsageError(
            f"{run} holds a run of other settings; {len(changes)} differ\n{bullet_list(changes)}\n"
            "Nothing was changed. Choose another --out.",
            kind="stale",
        )
    if problems := config_problems(before):
        raise RunError(
            f"{run / CONFIG} is damaged, or another version wrote it\n{bullet_list(problems)}\n{other}",
            kind="damaged",
        )
    return config, before


def _extended(run: Path, before: dict[str, Any], config: dict[str, Any]) -> list[int]:
    """After which epochs a run was finished and is trained longer, now or before."""
    extended, recipe = before.get(EXTENDED, []), before["recipe"]
    epochs = recipe.get("epochs") if isinstance(recipe, dict) else None
    if not isinstance(extended, list) or not isinstance(epochs, int):
        return []  # no settings of ours: the differences are shown
    as_before = config["recipe"] | {"epochs": epochs}
    same = not diff_settings(before, {**config, EXTENDED: extended, "recipe": as_before})
    if same and config["recipe"]["epochs"] > epochs and finished_result(run, (), before):
        return [*extended, epochs]
    return extended


def finish(run: Path, training: Trainer, splits: Sequence[str]) -> dict[str, Any]:
    """Score the best weights on these splits and write ``result.json``."""
    config, settings = read_json(run / CONFIG), training.settings
    result = {
        "metric": settings.metric or MAIN_METRIC[training.cache.task],
        "splits": {split: _scored(run, config, training, split) for split in splits},
        "seed": settings.seed,
        "student": settings.student,
        "student_options": settings.student_options,
        "distill": [distillation_as_json(entry) for entry in settings.distill],
        "label_weight": settings.label_weight,
        "best_epoch": training.progress.best["epoch"],
        "epochs": training.progress.epoch,
        PLANNED: settings.recipe.epochs,
        STEPS: training.progress.steps,
        **_clip_length(training.cache, settings),
    }
    write_json(run / RESULT, result)
    return result


def _clip_length(cache: Cache, settings: Settings) -> dict[str, float]:
    """Length of the training clips, where nearly all have the same."""
    front_end = FRONT_ENDS[student_class(settings.student).front_end]
    lengths = TrainingLengths.of(cache, front_end)
    return {} if lengths.are_ragged else {CLIP_S: lengths.commonest / front_end.sample_rate_hz}


def _scored(run: Path, config: dict[str, Any], training: Trainer, split: str) -> dict[str, Any]:
    """Score the best weights and their teacher on a split, by every metric of the task.

    ``right`` has a bit for each scored clip in the cache's order, first clip first, as hexadecimal
    digits: what paired statistics over clips need.
    """
    cache, settings = training.cache, training.settings
    student = run_predictions(run, config, cache, split, loader=training.plain_loader)
    teacher = teacher_predictions(cache, split, settings.class_map, settings.teacher)
    found = measure(student, settings.metric)
    return {
        "score": found.json_value,
        "teacher_score": measure(teacher, settings.metric).json_value if teacher else None,
        "scores": _json_scores(student),
        "teacher_scores": _json_scores(teacher) if teacher else None,
        "clips": found.clips,
        "right": np.packbits(student.right()).tobytes().hex(),
        "left_out": list(found.left_out),
    }


def _json_scores(predictions: Predictions) -> dict[str, float | str | None]:
    return {name: score.json_value for name, score in measure_all(predictions).items()}
