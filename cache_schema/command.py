"""The commands' common manners: errors without a traceback, exit codes, ``--config FILE.toml``."""

from __future__ import annotations

import errno
import math
import tomllib
from pathlib import Path
from typing import Any

import click

from cache_schema.errors import AftersoundError, RunError, UsageError, listed
from cache_schema.interrupts import interrupts
from cache_schema.plugins import unknown_name

# What the disk refuses, and what a user can do about it before the command is repeated.
_WAYS_OUT = {
    errno.ENOSPC: "Free some space there, or choose another place (--out)",
    errno.EDQUOT: "Free some of your quota there, or choose another place (--out)",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or choose another place (--out)",
    errno.EROFS: "Make it writable, or choose another place (--out)",
    errno.EACCES: "Allow access to it, or choose another place (--out)",
    errno.EPERM: "Allow access to it, or choose another place (--out)",
}


class Number(click.FloatRange):
    """A range of finite numbers; click's own lets NaN through, which is in no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse NaN and infinity."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Command(click.Command):
    """A click command that turns :class:`AftersoundError` into a message and its exit code.

    It takes ``--config FILE.toml`` whose keys are the option names with underscores; what the
    command line says wins.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--config"],
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                is_eager=True,
                expose_value=False,
                callback=_read_config,
                metavar="FILE.toml",
                help="Options from a file; the command line wins.",
            )
        )

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; an error of ours or of the disk ends as a message on stderr and its exit code."""
        try:
            with interrupts():
                return super().main(*args, **kwargs)
        except AftersoundError as error:
            click.echo(f"{self.name}: {error}", err=True)
            raise SystemExit(error.exit_code) from None
        except OSError as error:
            click.echo(f"{self.name}: {_described(error)}", err=True)
            raise SystemExit(1) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an interrupt that it has nothing to say about is a message as well.

        A full disk's errors name no file: what was being written is then below ``--out``.
        """
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is None and error.errno in _WAYS_OUT:
                error.filename = ctx.params.get("out")
            raise
        except KeyboardInterrupt:
            raise RunError(
                "stopped. What was finished is kept; repeat the command to go on.",
                kind="interrupted",
            ) from None


def _described(error: OSError) -> str:
    """Say what the disk refused and where, what is left, and how to go on."""
    place = f" ({error.filename})" if error.filename else ""
    said = f"{error.strerror or error}{place}"
    if error.errno not in _WAYS_OUT:
        return said
    way = _WAYS_OUT[error.errno]
    return f"{said}. What was finished is kept. {way}, and repeat the command."


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, 1,000 brackets
        raise UsageError(f"{path} is not TOML: {error}", kind="config") from None
    options = [
        p for p in context.command.params if isinstance(p, click.Option) and p.name != "config"
    ]
    names = {_spelled(option): option for option in options}
    problems = [str(unknown_name(key, sorted(names), "key")) for key in values if key not in names]
    found = {key: _as_given(names[key], values[key]) for key in values if key in names}
    problems += [f"{k}: expected {_expected(names[k])}" for k, v in found.items() if v is None]
    if problems:
        raise UsageError(f"{path}: {len(problems)} problem(s)\n{listed(problems)}", kind="config")
    given = {str(names[key].name): value for key, value in found.items()}
    context.default_map = {**(context.default_map or {}), **given}


def _as_given(option: click.Option, value: Any) -> Any:
    """The value as the command line would give it, or None where it has another shape."""
    several = option.multiple or option.nargs != 1
    values = value if isinstance(value, list) else [value]
    if several != isinstance(value, list) or any(
        not isinstance(one, str | int | float)
        or isinstance(one, bool) != option.is_flag
        or "\0" in str(one)
        for one in values
    ):
        return None
    texts = [one if option.is_flag else str(one) for one in values]
    return texts if several else texts[0]


def _expected(option: click.Option) -> str:
    """How a message calls what an option takes."""
    if option.is_flag:
        return "true or false"
    return (
        "a list of strings or numbers"
        if option.multiple or option.nargs != 1
        else "a string or number"
    )


def _spelled(option: click.Option) -> str:
    """The option as the command line spells it, with underscores: ``--batch-size`` → batch_size."""
    longest = max(option.opts, key=len)
    return longest.lstrip("-").replace("-", "_")
