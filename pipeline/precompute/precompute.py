"""The batch stage in one screen: plan, compute what is missing, seal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import CacheError, UsageError, bullet_list
from cache_schema.front_ends import front_end_facts
from cache_schema.integrity.cleanup import remove_leftovers
from cache_schema.metadata import (
    VIEW_DRAWS,
    VIEW_LABELS,
    WAVEFORM,
    CommitRecord,
    CorpusFacts,
    Manifest,
    PartPlan,
)
from cache_schema.own_folder import check_own_folder
from cache_schema.reader import SealedPart
from cache_schema.signal_names import check_teacher_name, command_of, qualified, teacher_label
from cache_schema.store.lock import write_lock
from cache_schema.view_recipe import read_step
from cache_schema.writer import (
    MANIFEST,
    add_part,
    check_layout,
    create_cache,
    load_manifest,
    load_plans,
    missing_units,
    seal,
)
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.precompute.executors import run_units
from pipeline.precompute.plan import (
    SignalLayout,
    audio_provenance,
    corpus_facts,
    cut_units,
    make_part,
    order_clips,
    signal_layouts,
    teacher_facts,
    teacher_input_lengths,
    view_lengths,
    wanted_signals,
)
from pipeline.precompute.provenance_diff import differences, without_name
from pipeline.precompute.signal_encodings import cached_storage, parse_signals, storage_as_options
from pipeline.precompute.work_unit import UnitJob
from pipeline.teachers import open_teacher
from pipeline.teachers.interface import Teacher
from pipeline.views import ViewRecipe, view_context

OnStart = Callable[[PartPlan, Sequence[int]], None]
OnUnit = Callable[[PartPlan, CommitRecord], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user requested."""

    corpus: str
    teacher: str
    out: Path
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


