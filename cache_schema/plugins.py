"""Plug-ins are plain dicts ``name -> "module:attribute"``; this module resolves names and options."""

from __future__ import annotations

import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cache_schema.errors import UsageError, listed

# Of any option, on either side of 0; an option's own bounds are its plug-in's.
MAX_NUMBER = 1e15


def unknown_name(name: str, known: Iterable[str], kind: str) -> UsageError:
    """Build the error for a name that is not known: lists the known ones and the nearest."""
    names = list(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UsageError(
        f"unknown {kind} {name!r}; known: {', '.join(names) or 'none'}.{hint}", kind="unknown"
    )


def load_plugin(plugins: Mapping[str, str], name: str, kind: str) -> Any:
    """Import the plug-in called `name`.

    Raises
    ------
    UsageError
        If `name` is not a key of `plugins`; names the known ones and the nearest.
    """
    if name not in plugins:
        raise unknown_name(name, plugins, kind)
    module, _, attribute = plugins[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def parse_named_options(text: str) -> tuple[str, dict[str, str]]:
    """Split ``NAME[:option=value,...]`` into the name and its options.

    Raises
    ------
    UsageError
        If an option lacks ``=`` or is given twice.
    """
    name, _, tail = text.partition(":")
    options: dict[str, str] = {}
    for item in filter(None, tail.split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key or key in options:
            raise UsageError(
                f"{text!r}: expected NAME:option=value,... with each option once, got {item!r}",
                kind="options",
            )
        options[key] = value
    return name, options


def typed_options(
    target: Callable[..., Any], options: Mapping[str, str], what: str
) -> dict[str, Any]:
    """Convert option strings by the annotations of the target's keyword-only parameters.

    Raises
    ------
    UsageError
        Listing every unknown option and every value that does not convert.
    """
    signature = inspect.signature(target)
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = {p.name for p in keywords}
    initializer = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(initializer)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in known:
            problems.append(str(unknown_name(key, sorted(known), f"option of {what}")))
            continue
        try:
            values[key] = _convert(text, hints[key])
        except ValueError as error:
            problems.append(f"option {key} of {what}: {error}")
    missing = [p.name for p in keywords if p.default is p.empty and p.name not in options]
    problems += [f"{what} needs the option {name}" for name in missing]
    if problems:
        raise UsageError(
            f"{what}: {len(problems)} wrong option(s)\n{listed(problems)}", kind="options"
        )
    return values


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
    return _number(text, hint) if hint in (int, float) else text


def _number(text: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"expected {kind.__name__}, got {text!r}") from None
    if not abs(value) <= MAX_NUMBER:  # neither NaN nor infinity is
        raise ValueError(f"expected a number within {MAX_NUMBER:g}, got {value:g}")
    return value
