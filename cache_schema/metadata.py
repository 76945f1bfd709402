"""The JSON documents of format version 1.

`Manifest` is the root, `PartPlan` describes what a part holds and how its rows are cut into
work units, `CommitRecord` proves one unit, `PartIndex` closes a finished part. They are read by
:func:`cache_schema.documents.parse`, which reports every problem of one at once.

Not checked here: that stored objects have the promised size and digest
(:mod:`cache_schema.reader` on every read, :mod:`cache_schema.integrity.verify` in full).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cache_schema.documents import (
    Count,
    Digest,
    Document,
    Facts,
    ObjectKey,
    Positive,
    parse,
    plain_name,
)
from cache_schema.errors import CacheError
from cache_schema.signal_names import LOGITS, is_teacher_name, signal_of, teacher_of
from cache_schema.store.files import canonical_json, sha256
from cache_schema.store.zarr_metadata import MAX_CHUNK_BYTES

FORMAT_VERSION = 1
ENTRY_BYTES = {"float16": 2, "float32": 4, "int16": 2, "uint8": 1, "uint16": 2}


def _signal_name(name: str) -> str:
    """Accept a plain name, or one qualified by a teacher's: ``logits@b``."""
    if "@" in name and not is_teacher_name(teacher_of(name)):
        raise ValueError(f"{name!r} does not end in the name of a teacher")
    if name in ("c", "commits", "index", "unsealed"):
        raise ValueError(f"{name!r} is a folder of its own in a part")
    return plain_name(name)


Crc32c = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
PartName = Annotated[str, Field(pattern=r"^part-[0-9]{3,6}$")]
SignalName = Annotated[str, AfterValidator(_signal_name)]


class SignalSpec(Document):
    """How one signal is stored.

    `row_shape` is the shape of one row without its ragged axis. ``fixed``: every row has
    `row_shape`. ``ragged``: a row is ``(frames, *row_shape)``. ``square``: a row is a
    ``frames x frames`` map, stored flat. `chunk_length` counts rows (fixed) or stored entries
    along the ragged axis (ragged, square). `first_frame_s` is the centre of frame 0. dtype
    ``uint8`` holds the codes of :mod:`cache_schema.encodings.u8log`, ``uint16`` those of
    :mod:`cache_schema.encodings.top_k`. The names are those of :mod:`cache_schema.signal_names`.
    """

    name: SignalName
    layout: Literal["fixed", "ragged", "square"]
    row_shape: list[Positive]
    dtype: Literal["float16", "float32", "int16", "uint8", "uint16"]
    chunk_length: Positive
    hop_s: Annotated[float, Field(gt=0)] | None = None
    first_frame_s: float | None = None

    @model_validator(mode="after")
    def _storable(self) -> Self:
        if self.chunk_bytes > MAX_CHUNK_BYTES:
            raise ValueError(f"a chunk of {self.chunk_bytes} bytes, at most {MAX_CHUNK_BYTES}")
        if self.row_shape and (self.layout == "square" or self.dtype == "uint8"):
            raise ValueError(f"{self.layout} {self.dtype} rows have no row_shape {self.row_shape}")
        if self.hop_s is None and self.layout != "fixed":
            raise ValueError(f"a {self.layout} signal without a hop_s")
        return self

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of one stored chunk."""
        return (self.chunk_length, *self.row_shape)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one decoded chunk."""
        return ENTRY_BYTES[self.dtype] * math.prod(self.chunk_shape)


class UnitTable(Document):
    """The work units of a part, one entry per unit in each list."""

    split: list[str]
    view: list[Count]
    first_clip: list[Count]
    rows: list[Positive]

    @model_validator(mode="after")
    def _equal_lengths(self) -> Self:
        lengths = {len(self.split), len(self.view), len(self.first_clip), len(self.rows)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"columns are empty or differ in length: {sorted(lengths)}")
        return self


class TeacherFacts(BaseModel):
    """What readers rely on in a teacher's provenance; the rest is for people."""

    model_config = ConfigDict(strict=True, extra="ignore")
    classes: list[str] = []
    task: Literal["single", "multi"] = "single"
    options: dict[str, Any] = {}


