"""Plug-ins: ours are plain dicts ``name -> "module:attribute"``, others' are entry points.

Another distribution adds plug-ins by the entry points of ``GROUPS`` in its ``pyproject.toml``::

    [project.entry-points."aftersound.students"]
    my-student = "my_package.students:MyStudent"

They are found by their metadata; only the one that is used is imported.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from cache_schema.errors import UsageError, bullet_list
from cache_schema.paths import path_problem
from cache_schema.text import ALIKE, letters_alone, one_line

GROUPS = {
    "student": "aftersound.students",
    "loss": "aftersound.losses",
    "metric": "aftersound.metrics",
    "corpus": "aftersound.corpora",
    "teacher": "aftersound.teachers",
    "model type": "aftersound.model_types",
    "view": "aftersound.views",
    "exporter": "aftersound.exporters",
}
"""Group of entry points by kind of plug-in."""

# Of a plug-in: what begins an option, a weight, a list or a teacher would end it.
_NAME = re.compile(r"[\w.+-]+")
_NEXT_OPTION = re.compile(r",(?=[A-Za-z_]\w*=)")
# Of any option, on either side of 0; an option's own bounds are its plug-in's.
MAX_NUMBER = 1e15


def unknown_name(name: str, known: Iterable[str], kind: str) -> UsageError:
    """Build the error for a name that is not known: lists the known ones and the nearest."""
    names = list(known)
    nearest = nearest_name(name, names)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    if twin := next((one for one in names if letters_alone(one) == letters_alone(name)), ""):
        hint = f" {name!a} and {twin!a} {ALIKE}."
    return UsageError(
        f"unknown {kind} {name!r}; known: {', '.join(map(one_line, names)) or 'none'}.{hint}",
        kind="unknown",
    )


def nearest_name(name: str, names: Iterable[str]) -> str:
    """Find the name that another is likely meant to be; empty if none is near."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)), "")


@cache
def _installed(kind: str) -> dict[str, list[EntryPoint]]:
    """Plug-ins of a kind that other distributions have installed, by name; nothing is imported."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUPS[kind]) if kind in GROUPS else ():
        found.setdefault(entry.name, []).append(entry)
    return found


def plugin_names(own: Mapping[str, str], kind: str) -> list[str]:
    """Names of a kind's plug-ins: ours, then those of other installed distributions by name."""
    return [*own, *sorted(_installed(kind).keys() - own.keys())]


def plugin_origin(own: Mapping[str, str], name: str, kind: str) -> str:
    """Distribution and version that a plug-in comes from; empty for one of ours.

    Raises
    ------
    UsageError
        If there is no such plug-in, or several distributions have one of this name.
    """
    others = _installed(kind).get(name, [])
    origins = ["aftersound"] * (name in own) + sorted(_origin(entry) for entry in others)
    if not origins:
        known = [one for one in plugin_names(own, kind) if _NAME.fullmatch(one)]
        raise unknown_name(name, known, kind)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{kind} {name!r} of {' and '.join(origins)} cannot be written: a name has letters, digits "
            "and . _ + - alone",
            kind="plugin",
        )
    if len(origins) > 1:
        raise UsageError(
            f"{kind} {name!r} is installed by {' and by '.join(origins)}; uninstall all but one: "
            "pip uninstall DISTRIBUTION",
            kind="plugin",
        )
    return "" if name in own else origins[0]


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def load_plugin(own: Mapping[str, str], name: str, kind: str) -> Any:
    """Import the plug-in called `name`.

    A name is looked up among ours and those of installed distributions, never imported as such, so
    no document can choose what is imported.

    Parameters
    ----------
    own : mapping of str to str
        Our plug-ins of this kind, each as ``"module:attribute"``.
    name, kind : str
        The wanted one. A kind in ``GROUPS`` has plug-ins of other distributions too.

    Raises
    ------
    UsageError
        If there is none of this name (lists the known ones and the nearest) or several, or if
        another distribution's cannot be imported.
    """
    origin = plugin_origin(own, name, kind)
    target = _installed(kind)[name][0].value if origin else own[name]
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever another's module does as it is imported
        if not origin:
            raise
        raise UsageError(
            f"{kind} {name!r} of {origin} cannot be imported from {target} "
            f"({type(error).__name__}: {error})\nRepair or uninstall that distribution.",
            kind="plugin",
        ) from error


def check_derived(plugin: object, base: type[object], name: str, kind: str) -> None:
    """Reject a plug-in that is not of the class that those of its kind are derived from.

    Raises
    ------
    UsageError
        Kind ``"plugin"``.
    """
    if not (inspect.isclass(plugin) and issubclass(plugin, base)):
        raise UsageError(
            f"{kind} {name!r} is {plugin!r:.80}, and not derived from {base.__module__}."
            f"{base.__qualname__}. Repair or uninstall its distribution",
            kind="plugin",
        )


