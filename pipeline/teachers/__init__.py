"""Teachers: one file and one line each. Importing this package imports neither torch nor models."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache_schema.errors import UsageError
from cache_schema.frame_grid import FrameGrid
from cache_schema.plugins import (
    load_plugin,
    parse_named_options,
    plugin_names,
    plugin_origin,
    typed_options,
    unknown_name,
)
from cache_schema.text import one_line
from pipeline.teachers.checkpoints.files import CONFIG
from pipeline.teachers.interface import Task, Teacher

if TYPE_CHECKING:
    from pipeline.teachers.checkpoints.checkpoint import Checkpoint

TEACHERS = {
    "ensemble": "pipeline.teachers.ensemble:EnsembleTeacher",
    "toy": "pipeline.teachers.toy:ToyTeacher",
}
"""Teachers that are opened by name: ``--teacher NAME[:option=value,...]``."""

MODEL_TYPES = {
    "whisper": "pipeline.teachers.whisper:WhisperTeacher",
    "wav2vec2": "pipeline.teachers.wav2vec2:Wav2Vec2Teacher",
    "hubert": "pipeline.teachers.wav2vec2:Wav2Vec2Teacher",
    "data2vec-audio": "pipeline.teachers.wav2vec2:Wav2Vec2Teacher",
    "unispeech-sat": "pipeline.teachers.wav2vec2:Wav2Vec2Teacher",
    "wavlm": "pipeline.teachers.wav2vec2:Wav2Vec2Teacher",
    "audio-spectrogram-transformer": "pipeline.teachers.audio_spectrogram_transformer:AudioSpectrogramTeacher",  # noqa: E501
    "efficientnet": "pipeline.teachers.efficientnet:EfficientNetTeacher",
}
"""What reads a Hugging Face folder, by the ``model_type`` of its config.json."""


def open_teacher(
    text: str,
    options: Mapping[str, str] | None = None,
    *,
    classes: Sequence[str] = (),
    task: Task = "single",
) -> Teacher:
    """Open a teacher by configuration; its weights are read by ``load``.

    Parameters
    ----------
    text : str
        ``NAME[:option=value,...]`` of one that is opened by name, such as ``toy:classes=a;b`` or
        ``ensemble:members=A;B`` (A and B as here); else a local Hugging Face folder or a hub id.
    options : mapping of str to str, optional
        Options of the family, as given by ``--teacher-option``.
    classes, task
        The corpus' classes and task, for a teacher by name that has these options.

    Raises
    ------
    UsageError
        If the family or an option is unknown.
    RunError
        If the folder or hub id cannot be read.
    """
    _check_one_meaning(text)
    given, family = dict(options or {}), text.partition(":")[0]
    if is_named(text):
        given = parse_named_options(text)[1] | given
        teacher = _built(load_plugin(TEACHERS, family, "teacher"), family, (), given, classes, task)
        origin = plugin_origin(TEACHERS, family, "teacher")
    else:
        checkpoint = _checkpoint(text)
        family = checkpoint.model_type
        loaded = load_plugin(MODEL_TYPES, family, "model type")
        teacher = _built(loaded, family, (checkpoint,), given)
        origin = plugin_origin(MODEL_TYPES, family, "model type")
    if origin:
        teacher.provenance["plugin"] = origin
    return teacher


def _check_one_meaning(text: str) -> None:
    """Reject the name of a teacher that is also the name of a model's folder here."""
    if text in plugin_names(TEACHERS, "teacher") and (Path(text) / CONFIG).is_file():
        raise UsageError(
            f"{text!r} is a teacher that is opened by name, and a folder here with a {CONFIG}: give "
            f"'{text}:' for the first, './{text}' for the folder",
            kind="options",
        )


def is_named(text: str) -> bool:
    """Return whether a text names a teacher of `TEACHERS`, or of a plug-in, and no folder or hub id."""
    return text.partition(":")[0] in plugin_names(TEACHERS, "teacher")


def _checkpoint(text: str) -> Checkpoint:
    from pipeline.teachers.checkpoints.checkpoint import open_checkpoint

    known = plugin_names(MODEL_TYPES, "model type")
    if "/" not in text and not Path(text).is_dir():
        raise UsageError(
            f"{unknown_name(text, plugin_names(TEACHERS, 'teacher'), 'teacher')} Otherwise give a "
            f"Hugging Face folder (there is none at {text!r}) or a hub id OWNER/NAME of the families "
            f"{', '.join(known)}.",
            kind="unknown",
        )
    return open_checkpoint(text, known)


def _built(
    teacher_class: Any,
    family: str,
    arguments: tuple[object, ...],
    options: Mapping[str, str],
    classes: Sequence[str] = (),
    task: Task = "single",
) -> Teacher:
    """Build a teacher from its options; one with the options `classes` and `task` has the corpus'."""
    build = getattr(teacher_class, "from_options", teacher_class)
    corpus = {"classes": ";".join(classes), "task": task} if classes else {}
    takes = inspect.signature(build).parameters
    defaults = {name: value for name, value in corpus.items() if name in takes}
    if "classes" in defaults and "classes" not in options:
        _check_separable(classes, family)
    typed = typed_options(build, defaults | dict(options), f"teacher {family}")
    teacher = build(*arguments, **typed)
    if not isinstance(teacher, Teacher):
        raise UsageError(
            f"{teacher_class} is not a Teacher: see pipeline/teachers/interface.py", kind="plugin"
        )
    return teacher


def _check_separable(classes: Sequence[str], family: str) -> None:
    """Reject names of classes that one text cannot separate."""
    if mixed := [name for name in classes if ";" in name]:
        raise UsageError(
            f"teacher {family} takes the corpus' classes as one text, separated by ';', which "
            f"{len(mixed)} of them have in their names, first {one_line(mixed[0])!r}. Rename these "
            "classes, or use a teacher of a model folder",
            kind="classes",
        )


__all__ = ["MODEL_TYPES", "TEACHERS", "FrameGrid", "Task", "Teacher", "open_teacher"]
