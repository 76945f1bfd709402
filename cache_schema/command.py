"""The commands' common manners: errors without a traceback, exit codes, ``--config FILE.toml``."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import click

from cache_schema.errors import AftersoundError, UsageError, listed
from cache_schema.plugins import unknown_name


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
        """Run; an error of ours ends as a message on stderr and its exit code."""
        try:
            return super().main(*args, **kwargs)
        except AftersoundError as error:
            click.echo(f"{self.name}: {error}", err=True)
            raise SystemExit(error.exit_code) from None
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            click.echo(f"{self.name}: {error.strerror or error}{place}", err=True)
            raise SystemExit(1) from None


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", kind="config") from None
    options = [
        p for p in context.command.params if isinstance(p, click.Option) and p.name != "config"
    ]
    names = {_spelled(option): option for option in options}
    problems = [str(unknown_name(key, sorted(names), "key")) for key in values if key not in names]
    if problems:
        raise UsageError(f"{path}: {len(problems)} problem(s)\n{listed(problems)}", kind="config")
    given = {str(names[key].name): value for key, value in values.items()}
    context.default_map = {**(context.default_map or {}), **given}


def _spelled(option: click.Option) -> str:
    """The option as the command line spells it, with underscores: ``--batch-size`` → batch_size."""
    longest = max(option.opts, key=len)
    return longest.lstrip("-").replace("-", "_")
