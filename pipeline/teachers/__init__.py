"""Teachers: one file and one line each. Importing this package imports neither torch nor models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cache_schema.errors import UsageError
from cache_schema.plugins import load_plugin, parse_named_options, typed_options, unknown_name
from pipeline.teachers.interface import FrameGrid, Task, Teacher

TEACHERS = {
    "whisper": "pipeline.teachers.whisper:WhisperTeacher",
    "wav2vec2": "pipeline.teachers.wav2vec2:Wav2Vec2Teacher",
    "ast": "pipeline.teachers.audio_spectrogram_transformer:AudioSpectrogramTeacher",
    "efficientnet": "pipeline.teachers.efficientnet:EfficientNetTeacher",
    "ensemble": "pipeline.teachers.ensemble:EnsembleTeacher",
    "toy": "pipeline.teachers.toy:ToyTeacher",
}

# The family that reads a Hugging Face folder, by the `model_type` of its config.json.
MODEL_TYPES = {
    "whisper": "whisper",
    "wav2vec2": "wav2vec2",
    "hubert": "wav2vec2",
    "data2vec-audio": "wav2vec2",
    "unispeech-sat": "wav2vec2",
    "wavlm": "wav2vec2",
    "audio-spectrogram-transformer": "ast",
    "efficientnet": "efficientnet",
}

_WITHOUT_FOLDER = ("toy", "ensemble")


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
        ``toy`` (also ``toy:classes=a;b,task=multi``), a local Hugging Face folder, a hub id, or
        ``ensemble:members=A;B``, where A and B are folders, hub ids or ``toy``.
    options : mapping of str to str, optional
        Options of the family, as given by ``--teacher-option``.
    classes, task
        The corpus' classes and task. Only ``toy`` takes them on; a trained teacher has its own.

    Raises
    ------
    UsageError
        If the family or an option is unknown.
    RunError
        If the folder or hub id cannot be read.
    """
    own_name = text.partition(":")[0] in _WITHOUT_FOLDER
    name, inline = parse_named_options(text) if own_name else ("", {})
    if name == "toy":
        own = {"classes": ";".join(classes), "task": task} if classes else {}
        return _built("toy", (), own | inline | dict(options or {}))
    if name == "ensemble":
        given = inline | dict(options or {})
        folders = filter(None, given.pop("members", "").split(";"))
        members = [open_teacher(folder, classes=classes, task=task) for folder in folders]
        return _built("ensemble", (members,), given)
    if "/" not in text and not Path(text).is_dir():
        raise UsageError(
            f"{unknown_name(text, _WITHOUT_FOLDER, 'teacher')} Otherwise give a Hugging Face folder "
            f"(there is none at {text!r}) or a hub id OWNER/NAME of the families "
            f"{', '.join(MODEL_TYPES)}.",
            kind="unknown",
        )
    from pipeline.teachers.checkpoints.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(text, MODEL_TYPES)
    return _built(MODEL_TYPES[checkpoint.model_type], (checkpoint,), dict(options or {}))


def _built(family: str, arguments: tuple[object, ...], options: Mapping[str, str]) -> Teacher:
    teacher_class = load_plugin(TEACHERS, family, "teacher")
    teacher = teacher_class(
        *arguments, **typed_options(teacher_class, options, f"teacher {family}")
    )
    if not isinstance(teacher, Teacher):
        raise UsageError(
            f"{teacher_class} is not a Teacher: see pipeline/teachers/interface.py", kind="plugin"
        )
    return teacher


__all__ = ["MODEL_TYPES", "TEACHERS", "FrameGrid", "Task", "Teacher", "open_teacher"]
