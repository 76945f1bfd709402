"""The settings of a training, resolved and comparable."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache_schema.errors import UsageError, bullet_list
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.limits import MAX_EPOCHS, MAX_WEIGHT
from cache_schema.plugins import (
    all_options,
    check_declared,
    check_derived,
    load_plugin,
    options_of_type,
    parse_named_options,
    plugin_origin,
    typed_options,
    unknown_name,
)
from cache_schema.reader import Cache
from cache_schema.signal_names import FIRST, SEPARATOR, VIEW_LABELS, WAVEFORM, qualified
from cache_schema.store.files import canonical_json, sha256
from cache_schema.text import one_line
from student.augmentation.compatibility import check_augmentations
from student.losses import LOSSES
from student.metrics import METRICS
from student.models import STUDENTS
from student.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from student.losses.interface import DistillationLoss
    from student.models.interface import Student


# Settings that runs of earlier versions do not know.
LATER_SETTINGS = ("patience", "validate_every", "labelled_share", "unlabelled", "lanes")
ROUNDING = 1e-9  # of a sum of weights
FILES = "files"
TEACHER, *IN_EPOCHS = OWN_OPTIONS = "teacher", "warm_up_epochs", "decay_epochs"
"""Options of ``--distill`` whatever the loss."""


@dataclass(frozen=True, slots=True)
class Distillation:
    """One weighted loss with its options as given.

    Attributes
    ----------
    name, weight, options
        Of the loss.
    teachers : tuple of str
        Who teaches it, the first teacher by an empty name; several by the mean of their logits.
    warm_up_epochs : float
        Its weight rises linearly from 0 over so many epochs.
    decay_epochs : float
        Its weight falls linearly to 0 over so many epochs from the first on; 0 leaves it as it is.
    """

    name: str
    weight: float
    options: dict[str, str]
    teachers: tuple[str, ...] = ("",)
    warm_up_epochs: float = 0.0
    decay_epochs: float = 0.0

    @property
    def key(self) -> str:
        """Name it among a run's losses: ``logits``, or ``logits@b`` with a teacher of its own."""
        if self.teachers == ("",):
            return self.name
        return self.name + SEPARATOR + "+".join(teacher or FIRST for teacher in self.teachers)

    @property
    def loss(self) -> type[DistillationLoss]:
        """Class of the loss."""
        return loss_class(self.name)

    @property
    def signals(self) -> tuple[str, ...]:
        """Cached signals it needs."""
        return tuple(qualified(s, teacher) for s in self.loss.signals for teacher in self.teachers)

    def weight_after(self, epochs: float) -> float:
        """Weight after so many epochs of training."""
        risen = epochs / self.warm_up_epochs if epochs < self.warm_up_epochs else 1.0
        left = max(0.0, 1 - epochs / self.decay_epochs) if self.decay_epochs else 1.0
        return self.weight * risen * left


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a training's result depends on, beside the cache.

    Attributes
    ----------
    student : str
        Key of ``STUDENTS``.
    student_options : dict
        Options of the student as given.
    distill : tuple of Distillation
        Weighted losses beside the label loss.
    label_weight : float
        Weight of the label loss.
    seed : int
        Seed of everything.
    recipe : Recipe
        Optimiser, schedule, length, augmentation, averaging.
    metric : str or None
        What picks the best epoch; None is the task's own.
    class_map : dict or None
        Teacher classes that stand for each class, where names differ.
    precision : str
        Fabric's name of the arithmetic.
    patience : int or None
        Epochs without a better validation score after which the training ends.
    validate_every : int
        Epochs from one validation to the next; the last epoch is always validated.
    labelled_share : float or None
        Share of labelled clips that a training epoch has at least, by repeating them.
    unlabelled : int or None
        Unlabelled clips that are learned from; None is all of them.
    lanes : int
        Batches that a step learns from, each with statistics and random numbers of its own.

    Raises
    ------
    UsageError
        If the recipe's augmentation leaves a loss without a target.
    """

    student: str
    student_options: dict[str, str]
    distill: tuple[Distillation, ...]
    label_weight: float
    seed: int
    recipe: Recipe
    metric: str | None = None
    class_map: dict[str, list[str]] | None = None
    precision: str = "32-true"
    patience: int | None = None
    validate_every: int = 1
    labelled_share: float | None = None
    unlabelled: int | None = None
    lanes: int = 1

    def __post_init__(self) -> None:
        check_augmentations(self.recipe, {entry.key: entry.loss for entry in self.distill})

    def as_json(self) -> dict[str, Any]:
        """All settings by name; what came later and has its default is left out.

        So a run, or a line of a ledger, that knew no such setting stays the same.
        """
        later = {f.name: f.default for f in fields(self) if f.name in LATER_SETTINGS}
        return {k: v for k, v in asdict(self).items() if k not in later or v != later[k]}

    @property
    def identity(self) -> str:
        """Text that is alike for settings that train alike, however options and losses were written."""
        losses = [
            {**asdict(loss), "options": repr(all_options(loss.loss, loss.options, loss.name))}
            for loss in sorted(self.distill, key=lambda loss: loss.key)
        ]
        student = repr(all_options(student_class(self.student), self.student_options, self.student))
        return repr({**asdict(self), "student_options": student, "distill": losses})

    def validates(self, epoch: int) -> bool:
        """Whether an epoch, from 1, is followed by a validation."""
        return epoch >= self.recipe.epochs or epoch % self.validate_every == 0

    def ends(self, epoch: int, risen: int) -> bool:
        """Whether a training ends after so many epochs: all, or too many since the score last rose."""
        waited = self.patience is not None and epoch - risen >= self.patience
        return epoch >= self.recipe.epochs or (epoch > 0 and waited and self.validates(epoch))

    @property
    def teacher(self) -> str:
        """The teacher whose score is shown beside the student's: the first one learned from."""
        return first_teacher([distillation_as_json(entry) for entry in self.distill])

    def resolved(self, cache: Cache, source: str) -> dict[str, Any]:
        """Settings and facts of the cache as one JSON document; `source` is read for features."""
        read = {WAVEFORM, VIEW_LABELS, source}
        read |= {signal for entry in self.distill for signal in entry.signals}
        # A part that this run does not read may come or go without making it another run.
        entries = zip(cache.parts, cache.manifest.parts, strict=True)
        indexes = [entry.index_sha256 for part, entry in entries if read & set(part.names)]
        return {
            **self.as_json(),
            "distill": [distillation_as_json(distillation) for distillation in self.distill],
            "recipe": {**asdict(self.recipe), "betas": list(self.recipe.betas)},
            "task": cache.task,
            "classes": list(cache.classes),
            "corpus_fingerprint": cache.manifest.corpus.fingerprint,
            "cache_sha256": sha256(canonical_json(indexes)),
            "views": cache.views,
            **self.origins,
        }

    @property
    def origins(self) -> dict[str, dict[str, str]]:
        """``plugins`` and ``files`` of a run that has any: what its names stand for here."""
        found = {"plugins": self.plugins, FILES: self.files}
        return {kind: facts for kind, facts in found.items() if facts}

    @property
    def files(self) -> dict[str, str]:
        """Digest of each file that an option names: ``{"loss NAME OPTION": "SHA-256"}``."""
        student = student_class(self.student)
        used = {f"student {self.student}": (options_of_type(student, Path), self.student_options)}
        for loss in self.distill:
            used[f"loss {loss.key}"] = options_of_type(loss.loss, Path), loss.options
        return {
            f"{name} {option}": _file_digest(path)
            for name, (paths, options) in used.items()
            for option in sorted(paths & options.keys())
            if (path := Path(options[option])).is_file()
        }

    @property
    def plugins(self) -> dict[str, str]:
        """Distribution and version of what is not ours: ``{"student NAME": "DISTRIBUTION 1.0"}``."""
        used = [(STUDENTS, self.student, "student")]
        used += [(LOSSES, entry.name, "loss") for entry in self.distill]
        used += [(METRICS, self.metric, "metric")] if self.metric else []
        origins = {f"{kind} {name}": plugin_origin(own, name, kind) for own, name, kind in used}
        return {what: origin for what, origin in origins.items() if origin}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_teacher(distill: Sequence[Mapping[str, Any]]) -> str:
    """First teacher that a run's losses name, as ``config.json`` has them; else the cache's first."""
    return next((str(teacher) for entry in distill for teacher in entry["teachers"]), "")


