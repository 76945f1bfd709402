"""The batch stage in one screen: plan, compute what is missing, seal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cache_schema.clip import Clip
from cache_schema.documents import WAVEFORM, CommitRecord, CorpusFacts, Manifest, PartPlan
from cache_schema.errors import CacheError, UsageError, listed
from cache_schema.lock import write_lock
from cache_schema.storage import sha256
from cache_schema.verify import Damage, sealed_records, verify
from cache_schema.writer import (
    MANIFEST,
    add_part,
    create_cache,
    load_manifest,
    load_plan,
    missing_units,
    record_path,
    seal,
    sweep,
)
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus
from pipeline.differences import differences, without_name
from pipeline.plan import (
    SignalLayout,
    corpus_facts,
    cut_units,
    make_part,
    order_clips,
    parse_signals,
    planned_samples,
    signal_layouts,
    wanted_signals,
)
from pipeline.scale_out import run_units
from pipeline.teachers import open_teacher
from pipeline.teachers.interface import Teacher
from pipeline.unit import Job
from pipeline.views import ViewRecipe

OnStart = Callable[[PartPlan, Sequence[int]], None]
OnUnit = Callable[[PartPlan, CommitRecord], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    corpus: str
    teacher: str
    out: Path
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
        self.corpus: Corpus = read_corpus(request.corpus)
        self.clips: list[Clip] = order_clips(self.corpus)
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
        recipe = ViewRecipe(
            request.view_steps,
            corpus_root=self.corpus.root,
            sample_rate_hz=self.teacher.sample_rate_hz,
            seed=request.seed,
        )
        self.recipe_facts = recipe.facts
        if request.views > 1 and not request.view_steps:
            raise UsageError(
                f"--views {request.views} without --view would cache equal views; add for example "
                "--view gain --view shift:max_s=0.1",
                kind="views",
            )
        named, self._in_u8log = parse_signals(request.signals)
        self.names = wanted_signals(named, self.teacher)
        if request.views > 1 and all(split.name != "train" for split in self.facts.splits):
            raise UsageError(
                f"--views {request.views}: only the split train has more than one view, and this "
                f"corpus has {', '.join(split.name for split in self.facts.splits)}",
                kind="views",
            )
        self.samples = planned_samples(self.clips, self.teacher)

    def layouts(self, names: Sequence[str]) -> list[SignalLayout]:
        """Layouts of some signals over all clips."""
        return signal_layouts(names, self.teacher, self.samples, in_u8log=self._in_u8log)

    def first_part(self) -> PartPlan:
        """Plan of the first part of a new cache."""
        return self._fresh_part("part-000", self.names, range(self.request.views))

    def _fresh_part(self, name: str, names: Sequence[str], views: range) -> PartPlan:
        layouts = self.layouts(names)
        units = cut_units(layouts, self.facts.splits, views, self.request.unit_rows)
        return self._part(name, layouts, units, views=views, source="corpus")

    def _part(
        self, name: str, layouts: Sequence[SignalLayout], units: Any, **kinds: Any
    ) -> PartPlan:
        return make_part(
            name,
            layouts,
            units,
            seed=self.request.seed,
            recipe_facts=self.recipe_facts,
            teacher=self.teacher,
            codec=self.request.codec,
            **kinds,
        )

    def added_parts(self, plans: Sequence[PartPlan]) -> list[PartPlan]:
        """Parts an existing cache lacks: further views with its signals, further signals."""
        added: list[PartPlan] = []
        have_views = max(plan.first_view + plan.views for plan in plans)
        cached = [signal.name for plan in plans for signal in plan.signals]
        names = list(dict.fromkeys([*cached, *self.names]))
        for plan in plans:
            here = {s.name for p in plans if p.first_view == plan.first_view for s in p.signals}
            missing = [name for name in names if name not in here]
            if missing and any(signal.name == WAVEFORM for signal in plan.signals):
                name = f"part-{len(plans) + len(added):03d}"
                views = range(plan.first_view, plan.first_view + plan.views)
                layouts = self.layouts(missing)
                added.append(self._part(name, layouts, plan.units, views=views, source="cache"))
        if self.request.views > have_views:
            name = f"part-{len(plans) + len(added):03d}"
            added.append(self._fresh_part(name, names, range(have_views, self.request.views)))
        return added

    def refuse_stale(self, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
        """Refuse a cache made by another recipe, both values side by side.

        Raises
        ------
        CacheError
            Kind ``"stale"``, listing every fact that differs.
        """
        mine, theirs = self.first_part(), plans[0]
        wanted = {
            "corpus": self.facts.model_dump(),
            "teacher": without_name(mine.teacher),
            "audio": mine.audio,
            "codec": mine.codec,
            "seed": mine.seed,
            "views": mine.view_recipe,
        }
        cached = {
            "corpus": manifest.corpus.model_dump(),
            "teacher": without_name(theirs.teacher),
            "audio": theirs.audio,
            "codec": theirs.codec,
            "seed": theirs.seed,
            "views": theirs.view_recipe,
        }
        differing = list(differences(cached, wanted))
        if differing:
            raise CacheError(
                f"{self.request.out} was made by another recipe; {len(differing)} fact(s) differ\n"
                f"{listed(differing)}\nNothing was written. Choose another --out, or delete the cache "
                "if you mean to replace it.",
                kind="stale",
            )

    def job(self, plan: PartPlan) -> Job:
        """What the workers need for one part."""
        return Job(
            cache=str(self.request.out.resolve()),
            part=plan.name,
            plan_sha256=sha256(plan.encode()),
            corpus_root=str(self.corpus.root.resolve()),
            teacher=_as_seen_anywhere(self.request.teacher),
            teacher_options=tuple(sorted(self.request.teacher_options.items())),
            view_steps=self.request.view_steps,
            device=self.request.device,
        )

    def _compute(self, part: PartPlan, units: Sequence[int]) -> Iterator[CommitRecord]:
        workers, scheduler = self.request.workers, self.request.scheduler
        return run_units(self.job(part), units, workers=workers, scheduler=scheduler)

    def lay_out(self) -> list[PartPlan]:
        """Create the cache or the parts it lacks; returns the plans of all parts."""
        out = self.request.out
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        if not out.exists():
            plan = self.first_part()
            create_cache(out, self.clips, self.facts, self.teacher.sample_rate_hz, plan)
            return [plan]
        manifest = load_manifest(out)
        plans = [load_plan(out, entry) for entry in manifest.parts]
        self.refuse_stale(manifest, plans)
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
            sweep(out)
            self._refuse_holes()
            while plans := [p for p in self.lay_out() if not load_manifest(out).sealed(p.name)]:
                plan = plans[0]
                missing = missing_units(out, plan)
                on_start(plan, missing)
                for record in self._compute(plan, missing):
                    on_unit(plan, record)
                    computed += 1
                seal(out, plan)
        return computed

    def _refuse_holes(self) -> None:
        """A sealed part that lacks units was damaged, or its repair was interrupted."""
        out = self.request.out
        if not (out / MANIFEST).exists():
            return
        for entry in load_manifest(out).parts:
            missing = missing_units(out, load_plan(out, entry)) if entry.index_sha256 else []
            if missing:
                raise CacheError(
                    f"{entry.name} of {out} was finished but lacks {len(missing)} work units, first "
                    f"{missing[0]}. Repeat the command with --repair",
                    kind="damaged",
                )

    def repair(self, on_start: OnStart, on_unit: OnUnit) -> list[Damage]:
        """Recompute the damaged units; returns the damage that was found.

        Raises
        ------
        CacheError
            Kind ``"damaged"`` when an object outside work units and index is damaged.
        """
        out = self.request.out
        with write_lock(out):
            sweep(out)
            found = verify(out)
            hopeless = [str(damage) for damage in found if damage.part is None]
            if hopeless:
                raise CacheError(
                    f"{out}: {len(hopeless)} object(s) outside work units are damaged and cannot be "
                    f"recomputed\n{listed(hopeless)}\nRestore them from a copy, or make the cache anew.",
                    kind="damaged",
                )
            manifest = load_manifest(out)
            plans = {entry.name: load_plan(out, entry) for entry in manifest.parts}
            self.refuse_stale(manifest, list(plans.values()))
            for name in sorted({d.part for d in found if d.part is not None}):
                units = sorted({d.unit for d in found if d.part == name and d.unit is not None})
                for unit in units:
                    record_path(out, name, unit).unlink(missing_ok=True)
                on_start(plans[name], units)
                sealed = sealed_records(out, manifest, name)
                for record in self._compute(plans[name], units):
                    on_unit(plans[name], record)
                    _refuse_other_answer(out, record, sealed)
                if manifest.sealed(name):
                    seal(out, plans[name])
        return found


def _as_seen_anywhere(teacher: str) -> str:
    """A teacher's folder as an absolute path: a Dask worker may stand in another folder."""
    return str(Path(teacher).resolve()) if Path(teacher).is_dir() else teacher


def _refuse_other_answer(out: Path, record: CommitRecord, sealed: Mapping[int, str]) -> None:
    """A repair must give what was sealed; another answer is dropped, so that it can be repeated."""
    wanted, found = sealed.get(record.unit), sha256(record.encode())
    if wanted not in (None, found):
        record_path(out, record.part, record.unit).unlink()
        raise CacheError(
            f"work unit {record.unit} of {record.part} now gives another answer: sealed as "
            f"{(wanted or '')[:12]}, recomputed {found[:12]}. Restore the sources and libraries it was "
            "made from and repeat --repair, or make a new cache with another --out.",
            kind="stale",
        )