def _teacher(facts: dict[str, Any]) -> dict[str, Any]:
    found = TeacherFacts.model_validate(facts)
    if len(set(found.classes)) != len(found.classes):
        raise ValueError("a class of the teacher is listed twice")
    return facts


class PartPlan(Document):
    """The immutable plan of a part: one view range, one set of signals, one teacher or none."""

    name: PartName
    first_view: Count
    views: Positive
    seed: int
    view_recipe: list[str]
    teacher: Annotated[Facts, AfterValidator(_teacher)] | None
    audio: Facts
    source: Literal["corpus", "cache"]
    codec: Literal["crc32c", "zstd"]
    batch_clips: Positive
    batch_samples: Positive
    unit_rows: Positive
    signals: list[SignalSpec]
    units: UnitTable

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [signal.name for signal in self.signals]
        if not names:
            raise ValueError("a part without signals")
        if len(set(names)) != len(names):
            raise ValueError(f"a signal is listed twice: {names}")
        if len({teacher_of(name) for name in names}) > 1:
            raise ValueError(f"a part has signals of one teacher, not of several: {names}")
        if self.units.rows and max(self.units.rows) > self.unit_rows:
            raise ValueError(
                f"a unit has {max(self.units.rows)} rows, unit_rows is {self.unit_rows}"
            )
        last = self.first_view + self.views
        if any(not self.first_view <= view < last for view in self.units.view):
            raise ValueError(f"a unit's view lies outside {self.first_view}..{last - 1}")
        if len(set(self.units.view)) != self.views:
            raise ValueError(f"{self.views} views, but units of {len(set(self.units.view))}")
        return self

    @model_validator(mode="after")
    def _top_k_of_known_classes(self) -> Self:
        facts = self.teacher or {}
        classes, task = facts.get("classes"), facts.get("task")
        for signal in self.signals:
            fits = isinstance(classes, list) and 3 <= math.prod(signal.row_shape) < 2 * len(classes)
            whole = signal.layout == "fixed" and len(signal.row_shape) == 1
            if signal.dtype == "uint16" and not (
                whole and fits and signal.row_shape[0] % 2 and task in ("single", "multi")
            ):
                raise ValueError(
                    f"{signal.name} is stored as the top k of a teacher's classes: row_shape is "
                    f"{signal.row_shape}, the teacher has classes {classes} and task {task!r}"
                )
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the plan's bytes, worked out once: a plan can list 50,000 work units."""
        return sha256(self.encode())

    def __copy__(self) -> Self:
        """Copy the fields alone: `model_copy` may then change what the digest is of."""
        copied = super().__copy__()
        copied.__dict__.pop("digest", None)
        return copied

    @property
    def teacher_name(self) -> str:
        """Name of the part's teacher; empty for the first teacher and for no teacher."""
        return teacher_of(self.signals[0].name) if self.signals else ""

    @property
    def view_range(self) -> range:
        """The views that the part covers."""
        return range(self.first_view, self.first_view + self.views)

    def signal(self, name: str) -> SignalSpec:
        """The specification of one signal of this part."""
        return next(signal for signal in self.signals if signal.name == name)


class StoredObject(Document):
    """Size, digest and the 4-byte trailer (little-endian CRC-32C, as hex) of one chunk."""

    bytes: Positive
    sha256: Digest
    crc32c: Crc32c


class Quarantine(Document):
    """A row that could not be used, and why."""

    row: Count
    reason: str


class CommitRecord(Document):
    """Proof of one work unit, written after everything it names.

    `lengths` gives, per ragged signal, the entries of each row; a quarantined row has 0.
    `sources` has each row's SHA-256 of the source file ("" where it could not be read);
    `gains` the factor of each row that had to be limited to full scale.
    """

    part: PartName
    plan_sha256: Digest
    unit: Count
    rows: Positive
    lengths: dict[SignalName, list[Count]]
    quarantine: list[Quarantine]
    sources: list[str]
    gains: dict[str, float]
    objects: dict[SignalName, StoredObject]