def distillation_as_json(distillation: Distillation) -> dict[str, Any]:
    """Give a loss's settings as JSON has them; a decay, which came later, where there is one."""
    facts = {**asdict(distillation), "teachers": list(distillation.teachers)}
    return facts if facts["decay_epochs"] else {k: facts[k] for k in facts if k != "decay_epochs"}


def loss_class(name: str) -> type[DistillationLoss]:
    """Look a loss up by name."""
    found: type[DistillationLoss] = load_plugin(LOSSES, name, "loss")
    # Behind it, as torch takes seconds that a name that is none need not.
    from student.losses.interface import DistillationLoss as Base

    check_derived(found, Base, name, "loss")
    taken = [own for own in OWN_OPTIONS if own in inspect.signature(found).parameters]
    problems = [
        f"an option {own}: every loss has one of that name, which it would never get"
        for own in taken
    ]
    problems += [
        f"{fact} = {getattr(found, fact, 'nothing')!r:.80}, expected a tuple of names"
        for fact in ("signals", "supports")
        if not isinstance(getattr(found, fact, None), tuple)
    ]
    check_declared(problems, name, "loss")
    return found


def student_class(name: str) -> type[Student]:
    """Look a student up by name."""
    found: type[Student] = load_plugin(STUDENTS, name, "student")
    # As above.
    from student.models.interface import Student as Base

    check_derived(found, Base, name, "student")
    front_end, recipe = getattr(found, "front_end", None), getattr(found, "recipe", None)
    problems = []
    if front_end not in FRONT_ENDS:
        problems.append(f"front_end = {front_end!r:.80}, one of {', '.join(FRONT_ENDS)}")
    if not isinstance(recipe, Recipe):
        problems.append(f"recipe = {recipe!r:.80}, expected a student.recipes.Recipe")
    check_declared(problems, name, "student")
    return found


