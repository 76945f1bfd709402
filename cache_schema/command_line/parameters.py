"""Parameters that name a plug-in or a clip: checked before anything costly, completed by shells."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice

import click
from click.shell_completion import CompletionItem, split_arg_string

from cache_schema.errors import AftersoundError
from cache_schema.plugins import plugin_names, plugin_origin
from cache_schema.reader import open_cache
from cache_schema.text import one_line

MAX_COMPLETIONS = 100


class PluginText(click.ParamType):  # type: ignore[type-arg]
    """Text that begins with the name of a plug-in, as ``NAME[:option=value,...]`` does.

    Parameters
    ----------
    own : mapping of str to str
        Our plug-ins of the kind.
    kind : str
        As in `cache_schema.plugins.GROUPS`.
    others : bool
        Whether the text may be something else too: then it is only completed.
    """

    name = "text"

    def __init__(self, own: Mapping[str, str], kind: str, *, others: bool = False) -> None:
        self._own, self._kind, self._others = own, kind, others

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Reject a name that is not known, without importing the plug-in."""
        if not self._others:
            plugin_origin(self._own, re.split("[:=]", value, maxsplit=1)[0], self._kind)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Give the names that begin so."""
        names = plugin_names(self._own, self._kind)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_clip_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Give ids of the cache that the line names, the first hundred that begin so.

    The cache is found among the words of the line, as shells hand them to click's completion: click
    itself parses nothing of a line whose last option lacks its value. An id with control characters
    would reach the terminal as it is, and end the line that a shell reads; no user can type it either.
    """
    for word in split_arg_string(os.environ.get("COMP_WORDS", "")):
        try:
            ids = open_cache(word).clip_ids()
        except (AftersoundError, OSError):
            continue
        found = (one for one in ids if one.startswith(incomplete) and one == one_line(one))
        return list(islice(found, MAX_COMPLETIONS))
    return []