class PartIndex(Document):
    """Digests of a finished part: its plan, its index arrays and every metadata object."""

    part: PartName
    objects: dict[ObjectKey, Digest]


class PartEntry(Document):
    """A part as the manifest lists it; `index_sha256` is null until the part is sealed."""

    name: PartName
    plan_sha256: Digest
    index_sha256: Digest | None = None


class Split(Document):
    """A split: consecutive clips of the clip table."""

    name: str
    first_clip: Count
    clips: Positive


class CorpusFacts(Document):
    """What the cache records of the corpus."""

    fingerprint: Digest
    classes: list[str]
    task: Literal["single", "multi"]
    clips: Positive
    splits: list[Split]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        firsts = [split.first_clip for split in self.splits]
        ends = [split.first_clip + split.clips for split in self.splits]
        if firsts != [0, *ends[:-1]] or ends[-1:] != [self.clips]:
            raise ValueError(
                f"splits do not lie side by side over {self.clips} clips: {self.splits}"
            )
        for what, names in (("class", self.classes), ("split", [s.name for s in self.splits])):
            if len(set(names)) != len(names):
                raise ValueError(f"a {what} is listed twice: {names}")
        return self


class Manifest(Document):
    """The root document, the only object that is ever replaced."""

    format: Literal["aftersound cache"] = "aftersound cache"
    format_version: Literal[1] = 1
    generation: Positive
    corpus: CorpusFacts
    sample_rate_hz: Positive
    clip_table: dict[ObjectKey, Digest]
    root_group: Digest
    parts: Annotated[list[PartEntry], Field(min_length=1)]

    @model_validator(mode="after")
    def _parts_once(self) -> Self:
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names):
            raise ValueError(f"a part is listed twice: {names}")
        return self

    def plan_problems(self, plan: PartPlan) -> list[str]:
        """What keeps a plan from being one over this manifest's clips."""
        splits = {split.name: split for split in self.corpus.splits}
        problems = []
        columns = zip(plan.units.split, plan.units.first_clip, plan.units.rows, strict=True)
        for unit, (name, first, rows) in enumerate(columns):
            split = splits.get(name)
            if split is None:
                problems.append(f"work unit {unit} lies in split {name!r}, of which there is none")
            elif not split.first_clip <= first <= first + rows <= split.first_clip + split.clips:
                problems.append(
                    f"work unit {unit} has clips {first} to {first + rows - 1}, its split "
                    f"{split.first_clip} to {split.first_clip + split.clips - 1}"
                )
        for signal in plan.signals:
            if signal_of(signal.name) == LOGITS and signal.dtype != "uint16":
                classes = (plan.teacher or {}).get("classes")
                if classes is not None and signal.row_shape != [len(classes)]:
                    problems.append(
                        f"{signal.name} has rows of {signal.row_shape}, the teacher "
                        f"{len(classes)} classes"
                    )
        if plan.name == self.parts[0].name and plan.first_view:
            problems.append(f"the first part begins with view {plan.first_view}, not 0")
        return problems

    def sealed(self, name: str) -> bool:
        """Whether the part `name` is finished."""
        return any(p.name == name and p.index_sha256 is not None for p in self.parts)


class SignedManifest(Document):
    """The manifest with the digest over its own canonical bytes."""

    manifest: Facts
    digest: Digest

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Wrap a manifest."""
        body = manifest.model_dump(mode="json")
        return cls(manifest=body, digest=sha256(canonical_json(body)))


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read and check the signed root manifest.

    Raises
    ------
    CacheError
        ``"damaged"`` for a bad document or digest, ``"too_new"`` for a later format version.
    """
    signed = parse(SignedManifest, data, where)
    found = sha256(canonical_json(signed.manifest))
    if found != signed.digest or data != signed.encode():
        raise CacheError(
            f"{where} is damaged: its digest is {signed.digest[:12]}, its content {found[:12]}.",
            kind="damaged",
        )
    version = signed.manifest.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CacheError(
            f"{where} has cache format {version}; this program reads up to {FORMAT_VERSION}. "
            "Upgrade aftersound.",
            kind="too_new",
        )
    return parse(Manifest, canonical_json(signed.manifest), where)