def build_student(name: str, options: dict[str, str], classes: int) -> Student:
    """Build a student from its options as given.

    Raises
    ------
    UsageError
        For an unknown student or option.
    """
    kind = student_class(name)
    return kind(classes, **typed_options(kind, options, f"student {name}"))


def parse_student(text: str) -> tuple[str, dict[str, str]]:
    """Read ``NAME[:option=value,...]`` and check it."""
    name, options = parse_named_options(text)
    typed_options(student_class(name), options, f"student {name}")
    return name, options


def find_recipe(name: str | None, student: str) -> Recipe:
    """Look a recipe up; None is the student's own."""
    if name is None:
        return student_class(student).recipe
    if name not in RECIPES:
        raise unknown_name(name, RECIPES, "recipe")
    return RECIPES[name]


def parse_distillation(text: str) -> Distillation:
    """Read ``NAME=WEIGHT[:option=value,...]``.

    Three options belong to every loss: ``teacher=NAME`` (or ``NAME+NAME``), ``warm_up_epochs=N`` and
    ``decay_epochs=N``.

    >>> parse_distillation("logits=0.5:temperature=4,teacher=b").options
    {'temperature': '4'}

    Raises
    ------
    UsageError
        For an unknown loss or option, or a number that is none.
    """
    head, options = parse_named_options(text)
    name, _, weight_text = head.partition("=")
    loss = loss_class(name)
    weight = _number(weight_text)
    if not 0 < weight <= MAX_WEIGHT:
        raise UsageError(
            f"loss {text!r}: expected NAME=WEIGHT with a weight above 0, at most {MAX_WEIGHT:g}, got "
            f"{weight_text!r}. "
            f"For example: {name}=0.25",
            kind="options",
        )
    names = options.pop(TEACHER, FIRST).split("+")
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(
            f"loss {text!r}: teacher takes names joined by +, each once, got {'+'.join(names)!r}. "
            f"For example: {name}={weight_text}:teacher={FIRST}",
            kind="options",
        )
    teachers = tuple("" if teacher == FIRST else teacher for teacher in names)
    times = {name: options.pop(name, "0") for name in IN_EPOCHS}
    for option, epochs in times.items():
        if not 0 <= _number(epochs) <= MAX_EPOCHS:
            raise UsageError(
                f"loss {text!r}: {option} must be from 0 to {MAX_EPOCHS}, got {epochs!r}",
                kind="options",
            )
    if len(teachers) > 1 and not loss.averages_teachers:
        raise UsageError(
            f"loss {text!r}: {name} learns from one teacher, several have no mean for it; "
            f"for example {name}={weight_text}:teacher={names[0]}",
            kind="options",
        )
    typed_options(loss, options, f"loss {name}", also_known=OWN_OPTIONS)
    return Distillation(name, weight, options, teachers, *map(_number, times.values()))


