"""What a request names, opened and checked: the corpus read, the teacher found but not loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import CacheError, UsageError
from cache_schema.metadata import CorpusFacts, Manifest
from cache_schema.own_folder import check_own_folder
from cache_schema.signal_names import check_teacher_name, qualified
from cache_schema.store.address import CachePath
from cache_schema.store.objects import objects_of
from cache_schema.text import shell_word
from cache_schema.writer import MANIFEST, load_manifest
from pipeline.corpora.interface import Corpus
from pipeline.corpora.joined import read_corpora
from pipeline.precompute.plan import (
    audio_provenance,
    corpus_facts,
    decoded_samples,
    order_clips,
    view_lengths,
    wanted_signals,
)
from pipeline.precompute.recorded_plugins import distributions_named
from pipeline.precompute.signal_encodings import Storage, parse_signals
from pipeline.precompute.usable_lengths import check_some_clip_fits
from pipeline.teachers import open_teacher
from pipeline.teachers.interface import Teacher
from pipeline.views import ViewRecipe, view_context


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of ``precompute-teacher``."""

    corpora: tuple[str, ...]
    teacher: str
    out: CachePath
    unlabelled: tuple[str, ...] = ()
    teacher_name: str | None = None
    teacher_options: dict[str, str] = field(default_factory=dict)
    signals: tuple[str, ...] = ()
    views: int = 1
    view_steps: tuple[str, ...] = ()
    seed: int = 0
    unit_rows: int = 1024
    codec: Literal["crc32c", "zstd"] = "crc32c"
    workers: int = 0
    scheduler: str | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The corpus, the teacher and the views of a request.

    Attributes
    ----------
    teacher_name : str
        Empty for the first teacher of a cache.
    clips : list of Clip
        In the order of the cache.
    waveform_hz : int
        Rate of the cached waveform: the first teacher's.
    audio : dict
        How the waveforms come about, as the plans of parts record it.
    view_steps : tuple of str
        The corpus' own steps, then the request's.
    lengths : int array, (clips,)
        Planned samples of the first view, as `samples` gives them.
    names : list of str
        The requested signals with the teacher's name.
    storage : mapping of str to Storage
        How some of them are to be stored.
    """

    request: Request
    teacher_name: str
    corpus: Corpus
    clips: list[Clip]
    facts: CorpusFacts
    teacher: Teacher
    waveform_hz: int
    audio: dict[str, Any]
    view_steps: tuple[str, ...]
    recipe: ViewRecipe
    lengths: NDArray[np.int64]
    names: list[str]
    storage: Mapping[str, Storage]

    @property
    def notes(self) -> list[str]:
        """What a user should know of corpus and views before the teacher runs."""
        unvaried = [decoded_samples(clip, self.waveform_hz) for clip in self.clips]
        idle = self.recipe.idle_notes(np.array(unvaried, np.int64))
        return [*self.corpus.notes, *self.recipe.notes, *idle]

    def samples(self, views: range) -> NDArray[np.int64]:
        """Planned samples at the teacher's rate, (views, clips); 0 where a clip cannot be used."""
        return view_lengths(self.clips, self.teacher, self.waveform_hz, self.recipe, views)


def open_inputs(request: Request) -> Inputs:
    """Read the corpus and find the teacher.

    Raises
    ------
    UsageError, CacheError
        For whatever in the request cannot be used; nothing was written.
    """
    check_own_folder(request.out, "cache", "precompute-teacher", (MANIFEST, "parts"))
    with distributions_named(request.out):
        return _opened(request)


def _opened(request: Request) -> Inputs:
    extended = None if request.teacher_name is None else _manifest_to_extend(request)
    corpus = read_corpora(request.corpora, request.unlabelled, output=request.out)
    clips = order_clips(corpus)
    if extended is not None and not corpus.classes:
        classes, task = tuple(extended.corpus.classes), extended.corpus.task
        corpus = replace(corpus, classes=classes, task=task)
    teacher = open_teacher(
        request.teacher, request.teacher_options, classes=corpus.classes, task=corpus.task
    )
    if not corpus.classes:
        # Nothing is labelled: the students learn the teacher's classes.
        corpus = replace(corpus, classes=teacher.classes, task=teacher.task)
    facts = corpus_facts(corpus, clips)
    waveform_hz = extended.sample_rate_hz if extended else teacher.sample_rate_hz
    view_steps = (*corpus.view_steps, *request.view_steps)
    recipe = ViewRecipe(
        view_steps,
        view_context(corpus.root, waveform_hz, facts, lambda place: clips[place]),
        seed=request.seed,
    )
    if extended is None:
        _check_views(request.views, view_steps, facts)
    check_some_clip_fits(
        request.corpora[0], clips, teacher, waveform_hz, recipe, further=extended is not None
    )
    named, storage = parse_signals(request.signals)
    wanted = wanted_signals(
        named, teacher, recipe, classes=len(corpus.classes), further=extended is not None
    )
    name = request.teacher_name or ""
    return Inputs(
        request=request,
        teacher_name=name,
        corpus=corpus,
        clips=clips,
        facts=facts,
        teacher=teacher,
        waveform_hz=waveform_hz,
        audio=_audio(corpus, teacher, extended),
        view_steps=view_steps,
        recipe=recipe,
        lengths=view_lengths(clips, teacher, waveform_hz, recipe, range(1))[0],
        names=[qualified(signal, name) for signal in wanted],
        storage=storage,
    )


def _manifest_to_extend(request: Request) -> Manifest:
    """The manifest of the cache that a further teacher is added to."""
    check_teacher_name(request.teacher_name or "")
    if not objects_of(request.out).exists(MANIFEST):
        raise CacheError(
            f"there is no cache at {request.out}, and --teacher-name {request.teacher_name} adds a "
            "teacher to one. Make it first, by a teacher without a name: precompute-teacher "
            f"{' '.join(map(shell_word, request.corpora))} --teacher TEACHER --out "
            f"{shell_word(request.out)}",
            kind="missing",
        )
    return load_manifest(request.out)


def _check_views(views: int, view_steps: tuple[str, ...], facts: CorpusFacts) -> None:
    if views > 1 and not view_steps:
        raise UsageError(
            f"--views {views} without --view would cache equal views; add for example "
            "--view gain --view shift:max_s=0.1",
            kind="views",
        )
    if views > 1 and all(split.name != "train" for split in facts.splits):
        raise UsageError(
            f"--views {views}: only the split train has more than one view, and this corpus has "
            f"{', '.join(split.name for split in facts.splits)}",
            kind="views",
        )


def _audio(corpus: Corpus, teacher: Teacher, extended: Manifest | None) -> dict[str, Any]:
    audio = audio_provenance(teacher, extended.sample_rate_hz if extended else None)
    return audio | ({"corpus_plugin": corpus.plugin} if corpus.plugin else {})
