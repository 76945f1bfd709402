"""What the JSON documents of a cache have in common: strict types, names, every problem at once."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cache_schema.errors import MAX_LISTED, CacheError, bullet_list
from cache_schema.store.files import canonical_json

MAX_NAME_BYTES = 255  # of one component of a path, on every file system in use
# What 64-bit floats count exactly; no document has a use for larger numbers.
MAX_SAFE_INTEGER = 2**53
MAX_SHOWN = 60  # characters of a wrong value


def plain_name(name: str) -> str:
    """Accept a name that is one path component and nothing else."""
    odd = name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable()
    if odd or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"{_short(name)} is not a plain name")
    return name


def _object_key(key: str) -> str:
    """Accept the key of an object: plain names joined by slashes, so that it lies below its root."""
    for name in key.split("/"):
        plain_name(name)
    return key


def _facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Accept what can be written as JSON again: no NaN, which the parser lets through."""
    canonical_json(facts)
    return facts


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ObjectKey = Annotated[str, AfterValidator(_object_key)]
Count = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
Positive = Annotated[int, Field(gt=0, le=MAX_SAFE_INTEGER)]
Facts = Annotated[dict[str, Any], AfterValidator(_facts)]


class Document(BaseModel):
    """A frozen document in which an unknown or ill-typed field is a problem, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def encode(self) -> bytes:
        """Canonical bytes of the document."""
        return canonical_json(self.model_dump(mode="json"))


AnyDocument = TypeVar("AnyDocument", bound=Document)


def problems_of(model: type[Document], data: bytes) -> list[str]:
    """Every problem of an encoded document, each as ``place: what is wrong (value)``."""
    try:
        model.model_validate_json(data)
    except ValidationError as error:
        return _format_problems(error)
    return []


def _format_problems(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']} (found {_short(e['input'])})"
        for e in error.errors(include_url=False, include_context=False)
    ]


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, bytes):  # all of what is no JSON
        value = value[:MAX_SHOWN].decode(errors="replace")
    text = repr(value) if isinstance(value, str | float | int) else f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def parse(model: type[AnyDocument], data: bytes, where: str) -> AnyDocument:
    """Read a document.

    Raises
    ------
    CacheError
        Kind ``"damaged"``: listing every problem with its place, the first 20 of many.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        problems = _format_problems(error)
        raise CacheError(
            f"{where} is not a valid {model.__name__}; {len(problems)} problem(s)\n"
            f"{bullet_list(problems, MAX_LISTED)}",
            kind="damaged",
        ) from None