def check_declared(problems: Sequence[str], name: str, kind: str) -> None:
    """Reject a plug-in whose declarations have `problems`.

    Raises
    ------
    UsageError
        Kind ``"plugin"``.
    """
    if problems:
        raise UsageError(
            f"{kind} {name!r} declares what cannot be:\n{bullet_list(problems)}\nRepair or uninstall "
            "its distribution",
            kind="plugin",
        )


def parse_named_options(text: str) -> tuple[str, dict[str, str]]:
    """Split ``NAME[:option=value,...]`` into the name and its options.

    A comma that no further ``option=`` follows belongs to the value, as in the name of a folder.

    >>> parse_named_options("noise:folder=/data/rain, wind,low_db=0")
    ('noise', {'folder': '/data/rain, wind', 'low_db': '0'})

    Raises
    ------
    UsageError
        If an option lacks ``=`` or is given twice.
    """
    name, _, tail = text.partition(":")
    options: dict[str, str] = {}
    for item in filter(None, _NEXT_OPTION.split(tail)):
        key, equals, value = item.partition("=")
        if not equals or not key or key in options:
            raise UsageError(
                f"{text!r}: expected NAME:option=value,... with each option once, got {item!r}",
                kind="options",
            )
        options[key] = value
    return name, options


def typed_options(
    target: Callable[..., Any],
    options: Mapping[str, str],
    what: str,
    *,
    also_known: Iterable[str] = (),
) -> dict[str, Any]:
    """Convert option strings by the annotations of the target's keyword-only parameters.

    Parameters
    ----------
    target : callable
        What takes the options.
    options : mapping of str to str
        What was written.
    what : str
        The target, for messages.
    also_known : iterable of str
        Options that the caller has taken out already, for the list of known ones in messages.

    Raises
    ------
    UsageError
        Listing every unknown option and every value that does not convert.
    """
    signature = inspect.signature(target)
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = {p.name for p in keywords}
    hints = _annotations(target, what)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in known:
            problems.append(
                str(unknown_name(key, sorted(known.union(also_known)), f"option of {what}"))
            )
            continue
        if key not in hints:
            problems.append(f"option {key} of {what} has no type: annotate it, as in {key}: float")
            continue
        try:
            values[key] = _convert(text, hints[key])
        except ValueError as error:
            problems.append(f"option {key} of {what}: {error}")
    missing = [p.name for p in keywords if p.default is p.empty and p.name not in options]
    problems += [f"{what} needs the option {name}" for name in missing]
    if problems:
        raise UsageError(
            f"{what}: {len(problems)} wrong option(s)\n{bullet_list(problems)}", kind="options"
        )
    return values


def _annotations(target: Callable[..., Any], what: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception as error:  # of whatever stands there in text
        raise UsageError(
            f"the options of {what} have annotations that cannot be read: {error}", kind="plugin"
        ) from None


def all_options(
    target: Callable[..., Any], options: Mapping[str, str], what: str
) -> dict[str, Any]:
    """Convert as `typed_options`, with the defaults of what is not given.

    >>> def loss(*, temperature: float = 1, top: int = 3) -> None: ...
    >>> all_options(loss, {"temperature": "2.0"}, "loss")
    {'temperature': 2.0, 'top': 3}
    """
    parameters = inspect.signature(target).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return defaults | typed_options(target, options, what)


def options_of_type(target: Callable[..., Any], hint: Any) -> set[str]:
    """Names of the keyword-only parameters that are annotated with a type, or it and others.

    >>> def step(*, folder: Path, low_db: float = 0) -> None: ...
    >>> options_of_type(step, Path)
    {'folder'}
    """
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    parameters = inspect.signature(target).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in hints]
    return {name for name in names if hint in (hints[name], *typing.get_args(hints[name]))}


def _convert(text: str, hint: Any) -> Any:
    """Convert one option string to the annotated type, or raise ValueError with both values."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(map(str, choices))}, got {text!r}")
        return text
    if origin in (typing.Union, types.UnionType):
        return _convert(text, next(a for a in typing.get_args(hint) if a is not type(None)))
    if hint is bool:
        spelled = {"true": True, "yes": True, "on": True, "1": True}
        spelled |= {"false": False, "no": False, "off": False, "0": False}
        if text.lower() not in spelled:
            raise ValueError(f"expected true or false, got {text!r}")
        return spelled[text.lower()]
    if hint in (int, float):
        return _number(text, hint)
    if hint is Path:
        odd = f"expected a path, got {text!r}" if "\0" in text else path_problem(text, links=False)
        if odd:
            raise ValueError(odd)
        return Path(text)
    if hint is not str:
        raise ValueError(
            f"its type {hint} is not one that a text is converted to: str, int, float, bool, Path, "
            "Literal, or one of these or None"
        )
    return text


def _number(text: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"expected {kind.__name__}, got {text!r}") from None
    if not abs(value) <= MAX_NUMBER:  # neither NaN nor infinity is
        raise ValueError(f"expected a number within {MAX_NUMBER:g}, got {value:g}")
    return value