class Precompute:
    """A request made concrete: the corpus read, the teacher opened (not loaded), parts planned."""

    def __init__(self, request: Request) -> None:
        self.request = request
        check_own_folder(request.out, "cache", "precompute-teacher", (MANIFEST, "parts"))
        self.teacher_name = request.teacher_name or ""
        cached = None if request.teacher_name is None else _manifest_to_extend(request)
        self.corpus: Corpus = read_corpus(request.corpus, output=request.out)
        self.clips: list[Clip] = order_clips(self.corpus)
        if cached is not None and not self.corpus.classes:
            classes, task = tuple(cached.corpus.classes), cached.corpus.task
            self.corpus = replace(self.corpus, classes=classes, task=task)
        self.teacher: Teacher = open_teacher(
            request.teacher,
            request.teacher_options,
            classes=self.corpus.classes,
            task=self.corpus.task,
        )
        if not self.corpus.classes:
            # Nothing is labelled: the students learn the teacher's classes.
            teacher = self.teacher
            self.corpus = replace(self.corpus, classes=teacher.classes, task=teacher.task)
        self.facts: CorpusFacts = corpus_facts(self.corpus, self.clips)
        self.waveform_hz = cached.sample_rate_hz if cached else self.teacher.sample_rate_hz
        self.audio = audio_provenance(self.teacher, cached.sample_rate_hz if cached else None)
        if self.corpus.plugin:
            self.audio["corpus_plugin"] = self.corpus.plugin
        self.view_steps = (*self.corpus.view_steps, *request.view_steps)
        self.recipe = ViewRecipe(
            self.view_steps,
            view_context(
                self.corpus.root, self.waveform_hz, self.facts, lambda place: self.clips[place]
            ),
            seed=request.seed,
        )
        if cached is None:
            self._check_view_count()
        named, self._storage = parse_signals(request.signals)
        further = cached is not None
        wanted = wanted_signals(
            named, self.teacher, self.recipe, classes=len(self.corpus.classes), further=further
        )
        self.names = [qualified(name, self.teacher_name) for name in wanted]
        self.samples = self._samples(range(1))[0]

    def _check_view_count(self) -> None:
        views = self.request.views
        if views > 1 and not self.view_steps:
            raise UsageError(
                f"--views {views} without --view would cache equal views; add for example "
                "--view gain --view shift:max_s=0.1",
                kind="views",
            )
        if views > 1 and all(split.name != "train" for split in self.facts.splits):
            raise UsageError(
                f"--views {views}: only the split train has more than one view, and this corpus has "
                f"{', '.join(split.name for split in self.facts.splits)}",
                kind="views",
            )

    def _samples(self, views: range) -> NDArray[np.int64]:
        return view_lengths(self.clips, self.teacher, self.waveform_hz, self.recipe, views)

    def _cached_samples(self, base: PartPlan) -> NDArray[np.int64]:
        """Samples of the rows of a part as it was cached, whatever is requested of its views now."""
        out, table = self.request.out, base.units
        entry = next(part for part in load_manifest(out).parts if part.name == base.name)
        part = SealedPart(out, entry)
        samples = np.zeros((base.views, len(self.clips)), np.int64)
        units = zip(table.view, table.first_clip, table.rows, strict=True)
        for unit, (view, first, rows) in enumerate(units):
            place = view - base.first_view
            samples[place, first : first + rows] = part.lengths(WAVEFORM, unit)
        return teacher_input_lengths(samples, self.teacher, self.waveform_hz)

    def layouts(
        self, names: Sequence[str], samples: NDArray[np.int64], own: Sequence[PartPlan] = ()
    ) -> list[SignalLayout]:
        """Layouts of some signals over rows of these lengths, (views, clips).

        They are stored as given, or else as in the `own` parts.
        """
        storage = cached_storage(own) | self._storage
        columns = {VIEW_DRAWS: len(self.recipe.draw_names), VIEW_LABELS: len(self.corpus.classes)}
        return signal_layouts(names, self.teacher, samples, storage, columns)

    def first_part(self) -> PartPlan:
        """Plan of the first part of a new cache."""
        views = range(self.request.views)
        return self._plan_new_part(
            "part-000", self.layouts(self.names, self._samples(views)), views
        )

    def _plan_new_part(self, name: str, layouts: Sequence[SignalLayout], views: range) -> PartPlan:
        return make_part(
            name,
            layouts,
            cut_units(layouts, self.facts.splits, views, self.request.unit_rows),
            views=views,
            seed=self.request.seed,
            view_recipe=self.recipe.texts,
            teacher=self.teacher,
            audio=self.audio,
            source="corpus",
            codec=self.request.codec,
        )

    def _plan_added_signals(
        self, base: PartPlan, name: str, layouts: Sequence[SignalLayout]
    ) -> PartPlan:
        """Plan further signals from the waveform of a part, for the same rows in the same units."""
        return make_part(
            name,
            layouts,
            base.units,
            views=base.view_range,
            seed=base.seed,
            view_recipe=base.view_recipe,
            teacher=self.teacher,
            audio=self.audio,
            source="cache",
            codec=base.codec,
        )

    def added_parts(self, plans: Sequence[PartPlan]) -> list[PartPlan]:
        """Parts an existing cache lacks: further views with its signals, further signals."""
        added: list[PartPlan] = []
        have_views = max(plan.view_range.stop for plan in plans)
        own = [plan for plan in plans if plan.teacher_name == self.teacher_name]
        cached = [signal.name for plan in own for signal in plan.signals]
        names = list(dict.fromkeys([*cached, *self.names]))
        for plan in plans:
            here = {s.name for p in plans if p.first_view == plan.first_view for s in p.signals}
            missing = [name for name in names if name not in here]
            if missing and any(signal.name == WAVEFORM for signal in plan.signals):
                name = f"part-{len(plans) + len(added):03d}"
                layouts = self.layouts(missing, self._cached_samples(plan), own)
                added.append(self._plan_added_signals(plan, name, layouts))
        if self.request.views > have_views:
            name = f"part-{len(plans) + len(added):03d}"
            views = range(have_views, self.request.views)
            layouts = self.layouts(names, self._samples(views), own)
            added.append(self._plan_new_part(name, layouts, views))
        return added

    def check_recipe(self, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
        """Refuse a cache made by another recipe, both values side by side.

        A further teacher reads the cache's own views: what is not given of them is as it is there.

        Raises
        ------
        CacheError
            Kind ``"stale"``, listing every fact that differs; ``"views"`` for a further teacher and
            more views than there are.
        """
        first = plans[0]
        cached: dict[str, Any] = {
            "corpus": manifest.corpus.model_dump(),
            "codec": first.codec,
            "seed": first.seed,
            "views": _steps(first.view_recipe),
        }
        wanted = {"corpus": self.facts.model_dump(), **self._view_facts()}
        own = [plan for plan in plans if plan.teacher_name == self.teacher_name]
        if own:
            cached |= teacher_facts(own)
            wanted |= self._teacher_facts(cached)
        differing = differences({key: cached[key] for key in wanted}, wanted)
        if differing:
            taken = all(line.startswith(("teacher.", "audio.")) for line in differing)
            beside = "keep both teachers in this one by another --teacher-name, " if taken else ""
            raise CacheError(
                f"{self.request.out} was made by another recipe; {len(differing)} fact(s) differ\n"
                f"{bullet_list(differing)}\nNothing was written. Choose another --out, {beside}or "
                "delete the "
                "cache if you mean to replace it.",
                kind="stale",
            )
        self._check_views_exist(plans)

    def _teacher_facts(self, cached: Mapping[str, Any]) -> dict[str, Any]:
        """What `cached` has of this teacher's parts, as this request would have it.

        A storage type that is not given is as it is there, and a cache of an earlier release may
        record less of the audio.
        """
        given = {name: s for name, s in self._storage.items() if name in cached["storage"]}
        return {
            "teacher": without_name(self.teacher.provenance),
            "audio": {key: self.audio.get(key) for key in cached["audio"]},
            "front_ends": front_end_facts(cached["front_ends"]),
            "storage": cached["storage"] | storage_as_options(given),
        }

    def _view_facts(self) -> dict[str, Any]:
        """What the request gives of the views; of a further teacher's what is not a default."""
        request = self.request
        given = {"codec": request.codec, "seed": request.seed, "views": _steps(self.recipe.texts)}
        if not self.teacher_name:
            return given
        defaults = {option.name: option.default for option in fields(Request)} | {"views": {}}
        return {key: value for key, value in given.items() if value != defaults[key]}

    def _check_views_exist(self, plans: Sequence[PartPlan]) -> None:
        have, wanted = max(plan.view_range.stop for plan in plans), self.request.views
        if self.teacher_name and wanted > have:
            raise CacheError(
                f"{self.request.out} has {have} view(s), requested are {wanted}: "
                f"{teacher_label(self.teacher_name)} reads the views that are there. Add some first: "
                f"repeat {command_of('')} with --views {wanted}",
                kind="views",
            )

    def check_finished(self, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
        """Refuse a cache with a part that another teacher has begun: only that one can finish it.

        Raises
        ------
        CacheError
            Kind ``"unfinished"``, with the units done and the command that continues.
        """
        for plan in plans:
            if plan.teacher_name != self.teacher_name and not manifest.sealed(plan.name):
                total, missing = len(plan.units.rows), len(missing_units(self.request.out, plan))
                raise CacheError(
                    f"{self.request.out} is unfinished: {plan.name} of "
                    f"{teacher_label(plan.teacher_name)} has {total - missing} of {total} work "
                    "units. Finish it first: repeat "
                    f"{command_of(plan.teacher_name)}",
                    kind="unfinished",
                )

    def job(self, plan: PartPlan) -> UnitJob:
        """What the workers need for one part."""
        return UnitJob(
            cache=str(self.request.out.resolve()),
            part=plan.name,
            plan_sha256=plan.digest,
            corpus_root=str(self.corpus.root.resolve()),
            teacher=_absolute_teacher_path(self.request.teacher),
            teacher_options=tuple(sorted(self.request.teacher_options.items())),
            view_steps=self.view_steps,
            device=self.request.device,
        )

    def compute(self, part: PartPlan, units: Sequence[int]) -> Iterator[CommitRecord]:
        """Compute and commit units of one part, here or on workers."""
        workers, scheduler = self.request.workers, self.request.scheduler
        return run_units(self.job(part), units, workers=workers, scheduler=scheduler)

    def create_parts(self) -> list[PartPlan]:
        """Create the cache or the parts it lacks; returns the plans of all parts."""
        out = self.request.out
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        if not out.exists():
            plan = self.first_part()
            create_cache(out, self.clips, self.facts, self.teacher.sample_rate_hz, plan)
            return [plan]
        manifest = load_manifest(out)
        plans = load_plans(out, manifest)
        self.check_recipe(manifest, plans)
        self.check_finished(manifest, plans)
        if any(not manifest.sealed(plan.name) for plan in plans):
            return plans
        added = self.added_parts(plans)
        for plan in added:
            add_part(out, plan)
        return [*plans, *added]

    def run(self, on_start: OnStart, on_unit: OnUnit) -> int:
        """Compute every missing unit, then seal; returns how many units were computed."""
        out, computed = self.request.out, 0
        with write_lock(out):
            remove_leftovers(out)
            self._check_sealed_parts_complete()
            while plans := [
                p for p in self.create_parts() if not load_manifest(out).sealed(p.name)
            ]:
                plan = plans[0]
                check_layout(out, plan)
                missing = missing_units(out, plan)
                on_start(plan, missing)
                for record in self.compute(plan, missing):
                    on_unit(plan, record)
                    computed += 1
                seal(out, plan)
        return computed

    def _check_sealed_parts_complete(self) -> None:
        """A sealed part that lacks units was damaged, or its repair was interrupted."""
        out = self.request.out
        if not (out / MANIFEST).exists():
            return
        manifest = load_manifest(out)
        for plan in load_plans(out, manifest):
            missing = missing_units(out, plan) if manifest.sealed(plan.name) else []
            if missing:
                raise CacheError(
                    f"{plan.name} of {out}, of {teacher_label(plan.teacher_name)}, was finished but "
                    f"lacks {len(missing)} work units, first {missing[0]}. Repeat the command with "
                    "--repair",
                    kind="damaged",
                )


def _manifest_to_extend(request: Request) -> Manifest:
    """The manifest of the cache that a further teacher is added to."""
    check_teacher_name(request.teacher_name or "")
    if not (request.out / MANIFEST).is_file():
        raise CacheError(
            f"there is no cache at {request.out}, and --teacher-name {request.teacher_name} adds a "
            "teacher to one. Make it first, by a teacher without a name: precompute-teacher "
            f"{request.corpus} --teacher TEACHER --out {request.out}",
            kind="missing",
        )
    return load_manifest(request.out)


def _steps(recipe: Sequence[str]) -> dict[str, Any]:
    """The facts of each step of a recipe under its number and name, as messages name what differs."""
    steps = {}
    for number, text in enumerate(recipe, 1):
        step = read_step(text)
        steps[f"{number} {step.step if step else text}"] = step and step.model_dump()
    return steps


def _absolute_teacher_path(teacher: str) -> str:
    """A teacher's folders as absolute paths: a Dask worker may stand in another folder."""
    before, ensemble, members = teacher.partition("ensemble:members=")
    if ensemble and not before:
        return ensemble + ";".join(_absolute_teacher_path(member) for member in members.split(";"))
    return str(Path(teacher).resolve()) if Path(teacher).is_dir() else teacher
