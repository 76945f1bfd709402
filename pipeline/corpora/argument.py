"""The corpora of a command line, for all commands alike."""

from __future__ import annotations

import click

from cache_schema.command_line.parameters import PluginText
from pipeline.corpora import CORPORA

CORPUS = PluginText(CORPORA, "corpus", others=True)
corpora_argument = click.argument(
    "corpora", nargs=-1, required=True, metavar="CORPUS...", type=CORPUS
)
