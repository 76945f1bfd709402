"""``aftersound``: every command as a sub-command, and lists of what they take by name.

``aftersound train`` is ``train-student``. The commands are found among the scripts that this
distribution installs; only the one that runs is imported.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, distribution
from typing import Any

import click
from rich.table import Table

from cache_schema.command_line.command import VersionOption, shown_errors
from cache_schema.command_line.interrupts import interrupts
from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin, plugin_names, plugin_origin, unknown_name
from cache_schema.terminal import echo, wide_terminal
from cache_schema.text import one_line

NAME = "aftersound"

# By name, as the packages above are not imported from here: the dict of a kind's plug-ins, and the kind.
REGISTRIES = {
    "students": ("student.models:STUDENTS", "student"),
    "losses": ("student.losses:LOSSES", "loss"),
    "metrics": ("student.metrics:METRICS", "metric"),
    "exporters": ("student.export:EXPORTERS", "exporter"),
    "corpora": ("pipeline.corpora:CORPORA", "corpus"),
    "teachers": ("pipeline.teachers:TEACHERS", "teacher"),
    "model-types": ("pipeline.teachers:MODEL_TYPES", "model type"),
    "views": ("pipeline.views:VIEWS", "view"),
}
FRONT_END_KIND = "front-ends"


def scripts() -> dict[str, EntryPoint]:
    """Commands by the name of their sub-command: the first word that is not the tool's own name.

    >>> [name for name, script in scripts().items() if script.name == "train-student"]
    ['train']
    """
    points = distribution(NAME).entry_points.select(group="console_scripts")
    words = {point: [word for word in point.name.split("-") if word != NAME] for point in points}
    return {word[0]: point for point, word in sorted(words.items()) if word}


class Commands(click.Group):
    """A group whose sub-commands are the installed scripts."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all, sorted."""
        return sorted([*scripts(), *super().list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name in self.commands or cmd_name not in scripts():
            return super().get_command(ctx, cmd_name)
        command: click.Command = scripts()[cmd_name].load()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named; another name is rejected with the nearest."""
        if args and args[0] not in self.list_commands(ctx) and not ctx.resilient_parsing:
            raise unknown_name(args[0], self.list_commands(ctx), "command")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List what each sub-command is called by itself, without importing any."""
        rows = [(name, script.name) for name, script in scripts().items()]
        rows += [(name, command.get_short_help_str()) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; an error ends as a message on stderr and its exit code, whoever raised it."""
        with shown_errors(NAME), interrupts():
            return super().main(*args, **kwargs)


@click.group(NAME, cls=Commands)
def main() -> None:
    """Distil large audio transformers into tiny students.

    aftersound COMMAND --help shows the options of one. Each is also a command of its own, by the name
    at its right.
    """


main.params.append(VersionOption())


@main.command("list")
@click.argument("kind", type=click.Choice([*REGISTRIES, FRONT_END_KIND]))
def list_names(kind: str) -> None:
    """Show students, losses, ... by name with their options."""
    if kind == FRONT_END_KIND:
        for preset in FRONT_ENDS.values():
            echo(f"{preset.name}: {preset.features} features every {preset.hop_s * 1000:g} ms")
        return
    table = Table("name", "options and defaults", "what it is", box=None, padding=(0, 2, 0, 0))
    target, word = REGISTRIES[kind]
    module, _, attribute = target.partition(":")
    registry: Mapping[str, str] = getattr(importlib.import_module(module), attribute)
    for name in plugin_names(registry, word):
        table.add_row(*described(registry, name, word))
    wide_terminal().print(table)


def described(registry: Mapping[str, str], name: str, kind: str) -> tuple[str, str, str]:
    """Give name, options and the first line of the documentation of a plug-in."""
    shown = name
    try:
        origin = plugin_origin(registry, name, kind)
        shown = f"{name} ({origin})" if origin else name
        plugin = load_plugin(registry, name, kind)
    except ModuleNotFoundError as error:  # an extra's
        return shown, "", f"{error.name} is not installed"
    except UsageError as error:
        return shown, "", f"unusable: {str(error).splitlines()[0]}"
    build = getattr(plugin, "from_options", plugin)
    parameters = inspect.signature(build).parameters.values()
    options = [_option(p) for p in parameters if p.kind is p.KEYWORD_ONLY]
    return shown, ", ".join(options), (inspect.getdoc(plugin) or "").partition("\n")[0]


def _option(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return f"{parameter.name}=…"
    value = parameter.default
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{parameter.name}={one_line(text)}"
