"""The JSON documents of format version 1 and their validation.

`Manifest` is the root, `PartPlan` says what a part holds and how its rows are cut into work units,
`CommitRecord` proves one unit, `PartIndex` closes a finished part. :func:`parse` reports every
problem of a document at once.

Not checked here: that stored objects have the promised size and digest
(:mod:`cache_schema.reader` on every read, :mod:`cache_schema.verify` in full).
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cache_schema.errors import CacheError, listed
from cache_schema.storage import canonical_json, sha256
from cache_schema.teacher_names import is_teacher_name, teacher_of

FORMAT_VERSION = 1
WAVEFORM = "waveform"


def _plain_name(name: str) -> str:
    """Accept a name that is one path component and nothing else."""
    if not name or PurePosixPath(name).name != name or name in (".", "..") or "\\" in name:
        raise ValueError(f"{name!r} is not a plain name")
    return name


def _signal_name(name: str) -> str:
    """Accept a plain name, or one qualified by a teacher's: ``logits@b``."""
    if "@" in name and not is_teacher_name(teacher_of(name)):
        raise ValueError(f"{name!r} does not end in the name of a teacher")
    return _plain_name(name)


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Crc32c = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
PlainName = Annotated[str, AfterValidator(_plain_name)]
SignalName = Annotated[str, AfterValidator(_signal_name)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]


class Document(BaseModel):
    """A frozen document in which an unknown or ill-typed field is a problem, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def encode(self) -> bytes:
        """Canonical bytes of the document."""
        return canonical_json(self.model_dump(mode="json"))


class SignalSpec(Document):
    """How one signal is stored.

    `row_shape` is the shape of one row without its ragged axis. ``fixed``: every row has
    `row_shape`. ``ragged``: a row is ``(frames, *row_shape)``. ``square``: a row is a
    ``frames x frames`` map, stored flat. `chunk_length` counts rows (fixed) or stored entries
    along the ragged axis (ragged, square). `first_frame_s` is the centre of frame 0. dtype
    ``uint8`` holds the codes of :mod:`cache_schema.u8log`. The names are those of
    :mod:`cache_schema.teacher_names`.
    """

    name: SignalName
    layout: Literal["fixed", "ragged", "square"]
    row_shape: list[Positive]
    dtype: Literal["float16", "int16", "uint8", "uint16"]
    chunk_length: Positive
    hop_s: float | None = None
    first_frame_s: float | None = None

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of one stored chunk."""
        return (self.chunk_length, *self.row_shape)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one decoded chunk."""
        return (1 if self.dtype == "uint8" else 2) * math.prod(self.chunk_shape)


class UnitTable(Document):
    """The work units of a part, one entry per unit in each list."""

    split: list[str]
    view: list[Count]
    first_clip: list[Count]
    rows: list[Positive]

    @model_validator(mode="after")
    def _equal_lengths(self) -> Self:
        lengths = {len(self.split), len(self.view), len(self.first_clip), len(self.rows)}
        if len(lengths) != 1:
            raise ValueError(f"columns differ in length: {sorted(lengths)}")
        return self


class PartPlan(Document):
    """The immutable plan of a part: one view range, one set of signals, one teacher or none."""

    name: PlainName
    first_view: Count
    views: Positive
    seed: int
    view_recipe: list[str]
    teacher: dict[str, Any] | None
    audio: dict[str, Any]
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
        return self

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

    part: PlainName
    plan_sha256: Digest
    unit: Count
    rows: Positive
    lengths: dict[str, list[Count]]
    quarantine: list[Quarantine]
    sources: list[str]
    gains: dict[str, float]
    objects: dict[str, StoredObject]


class PartIndex(Document):
    """Digests of a finished part: its plan, its index arrays and every metadata object."""

    part: PlainName
    objects: dict[str, Digest]


class PartEntry(Document):
    """A part as the manifest lists it; `index_sha256` is null until the part is sealed."""

    name: PlainName
    plan_sha256: Digest
    index_sha256: Digest | None = None


class Split(Document):
    """A split: consecutive clips of the clip table."""

    name: str
    first_clip: Count
    clips: Positive


class CorpusFacts(Document):
    """What the cache knows of the corpus."""

    fingerprint: Digest
    classes: list[str]
    task: Literal["single", "multi"]
    clips: Count
    splits: list[Split]


class Manifest(Document):
    """The root document, the only object that is ever replaced."""

    format: Literal["aftersound cache"] = "aftersound cache"
    format_version: Literal[1] = 1
    generation: Positive
    corpus: CorpusFacts
    sample_rate_hz: Positive
    clip_table: dict[str, Digest]
    root_group: Digest
    parts: list[PartEntry]

    def sealed(self, name: str) -> bool:
        """Whether the part `name` is finished."""
        return any(p.name == name and p.index_sha256 is not None for p in self.parts)


class SignedManifest(Document):
    """The manifest with the digest over its own canonical bytes."""

    manifest: dict[str, Any]
    digest: Digest

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Wrap a manifest."""
        body = manifest.model_dump(mode="json")
        return cls(manifest=body, digest=sha256(canonical_json(body)))


AnyDocument = TypeVar("AnyDocument", bound=Document)


def problems_of(model: type[Document], data: bytes) -> list[str]:
    """Every problem of an encoded document, each as ``place: what is wrong (value)``."""
    try:
        model.model_validate_json(data)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']} (found {_short(e['input'])})"
            for e in error.errors()
        ]
    return []


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse(model: type[AnyDocument], data: bytes, where: str) -> AnyDocument:
    """Read a document.

    Raises
    ------
    CacheError
        Kind ``"damaged"``: listing every problem with its place.
    """
    problems = problems_of(model, data)
    if problems:
        raise CacheError(
            f"{where} is not a valid {model.__name__}; {len(problems)} problem(s)\n{listed(problems)}",
            kind="damaged",
        )
    return model.model_validate_json(data)


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
            f"{where} is damaged: its digest says {signed.digest[:12]}, its content {found[:12]}.",
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
