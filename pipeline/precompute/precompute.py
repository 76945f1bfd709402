"""The batch stage in one screen: plan, compute what is missing, seal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cache_schema.errors import RunError
from cache_schema.integrity.cleanup import remove_leftovers
from cache_schema.metadata import CommitRecord, Manifest, PartPlan
from cache_schema.store.address import CachePath, resolved
from cache_schema.store.lock import write_lock
from cache_schema.store.objects import ObjectChanged, objects_of
from cache_schema.writer import (
    MANIFEST,
    add_part,
    check_layout,
    create_cache,
    incomplete_units,
    load_manifest,
    load_plans,
    missing_units,
    seal,
    withdraw_parts,
)
from pipeline.precompute.dask_executor import check_scheduler
from pipeline.precompute.executors import run_units
from pipeline.precompute.inputs import Inputs, Request, open_inputs
from pipeline.precompute.parts import added_parts, first_part
from pipeline.precompute.staleness import (
    check_first_finished,
    check_same_recipe,
    check_sealed_parts,
)
from pipeline.precompute.work_unit import UnitJob
from pipeline.teachers import is_named

# Slices wait for each other's layout and seal, which take seconds.
SHARED_WAIT_S = 600.0

OnStart = Callable[[PartPlan, Sequence[int]], None]
OnUnit = Callable[[PartPlan, CommitRecord], None]


class Precompute:
    """A request on its way into a cache.

    Attributes
    ----------
    inputs : Inputs
        The corpus, the teacher and the views, opened and checked.
    """

    def __init__(self, request: Request) -> None:
        self.inputs: Inputs = open_inputs(request)
        self.out = request.out

    def run(self, on_start: OnStart, on_unit: OnUnit) -> None:
        """Compute every missing unit, then seal."""
        out = self.out
        with write_lock(out):
            remove_leftovers(out)
            if objects_of(out).exists(MANIFEST):
                manifest = load_manifest(out)
                check_sealed_parts(self.inputs, manifest, load_plans(out, manifest))
            while plans := self._unfinished(self.create_parts(), load_manifest(out)):
                plan = plans[0]
                check_layout(out, plan)
                missing = incomplete_units(out, plan)
                on_start(plan, missing)
                with self._withdrawn_if_useless():
                    for record in self.compute(plan, missing):
                        on_unit(plan, record)
                seal(out, plan)

    def run_slice(self, number: int, count: int, on_start: OnStart, on_unit: OnUnit) -> int:
        """Compute the units of one slice; whoever finds a part complete seals it.

        Slices may run at the same time: their units are none of each other's, and only what they share,
        the layout and the seal, is written under the lock.

        Parameters
        ----------
        number, count : int
            Which of how many slices, from 1.
        on_start, on_unit : callable
            As of `run`.

        Returns
        -------
        int
            Units that other slices have yet to compute.
        """
        out = self.out
        while True:
            with write_lock(out, wait_s=SHARED_WAIT_S):
                plans = self.create_parts()
                manifest = load_manifest(out)
                check_sealed_parts(self.inputs, manifest, plans)
                parts = self._unfinished(plans, manifest)
            mine = {
                plan.name: [u for u in incomplete_units(out, plan) if u % count == number - 1]
                for plan in parts
            }
            for plan in parts:
                check_layout(out, plan)
                on_start(plan, mine[plan.name])
                for record in self.compute(plan, mine[plan.name]):
                    on_unit(plan, record)
                self._seal_if_complete(plan)
            if not any(mine.values()):
                left = sum(len(incomplete_units(out, plan)) for plan in parts)
                if left or not parts:  # else others have ended meanwhile, and it may be unsealed
                    return left

    def _unfinished(self, plans: Sequence[PartPlan], manifest: Manifest) -> list[PartPlan]:
        """Parts of this teacher that are not sealed: only it can finish them."""
        own = [plan for plan in plans if plan.teacher_name == self.inputs.teacher_name]
        return [plan for plan in own if not manifest.sealed(plan.name)]

    @contextmanager
    def _withdrawn_if_useless(self) -> Iterator[None]:
        """Take added parts out again if the teacher gives nothing for them: they would block others.

        A store has no lock, so that another writer may be at work on them.
        """
        try:
            yield
        except RunError as error:
            if error.kind != "teacher" or not isinstance(self.out, Path):
                raise
            manifest = load_manifest(self.out)
            added = self._unfinished(load_plans(self.out, manifest)[1:], manifest)
            if any(len(missing_units(self.out, plan)) < len(plan.units.rows) for plan in added):
                raise  # what has units is to be finished first
            withdraw_parts(self.out, [plan.name for plan in added])
            raise RunError(
                f"{error} What was begun to be added to {self.out} is taken out again, and the command "
                "may be repeated without it.",
                kind="teacher",
            ) from error

    def _seal_if_complete(self, plan: PartPlan) -> None:
        if incomplete_units(self.out, plan):
            return
        with write_lock(self.out, wait_s=SHARED_WAIT_S):
            if not load_manifest(self.out).sealed(plan.name):
                seal(self.out, plan)

    def create_parts(self) -> list[PartPlan]:
        """Create the cache or the parts it lacks; returns the plans of all parts."""
        while True:
            plans, added = self.planned()
            if added and (scheduler := self.inputs.request.scheduler):
                check_scheduler(scheduler)  # before anything is written
            with suppress(ObjectChanged):  # by another slice, on a store: plan again
                if not plans:
                    rate_hz = self.inputs.teacher.sample_rate_hz
                    create_cache(self.out, self.inputs.clips, self.inputs.facts, rate_hz, *added)
                else:
                    for plan in added:
                        add_part(self.out, plan)
                return [*plans, *added]

    def planned(self) -> tuple[list[PartPlan], list[PartPlan]]:
        """Plans of the parts that are there, and of those that are to be added once they are sealed.

        Raises
        ------
        CacheError
            Kind ``"stale"``, ``"views"`` or ``"unfinished"`` if nothing can be added to this cache.
        """
        out = self.out
        if not _is_begun(out):
            return [], [first_part(self.inputs)]
        manifest = load_manifest(out)
        plans = load_plans(out, manifest)
        check_same_recipe(self.inputs, manifest, plans)
        check_first_finished(self.inputs, manifest, plans)
        begun = self._unfinished(plans, manifest)
        return plans, [] if begun else added_parts(self.inputs, plans)

    def compute(self, part: PartPlan, units: Sequence[int]) -> Iterator[CommitRecord]:
        """Compute and commit units of one part, here or on workers."""
        request = self.inputs.request
        return run_units(
            self.job(part), units, workers=request.workers, scheduler=request.scheduler
        )

    def job(self, part: PartPlan) -> UnitJob:
        """Give what the workers need for one part."""
        request = self.inputs.request
        return UnitJob(
            cache=str(resolved(self.out)),
            part=part.name,
            plan_sha256=part.digest,
            corpus_root=str(resolved(self.inputs.corpus.root)),
            teacher=_absolute_teacher_path(request.teacher),
            teacher_options=tuple(sorted(request.teacher_options.items())),
            view_steps=self.inputs.view_steps,
            device=request.device,
        )


def _is_begun(out: CachePath) -> bool:
    """Whether there is a cache to go on with: on a store once its manifest is there."""
    if isinstance(out, Path):
        return out.exists() and any(out.iterdir())
    return objects_of(out).exists(MANIFEST)


def _absolute_teacher_path(teacher: str) -> str:
    """A teacher's folders as absolute paths: a Dask worker may stand in another folder."""
    before, ensemble, members = teacher.partition("ensemble:members=")
    if ensemble and not before:
        return ensemble + ";".join(_absolute_teacher_path(member) for member in members.split(";"))
    local = not is_named(teacher) and Path(teacher).is_dir()
    return str(Path(teacher).resolve()) if local else teacher