def _number(text: str) -> float:
    """Read a finite number; NaN, which no comparison admits, where it is none."""
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return value if value < float("inf") else float("nan")


def resolve_label_weight(distill: tuple[Distillation, ...], given: float | None) -> float:
    """Weight of the label loss: as given, else what the others leave of 1 (a convex sum).

    Raises
    ------
    UsageError
        If the others leave nothing, or a loss is named twice for the same teacher.
    """
    names = [distillation.key for distillation in distill]
    if len(set(names)) < len(names):
        raise UsageError(f"--distill names a loss twice: {', '.join(names)}", kind="options")
    if given is not None:
        return given
    total = sum(distillation.weight for distillation in distill)
    if total > 1 + ROUNDING:
        parts = [f"{distillation.key}: {distillation.weight}" for distillation in distill]
        raise UsageError(
            f"the weights of --distill add up to {total}, which leaves no weight for the labels:\n"
            f"{bullet_list(parts)}\nLower them, or choose an additive sum: --label-weight 1 (of "
            "compare-students label=1 in the condition)",
            kind="options",
        )
    return max(0.0, 1 - total)


def diff_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name each setting in which two resolved documents differ, with both values.

    >>> diff_settings({"options": {}}, {"options": {"width": "2"}})
    ['options.width: the run has nothing, requested 2']
    """
    before, now = flat_settings(before), flat_settings(now)
    return [
        f"{key}: the run has {_shown(before.get(key))}, requested {_shown(now.get(key))}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]


def _shown(value: Any) -> str:
    """Write a setting as a user would write it; of the teachers, the one without a name is the first."""
    if value is None or value == []:
        return "nothing"
    names = [str(one) or FIRST for one in value] if isinstance(value, list) else [str(value)]
    return one_line(", ".join(names))


def flat_settings(document: dict[str, Any]) -> dict[str, Any]:
    """Name what lies in a nested document ``outer.inner``; what holds nothing is not there.

    The losses of a run go by their number and name.
    """
    flat: dict[str, Any] = {}
    for key, value in document.items():
        inner: Any = value
        if isinstance(value, list) and all(isinstance(one, dict) for one in value):
            inner = {f"{n} {one.get('name')}": one for n, one in enumerate(value, 1)}
        if isinstance(inner, dict):
            flat |= {f"{key}.{name}": v for name, v in flat_settings(inner).items()}
        elif inner is not None:
            flat[key] = inner
    return flat
